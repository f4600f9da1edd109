"""The trail at a syslog server: real sockets, and servers that are away, die, or do not read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import AnonymousUser
from django.test import Client

from controlplane.access.models import User
from controlplane.lib.syslog_target import SyslogTarget, parse
from controlplane.operations import chain, syslog
from controlplane.operations.audit import record
from controlplane.operations.models import AuditCursor, AuditEntry, Outcome
from tests.operations.trail import entries
from tests.support.certificate import self_signed
from tests.support.waiting import eventually, free_port

pytestmark = pytest.mark.django_db

LINE = re.compile(r"<(\d+)>1 (\S+Z) (\S+) gantry - (\S+) - (\{.*\})", re.DOTALL)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("", None),
        ("udp://log.example", SyslogTarget("udp", "log.example", 514)),
        ("tcp://[2001:db8::1]:1514", SyslogTarget("tcp", "2001:db8::1", 1514)),
        ("tls://log.example?ca=/etc/ca.pem", SyslogTarget("tls", "log.example", 6514, ca="/etc/ca.pem")),
        ("unix:///dev/log", SyslogTarget("unix", path="/dev/log")),
    ],
)
def test_an_address_is_read(text: str, target: SyslogTarget | None) -> None:
    assert parse(text) == target


@pytest.mark.parametrize("text", ["log.example", "http://x", "udp://", "tcp://h:99999", "unix://", "unix://dev/log"])
def test_what_is_no_address_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="GANTRY_SYSLOG"):
        parse(text)


class Listener:
    """A server that keeps what it is sent; `take`: what it does with one connection, given the bytes before."""

    def __init__(self, server: socket.socket, take: Callable[[socket.socket], bytes] | None = None) -> None:
        self.server = server
        self.take = take or _all_of
        self.got: list[bytes] = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while True:
            try:
                if self.server.type == socket.SOCK_DGRAM:
                    if piece := self.server.recv(70_000):
                        self.got.append(piece)
                        continue
                    return
                connection, _ = self.server.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection:
                self.got.append(self.take(connection))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self.thread.join(10)

    @property
    def lines(self) -> list[str]:
        """Every message, in the order of its arrival."""
        if self.server.type == socket.SOCK_DGRAM:
            return [piece.decode() for piece in self.got]
        return [line for piece in self.got for line in _counted(piece)]


def _all_of(connection: socket.socket) -> bytes:
    found = b""
    while piece := connection.recv(65536):
        found += piece
    return found


def _counted(data: bytes) -> Iterator[str]:
    """Octet counting."""
    while data:
        size, _, data = data.partition(b" ")
        yield data[: int(size)].decode()
        data = data[int(size) :]


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Callable[..., tuple[Listener, str]]]:
    """Starts a listener of a kind; answers it and its address."""
    running: list[Listener] = []

    def start(kind: str, take: Callable[[socket.socket], bytes] | None = None, port: int = 0) -> tuple[Listener, str]:
        if kind in ("unix-stream", "unix-datagram"):
            path = tmp_path / f"log{len(running)}"
            how = socket.SOCK_STREAM if kind == "unix-stream" else socket.SOCK_DGRAM
            server = socket.socket(socket.AF_UNIX, how)
            server.bind(str(path))
            address = f"unix://{path}"
        else:
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("127.0.0.1", port))
            address = f"{kind}://127.0.0.1:{server.getsockname()[1]}"
        if server.type == socket.SOCK_STREAM:
            server.listen()
        if kind == "tls":
            certificate = self_signed(tmp_path)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server = context.wrap_socket(server, server_side=True)
            address += f"?ca={certificate}"
        running.append(Listener(server, take))
        return running[-1], address

    yield start
    for listener in running:
        listener.close()


def seqs(listener: Listener) -> list[int]:
    return [json.loads(LINE.fullmatch(line)[5])["seq"] for line in listener.lines]  # type: ignore[index]


@pytest.mark.parametrize("kind", ["udp", "tcp", "tls", "unix-datagram", "unix-stream"])
def test_every_entry_arrives_in_its_order_and_can_be_verified_there(
    listen: Callable[..., tuple[Listener, str]], settings: LazySettings, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(syslog, "BATCH", 8)
    listener, address = listen(kind)
    settings.SYSLOG = parse(address)
    entries(syslog.BATCH + 3, target_name="ü 🦀")
    record(AnonymousUser(), "host.manage", outcome=Outcome.REFUSED, ip="192.0.2.7")
    assert syslog.deliver() == syslog.BATCH + 4
    assert syslog.deliver() == 0
    (more,) = entries(1)
    assert syslog.deliver() == 1
    eventually(lambda: len(listener.lines) >= more.seq, what="all have arrived")
    assert seqs(listener) == list(range(1, more.seq + 1))
    prev = chain.GENESIS
    for line in listener.lines:
        priority, at, host, verb, text = LINE.fullmatch(line).groups()  # type: ignore[union-attr]
        said = json.loads(text)
        assert (at, verb) == (said["at"], said["verb"])
        assert host
        assert priority == ("108" if said["outcome"] == "refused" else "110")
        assert said["prev"] == prev
        prev = said.pop("hash")
        assert hashlib.sha256(chain.canonical(said)).hexdigest() == prev


def test_a_server_that_is_away_loses_nothing(
    listen: Callable[..., tuple[Listener, str]], settings: LazySettings, administrator: User
) -> None:
    port = free_port()
    settings.SYSLOG = parse(f"tcp://127.0.0.1:{port}")
    entries(5)
    assert syslog.deliver() == 0
    cursor = AuditCursor.objects.get()
    assert (cursor.seq, cursor.holder) == (0, "")
    assert "refused" in cursor.trouble
    assert cursor.held_until is not None
    client = Client()
    client.force_login(administrator)
    assert "does not take the trail" in client.get("/operations/audit/").content.decode()
    listener, _ = listen("tcp", port=port)
    assert syslog.deliver() == 0, "asked a moment ago: it is left alone"
    AuditCursor.objects.update(held_until=None)
    assert syslog.deliver() == 5
    assert "does not take the trail" not in client.get("/operations/audit/").content.decode()
    listener.close()
    assert seqs(listener) == [1, 2, 3, 4, 5]


def test_a_server_that_dies_in_the_middle_gets_the_rest_and_some_twice(
    listen: Callable[..., tuple[Listener, str]], settings: LazySettings
) -> None:
    calls = iter([True, False])

    def take(connection: socket.socket) -> bytes:
        if next(calls, False):
            connection.recv(100)
            return b""  # closed with most of it unread: the kernel says so with a reset
        return _all_of(connection)

    listener, address = listen("tcp", take)
    settings.SYSLOG = parse(address)
    entries(150)
    assert syslog.deliver() == 0
    assert AuditCursor.objects.get().seq == 0
    AuditCursor.objects.update(held_until=None)
    assert syslog.deliver() == 150
    listener.close()
    assert seqs(listener) == list(range(1, 151))


def test_a_server_that_keeps_the_connection_has_what_its_kernel_took(
    listen: Callable[..., tuple[Listener, str]], settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syslog, "SECONDS", 0.3)
    done = threading.Event()

    def keep(connection: socket.socket) -> bytes:
        found = _all_of(connection)
        done.wait(20)
        return found

    listener, address = listen("tcp", keep)
    settings.SYSLOG = parse(address)
    entries(2)
    assert syslog.deliver() == 2
    done.set()
    listener.close()
    assert seqs(listener) == [1, 2]


def test_a_server_that_does_not_read_has_nothing(
    listen: Callable[..., tuple[Listener, str]], settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syslog, "SECONDS", 0.3)
    monkeypatch.setattr(syslog, "BATCH", 2000)
    done = threading.Event()
    _, address = listen("unix-stream", lambda connection: bytes(done.wait(20)))
    settings.SYSLOG = parse(address)
    record(AnonymousUser(), "x.y", detail="x" * 4000)
    for _ in range(150):
        record(AnonymousUser(), "x.y", detail="x" * 4000)
    assert syslog.deliver() == 0
    assert AuditCursor.objects.get().seq == 0
    done.set()


def test_a_wrong_certificate_gets_nothing(listen: Callable[..., tuple[Listener, str]], settings: LazySettings) -> None:
    listener, address = listen("tls")
    settings.SYSLOG = parse(address.partition("?")[0])
    entries(1)
    assert syslog.deliver() == 0
    assert "certificate" in AuditCursor.objects.get().trouble
    listener.close()
    assert listener.lines == []


def test_one_worker_sends_at_a_time(listen: Callable[..., tuple[Listener, str]], settings: LazySettings) -> None:
    listener, address = listen("tcp")
    settings.SYSLOG = parse(address)
    entries(3)
    inner: list[int] = []
    original = syslog.send

    def send(target: SyslogTarget, batch: list[AuditEntry]) -> None:
        inner.append(syslog.deliver())
        original(target, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(syslog, "send", send)
        assert syslog.deliver() == 3
    assert inner == [0]
    listener.close()
    assert seqs(listener) == [1, 2, 3]


def test_an_entry_too_long_for_a_datagram_is_sent_without_its_detail() -> None:
    (entry,) = entries(1)
    entry.detail = "🦀" * 20_000  # as the database may hold from before details were bounded
    assert len(syslog.message(entry)) > syslog.MOST_DATAGRAM
    short = syslog.message(entry, most=syslog.MOST_DATAGRAM)
    assert len(short) < 2000
    assert json.loads(LINE.fullmatch(short.decode())[5])["hash"] == entry.hash  # type: ignore[index]


def test_without_a_server_nothing_is_kept(settings: LazySettings) -> None:
    settings.SYSLOG = None
    entries(1)
    assert syslog.deliver() == 0
    assert not AuditCursor.objects.exists()
