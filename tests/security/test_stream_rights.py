"""Streams of a member with a grant over tags: which they get, and that each ends with the grant."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.db import SessionStore
from django.http import Http404, HttpRequest
from django.test import AsyncClient, RequestFactory
from django.utils import timezone

from containers import log_files
from containers.access import get_container
from containers.recordings import taking
from controlplane.access.downloads import while_allowed
from controlplane.access.models import Grant, Role, User
from controlplane.access.naming import cover_again
from controlplane.lib import sockets
from controlplane.lib.errors import Forbidden
from controlplane.lib.live import announce
from controlplane.operations import entries
from controlplane.operations.models import Operation, State
from tests.security import test_sockets
from tests.security.routes import SEEN_BY, SIGNED_IN, SOCKETS, address
from tests.security.tenants import BESIDE, FOREIGN, OWN, PEOPLE, Tenants, make_tenants, reaches
from tests.security.test_sockets import Knock, cookie
from tests.support.redis import RedisServer

pytestmark = test_sockets.pytestmark
knock, soon = test_sockets.knock, test_sockets.soon


@pytest.fixture
def tenants(transactional_db: None, redis_server: RedisServer) -> Tenants:
    return make_tenants()


def _wanted(route: str, person: str, where: str) -> int | None:
    """The close code the table asks for; None: it opens."""
    verb = SOCKETS[route]
    if person == "anonymous":
        return 4401
    if verb == SIGNED_IN:
        return None
    row, see = next(found for prefix, found in SEEN_BY.items() if route.startswith(prefix))
    if not reaches(person, see, where, row):
        return 4404
    return None if reaches(person, verb, where, row) else 4403


@pytest.mark.parametrize("person", PEOPLE)
@pytest.mark.parametrize("route", SOCKETS)
async def test_the_matrix_of_streams(tenants: Tenants, knock: Knock, route: str, person: str) -> None:
    user = tenants.person(person)
    session = await sync_to_async(cookie)(user) if user else ""
    query = "?session=11111111-1111-4111-8111-111111111111" if route.endswith("terminal") else ""
    for where in (OWN, BESIDE, FOREIGN):
        socket = knock(address(route, tenants.fleets[where]) + query, session)
        assert (await socket.connect())[0]
        wanted = _wanted(route, person, where)
        if wanted is None:
            assert (await socket.receive_output(timeout=15))["type"] == "websocket.send", (person, where)
        else:
            assert await socket.closed_with() == wanted, (person, where)


async def test_a_page_hears_of_nothing_it_may_not_see(tenants: Tenants, knock: Knock) -> None:
    """Topics of foreign rows are left out, and no news of them comes by another way."""
    session = await sync_to_async(cookie)(tenants.developer)
    own, beside, foreign = (tenants.fleets[where] for where in (OWN, BESIDE, FOREIGN))
    mine = {f"container.{own.container.pk}", f"host.{own.host.pk}", f"operation.{own.operation.pk}"}
    theirs = {f"{kind}.{getattr(fleet, kind).pk}" for fleet in (beside, foreign) for kind in ("container", "operation")}
    theirs |= {f"host.{foreign.host.pk}"}
    socket = knock("/ws/live", session)
    assert (await socket.connect())[0]
    await socket.hear()
    await socket.say(json.dumps({"topics": sorted(mine | theirs)}))
    assert await socket.hear() == {"watching": sorted(mine)}
    await announce(*sorted(theirs), *sorted(mine))
    heard: set[str] = set()
    while heard != mine:  # what is told close together is told at once
        heard |= set((await socket.hear())["changed"])
        assert heard <= mine


def remove_the_grant(user: User, session: str) -> None:
    Grant.objects.filter(user=user).delete()


def expire_the_grant(user: User, session: str) -> None:
    Grant.objects.filter(user=user).update(expires_at=timezone.now())


def narrow_the_grant(user: User, session: str) -> None:
    grant = Grant.objects.get(user=user)
    grant.tags = ["v*"]
    grant.save()
    cover_again(grant)


def move_the_grant(user: User, session: str) -> None:
    Grant.objects.get(user=user).environments.clear()


def lessen_the_role(user: User, session: str) -> None:
    role = Role.objects.create(name="nothing", slug="nothing", verbs=["host.see"])
    Grant.objects.filter(user=user).update(role=role)


REVOKED = [remove_the_grant, expire_the_grant, narrow_the_grant, move_the_grant, lessen_the_role]


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("end", REVOKED)
async def test_an_open_stream_ends_with_the_grant(
    tenants: Tenants, knock: Knock, end: Callable[[User, str], None]
) -> None:
    await sync_to_async(Operation.objects.filter(pk=tenants.own.operation.pk).update)(state=State.RUNNING)
    session = await sync_to_async(cookie)(tenants.developer)
    socket = knock(address("ws/operations/<int:pk>/output", tenants.own), session)
    assert (await socket.connect())[0]
    await socket.hear()
    await sync_to_async(end)(tenants.developer, session)
    assert await socket.closed_with() == 4403, "the operation is still there: it is the right that has ended"


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("end", REVOKED)
async def test_a_page_hears_no_more_once_the_grant_is_gone(
    tenants: Tenants, knock: Knock, end: Callable[[User, str], None]
) -> None:
    session = await sync_to_async(cookie)(tenants.developer)
    topics = ["containers", f"container.{tenants.own.container.pk}"]
    socket = knock(f"/ws/live?topics={','.join(topics)}", session)
    assert (await socket.connect())[0]
    assert await socket.hear() == {"watching": sorted(topics)}
    await sync_to_async(end)(tenants.developer, session)
    for _ in range(200):  # until its right is asked again
        await socket.say(json.dumps({"topics": topics}))
        heard = await socket.hear()
        if not set(heard.get("watching", topics)) & {topics[1]}:
            break
    else:
        raise AssertionError("it still hears of the container")
    await announce(topics[1])
    await socket.say(json.dumps({"topics": []}))
    assert await socket.hear() == {"watching": []}, "and nothing before it"


async def _drops() -> AsyncIterator[bytes]:
    while True:
        yield b"x"


def _asked_by(user: User, session: str) -> HttpRequest:
    made = RequestFactory().get("/")
    made.user, made.session = user, SessionStore(session)
    return made


@pytest.mark.parametrize("end", [*REVOKED, test_sockets.deactivate, test_sockets.forget_the_session])
async def test_a_download_is_broken_off(
    tenants: Tenants, monkeypatch: pytest.MonkeyPatch, end: Callable[[User, str], None]
) -> None:
    monkeypatch.setattr(sockets, "RECHECK_SECONDS", 0)
    session = await sync_to_async(cookie)(tenants.developer)
    pk = tenants.own.container.pk
    download = while_allowed(
        _asked_by(tenants.developer, session), _drops(), lambda user: get_container(user, pk, "container.logs")
    )
    for _ in range(3):
        await anext(download)
    await sync_to_async(end)(tenants.developer, session)
    with pytest.raises((Http404, Forbidden)):
        await anext(download)


DOWNLOADS = ["containers/<int:pk>/logs/download/", "recordings/<int:pk>/cast/", "recordings/<int:pk>/download/"]


@pytest.mark.parametrize("route", [*DOWNLOADS, "operations/audit/export/"])
async def test_every_file_that_is_sent_bit_by_bit_is_asked_for_again(
    tenants: Tenants, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    """Once the session is gone nothing more of it comes."""
    monkeypatch.setattr(sockets, "RECHECK_SECONDS", 0)
    monkeypatch.setattr(log_files, "text", lambda *_: _drops())
    monkeypatch.setattr(taking, "pieces", lambda *_: _drops())
    monkeypatch.setattr(taking, "complete_size", lambda _: 1)
    monkeypatch.setattr(entries, "_lines", lambda *_: _drops())
    fleet, administrator = tenants.foreign, tenants.foreign.administrator
    session = await sync_to_async(cookie)(administrator)
    client = AsyncClient()
    client.cookies["gantry_session"] = session
    answer = await client.get(address(route, fleet))
    assert answer.status_code == 200
    content = aiter(answer)
    for _ in range(3):
        assert await anext(content) == b"x"
    await sync_to_async(test_sockets.forget_the_session)(administrator, session)
    with pytest.raises(Http404):
        await anext(content)
