"""GET /events: what is told, to whom, from when until when; and a listener that does not read."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from gantry_agent.engine.api.app import make_app
from gantry_agent.engine.config import Config
from gantry_agent.engine.core import Engine
from gantry_agent.engine.events import LISTENER_LIMIT, Event
from gantry_agent.engine.layout import Layout

from tests.conftest import need
from tests.support.engines import EngineProcess, Native, unique
from tests.support.images import TestImage
from tests.support.unixhttp import UnixConnection
from tests.support.waiting import eventually, eventually_async

pytestmark = pytest.mark.root

REFERENCE = "gantry/events:1"


@pytest.fixture(scope="module")
def engine(busybox_archive: TestImage) -> Iterator[EngineProcess]:
    """An engine of this file's own, which has an image."""
    need(Native.why_not())
    with Native() as engine:
        engine.load(busybox_archive.archive(REFERENCE))
        yield engine


def past(engine: EngineProcess, since: float = 1, **filters: list[str]) -> list[dict[str, Any]]:
    """What happened from `since` until now, as the engine tells it."""
    query = {"since": f"{since:.9f}", "until": f"{time.time():.9f}", "filters": json.dumps(filters)}
    told = engine.expect("GET", "/events", **query)
    if isinstance(told, dict):  # a single line
        return [told]
    return [json.loads(line) for line in told.splitlines()]


def tags(engine: EngineProcess, name: str) -> None:
    """Two events of one image: tag and untag."""
    engine.expect("POST", f"/images/{REFERENCE}/tag", repo=f"gantry/{name}", tag="x")
    engine.expect("DELETE", f"/images/gantry/{name}:x")


def test_an_event_has_dockers_shape(engine: EngineProcess) -> None:
    before = time.time()
    name = unique("shape")
    tags(engine, name)
    event = next(event for event in past(engine, before) if event["Action"] == "tag")
    assert event["Type"] == "image"
    assert event["status"] == "tag"
    assert event["id"] == event["Actor"]["ID"]
    assert event["Actor"]["Attributes"]["name"] == f"gantry/{name}:x"
    assert event["scope"] == "local"
    assert event["time"] == event["timeNano"] // 10**9
    assert before <= event["timeNano"] / 1e9 <= time.time()


def test_since_and_until_bound_what_is_told(engine: EngineProcess) -> None:
    first, second = unique("one"), unique("two")
    tags(engine, first)
    between = time.time()
    tags(engine, second)
    later = past(engine, between)
    assert [event["Action"] for event in later] == ["tag", "untag"]
    assert {event["Actor"]["Attributes"]["name"] for event in later if event["Action"] == "tag"} == {
        f"gantry/{second}:x"
    }
    assert past(engine, time.time() + 100) == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"type": ["image"]}, ["tag", "untag"]),
        ({"type": ["container"]}, []),
        ({"type": ["container", "image"]}, ["tag", "untag"]),
        ({"event": ["untag"]}, ["untag"]),
        ({"event": ["tag"], "type": ["container"]}, []),
        ({"scope": ["local"]}, ["tag", "untag"]),
        ({"scope": ["swarm"]}, []),
        ({"container": ["x"]}, []),
        ({"node": ["x"]}, []),
        ({"label": ["no=such"]}, []),
    ],
)
def test_filters_choose(engine: EngineProcess, filters: dict[str, list[str]], expected: list[str]) -> None:
    before = time.time()
    tags(engine, unique("filter"))
    assert [event["Action"] for event in past(engine, before, **filters)] == expected


def test_an_image_is_chosen_by_name_with_or_without_tag(engine: EngineProcess) -> None:
    before = time.time()
    name = unique("image")
    tags(engine, name)
    assert [event["Action"] for event in past(engine, before, image=[f"gantry/{name}"])][:1] == ["tag"]
    assert [event["Action"] for event in past(engine, before, image=[f"gantry/{name}:x"])][:1] == ["tag"]
    assert past(engine, before, image=["gantry/other"]) == []


@pytest.mark.parametrize(
    "query",
    ["since=soon", "until=1h", "filters=x", 'filters={"bogus":["a"]}', 'filters={"type":"image"}', "filters=[]"],
)
def test_what_it_cannot_read_it_refuses(engine: EngineProcess, query: str) -> None:
    status, answer = engine.request("GET", f"/events?{query}&since=1&until=2")
    assert status == 400
    assert answer["message"]


def listener(engine: EngineProcess, query: str = "") -> socket.socket:
    """A client that asked for events and has read the head of the answer, no more."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(str(engine.socket))
    client.sendall(f"GET /events{query} HTTP/1.1\r\nHost: engine\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(1)
    assert head.startswith(b"HTTP/1.1 200")
    return client


def listeners(engine: EngineProcess) -> int:
    return int(engine.expect("GET", "/info")["NEventsListener"])


def test_new_events_come_at_once_and_the_stream_ends_at_its_time(engine: EngineProcess) -> None:
    connection = UnixConnection(engine.socket, 20)
    connection.request("GET", f"/events?until={time.time() + 10:.3f}")
    response = connection.getresponse()
    assert response.headers["Content-Type"] == "application/json"
    tags(engine, unique("live"))
    assert json.loads(response.readline())["Action"] == "tag"
    assert json.loads(response.readline())["Action"] == "untag"
    assert response.read() == b""
    connection.close()


def test_a_client_that_goes_is_forgotten(engine: EngineProcess) -> None:
    before = listeners(engine)
    client = listener(engine)
    assert listeners(engine) == before + 1
    client.close()
    eventually(lambda: listeners(engine) == before)


@asynccontextmanager
async def asking(engine: Engine, folder: Path, query: str = "") -> AsyncIterator[asyncio.StreamReader]:
    """A client of `engine`, in this process, that has read the head of the answer to GET /events."""
    runner = web.AppRunner(make_app(engine), shutdown_timeout=1)
    await runner.setup()
    await web.UnixSite(runner, str(folder / "socket")).start()
    try:
        reader, writer = await asyncio.open_unix_connection(str(folder / "socket"), limit=1024)
        writer.write(f"GET /events{query} HTTP/1.1\r\nHost: engine\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        try:
            yield reader
        finally:
            writer.close()
            await writer.wait_closed()
    finally:
        await runner.cleanup()
        await engine.close()


async def test_a_listener_that_reads_nothing_is_cut_and_holds_up_nobody(tmp_path: Path) -> None:
    engine = Engine(Layout.at(tmp_path / "root", tmp_path / "run"), Config())
    async with asking(engine, tmp_path) as reader:
        for number in range(20):
            for _ in range(LISTENER_LIMIT // 10):
                engine.events.publish("container", "start", f"{number:064}", name="x" * 100)
            await asyncio.sleep(0)  # a busy engine's turn, in which the listener is served
        await eventually_async(lambda: engine.events.listeners == 0, what="the listener is cut")
        assert not (await reader.read()).endswith(b"\r\n0\r\n\r\n")


async def test_a_clock_that_is_set_back_takes_no_event_from_a_listener(tmp_path: Path) -> None:
    engine = Engine(Layout.at(tmp_path / "root", tmp_path / "run"), Config())
    engine.events.publish("container", "start", "0" * 64)
    async with asking(engine, tmp_path, "?since=1") as reader:
        assert b'"start"' in await reader.readuntil(b"}\n")
        engine.events.publish_event(Event("container", "die", "0" * 64, at=time.time_ns() - 3600 * 10**9))
        async with asyncio.timeout(20):
            assert b'"die"' in await reader.readuntil(b"}\n")
