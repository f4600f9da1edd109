"""Where a build's files come from: the tar in the request's body, or what `remote` names."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import InvalidArgument
from gantry_agent.engine.images.layer import limits_of
from gantry_agent.engine.layers import tar_writer
from gantry_agent.engine.layers.child import Child
from gantry_agent.engine.layers.content import pieces
from gantry_agent.engine.layers.pack import View, pack_tree
from gantry_agent.engine.layers.spool import SpoolFiles
from gantry_agent.engine.store import files

from . import fetching, git
from .ignore import ignore_files
from .options import DOCKERFILE, BuildOptions

KEEP_GIT_DIR = (
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR"  # a build argument (Dockerfile reference, "BuildKit built-in build args")
)
MAX_DOCKERFILE = 4 << 20  # bytes
MAX_IGNORE = 1 << 20  # bytes


@dataclass(frozen=True)
class Context:
    """The files of a build, in a spool (layers/spool.py); nothing in it can lead out of it."""

    folder: Path
    ignore: str = ""
    """What .dockerignore says."""
    dockerfile: str = DOCKERFILE
    """The Dockerfile's path."""

    @property
    def view(self) -> View:
        return {"kind": "spool", "path": str(self.folder)}


async def receive(engine: Engine, body: AsyncIterator[bytes], folder: Path, options: BuildOptions) -> Context:
    """Keep the request's tar, or what its `remote` names, in the new folder. Raises InvalidArgument and others."""
    name = options.dockerfile.lstrip("/")
    await asyncio.to_thread(folder.mkdir, 0o700)
    if git.is_git(options.remote, is_context=True):
        await _check_out(engine, folder, options)
    elif options.remote:
        if await _download(engine, options.remote, folder):
            name = DOCKERFILE
    else:
        await _spool(engine, body, folder)
    for rules in ignore_files(name):
        if text := await asyncio.to_thread(_text, folder, rules, MAX_IGNORE):
            return Context(folder, text, name)
    return Context(folder, dockerfile=name)


async def _check_out(engine: Engine, folder: Path, options: BuildOptions) -> None:
    """A repository, or a folder of it."""
    source = git.parse(options.remote)
    keeps = (options.args.get(KEEP_GIT_DIR) or "").lower() in ("1", "t", "true")
    place = folder.with_name("repository")
    found = await git.check_out(engine.config, source, place, options.secrets, keeps_git_dir=keeps)
    path = await asyncio.to_thread(found.inside, source.folder)
    async with aclosing(pack_tree({"kind": "folder", "path": str(path)})) as chunks:
        await _spool(engine, chunks, folder)
    await asyncio.to_thread(files.remove_tree, place)


async def _download(engine: Engine, address: str, folder: Path) -> bool:
    """An archive, or one text, which is the Dockerfile then: whether it was that."""
    facts: dict[str, Any] = {}
    async with aclosing(fetching.content(engine.config, address, facts)) as chunks:
        first = await anext(chunks, b"")
        if facts.get("type", "").startswith("text/"):
            text = bytearray(first)
            async for chunk in chunks:
                text += chunk
                if len(text) > MAX_DOCKERFILE:
                    raise InvalidArgument(f"{address} has more than {MAX_DOCKERFILE} bytes of text")
            await _spool(engine, _alone(bytes(text)), folder)
            return True

        async def all_of() -> AsyncIterator[bytes]:
            yield first
            async for chunk in chunks:
                yield chunk

        await _spool(engine, all_of(), folder)
    return False


async def _alone(dockerfile: bytes) -> AsyncIterator[bytes]:
    """The tar of a Dockerfile and nothing else."""
    yield tar_writer.header(os.fsencode(DOCKERFILE), tar_writer.FILE, tar_writer.Facts(0o644, size=len(dockerfile)))
    yield dockerfile + tar_writer.padding(len(dockerfile)) + tar_writer.END


async def _spool(engine: Engine, body: AsyncIterator[bytes], folder: Path) -> None:
    """Raises InvalidArgument for what is no tar."""
    size = 0
    async with Child({"do": "spool", "target": str(folder), "limits": list(limits_of(engine.config))}) as child:
        async for chunk in body:
            size += len(chunk)
            await child.write(chunk)
        try:
            await child.finish()
        except InvalidArgument as exc:
            raise InvalidArgument(f"the build context is no tar archive that can be read: {exc.message}") from exc
    if not size:
        raise InvalidArgument("the request has no build context: send a tar archive, or name one by `remote`")


async def dockerfile_of(context: Context, name: str) -> str:
    """The Dockerfile's text, links followed inside the context. Raises InvalidArgument when there is none."""
    text = await asyncio.to_thread(_text, context.folder, name, MAX_DOCKERFILE, missing_is_empty=False)
    if not text.strip():
        raise InvalidArgument(f"the Dockerfile ({name}) cannot be empty")
    return text


def _text(folder: Path, name: str, most: int, *, missing_is_empty: bool = True) -> str:
    """A file of the context, links followed in it alone. Blocks."""
    with closing(SpoolFiles(folder)) as found:
        try:
            node = found.find(os.fsencode(name))
        except OSError as exc:
            if missing_is_empty and exc.errno in (errno.ENOENT, errno.ENOTDIR):
                return ""
            why = os.strerror(exc.errno or 0).lower()
            raise InvalidArgument(f"Cannot locate specified Dockerfile: {name}: {why} in the build context") from exc
        if not node.is_file:
            raise InvalidArgument(f"Cannot locate specified Dockerfile: {name} is no file")
        if node.size > most:
            raise InvalidArgument(f"{name} has more than {most} bytes")
        with found.open(node) as file:
            return b"".join(pieces(file)).decode(errors="surrogateescape")
