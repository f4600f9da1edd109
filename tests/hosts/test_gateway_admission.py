"""Who the gateway lets in: the holder of a known host's key, answering this very challenge, and nobody else."""

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from gantry_agent import keys

from tests.support.netns import NetworkNamespace
from tests.support.tunnel import AgentHost, Tunnel
from tests.support.waiting import eventually_async


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    with Tunnel() as tunnel:
        yield tunnel


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


class Peer:
    """An agent made by hand: it says exactly what a test tells it to say."""

    def __init__(self, tunnel: Tunnel, client: aiohttp.ClientSession) -> None:
        self.tunnel, self.client = tunnel, client

    async def dial(self, purpose: str = "control") -> None:
        """Connect and read the challenge."""
        self.ws = await self.client.ws_connect(
            f"{self.tunnel.url}/agent/{purpose}", protocols=("gantry.v1",), autoclose=True
        )
        challenge = await self.ws.receive_json(timeout=5)
        self.gateway, self.nonce = challenge["gateway"], base64.b64decode(challenge["nonce"])

    def signed(self, host: AgentHost, /, purpose: str = "control", **changes: Any) -> str:
        """What `host` would answer, but for the changes."""
        said = {"purpose": purpose, "gateway": self.gateway, "nonce": self.nonce, "host": host.id, **changes}
        return keys.sign(host.key, said["purpose"], said["gateway"], said["nonce"], said["host"])

    async def hello(self, host: str, signature: object) -> int | None:
        """Introduce ourselves; the code we are closed with, or None when admitted (a control connection)."""
        await self.ws.send_json({"type": "hello", "host": host, "signature": signature, "agent_version": "t"})
        message = await self.ws.receive(timeout=30)
        return None if message.type is aiohttp.WSMsgType.TEXT else self.ws.close_code


@pytest.fixture
def peer(tunnel: Tunnel, client: aiohttp.ClientSession) -> Peer:
    return Peer(tunnel, client)


async def test_it_admits_the_holder_of_the_key(tunnel: Tunnel, peer: Peer) -> None:
    host = tunnel.enrol(None)
    await peer.dial()
    assert await peer.hello(host.id, peer.signed(host)) is None
    assert host.engine.stat().st_mode & 0o777 == 0o600
    assert host.engine.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("origin", ["null", "", "http://evil.example", "same"])
@pytest.mark.parametrize("purpose", ["control", "stream"])
async def test_it_shows_its_challenge_to_no_page(
    tunnel: Tunnel, client: aiohttp.ClientSession, purpose: str, origin: str
) -> None:
    """A page in the browser of somebody inside could else hold the places of agents, from any site at all."""
    headers = {"Origin": f"http://127.0.0.1:{tunnel.port}" if origin == "same" else origin}
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect(f"{tunnel.url}/agent/{purpose}", protocols=("gantry.v1",), headers=headers)
    assert refused.value.status == 403


@pytest.mark.parametrize("path", ["/", "/api/v1/me", "/login/", "/healthz", "/agent/", "/agent/enrol", "/agent/x"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_nothing_else_answers_where_agents_dial_in(
    tunnel: Tunnel, client: aiohttp.ClientSession, path: str, method: str
) -> None:
    """What a host holds opens a tunnel to itself, and none of the pages or the API."""
    address = tunnel.url.replace("ws", "http", 1)
    async with client.request(method, address + path, allow_redirects=False) as answer:
        assert answer.status == 404


async def test_it_refuses_an_unknown_host(tunnel: Tunnel, peer: Peer) -> None:
    host = tunnel.enrol(None)
    tunnel.directory.hosts.clear()
    await peer.dial()
    assert await peer.hello(host.id, peer.signed(host)) == 4401


async def test_it_refuses_another_hosts_key(tunnel: Tunnel, peer: Peer) -> None:
    """Agent A answering for B."""
    ours, theirs = tunnel.enrol(None, "1"), tunnel.enrol(None, "2")
    await peer.dial()
    assert await peer.hello(theirs.id, peer.signed(ours, host=theirs.id)) == 4401
    assert not theirs.engine.exists()


@pytest.mark.parametrize(
    "changes",
    [{"nonce": b"\0" * 32}, {"gateway": "another"}, {"host": "2"}, {"purpose": "stream"}],
    ids=["old nonce", "another gateway", "another host", "another purpose"],
)
async def test_it_refuses_a_signature_over_something_else(tunnel: Tunnel, peer: Peer, changes: dict[str, Any]) -> None:
    host = tunnel.enrol(None)
    await peer.dial()
    assert await peer.hello(host.id, peer.signed(host, **changes)) == 4401


async def test_it_refuses_a_replayed_answer(tunnel: Tunnel, peer: Peer, client: aiohttp.ClientSession) -> None:
    host = tunnel.enrol(None)
    await peer.dial()
    recorded = peer.signed(host)
    assert await peer.hello(host.id, recorded) is None
    again = Peer(tunnel, client)
    await again.dial()
    assert await again.hello(host.id, recorded) == 4401


@pytest.mark.parametrize("signature", [None, 7, "", "not base64!", base64.b64encode(b"x" * 64).decode()])
async def test_it_refuses_what_is_no_signature(tunnel: Tunnel, peer: Peer, signature: object) -> None:
    host = tunnel.enrol(None)
    await peer.dial()
    assert await peer.hello(host.id, signature) == 4401


@pytest.mark.parametrize("text", ["[]", "{}", "nonsense", '{"type":"hello","host":"../1"}', "[" * 100_000])
async def test_it_refuses_garbage(tunnel: Tunnel, peer: Peer, text: str) -> None:
    await peer.dial()
    await peer.ws.send_str(text)
    await peer.ws.receive(timeout=30)
    assert peer.ws.close_code == 4401


async def test_it_refuses_a_stream_of_a_host_that_is_not_connected(tunnel: Tunnel, peer: Peer) -> None:
    host = tunnel.enrol(None)
    await peer.dial("stream")
    assert await peer.hello(host.id, peer.signed(host, "stream")) == 4401


async def test_it_refuses_a_stream_signed_by_another_host(
    tunnel: Tunnel, peer: Peer, client: aiohttp.ClientSession
) -> None:
    """One connected host must not receive another's clients."""
    ours, theirs = tunnel.enrol(None, "1"), tunnel.enrol(None, "2")
    for host in (ours, theirs):
        control = Peer(tunnel, client)
        await control.dial()
        assert await control.hello(host.id, control.signed(host)) is None
    await peer.dial("stream")
    assert await peer.hello(theirs.id, peer.signed(ours, "stream", host=theirs.id)) == 4401


async def test_it_closes_an_oversized_frame_without_reading_it(tunnel: Tunnel, peer: Peer) -> None:
    """2 GB announced: closed with 1009 as soon as the header is there."""
    host = tunnel.enrol(None)
    reader, writer = await asyncio.open_connection("127.0.0.1", tunnel.port)
    writer.write(
        b"GET /agent/control HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    challenge = await read_frame(reader)
    peer.gateway = json.loads(challenge)["gateway"]
    writer.write(struct.pack("!BBQ", 0x82, 0xFF, 2 * 1024**3) + b"\0\0\0\0")
    assert struct.unpack("!H", (await read_frame(reader))[:2])[0] in (1009, 4401)
    writer.close()
    assert not host.engine.exists()


async def test_an_admitted_host_that_sends_an_oversized_frame_is_closed(tunnel: Tunnel, peer: Peer) -> None:
    host = tunnel.enrol(None)
    await peer.dial()
    assert await peer.hello(host.id, peer.signed(host)) is None
    # The frame's head alone: what the gateway leaves unread would make the kernel cut the line, and its answer with it.
    peer.ws._writer.transport.write(struct.pack("!BBQ", 0x82, 0xFF, 1024 * 1024 + 1) + b"\0\0\0\0")
    while (await peer.ws.receive(timeout=30)).type is aiohttp.WSMsgType.TEXT:
        pass
    assert peer.ws.close_code == 1009


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """The payload of one short, unmasked WebSocket frame."""
    _, length = await reader.readexactly(2)
    if length == 126:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
    return await reader.readexactly(length)


async def test_a_newer_connection_of_the_host_replaces_the_older(
    tunnel: Tunnel, peer: Peer, client: aiohttp.ClientSession
) -> None:
    host = tunnel.enrol(None)
    await peer.dial()
    assert await peer.hello(host.id, peer.signed(host)) is None
    newer = Peer(tunnel, client)
    await newer.dial()
    assert await newer.hello(host.id, newer.signed(host)) is None
    while (await peer.ws.receive(timeout=30)).type is aiohttp.WSMsgType.TEXT:
        pass
    assert peer.ws.close_code == 4409
    assert not newer.ws.closed
    assert host.engine.exists()


async def test_a_forged_newcomer_replaces_nobody(tunnel: Tunnel, peer: Peer, client: aiohttp.ClientSession) -> None:
    host = tunnel.enrol(None)
    await peer.dial()
    assert await peer.hello(host.id, peer.signed(host)) is None
    forged = Peer(tunnel, client)
    await forged.dial()
    assert await forged.hello(host.id, base64.b64encode(b"x" * 64).decode()) == 4401
    await peer.ws.ping()
    assert tunnel.gateway.connected_hosts == [host.id]


async def test_a_removed_host_is_disconnected_within_seconds(tunnel: Tunnel, peer: Peer) -> None:
    host = tunnel.enrol(None)
    await peer.dial()
    assert await peer.hello(host.id, peer.signed(host)) is None
    del tunnel.directory.hosts[host.id]
    while (await peer.ws.receive(timeout=8)).type is not aiohttp.WSMsgType.CLOSE:
        pass
    assert peer.ws.close_code == 4403
    await eventually_async(lambda: not host.engine.exists())


async def test_a_host_whose_key_was_replaced_is_disconnected(tunnel: Tunnel, peer: Peer) -> None:
    """Enrolled anew elsewhere: the old key ends while its connection is open."""
    host = tunnel.enrol(None)
    await peer.dial()
    assert await peer.hello(host.id, peer.signed(host)) is None
    tunnel.directory.hosts[host.id] = keys.public_text(keys.generate())
    while (await peer.ws.receive(timeout=8)).type is not aiohttp.WSMsgType.CLOSE:
        pass
    assert peer.ws.close_code == 4403


@pytest.mark.root
async def test_another_machine_without_tls_is_refused_with_the_reason() -> None:
    if reason := NetworkNamespace.why_not():
        pytest.skip(reason)
    with NetworkNamespace() as there, Tunnel(host=there.outside) as tunnel:
        program = (
            "import http.client as h;"
            f"c=h.HTTPConnection('{there.outside}',{tunnel.port},timeout=5);c.request('GET','/agent/control');"
            "r=c.getresponse();print(r.status,r.read().decode())"
        )
        process = await asyncio.create_subprocess_exec(
            *there.command("python3", "-c", program), stdout=asyncio.subprocess.PIPE
        )
        answer, _ = await process.communicate()
        assert answer.startswith(b"403 ")
        assert b"not encrypted" in answer
        # This machine itself, by the same address, is as good as its loopback.
        own = f"ws://{there.outside}:{tunnel.port}/agent/control"
        async with aiohttp.ClientSession() as session, session.ws_connect(own) as ws:
            assert (await ws.receive_json())["type"] == "challenge"
