"""What happened, told to whoever listens: the source of GET /events.

Package-level facts only: `publish` never blocks, a slow listener is cut off instead of held in memory.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

REMEMBERED = 1024  # events kept for `since`, as Docker keeps 256
LISTENER_LIMIT = 4096  # events a listener may lag behind before it is cut


@dataclass(frozen=True)
class Event:
    """One fact. `kind`: container, image, volume, network, daemon; `attributes` as Docker's Actor.Attributes."""

    kind: str
    action: str
    actor: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    at: int = field(default_factory=time.time_ns)  # nanoseconds since the epoch


class Listener:
    """A bounded queue of events; `None` from `get` means it was cut for being too slow."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self.is_cut = False
        self.on_cut: Callable[[], None] | None = None
        """Called when it is cut: whoever waits for a slow client's end learns of it at once."""

    def put(self, event: Event) -> None:
        if self.is_cut:
            return
        if self.queue.qsize() >= LISTENER_LIMIT:
            self.is_cut = True
            self.queue.put_nowait(None)
            if self.on_cut:
                self.on_cut()
        else:
            self.queue.put_nowait(event)

    async def get(self) -> Event | None:
        return await self.queue.get()


class Events:
    """The engine's one bus."""

    def __init__(self) -> None:
        self._past: deque[Event] = deque(maxlen=REMEMBERED)
        self._listeners: set[Listener] = set()

    def publish(self, kind: str, action: str, actor: str, **attributes: str) -> Event:
        """Tell everybody; returns the event."""
        return self.publish_event(Event(kind, action, actor, attributes))

    def publish_event(self, event: Event) -> Event:
        """Tell everybody of an event whose attribute names are not Python names."""
        self._past.append(event)
        for listener in tuple(self._listeners):
            listener.put(event)
        return event

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return len(self._listeners)

    def since(self, at: int) -> list[Event]:
        """Remembered events from `at` (nanoseconds) on, oldest first."""
        return [event for event in self._past if event.at >= at]

    @contextmanager
    def listen(self) -> Iterator[Listener]:
        """Receive events while inside."""
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
