"""The Engine API over a unix socket: thin, and bounded in everything an engine could send too much of.

    async with Engine(host.engine_socket) as engine:
        info = await engine.get("/info")
        await engine.post(f"/containers/{segment(name)}/stop", t=5)
        async for message in engine.messages("POST", "/images/create", fromImage=repository, tag=tag):
            raise_for_message(message)
        async with engine.stream("GET", f"/containers/{id}/logs", follow=True, stdout=True) as response:
            async for stream, data in demultiplex(response.content): …
        terminal = await engine.hijack("POST", f"/exec/{id}/start", {"Tty": True})

Paths carry no version: the engine then speaks its newest. Query values: True and False become "true"
and "false", a dict JSON (filters), a list a repeated name, None is left out. Each request has a
connection of its own, and whatever ends it early (cancellation above all) closes that connection, which
is how an engine learns to stop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from controlplane.lib.errors import InvalidArgument
from controlplane.lib.foreign import foreign_json
from hosts.engine.errors import EngineProtocolError, EngineTimeout, EngineUnreachable, error_of_body
from hosts.engine.hijack import HijackedStream, open_hijacked
from hosts.engine.messages import LARGEST_MESSAGE, MessageSplitter

LARGEST_BODY = 8 * 1024 * 1024
"""Bytes of an ordinary answer. A list of 2,000 containers with 1 KB of labels each has 5 MB."""
LARGEST_ERROR = 64 * 1024
CONNECT_TIMEOUT = 5.0
TIMEOUT = 30.0
"""Seconds for a whole ordinary request, and until the headers of a streamed answer."""

_CHUNK = 64 * 1024
_MAY_HAVE_HAPPENED = "Look at the host’s engine and agent; what was begun may still have happened."

Body = Mapping[str, Any] | list[Any] | bytes | AsyncIterator[bytes] | None


class Engine:
    """One host's engine. Cheap to make; an async context manager."""

    def __init__(self, socket_path: Path | str) -> None:
        self.socket_path = str(socket_path)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # A POST cannot be repeated when a kept-alive connection turns out to be closed.
            connector=aiohttp.UnixConnector(self.socket_path, force_close=True, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
            trust_env=False,
            max_line_size=8 * 1024,
            max_field_size=8 * 1024,
            max_headers=100,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(
        self, path: str, /, *, limit: int = LARGEST_BODY, timeout: float | None = TIMEOUT, **query: Any
    ) -> Any:
        """The JSON (or text) of a GET, of at most ``limit`` bytes within ``timeout`` seconds."""
        return await self.request("GET", path, limit=limit, timeout=timeout, query=query)

    async def post(
        self,
        path: str,
        body: Body = None,
        /,
        *,
        headers: Mapping[str, str] | None = None,
        limit: int = LARGEST_BODY,
        timeout: float | None = TIMEOUT,
        **query: Any,
    ) -> Any:
        """The JSON (or text, or None) of a POST. EngineNotModified when it was so already (start, stop)."""
        return await self.request("POST", path, body, headers=headers, limit=limit, timeout=timeout, query=query)

    async def delete(
        self, path: str, /, *, limit: int = LARGEST_BODY, timeout: float | None = TIMEOUT, **query: Any
    ) -> Any:
        """The JSON (or None) of a DELETE."""
        return await self.request("DELETE", path, limit=limit, timeout=timeout, query=query)

    async def request(
        self,
        method: str,
        path: str,
        body: Body = None,
        *,
        headers: Mapping[str, str] | None = None,
        limit: int = LARGEST_BODY,
        timeout: float | None = TIMEOUT,
        query: Mapping[str, Any] | None = None,
    ) -> Any:
        """One request with its whole answer; ``query`` as a mapping, for a name such as ``limit``."""
        with _translated(timeout):
            async with (
                asyncio.timeout(timeout),
                self.stream(method, path, body, headers=headers, timeout=None, **(query or {})) as response,
            ):
                content = await _read(response, limit)
        return _decoded(response, content)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        body: Body = None,
        /,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = TIMEOUT,
        **query: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer as it comes, without a total limit: read ``response.content`` in pieces.

        ``timeout`` seconds until its headers: None where an engine sends them only with the first
        output (a pull) or at the very end (Podman's wait). Leaving the block closes the connection.
        """
        assert self._session is not None, "use `async with Engine(…) as engine`"
        data, kind = _encoded(body)
        sent = {"Accept-Encoding": "identity", **({"Content-Type": kind} if kind else {}), **(headers or {})}
        with _translated(timeout):
            async with asyncio.timeout(timeout):
                response = await self._session.request(
                    method, url(path, query), data=data, headers=sent, allow_redirects=False
                )
        try:
            if response.status >= 300:
                with _translated(TIMEOUT):
                    raise error_of_body(response.status, await _read_error(response))
            with _translated_aiohttp():
                yield response
        finally:
            response.close()

    async def messages(
        self,
        method: str,
        path: str,
        body: Body = None,
        /,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        limit: int = LARGEST_MESSAGE,
        **query: Any,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The JSON objects of a streamed answer, each of at most ``limit`` bytes; they may be error messages.

        ``timeout``: seconds until the headers. Use ``contextlib.aclosing`` when you may leave the loop
        early: only then is the connection closed at once.
        """
        splitter = MessageSplitter(limit)
        async with self.stream(method, path, body, headers=headers, timeout=timeout, **query) as response:
            while data := await response.content.read(_CHUNK):
                for message in splitter.feed(data):
                    yield message
        if not splitter.complete:
            raise EngineUnreachable("The answer ended in the middle of a message: the connection broke.")

    async def hijack(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        /,
        *,
        timeout: float | None = TIMEOUT,
        **query: Any,
    ) -> HijackedStream:
        """A raw connection both ways (attach, exec start); the caller closes it."""
        target = url(path, query).raw_path_qs
        return await open_hijacked(self.socket_path, method, target, body, timeout)


def segment(name: str) -> str:
    """A name or image reference as part of a path; InvalidArgument for what would lead to another path."""
    parts = name.split("/")
    if not name or any(part in ("", ".", "..") for part in parts):
        raise InvalidArgument(
            f"Expected a name or an id, found “{name}”.", "Leave out empty parts and dots between slashes."
        )
    return quote(name, safe="/:@")


def url(path: str, query: Mapping[str, Any]) -> URL:
    """The address of a path (which may carry a query of its own) with the query added."""
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or set(path) & set(" #"):
        raise ValueError(f"expected a quoted path that begins with a slash, found {path!r}")
    pairs = [pair for name, value in query.items() for pair in _pairs(name, value)]
    joint = "&" if "?" in path else "?"
    return URL(f"http://engine{path}{joint}{urlencode(pairs)}" if pairs else f"http://engine{path}", encoded=True)


def _pairs(name: str, value: Any) -> list[tuple[str, str]]:
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return [pair for item in value for pair in _pairs(name, item)]
    if isinstance(value, bool):
        return [(name, "true" if value else "false")]
    if isinstance(value, Mapping):
        return [(name, json.dumps(value))]
    return [(name, str(value))]


def _encoded(body: Body) -> tuple[Any, str]:
    if body is None:
        return None, ""
    if isinstance(body, Mapping | list):
        return json.dumps(body).encode(), "application/json"
    return body, "application/x-tar"


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    found = bytearray()
    while data := await response.content.read(_CHUNK):
        found += data
        if len(found) > limit:
            raise EngineProtocolError(
                f"Expected at most {limit} bytes from {response.method} {response.url.path}, found more.",
                "Look at this host: a name, a label or a list on it is far larger than it should be.",
            )
    return bytes(found)


async def _read_error(response: aiohttp.ClientResponse) -> bytes:
    """What fits of an error's body; how the rest would go on does not matter."""
    found = bytearray()
    async with asyncio.timeout(TIMEOUT):
        while len(found) < LARGEST_ERROR and (data := await response.content.read(LARGEST_ERROR)):
            found += data
    return bytes(found)


def _decoded(response: aiohttp.ClientResponse, content: bytes) -> Any:
    if not content:
        return None
    if response.content_type == "text/plain":
        return content.decode(errors="replace")
    try:
        return foreign_json(content)
    except (ValueError, RecursionError) as error:
        raise EngineProtocolError(
            f"Expected JSON from {response.method} {response.url.path}, found {content[:80]!r}: {error}.",
            "Is this socket really that of a container engine?",
        ) from error


@contextmanager
def _translated(timeout: float | None) -> Iterator[None]:
    """The one place where the system's exceptions become ours."""
    try:
        with _translated_aiohttp():
            yield
    except TimeoutError as error:
        raise EngineTimeout(
            f"The engine did not answer within {timeout or TIMEOUT:g} s.", _MAY_HAVE_HAPPENED
        ) from error
    except ConnectionError as error:
        raise EngineUnreachable("The connection to the engine broke.", _MAY_HAVE_HAPPENED) from error


@contextmanager
def _translated_aiohttp() -> Iterator[None]:
    """aiohttp's exceptions become ours; others, such as the caller's own timeout, pass untouched."""
    try:
        yield
    except aiohttp.ClientConnectorError as error:
        raise EngineUnreachable(
            f"Nobody answers on the host’s socket: {error.strerror or error}.",
            "The host is not connected, or its engine is stopped.",
        ) from error
    except aiohttp.ServerTimeoutError as error:
        raise EngineTimeout(
            f"The host’s socket took no connection within {CONNECT_TIMEOUT:g} s.", "The host is overloaded."
        ) from error
    except aiohttp.ClientPayloadError as error:
        raise EngineUnreachable(
            "The connection to the engine broke in the middle of its answer.", _MAY_HAVE_HAPPENED
        ) from error
    except (aiohttp.ClientResponseError, HttpProcessingError) as error:
        text = str(getattr(error, "message", "") or error).strip().partition("\n")[0]
        raise EngineProtocolError(f"Expected HTTP from the engine, found something else: {text[:200]}") from error
    except aiohttp.ClientError as error:
        raise EngineUnreachable("The engine closed the connection without an answer.", _MAY_HAVE_HAPPENED) from error
