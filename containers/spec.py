"""What is typed into the form that runs a container, parsed into the Engine API's create request.

Pure: no database, no engine. Every parser takes the text of one field and raises `Malformed`. Published ports
have their own module, `ports`.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from containers.ports import PortMapping
from controlplane.lib.typed import Malformed, each_line, parse_variables, refuse_twice

MIB = 1024 * 1024
# Docker's own lower bound (daemon/daemon_unix.go: verifyPlatformContainerResources).
LEAST_CPUS = Decimal("0.01")
POLICIES = {"no": "Never", "on-failure": "On failure", "unless-stopped": "Unless stopped", "always": "Always"}
# Labels by which Gantry knows its own containers.
RESERVED_LABELS = "io.gantry."

_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)
_JSON_ARRAY = re.compile(r"\[\s*[\"\]]")
# Moby, volume/names: the same rule as for containers.
_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", re.ASCII)
_ACCESS, _RELABEL, _COPY = {"ro", "rw"}, {"z", "Z"}, {"nocopy"}
_PROPAGATION = {"private", "rprivate", "shared", "rshared", "slave", "rslave"}


def parse_environment(text: str) -> list[str]:
    """`KEY=VALUE` lines; the value is everything after the first “=”, blanks and quotes included."""
    return [f"{key}={value}" for key, value in parse_variables(text).items()]


def parse_labels(text: str) -> dict[str, str]:
    """`KEY=VALUE` lines; `KEY` alone is a label with an empty value, as for the docker CLI."""
    pairs = each_line(text, _label)
    refuse_twice([(number, key) for number, (key, _) in pairs], "label")
    return dict(pair for _, pair in pairs)


def _label(line: str) -> tuple[str, str]:
    key, _, value = line.partition("=")
    key = key.strip()
    if not key:
        raise Malformed(f"expected KEY=VALUE, found “{line.strip()}”.")
    if key.startswith(RESERVED_LABELS):
        raise Malformed(f"labels under “{RESERVED_LABELS}” are Gantry's own, found “{key}”. Choose another key.")
    return key, value


def parse_command(text: str) -> list[str] | None:
    """Words, quoted as for a shell, or a JSON array of strings. None when nothing was typed.

    No shell runs it: `$HOME`, `|`, `&&` and `>` reach the program as they are.
    """
    text = text.strip()
    if not text:
        return None
    if _JSON_ARRAY.match(text):
        return _json_words(text)
    try:
        return shlex.split(text)
    except ValueError as exc:
        found = "a quote that is not closed" if "quotation" in str(exc) else "“\\” at the end"
        raise Malformed(f"expected words quoted as for a shell, found {found}.") from exc


def _json_words(text: str) -> list[str]:
    try:
        words = json.loads(text)
    except ValueError as exc:
        raise Malformed(f"expected a JSON array of strings, found a fault: {exc}.") from exc
    strangers = [word for word in words if not isinstance(word, str)]
    if strangers:
        found = json.dumps(strangers[0])
        raise Malformed(f"expected a JSON array of strings, found {found}. Put it in quotes.")
    return list(words)


def parse_entrypoint(text: str) -> list[str] | None:
    """As `parse_command`; an empty array takes the image's entrypoint away (for the engine, [""])."""
    words = parse_command(text)
    return [""] if words == [] else words


@dataclass(frozen=True)
class Mount:
    """One volume: `source` is a name, an absolute path of the host, or empty for an anonymous volume."""

    source: str
    target: str
    options: str = ""

    @property
    def bind(self) -> str:
        """As `HostConfig.Binds` wants it."""
        return ":".join(part for part in (self.source, self.target, self.options) if part)


def parse_volumes(text: str) -> list[Mount]:
    """`NAME:/PATH`, `/HOST/PATH:/PATH`, with `:OPTIONS`, or `/PATH` alone for an anonymous volume."""
    mounts = each_line(text, _mount)
    refuse_twice([(number, mount.target) for number, mount in mounts], "mount point")
    return [mount for _, mount in mounts]


def _mount(line: str) -> Mount:
    parts = line.strip().split(":")
    if len(parts) > 3 or "" in parts:
        raise Malformed(f"expected NAME:/PATH or /HOST/PATH:/PATH, found “{line.strip()}”.")
    if len(parts) == 1:
        return Mount("", _target(parts[0]))
    source, target = parts[0], _target(parts[1])
    if not source.startswith("/") and not _VOLUME_NAME.fullmatch(source):
        raise Malformed(
            f"expected a volume's name (two or more letters, digits, “_”, “.” or “-”) or an absolute path on "
            f"the host, found “{source}”."
        )
    return Mount(source, target, _options(parts[2], source) if len(parts) == 3 else "")


def _target(path: str) -> str:
    clean = "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
    if not path.startswith("/") or clean == "/" or ".." in path.split("/"):
        raise Malformed(f"expected an absolute path inside the container, other than “/”, found “{path}”.")
    return clean


def _options(text: str, source: str) -> str:
    given = text.split(",")
    fitting = _ACCESS | _RELABEL | (_PROPAGATION if source.startswith("/") else _COPY)
    for option in given:
        if option not in fitting:
            raise Malformed(f"expected options among {', '.join(sorted(fitting))}, found “{option}”.")
    for group in (_ACCESS, _RELABEL, _PROPAGATION):
        if len(both := [option for option in given if option in group]) > 1:
            raise Malformed(f"expected one of {', '.join(sorted(group))}, found “{','.join(both)}”.")
    return text


def parse_cpus(text: str, most: int | None = None) -> int:
    """A number of CPUs such as `0.5` in billionths; 0 (no limit) when nothing was typed."""
    text = text.strip()
    if not text:
        return 0
    if not _NUMBER.fullmatch(text):
        raise Malformed(f"expected a number of CPUs such as 0.5 or 2, found “{text}”.")
    cpus = Decimal(text)
    if cpus and cpus < LEAST_CPUS:
        raise Malformed(f"expected {LEAST_CPUS} CPUs or more, found “{text}”.")
    if most is not None and cpus > most:
        raise Malformed(f"expected at most {most}, as many as the host has, found “{text}”.")
    if cpus > 1_000_000:
        raise Malformed(f"expected a number of CPUs such as 0.5 or 2, found “{text}”.")
    return int(cpus * 1_000_000_000)


def memory_text(size: int) -> str:
    """Bytes as `parse_memory` reads them, in the largest unit that leaves no rest; empty for no limit."""
    if size <= 0:
        return ""
    power = next(n for n in (4, 3, 2, 1, 0) if size % 1024**n == 0)
    return f"{size // 1024**power}{' kmgt'[power].strip()}"


def cpus_text(nano: int) -> str:
    """Billionths of a CPU as `parse_cpus` reads them; empty for no limit."""
    return f"{Decimal(nano).scaleb(-9).normalize():f}" if nano > 0 else ""


def restart_policy(policy: str, retries: int | None) -> dict[str, Any]:
    """The engine's RestartPolicy; `retries` (0 or more, None: no end) goes with on-failure alone."""
    if policy not in POLICIES:
        raise Malformed(f"expected one of {', '.join(POLICIES)}, found “{policy}”.")
    if retries is not None and policy != "on-failure":
        raise Malformed(f"a number of retries goes with “on-failure” alone, found it with “{policy}”.")
    return {"Name": policy, "MaximumRetryCount": retries or 0}


@dataclass(frozen=True)
class Spec:
    """A container to be made, in the terms of the form. `nano_cpus`, `pids` and `memory` (bytes): 0 is no
    limit."""

    image: str
    command: list[str] | None = None
    entrypoint: list[str] | None = None
    environment: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    ports: list[PortMapping] = field(default_factory=list)
    mounts: list[Mount] = field(default_factory=list)
    restart: dict[str, Any] = field(default_factory=lambda: restart_policy("no", None))
    memory: int = 0
    nano_cpus: int = 0
    pids: int = 0
    read_only: bool = False
    user: str = ""
    working_dir: str = ""
    network: str = ""
    tty: bool = False
    auto_remove: bool = False

    def body(self) -> dict[str, Any]:
        """The JSON body of `POST /containers/create`; what was left open is left out."""
        bindings: dict[str, list[dict[str, str]]] = {}
        for port in self.ports:
            bindings.setdefault(port.key, []).append({"HostIp": port.ip, "HostPort": port.host})
        body: dict[str, Any] = {
            "Image": self.image,
            "Cmd": self.command,
            "Entrypoint": self.entrypoint,
            "Env": self.environment,
            "Labels": self.labels,
            "User": self.user,
            "WorkingDir": self.working_dir,
            "Tty": self.tty,
            "OpenStdin": self.tty,
            "ExposedPorts": {key: {} for key in bindings},
            "Volumes": {mount.target: {} for mount in self.mounts if not mount.source},
            "HostConfig": _filled(
                {
                    "Binds": [mount.bind for mount in self.mounts if mount.source],
                    "PortBindings": bindings,
                    "RestartPolicy": self.restart,
                    "Memory": self.memory,
                    "NanoCpus": self.nano_cpus,
                    "PidsLimit": self.pids,
                    "ReadonlyRootfs": self.read_only,
                    "NetworkMode": self.network,
                    "AutoRemove": self.auto_remove,
                }
            ),
        }
        return _filled(body)


def _filled(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value not in (None, "", [], {}, 0, False)}
