"""The lines of an asciicast, version 2 (docs.asciinema.org/manual/asciicast/v2): a header, then one event a line."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# Output that comes within this many seconds of the last is written as one event with it, up to so many characters.
MERGE_SECONDS = 0.02
MERGE_MOST = 64 * 1024

MEDIA_TYPE = "application/x-asciicast"
OUTPUT, INPUT, RESIZE, MARKER = "o", "i", "r", "m"


@dataclass(frozen=True)
class Event:
    """Something that happened at `at` (seconds since the epoch). `data`: bytes of output, text of anything else."""

    at: float
    code: str
    data: bytes | str


def header(*, columns: int, rows: int, started: float, shell: str, title: str, about: dict[str, str]) -> bytes:
    """The first line. `about` is Gantry's own key: players leave alone what they do not know."""
    fields: dict[str, Any] = {
        "version": 2,
        "width": columns,
        "height": rows,
        "timestamp": int(started),
        "title": title,
        "env": {"SHELL": shell, "TERM": "xterm-256color"},
        "gantry": about,
    }
    return _line(fields)


class Writer:
    """Makes lines of events. Time never runs backwards in a cast, whatever the clock does.

    A character whose bytes come in two pieces is written with the second; `undecoded` bytes wait for it.
    """

    def __init__(self, started: float, elapsed: float = 0.0) -> None:
        self.started = started
        self.elapsed = elapsed
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def undecoded(self) -> int:
        """Bytes of output held back."""
        return len(self._decoder.getstate()[0])

    def lines(self, events: Iterable[Event]) -> bytes:
        """The events as lines."""
        done: list[bytes] = []
        gathered: list[str] = []
        size, last = 0, 0.0
        for event in events:
            if not isinstance(event.data, bytes):
                done += self._output(gathered)
                gathered, size = [], 0
                self._tick(event.at)
                done.append(self._event(event.code, event.data))
                continue
            if gathered and (event.at - last > MERGE_SECONDS or size > MERGE_MOST):
                done += self._output(gathered)
                gathered, size = [], 0
            if not gathered:
                self._tick(event.at)
            last = event.at
            gathered.append(self._decoder.decode(event.data))
            size += len(event.data)
        done += self._output(gathered)
        return b"".join(done)

    def rest(self) -> bytes:
        """What the end of the output leaves of half a character."""
        return b"".join(self._output([self._decoder.decode(b"", final=True)]))

    def _tick(self, at: float) -> None:
        self.elapsed = max(self.elapsed, at - self.started)

    def _output(self, texts: list[str]) -> list[bytes]:
        text = "".join(texts)
        return [self._event(OUTPUT, text)] if text else []

    def _event(self, code: str, text: str) -> bytes:
        return _line([round(self.elapsed, 6), code, text])


def _line(value: Any) -> bytes:
    # A name may hold half a surrogate pair, which has no UTF-8.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
