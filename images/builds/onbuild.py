"""What a base image brings along: its ONBUILD instructions, which are run in each build on it.

Podman runs them and tells of them nowhere in its API. There the image's own configuration is read out of what
GET /images/ID/get sends, behind all its layers; the image's id is the digest of it, so that it is read once.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import tarfile
from collections.abc import Callable
from typing import IO, cast

import aiohttp

from controlplane.lib.errors import Conflict
from hosts.engine import Engine, segment
from images.builds.context import BoundedInfo, forget

LARGEST = 8 << 20  # bytes of a configuration
PIECE = 1 << 20  # bytes
MOST_KNOWN = 10_000
_known: dict[str, list[str]] = {}  # by the image's id


async def triggers_of(engine: Engine, image_id: str, say: Callable[[str], None], *, told: bool) -> list[str]:
    """`told`: the engine says so itself; else `say` tells what takes long. Raises Conflict when it cannot be known."""
    if told:
        found = await engine.get(f"/images/{segment(image_id)}/json")
        return _triggers(found.get("Config"))
    if image_id not in _known:
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        say(f"Reading what the base image {image_id[7:19]} brings along (ONBUILD), which Podman does not tell …")
        _known[image_id] = _triggers(json.loads(await _configuration(engine, image_id)).get("config"))
    return _known[image_id]


def _triggers(config: object) -> list[str]:
    triggers = config.get("OnBuild") if isinstance(config, dict) else None
    return [str(each) for each in triggers or []]


async def _configuration(engine: Engine, image_id: str) -> bytes:
    async with engine.stream("GET", f"/images/{segment(image_id)}/get", timeout=None) as response:
        reader = _Reader(response.content, asyncio.get_running_loop())
        try:
            found = await asyncio.to_thread(_in_archive, cast(IO[bytes], reader), image_id.removeprefix("sha256:"))
        except tarfile.TarError as exc:
            raise Conflict(f"What the engine sent as the image {image_id[:19]} cannot be read: {exc}.") from exc
    if found is None:
        raise Conflict(
            f"The engine sent the image {image_id[:19]} without its configuration.",
            "What it brings along for builds (ONBUILD) is not known, so it cannot be built on here.",
        )
    return found


class _Reader:
    """A stream of the loop's, read in a thread. It ends when the answer is closed."""

    def __init__(self, content: aiohttp.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        self._content = content
        self._loop = loop

    def read(self, size: int) -> bytes:
        return asyncio.run_coroutine_threadsafe(self._content.read(size), self._loop).result()


def _in_archive(file: IO[bytes], digest: str) -> bytes | None:
    """The file of that digest, named by it, among the others of an image's archive."""
    with tarfile.open(fileobj=file, mode="r|", bufsize=PIECE, tarinfo=BoundedInfo) as tar:
        for info in tar:
            if info.name == f"{digest}.json" and info.isreg() and info.size <= LARGEST:
                content = cast(IO[bytes], tar.extractfile(info)).read()
                return content if hashlib.sha256(content).hexdigest() == digest else None
            forget(tar)
    return None
