"""The engine on this host: where its socket is, and the few calls the agent itself makes.

The tunnel does not use this client: it carries the engine's bytes untouched.
"""

import asyncio
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp

from .errors import EngineFailure, EngineUnreachable
from .pipe import PatientReader

CONNECT_TIMEOUT = 5.0  # seconds
CALL_TIMEOUT = 30.0  # seconds
READ_AHEAD = 256 * 1024  # bytes taken from an engine ahead of a slow tunnel, at most twice this
MAX_ANSWER = 8 * 1024 * 1024  # bytes of one JSON answer


def candidates(chosen: str = "") -> list[str]:
    """Paths where an engine's socket may be, best first; only `chosen` (unix://… or a path) if given."""
    if chosen:
        return [chosen.removeprefix("unix://")]
    places = []
    configured = os.environ.get("DOCKER_HOST", "")
    if configured.startswith("unix://"):
        places.append(configured.removeprefix("unix://"))
    places += ["/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock"]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        places += [f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock"]
    return places


def find_socket(chosen: str = "") -> str | None:
    """The first candidate that is a socket we may use, or None. Looked up anew on every call: engines
    come and go, and a package upgrade may replace the socket."""
    for path in candidates(chosen):
        try:
            is_socket = stat.S_ISSOCK(Path(path).stat().st_mode)
        except OSError:
            continue
        if is_socket and os.access(path, os.R_OK | os.W_OK):
            return path
    return None


async def answers(chosen: str = "") -> bool:
    """Whether somebody accepts connections on one of the candidates: a socket's file outlives its engine."""
    for path in candidates(chosen):
        try:
            _, writer = await connect(path)
        except EngineUnreachable:
            continue
        writer.close()
        return True
    return False


def required_socket(chosen: str = "") -> str:
    """Like `find_socket`. Raises EngineUnreachable naming the places looked at."""
    path = find_socket(chosen)
    if path is None:
        places = ", ".join(dict.fromkeys(candidates(chosen)))
        raise EngineUnreachable(f"No container engine answers on this host (looked at {places}).")
    return path


async def connect(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a raw connection to a unix socket. Raises EngineUnreachable."""
    loop = asyncio.get_running_loop()
    reader = PatientReader(limit=READ_AHEAD, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            transport, _ = await loop.create_unix_connection(lambda: protocol, path)
    except TimeoutError as exc:
        raise EngineUnreachable(f"The engine at {path} did not accept a connection in time.") from exc
    except OSError as exc:
        raise EngineUnreachable(f"The engine at {path} cannot be reached: {exc.strerror or exc}.") from exc
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class Engine:
    """The engine this agent stands in front of, and the calls that terminals and metrics need.

    `chosen` may change while the agent runs: the native engine is picked once nothing else answers. `problem`
    says why there is none, for people.
    """

    def __init__(self, chosen: str = "") -> None:
        self.chosen = chosen
        self.is_native = False
        self.problem = ""

    def find(self) -> str | None:
        """The path of its socket, None when there is none now."""
        return find_socket(self.chosen)

    def required(self) -> str:
        """The path of its socket. Raises EngineUnreachable, with the reason when it is known."""
        path = self.find()
        if path is None and self.problem:
            raise EngineUnreachable(self.problem, "It is looked at again all the time: nothing has to be started anew.")
        if path is None and self.is_native:
            raise EngineUnreachable("Gantry's native engine is starting on this host.", "Try again in a moment.")
        return path or required_socket(self.chosen)

    async def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """One request with a JSON answer (None when empty). Raises EngineFailure, EngineUnreachable."""
        connector = aiohttp.UnixConnector(path=self.required())
        timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT, connect=CONNECT_TIMEOUT)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
            try:
                async with client.request(method, f"http://engine{path}", json=body, params=query) as answer:
                    content = await answer.content.read(MAX_ANSWER + 1)
                    while not answer.content.at_eof() and len(content) <= MAX_ANSWER:
                        content += await answer.content.read(MAX_ANSWER + 1 - len(content))
            except (aiohttp.ClientError, TimeoutError, OSError) as exc:
                raise EngineUnreachable(f"The engine did not answer: {exc or type(exc).__name__}.") from exc
        if len(content) > MAX_ANSWER:
            raise EngineFailure(502, "The engine's answer is larger than the agent accepts.")
        return _parse(answer.status, content)

    async def container(self, name: str) -> dict[str, Any]:
        """Inspect a container by id or name. Raises EngineFailure (404 when there is none)."""
        found = await self.call("GET", f"/containers/{quote(name, safe='')}/json")
        if not isinstance(found, dict):
            raise EngineFailure(502, "The engine's answer is not a container.")
        return found

    async def hijack(
        self, path: str, body: Mapping[str, Any], **query: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """POST and take over the connection: raw bytes both ways from there. Raises EngineFailure."""
        reader, writer = await connect(self.required())
        content = json.dumps(body).encode()
        target = f"{path}?{urlencode(query)}" if query else path
        head = (
            f"POST {target} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\n"
            f"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        try:
            writer.write(head.encode() + content)
            async with asyncio.timeout(CALL_TIMEOUT):
                status, length = _parse_head(await reader.readuntil(b"\r\n\r\n"))
                if status not in (101, 200):
                    _parse(status, await reader.readexactly(min(length, MAX_ANSWER)))
                    raise EngineFailure(502, f"The engine answered {status} where a stream was expected.")
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as exc:
            writer.close()
            raise EngineUnreachable(f"The engine broke off: {exc or type(exc).__name__}.") from exc
        except EngineFailure:
            writer.close()
            raise
        return reader, writer


def _parse_head(head: bytes) -> tuple[int, int]:
    """Status and Content-Length (0 when absent) of a response head. Raises EngineFailure."""
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    try:
        return int(first.split(" ", 2)[1]), int(headers.get("content-length", 0))
    except (IndexError, ValueError) as exc:
        raise EngineFailure(502, "The engine's answer is not HTTP.") from exc


def _parse(status: int, content: bytes) -> Any:
    """The JSON of an answer. Raises EngineFailure for an error status or something that is not JSON."""
    try:
        found = json.loads(content) if content.strip() else None
    except ValueError as exc:
        if status < 400:
            raise EngineFailure(502, "The engine's answer is not JSON.") from exc
        found = content.decode(errors="replace")[:500]
    if status >= 400:
        message = found.get("message") if isinstance(found, dict) else found
        raise EngineFailure(status, str(message or f"The engine answered {status}."))
    return found
