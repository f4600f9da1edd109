"""Health checks: a command run inside the container at intervals, and what its answers add up to.

The rules are Docker's (daemon/health.go): within the start period a failure does not count until the first success;
`Retries` failures in a row make it unhealthy; one success makes it healthy. The last five results are kept.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from gantry_agent.engine.errors import EngineError
from gantry_agent.engine.events import Event, Events

from .model import Container, State, Status

log = logging.getLogger(__name__)

SECOND = 1_000_000_000  # nanoseconds
KEPT_RESULTS = 5
MAX_OUTPUT = 4096  # bytes of one result
STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"


@dataclass(frozen=True)
class Probe:
    """A container's Healthcheck with its defaults; times in seconds."""

    command: tuple[str, ...]
    interval: float = 30
    timeout: float = 30
    start_period: float = 0
    start_interval: float = 5
    retries: int = 3

    @classmethod
    def of(cls, container: Container) -> Self | None:
        """The probe of a container, None without one. A shell is the image's own (`Shell`), as for RUN."""
        found = container.config.get("Healthcheck") or {}
        kind, *words = found.get("Test") or ["NONE"]
        if kind == "CMD-SHELL":
            words = [*(container.config.get("Shell") or ["/bin/sh", "-c"]), *words]
        elif kind != "CMD":
            words = []
        if not words:
            return None
        names = {
            "interval": "Interval",
            "timeout": "Timeout",
            "start_period": "StartPeriod",
            "start_interval": "StartInterval",
        }
        times = {field: found[name] / SECOND for field, name in names.items() if found.get(name)}
        return cls(tuple(words), retries=found.get("Retries") or 3, **times)


@dataclass(frozen=True)
class Result:
    """One run of a probe; times in nanoseconds since the epoch."""

    start: int
    end: int
    exit_code: int
    output: str

    def to_json(self) -> dict[str, Any]:
        return {
            "Start": _rfc3339(self.start),
            "End": _rfc3339(self.end),
            "ExitCode": self.exit_code,
            "Output": self.output,
        }


def judge(state: State, probe: Probe, result: Result) -> None:
    """Take one result into a container's state."""
    state.health_log = [*state.health_log, result.to_json()][-KEPT_RESULTS:]
    if result.exit_code == 0:
        state.health, state.health_failing = HEALTHY, 0
        return
    in_start_period = result.start - state.started_at < probe.start_period * SECOND
    if state.health == STARTING and in_start_period:
        return
    state.health_failing += 1
    if state.health_failing >= probe.retries:
        state.health = UNHEALTHY


Run = Callable[[Container, tuple[str, ...], float, int], Awaitable[tuple[int, str]]]
"""container, command, timeout in seconds, bytes of output → exit code (-1: timed out) and output."""
IsAlive = Callable[[Container], bool]
"""Whether the container's process is there: its state says so a moment longer."""


class Health:
    """One task for each running container that has a probe. `run` follows the engine's events."""

    def __init__(
        self,
        events: Events,
        get: Callable[[str], Container | None],
        save: Callable[[Container], Awaitable[None]],
        execute: Run,
        is_alive: IsAlive,
    ) -> None:
        self._events = events
        self._get = get
        self._save = save
        self._execute = execute
        self._is_alive = is_alive
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, container: Container) -> None:
        """A container has just been started: its checks begin anew. The results of its last run are still told."""
        if Probe.of(container):
            container.state.health, container.state.health_failing = STARTING, 0

    def rest(self, container: Container) -> None:
        """It has ended or is paused, and nobody checks any more: it counts as unhealthy until the next good check, as
        with Docker."""
        if Probe.of(container) and container.state.health:
            container.state.health = UNHEALTHY

    def resume(self, containers: list[Container]) -> None:
        """The engine is back: checks go on where they were."""
        for container in containers:
            self._watch(container)

    async def run(self) -> None:
        """Begin and end checks as containers start and stop, for ever."""
        while True:
            with self._events.listen() as listener:
                while (event := await listener.get()) is not None:
                    if event.kind != "container":
                        continue
                    if event.action in ("die", "pause", "destroy"):
                        self._end(event.actor)
                    elif event.action in ("start", "unpause") and (container := self._get(event.actor)):
                        self._watch(container)

    async def close(self) -> None:
        """End all checks."""
        for container_id in tuple(self._tasks):
            self._end(container_id)

    def _watch(self, container: Container) -> None:
        self._end(container.id)
        probe = Probe.of(container)
        if probe and container.state.status is Status.RUNNING:
            task = asyncio.get_running_loop().create_task(self._check(container, probe), name=f"health {container.id}")
            self._tasks[container.id] = task

    def _end(self, container_id: str) -> None:
        if task := self._tasks.pop(container_id, None):
            task.cancel()

    async def _check(self, container: Container, probe: Probe) -> None:
        """Run the probe at its intervals until cancelled."""
        last = _last_end(container.state)
        while True:
            await asyncio.sleep(self._pause(container.state, probe, last))
            started_at, start = container.state.started_at, time.time_ns()
            try:
                code, output = await self._execute(container, probe.command, probe.timeout, MAX_OUTPUT)
            except EngineError as exc:
                code, output = -1, exc.message
            except OSError as exc:
                code, output = -1, str(exc)
            last = time.time_ns()
            if container.state.status is not Status.RUNNING or container.state.started_at != started_at:
                return
            if code and not self._is_alive(container):
                return  # the check died with it, and says nothing of its health
            before = container.state.health
            judge(container.state, probe, Result(start, last, code, output))
            await self._save(container)
            if container.state.health != before:
                action = f"health_status: {container.state.health}"
                attributes = {**container.labels, "image": container.image, "name": container.name}
                self._events.publish_event(Event("container", action, container.id, attributes))

    def _pause(self, state: State, probe: Probe, last: int) -> float:
        """Seconds until the next run; a probe that was due while the engine was away runs at once."""
        now = max(time.time_ns(), last, state.started_at)  # the clock may have been set back
        is_starting = state.health == STARTING and now - state.started_at < probe.start_period * SECOND
        pause = probe.start_interval if is_starting else probe.interval
        return max(0.0, pause - (now - max(last, state.started_at)) / SECOND)


def _last_end(state: State) -> int:
    """When the last check ended, 0 when there was none."""
    if not state.health_log:
        return 0
    seconds, _, rest = state.health_log[-1]["End"].rstrip("Z").partition(".")
    return int(datetime.fromisoformat(seconds + "+00:00").timestamp()) * SECOND + int(rest.ljust(9, "0")[:9])


def _rfc3339(at: int) -> str:
    return f"{datetime.fromtimestamp(at // SECOND, UTC):%Y-%m-%dT%H:%M:%S}.{at % SECOND:09d}Z"
