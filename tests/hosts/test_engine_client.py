"""The engine client against engines that lie: a clear error each time, and no more memory than agreed."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.lib.errors import Conflict, InvalidArgument, NotFound, Unavailable
from hosts.engine import Engine, EngineError, EngineProtocolError, EngineTimeout, EngineUnreachable, demultiplex
from hosts.engine.client import segment, url
from hosts.engine.errors import raise_for_message
from tests.fakes import engine as lies
from tests.fakes.engine import LyingEngine, answers
from tests.support.waiting import eventually_async

MEGABYTE = 1024 * 1024


@contextlib.asynccontextmanager
async def lied_to(lie: lies.Lie) -> AsyncIterator[Engine]:
    """A client of an engine that tells this lie; at the end no connection may be left."""
    with LyingEngine(lie) as liar:
        async with Engine(liar.socket) as engine:
            yield engine
        await eventually_async(lambda: liar.connections == 0, what="the client closes its connections")


def grown_by(before: int) -> int:
    """Kilobytes by which this process's highest memory has risen."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


async def test_an_engine_that_never_answers_costs_its_timeout_only() -> None:
    async with lied_to(lies.silent) as engine:
        with pytest.raises(EngineTimeout, match=r"did not answer within 0\.2 s"):
            await engine.get("/info", timeout=0.2)
        with pytest.raises(EngineTimeout):
            async with engine.stream("GET", "/events", timeout=0.2):
                pass
        with pytest.raises(EngineTimeout):
            await engine.hijack("POST", "/exec/a/start", {}, timeout=0.2)


async def test_an_engine_that_sends_a_byte_now_and_then_costs_its_timeout_only() -> None:
    async with lied_to(lies.slow) as engine:
        with pytest.raises(EngineTimeout):
            await engine.get("/containers/json", timeout=0.3)


async def test_a_socket_that_is_not_there_or_not_listened_on(tmp_path: Path) -> None:
    async with Engine(tmp_path / "none.sock") as engine:
        with pytest.raises(EngineUnreachable, match="Nobody answers"):
            await engine.get("/info")
        with pytest.raises(EngineUnreachable, match="Nobody answers"):
            await engine.hijack("POST", "/exec/a/start", {})
    (tmp_path / "file.sock").touch()
    async with Engine(tmp_path / "file.sock") as engine:
        with pytest.raises(Unavailable):
            await engine.get("/info")


@pytest.mark.parametrize("lie", [lies.rude, lies.broken_off])
async def test_a_broken_connection_is_no_answer(lie: lies.Lie) -> None:
    async with lied_to(lie) as engine:
        with pytest.raises(EngineUnreachable):
            await engine.get("/containers/json")


@pytest.mark.parametrize("lie", [lies.garbage, lies.garbage_json, lies.deep_json, lies.zip_bomb])
async def test_garbage_is_named_as_such(lie: lies.Lie) -> None:
    async with lied_to(lie) as engine:
        with pytest.raises(EngineProtocolError, match="Expected"):
            await engine.get("/containers/json")


@pytest.mark.parametrize("lie", [lies.huge_label, lies.endless_body, lies.endless_headers, lies.endless_header])
async def test_an_endless_answer_stops_at_the_limit(lie: lies.Lie) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with lied_to(lie) as engine:
        with pytest.raises(EngineProtocolError):
            await engine.get("/containers/json")
    assert grown_by(before) < 64 * 1024


@pytest.mark.parametrize("lie", [lies.endless_headers, lies.endless_header, lies.garbage])
async def test_a_hijacked_connection_has_the_same_limits(lie: lies.Lie) -> None:
    async with lied_to(lie) as engine:
        with pytest.raises(EngineProtocolError):
            await engine.hijack("POST", "/exec/a/start", {})


async def test_an_endless_error_is_cut_off() -> None:
    async with lied_to(lies.endless_error) as engine:
        with pytest.raises(EngineError) as caught:
            await engine.get("/info")
        assert len(caught.value.message) <= 4000
        with pytest.raises(EngineError) as caught:
            await engine.hijack("POST", "/exec/a/start", {})
        assert len(caught.value.message) <= 4000


async def test_an_endless_message_is_refused_after_the_good_ones() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen: list[object] = []

    async def follow(engine: Engine) -> None:
        async for message in engine.messages("GET", "/events"):
            seen.append(message)

    async with lied_to(lies.endless_message) as engine:
        with pytest.raises(EngineProtocolError, match="messages of at most 1048576 bytes"):
            await follow(engine)
    assert seen == [{"status": "ok"}]
    assert grown_by(before) < 64 * 1024


async def test_a_frame_that_claims_two_gigabytes_comes_in_pieces() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    received = 0
    async with lied_to(lies.huge_frame) as engine, engine.stream("GET", "/containers/a/logs") as response:
        async for stream, piece in demultiplex(response.content):
            assert stream == 1
            assert len(piece) <= 65536
            received += len(piece)
            if received == 4 * 65536:
                break
    assert grown_by(before) < 64 * 1024


async def test_cancelling_closes_the_connection() -> None:
    with LyingEngine(lies.silent) as liar:
        async with Engine(liar.socket) as engine:
            request = asyncio.create_task(engine.get("/info"))
            await eventually_async(lambda: liar.connections == 1)
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            await eventually_async(lambda: liar.connections == 0)


async def test_leaving_a_stream_closes_the_connection() -> None:
    with LyingEngine(lies.slow) as liar:
        async with Engine(liar.socket) as engine:
            async with engine.stream("GET", "/events") as response:
                assert await response.content.read(1)
                assert liar.connections == 1
            await eventually_async(lambda: liar.connections == 0)


async def test_the_callers_own_timeout_is_not_taken_for_the_engines() -> None:
    async with lied_to(lies.slow) as engine:
        with pytest.raises(TimeoutError) as caught:
            async with engine.stream("GET", "/events"), asyncio.timeout(0.05):
                await asyncio.Event().wait()
        assert type(caught.value) is TimeoutError


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, {"message": "No such container: a"}, NotFound),
        (409, {"message": "in use"}, Conflict),
        (400, {"message": "bad"}, InvalidArgument),
        (503, {"message": "the host is gone"}, Unavailable),
        (500, {"message": "names must match", "cause": "invalid argument"}, InvalidArgument),
        (500, {"message": "is running", "cause": "container state improper"}, Conflict),
    ],
)
async def test_an_error_has_the_engines_words_its_status_and_a_kind(
    status: int, body: dict[str, str], kind: type[Exception]
) -> None:
    async with lied_to(answers(body, status)) as engine:
        with pytest.raises(EngineError) as caught:
            await engine.post("/containers/a/start")
    assert isinstance(caught.value, kind)
    assert (caught.value.status, caught.value.message) == (status, body["message"])


def test_control_characters_of_an_engine_reach_nobody() -> None:
    with pytest.raises(EngineError) as caught:
        raise_for_message({"error": "no \x1b]52;c;ZXZpbA==\x07 such\r\nimage\x00"})
    assert caught.value.message == "no ]52;c;ZXZpbA== such image"


def test_a_path_cannot_leave_its_place() -> None:
    assert segment("127.0.0.1:5000/shop/web:1") == "127.0.0.1:5000/shop/web:1"
    assert segment("a b?c#d") == "a%20b%3Fc%23d"
    for name in ("", "..", "a/../../b", "./a", "a//b"):
        with pytest.raises(InvalidArgument):
            segment(name)
    with pytest.raises(ValueError, match="quoted path"):
        url("/containers/a b/json", {})


def test_how_a_query_is_written() -> None:
    query = {"all": True, "size": False, "filters": {"label": ["a=b"]}, "names": ["x", "y"], "t": 5, "no": None}
    expected = "/c?all=true&size=false&filters=%7B%22label%22%3A+%5B%22a%3Db%22%5D%7D&names=x&names=y&t=5"
    assert url("/c", query).raw_path_qs == expected
    assert url("/c?a=1", {"b": 2}).raw_path_qs == "/c?a=1&b=2"
