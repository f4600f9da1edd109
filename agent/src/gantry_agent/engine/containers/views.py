"""Containers as Docker's API shows them."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gantry_agent.engine.errors import EngineError, NotFound
from gantry_agent.engine.images.moments import ZERO, rfc3339
from gantry_agent.engine.networks import describe
from gantry_agent.engine.runtime.spec.mounts import MASKED, READ_ONLY

from . import links
from .model import Container, MountPoint, State, Status

if TYPE_CHECKING:
    from gantry_agent.engine.core import Engine

TYPES = {"bind": "bind", "volume": "volume", "tmpfs": "tmpfs"}


def inspect(engine: "Engine", container: Container, *, size: int | None = None) -> dict[str, Any]:
    """GET /containers/{name}/json. `size`: bytes of the writable layer, when they were asked for."""
    folder = engine.layout.container(container.id)
    host = dict(container.host_config)
    if not host.get("Privileged"):
        host["MaskedPaths"] = MASKED if host.get("MaskedPaths") is None else host["MaskedPaths"]
        host["ReadonlyPaths"] = READ_ONLY if host.get("ReadonlyPaths") is None else host["ReadonlyPaths"]
    host["Links"] = links.shown(container, engine.containers.get)
    found: dict[str, Any] = {
        "Id": container.id,
        "Created": rfc3339(container.created_at),
        "Path": container.path,
        "Args": container.args,
        "State": state(container.state),
        "Image": container.image_id,
        "ResolvConfPath": str(folder / "resolv.conf"),
        "HostnamePath": str(folder / "hostname"),
        "HostsPath": str(folder / "hosts"),
        "LogPath": "" if _has_no_log(host) else str(engine.containers.conmon_paths(container).log),
        "Name": f"/{container.name}",
        "RestartCount": container.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(container.exec_ids) or None,
        "HostConfig": host,
        "GraphDriver": _driver(engine, container),
        "Mounts": [mount(each) for each in container.mounts if not _is_of_tmpfs_option(container, each)],
        "Config": container.config,
        "NetworkSettings": describe.settings(engine.networks, container),
    }
    if size is not None:
        found |= {"SizeRw": size, "SizeRootFs": size + image_size(engine, container)}
    return found


def state(found: State) -> dict[str, Any]:
    """State of inspect."""
    status = found.status
    shown: dict[str, Any] = {
        "Status": str(status),
        "Running": found.is_running or status is Status.RESTARTING,
        "Paused": status is Status.PAUSED,
        "Restarting": status is Status.RESTARTING,
        "OOMKilled": found.oom_killed,
        "Dead": status is Status.DEAD,
        "Pid": found.pid,
        "ExitCode": found.exit_code,
        "Error": found.error,
        "StartedAt": moment(found.started_at),
        "FinishedAt": moment(found.finished_at),
    }
    if found.health:
        shown["Health"] = {
            "Status": found.health,
            "FailingStreak": found.health_failing,
            "Log": found.health_log,
        }
    return shown


def moment(at: int) -> str:
    """RFC 3339, Go's zero time for never."""
    return rfc3339(at) if at else ZERO


def mount(found: MountPoint) -> dict[str, Any]:
    """One of Mounts."""
    shown: dict[str, Any] = {
        "Type": found.kind,
        "Source": found.source,
        "Destination": found.target,
        "Mode": found.mode,
        "RW": found.writable,
        "Propagation": found.propagation,
    }
    if found.kind == "volume":
        shown |= {"Name": found.name, "Driver": "local", "Mode": found.mode or "z"}
    return shown


def summary(
    engine: "Engine", container: Container, *, aliases: Sequence[str] = (), size: int | None = None
) -> dict[str, Any]:
    """One of GET /containers/json. `aliases`: its further names."""
    endpoints = container.endpoints.items()
    host: dict[str, Any] = {"NetworkMode": container.host_config.get("NetworkMode", "default")}
    if annotations := container.host_config.get("Annotations"):
        host["Annotations"] = annotations
    found: dict[str, Any] = {
        "Id": container.id,
        "Names": [f"/{container.name}", *aliases],
        "Image": shown_image(engine, container),
        "ImageID": container.image_id,
        "Command": command(container),
        "Created": container.created_at // 10**9,
        "Ports": ports(container),
        "Labels": container.labels,
        "State": str(container.state.status),
        "Status": status_text(container.state),
        "HostConfig": host,
        "NetworkSettings": {
            "Networks": {name: describe.endpoint_settings(container, name, end) for name, end in endpoints}
        },
        "Mounts": [mount(each) for each in container.mounts if not _is_of_tmpfs_option(container, each)],
    }
    if size is not None:
        found |= {"SizeRw": size, "SizeRootFs": size + image_size(engine, container)}
    return found


def shown_image(engine: "Engine", container: Container) -> str:
    """The name it was made from, or its id when that name is another image's now, or nobody's."""
    try:
        found = engine.store.images.get(container.image)
    except EngineError:
        return container.image_id
    return container.image if found.id == container.image_id else container.image_id


def command(container: Container) -> str:
    """As docker ps shows it: words with blanks in quotes."""
    words = [container.path, *(f"'{each}'" if " " in each or not each else each for each in container.args)]
    return " ".join(words)


def ports(container: Container) -> list[dict[str, Any]]:
    """Published and exposed ports of one that runs."""
    if not container.is_running:
        return []
    found: list[dict[str, Any]] = []
    for name, bindings in container.ports.items():
        private, _, protocol = name.partition("/")
        if not bindings:
            found.append({"PrivatePort": int(private), "Type": protocol})
        for each in bindings or ():
            public = {"PublicPort": int(each["HostPort"]), "Type": protocol}
            found.append({"IP": each["HostIp"], "PrivatePort": int(private), **public})
    return found


def status_text(found: State) -> str:
    """As docker ps shows it: "Up 3 minutes (Paused)"."""
    now = time.time_ns()
    if found.status in (Status.RUNNING, Status.PAUSED):
        text = f"Up {ago(now - found.started_at)}"
        if found.status is Status.PAUSED:
            return f"{text} (Paused)"
        if found.health:
            return f"{text} ({'health: starting' if found.health == 'starting' else found.health})"
        return text
    if found.status is Status.RESTARTING:
        return f"Restarting ({found.exit_code}) {ago(now - found.finished_at)} ago"
    if found.status is Status.REMOVING:
        return "Removal In Progress"
    if found.status is Status.DEAD:
        return "Dead"
    if found.status is Status.CREATED or not found.finished_at:
        return "Created"
    return f"Exited ({found.exit_code}) {ago(now - found.finished_at)} ago"


def ago(nanoseconds: int) -> str:
    """Docker's words for a duration (go-units, HumanDuration)."""
    seconds = max(0, nanoseconds // 10**9)
    minutes, hours = seconds // 60, round(seconds / 3600)
    if seconds < 1:
        return "Less than a second"
    if seconds == 1:
        return "1 second"
    if seconds < 60:
        return f"{seconds} seconds"
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    for limit, unit, per in (
        (48, "hours", 1),
        (24 * 14, "days", 24),
        (24 * 60, "weeks", 168),
        (24 * 730, "months", 720),
    ):
        if hours < limit:
            return f"{hours // per} {unit}"
    return f"{seconds // 3600 // 24 // 365} years"


def image_size(engine: "Engine", container: Container) -> int:
    """Bytes of its image; 0 when that is not known any more."""
    try:
        return engine.store.images.by_id(container.image_id).size
    except NotFound:
        return 0


def _is_of_tmpfs_option(container: Container, found: MountPoint) -> bool:
    """Docker shows `--tmpfs` in HostConfig only."""
    return found.kind == "tmpfs" and found.target in (container.host_config.get("Tmpfs") or {})


def _has_no_log(host: dict[str, Any]) -> bool:
    return bool((host.get("LogConfig") or {}).get("Type") == "none")


def _driver(engine: "Engine", container: Container) -> dict[str, Any]:
    folder = engine.layout.container(container.id)
    links = engine.store.images.stack(container.image_id)
    data = {
        "LowerDir": ":".join(str(engine.layout.links / each) for each in links),
        "MergedDir": str(folder / "merged"),
        "UpperDir": str(folder / "upper"),
        "WorkDir": str(folder / "work"),
    }
    return {"Name": "overlay2", "Data": data}
