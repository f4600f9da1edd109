"""The web as the supervisor starts it: what only a real server on a real port can get wrong."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from controlplane.supervisor.parts import web_command
from tests.support.home import Home
from tests.support.process import Process
from tests.support.redis import RedisServer
from tests.support.scratch import discard
from tests.support.stage import SIGN_IN, Stage

pytestmark = pytest.mark.redis_server

SEED = """
from controlplane.access.models import Standing, User
User.objects.create_user("admin", password="a long enough word", standing=Standing.ADMINISTRATOR)
"""


class Web(Stage):
    """Redis and the web alone: no engine, no gateway, no agent."""

    def __init__(self) -> None:
        self.home = Home()
        (self.home.path / "run").mkdir(mode=0o700)
        self.redis = RedisServer(self.home.path / "run" / "redis.sock")
        self.web = Process("web", self.home, [*web_command(f"{self.home.address}:{self.home.port}")], self.home.port)
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> Web:
        with contextlib.ExitStack() as stack:
            stack.callback(discard, self.home.path)
            stack.enter_context(self.redis)
            self.home.manage("migrate", "--verbosity=0")
            self.django(SEED)
            stack.enter_context(self.web)
            self.stack = stack.pop_all()
        return self


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    if reason := RedisServer.why_not():
        pytest.skip(reason)
    with Web() as web:
        yield web


@pytest.fixture(scope="module")
def session(web: Web) -> str:
    return web.django(SIGN_IN.format(name="admin")).splitlines()[-1]


STREAMS = ("live", "operations/1/output", "containers/1/logs", "containers/1/terminal", "recordings/1/watch")


def speak(web: Web, request: bytes, *, most: int = 65_536) -> bytes:
    """The head of what the web answers to these very bytes; empty when it only hangs up."""
    with socket.create_connection((web.home.address, web.home.port), timeout=20) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        with contextlib.suppress(ConnectionResetError):
            return connection.recv(most)
    return b""


def get(web: Web, *headers: str, path: str = "/login/", host: str = "") -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: {host or f'{web.home.address}:{web.home.port}'}", *headers, "", ""]
    return speak(web, "\r\n".join(lines).encode("latin-1"))


def test_it_answers_and_does_not_say_what_it_is(web: Web) -> None:
    answer = get(web)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"uvicorn" not in answer.lower().partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize("name", ["X-Repeated", "Cookie", "Accept", "Origin", "X-Forwarded-For"])
def test_ten_thousand_headers_get_an_answer_or_a_hang_up(web: Web, name: str) -> None:
    answer = get(web, *[f"{name}: a=b"] * 10_000)
    assert not answer or answer[9:10] in (b"2", b"3", b"4")
    assert get(web).startswith(b"HTTP/1.1 200"), "and it goes on"


def test_another_name_is_refused(web: Web) -> None:
    for host in ("evil.example", f"evil.example:{web.home.port}", "127.0.0.1.evil.example"):
        assert get(web, host=host).startswith(b"HTTP/1.1 400")


def test_nobody_chooses_the_address_they_come_from(web: Web) -> None:
    """Guesses are counted by it, enrolment without TLS is allowed by it, and it stands in the audit trail."""
    forged = "X-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\nForwarded: for=203.0.113.9"
    body = '{"token": "t", "public_key": "' + "A" * 43 + '="}'
    lines = ["POST /agent/enrol HTTP/1.1", f"Host: {web.home.address}:{web.home.port}", forged]
    lines += [f"Content-Length: {len(body)}", "", body]
    assert b" 403 " in speak(web, "\r\n".join(lines).encode()).partition(b"\r\n")[0]
    found = web.django(
        "from controlplane.operations.models import AuditEntry as A; print(A.objects.get(verb='host.enrol').ip)"
    )
    assert found.splitlines()[-1] == "127.0.0.1"


def test_a_forwarded_scheme_is_believed_of_no_stranger(web: Web) -> None:
    answer = get(web, "X-Forwarded-Proto: https", path="/agent/install.sh")
    assert b"https://" + web.home.address.encode() not in answer


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: -1"],
        ["Content-Length: +5"],
        ["Transfer-Encoding: chunked, identity"],
        ["Transfer-Encoding: xchunked"],
        ["Bad Header : x"],
    ],
)
def test_a_request_with_two_readings_has_one_answer(web: Web, headers: list[str]) -> None:
    """A proxy in front may read it the other way: what is left over must not become a second request."""
    smuggled = f"GET /healthz HTTP/1.1\r\nHost: {web.home.address}:{web.home.port}\r\n\r\n"
    lines = ["POST /login/ HTTP/1.1", f"Host: {web.home.address}:{web.home.port}", *headers, "", "0\r\n\r\n" + smuggled]
    with socket.create_connection((web.home.address, web.home.port), timeout=20) as connection:
        connection.sendall("\r\n".join(lines).encode())
        connection.settimeout(2)
        answer = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while data := connection.recv(65_536):
                answer += data
    assert b'"processes"' not in answer, "the second was answered"


def test_a_body_without_end_is_cut_off_and_nothing_is_stored(web: Web) -> None:
    before = _spooled(web)
    connection = http.client.HTTPConnection(web.home.address, web.home.port, timeout=30)
    connection.putrequest("POST", "/login/")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    piece = b"x" * (1024 * 1024)
    sent = 0
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while sent < 200:
            connection.send(b"100000\r\n" + piece + b"\r\n")
            sent += 1
    assert sent < 200, "it went on reading"
    connection.close()
    assert _spooled(web) == before
    assert get(web).startswith(b"HTTP/1.1 200")


def _spooled(web: Web) -> int:
    """How many deleted files the web holds open: Django keeps bodies in such."""
    assert web.web.process
    names = []
    for path in Path(f"/proc/{web.web.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            names.append(str(path.readlink()))
    return sum("(deleted)" in name for name in names)


def test_a_slow_head_does_not_hold_up_the_others(web: Web) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            slow = stack.enter_context(socket.create_connection((web.home.address, web.home.port), timeout=20))
            slow.sendall(b"GET /login/ HTTP/1.1\r\nX-Slow: ")
        began = time.monotonic()
        assert get(web).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - began < 20


@pytest.mark.parametrize("path", [f"/ws/{name}" for name in STREAMS])
@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:1", "https"])
def test_a_foreign_page_gets_no_stream(web: Web, session: str, path: str, origin: str | None) -> None:
    address = web.url.replace("http", "ws", 1)
    given = web.url.replace("http", "https", 1) if origin == "https" else origin
    with pytest.raises(InvalidStatus) as refused:
        connect(
            address + path,
            origin=given,  # type: ignore[arg-type]
            additional_headers={"Cookie": f"gantry_session={session}"},
        )
    assert refused.value.response.status_code == 403


def test_our_own_page_gets_one(web: Web, session: str) -> None:
    address = web.url.replace("http", "ws", 1)
    with connect(
        f"{address}/ws/live?topics=hosts",
        origin=web.url,  # type: ignore[arg-type]
        additional_headers={"Cookie": f"gantry_session={session}"},
    ) as socket_:
        assert socket_.recv(timeout=10) == '{"watching": ["hosts"]}'


def test_an_address_that_is_no_stream_leaves_no_traceback(web: Web, session: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(web.url.replace("http", "ws", 1) + "/ws/nothing", origin=web.url)  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403
    get(web, host="evil.example")
    assert "Traceback" not in web.web.log.read_text(), "anybody could fill the log"
