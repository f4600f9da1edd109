"""What a host's engine or agent says back: its refusals are not ours, and its odd answers break no page."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from asgiref.sync import sync_to_async
from django.test import Client

from containers import log_files
from controlplane.asgi import application
from controlplane.operations.models import AuditEntry
from hosts.engine.errors import engine_error
from hosts.models import EnrolmentToken
from tests.security.browser import Socket
from tests.security.fleet import Fleet, make
from tests.security.test_sockets import HOST, OWN, cookie
from tests.support.redis import RedisServer
from tests.support.tunnel import Tunnel


@pytest.mark.parametrize("htmx", [True, False])
@pytest.mark.parametrize("status", [302, 304, 400, 401, 403, 404, 409, 418, 500, 503, 599, 700, 999])
def test_an_engines_refusal_is_told_as_its_own(
    administrator: Client, fleet: Fleet, monkeypatch: pytest.MonkeyPatch, status: int, htmx: bool
) -> None:
    """Neither audited as a right of ours that is missing, nor shown as one; and the status is one that HTTP has."""

    async def refused(*_: Any) -> Any:
        raise engine_error(status, "denied: <b>by policy</b>")
        yield b""

    monkeypatch.setattr(log_files, "text", refused)
    before = AuditEntry.objects.count()
    headers = {"HX-Request": "true"} if htmx else {}
    answer = administrator.get(f"/containers/{fleet.container.pk}/logs/download/", headers=headers)
    assert 400 <= answer.status_code < 600
    page = answer.content.decode()
    assert "<b>by policy" not in page
    assert "It takes the right" not in page
    assert "came from another site" not in page
    assert AuditEntry.objects.count() == before


@pytest.mark.parametrize("purpose", ["control", "stream"])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://127.0.0.1:8420", "own"])
async def test_no_browser_speaks_to_the_gateway(purpose: str, origin: str) -> None:
    """A page on any site could reach it from its reader's machine; agents send no Origin."""
    with Tunnel() as tunnel:
        own = tunnel.url.replace("ws", "http", 1)
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(
                    f"{tunnel.url}/agent/{purpose}", origin=own if origin == "own" else origin, protocols=("gantry.v1",)
                )
    assert refused.value.status == 403


def test_tokens_that_are_tried_do_not_fill_the_audit_trail(
    client: Client, fleet: Fleet, redis_server: RedisServer
) -> None:
    from django.core.cache import cache
    from gantry_agent import keys

    from hosts.enrolment import STRANGERS

    cache.clear()
    before = AuditEntry.objects.count()
    said = {"public_key": keys.public_text(keys.generate()), "hostname": "box", "agent_version": "1"}
    for number in range(STRANGERS.most + 10):
        answer = client.post("/agent/enrol", said | {"token": f"t{number}"}, "application/json")
        assert answer.status_code == 403
    assert AuditEntry.objects.count() == before + STRANGERS.most
    _, token = EnrolmentToken.issue(fleet.host, fleet.administrator)
    assert client.post("/agent/enrol", said | {"token": token}, "application/json").status_code == 200


@pytest.mark.parametrize(
    "said",
    [
        "x",
        "[]",
        "null",
        "{}",
        '{"type": "ack", "bytes": 1e999}',
        '{"type": "ack", "bytes": null}',
        '{"type": "resize", "columns": 1e999, "rows": 1}',
        '{"type": "resize", "columns": -1, "rows": 0}',
        '{"type": "nothing"}',
        "[" * 100_000,
    ],
)
@pytest.mark.django_db(transaction=True)
async def test_garbage_ends_the_terminal_it_came_on(said: str) -> None:
    """By its close code: an exception would leave what waits on the host behind."""
    fleet = await sync_to_async(make)()
    session = await sync_to_async(cookie)(fleet.administrator)
    asked = asyncio.Event()

    async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()
        writer.close()

    agent = await asyncio.start_unix_server(never_answers, fleet.host.agent_socket)
    headers = [(b"host", HOST.encode()), (b"origin", OWN.encode()), (b"cookie", f"gantry_session={session}".encode())]
    path = f"/ws/containers/{fleet.container.pk}/terminal?session=11111111-1111-4111-8111-111111111111"
    browser = Socket(application, path, headers)
    try:
        assert (await browser.connect())[0]
        await asyncio.wait_for(asked.wait(), 10)
        await browser.say(said)
        assert await browser.closed_with() == 4400
    finally:
        await browser.leave()
        agent.close()
        fleet.host.agent_socket.unlink(missing_ok=True)
