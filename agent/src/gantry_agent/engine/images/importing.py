"""`docker import`: a tar of a root folder becomes an image of one layer."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import InvalidArgument, Unavailable
from gantry_agent.engine.oci import Digest, Platform, Reference
from gantry_agent.engine.store import files

from .announce import announce
from .changes import apply_changes
from .intake import in_thread
from .layer import add_layer
from .moments import rfc3339
from .tar import receive

CHUNK = 1 << 20  # bytes
STALL = 60.0  # seconds a source may send nothing


@dataclass(frozen=True)
class ImportOptions:
    """What the request says of the image."""

    name: Reference | None = None
    message: str = ""
    changes: Sequence[str] = ()
    platform: Platform | None = None


async def import_image(engine: Engine, source: AsyncIterator[bytes], options: ImportOptions) -> Digest:
    """Make an image of the tar in `source`, plain or compressed; its id.

    Raises InvalidArgument for a broken tar or a change that is none.
    """
    config = apply_changes({}, options.changes)
    folder = files.temporary(engine.layout.tmp, "import")
    await asyncio.to_thread(folder.mkdir, 0o700)
    try:
        file = await in_thread(source, lambda archive: receive(archive, folder / "archive"))
        if not file.size:
            raise InvalidArgument("the archive is empty")
        async with engine.store.lease():
            diff_id, blob = await add_layer(engine, file, None, None)
            document = _configuration(config, diff_id, options)
            image_id = await engine.store.images.add(document, [blob])
            if options.name:
                await engine.store.images.tag(image_id, options.name)
                announce(engine, "tag", engine.store.images.by_id(image_id), options.name.familiar)
    finally:
        await asyncio.shield(asyncio.to_thread(files.remove_tree, folder))
    announce(engine, "import", engine.store.images.by_id(image_id))
    return image_id


def _configuration(config: dict[str, Any], diff_id: Digest, options: ImportOptions) -> bytes:
    platform = options.platform or Platform.host()
    created = rfc3339(time.time_ns())
    message = options.message or "Imported from -"
    document = {
        "architecture": platform.architecture,
        "os": platform.os,
        "created": created,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "comment": message}],
        "comment": message,
    }
    if platform.variant:
        document["variant"] = platform.variant
    return json.dumps(document).encode()


async def download(address: str) -> AsyncIterator[bytes]:
    """The content at an http or https address, piece by piece. Raises InvalidArgument, Unavailable."""
    if not address.startswith(("http://", "https://")):
        address = f"http://{address}"
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=STALL, sock_read=STALL)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
            session.get(address) as got,
        ):
            if got.status != 200:
                raise InvalidArgument(f"{address} answered {got.status}")
            async for chunk in got.content.iter_chunked(CHUNK):
                yield chunk
    except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
        raise Unavailable(f"{address} cannot be downloaded: {exc}") from exc
