"""What a build gets from elsewhere by address: ADD https://…, and the context that `remote` names.

Only addresses of the public network are asked, redirects included, unless the engine is configured otherwise: whoever
may build must not reach what only this host can (its metadata service, neighbours behind a firewall).
"""

import asyncio
import errno
import hashlib
import ipaddress
import os
import re
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import aiohttp

from gantry_agent.engine.config import Config
from gantry_agent.engine.errors import Forbidden, InvalidArgument, Unavailable, Unsupported

from .filling import Files

if TYPE_CHECKING:
    from .work import Work

CHUNK = 1 << 20  # bytes
STALL = 60.0  # seconds an address may send nothing
MODE = 0o600  # as Docker gives what ADD downloads
REMOTE = re.compile(r"(?:https?|git|ssh|ftp|file|ext)::?//|git@|github\.com/", re.IGNORECASE)
GIT = re.compile(r"(?:git|ssh)://|git@|github\.com/|https?://[^?#]*\.git(?:[#?]|\Z)", re.IGNORECASE)


def is_remote(source: str) -> bool:
    """Whether a source of ADD is an address."""
    return bool(REMOTE.match(source))


async def fetch(work: "Work", address: str, checksum: str = "") -> Files:
    """Download what ADD names into a folder of its own. Raises InvalidArgument, Forbidden, Unavailable, Unsupported."""
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
    return Files({"kind": "folder", "path": str(folder)}, (pattern,))


async def content(config: Config, address: str, facts: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    """What is at an http or https address, piece by piece; `facts` gets "modified" (seconds) and "type"."""
    if config.build_fetches == "off":
        raise Forbidden(f"{address}: this engine builds from what it is sent alone (build-fetches is off)")
    if GIT.match(address):
        raise Unsupported(f"{address}: git sources are not supported by this engine: send the files as the context")
    if urlsplit(address).scheme not in ("http", "https"):
        raise InvalidArgument(f"{address}: only http and https addresses can be added")
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=STALL, sock_read=STALL)
    connector = aiohttp.TCPConnector(socket_factory=None if config.build_fetches == "any" else _public_socket)
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


def _public_socket(found: tuple[Any, ...]) -> socket.socket:
    """A socket towards an address that was resolved (getaddrinfo's five parts). Raises OSError for a private one."""
    family, kind, protocol, _, address = found
    where = ipaddress.ip_address(str(address[0]).partition("%")[0])
    if not where.is_global or where.is_multicast:
        raise OSError(errno.EACCES, f"{where} is no public address; build-fetches would have to be “any”")
    return socket.socket(family, kind, protocol)


def _seconds(text: str) -> int:
    try:
        return max(0, int(parsedate_to_datetime(text).timestamp()))
    except (TypeError, ValueError):
        return 0
