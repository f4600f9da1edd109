"""Leases: what somebody works with is not collected meanwhile.

While any lease is open, every blob or layer that is added, or found to be there, is pinned in it. So between "this
layer is here, I need not fetch it" and the row of the image that uses it, no removal of another image takes it away.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class Leases:
    """The open leases and what they pin."""

    def __init__(self) -> None:
        self._open: list[set[str]] = []

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Open a lease until the block ends."""
        pins: set[str] = set()
        self._open.append(pins)
        try:
            yield
        finally:
            self._open = [each for each in self._open if each is not pins]

    def pin(self, digest: str) -> None:
        """Keep `digest` (a blob's, or a layer's chain id) until the leases open now have ended."""
        for pins in self._open:
            pins.add(digest)

    @property
    def pinned(self) -> set[str]:
        """What must not be collected now."""
        return set().union(*self._open)
