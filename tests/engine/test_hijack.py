"""A connection taken over from HTTP: both ways, half-closed by the client, slow, gone."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from aiohttp import web
from gantry_agent.engine.api.hijack import Stream, hijack
from gantry_agent.engine.containers.streams import DetachKeys, parse_keys
from gantry_agent.engine.errors import InvalidArgument

from tests.support.waiting import eventually_async

UPGRADE = "Connection: Upgrade\r\nUpgrade: tcp\r\n"


class Server:
    """An application with one hijacking handler; what it saw."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.seen = b""
        self.written = 0
        self.ended = asyncio.Event()
        self.error: Exception | None = None

    async def echo(self, request: web.Request) -> web.StreamResponse:
        """Take everything until the client ends its input, then say it back."""
        await request.read()
        stream = await hijack(request, framed=False)
        self.streams.append(stream)
        while data := await stream.read():
            self.seen += data
        await stream.write(b"<" + self.seen + b">")
        self.ended.set()
        return stream.finish()

    async def flood(self, request: web.Request) -> web.StreamResponse:
        stream = await hijack(request, framed=True)
        self.streams.append(stream)
        try:
            while self.written < 64 << 20:
                await stream.write(b"x" * 65536)
                self.written += 65536
        except ConnectionResetError as exc:
            self.error = exc
        self.ended.set()
        return stream.finish()

    async def wait(self, request: web.Request) -> web.StreamResponse:
        stream = await hijack(request, framed=True)
        self.streams.append(stream)
        await stream.gone.wait()
        self.ended.set()
        return stream.finish()


@pytest.fixture
async def server(tmp_path):
    found = Server()
    app = web.Application()
    for name in ("echo", "flood", "wait"):
        app.router.add_post(f"/{name}", getattr(found, name))
        app.router.add_post("/v{api_version}" + f"/{name}", getattr(found, name))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    path = tmp_path / "s"
    await web.UnixSite(runner, str(path)).start()
    found.path = path  # type: ignore[attr-defined]
    yield found
    await runner.cleanup()


async def ask(path: Path, name: str, headers: str = UPGRADE, body: bytes = b""):
    """Send a request; the head of the answer and the connection."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    head = f"POST /{name} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    return answer.decode(), reader, writer


@pytest.mark.parametrize("body", [b"", b'{"Detach": false}'])
async def test_input_ends_before_output_does(server, body):
    head, reader, writer = await ask(server.path, "echo", body=body)
    assert head.startswith("HTTP/1.1 101 UPGRADED\r\n")
    assert "Upgrade: tcp" in head
    writer.write(b"late")
    writer.write_eof()
    assert await reader.read() == b"<late>"
    writer.close()
    await writer.wait_closed()


async def test_without_upgrade_the_answer_is_200(server):
    head, reader, writer = await ask(server.path, "echo", headers="", body=b"{}")
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert "application/vnd.docker.raw-stream" in head
    writer.write(b"a" * 1_000_000)
    writer.write_eof()
    assert len(await reader.read()) == 1_000_002
    writer.close()
    await writer.wait_closed()


async def test_a_slow_reader_holds_the_writer_up(server):
    head, reader, writer = await ask(server.path, "flood")
    assert "application/vnd.docker.multiplexed-stream" in head
    writer.transport.pause_reading()
    stalled = 0

    async def stands_still():
        nonlocal stalled
        before, stalled = stalled, server.written
        return before == stalled > 0

    await eventually_async(stands_still, what="the writer waits")
    assert server.written < 4 << 20
    writer.transport.abort()
    await asyncio.wait_for(server.ended.wait(), 5)
    assert isinstance(server.error, ConnectionResetError)
    with contextlib.suppress(ConnectionError):
        await reader.read()


@pytest.mark.parametrize("half_closes", [True, False])
async def test_a_client_that_goes_is_noticed(server, half_closes):
    head, _, writer = await ask(server.path, "v1.41/wait")
    assert "application/vnd.docker.raw-stream" in head  # 1.41 knows one kind only
    if half_closes:
        writer.write_eof()
        await eventually_async(lambda: server.streams[0]._has_ended, what="the half-close arrives")
        assert not server.streams[0].gone.is_set()
    writer.transport.abort()
    await asyncio.wait_for(server.ended.wait(), 5)


async def test_input_waits_while_nobody_takes_it(server):
    _, _, writer = await ask(server.path, "wait")
    writer.write(b"x" * (8 << 20))
    await eventually_async(lambda: server.streams[0]._is_paused, what="reading stops")
    assert len(server.streams[0]._buffer) < 1 << 20
    writer.transport.abort()
    await asyncio.wait_for(server.ended.wait(), 5)


def test_detach_keys_are_found_across_pieces():
    keys = DetachKeys("")
    assert keys.feed(b"ls\x10") == (b"ls", False)
    assert keys.feed(b"x") == (b"\x10x", False)
    assert keys.feed(b"\x10\x10") == (b"\x10", False)
    assert keys.feed(b"\x11more") == (b"", True)
    assert DetachKeys("q").feed(b"abqc") == (b"ab", True)


def test_detach_keys_are_named_as_docker_names_them():
    assert parse_keys("ctrl-a,b,ctrl-@,ctrl-_") == b"\x01b\x00\x1f"
    for wrong in ("ctrl-", "ctrl-p,,", "alt-x", "ctrl-P"):
        with pytest.raises(InvalidArgument):
            parse_keys(wrong)
