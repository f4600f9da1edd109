"""`docker cp` as the engine calls it: one worker a request, inside the container's own root."""

import errno
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from gantry_agent.engine.errors import EngineError, Forbidden, InvalidArgument, NotFound

from .child import Child, Refused
from .extract import Limits
from .pack import View, output_of


async def stat_path(view: View, path: str) -> dict[str, Any]:
    """{"name", "size", "mode" (Go's os.FileMode), "mtime" (nanoseconds), "linkTarget"}; the last part of the path is
    not followed unless it ends in / or /.

    Raises NotFound, InvalidArgument, Internal.
    """
    async with Child({"do": "stat", "view": view, "path": path}) as child:
        try:
            return await child.finish()
        except Refused as exc:
            raise translated(exc, path) from exc


async def read_path(view: View, path: str) -> AsyncGenerator[bytes, None]:
    """The tar of one path, in chunks. Raises as `stat_path`, at its end when the worker meets something on the way."""
    try:
        async with aclosing(output_of({"do": "read", "view": view, "path": path})) as chunks:
            async for chunk in chunks:
                yield chunk
    except Refused as exc:
        raise translated(exc, path) from exc


async def write_path(
    view: View,
    path: str,
    chunks: AsyncIterator[bytes],
    *,
    limits: Limits,
    keeps_kinds: bool = False,
    user: str = "",
) -> None:
    """Merge the tar in `chunks`, plain or compressed, into the folder `path`.

    `keeps_kinds`: a folder may not replace something else, nor be replaced. `user`: of the container; owns everything
    written, where given. Raises NotFound, InvalidArgument, Forbidden (read-only), Internal.
    """
    job = {
        "do": "write",
        "view": view,
        "path": path,
        "limits": list(limits),
        "keeps_kinds": keeps_kinds,
        "user": user,
    }
    async with Child(job) as child:
        try:
            async for chunk in chunks:
                await child.write(chunk)
            await child.finish()
        except Refused as exc:
            raise translated(exc, path, writes=True) from exc


def translated(exc: Refused, path: str, *, writes: bool = False) -> EngineError:
    """What the system's refusal means to the one who asked."""
    if exc.number == errno.ENOENT:
        return NotFound(f"Could not find the file {path}")
    if exc.number == errno.ENOTDIR:
        return InvalidArgument("extraction point is not a directory" if writes else f"{path}: not a directory")
    if exc.number == errno.EROFS:
        return Forbidden("container rootfs is marked read-only")
    return exc
