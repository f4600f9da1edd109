"""When one run of a container ends: what followers of its output wait for.

    with lives.of(container) as life: …      life.is_over(), life.tells(event)

One listener on the engine's events serves them all.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gantry_agent.engine.events import Events

from .model import Container

ENDS = ("die", "start", "destroy", "pause", "unpause")


class Life:
    """One run of a container as one follower sees it: the present one, or for a stopped one the next if it waits."""

    def __init__(self, container: Container, *, waits: bool, get: Callable[[str], Container | None]) -> None:
        self.container_id = container.id
        self._get = get
        self._waits = waits and not container.is_running
        self._started_at = container.state.started_at
        self._finished_at = container.state.finished_at
        self._events: dict[asyncio.Event, Callable[[], None] | None] = {}

    def is_over(self) -> bool:
        """Whether that run has ended; its log is complete then."""
        container = self._get(self.container_id)
        if container is None:
            return True
        state = container.state
        if self._waits:
            return not container.is_running and state.finished_at != self._finished_at
        return not container.is_running or state.started_at != self._started_at

    def has_begun(self) -> bool:
        """Whether the container runs now, or did since."""
        container = self._get(self.container_id)
        return container is None or container.is_running or container.state.finished_at != self._finished_at

    async def begin(self) -> None:
        """Wait until it runs."""
        changed = asyncio.Event()
        with self.tells(changed):
            while not self.has_begun():
                changed.clear()
                await changed.wait()

    async def end(self) -> None:
        """Wait until it is over."""
        changed = asyncio.Event()
        with self.tells(changed):
            while not self.is_over():
                changed.clear()
                await changed.wait()

    @contextmanager
    def tells(self, event: asyncio.Event, first: Callable[[], None] | None = None) -> Iterator[None]:
        """Inside, `event` is set whenever the container's state changes, and `first` is called before that: at a
        death it runs before anything of the container is removed."""
        self._events[event] = first
        try:
            yield
        finally:
            del self._events[event]

    def changed(self) -> None:
        for event, first in tuple(self._events.items()):
            if first is not None:
                first()
            event.set()


class Lives:
    """All lives that somebody follows. `run` must run while any is used."""

    def __init__(self, events: Events, get: Callable[[str], Container | None]) -> None:
        self._bus = events
        self._get = get
        self._followed: dict[str, set[Life]] = {}

    @contextmanager
    def of(self, container: Container, *, waits: bool = False) -> Iterator[Life]:
        """The present run of a container; with `waits`, the next one of a container that does not run."""
        life = Life(container, waits=waits, get=self._get)
        self._followed.setdefault(container.id, set()).add(life)
        try:
            yield life
        finally:
            lives = self._followed[container.id]
            lives.discard(life)
            if not lives:
                del self._followed[container.id]

    async def run(self) -> None:
        """Pass on what happens to containers, for ever."""
        while True:
            with self._bus.listen() as listener:
                while (event := await listener.get()) is not None:
                    if event.kind == "container" and event.action in ENDS:
                        self._tell(event.actor)
            # Cut for being too slow: anything may have happened.
            for container_id in tuple(self._followed):
                self._tell(container_id)

    def _tell(self, container_id: str) -> None:
        for life in tuple(self._followed.get(container_id, ())):
            life.changed()
