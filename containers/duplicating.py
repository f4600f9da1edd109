"""A container that is there, as the form that runs one would have it; and in words what that form cannot say.

What comes from the image is left to the image: only what was said beside it is taken over. Pure, but for
`copy_container`, which asks the host.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import async_to_sync

from containers import spec
from containers.left_out import Object, left_out, object_of, text_of, texts_of
from containers.limits import limit, policy_of
from containers.models import Container
from containers.ports import parse_port
from controlplane.access.decide import Actor, visible
from controlplane.lib.errors import InvalidArgument, NotFound
from controlplane.lib.references import name_of, parse
from controlplane.lib.typed import Malformed
from hosts.engine import EngineError, EngineProtocolError, EngineUnreachable, engine_for, explain, segment
from hosts.rules.limits import cpus

SECONDS = 5.0
# What engines put among a container's variables by themselves.
OWN_VARIABLES = re.compile(r"HOSTNAME=.*|container=podman|TERM=xterm|HOME=(/|/root)")
# An anonymous volume is called by so many digits; another container has one of its own.
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
# Podman says these of every volume.
_USUAL_OPTIONS = {"rw", "rprivate", "rbind", "nosuid", "nodev"}
_NUMBER = re.compile(r"-(\d{1,3})$")


@dataclass
class Copy:
    """What the form begins with. `left_out`: what it cannot say, each in words; `error`: why nothing is known."""

    image: str = ""
    name: str = ""
    command: list[str] = field(default_factory=list)
    entrypoint: list[str] | None = None  # None: the image's own; empty: none at all
    user: str = ""
    working_dir: str = ""
    environment: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    network: str = ""
    restart: str = "no"
    retries: int | None = None
    memory: str = ""
    cpus: str = ""
    pids: int | None = None
    read_only: bool = False
    tty: bool = False
    auto_remove: bool = False
    left_out: list[str] = field(default_factory=list)
    error: str = ""
    hint: str = ""
    tells_values: bool = False

    @property
    def initial(self) -> dict[str, Any]:
        """As the form's fields show it."""
        plain = ("image", "name", "user", "working_dir", "network", "restart", "retries", "memory", "cpus", "pids")
        switches = ("read_only", "tty", "auto_remove")
        lists = ("environment", "labels", "ports", "volumes")
        return {
            **{name: getattr(self, name) for name in (*plain, *switches)},
            **{name: "\n".join(getattr(self, name)) for name in lists},
            "command": words_text(self.command),
            "entrypoint": "" if self.entrypoint is None else words_text(self.entrypoint) or "[]",
        }


def words_text(words: list[str]) -> str:
    """As `spec.parse_command` reads them; on one line whatever is in them."""
    return json.dumps(words) if any("\n" in word or "\r" in word for word in words) else shlex.join(words)


def copy_container(actor: Actor, container: Container, *, reveal: bool) -> Copy:
    """Ask the host. Never raises for a host that is away or slow: the answer says so."""
    name = _free_name(actor, container)
    if not container.host.is_connected:
        words = f"{container.host.name} is {container.host.get_state_display().lower()}."
        return Copy(image=container.image_ref, name=name, error=words)
    try:
        found, image = async_to_sync(_fetch)(container)
    except (EngineError, EngineUnreachable, EngineProtocolError) as exc:
        error, hint = explain(exc, "container.inspect")
        return Copy(image=container.image_ref, name=name, error=error, hint=hint)
    made = copy_of(found, image, reveal=reveal)
    made.name = name
    return made


def _free_name(actor: Actor, container: Container) -> str:
    """The container's own with the next number that nothing they see on its host has."""
    base = _NUMBER.sub("", container.name) or container.name
    seen = visible(actor, "container.see", container.host.containers.filter(name__startswith=base))
    taken = set(seen.values_list("name", flat=True))
    return next(name for number in range(2, len(taken) + 3) if (name := f"{base}-{number}") not in taken)


async def _fetch(container: Container) -> tuple[Object, Object]:
    """What the engine says of the container, and of its image; nothing of one that is not there any more."""
    async with engine_for(container.host) as engine:
        found = await engine.get(f"/containers/{container.engine_id}/json", timeout=SECONDS)
        if not isinstance(found, dict):
            raise EngineProtocolError("Expected an object that describes the container, found something else.")
        try:
            image = await engine.get(f"/images/{segment(text_of(found, 'Image') or 'none')}/json", timeout=SECONDS)
        except NotFound:
            image = {}
    return found, image if isinstance(image, dict) else {}


def copy_of(found: Object, image: Object, *, reveal: bool) -> Copy:
    """From what an engine says of a container and of its image. `reveal`: with the values of its variables."""
    config, host, of_image = object_of(found, "Config"), object_of(found, "HostConfig"), object_of(image, "Config")
    policy = policy_of(host)
    made = Copy(
        network=_network(host),
        restart=policy["Name"] if policy["Name"] in spec.POLICIES else "no",
        retries=policy["MaximumRetryCount"] or None,
        memory=spec.memory_text(limit(host, "Memory")),
        cpus=spec.cpus_text(cpus(host)),
        pids=limit(host, "PidsLimit") or None,
        read_only=host.get("ReadonlyRootfs") is True,
        tty=config.get("Tty") is True,
        auto_remove=host.get("AutoRemove") is True,
        user=_unless(text_of(config, "User"), text_of(of_image, "User")),
        working_dir=_unless(text_of(config, "WorkingDir"), text_of(of_image, "WorkingDir") or "/"),
    )
    _image(made, config, image)
    _program(made, config, of_image)
    _variables(made, config, of_image, reveal)
    _labels(made, config, of_image)
    _ports(made, host)
    _volumes(made, config, host, of_image)
    made.left_out += left_out(found, of_image)
    return made


def _unless(value: str, usual: str) -> str:
    return "" if value == usual else value


def _image(made: Copy, config: Object, image: Object) -> None:
    named = text_of(config, "Image")
    if not name_of(named)[0]:
        made.left_out.append("the image: it was made from an image’s id, which is no name to run by")
        return
    try:
        made.image = parse(named).familiar
    except InvalidArgument:
        made.image = named
    if name_of(named) not in {name_of(each) for each in texts_of(image, "RepoTags")} and "@" not in named:
        made.left_out.append(f"the very same image: {made.image} stands for another one there now, or for none")


def _network(host: Object) -> str:
    mode = text_of(host, "NetworkMode")
    return "" if mode in ("default", "bridge") else mode


def _program(made: Copy, config: Object, of_image: Object) -> None:
    entrypoint, usual = texts_of(config, "Entrypoint"), texts_of(of_image, "Entrypoint")
    if entrypoint != usual:
        made.entrypoint = [word for word in entrypoint if word or len(entrypoint) > 1]
    command = texts_of(config, "Cmd")
    if command != texts_of(of_image, "Cmd") or made.entrypoint is not None:
        made.command = command


def _variables(made: Copy, config: Object, of_image: Object, reveal: bool) -> None:
    of_its_own = [each for each in texts_of(config, "Env") if each not in texts_of(of_image, "Env")]
    of_its_own = [each for each in of_its_own if not OWN_VARIABLES.fullmatch(each)]
    if reveal:
        made.environment, odd = _fitting(of_its_own, spec.parse_environment)
        made.tells_values = bool(made.environment)
    else:
        odd = of_its_own
    if odd:
        names = ", ".join(each.partition("=")[0][:60] for each in odd[:20]) + (" …" if len(odd) > 20 else "")
        why = "a value that is not one line" if reveal else "their values take the right container.secrets"
        made.left_out.append(f"the variables {names}: {why}")


def _labels(made: Copy, config: Object, of_image: Object) -> None:
    usual = object_of(of_image, "Labels")
    lines = [
        f"{key}={value}"
        for key, value in object_of(config, "Labels").items()
        if not key.startswith(spec.RESERVED_LABELS) and isinstance(value, str) and usual.get(key) != value
    ]
    made.labels, odd = _fitting(lines, lambda line: [f"{k}={v}" for k, v in spec.parse_labels(line).items()])
    made.left_out += [f"the label {each.partition('=')[0][:60]}: it is not one line KEY=VALUE" for each in odd]


def _ports(made: Copy, host: Object) -> None:
    lines = []
    for key, bindings in object_of(host, "PortBindings").items():
        for each in bindings if isinstance(bindings, list) else []:
            ip, port = text_of(each, "HostIp"), text_of(each, "HostPort")
            ip = f"[{ip}]" if ":" in ip else ip
            place = "" if ip in ("0.0.0.0", "[::]", "") else f"{ip}:"
            lines.append(f"{place}{port if port != '0' else ''}{':' if place or port not in ('', '0') else ''}{key}")
    made.ports, odd = _fitting(list(dict.fromkeys(lines)), lambda line: [line] if parse_port(line) else [])
    made.left_out += [f"the port {each[:60]}" for each in odd]


def _volumes(made: Copy, config: Object, host: Object, of_image: Object) -> None:
    lines = [_bind(each) for each in texts_of(host, "Binds")]
    mounts = host.get("Mounts")
    for each in mounts if isinstance(mounts, list) else []:
        source, target = text_of(each, "Source"), text_of(each, "Target")
        plain = isinstance(each, dict) and not any(each.get(f"{kind}Options") for kind in ("Volume", "Bind"))
        if plain and text_of(each, "Type") in ("volume", "bind"):
            lines.append(f"{source}:{target}{':ro' if each.get('ReadOnly') else ''}" if source else target)
        else:
            made.left_out.append(f"the {text_of(each, 'Type') or 'odd'} mount at {target[:100]}, with its options")
    there = {(line.split(":") * 2)[1] for line in lines}
    anonymous = object_of(config, "Volumes").keys() - object_of(of_image, "Volumes").keys() - there
    made.volumes, odd = _fitting(
        [*lines, *sorted(anonymous)],
        lambda line: [each.bind if each.source else each.target for each in spec.parse_volumes(line)],
    )
    made.left_out += [f"the volume {each[:100]}" for each in odd]


def _bind(line: str) -> str:
    """One of HostConfig.Binds, without what an engine says of each."""
    source, _, rest = line.partition(":")
    target, _, options = rest.partition(":")
    if _ANONYMOUS.fullmatch(source):
        return target
    kept = ",".join(each for each in options.split(",") if each and each not in _USUAL_OPTIONS)
    return f"{source}:{target}{':' if kept else ''}{kept}"


def _fitting(lines: list[str], read: Callable[[str], list[str]]) -> tuple[list[str], list[str]]:
    """Those that the form reads as they are, and the others."""
    fitting: list[str] = []
    odd: list[str] = []
    for line in lines:
        try:
            reads = read(line) == [line]
        except Malformed:
            reads = False
        (fitting if reads else odd).append(line)
    return fitting, odd
