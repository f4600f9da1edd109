"""What a build gets from elsewhere by address: ADD https://…, ADD https://….git, and the context that `remote` names.

Only addresses of the public network are asked, redirects included, unless the engine is configured otherwise.
"""

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import aiohttp

from gantry_agent.engine.config import Config
from gantry_agent.engine.errors import Forbidden, InvalidArgument, Unavailable

from . import git
from .filling import Files
from .reach import public_socket

if TYPE_CHECKING:
    from .dockerfile.instructions import Add
    from .work import Work

CHUNK = 1 << 20  # bytes
STALL = 60.0  # seconds an address may send nothing
MODE = 0o600  # as Docker gives what ADD downloads
REMOTE = re.compile(r"(?:https?|ftp|file|ext)::?//", re.IGNORECASE)
COMMIT = re.compile(r"[0-9a-f]{7,64}\Z")


def is_remote(source: str) -> bool:
    """Whether a source of ADD is an address."""
    return bool(REMOTE.match(source)) or git.is_git(source)


async def fetch(work: "Work", it: "Add", address: str) -> Files:
    """What ADD names by an address, in a folder of its own.

    Raises InvalidArgument, Forbidden, Unavailable, Unsupported.
    """
    if git.is_git(address):
        return await _repository(work, it, address)
    return await _file(work, address, it.checksum)


async def _repository(work: "Work", it: "Add", address: str) -> Files:
    """The files of a repository, or of the folder in it that the address names."""
    source = git.parse(address)
    if it.checksum and not COMMIT.match(it.checksum):
        raise InvalidArgument(
            f"--checksum={it.checksum}: of a repository it is a commit, at least 7 hexadecimal digits"
        )
    keeps = bool(it.keep_git_dir)
    folder = work.new_place("git")
    found = await git.check_out(work.engine.config, source, folder, work.options.secrets, keeps_git_dir=keeps)
    if not found.commit.startswith(it.checksum):
        raise InvalidArgument(f"expected checksum to match {it.checksum}, got {found.commit}")
    path = await asyncio.to_thread(found.inside, source.folder)
    # What git keeps for itself is never twice the same.
    known = f"{found.commit} {source.folder}" if keeps else ""
    excludes = "\n".join(it.exclude)
    return Files({"kind": "folder", "path": str(path)}, ("/",), "", excludes, known=known, is_fetched=True)


async def _file(work: "Work", address: str, checksum: str) -> Files:
    """A download under the name its address ends in."""
    name = unquote(urlsplit(address).path.rpartition("/")[2])
    if name in ("", ".", "..") or "\0" in name or "/" in name:
        raise InvalidArgument(f"cannot determine filename for source {address}: end it with a name")
    folder = work.new_folder("fetched")
    total = hashlib.sha256()
    facts: dict[str, Any] = {}
    most = work.engine.config.max_layer_size

    def keep(chunk: bytes) -> None:
        total.update(chunk)
        file.write(chunk)

    with (folder / name).open("wb") as file:
        async with aclosing(content(work.engine.config, address, facts)) as chunks:
            async for chunk in chunks:
                most -= len(chunk)
                if most < 0:
                    raise InvalidArgument(f"{address} has more than {work.engine.config.max_layer_size} bytes")
                await asyncio.to_thread(keep, chunk)
    if checksum and checksum != f"sha256:{total.hexdigest()}":
        raise InvalidArgument(f"digest mismatch sha256:{total.hexdigest()}: {checksum}")
    (folder / name).chmod(MODE)
    moment = facts.get("modified", 0)
    os.utime(folder / name, (moment, moment))
    pattern = re.sub(r"([*?\[\\])", r"\\\1", name)
    return Files({"kind": "folder", "path": str(folder)}, (pattern,), is_fetched=True)


async def content(config: Config, address: str, facts: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    """What is at an http or https address, piece by piece; `facts` gets "modified" (seconds) and "type"."""
    if config.build_fetches == "off":
        raise Forbidden(f"{address}: this engine builds from what it is sent alone (build-fetches is off)")
    if urlsplit(address).scheme not in ("http", "https"):
        raise InvalidArgument(f"{address}: only http and https addresses can be added")
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=STALL, sock_read=STALL)
    connector = aiohttp.TCPConnector(socket_factory=None if config.build_fetches == "any" else public_socket)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector, auto_decompress=False) as session,
            session.get(address) as got,
        ):
            if got.status != 200:
                raise InvalidArgument(f"{address} answered {got.status} {got.reason}")
            facts["type"] = got.content_type
            facts["modified"] = _seconds(got.headers.get("Last-Modified", ""))
            async for chunk in got.content.iter_chunked(CHUNK):
                yield chunk
    except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as exc:
        raise Unavailable(f"{address} cannot be downloaded: {exc}") from exc


def _seconds(text: str) -> int:
    try:
        return max(0, int(parsedate_to_datetime(text).timestamp()))
    except (TypeError, ValueError):
        return 0
