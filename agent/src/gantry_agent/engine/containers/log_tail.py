"""Where the last lines of a log begin.

A line is in the log where it ends, as Docker's copier has it: what the other stream wrote in its middle comes before
it, and a line that never ended comes last of all. So the records of the last lines may stand among those of lines that
are not wanted: a reader begins at the first of them, and passes over some lines of each stream.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from .log_records import TEXT, stream_of

Place = tuple[int, int]
"""The number of a file, and an offset in it."""


@dataclass
class _Line:
    """One line, as far as it was met going back. `end`: where the record of its end begins, None without an end."""

    stream: int
    rank: int
    """How many of its kind, ended or not, came after it."""
    end: Place | None
    begin: Place | None = None


class Tail:
    """Goes back through the files of a log, the newest first, until the last `count` lines have begun."""

    def __init__(self, count: int, block: int) -> None:
        self._count = count
        self._block = block
        """Bytes read at once; so far an unfinished line of a stream that has been silent since is looked for."""
        self._looked = 0
        self._ended: list[_Line] = []
        self._unfinished: list[_Line] = []
        self._current: dict[int, _Line] = {}
        """By stream the line that the records before the present one belong to."""

    def take(self, number: int, descriptor: int) -> bool:
        """Go through one file; whether that was enough. Blocks."""
        for offset, record in _backwards(descriptor, self._block):
            self._meet(record, (number, offset), (number, offset + len(record) + 1))
            if self._has_enough():
                # A stream that was not met yet may still have begun a line.
                self._looked += len(record) + 1
                if len(self._current) == 2 or self._looked > self._block:
                    return True
        return False

    def place(self, oldest: int) -> tuple[Place, dict[int, int]]:
        """Where to begin, and how many lines of each stream to pass over. `oldest`: the number of the last file taken,
        at whose beginning a line has begun that was met without one."""
        lines = self._unfinished + self._ended
        begin = min((line.begin or (oldest, 0) for line in lines[: self._count]), default=(oldest, 0))
        others = (line for line in lines[self._count :] if line.end is None or line.end >= begin)
        return begin, dict(Counter(line.stream for line in others))

    def _has_enough(self) -> bool:
        """Whether the last lines have all begun: only those that the next records may belong to have not."""
        room = self._count - len(self._unfinished)
        if len(self._ended) < room:
            return False
        return not any(line.rank < (room if line.end else self._count) for line in self._current.values())

    def _meet(self, record: bytes, begin: Place, end: Place) -> None:
        stream = stream_of(record)
        if stream is None:
            return
        is_end = record[TEXT - 2 : TEXT - 1] == b"F"
        if is_end and (later := self._current.get(stream)):
            later.begin = end
        if is_end or stream not in self._current:
            lines = self._ended if is_end else self._unfinished
            line = self._current[stream] = _Line(stream, len(lines), begin if is_end else None)
            lines.append(line)


def _backwards(descriptor: int, block: int) -> Iterator[tuple[int, bytes]]:
    """The whole records of a file with their offsets, the last one first."""
    position, carry = os.fstat(descriptor).st_size, b""
    while position > 0:
        start = max(0, position - block)
        data = os.pread(descriptor, position - start, start) + carry
        cut = 0 if start == 0 else data.find(b"\n") + 1
        if start and not cut:
            position, carry = start, data
            continue
        *records, torn = data[cut:].split(b"\n")
        place = start + len(data) - len(torn)
        for record in reversed(records):
            place -= len(record) + 1
            yield place, record
        position, carry = start, data[:cut]
