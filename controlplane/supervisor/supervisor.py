"""Starts parts in the order of what they wait for, restarts what dies, stops all in stages."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from controlplane.supervisor.output import Output
from controlplane.supervisor.process import Child, Process, how_it_ended, start
from controlplane.supervisor.spare import Spare

_POLL = 0.05  # seconds between two looks at a part that is not ready yet
_PATIENCE = 30.0  # seconds after which waiting is worth a word
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 15.0  # seconds before a dead child is started again: 1, 2, 4 … 15
_PROVEN = 30.0  # seconds of running after which the delay begins anew

Readiness = Callable[[int], Awaitable[bool]]


async def always(pid: int) -> bool:
    """The readiness of a part that gives no sign: it is ready once it runs."""
    return True


@dataclass(frozen=True)
class Part:
    """One long-running program.

    `ready` is asked with the pid until it says yes. `after` names the parts that have to be ready before it
    starts. `stage` orders the stop: lowest first, one stage at a time; `grace` is in seconds. Lines that
    match `noise` (banners, mostly) are not shown.
    """

    name: str
    command: Sequence[str]
    ready: Readiness = always
    after: Sequence[str] = ()
    stage: int = 0
    grace: float = 10.0
    noise: re.Pattern[str] | None = None


class Supervisor:
    """Holds the parts added to it, each run in `folder`; `stop` ends them. Use as `async with`.

    A part whose name is in `spares` becomes the program of that process the first time it is started.
    """

    def __init__(
        self,
        output: Output,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        spares: Mapping[str, Spare] | None = None,
    ) -> None:
        self._output = output
        self._folder = folder
        self._spares = dict(spares or {})
        self._environment = dict(os.environ if environment is None else environment)
        self._children: dict[str, Child] = {}
        self._parts: dict[str, Part] = {}
        self._ready: dict[str, asyncio.Event] = {}
        self._keepers: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self.hurry = asyncio.Event()
        self.proven = _PROVEN
        self.first_delay = _FIRST_DELAY

    async def __aenter__(self) -> Supervisor:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def add(self, parts: Iterable[Part]) -> None:
        """Begin to run `parts`; each starts once those it comes after are ready."""
        for part in parts:
            self._parts[part.name] = part
            self._ready[part.name] = asyncio.Event()
        for name, part in self._parts.items():
            if unknown := set(part.after) - set(self._parts):
                raise ValueError(f"{name} waits for {', '.join(sorted(unknown))}, which is no part")
            if not any(task.get_name() == name for task in self._keepers):
                self._keepers.add(asyncio.create_task(self._keep(part), name=name))

    def pid(self, name: str) -> int | None:
        """The pid of the part's present child, None while there is none."""
        child = self._children.get(name)
        return child.pid if child is not None and child.running else None

    async def ready(self, *names: str) -> None:
        """Wait until these parts (all of them when none is named) have been ready once."""
        await asyncio.gather(*(self._ready[name].wait() for name in names or self._parts))

    def waiting(self) -> list[str]:
        """The parts that have not been ready yet."""
        return [name for name, event in self._ready.items() if not event.is_set()]

    async def stop(self) -> None:
        """End every part, stage by stage; nothing is restarted from here on. May be called twice."""
        self._stopping.set()
        for stage in sorted({part.stage for part in self._parts.values()}):
            names = [name for name, part in self._parts.items() if part.stage == stage]
            await asyncio.gather(*(self._end(name) for name in names if name in self._children))
        await asyncio.gather(*self._keepers)

    async def _end(self, name: str) -> None:
        part = self._parts[name]
        if not await self._children[name].stop(part.grace, self.hurry):
            self._output.say(f"{name} did not stop within {part.grace:g} s and was killed.")

    async def _keep(self, part: Part) -> None:
        """Run one part until the stop, however often it dies."""
        for name in part.after:
            await self._or_stopping(self._ready[name])
        delay = self.first_delay
        while not self._stopping.is_set():
            began = time.monotonic()
            ending = await self._run(part)
            if self._stopping.is_set():
                return
            if time.monotonic() - began > self.proven:
                delay = self.first_delay
            self._output.say(f"{part.name} {ending}; starting it again in {delay:g} s.")
            await self._or_stopping(self._stopping, delay)
            delay = min(delay * 2, _LONGEST_DELAY)

    async def _run(self, part: Part) -> str:
        """Run the part once; give back in words how it ended."""
        try:
            process = self._start(part)
        except OSError as exc:
            return f"could not be started ({exc.strerror}: {part.command[0]})"
        child = await Child.of(part.name, process, lambda line: self._relay(part, line))
        self._children[part.name] = child
        if self._stopping.is_set():  # the stop came between the spawn and this line, and missed it
            await self._end(part.name)
        watching = asyncio.create_task(self._await_readiness(part, child))
        code = await child.wait()
        watching.cancel()
        (failure,) = await asyncio.gather(watching, return_exceptions=True)
        if isinstance(failure, Exception):
            self._output.say(f"asking whether {part.name} is ready failed: {failure!r}")
        return how_it_ended(code)

    def _start(self, part: Part) -> Process:
        if spare := self._spares.pop(part.name, None):
            spare.become(part.command, self._environment, self._folder)
            return spare
        return start(part.command, self._environment, self._folder)

    def _relay(self, part: Part, line: str) -> None:
        if part.noise is None or not part.noise.search(line):
            self._output.line(part.name, line)

    async def _await_readiness(self, part: Part, child: Child) -> None:
        late = False
        # Asking whether the child runs, too, ends the loop where a client library swallows the cancellation.
        while child.running and not await part.ready(child.pid):
            if not late and time.monotonic() - child.started > _PATIENCE:
                late = True
                self._output.say(f"{part.name} has run for {_PATIENCE:g} s and is not ready yet.")
            await asyncio.sleep(_POLL)
        if child.running:
            self._ready[part.name].set()

    async def _or_stopping(self, event: asyncio.Event, timeout: float | None = None) -> None:
        """Wait for `event`, but no longer than for the stop or for `timeout` seconds."""
        waits = {asyncio.create_task(event.wait()), asyncio.create_task(self._stopping.wait())}
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
