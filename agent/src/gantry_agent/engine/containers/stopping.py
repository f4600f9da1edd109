"""Ending a container's process: a signal, patience, and SIGKILL."""

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from gantry_agent.engine.errors import EngineError, Internal
from gantry_agent.engine.runtime import processes, spawn

from . import running
from .model import Container, Status

if TYPE_CHECKING:
    from .manager import Containers

STOP_TIMEOUT = 10  # seconds between the signal and SIGKILL
KILL_TIMEOUT = 10.0  # seconds a process may take to go after SIGKILL


def signal_of(container: Container) -> int:
    """The signal that asks it to end."""
    return processes.signal_number(container.config.get("StopSignal") or "SIGTERM")


async def stop(
    containers: "Containers", container: Container, timeout: int | None, signal_name: str, *, removes: bool = True
) -> None:
    """Ask, wait, kill; until what the run had is taken down. `timeout`: seconds, None for the container's own.

    Without `removes` an auto-removed container stays: it is started again. Raises InvalidArgument, Internal.
    """
    number = processes.signal_number(signal_name) if signal_name else signal_of(container)
    if timeout is None:
        timeout = container.config.get("StopTimeout")
    seconds = STOP_TIMEOUT if timeout is None else timeout
    auto_remove = container.host_config.get("AutoRemove")
    if not removes:
        container.host_config["AutoRemove"] = False
    try:
        container.state.stopped_by_hand = True
        await containers.save(container)
        await send(containers, container, number)
        containers.tell(container, "kill", signal=str(number))
        try:
            async with asyncio.timeout(None if seconds < 0 else seconds):
                await containers.waiting.stopped(container)
        except TimeoutError:
            await kill_and_wait(containers, container)
        async with containers.lock(container):
            pass  # what the run had is taken down now
    finally:
        if not removes:
            container.host_config["AutoRemove"] = auto_remove


async def kill_and_wait(containers: "Containers", container: Container) -> None:
    """SIGKILL, until it is gone. Raises Internal when it does not go."""
    if not container.is_running:
        return
    await send(containers, container, signal.SIGKILL)
    containers.tell(container, "kill", signal=str(int(signal.SIGKILL)))
    try:
        async with asyncio.timeout(KILL_TIMEOUT):
            await containers.waiting.stopped(container)
    except TimeoutError as exc:
        raise Internal(f"container {container.id} is still there {KILL_TIMEOUT:g} s after SIGKILL") from exc


async def kill_now(containers: "Containers", container: Container) -> None:
    """Kill a process whose monitor has gone, and wait for its end."""
    if running.is_alive(container):
        pid = container.state.pid
        await send(containers, container, signal.SIGKILL)
        await spawn.gone(pid)


async def send(containers: "Containers", container: Container, number: int) -> None:
    """A signal to its first process. A process gone already is fine; a frozen one is thawed to end."""
    with suppress(ProcessLookupError):
        if not container.state.pid:
            return
        descriptor = os.pidfd_open(container.state.pid)
        try:
            if running.is_alive(container):
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
    if container.state.status is Status.PAUSED and number in (signal.SIGKILL, signal_of(container)):
        with suppress(EngineError):
            await containers.unpause(container)
