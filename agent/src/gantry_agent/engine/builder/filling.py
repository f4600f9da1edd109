"""COPY, ADD and WORKDIR: files come into the image so far without a container."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantry_agent.engine.core import Engine
from gantry_agent.engine.images.adopting import adopt
from gantry_agent.engine.images.layer import limits_of
from gantry_agent.engine.layers import overlay
from gantry_agent.engine.layers.child import Child
from gantry_agent.engine.layers.pack import View, layers_view
from gantry_agent.engine.oci import Descriptor, Digest
from gantry_agent.engine.store import Image, files

Layer = tuple[Digest, Descriptor]


@dataclass(frozen=True)
class Files:
    """What a COPY or ADD takes, and from where."""

    source: View
    patterns: tuple[str, ...]
    hidden: str = ""
    """The text of .dockerignore, for a context."""
    excludes: str = ""
    """--exclude, in the same form."""
    keeps_path: bool = False
    """--parents."""
    known: str = ""
    """What says all of it, where that is known without reading it; then it is the folder's contents."""
    is_fetched: bool = False
    """Whether it comes from an address."""

    def job(self) -> dict[str, Any]:
        """The part of a worker's job that says so."""
        return {
            "source": self.source,
            "sources": list(self.patterns),
            "hidden": self.hidden,
            "excludes": self.excludes,
            "keeps_path": self.keeps_path,
        }


@dataclass(frozen=True)
class Placing:
    """Where they go, and how. `place`: absolute; with a slash at its end it is a folder."""

    place: str
    owner: str = ""
    """user[:group] by name or number."""
    mode: int | None = None
    keeps_owner: bool = False
    unpacks: bool = False
    latest: int | None = None
    is_link: bool = False
    """--link: the layer does not depend on what is below."""


async def fingerprint(chosen: Files) -> str:
    """A kind (file, dir, multi) and the digest of all that is chosen: names, modes, owners, contents; no times.

    Raises InvalidArgument for a pattern that stands for nothing.
    """
    if chosen.known:
        return f"dir:{hashlib.sha256(f'{chosen.known} {chosen.excludes}'.encode()).hexdigest()}"
    async with Child({"do": "fingerprint", **chosen.job()}) as child:
        found = await child.finish()
        return f"{found['kind']}:{found['digest']}"


async def fill(engine: Engine, image: Image | None, parts: Sequence[tuple[Files, Placing]]) -> Layer | None:
    """Copy files on top of `image`: one layer, None when nothing was changed. Raises InvalidArgument, Internal."""
    jobs = [_job(engine, chosen, placing) for chosen, placing in parts]
    is_link = any(placing.is_link for _, placing in parts)
    return await _with_root(engine, image, jobs, is_link=is_link, latest=parts[0][1].latest)


def _job(engine: Engine, chosen: Files, placing: Placing) -> dict[str, Any]:
    return {
        "do": "place",
        **chosen.job(),
        "place": placing.place,
        "owner": placing.owner,
        "mode": placing.mode,
        "keeps_owner": placing.keeps_owner,
        "unpacks": placing.unpacks,
        "latest": placing.latest,
        "limits": list(limits_of(engine.config)),
    }


async def fill_folder(engine: Engine, folder: Path, chosen: Files) -> None:
    """Copy the files into a folder of the host. Raises InvalidArgument, Internal."""
    placing = Placing("/", keeps_owner=True)
    async with Child({**_job(engine, chosen, placing), "target": str(folder)}) as child:
        await child.finish()


async def make_folder(engine: Engine, image: Image | None, path: str, latest: int | None = None) -> Layer | None:
    """Make the folder `path` with those above it on top of `image`: the layer, None where it is there already."""
    return await _with_root(engine, image, [{"do": "make-folder", "path": path, "latest": latest}], latest=latest)


async def _with_root(
    engine: Engine,
    image: Image | None,
    jobs: Sequence[dict[str, Any]],
    *,
    is_link: bool = False,
    latest: int | None = None,
) -> Layer | None:
    """Let workers change the image's files; what they changed as a layer."""
    links = engine.store.images.stack(image.id) if image and not is_link else []
    parent = image.chains[-1] if image and image.chains else None
    layout = engine.layout
    async with workspace(engine, "step") as folder:
        upper, merged = folder / "upper", folder / "merged"
        try:
            await overlay.mount(links, layout.links, upper, folder / "work", merged)
            for job in jobs:
                async with Child({**job, "target": str(merged)}) as child:
                    await child.finish()
        finally:
            await asyncio.shield(overlay.unmount(merged))
        lowers = layers_view(overlay.with_foundation(links, layout.links), layout.links, merged)
        return await adopt(engine, upper, lowers, parent, latest=latest)


@asynccontextmanager
async def workspace(engine: Engine, what: str) -> AsyncIterator[Path]:
    """A folder below tmp/, deleted when it has served: thousands of files take seconds to delete on a busy disk."""
    folder = files.temporary(engine.layout.tmp, what)
    making = asyncio.ensure_future(asyncio.to_thread(folder.mkdir, 0o700))
    try:
        await asyncio.shield(making)
        yield folder
    finally:
        await asyncio.wait([making])
        engine.store.discard(folder)
