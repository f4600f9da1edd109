"""From a container to its process, and back to nothing: everything made for one run is taken down after it."""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gantry_agent.engine.errors import Conflict, EngineError, Internal, InvalidArgument
from gantry_agent.engine.layers import mounting, overlay
from gantry_agent.engine.runtime import cgroups, mountpoints, processes, seccomp
from gantry_agent.engine.runtime.conmon import Conmon, Paths, RuntimeRefusal, Started, read_pid
from gantry_agent.engine.runtime.oci_runtime import OciRuntime
from gantry_agent.engine.runtime.refusals import REFUSED, reworded
from gantry_agent.engine.runtime.spec import Surroundings, build, propagation

from . import links
from .model import Container
from .roots import Roots

if TYPE_CHECKING:
    from gantry_agent.engine.core import Engine

log = logging.getLogger(__name__)
DEFAULT_SHM = 64 << 20


@dataclass
class Tools:
    """What runs processes on this host."""

    conmon: Conmon
    runtime: OciRuntime
    filters: seccomp.Filters


class Hidden(NamedTuple):
    """What one run is told and nobody writes to a disk: variables, and a folder in memory for its configuration."""

    env: Sequence[str]
    folder: Path


class StartFailed(Internal):
    """The process could not be started; `exit_code` as a shell would give it."""

    def __init__(self, message: str, exit_code: int, status: int = 500) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.status = status


def conmon_paths(engine: "Engine", container: Container) -> Paths:
    """Where the files of a container's conmon are."""
    folder = engine.layout.container(container.id)
    return Paths(folder / "bundle", folder / "ctr.log", engine.layout.exits / container.id)


async def begin(
    engine: "Engine", tools: Tools, roots: Roots, container: Container, hidden: Hidden | None = None
) -> Started:
    """Make everything a run needs and start its process. Raises StartFailed and other errors; nothing is left then."""
    try:
        linked = links.environment(container, engine.containers.get, at_start=True)
        netns, _ = await _both(engine.networks.attach(container), roots.hold(container))
        await engine.volumes.mount(container)
        document, key = await _document(engine, tools, roots, container, netns, linked)
        paths = conmon_paths(engine, container)
        await asyncio.to_thread(_prepare, paths, document, hidden)
        config = container.config
        started = await tools.conmon.create(
            container.id,
            container.name,
            paths,
            tty=container.is_tty,
            stdin=bool(config.get("OpenStdin")),
            # A terminal has no end of input: who detaches may come back.
            stdin_once=bool(config.get("StdinOnce")) and not container.is_tty,
        )
        if key:
            tools.filters.keep(key, engine.layout.runtime / container.id)
        await tools.runtime.start(container.id)
    except BaseException as exc:
        await asyncio.shield(end(engine, tools, roots, container))
        if isinstance(exc, RuntimeRefusal):
            raise refusal(container, exc.message, tools.runtime.programs.name) from exc
        if isinstance(exc, mountpoints.Unplaced):
            raise refusal(container, str(exc), "") from exc
        raise
    return started


async def end(engine: "Engine", tools: Tools, roots: Roots, container: Container) -> None:
    """Take down what a run had; every step is tried, failures are logged. May be called twice."""
    parent = str(container.host_config.get("CgroupParent") or "")
    # In a thread: the kernel answers for cgroups when nobody else holds their lock.
    await asyncio.to_thread(_kill_rest, container)
    for what, work in (
        ("the runtime's state", tools.runtime.delete(container.id)),
        ("its network", engine.networks.detach(container)),
        ("its volumes", engine.volumes.unmount(container)),
        ("its root", roots.drop(container)),
        ("its shared memory", _drop_shm(engine, container)),
    ):
        try:
            await work
        except (EngineError, OSError) as exc:
            log.error("container %s: %s could not be taken down: %s", container.id[:12], what, exc)
    await asyncio.to_thread(cgroups.remove, container.id, parent)


def oom_kills(container: Container) -> int:
    """How often the kernel killed in it for want of memory, in this run."""
    return cgroups.oom_kills(cgroups.path_of(container.id, str(container.host_config.get("CgroupParent") or "")))


def refusal(container: Container, said: str, runtime: str) -> StartFailed:
    """What the runtime said, in the words and with the exit code that clients of Docker know."""
    words, code = reworded(container.path, said, runtime)
    return StartFailed(_worded(words), code, 400 if code != REFUSED else 500)


def _worded(text: str) -> str:
    return f"failed to create task for container: OCI runtime create failed: {text}: unknown"


async def _both(first: Any, second: Any) -> tuple[Any, Any]:
    """Two pieces of work at once; a failure waits for the other to end."""
    found = await asyncio.gather(first, second, return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return found[0], found[1]


async def _document(
    engine: "Engine", tools: Tools, roots: Roots, container: Container, netns: Path | None, linked: list[str]
) -> tuple[dict[str, Any], str]:
    """config.json, and the key under which its compiled seccomp filter is kept ("" when there is none)."""
    host = container.host_config
    ulimits = {name: (int(pair[0]), int(pair[1])) for name, pair in engine.config.default_ulimits.items()}
    around = Surroundings(
        root=roots.merged(container),
        netns=netns,
        files=engine.networks.files(container) if container.network_mode != "none" or netns else {},
        ulimits=ulimits,
        init=tools.runtime.programs.init if host.get("Init") else "",
        shm=await _shm(engine, container),
        ipc_pid=_pid_of(engine, host, "IpcMode"),
        pid_pid=_pid_of(engine, host, "PidMode"),
        linked=linked,
    )
    if host.get("Init") and not around.init:
        raise InvalidArgument("HostConfig.Init needs docker-init, catatonit or tini: none is installed on this host")
    around.files = {inside: path for inside, path in around.files.items() if path.exists()}
    await asyncio.to_thread(propagation.check, container.mounts)
    document = await asyncio.to_thread(build, container, around)  # it reads the image's files
    profile = document["linux"].get("seccomp")
    if not profile or tools.runtime.programs.name != "crun":
        return document, ""
    key = tools.filters.key(profile)
    if compiled := tools.filters.get(key):
        document["annotations"][seccomp.ANNOTATION] = compiled
    return document, key


def _prepare(paths: Paths, document: dict[str, Any], hidden: Hidden | None) -> None:
    """Have the places the configuration names, and write it down. Raises Unplaced, InvalidArgument."""
    mountpoints.settle(document)
    paths.bundle.mkdir(mode=0o700, exist_ok=True)
    place = paths.bundle / "config.json"
    if hidden:
        process, names = document["process"], {each.partition("=")[0] for each in hidden.env}
        process["env"] = [each for each in process["env"] if each.partition("=")[0] not in names] + list(hidden.env)
        hidden.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(hidden.folder / f"{paths.bundle.parent.name}.json")
    place.write_text(json.dumps(document))


def _pid_of(engine: "Engine", host: Mapping[str, Any], mode: str) -> int:
    """The process whose namespace a container joins, 0 for none. Raises Conflict unless it runs."""
    kind, _, other_id = str(host.get(mode) or "").partition(":")
    if kind != "container":
        return 0
    other = engine.containers.find(other_id)
    if other is None or not other.is_running:
        raise Conflict(f"cannot join {mode[:3].upper()} of a non running container: {other_id}")
    return other.state.pid


async def _shm(engine: "Engine", container: Container) -> Path | None:
    """/dev/shm as a mount on the host, when other containers may share it: theirs, or one's own."""
    mode = str(container.host_config.get("IpcMode") or "")
    owner = mode.partition(":")[2] if mode.startswith("container:") else container.id
    folder = engine.layout.container(owner) / "shm"
    if mode.startswith("container:"):
        other = engine.containers.find(owner)
        is_host = other is not None and other.host_config.get("IpcMode") == "host"
        return Path("/dev/shm") if is_host else folder
    if mode != "shareable":
        return None
    folder.mkdir(mode=0o700, exist_ok=True)
    if not os.path.ismount(folder):
        size = container.host_config.get("ShmSize") or DEFAULT_SHM
        await asyncio.to_thread(mounting.mount_raw, "shm", str(folder), "tmpfs", 0xE, f"mode=1777,size={size}")
    return folder


async def _drop_shm(engine: "Engine", container: Container) -> None:
    folder = engine.layout.container(container.id) / "shm"
    if folder.exists():
        await overlay.unmount(folder)


def _kill_rest(container: Container) -> None:
    """Kill what is left in its group: with a shared pid namespace its processes do not end with the first one."""
    group = cgroups.path_of(container.id, str(container.host_config.get("CgroupParent") or ""))
    for pid in cgroups.pids(group):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def left_over(engine: "Engine", container: Container) -> tuple[int, int]:
    """The pids of a process and its conmon that an engine killed while starting left, 0 for none."""
    paths = conmon_paths(engine, container)
    return read_pid(paths.pidfile), read_pid(paths.conmon_pidfile)


def remove_folder(folder: Path, tmp: Path) -> Path | None:
    """Take a container's folder away in one step, to be deleted in its own time; what is left there, the next start
    sweeps. None when there is none."""
    away = tmp / f"container-{folder.name[:16]}-{time.time_ns()}"
    try:
        folder.rename(away)
    except FileNotFoundError:
        return None
    return away


def delete_tree(folder: Path) -> None:
    """Delete; a mount left inside stays, and is said."""
    shutil.rmtree(folder, onerror=lambda _, path, info: log.warning("%s cannot be deleted: %s", path, info[1]))


def is_alive(container: Container) -> bool:
    """Whether its process is there."""
    return processes.is_same(container.state.pid, container.state.pid_started)
