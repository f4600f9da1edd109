"""A layer's tar, from the wire into a folder.

    async with Unpacker(folder, Limits()) as unpacker:
        async for chunk in body:
            await unpacker.write(chunk)        # gzip, zstd or plain, as it comes
        unpacked = await unpacker.finish()     # Unpacked(diff_id="sha256:…", size=…, entries=…)

The folder must be empty, and is left half-filled when something fails: it lies in staging, whose owner removes it.
Nothing is synced to disk; the owner calls syncfs once for the whole layer.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .child import Child
from .extract import Limits

__all__ = ["Limits", "Unpacked", "Unpacker"]


@dataclass(frozen=True)
class Unpacked:
    """What a layer turned out to be."""

    diff_id: str
    """sha256:HEX of the plain tar."""
    size: int
    """Bytes of file content."""
    entries: int


class Unpacker:
    """One layer on its way into `target`, by a process whose root is `target`."""

    def __init__(self, target: Path, limits: Limits | None = None) -> None:
        self._child = Child({"do": "unpack", "target": str(target), "limits": list(limits or Limits())})

    async def __aenter__(self) -> Self:
        await self._child.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._child.__aexit__()

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Hand on some bytes, waiting for room. Raises InvalidArgument (refused content), Internal (no space…)."""
        await self._child.write(chunk)

    async def finish(self) -> Unpacked:
        """After the last byte: wait until everything is written. Raises as `write` does."""
        return Unpacked(**await self._child.finish())
