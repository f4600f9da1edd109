"""Trees as tar streams, made by a worker: a container's changes as a layer, or everything that it sees."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .child import Child

View = dict[str, Any]
"""How a worker comes to its root; the shapes are in `views.py`."""


def layers_view(links: Sequence[str], links_folder: Path, mountpoint: Path) -> View:
    """Layers (top first), mounted read-only at any folder, for the worker alone."""
    return {
        "kind": "stack",
        "links": list(links),
        "links_folder": str(links_folder),
        "merged": str(mountpoint),
    }


@dataclass
class Packed:
    """What a packed tree turned out to be, once all of it was read: bytes of its files, entries, and whether unpacking
    the archive gives the same tree."""

    size: int = 0
    entries: int = 0
    is_exact: bool = False


async def pack_diff(
    upper: Path, lowers: View | None = None, packed: Packed | None = None, latest: int | None = None
) -> AsyncGenerator[bytes, None]:
    """The plain tar of an overlay's upper folder, as a layer: names in order, whiteouts as OCI wants them.

    With `lowers`, a folder is marked as replacing another only where there was one; `packed` is filled at the end, and
    `latest` is the newest time told of any file, in seconds. Raises Internal.
    """
    report: dict[str, Any] = {}
    job = {"do": "pack-diff", "upper": str(upper), "lowers": lowers, "latest": latest}
    async with aclosing(output_of(job, report)) as chunks:
        async for chunk in chunks:
            yield chunk
    if packed is not None:
        packed.size, packed.entries, packed.is_exact = report["size"], report["entries"], report["is_exact"]


async def pack_tree(view: View) -> AsyncGenerator[bytes, None]:
    """The plain tar of all a view shows, without the root's own entry. Raises Internal."""
    async with aclosing(output_of({"do": "pack-tree", "view": view})) as chunks:
        async for chunk in chunks:
            yield chunk


async def output_of(job: dict[str, Any], report: dict[str, Any] | None = None) -> AsyncGenerator[bytes, None]:
    """What a worker writes. Raises what it reports after its last byte; what it says of its work goes to `report`."""
    async with Child(job) as child:
        child.close_input()
        while chunk := await child.read():
            yield chunk
        done = await child.finish()
        if report is not None:
            report.update(done)
