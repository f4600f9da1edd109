"""conmon's k8s-file log as bytes: what one record is, and whole buffers of them turned into what a client reads.

A record is `2026-11-20T22:07:43.992410770+00:00 stdout F text\\n`. P instead of F: the line goes on in the next record
of its stream, the program had not written its end yet. Times have nine digits and an offset of six characters, so
everything before the text has a fixed length.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from operator import itemgetter

TIME = 29  # characters of the time without its offset: what times are compared by
STAMP = 35  # with the offset
TEXT = 45  # where the text begins
JOIN_LIMIT = 16 << 10  # bytes of an unfinished line held back, as Docker's copier holds them
_UTC = b"+00:00"
_STREAMS = {b"stdout": 1, b"stderr": 2}
_kind_of = itemgetter(slice(STAMP, TEXT))
_text_of = itemgetter(slice(TEXT, None))


@dataclass(frozen=True)
class Wanted:
    """What a reader asks for. Times are `stamp(…)` texts, inclusive; None: no limit."""

    stdout: bool = True
    stderr: bool = True
    timestamps: bool = False
    since: bytes | None = None
    until: bytes | None = None
    is_framed: bool = True
    """Frames of 8 + n bytes that tell stdout from stderr; without, the bare bytes (a TTY)."""
    joins: bool = True
    """A frame is a line: an unfinished one is held back until it ends, has JOIN_LIMIT bytes or the log does. Without,
    bytes are passed on as they were written, in as few frames as their order allows."""


def stamp(nanoseconds: int) -> bytes:
    """A time as it stands in a record, in UTC and without the offset."""
    seconds, rest = divmod(max(0, nanoseconds), 1_000_000_000)
    # A year of more than four digits would break the order of the texts.
    when = datetime.fromtimestamp(min(seconds, 253402300799), tz=UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{rest:09d}".encode()


def frame(stream: int, data: bytes) -> bytes:
    """One frame of the multiplexed stream: 1 stdout, 2 stderr."""
    return struct.pack(">BxxxL", stream, len(data)) + data


@cache
def _heads(stream: int) -> list[bytes]:
    """The heads of frames of a stream by their size; of stream 0 there are none. Shared by all readers."""
    return [struct.pack(">BxxxL", stream, size) if stream else b"" for size in range(1024)]


class Renderer:
    """Turns records into an answer's bytes, buffer by buffer; holds at most JOIN_LIMIT bytes of each stream."""

    def __init__(self, wanted: Wanted, skips: Mapping[int, int] | None = None) -> None:
        """`skips`: by stream how many lines to pass over before its first."""
        self.wanted = wanted
        self._skips = {stream: count for stream, count in (skips or {}).items() if count}
        self.is_done = False
        """A record after `until` was met: nothing more will come."""
        self._held: dict[int, list[bytes]] = {}
        self._is_inside: set[int] = set()
        """Streams whose line has begun: what follows of it gets no second time."""
        streams = {
            name: number for name, number in _STREAMS.items() if (wanted.stdout if number == 1 else wanted.stderr)
        }
        self._heads = {
            _UTC + b" " + name + b" F ": _heads(number if wanted.is_framed else 0) for name, number in streams.items()
        }
        self._kinds = {
            b" " + name + kind: (number, end)
            for name, number in streams.items()
            for kind, end in ((b" F ", b"\n"), (b" P ", b""))
        }
        """By what stands between time and text: the stream, and what follows the text."""

    def feed(self, records: bytes) -> bytes:
        """The answer to a buffer of whole records."""
        out: list[bytes] = []
        lines = records.split(b"\n")
        lines.pop()
        wanted = self.wanted
        if wanted.since or wanted.until:
            self._feed_between(lines, out)
        elif wanted.timestamps:
            self._feed_with_times(lines, out)
        elif wanted.joins:
            self._feed_plainly(lines, out)
        else:
            self._feed_as_written(lines, out)
        return b"".join(out)

    def end(self) -> bytes:
        """Lines that never ended, at the end of the log."""
        out: list[bytes] = []
        for stream in tuple(self._held):
            self._flush(stream, out)
        return b"".join(out)

    def _feed_plainly(self, lines: list[bytes], out: list[bytes]) -> None:
        """The common case in as few steps as Python allows: 200,000 lines are a benchmark here."""
        put, heads_by_kind, inside, skips = out.append, self._heads, self._is_inside, self._skips
        for line in lines:
            heads = heads_by_kind.get(line[TIME:TEXT])
            size = len(line) - (TEXT - 1)  # with the newline
            if heads is None or size >= 1024 or inside or skips:
                self._feed_record(line, out)
            else:
                put(heads[size])
                put(line[TEXT:])
                put(b"\n")

    def _feed_as_written(self, lines: list[bytes], out: list[bytes]) -> None:
        """No frame for each line: who prints frames writes each of them on its own, which takes far longer."""
        for stream, pieces in groupby(self._pieces(lines), itemgetter(0)):
            data = b"".join(map(itemgetter(1), pieces))
            if data:
                out.append(frame(stream, data) if self.wanted.is_framed else data)

    def _pieces(self, lines: list[bytes]) -> Iterator[tuple[int, bytes]]:
        """What records of one kind in a row say, with their stream: no step of Python for each of them."""
        for kind, records in groupby(lines, _kind_of):
            if found := self._kinds.get(kind):
                stream, end = found
                yield stream, end.join(map(_text_of, records)) + end

    def _feed_with_times(self, lines: list[bytes], out: list[bytes]) -> None:
        """The same with the time before each line."""
        put, heads_by_kind, inside, skips = out.append, self._heads, self._is_inside, self._skips
        for line in lines:
            heads = heads_by_kind.get(line[TIME:TEXT])
            size = len(line) - (TEXT - 1) + TIME + 2
            if heads is None or size >= 1024 or inside or skips:
                self._feed_record(line, out)
            else:
                put(heads[size])
                put(line[:TIME])
                put(b"Z ")
                put(line[TEXT:])
                put(b"\n")

    def _feed_between(self, lines: list[bytes], out: list[bytes]) -> None:
        """The same where times are compared."""
        put, heads_by_kind, inside, wanted = out.append, self._heads, self._is_inside, self.wanted
        skips = self._skips
        since, until = wanted.since or b"", wanted.until or b"~"
        shift = TEXT - 1 - (TIME + 2 if wanted.timestamps else 0)
        for line in lines:
            heads = heads_by_kind.get(line[TIME:TEXT])
            size = len(line) - shift
            when = line[:TIME]
            if heads is None or size >= 1024 or inside or skips or when > until:
                self._feed_record(line, out)
            elif when >= since:
                put(heads[size])
                if wanted.timestamps:
                    put(when)
                    put(b"Z ")
                put(line[TEXT:])
                put(b"\n")

    def _feed_record(self, line: bytes, out: list[bytes]) -> None:
        """One record, whatever it is; one that is not a record is passed over."""
        if (stream := stream_of(line)) is None:
            return
        is_whole = line[TEXT - 2 : TEXT - 1] != b"P"
        if stream in self._skips:
            self._pass_over(stream, is_whole=is_whole)
            return
        wanted = self.wanted
        when = line[:TIME] if line[TIME:STAMP] == _UTC else to_utc(line[:STAMP])
        if wanted.until is not None and when > wanted.until:
            self.is_done = True
            return
        if (wanted.since is not None and when < wanted.since) or not (wanted.stdout if stream == 1 else wanted.stderr):
            return
        text = line[TEXT:]
        if wanted.timestamps and stream not in self._is_inside:
            text = when + b"Z " + text
        if is_whole:
            self._is_inside.discard(stream)
            self._held.setdefault(stream, []).append(text + b"\n")
            self._flush(stream, out)
            return
        self._is_inside.add(stream)
        held = self._held.setdefault(stream, [])
        held.append(text)
        if not wanted.joins or sum(map(len, held)) >= JOIN_LIMIT:
            self._flush(stream, out)

    def _pass_over(self, stream: int, *, is_whole: bool) -> None:
        """A record of a line that is not wanted."""
        self._skips[stream] -= is_whole
        if not self._skips[stream]:
            del self._skips[stream]

    def _flush(self, stream: int, out: list[bytes]) -> None:
        data = b"".join(self._held.pop(stream))
        if data:
            out.append(frame(stream, data) if self.wanted.is_framed else data)


def stream_of(record: bytes) -> int | None:
    """1 for stdout, 2 for stderr, None for what is no record (a torn write at a crash)."""
    is_record = len(record) >= TEXT and record[TEXT - 1 : TEXT] == b" "
    return _STREAMS.get(record[STAMP + 1 : STAMP + 7]) if is_record else None


def to_utc(text: bytes) -> bytes:
    """The time of a record whose conmon ran with another time zone. Raises nothing: unreadable is the beginning."""
    try:
        when = datetime.strptime(text[:19].decode() + text[TIME:].decode(), "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        return b"0" * TIME
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S").encode() + text[19:TIME]
