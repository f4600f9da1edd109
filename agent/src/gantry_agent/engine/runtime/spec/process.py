"""The process of a container, or of an exec in it."""

import os
import posixpath
import resource
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gantry_agent.engine.containers.model import Container
from gantry_agent.engine.errors import InvalidArgument

from . import capabilities, user

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# fmt: off
RLIMITS = (
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
    "rttime", "sigpending", "stack",
)
# fmt: on
Ulimits = Mapping[str, tuple[int, int]]


def container_process(
    container: Container, root: Path, defaults: Ulimits, linked: Sequence[str] = (), *, init: bool
) -> dict[str, Any]:
    """The OCI process of a container; `linked`: the environment of its links. Raises InvalidArgument."""
    config, host = container.config, container.host_config
    who = user.resolve(root, str(config.get("User") or ""), host.get("GroupAdd") or ())
    privileged = bool(host.get("Privileged"))
    chosen = capabilities.chosen(host.get("CapAdd") or (), host.get("CapDrop") or (), privileged=privileged)
    words = [container.path, *container.args]
    process = {
        "terminal": container.is_tty,
        "user": who.to_oci(),
        "args": ["/sbin/docker-init", "--", *words] if init else words,
        "env": environment(container, [*linked, *(config.get("Env") or ())], who.home, tty=container.is_tty),
        "cwd": working_folder(str(config.get("WorkingDir") or "/")),
        "capabilities": _sets(chosen, is_root=who.uid == 0),
        "rlimits": rlimits(host.get("Ulimits") or (), defaults),
        "noNewPrivileges": "no-new-privileges" in _options(host) or "no-new-privileges:true" in _options(host),
    }
    if container.is_tty and (size := host.get("ConsoleSize")) and all(size):
        process["consoleSize"] = {"height": size[0], "width": size[1]}
    profile = next((each.partition(":")[2] for each in _options(host) if each.startswith("apparmor:")), "unconfined")
    if profile != "unconfined":
        process["apparmorProfile"] = profile
    if host.get("OomScoreAdj") is not None:
        process["oomScoreAdj"] = int(host["OomScoreAdj"])
    return process


def exec_process(
    container: Container,
    root: Path,
    command: Sequence[str],
    *,
    linked: Sequence[str] = (),
    env: Sequence[str],
    wanted: str,
    folder: str,
    privileged: bool,
    tty: bool,
    defaults: Ulimits,
) -> dict[str, Any]:
    """The OCI process of an exec: as the container's, where nothing else was asked for. Raises InvalidArgument."""
    config, host = container.config, container.host_config
    who = user.resolve(root, wanted or str(config.get("User") or ""), host.get("GroupAdd") or ())
    is_privileged = privileged or bool(host.get("Privileged"))
    chosen = capabilities.chosen(host.get("CapAdd") or (), host.get("CapDrop") or (), privileged=is_privileged)
    return {
        "terminal": tty,
        "user": who.to_oci(),
        "args": list(command),
        "env": environment(container, [*linked, *(config.get("Env") or ()), *env], who.home, tty=tty),
        "cwd": working_folder(folder or str(config.get("WorkingDir") or "/")),
        "capabilities": _sets(chosen, is_root=who.uid == 0),
        "rlimits": rlimits(host.get("Ulimits") or (), defaults),
        "noNewPrivileges": "no-new-privileges" in _options(host) or "no-new-privileges:true" in _options(host),
    }


def environment(container: Container, given: Iterable[str], home: str, *, tty: bool) -> list[str]:
    """PATH, HOSTNAME, TERM and HOME where they are not given; a later value wins, a name alone takes it away."""
    found = {"PATH": PATH, "HOSTNAME": str(container.config.get("Hostname") or "")}
    if tty:
        found["TERM"] = "xterm"
    for each in given:
        name, equals, value = each.partition("=")
        if equals:
            found[name] = value
        else:
            found.pop(name, None)
    found.setdefault("HOME", home)
    return [f"{name}={value}" for name, value in found.items()]


def working_folder(path: str) -> str:
    """A clean absolute path, so that no dots are left for the runtime; never a process's descriptors.

    Raises InvalidArgument: a folder given by /proc/self/fd or /proc/PID/fd could be one the runtime left open, outside
    the container (CVE-2024-21626). The runtimes check where they arrive; this does not rely on it.
    """
    if "\0" in path or not path.startswith("/"):
        raise InvalidArgument(f"the working directory '{path}' is invalid, it needs to be an absolute path")
    clean = posixpath.normpath(path).replace("//", "/")
    parts = clean.split("/")
    if len(parts) > 3 and parts[1] == "proc" and ("fd" in parts[3:] or parts[3] in ("cwd", "root", "task")):
        raise InvalidArgument(f"the working directory '{path}' is invalid: it leads through a process's open files")
    return clean


def rlimits(asked: Iterable[Mapping[str, Any]], defaults: Ulimits) -> list[dict[str, Any]]:
    """Resource limits, clamped to the engine's own hard ones, which no container can exceed.

    Raises InvalidArgument for an unknown name, or a soft limit above the hard one.
    """
    wanted: dict[str, tuple[int, int]] = {name: (int(soft), int(hard)) for name, (soft, hard) in defaults.items()}
    for each in asked:
        name, soft, hard = str(each.get("Name", "")), int(each.get("Soft", 0)), int(each.get("Hard", 0))
        if name not in RLIMITS:
            raise InvalidArgument(f"invalid ulimit type: {name}")
        if hard != -1 and (soft == -1 or soft > hard):
            raise InvalidArgument(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
        wanted[name] = (soft, hard)
    may_raise = "CAP_SYS_RESOURCE" in capabilities.known()
    found = []
    for name, (soft, hard) in wanted.items():
        top = _most(name, may_raise=may_raise)
        found.append({"type": f"RLIMIT_{name.upper()}", "soft": _clamped(soft, top), "hard": _clamped(hard, top)})
    return found


def _clamped(value: int, top: int) -> int:
    return top if value < 0 else min(value, top)


def _most(name: str, *, may_raise: bool) -> int:
    """The highest a limit can be: open files are bounded by fs.nr_open even for root."""
    unlimited = (1 << 64) - 1
    if name == "nofile":
        try:
            most = int(Path("/proc/sys/fs/nr_open").read_text())
        except OSError:
            most = unlimited
        if may_raise and os.geteuid() == 0:
            return most
    elif may_raise:
        return unlimited
    number = getattr(resource, f"RLIMIT_{name.upper()}", None)
    hard = resource.getrlimit(number)[1] if number is not None else -1
    return unlimited if hard < 0 else hard


def _sets(names: list[str], *, is_root: bool) -> dict[str, list[str]]:
    """As Docker: nothing ambient or inheritable; another user than root has only the bounding set."""
    own = names if is_root else []
    return {"bounding": names, "effective": own, "permitted": own}


def _options(host: Mapping[str, Any]) -> list[str]:
    return [str(each).replace("=", ":") for each in host.get("SecurityOpt") or ()]
