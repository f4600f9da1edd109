"""Taking back, when the engine opens, what an earlier one left: running containers, the dead, the half-made."""

import asyncio
import contextlib
import logging
import os
import signal
from typing import TYPE_CHECKING

from gantry_agent.engine.errors import EngineError
from gantry_agent.engine.layers import overlay
from gantry_agent.engine.runtime import cgroups, processes, spawn

from . import changes, restarts, running
from .model import Container, Status

if TYPE_CHECKING:
    from gantry_agent.engine.core import Engine

    from .manager import Containers

log = logging.getLogger(__name__)
MARK = "here"  # in RUN, which lies on tmpfs: without it the host was started anew since the last engine
CONMON_LAST_WORDS = 5.0  # seconds a conmon whose container has died may take to write the exit code


async def adopt(engine: "Engine", containers: "Containers") -> None:
    """Before networks and volumes open: who runs keeps his mount; folders nobody knows go."""
    for container in containers.all():
        if container.is_running and running.is_alive(container):
            containers.roots.take_back(container)
    known = {each.id for each in containers.all()}
    for folder in tuple(engine.layout.containers.iterdir()):
        if folder.name not in known:
            log.info("removing %s: no container has this id", folder)
            await overlay.unmount(folder / "merged")
            await overlay.unmount(folder / "shm")
            if away := running.remove_folder(folder, engine.layout.tmp):
                engine.spawn(asyncio.to_thread(running.delete_tree, away), f"deletion of {folder.name[:12]}")


async def resume(engine: "Engine", containers: "Containers") -> None:
    """After networks and volumes have opened: deaths, half-made starts, removals, restarts."""
    mark = engine.layout.run / MARK
    is_boot = not mark.exists()
    mark.touch()
    results = await asyncio.gather(
        *(_resume_one(engine, containers, each, is_boot) for each in containers.all()), return_exceptions=True
    )
    for result in results:
        if isinstance(result, EngineError):
            log.error("taking back a container failed: %s", result.message)
        elif isinstance(result, BaseException):
            log.error("taking back a container failed", exc_info=result)
    _forget_strangers(engine, containers)


async def _resume_one(engine: "Engine", containers: "Containers", container: Container, is_boot: bool) -> None:
    state = container.state
    if container.is_running:
        if running.is_alive(container) and processes.is_same(state.conmon_pid, state.conmon_started):
            containers.watch(container)
            if state.paused_for_commit:
                await _unpause(containers, container)
        else:
            await _note_death(engine, containers, container)
    elif state.status in (Status.REMOVING, Status.DEAD):
        async with containers.lock(container):
            await changes.finish_removal(engine, containers, container, volumes=state.removes_volumes)
        return
    elif containers.unavailable == "":
        await _clear_half_start(engine, containers, container)
    is_done = state.status is Status.EXITED and container.host_config.get("AutoRemove")
    if is_done or container.is_step:  # a step's build died with the engine before
        engine.spawn(containers.auto_remove(container), f"removal of {container.id[:12]}")
    elif state.status is Status.RESTARTING:
        containers.restart_later(container, 0.0)
    elif is_boot and not container.is_running and restarts.wants_boot(container) and state.started_at:
        state.status = Status.RESTARTING
        containers.restart_later(container, 0.0)


async def _unpause(containers: "Containers", container: Container) -> None:
    """The commit it stood still for died with the engine before, perhaps before anybody noted that it was frozen."""
    state = container.state
    noted, state.status = state.status, Status.PAUSED
    try:
        await containers.unpause(container)
    except EngineError as exc:
        state.status = noted
        log.warning("container %s cannot be unpaused after a commit: %s", container.id[:12], exc.message)


async def _note_death(engine: "Engine", containers: "Containers", container: Container) -> None:
    """It died while no engine ran: conmon's exit file says how, and its time when."""
    state = container.state
    if processes.is_same(state.conmon_pid, state.conmon_started) and not running.is_alive(container):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONMON_LAST_WORDS):
                await spawn.gone(state.conmon_pid)
    code = containers.exits.read(container.id)
    at = 0
    if code is not None:
        at = (containers.exits.folder / container.id).stat().st_mtime_ns
    elif running.is_alive(container):
        state.error = "its monitor (conmon) was killed"
        with contextlib.suppress(ProcessLookupError):
            os.kill(state.pid, signal.SIGKILL)
        await spawn.gone(state.pid)
    await containers.died(container, state.started_at, 255 if code is None else code, at)


async def _clear_half_start(engine: "Engine", containers: "Containers", container: Container) -> None:
    """An engine that died while it started a container: the process was never let go, or nobody noted that it was."""
    parent = str(container.host_config.get("CgroupParent") or "")
    traces = (engine.layout.runtime / container.id).exists() or cgroups.group_of(container.id, parent)
    if traces or os.path.ismount(containers.roots.merged(container)):
        _, conmon = running.left_over(engine, container)
        await running.end(engine, containers.tools, containers.roots, container)
        if conmon and processes.start_time(conmon):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CONMON_LAST_WORDS):
                    await spawn.gone(conmon)
        containers.exits.forget(container.id)


def _forget_strangers(engine: "Engine", containers: "Containers") -> None:
    """Exit files of containers that are no more."""
    for path in engine.layout.exits.iterdir():
        if containers.find(path.name) is None:
            path.unlink(missing_ok=True)
