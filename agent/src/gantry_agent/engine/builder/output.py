"""What a build says while it works, in the order of its steps though stages work side by side.

One stage at a time has the floor: what it says is told at once. The others' words are kept until it is their turn; one
that has more to say than is kept waits.
"""

import asyncio
from bisect import insort
from collections.abc import Callable

from gantry_agent.engine.images.progress import Progress

KEPT = 256 << 10  # characters a stage may have to say before it waits for its turn
HEAD = 8  # bytes of a frame's head: stream, three zeros, length
RED, PLAIN = "\x1b[91m", "\x1b[0m"
STDERR = 2


class Floor:
    """Whose turn it is."""

    def __init__(self, progress: Progress, *, is_quiet: bool = False) -> None:
        self._progress = progress
        self._say = (lambda _: None) if is_quiet else progress.text
        self._outputs: list[Output] = []

    def output(self, place: int) -> "Output":
        """A new one. It comes before those of later places, also when one of them has begun to speak."""
        output = Output(self, place)
        if self._outputs:
            self._outputs[0].leave_floor()
        insort(self._outputs, output, key=lambda each: each.place)
        self.turn()
        return output

    def turn(self) -> None:
        """Those at the head that have ended go, the next one has the floor."""
        while self._outputs:
            first = self._outputs[0]
            first.take_floor(self._say)
            if not first.has_ended:
                return
            self._outputs.pop(0)

    async def drained(self) -> None:
        """Wait until the client has read enough of what was said."""
        await self._progress.drained()


class Output:
    """What one stage says."""

    def __init__(self, floor: Floor, place: int) -> None:
        self.place = place
        self._floor = floor
        self._say: Callable[[str], None] | None = None
        self._kept: list[str] = []
        self._size = 0
        self._has_floor = asyncio.Event()
        self._rest = {1: b"", 2: b""}
        self.has_ended = False

    def say(self, text: str) -> None:
        """A piece of text, its line ends included."""
        if self._say:
            self._say(text)
        else:
            self._kept.append(text)
            self._size += len(text)

    async def frames(self, data: bytes) -> None:
        """Frames of a container's output; waits for its turn, and for a slow client."""
        at = 0
        while at + HEAD <= len(data):
            stream, length = data[at], int.from_bytes(data[at + 4 : at + HEAD], "big")
            at += HEAD
            self._piece(stream, data[at : at + length])
            at += length
        if self._size > KEPT:
            await self._has_floor.wait()
        if self._say:
            await self._floor.drained()

    def end(self) -> None:
        """Nothing more will be said."""
        self.has_ended = True
        self._floor.turn()

    def take_floor(self, say: Callable[[str], None]) -> None:
        """Say what was kept, and from now on at once."""
        if self._say is None:
            self._say = say
            for text in self._kept:
                say(text)
            self._kept.clear()
            self._size = 0
            self._has_floor.set()

    def leave_floor(self) -> None:
        """Keep what is said until it is its turn again."""
        self._say = None
        self._has_floor.clear()

    def _piece(self, stream: int, data: bytes) -> None:
        """Text of one stream; a character cut in two waits for its rest."""
        data = self._rest.get(stream, b"") + data
        text, self._rest[stream] = _decoded(data)
        if text:
            self.say(f"{RED}{text}{PLAIN}" if stream == STDERR else text)


def _decoded(data: bytes) -> tuple[str, bytes]:
    """The text, and up to three bytes that are the beginning of a character."""
    for cut in range(1, min(4, len(data) + 1)):
        lead = data[-cut]
        if lead & 0xC0 == 0x80:
            continue
        length = 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2 if lead >= 0xC0 else 1
        if length > cut:
            return data[:-cut].decode(errors="replace"), data[-cut:]
        break
    return data.decode(errors="replace"), b""
