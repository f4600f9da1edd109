"""Streams of what is private: an entry when one begins, one with its duration when it ends, and all refusals.

The engine and the agent are played by a few lines each; what the real ones do is tests/containers' matter.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from asgiref.sync import sync_to_async
from django.test import AsyncClient

from containers.models import Ending, Recording
from containers.recordings import actions as recordings
from containers.recordings import files
from containers.recordings.actions import Told
from containers.recordings.cast import header
from containers.recordings.files import CastFile
from controlplane.access.actions import set_standing
from controlplane.asgi import application
from controlplane.lib import sockets
from controlplane.operations.models import AuditEntry, Outcome
from controlplane.operations.verify import verify
from tests.security.browser import Socket
from tests.security.fleet import Fleet, make
from tests.security.routes import SOCKETS, address
from tests.security.test_sockets import HOST, OWN, cookie
from tests.support.redis import RedisServer
from tests.support.waiting import eventually_async

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.redis_server,
]
SESSION = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def fleet(transactional_db: None, redis_server: RedisServer) -> Fleet:
    return make()


async def knock(fleet: Fleet, route: str, user: Any, query: str = "") -> Socket:
    session = await sync_to_async(cookie)(user)
    headers = [(b"host", HOST.encode()), (b"origin", OWN.encode()), (b"cookie", f"gantry_session={session}".encode())]
    socket = Socket(application, address(route, fleet) + query, headers)
    assert (await socket.connect())[0]
    return socket


async def ended_by_itself(socket: Socket) -> None:
    while (await socket.receive_output(timeout=15))["type"] != "websocket.close":
        pass


async def entries(after: int) -> list[AuditEntry]:
    return [entry async for entry in AuditEntry.objects.filter(seq__gt=after).order_by("seq")]


async def written(after: int, count: int) -> list[AuditEntry]:
    """So many entries, once they are there."""

    async def look() -> list[AuditEntry] | None:
        found = await entries(after)
        return found if len(found) >= count else None

    found = await eventually_async(look, what=f"{count} entries")
    assert len(found) == count, [entry.detail for entry in found]
    return list(found)


def frame(text: bytes) -> bytes:
    return struct.pack(">BxxxI", 1, len(text)) + text


@pytest.fixture
async def engine(fleet: Fleet) -> AsyncIterator[dict[str, asyncio.Event]]:
    """A container with a log of one line that goes on until `end` is set."""
    end = asyncio.Event()

    async def inspect(request: web.Request) -> web.Response:
        return web.json_response(
            {"Config": {"Tty": False}, "State": {"Running": not end.is_set(), "Status": "running"}}
        )

    async def logs(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(frame(b"a line\n"))
        await end.wait()
        return answer

    app = web.Application()
    app.router.add_get(r"/{version:v[\d.]+}/containers/{id}/json", inspect)
    app.router.add_get(r"/{version:v[\d.]+}/containers/{id}/logs", logs)
    app.router.add_get("/containers/{id}/json", inspect)
    app.router.add_get("/containers/{id}/logs", logs)
    async for _ in serve(app, fleet.host.engine_socket):
        yield {"end": end}


async def serve(app: web.Application, path: Path) -> AsyncIterator[None]:
    path.unlink(missing_ok=True)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield
    finally:
        await runner.cleanup()
        path.unlink(missing_ok=True)


def assert_pair(began: AuditEntry, ended: AuditEntry, fleet: Fleet, verb: str, door: str) -> None:
    for entry in (began, ended):
        assert (entry.verb, entry.outcome, entry.door, entry.ip) == (verb, Outcome.ALLOWED, door, "127.0.0.1")
        assert (entry.actor_id, entry.target_id) == (fleet.administrator.pk, fleet.container.engine_id)
        assert (entry.host_name, entry.environment) == (fleet.host.name, fleet.environment.name)
    assert (began.refers_to, began.seconds, began.result) == (None, None, "")
    assert (ended.refers_to, ended.result) == (began.seq, "ended")
    assert ended.seconds is not None


async def test_following_a_log(fleet: Fleet, engine: dict[str, asyncio.Event]) -> None:
    socket = await knock(fleet, "ws/containers/<int:pk>/logs", fleet.administrator, "?tail=20")
    assert (await socket.hear())["type"] == "opened"
    (began,) = await written(fleet.entry.seq, 1)
    await socket.leave()
    began, ended = await written(fleet.entry.seq, 2)
    assert_pair(began, ended, fleet, "container.logs", "socket")
    assert began.detail == "followed the log: the last 20 lines"
    assert (await sync_to_async(verify)([])).findings == ()


async def test_a_log_that_ends_by_itself(fleet: Fleet, engine: dict[str, asyncio.Event]) -> None:
    socket = await knock(fleet, "ws/containers/<int:pk>/logs", fleet.administrator)
    assert (await socket.hear())["type"] == "opened"
    engine["end"].set()
    await ended_by_itself(socket)
    await socket.leave()
    assert_pair(*await written(fleet.entry.seq, 2), fleet, "container.logs", "socket")


async def test_a_log_of_a_host_that_is_away_is_not_read(fleet: Fleet) -> None:
    """The page tries again and again: each try would be two entries."""
    socket = await knock(fleet, "ws/containers/<int:pk>/logs", fleet.administrator)
    assert (await socket.hear())["type"] == "lost"
    await socket.leave()
    assert await entries(fleet.entry.seq) == []


async def test_downloading_a_log(fleet: Fleet, engine: dict[str, asyncio.Event]) -> None:
    client = AsyncClient()
    await client.aforce_login(fleet.administrator)
    engine["end"].set()
    answer = await client.get(f"/containers/{fleet.container.pk}/logs/download/?stderr=0")
    assert b"".join([piece async for piece in answer.streaming_content]) == b"a line\n"
    began, ended = await written(fleet.entry.seq, 2)
    assert_pair(began, ended, fleet, "container.logs", "page")
    assert began.detail == "downloaded the log: all lines of stdout"
    assert ended.detail == "the download ended after 7 bytes"


async def test_a_download_that_is_broken_off(fleet: Fleet, engine: dict[str, asyncio.Event]) -> None:
    client = AsyncClient()
    await client.aforce_login(fleet.administrator)
    answer = await client.get(f"/containers/{fleet.container.pk}/logs/download/")
    pieces = aiter(answer.streaming_content)
    assert await anext(pieces) == b"a line\n"
    waiting = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0)
    waiting.cancel()  # as the server does when the browser has gone
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert_pair(*await written(fleet.entry.seq, 2), fleet, "container.logs", "page")


@pytest.fixture
async def agent(fleet: Fleet) -> AsyncIterator[dict[str, asyncio.Event]]:
    """Holds a shell that ends with code 3 once `exit` is set, or is taken over once `taken` is."""
    events = {"exit": asyncio.Event(), "taken": asyncio.Event()}
    held: set[str] = set()

    async def begin(request: web.Request) -> web.Response:
        held.add((await request.json())["id"])
        return web.json_response({"command": ["/bin/sh"]}, status=201)

    async def attach(request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        waiting = [asyncio.create_task(event.wait()) for event in events.values()]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        if events["taken"].is_set():
            await answer.close(code=4409)
        else:
            await answer.send_json({"type": "exit", "code": 3, "reason": "exited"})
        return answer

    async def end(request: web.Request) -> web.Response:
        known = request.match_info["id"] in held
        held.discard(request.match_info["id"])
        return web.Response(status=204) if known else web.json_response({"message": "no such"}, status=404)

    app = web.Application()
    app.router.add_post("/gantry/terminals", begin)
    app.router.add_get("/gantry/terminals/{id}/attach", attach)
    app.router.add_delete("/gantry/terminals/{id}", end)
    async for _ in serve(app, fleet.host.agent_socket):
        yield events


async def shell(fleet: Fleet) -> Socket:
    socket = await knock(fleet, "ws/containers/<int:pk>/terminal", fleet.administrator, f"?session={SESSION}")
    assert (await socket.hear())["type"] == "ready"
    return socket


async def test_a_shell_that_ends(fleet: Fleet, agent: dict[str, asyncio.Event]) -> None:
    socket = await shell(fleet)
    agent["exit"].set()
    assert (await socket.hear())["type"] == "exit"
    await socket.say('{"type": "seen"}')
    assert await socket.closed_with() == 1000
    await socket.leave()
    began, ended = await written(fleet.entry.seq, 2)
    assert_pair(began, ended, fleet, "container.exec", "socket")
    assert began.detail.startswith("opened a shell (terminal ")
    assert ended.detail.startswith("ended with exit code 3 (terminal ")


async def test_a_shell_that_is_left(fleet: Fleet, agent: dict[str, asyncio.Event]) -> None:
    socket = await shell(fleet)
    await socket.leave()
    began, ended = await written(fleet.entry.seq, 2)
    assert_pair(began, ended, fleet, "container.exec", "socket")
    assert ended.detail.startswith("left; the shell goes on for ten minutes")


async def test_a_shell_that_another_window_takes_over(fleet: Fleet, agent: dict[str, asyncio.Event]) -> None:
    socket = await shell(fleet)
    agent["taken"].set()
    assert await socket.closed_with() == 4409
    await socket.leave()
    began, ended = await written(fleet.entry.seq, 2)
    assert_pair(began, ended, fleet, "container.exec", "socket")
    assert ended.detail.startswith("let go")


async def test_a_shell_whose_right_ends(
    fleet: Fleet, agent: dict[str, asyncio.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "RECHECK_SECONDS", 0.02)
    socket = await shell(fleet)
    other = type(fleet.administrator)(username="second", standing="administrator")
    await other.asave()
    await sync_to_async(set_standing)(fleet.administrator, "viewer")
    assert await socket.closed_with() == 4403
    await socket.leave()
    began, ended = await written(fleet.entry.seq, 2)
    assert_pair(began, ended, fleet, "container.exec", "socket")
    assert ended.detail.startswith("ended: the right to it ended")


@pytest.fixture
async def live(fleet: Fleet) -> AsyncIterator[CastFile]:
    """The fleet's recording is of a shell that goes on; this is who writes it."""
    row = await Recording.objects.aget(pk=fleet.recording.pk)
    row.is_live, row.ending, row.path = True, "", f"2026-11/{secrets.token_hex(8)}.cast"
    await row.asave()
    first = header(columns=80, rows=24, started=1000.0, shell="sh", title="t", about={})
    file = CastFile.create(recordings.path_of(row), first, row.started_at.timestamp(), 0)
    yield file
    if files.mark_of(file.cast).exists():  # else it was sealed, and its numbers are others' by now
        file.release()


async def watch(fleet: Fleet) -> Socket:
    socket = await knock(fleet, "ws/recordings/<int:pk>/watch", fleet.administrator)
    await written(fleet.entry.seq, 1)
    return socket


def assert_watched(began: AuditEntry, ended: AuditEntry, fleet: Fleet) -> None:
    for entry in (began, ended):
        assert (entry.verb, entry.outcome, entry.door, entry.ip) == (
            "recording.see",
            Outcome.ALLOWED,
            "socket",
            "127.0.0.1",
        )
        assert (entry.actor_id, entry.target_kind) == (fleet.administrator.pk, "recording")
        assert (entry.target_id, entry.target_name) == (str(fleet.recording.pk), str(fleet.recording))
        assert (entry.host_name, entry.environment) == (fleet.host.name, fleet.environment.name)
    assert (began.detail, began.refers_to, began.seconds) == ("watches live", None, None)
    assert (ended.detail, ended.refers_to, ended.result) == ("stopped watching", began.seq, "ended")
    assert ended.seconds is not None


async def test_watching_a_shell_until_one_has_seen_enough(fleet: Fleet, live: CastFile) -> None:
    socket = await watch(fleet)
    await socket.leave()
    assert_watched(*await written(fleet.entry.seq, 2), fleet)
    assert (await sync_to_async(verify)([])).findings == ()


async def test_watching_a_shell_until_it_ends(fleet: Fleet, live: CastFile) -> None:
    socket = await watch(fleet)
    await sync_to_async(live.seal)()
    await sync_to_async(recordings.end)(fleet.recording, Told(Ending.EXITED, 1))
    await ended_by_itself(socket)
    await socket.leave()
    assert_watched(*await written(fleet.entry.seq, 2), fleet)


async def test_watching_a_shell_until_the_right_ends(
    fleet: Fleet, live: CastFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "RECHECK_SECONDS", 0.02)
    socket = await watch(fleet)
    await type(fleet.administrator)(username="second", standing="administrator").asave()
    await sync_to_async(set_standing)(fleet.administrator, "viewer")
    assert await socket.closed_with() == 4403
    await socket.leave()
    assert_watched(*await written(fleet.entry.seq, 2), fleet)


async def test_what_is_over_is_not_watched(fleet: Fleet) -> None:
    """Its replay is: that is another address, with its own entry."""
    socket = await knock(fleet, "ws/recordings/<int:pk>/watch", fleet.administrator)
    await ended_by_itself(socket)
    assert await entries(fleet.entry.seq) == []


@pytest.mark.parametrize("route", [route for route, verb in SOCKETS.items() if verb == "container.exec"])
async def test_a_refused_stream(fleet: Fleet, route: str) -> None:
    socket = await knock(fleet, route, fleet.viewer)
    assert await socket.closed_with() == 4403
    (refused,) = await written(fleet.entry.seq, 1)
    assert (refused.verb, refused.outcome, refused.door) == ("container.exec", Outcome.REFUSED, "socket")
    assert (refused.actor_id, refused.target_id) == (fleet.viewer.pk, fleet.container.engine_id)
    assert refused.detail == f"WebSocket {address(route, fleet)}"


STREAMS = [route for route in SOCKETS if "<int:pk>" in route and "recordings" not in route]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("route", STREAMS)
async def test_a_stream_that_may_not_be_seen(
    fleet: Fleet, route: str, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if there:
        monkeypatch.setattr("controlplane.access.decide.visible", lambda actor, verb, queryset: queryset.none())
        socket = await knock(fleet, route, fleet.administrator)
    else:
        socket = await knock(fleet, route.replace("<int:pk>", "999999"), fleet.administrator)
    assert await socket.closed_with() == 4404
    (refused,) = await written(fleet.entry.seq, 1)
    kind = "operation" if "operations" in route else "container"
    assert (refused.verb, refused.target_kind, refused.door) == (f"{kind}.see", kind, "socket")
    assert refused.outcome == (Outcome.REFUSED if there else Outcome.MISSING)


def test_every_stream_is_told_of() -> None:
    """A new stream says here what it leaves: these leave pairs, the others show what their pages show."""
    private: dict[str, Callable[..., Any]] = {
        "ws/containers/<int:pk>/logs": test_following_a_log,
        "ws/containers/<int:pk>/terminal": test_a_shell_that_ends,
        "ws/recordings/<int:pk>/watch": test_watching_a_shell_until_it_ends,
    }
    open_to_see = {"ws/live", "ws/operations/<int:pk>/output"}
    assert set(SOCKETS) == set(private) | open_to_see
