"""What breaks between a host and the gateway, and how soon it is noticed and mended."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest
from gantry_agent import keys

from hosts.gateway.link import CLIENT_WAIT
from tests.support.netns import NetworkNamespace
from tests.support.tunnel import AgentHost, Tunnel
from tests.support.unixhttp import request
from tests.support.waiting import eventually

DETECTED = 18.0  # seconds: silence counts as death after 11, looked at every second; promised are 20
MEGABYTE = 1024 * 1024
ANSWER = os.urandom(2 * MEGABYTE)


class EchoEngine:
    """A fake engine at the transport seam: a unix socket that echoes, swallows, floods or never reads."""

    def __init__(self, path: Path, behaviour: str = "echo") -> None:
        self.path, self.behaviour = path, behaviour
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen(512)
        self.clients: list[socket.socket] = []
        self.received = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in (self.server, *self.clients):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            self.clients.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self.behaviour == "stuck":
                return
            if self.behaviour == "answer":
                client.sendall(ANSWER)  # unread input makes the close a reset
                client.close()
                return
            if self.behaviour == "flood":
                while True:
                    client.sendall(b"x" * 65536)
            while data := client.recv(65536):
                self.received += len(data)
                if self.behaviour == "echo":
                    client.sendall(data)
            client.shutdown(socket.SHUT_WR)


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    with Tunnel() as tunnel:
        yield tunnel


@pytest.fixture
def engine(tunnel: Tunnel) -> Iterator[EchoEngine]:
    engine = EchoEngine(tunnel.folder / "engine.sock")
    yield engine
    engine.close()


@pytest.fixture
def host(tunnel: Tunnel, engine: EchoEngine) -> AgentHost:
    host = tunnel.enrol(engine.path)
    host.start()
    return host


def dial(host: AgentHost) -> socket.socket:
    """A client of the host's engine socket."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    try:
        client.connect(str(host.engine))
    except OSError:
        client.close()
        raise
    return client


def echoes(host: AgentHost) -> bool:
    try:
        with dial(host) as client:
            client.sendall(b"ping")
            return client.recv(4) == b"ping"
    except OSError:
        return False


def send(host: AgentHost, number: signal.Signals) -> None:
    assert host.process
    host.process.send_signal(number)


def test_bytes_and_both_ends_of_input_pass(host: AgentHost) -> None:
    with dial(host) as client:
        payload = os.urandom(3_000_000)
        threading.Thread(target=lambda: (client.sendall(payload), client.shutdown(socket.SHUT_WR))).start()
        received = bytearray()
        while data := client.recv(65536):
            received += data
    assert received == payload


def received(client: socket.socket) -> bytes:
    """All that comes until the end of input or a reset."""
    found = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            found += data
    return bytes(found)


def test_a_slow_client_gets_the_whole_answer(tunnel: Tunnel) -> None:
    """The engine is done and gone long before the client reads: no time-out on the way may cut the tail."""
    engine = EchoEngine(tunnel.folder / "engine.sock", "answer")
    host = tunnel.enrol(engine.path)
    host.start()
    with dial(host) as client:
        assert client.recv(1, socket.MSG_PEEK)
        # What is tested is that time passes: more than the close time-outs of both WebSockets.
        threading.Event().wait(4.5)
        assert received(client) == ANSWER
    engine.close()


def test_an_early_answer_is_delivered_although_the_request_was_never_read(tunnel: Tunnel) -> None:
    """An engine that refuses an upload answers, closes, and so resets what is still being sent."""
    engine = EchoEngine(tunnel.folder / "engine.sock", "answer")
    host = tunnel.enrol(engine.path)
    host.start()
    for _ in range(10):
        with dial(host) as client:
            client.sendall(b"x" * 100_000)
            assert received(client) == ANSWER
    engine.close()


def test_a_stopped_agent_is_noticed_and_returns(tunnel: Tunnel, host: AgentHost) -> None:
    with dial(host) as client:
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        send(host, signal.SIGSTOP)
        began = time.monotonic()
        assert tunnel.wait_for(host, "disconnected", timeout=DETECTED) == "The agent stopped answering."
        assert time.monotonic() - began < DETECTED
        assert not host.engine.exists()
        assert not host.agent.exists()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b"", "its streams are cut, not left hanging"
    send(host, signal.SIGCONT)
    eventually(lambda: echoes(host), timeout=20, what="the agent is back")


@pytest.mark.root
def test_a_half_open_connection_is_noticed_on_both_ends(tmp_path: Path) -> None:
    """Every packet dropped, nobody told: TCP alone would wait for a quarter of an hour."""
    if reason := NetworkNamespace.why_not():
        pytest.skip(reason)
    with NetworkNamespace() as there, Tunnel(host=there.outside, tls=None) as tunnel:
        tunnel.gateway._refusal = lambda request: None  # type: ignore[method-assign]  # plain, to keep this short
        engine = EchoEngine(tunnel.folder / "engine.sock")
        host = tunnel.enrol(engine.path)
        host.prefix = there.command()
        host.start()
        assert echoes(host)
        there.cut()
        tunnel.wait_for(host, "disconnected", timeout=DETECTED)
        eventually(lambda: not host.is_connected, timeout=DETECTED, what="the agent notices too")
        there.heal()
        eventually(lambda: echoes(host), timeout=25, what="the host is back")
        engine.close()


def test_a_killed_agent_takes_its_sockets_with_it_and_brings_them_back(tunnel: Tunnel, host: AgentHost) -> None:
    host.kill()
    tunnel.wait_for(host, "disconnected", timeout=12)
    assert not host.engine.exists()
    host.start()
    assert echoes(host)


def test_clients_that_come_during_a_short_break_only_wait(
    tunnel: Tunnel, host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A control connection that breaks and returns within the grace is no loss of the host."""
    monkeypatch.setattr("hosts.gateway.server.GRACE", 30.0)
    link = tunnel.gateway.links[host.id]
    before = link.control
    tunnel.loop.call_soon_threadsafe(link.cut_control)
    eventually(lambda: link.control is not before)
    assert echoes(host)
    eventually(lambda: link.control is not None and host.is_connected, timeout=20)
    assert tunnel.gateway.links[host.id] is link
    assert [state for _, state, _ in tunnel.directory.news if state == "disconnected"] == []


def test_without_an_engine_the_client_gets_the_reason(tunnel: Tunnel) -> None:
    host = tunnel.enrol(tunnel.folder / "nothing.sock")
    host.start()
    status, answer = request(host.engine, "GET", "/version")
    assert status == 503
    assert "nothing.sock" in answer["message"]
    assert request(host.agent, "GET", "/gantry/host")[0] == 200


async def test_a_client_whose_host_gives_no_stream_is_told_in_time(
    tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent is connected and never dials: 503 after a while (10 s; here 2), not a hang."""
    assert CLIENT_WAIT == 10.0
    monkeypatch.setattr("hosts.gateway.link.CLIENT_WAIT", 2.0)
    host = tunnel.enrol(None)
    async with aiohttp.ClientSession() as session:
        ws = await session.ws_connect(f"{tunnel.url}/agent/control")
        challenge = await ws.receive_json()
        nonce = keys.base64.b64decode(challenge["nonce"])
        signature = keys.sign(host.key, "control", challenge["gateway"], nonce, host.id)
        await ws.send_json({"type": "hello", "host": host.id, "signature": signature})
        await ws.receive()
        heard = asyncio.create_task(_listen(ws))
        began = time.monotonic()
        status, answer = await asyncio.to_thread(request, host.engine, "GET", "/version", timeout=15)
        assert (status, time.monotonic() - began < 12) == (503, True)
        assert "in time" in answer["message"]
        heard.cancel()
        await ws.close()


async def _listen(ws: aiohttp.ClientWebSocketResponse) -> None:
    while not ws.closed:
        await ws.receive()


def test_a_burst_of_clients_is_served(host: AgentHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hosts.gateway.link.CLIENT_WAIT", 60.0)  # gateway and clients share one interpreter here
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(echoes(host))) for _ in range(150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [True] * 150


@pytest.mark.parametrize("direction", ["down", "up"])
def test_a_stalled_reader_grows_no_memory(tunnel: Tunnel, direction: str) -> None:
    """Endless input on one end, nobody reading on the other: both processes stay as they are."""
    engine = EchoEngine(tunnel.folder / "engine.sock", "flood" if direction == "down" else "stuck")
    host = tunnel.enrol(engine.path)
    host.start()
    assert host.process
    ours, theirs = psutil.Process(), psutil.Process(host.process.pid)
    clients = [dial(host) for _ in range(4)]
    before = ours.memory_info().rss, theirs.memory_info().rss
    if direction == "up":
        for client in clients:
            client.settimeout(1.0)
            with contextlib.suppress(TimeoutError):
                while True:
                    client.sendall(b"x" * 65536)
    else:
        for client in clients:
            client.recv(1)
    _settled(lambda: theirs.io_counters().write_bytes + theirs.io_counters().read_bytes)
    after = ours.memory_info().rss, theirs.memory_info().rss
    for client in clients:
        client.close()
    engine.close()
    assert after[0] - before[0] < 30 * MEGABYTE
    assert after[1] - before[1] < 30 * MEGABYTE


def _settled(measure: object, rounds: int = 5) -> None:
    """Wait until a measure stops changing."""
    seen: list[object] = []

    def steady() -> bool:
        seen.append(measure())  # type: ignore[operator]
        return len(seen) > rounds and len(set(seen[-rounds:])) == 1

    eventually(steady, timeout=20, what="traffic stops")


def test_a_stalled_stream_does_not_hold_up_another(tunnel: Tunnel, host: AgentHost) -> None:
    with dial(host) as stalled:
        stalled.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                stalled.sendall(b"x" * 65536)
        assert echoes(host)


def test_a_stuck_database_stalls_no_stream(tunnel: Tunnel, host: AgentHost) -> None:
    async def stall() -> None:
        tunnel.directory.stalled = asyncio.Event()

    async def go_on() -> None:
        stalled, tunnel.directory.stalled = tunnel.directory.stalled, None
        if stalled:
            stalled.set()

    with dial(host) as client:
        tunnel.call(stall())
        client.sendall(b"still")
        assert client.recv(5) == b"still"
        assert all(echoes(host) for _ in range(12)), "new streams are admitted without it as well"
        tunnel.call(go_on())


def test_a_key_is_rotated_and_the_old_one_ends(tunnel: Tunnel, host: AgentHost) -> None:
    old = tunnel.directory.hosts[host.id]
    tunnel.directory.rotations.add(host.id)
    eventually(lambda: tunnel.directory.hosts[host.id] != old, what="the new key is stored")
    new = tunnel.directory.hosts[host.id]
    eventually(lambda: keys.public_text(keys.load(host.state.key_file)) == new, what="the agent uses it")
    assert not host.state.next_key_file.exists()
    assert host.state.key_file.stat().st_mode & 0o777 == 0o600
    eventually(lambda: echoes(host))
    host.kill()
    host.start()
    assert echoes(host)
    assert host.public_key == old
    assert tunnel.directory.hosts[host.id] != old


def test_a_rotation_cut_after_the_gateway_stored_the_key_heals(tunnel: Tunnel, engine: EchoEngine) -> None:
    """The gateway knows only the next key, the agent has not moved it into place."""
    host = tunnel.enrol(engine.path)
    new = keys.public_text(host.state.next_key())
    tunnel.directory.hosts[host.id] = new
    host.start()
    assert keys.public_text(keys.load(host.state.key_file)) == new
    assert not host.state.next_key_file.exists()


def test_a_rotation_cut_before_the_gateway_stored_the_key_goes_on_with_it(tunnel: Tunnel, engine: EchoEngine) -> None:
    host = tunnel.enrol(engine.path)
    offered = keys.public_text(host.state.next_key())
    host.start()
    assert tunnel.directory.hosts[host.id] == host.public_key
    tunnel.directory.rotations.add(host.id)
    eventually(lambda: tunnel.directory.hosts[host.id] == offered)


def test_a_key_not_vouched_for_is_not_stored(tunnel: Tunnel, host: AgentHost) -> None:
    """A control connection taken over could offer its own key; only the present key's signature counts."""
    link = tunnel.gateway.links[host.id]
    tunnel.gateway.rotations[host.id] = b"\0" * 32
    forged = {"type": "next-key", "public_key": keys.public_text(keys.generate()), "signature": "AAAA"}
    tunnel.call(tunnel.gateway._hear(link, json.dumps(forged)))
    assert tunnel.directory.hosts[host.id] == host.public_key


def test_stale_sockets_of_a_killed_gateway_are_cleared(tunnel: Tunnel) -> None:
    from hosts.gateway.sockets import bind, sweep

    left = bind(tunnel.run / "77.sock")
    used = bind(tunnel.run / "78.sock")
    left.close()
    sweep(tunnel.run)
    assert not (tunnel.run / "77.sock").exists()
    assert (tunnel.run / "78.sock").exists()
    used.close()


def test_a_removed_host_is_cut_and_its_agent_keeps_its_distance(tunnel: Tunnel, host: AgentHost) -> None:
    with dial(host) as client:
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        del tunnel.directory.hosts[host.id]
        eventually(lambda: not host.engine.exists(), timeout=12)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    eventually(lambda: "refused" in str(host.state.read_status()), what="the agent's status says why")


def test_http_keeps_alive_through_the_tunnel(tunnel: Tunnel, host: AgentHost) -> None:
    """Several requests on one connection to the agent's own API."""
    client = http.client.HTTPConnection("host")
    client.sock = socket.socket(socket.AF_UNIX)
    client.sock.connect(str(host.agent))
    for _ in range(3):
        client.request("GET", "/gantry/host")
        answer = client.getresponse()
        assert answer.status == 200
        facts = json.loads(answer.read())
        assert facts["memory_total"] > facts["memory_used"] > 0
        assert facts["cpus"] >= 1
    client.close()
