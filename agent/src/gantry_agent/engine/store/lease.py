"""Leases: what somebody works with is not collected meanwhile.

While any lease is open, every blob or layer that is added, or found to be there, is pinned in it. So between "this
layer is here, I need not fetch it" and the row of the image that uses it, no removal of another image takes it away.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(eq=False)
class Lease:
    """An open lease: what it pins, and whether anything was added while it was open."""

    pins: set[str] = field(default_factory=set)
    has_additions: bool = False


class Leases:
    """The open leases."""

    def __init__(self) -> None:
        self._open: list[Lease] = []

    @contextmanager
    def hold(self) -> Iterator[Lease]:
        """Open a lease until the block ends."""
        lease = Lease()
        self._open.append(lease)
        try:
            yield lease
        finally:
            self._open.remove(lease)

    def pin(self, digest: str, *, is_new: bool = False) -> None:
        """Keep `digest` (a blob's, a layer's chain id, an image's id) until the leases open now have ended."""
        for lease in self._open:
            lease.pins.add(digest)
            lease.has_additions |= is_new

    @property
    def pinned(self) -> set[str]:
        """What must not be collected now."""
        return set().union(*(lease.pins for lease in self._open))
