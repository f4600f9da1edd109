"""config.json as one document."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gantry_agent.engine.containers.model import Container
from gantry_agent.engine.errors import Conflict, InvalidArgument
from gantry_agent.engine.runtime import cgroups, seccomp

from . import devices, propagation, resources
from .mounts import cgroup_mode, masked, mounts
from .process import Ulimits, container_process

SYSCTLS_OF_IPC = re.compile(r"kernel\.(shm|msg|sem)|fs\.mqueue\.")
OWN_ANNOTATIONS = "run.oci."  # crun's switches: some would undo what the rest of the configuration says


@dataclass
class Surroundings:
    """What a container's configuration needs to know of its host."""

    root: Path
    """The mounted root, for /etc/passwd; and where the runtime finds it."""
    netns: Path | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    """/etc/hosts and its like on the host, by their path inside."""
    ulimits: Ulimits = field(default_factory=dict)
    init: str = ""
    """The minimal init to bind in, "" for none."""
    shm: Path | None = None
    ipc_pid: int = 0
    """Whose ipc and pid namespaces to join, 0 for none."""
    pid_pid: int = 0
    linked: Sequence[str] = ()
    """Environment of its links (containers/links.py)."""


def build(container: Container, around: Surroundings) -> dict[str, Any]:
    """The OCI configuration. Raises InvalidArgument for what cannot be done."""
    host = container.host_config
    nodes, rules = devices.asked_for(host)
    hidden, fixed = masked(host)
    shared = Path(f"/proc/{around.ipc_pid}/root/dev/shm") if around.ipc_pid and not around.shm else None
    limits = resources.resources(host)
    limits["devices"] = resources.devices(host, rules)
    process = container_process(container, around.root, around.ulimits, around.linked, init=bool(around.init))
    linux: dict[str, Any] = {
        "cgroupsPath": cgroups.path_of(container.id, str(host.get("CgroupParent") or "")),
        "namespaces": _namespaces(host, around),
        "resources": limits,
        "devices": nodes,
        "maskedPaths": hidden,
        "readonlyPaths": fixed,
        "sysctl": _sysctls(host, around.netns is not None) | _domain(container),
    }
    if root := propagation.of_root(container.mounts):
        linux["rootfsPropagation"] = root
    profile = _seccomp(host, process["capabilities"]["bounding"])
    if profile:
        linux["seccomp"] = profile
    return {
        "ociVersion": "1.0.2",
        "hostname": "" if host.get("UTSMode") == "host" else container.config.get("Hostname") or "",
        "process": process,
        "root": {"path": str(around.root), "readonly": bool(host.get("ReadonlyRootfs"))},
        "mounts": mounts(container, around.files, around.shm, around.init, shared),
        "annotations": _annotations(host),
        "linux": linux,
    }


def _namespaces(host: Mapping[str, Any], around: Surroundings) -> list[dict[str, str]]:
    found = [{"type": "mount"}]
    if around.netns:
        found.append({"type": "network", "path": str(around.netns)})
    for kind, mode, pid in (("ipc", host.get("IpcMode"), around.ipc_pid), ("pid", host.get("PidMode"), around.pid_pid)):
        if pid:
            found.append({"type": kind, "path": f"/proc/{pid}/ns/{kind}"})
        elif mode != "host":
            found.append({"type": kind})
    if host.get("UTSMode") != "host":
        found.append({"type": "uts"})
    if cgroup_mode(host) == "private":
        found.append({"type": "cgroup"})
    return found


def _sysctls(host: Mapping[str, Any], has_network: bool) -> dict[str, str]:
    """Only those that belong to the container's own namespaces. Raises InvalidArgument."""
    found = {}
    if has_network:
        # As Docker since 20.10: low ports and ping need no capability in a network of one's own.
        found = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
    for name, value in (host.get("Sysctls") or {}).items():
        if name.startswith("net."):
            if not has_network:
                raise InvalidArgument(f"sysctl '{name}' is not allowed, because it is not in a separate network")
        elif not SYSCTLS_OF_IPC.match(name):
            raise InvalidArgument(f"sysctl '{name}' is not whitelisted")
        elif host.get("IpcMode") == "host":
            raise InvalidArgument(f"sysctl '{name}' is not allowed, because host IPC namespace is used")
        found[name] = str(value)
    return found


def _domain(container: Container) -> dict[str, str]:
    """The NIS domain name: both runtimes know it as a sysctl only, as Docker gives it to runc."""
    name = container.config.get("Domainname")
    return {"kernel.domainname": str(name)} if name and container.host_config.get("UTSMode") != "host" else {}


def _annotations(host: Mapping[str, Any]) -> dict[str, str]:
    found = dict(host.get("Annotations") or {})
    for name in found:
        if name.startswith(OWN_ANNOTATIONS):
            raise InvalidArgument(f"annotation {name} is for the engine alone")
    return found


def _seccomp(host: Mapping[str, Any], names: list[str]) -> dict[str, Any] | None:
    options = [str(each).replace("=", ":", 1) for each in host.get("SecurityOpt") or ()]
    chosen = next((each.partition(":")[2] for each in options if each.startswith("seccomp:")), None)
    if chosen == "unconfined" or (host.get("Privileged") and chosen in (None, "")):
        return None
    text = seccomp.default_profile() if chosen in (None, "", "builtin", "default") else chosen
    if text is None:
        raise Conflict("no seccomp profile is installed (/usr/share/containers/seccomp.json)")
    return seccomp.to_oci(text, frozenset(names))


def check(host: Mapping[str, Any]) -> None:
    """What can be refused before anything is made. Raises InvalidArgument."""
    _annotations(host)
    for option in host.get("SecurityOpt") or ():
        name, _, value = str(option).replace("=", ":", 1).partition(":")
        if name not in ("seccomp", "no-new-privileges", "label", "apparmor", "systempaths"):
            raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
        if name == "seccomp" and value not in ("", "unconfined", "builtin", "default"):
            try:
                json.loads(value)
            except ValueError as exc:
                raise InvalidArgument(f"Decoding seccomp profile failed: {exc}") from exc
    _sysctls({**host, "Sysctls": host.get("Sysctls")}, host.get("NetworkMode") != "host")
