"""Callers of the API: each a client that sends a token with every request."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from controlplane.access import tokens
from controlplane.access.models import Standing, Token, User
from controlplane.access.tokens import Narrowing, Wanted
from controlplane.api import door
from controlplane.api.door import FAILURES
from tests.granting.conftest import Shop, make_shop
from tests.security.fleet import Fleet, make
from tests.support.redis import RedisServer

UNUSABLE = "!"
V1, JSON = "/api/v1", "application/json"


@pytest.fixture(autouse=True)
def _redis(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted and claimed is counted for real, for each test anew: its tokens have the ids of others."""
    FAILURES.forget("127.0.0.1")
    monkeypatch.setattr(door, "REQUESTS", replace(door.REQUESTS, name=f"api-requests-{uuid4()}"))


@pytest.fixture
def fleet(db: None) -> Fleet:
    return make()


@pytest.fixture
def member(fleet: Fleet) -> User:
    """Somebody with nothing but what a test grants."""
    return User.objects.create(username="mia", password=UNUSABLE, standing=Standing.MEMBER)


@pytest.fixture
def shop(db: None) -> Shop:
    """Two environments; an administrator, one who manages staging, and somebody with nothing."""
    return make_shop()


def issue(owner: User, name: str = "ci", narrowing: Narrowing | None = None, **fields: Any) -> tuple[Token, str]:
    """A token of `owner` for an hour, made by themselves."""
    wanted = Wanted(name, timezone.now() + timedelta(hours=1), narrowing=narrowing, **fields)
    return tokens.issue(owner, owner, wanted)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def client_with(secret: str) -> Client:
    return Client(headers=bearer(secret))


@pytest.fixture
def ada(fleet: Fleet) -> Client:
    """The administrator's token, not narrowed."""
    return client_with(issue(fleet.administrator)[1])


@pytest.fixture
def vic(fleet: Fleet) -> Client:
    """The viewer's token, not narrowed."""
    return client_with(issue(fleet.viewer)[1])


def send(client: Client, method: str, path: str, **body: Any) -> Any:
    """A request with a body."""
    return getattr(client, method)(f"{V1}{path}", body, content_type=JSON)
