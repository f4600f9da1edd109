"""Every route of the Docker Engine API 1.47 is served or refused by name; and how every answer looks."""

import asyncio
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from gantry_agent.engine.api.routes import gone

from tests.conftest import need
from tests.support.engines import EngineProcess, Native
from tests.support.unixhttp import UnixConnection

pytestmark = pytest.mark.root

SPECIFICATION = [line.split() for line in Path(__file__).with_name("specification.txt").read_text().splitlines()]
MISSING = ("/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs", "/plugins", "/session")
ABROAD = ("/auth", "/distribution/", "/images/search")
"""They ask Docker Hub, which cannot be reached in a test: an honest 500."""


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    """An engine of this file's own: some routes prune."""
    need(Native.why_not())
    with Native() as engine:
        yield engine


def send(
    engine: EngineProcess, method: str, path: str, *, headers: dict[str, str] | None = None
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """(status, body, headers) of a request without a body; one that streams is left after its head."""
    connection = UnixConnection(engine.socket, 20)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read(), response.headers
    finally:
        connection.close()


def is_refused(method: str, path: str) -> bool:
    is_cluster_volume = (method, path) == ("PUT", "/volumes/{name}")
    is_answered = (method, path) == ("GET", "/plugins/{name}/json")
    return is_cluster_volume or (path.startswith(MISSING) and not is_answered)


async def test_who_waits_and_leaves_is_noticed(tmp_path: Path) -> None:
    here, left = asyncio.Event(), asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse:
        here.set()
        await gone(request)
        left.set()
        return web.Response()

    app = web.Application()
    app.router.add_get("/", wait)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, tmp_path / "s").start()
    _, writer = await asyncio.open_unix_connection(tmp_path / "s")
    writer.write(b"GET / HTTP/1.1\r\nHost: engine\r\n\r\n")
    async with asyncio.timeout(20):
        await here.wait()
        assert not left.is_set()
        writer.close()
        await left.wait()
    await runner.cleanup()


@pytest.mark.parametrize("version", ["", "/v1.24", "/v1.47"])
@pytest.mark.parametrize(("method", "path"), SPECIFICATION, ids=[" ".join(route) for route in SPECIFICATION])
def test_each_route_of_the_specification_is_served_or_refused_by_name(
    engine: EngineProcess, method: str, path: str, version: str
) -> None:
    asked = path.replace("{id}", "no-such").replace("{name}", "no-such")
    if path == "/events":
        asked += "?until=1"
    status, body, _ = send(engine, method, version + asked)
    assert b"page not found" not in body
    assert (status == 501) == is_refused(method, path), body
    if status >= 400 and method != "HEAD":
        assert json.loads(body)["message"]
    assert status != 500 or asked.startswith(ABROAD), body


@pytest.mark.parametrize("path", ["/swarm/init", "/services/x/logs", "/plugins/a/b/json", "/session"])
def test_what_it_has_not_says_what_that_is(engine: EngineProcess, path: str) -> None:
    status, body, _ = send(engine, "POST", path)
    word = path.split("/")[1].rstrip("s")
    assert status == 501
    assert word in json.loads(body)["message"].lower()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"])
def test_a_known_path_under_another_method_is_not_found(engine: EngineProcess, method: str) -> None:
    for path, known in (("/info", {"GET"}), ("/_ping", {"GET", "HEAD"}), ("/system/df", {"GET"})):
        if method not in known:
            status, body, _ = send(engine, method, path)
            assert status == 404, (method, path)
            assert method == "HEAD" or json.loads(body) == {"message": "page not found"}


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("1.99", "client version 1.99 is too new. Maximum supported API version is 1.47"),
        ("1.48", "is too new"),
        ("1.23", "client version 1.23 is too old. Minimum supported API version is 1.24"),
        ("0.1", "is too old"),
        ("2.0", "is too new"),
    ],
)
def test_a_version_it_does_not_speak_is_refused(engine: EngineProcess, version: str, words: str) -> None:
    status, body, _ = send(engine, "GET", f"/v{version}/info")
    assert status == 400
    assert words in json.loads(body)["message"]


@pytest.mark.parametrize("path", ["/_ping", "/info", "/no-such", "/v1.99/info", "/events?until=1", "/swarm"])
def test_every_answer_says_who_gave_it(engine: EngineProcess, path: str) -> None:
    _, _, headers = send(engine, "GET", path)
    assert headers["Api-Version"] == "1.47"
    assert headers["Ostype"] == "linux"
    assert headers["Server"].startswith("Gantry/")


def test_json_is_said_without_a_charset(engine: EngineProcess) -> None:
    for path in ("/info", "/version", "/images/json", "/no-such", "/swarm"):
        assert send(engine, "GET", path)[2]["Content-Type"] == "application/json", path


def test_a_ping_answers_head_without_a_body(engine: EngineProcess) -> None:
    status, body, headers = send(engine, "HEAD", "/_ping")
    assert (status, body) == (200, b"")
    assert headers["Api-Version"] == "1.47"
    assert headers["Builder-Version"] == "1"


def test_a_connection_carries_many_requests_and_a_chunked_body(engine: EngineProcess) -> None:
    connection = UnixConnection(engine.socket, 20)
    try:
        for _ in range(3):
            connection.request("GET", "/version")
            assert connection.getresponse().read()
        body = iter([b'{"Name": "a-vol', b'ume"}'])
        connection.request("POST", "/volumes/create", body, {"Content-Type": "application/json"}, encode_chunked=True)
        response = connection.getresponse()
        assert response.status == 201
        assert json.loads(response.read())["Name"] == "a-volume"
    finally:
        connection.close()


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(engine: EngineProcess, body: bytes) -> None:
    for path in ("/containers/create", "/volumes/create", "/networks/create", "/auth"):
        status, answer = engine.request("POST", path, body)
        assert status == 400, path
        assert answer["message"]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /version\r\n\r\n",
        b"GET /version HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n",
        b"POST /auth HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_http_is_refused_and_disturbs_nobody(engine: EngineProcess, head: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(engine.socket))
        client.sendall(head)
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(65536)
    assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer
    assert engine.request("GET", "/_ping")[0] == 200
