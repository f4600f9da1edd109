"""What a browser sent and its shell has not taken yet."""

from __future__ import annotations

import asyncio
from collections import deque

# The page has a program draw itself again by two sizes, one after the other.
SIZES_KEPT = 2


class Pending:
    """Keys, each in its turn, and sizes (columns, rows): of those that wait the newest two, in the places of the first.

    `waiting`: bytes of keys given and not yet taken, so that somebody can set a limit to them.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._items: asyncio.Queue[bytes | None] = asyncio.Queue()  # None: the place of a size
        self._sizes: deque[tuple[int, int]] = deque(maxlen=SIZES_KEPT)

    def keys(self, data: bytes) -> None:
        if data:
            self.waiting += len(data)
            self._items.put_nowait(data)

    def size(self, columns: int, rows: int) -> None:
        if len(self._sizes) < SIZES_KEPT:
            self._items.put_nowait(None)
        self._sizes.append((columns, rows))

    async def next(self) -> bytes | tuple[int, int]:
        """The next keys, which count as waiting until `took`, or the next size."""
        item = await self._items.get()
        return self._sizes.popleft() if item is None else item

    def took(self, data: bytes) -> None:
        self.waiting -= len(data)
