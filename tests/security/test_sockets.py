"""Every stream's handshake: who asks, from which site, and how long that holds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from containers.consumers import TerminalConsumer
from controlplane.access.actions import set_active, set_standing
from controlplane.access.models import User
from controlplane.asgi import application
from controlplane.lib import sockets
from controlplane.lib.sockets import SignedInConsumer, same_origin
from controlplane.operations.models import Operation, State
from controlplane.routing import websocket_urlpatterns
from tests.security.browser import Socket
from tests.security.fleet import Fleet, make
from tests.security.routes import SOCKETS, address
from tests.support.redis import RedisServer

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.redis_server,
]

HOST = "127.0.0.1:8420"
OWN = f"http://{HOST}"
FOREIGN = [
    None,
    "",
    "null",
    "http://evil.example",
    "http://evil.example:8420",
    "http://127.0.0.1:8421",
    "http://127.0.0.1",
    "https://127.0.0.1:8420",
    "ws://127.0.0.1:8420",
    "http://localhost:8420",
    "http://127.0.0.1:8420.evil.example",
    "http://127.0.0.1:8420@evil.example",
    "http://user@127.0.0.1:8420",
    "http://127.0.0.1:8420/page",
    "http://127.0.0.1:8420 http://evil.example",
    "//127.0.0.1:8420",
    "file://",
    "http://[::1",
    "\xff\xfe",
]


@pytest.fixture
def fleet(transactional_db: None, redis_server: RedisServer) -> Fleet:
    fleet = make()
    Operation.objects.filter(pk=fleet.operation.pk).update(state=State.RUNNING)
    return fleet


def cookie(user: User) -> str:
    """A session of its own."""
    client = Client()
    client.force_login(user)
    return client.cookies["gantry_session"].value


Knock = Callable[..., Socket]


@pytest.fixture
async def knock() -> AsyncIterator[Knock]:
    """Makes a browser's handshake; every socket is closed at the end."""
    opened: list[Socket] = []

    def make_one(path: str, session: str = "", origin: str | None = OWN, host: str = HOST) -> Socket:
        headers = [(b"host", host.encode())]
        if session:
            headers.append((b"cookie", f"gantry_session={session}".encode()))
        if origin is not None:
            headers.append((b"origin", origin.encode("latin-1")))
        opened.append(Socket(application, path, headers))
        return opened[-1]

    yield make_one
    for socket in opened:
        await socket.leave()


@pytest.mark.parametrize("route", SOCKETS)
async def test_nobody_gets_a_stream(fleet: Fleet, knock: Knock, route: str) -> None:
    for session in ("", "x" * 32):
        socket = knock(address(route, fleet), session)
        assert (await socket.connect())[0], "accepted, so that the page reads the code"
        assert await socket.closed_with() == 4401


@pytest.mark.parametrize("origin", FOREIGN)
async def test_another_site_gets_no_stream_by_a_cookie(fleet: Fleet, knock: Knock, origin: str | None) -> None:
    session = await sync_to_async(cookie)(fleet.administrator)
    for route in SOCKETS:
        socket = knock(address(route, fleet), session, origin)
        assert await socket.connect() == (False, 4403), f"{route} from {origin}"


async def test_a_name_that_is_not_ours_gets_no_stream(fleet: Fleet, knock: Knock) -> None:
    """A site whose name was bent to our address asks with its own name as host and as origin."""
    session = await sync_to_async(cookie)(fleet.administrator)
    for host in ("evil.example:8420", "evil.example", ""):
        socket = knock("/ws/live", session, f"http://{host}", host)
        assert await socket.connect() == (False, 4403)


@pytest.mark.parametrize("route", SOCKETS)
async def test_our_own_page_gets_it(fleet: Fleet, knock: Knock, route: str) -> None:
    session = await sync_to_async(cookie)(fleet.administrator)
    query = "?session=11111111-1111-4111-8111-111111111111" if route.endswith("terminal") else ""
    socket = knock(address(route, fleet) + query, session)
    assert (await socket.connect())[0]
    assert (await socket.receive_output(timeout=15))["type"] == "websocket.send"


async def test_a_viewer_gets_no_terminal(fleet: Fleet, knock: Knock) -> None:
    session = await sync_to_async(cookie)(fleet.viewer)
    for route, verb in SOCKETS.items():
        socket = knock(address(route, fleet), session)
        assert (await socket.connect())[0]
        if verb in ("container.exec", "recording.see"):
            assert await socket.closed_with() == 4403


@pytest.mark.parametrize("ident", [0, 999_999, 2**63, 10**30])
@pytest.mark.parametrize("route", [route for route in SOCKETS if "<int:pk>" in route])
async def test_an_id_that_leads_nowhere(fleet: Fleet, knock: Knock, route: str, ident: int) -> None:
    session = await sync_to_async(cookie)(fleet.administrator)
    socket = knock("/" + route.replace("<int:pk>", str(ident)), session)
    assert (await socket.connect())[0]
    assert await socket.closed_with() == 4404


@pytest.mark.parametrize("path", ["/", "/ws/", "/ws/live/x", "/ws/operations/x/output", "/agent/control", "/login/"])
async def test_no_other_address_is_a_stream(fleet: Fleet, knock: Knock, path: str) -> None:
    session = await sync_to_async(cookie)(fleet.administrator)
    assert await knock(path, session).connect() == (False, 4404)


def test_every_stream_rechecks_the_right_within_ten_seconds() -> None:
    assert sockets.RECHECK_SECONDS <= 8, "ten seconds, less what the question takes"
    for pattern in websocket_urlpatterns[:-1]:
        consumer = pattern.callback.consumer_class  # type: ignore[union-attr]
        assert issubclass(consumer, SignedInConsumer)
        assert consumer.connect is SignedInConsumer.connect
        assert consumer._keep_checking is SignedInConsumer._keep_checking
    assert SOCKETS["ws/containers/<int:pk>/terminal"] == "container.exec"
    assert TerminalConsumer.authorise is not SignedInConsumer.authorise


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked every few seconds is asked at once."""
    monkeypatch.setattr(sockets, "RECHECK_SECONDS", 0.02)
    monkeypatch.setattr("controlplane.live.RESUBSCRIBE_SECONDS", 0.02)


def deactivate(user: User, session: str) -> None:
    set_active(user, False)


def sign_out(user: User, session: str) -> None:
    Client(headers={"cookie": f"gantry_session={session}"}).post("/logout/")


def let_it_expire(user: User, session: str) -> None:
    Session.objects.filter(session_key=session).update(expire_date=timezone.now())


def forget_the_session(user: User, session: str) -> None:
    Session.objects.filter(session_key=session).delete()


def change_the_password(user: User, session: str) -> None:
    user.set_password("another long password")
    user.save()


def delete_the_account(user: User, session: str) -> None:
    User.objects.filter(pk=user.pk).delete()


ENDINGS = [deactivate, sign_out, let_it_expire, forget_the_session, change_the_password, delete_the_account]


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("route", ["ws/live", "ws/operations/<int:pk>/output"])
@pytest.mark.parametrize("end", ENDINGS)
async def test_an_open_stream_ends_with_the_right(
    fleet: Fleet, knock: Knock, end: Callable[[User, str], None], route: str
) -> None:
    session = await sync_to_async(cookie)(fleet.viewer)
    socket = knock(address(route, fleet), session)
    assert (await socket.connect())[0]
    await socket.hear()
    await sync_to_async(end)(fleet.viewer, session)
    assert await socket.closed_with() == 4401


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("change", ["standing", "row"])
async def test_an_open_stream_ends_with_its_verb_or_its_row(fleet: Fleet, knock: Knock, change: str) -> None:
    """A standing that holds no verb stands for what grants that end may take away."""
    session = await sync_to_async(cookie)(fleet.viewer)
    socket = knock(address("ws/operations/<int:pk>/output", fleet), session)
    assert (await socket.connect())[0]
    if change == "standing":
        await sync_to_async(set_standing)(fleet.viewer, "nothing at all")
    else:
        await sync_to_async(Operation.objects.all().delete)()
    assert await socket.closed_with() in (4403, 4404)


@pytest.mark.usefixtures("soon")
async def test_a_page_hears_no_more_of_what_it_may_not_see_any_more(fleet: Fleet, knock: Knock) -> None:
    session = await sync_to_async(cookie)(fleet.viewer)
    socket = knock(f"/ws/live?topics=hosts,host.{fleet.host.pk}", session)
    assert (await socket.connect())[0]
    assert await socket.hear() == {"watching": [f"host.{fleet.host.pk}", "hosts"]}
    await sync_to_async(set_standing)(fleet.viewer, "nothing at all")
    for _ in range(200):  # until its right is asked again
        await socket.say(json.dumps({"topics": ["hosts"]}))
        if await socket.hear() == {"watching": []}:
            return
    raise AssertionError("it still hears of the hosts")


async def test_topics_that_lead_nowhere_are_left_out(fleet: Fleet, knock: Knock) -> None:
    session = await sync_to_async(cookie)(fleet.viewer)
    socket = knock("/ws/live", session)
    assert (await socket.connect())[0]
    await socket.hear()
    odd = ["host.0", "host." + "9" * 5000, "host.²", "hosts.1", "people", "host", "", "x" * 10_000, "host.1 OR 1=1"]
    await socket.say(json.dumps({"topics": [*odd, "hosts"]}))
    assert await socket.hear() == {"watching": ["hosts"]}


@pytest.mark.parametrize("said", ["x", "[]", "{}", '{"topics": 1' * 3, "[" * 100_000, '{"topics": null'])
async def test_garbage_closes_the_socket_it_came_on(fleet: Fleet, knock: Knock, said: str) -> None:
    session = await sync_to_async(cookie)(fleet.viewer)
    socket = knock("/ws/live", session)
    assert (await socket.connect())[0]
    await socket.say(said)
    assert await socket.closed_with() == 4400


async def test_an_odd_cursor_reads_from_the_start(fleet: Fleet, knock: Knock) -> None:
    session = await sync_to_async(cookie)(fleet.viewer)
    for after in ("x", "9" * 5000, "-1", "²", "1e3", ""):
        socket = knock(f"{address('ws/operations/<int:pk>/output', fleet)}?after={after}", session)
        assert (await socket.connect())[0]
        assert (await socket.hear())["lines"]


@pytest.mark.parametrize("secure", [True, False])
def test_the_scheme_is_part_of_the_site(secure: bool) -> None:
    def asked(origin: str) -> bool:
        headers = [(b"host", HOST.encode()), (b"origin", origin.encode())]
        return same_origin({"headers": headers, "scheme": "wss" if secure else "ws"})

    assert asked(f"https://{HOST}") is secure
    assert asked(f"http://{HOST}") is not secure
