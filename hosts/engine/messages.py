"""A stream of JSON objects (pull, build, events, stats), on lines or not, split into its messages."""

from __future__ import annotations

import re
from typing import Any

from controlplane.lib.foreign import foreign_json
from hosts.engine.errors import EngineProtocolError

LARGEST_MESSAGE = 1024 * 1024
"""Bytes of one message; a real one has a few hundred, a container's event with many labels some thousands."""

_OUTSIDE = re.compile(rb'["{}\[\]]')
_INSIDE = re.compile(rb'["\\]')
_SPACE = b" \t\r\n"


class MessageSplitter:
    """Takes bytes as they come, gives out whole JSON objects; looks at each byte once."""

    def __init__(self, limit: int = LARGEST_MESSAGE) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._looked = 0  # bytes of the buffer that were scanned
        self._depth = 0
        self._in_string = False

    @property
    def complete(self) -> bool:
        """Whether the bytes so far end where a message ends."""
        return not self._buffer

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The objects that ``data`` completes; EngineProtocolError for anything else, or over the limit."""
        self._buffer += data
        found = []
        while (end := self._end_of_message()) is not None:
            found.append(_parse(bytes(self._buffer[:end]), self._limit))
            del self._buffer[:end]
            self._looked = 0
        if len(self._buffer) > self._limit:
            raise EngineProtocolError(f"Expected messages of at most {self._limit} bytes, found a longer one.")
        return found

    def _end_of_message(self) -> int | None:
        buffer = self._buffer
        if not self._depth:
            space = len(buffer) - len(buffer.lstrip(_SPACE))
            del buffer[:space]
            if buffer and buffer[0] != 0x7B:
                raise EngineProtocolError(f"Expected a JSON object, found {bytes(buffer[:40])!r}.")
        while True:
            match = (_INSIDE if self._in_string else _OUTSIDE).search(buffer, self._looked)
            if match is None:
                self._looked = len(buffer)
                return None
            at, token = match.start(), match[0]
            if token == b"\\":
                if at + 2 > len(buffer):
                    self._looked = at
                    return None
                self._looked = at + 2
                continue
            self._looked = at + 1
            if token == b'"':
                self._in_string = not self._in_string
            else:
                self._depth += 1 if token in b"{[" else -1
                if not self._depth:
                    return self._looked


def _parse(text: bytes, limit: int) -> dict[str, Any]:
    if len(text) > limit:
        raise EngineProtocolError(f"Expected messages of at most {limit} bytes, found {len(text)}.")
    try:
        value = foreign_json(text)
    except (ValueError, RecursionError) as error:
        raise EngineProtocolError(f"Expected a JSON object, found {text[:80]!r}: {error}.") from error
    assert isinstance(value, dict)
    return value
