"""`gantry-agent run`: the API, the facts and one link per gateway, until a signal."""

import asyncio
import contextlib
import logging
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .api import Api
from .engine_client import Engine
from .facts import HostFacts
from .link import Link
from .native import CONFIG, NATIVE, Places, choose
from .state import State

log = logging.getLogger(__name__)

STATUS_EVERY = 5.0  # seconds


async def run(state: State, engine_choice: str, places: Places) -> None:
    """Serve until SIGTERM or SIGINT. Raises NotEnrolled.

    `engine_choice`: "native", unix:///path, or "" for whatever is found. `places` is where the native engine lives.
    """
    enrolment = state.enrolment()
    allow_many_files()
    engine = Engine("" if engine_choice == NATIVE else engine_choice)
    facts = HostFacts(engine)
    api = Api(engine, facts)
    await api.start()
    links = [Link(state, enrolment, url, engine, api.accept) for url in enrolment.gateways]

    def report() -> None:
        standings = [vars(link.standing) for link in links]
        with contextlib.suppress(OSError):
            state.write_status(
                gateways=standings,
                engine=engine.find(),
                native=engine.is_native,
                problem=engine.problem,
                reachable=facts.reachable,
            )

    for link in links:
        link.on_change = report
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    tasks = [asyncio.create_task(link.run()) for link in links]
    tasks += [asyncio.create_task(work) for work in (facts.run(), api.sweep(), _report_often(report))]
    if engine_choice in ("", NATIVE):
        tasks.append(asyncio.create_task(choose(engine, places, asked=engine_choice == NATIVE, changed=report)))
    elif engine.find() is None:
        log.warning("no container engine found on this host yet; looking again on every request")
    waiter = asyncio.create_task(stopping.wait())
    try:
        done, _ = await asyncio.wait([*tasks, waiter], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (*tasks, waiter):
            task.cancel()
        await asyncio.gather(*tasks, waiter, return_exceptions=True)
        await api.stop()


def places_of(state: State, root: Path, socket: Path) -> Places:
    """Where the native engine of this agent lives; `engine.json` in the state folder configures it."""
    config = state.folder / CONFIG
    return Places(root, socket, config if config.exists() else None)


async def _report_often(report: Callable[[], None]) -> None:
    while True:
        report()
        await asyncio.sleep(STATUS_EVERY)


def allow_many_files() -> None:
    """Each stream takes two descriptors: raise the soft limit to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def describe(state: State) -> str:
    """`gantry-agent status`, for people. Raises NotEnrolled."""
    enrolment = state.enrolment()
    status = state.read_status()
    lines = [f"Enrolled as {enrolment.name} (host {enrolment.host}) at {enrolment.url}"]
    pid = status.get("pid")
    if not isinstance(pid, int) or not is_running(pid):
        return "\n".join([*lines, "The agent is not running."])
    lines.append(f"Running, process {pid}; engine: {_engine_words(status)}")
    if problem := status.get("problem"):
        lines.append(str(problem))
    for gateway in status.get("gateways", []):
        standing = "connected" if gateway.get("connected") else gateway.get("problem") or "connecting"
        lines.append(f"{gateway.get('gateway')}: {standing}")
    return "\n".join(lines)


def _engine_words(status: dict[str, Any]) -> str:
    socket = status.get("engine")
    if status.get("native"):
        return f"Gantry native, {socket or 'starting'}"
    return str(socket or "none found")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
