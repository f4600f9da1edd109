"""Follows one host: list, then events, with a heartbeat beside them. Any gap begins it again.

    reach the engine → open /events → list everything → connected → apply events … → gap → unreachable → again

The events stream is opened before the list, so that nothing falls between the two. Every read is bounded in
size and time: a host that lies or sleeps costs only its own rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator

from django.db import DatabaseError, IntegrityError

from controlplane.lib.errors import GantryError
from controlplane.lib.threads import in_thread
from hosts.engine import Engine, agent_for, engine_for
from hosts.engine.messages import MessageSplitter
from hosts.models import Host
from hosts.watch import facts, standing
from hosts.watch.mirrors import Event, registered

log = logging.getLogger(__name__)

PING_SECONDS = 3.0
PING_LIMIT = 4.0  # how long the engine may take to answer a ping
PINGS_MISSED = 2  # then its rows are unknown: (3 + 4) * 2 = 14 s at worst
METRICS_SECONDS = 10.0
GATHER_SECONDS = 0.15  # events that come together are applied together
MOST_GATHERED = 500
FULL_LIST_SECONDS = 300.0  # a full list now and then, should an engine forget to tell something
LONGEST_PAUSE = 10.0


class Gap(Exception):
    """The stream of events has broken, or the engine does not answer: what we know is no longer sure."""


class HostFollower:
    """Follows `host` until cancelled."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.wake = asyncio.Event()  # set to try again without waiting out the pause
        self._measure_now = asyncio.Event()

    async def run(self) -> None:
        """Both at once: a machine whose engine is missing or hangs still says how it is."""
        async with asyncio.TaskGroup() as group:
            measuring = group.create_task(self._measure())
            await self._follow()
            measuring.cancel()

    async def _follow(self) -> None:
        failures = 0
        while True:
            self._was_connected = False
            try:
                await self._follow_once()
            except Exception as exc:  # noqa: BLE001  the outermost loop: no host may end it, whatever it answers
                error = _first(exc)
                if isinstance(error, IntegrityError):
                    log.info("host %s is gone", self.host.pk)
                    return
                failures = 1 if self._was_connected else failures + 1
                await self._lost(_reason(error))
            await self._pause(failures)

    async def _lost(self, reason: str) -> None:
        log.info("host %s: %s", self.host.name, reason)
        try:
            await in_thread(standing.mark_unreachable, self.host, reason)
        except DatabaseError as exc:
            log.warning("host %s: standing not written: %s", self.host.name, exc)

    async def _pause(self, failures: int) -> None:
        self.wake.clear()
        pause = min(LONGEST_PAUSE, 0.5 * 2 ** min(failures, 6)) * random.uniform(0.7, 1.0)
        try:
            async with asyncio.timeout(pause):
                await self.wake.wait()
        except TimeoutError:
            pass

    async def _follow_once(self) -> None:
        async with engine_for(self.host) as engine, asyncio.TaskGroup() as group:
            self._measure_now.set()
            version = await engine.get("/version", timeout=PING_LIMIT)
            info = await engine.get("/info", timeout=15)
            queue: asyncio.Queue[Event] = asyncio.Queue(maxsize=10_000)
            listening = asyncio.Event()
            group.create_task(self._listen(engine, queue, listening))
            async with asyncio.timeout(15):
                await listening.wait()
            await self._list(engine)
            await in_thread(standing.mark_connected, self.host, facts.engine_facts(version, info))
            self._was_connected = True
            group.create_task(self._ping(engine))
            group.create_task(self._list_regularly(engine))
            await self._apply(engine, queue)

    async def _listen(self, engine: Engine, queue: asyncio.Queue[Event], listening: asyncio.Event) -> None:
        splitter = MessageSplitter()
        async with engine.stream("GET", "/events", timeout=15) as response:
            listening.set()
            while data := await response.content.read(64 * 1024):
                for event in splitter.feed(data):
                    if queue.full():
                        raise Gap("it sends events faster than they can be followed")
                    queue.put_nowait(event)
        raise Gap("its stream of events has ended")

    async def _list(self, engine: Engine) -> None:
        for mirror in registered():
            await mirror.refresh(engine, self.host)

    async def _list_regularly(self, engine: Engine) -> None:
        while True:
            await asyncio.sleep(FULL_LIST_SECONDS * random.uniform(0.8, 1.2))
            await self._list(engine)
            await in_thread(standing.note_listed, self.host)

    async def _apply(self, engine: Engine, queue: asyncio.Queue[Event]) -> None:
        async for events in _gathered(queue):
            for mirror in registered():
                if wanted := [event for event in events if mirror.wants(event)]:
                    await mirror.apply(engine, self.host, wanted)

    async def _ping(self, engine: Engine) -> None:
        missed = 0
        while True:
            await asyncio.sleep(PING_SECONDS)
            try:
                await engine.get("/_ping", timeout=PING_LIMIT, limit=1024)
                missed = 0
            except GantryError as exc:
                missed += 1
                if missed >= PINGS_MISSED:
                    raise Gap(f"its engine does not answer: {exc}") from exc

    async def _measure(self) -> None:
        """Ask the agent how the machine is. An agent that does not say so harms nothing but the figures."""
        while True:
            self._measure_now.clear()
            try:
                async with agent_for(self.host) as agent:
                    said = await agent.get("/gantry/host", timeout=PING_LIMIT, limit=64 * 1024)
                if isinstance(said, dict):
                    await in_thread(standing.note_metrics, self.host, facts.agent_facts(said))
            except (GantryError, DatabaseError) as exc:
                log.debug("host %s: no metrics: %s", self.host.name, exc)
            except Exception as exc:  # an outermost loop as well: what an agent says ends nothing
                log.warning("host %s: what its agent says was not understood", self.host.name, exc_info=exc)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(METRICS_SECONDS * random.uniform(0.9, 1.1)):
                    await self._measure_now.wait()


async def _gathered(queue: asyncio.Queue[Event]) -> AsyncIterator[list[Event]]:
    """Batches: the first event, and what else comes within GATHER_SECONDS."""
    while True:
        events = [await queue.get()]
        await asyncio.sleep(GATHER_SECONDS)
        while not queue.empty() and len(events) < MOST_GATHERED:
            events.append(queue.get_nowait())
        yield events


def _first(error: BaseException) -> BaseException:
    """The first plain error within nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _reason(error: BaseException) -> str:
    if isinstance(error, GantryError | Gap):
        return str(error)
    if isinstance(error, OSError | DatabaseError):
        return f"{type(error).__name__}: {error}"
    log.warning("a host's answer was not understood", exc_info=error)
    return "what it answers is not the Engine API"
