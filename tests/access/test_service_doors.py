"""No door lets a service account in, whatever somebody has put into the database for it; a person passes them all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import authenticate
from django.core.cache import cache
from django.test import Client
from django.urls import get_resolver

from controlplane.access.models import User
from controlplane.asgi import application
from controlplane.operations.models import AuditEntry, Outcome
from tests.access.factors import PASSWORD, code_of, with_app
from tests.access.test_identity_provider import come_in, use
from tests.security.access_changes import with_key
from tests.security.browser import Socket
from tests.security.fleet import prove
from tests.security.routes import walk
from tests.support.identity import IdentityProvider
from tests.support.passkey import Passkey
from tests.support.redis import RedisServer

BOTH = pytest.mark.parametrize("is_service", [True, False])


@pytest.fixture(autouse=True)
def _quick(settings: object, redis_server: RedisServer) -> Iterator[None]:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # type: ignore[attr-defined]
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def robot(db: None) -> User:
    """With a password, which no page of ours would give it; a person until `turn` is called."""
    return User.objects.create_user("robot", password=PASSWORD, standing="viewer")


def turn(is_service: bool) -> None:
    User.objects.update(is_service=is_service)


def is_in(client: Client) -> bool:
    return client.get("/").status_code == 200


def why() -> str:
    entry = AuditEntry.objects.filter(verb="access.sign-in", outcome=Outcome.REFUSED).latest("seq")
    return entry.detail


@BOTH
def test_by_a_password(robot: User, is_service: bool) -> None:
    turn(is_service)
    client = Client()
    answer = client.post("/login/", {"username": "robot", "password": PASSWORD})
    assert (answer.status_code, is_in(client)) == ((200, False) if is_service else (302, True))
    assert (authenticate(username="robot", password=PASSWORD) is None) == is_service
    if is_service:
        assert why() == "wrong password for “robot”", "told as any other name"


@BOTH
def test_by_a_code_after_it_became_one_half_way(robot: User, is_service: bool) -> None:
    secret = with_app(robot)
    client = Client()
    assert client.post("/login/", {"username": "robot", "password": PASSWORD})["Location"] == "/login/second/"
    turn(is_service)
    client.post("/login/second/", {"code": code_of(secret)})
    assert is_in(client) is not is_service
    assert AuditEntry.objects.filter(verb="access.sign-in", outcome=Outcome.ALLOWED).exists() is not is_service
    if is_service:
        assert why() == "a service account"


@BOTH
def test_by_a_passkey(robot: User, is_service: bool) -> None:
    key, owner = Passkey(), Client()
    owner.force_login(robot)
    prove(owner, robot)
    with_key(owner, key)
    turn(is_service)
    client = Client()
    options = client.get("/login/passkey/", headers={"Accept": "application/json"}).json()
    client.post("/login/passkey/", {"credential": key.get(options)})
    assert is_in(client) is not is_service
    if is_service:
        assert why() == "a service account"


@BOTH
def test_by_an_identity_provider(settings: object, db: None, is_service: bool) -> None:
    with IdentityProvider() as provider:
        use(settings, provider.environment())
        provider.add("robot", preferred_username="robot")
        come_in(Client(), provider, "robot")
        turn(is_service)
        client = Client()
        assert come_in(client, provider, "robot") == ("/login/" if is_service else "/")
        assert is_in(client) is not is_service
    if is_service:
        assert why() == "a service account"


@BOTH
def test_by_a_session_that_is_there(robot: User, is_service: bool) -> None:
    client = Client()
    client.force_login(robot)
    turn(is_service)
    assert is_in(client) is not is_service
    assert client.get("/api/v1/docs").status_code == (302 if is_service else 200)
    assert client.get("/api/v1/openapi.json").status_code == (302 if is_service else 200)
    assert client.get("/account/").status_code == (302 if is_service else 200)


@pytest.mark.django_db(transaction=True)
@BOTH
def test_a_stream_by_a_session_that_is_there(transactional_db: None, is_service: bool) -> None:
    robot = User.objects.create_user("robot", standing="viewer")
    client = Client()
    client.force_login(robot)
    turn(is_service)
    host, session = b"127.0.0.1:8420", client.cookies["gantry_session"].value

    async def knock() -> int | None:
        headers = [(b"host", host), (b"origin", b"http://" + host), (b"cookie", f"gantry_session={session}".encode())]
        socket = Socket(application, "/ws/live", headers)
        assert (await socket.connect())[0]
        code = await socket.closed_with() if is_service else None
        if not is_service:
            assert "watching" in await socket.hear()
        await socket.leave()
        return code

    assert async_to_sync(knock)() == (4401 if is_service else None)


def test_there_is_no_other_door() -> None:
    """Gantry sends no mail: nobody resets a password, and of allauth's own pages none is reached."""
    doors = {route for route in walk() if route.startswith("login/")}
    assert doors == {
        "login/",
        "login/second/",
        "login/passkey/",
        "login/by/<slug:slug>/",
        "login/by/<slug:slug>/callback/",
    }
    assert not [route for route in walk() if "reset" in route or "signup" in route]
    names = {name for name in get_resolver().reverse_dict if isinstance(name, str)}
    assert not {name for name in names if "reset" in name or "signup" in name}
