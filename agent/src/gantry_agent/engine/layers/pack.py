"""Trees as tar streams, made by a worker: a container's changes as a layer, or everything that it sees."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
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


async def pack_diff(upper: Path, lowers: View | None = None) -> AsyncGenerator[bytes, None]:
    """The plain tar of an overlay's upper folder, as a layer: names in order, whiteouts as OCI wants them.

    With `lowers`, a folder is marked as replacing another only where there was one. Raises Internal.
    """
    async with aclosing(output_of({"do": "pack-diff", "upper": str(upper), "lowers": lowers})) as chunks:
        async for chunk in chunks:
            yield chunk


async def pack_tree(view: View) -> AsyncGenerator[bytes, None]:
    """The plain tar of all a view shows, without the root's own entry. Raises Internal."""
    async with aclosing(output_of({"do": "pack-tree", "view": view})) as chunks:
        async for chunk in chunks:
            yield chunk


async def output_of(job: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    """What a worker writes. Raises what it reports after its last byte."""
    async with Child(job) as child:
        child.close_input()
        while chunk := await child.read():
            yield chunk
        await child.finish()
