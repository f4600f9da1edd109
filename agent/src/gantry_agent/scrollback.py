"""The last bytes of a terminal, addressed by their offset since it began."""

from collections import deque

LIMIT = 512 * 1024  # bytes kept
LINE_SEARCH = 4096  # bytes looked through for a line start after a gap


class Scrollback:
    """A ring of chunks. Offsets count bytes since the start of the terminal; `start`..`end` are held."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.chunks: deque[bytes] = deque()
        self.start = 0
        self.end = 0

    def append(self, data: bytes) -> None:
        """Add bytes at the end; whole chunks fall off the front beyond the limit."""
        self.chunks.append(data)
        self.end += len(data)
        while self.end - self.start > self.limit and len(self.chunks) > 1:
            self.start += len(self.chunks.popleft())

    def read(self, offset: int, most: int = 64 * 1024) -> bytes:
        """Up to `most` bytes from `offset` (start ≤ offset ≤ end); b"" at the end."""
        if offset == self.end:
            return b""
        if self.chunks and offset == self.end - len(self.chunks[-1]):
            return self.chunks[-1][:most]  # the usual case: the reader is up to date
        parts, size, position = [], 0, self.start
        for chunk in self.chunks:
            if position + len(chunk) > offset:
                part = chunk[max(0, offset - position) :][: most - size]
                parts.append(part)
                size += len(part)
                if size >= most:
                    break
            position += len(chunk)
        return b"".join(parts)

    def replay_from(self, wanted: int) -> int:
        """Where a replay begins that asked for `wanted`.

        After a gap, that is the first line start held, so as not to begin amid an escape sequence.
        """
        if self.start <= wanted <= self.end:
            return wanted
        if self.start == 0:
            return 0
        newline = self.read(self.start, LINE_SEARCH).find(b"\n")
        return self.start + newline + 1 if newline >= 0 else self.start
