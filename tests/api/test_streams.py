"""Streams: a log as lines or events, an operation's output as it comes; they end with the token and with the right."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient

from containers import log_files
from containers.logs import LogQuery
from containers.models import Container
from controlplane.access import tokens
from controlplane.access.actions import set_active, set_standing
from controlplane.access.models import Role, Standing, Token, User
from controlplane.api import streams
from controlplane.operations.models import AuditEntry, Operation, OperationOutput, State
from hosts.engine.errors import engine_error
from tests.api.conftest import bearer, issue
from tests.api.table import World, make

pytestmark = pytest.mark.django_db(transaction=True)


class Content:
    """An engine's answer, in the pieces it comes in."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    async def read(self, size: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def frame(stream: int, text: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text


async def lines(*pieces: bytes, tty: bool = False) -> list[tuple[str, str, str]]:
    found = [batch async for batch in streams._lines(Content(*pieces), tty=tty)]
    return [(each["stream"], each["time"], each["text"]) for batch in found for each in batch]


async def test_lines_are_put_together_and_characters_too() -> None:
    moment = "2026-11-29T10:00:00.5Z"
    whole = frame(1, f"{moment} ä one\n{moment} two\r\n".encode()) + frame(2, f"{moment} oops".encode())
    expected = [("stdout", moment, "ä one"), ("stdout", moment, "two"), ("stderr", moment, "oops")]
    assert await lines(whole) == expected
    assert await lines(*(whole[n : n + 1] for n in range(len(whole)))) == expected
    assert await lines(f"{moment} a\r\nno time\n".encode(), tty=True) == [
        ("stdout", moment, "a"),
        ("stdout", "", "no time"),
    ]


async def test_a_line_without_end_comes_in_parts() -> None:
    found = await lines(*(frame(1, b"x" * 60_000) for _ in range(4)))
    assert "".join(text for _, _, text in found) == "x" * 240_000
    assert len(found) > 1


@pytest.fixture
def world() -> World:
    owner = User.objects.create(username="ada", password="!", standing=Standing.ADMINISTRATOR)
    User.objects.create(username="eve", password="!", standing=Standing.ADMINISTRATOR)
    return make("shore", owner)


@pytest.fixture
def secret(world: World) -> str:
    return issue(User.objects.get(username="ada"))[1]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked every few seconds is asked at once."""
    monkeypatch.setattr(streams, "RECHECK_SECONDS", 0.05)
    monkeypatch.setattr(streams, "LOOK_SECONDS", 0.01)


def running(world: World) -> Operation:
    Operation.objects.filter(pk=world.operation.pk).update(state=State.RUNNING)
    return world.operation


async def follow(secret: str, operation: Operation, **headers: str) -> AsyncIterator[bytes]:
    address = f"/api/v1/operations/{operation.pk}/output?follow=true"
    answer = await AsyncClient().get(address, headers=bearer(secret) | headers)
    assert answer.status_code == 200
    return aiter(answer.streaming_content)


async def rest(content: AsyncIterator[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for part in [each async for each in content] for line in part.splitlines()]


async def test_output_comes_as_it_is_said(world: World, secret: str, quick: None) -> None:
    content = await follow(secret, await sync_to_async(running)(world))
    assert json.loads(await anext(content))["text"] == "stopped\n"
    await OperationOutput.objects.acreate(operation=world.operation, seq=2, text="more")
    assert json.loads(await anext(content))["text"] == "more"
    await Operation.objects.filter(pk=world.operation.pk).aupdate(state=State.SUCCEEDED)
    assert await rest(content) == [{"type": "end", "reason": "the operation ended", "state": "succeeded"}]


def _revoke(user: User) -> None:
    tokens.revoke(Token.objects.get(owner=user))


def _deactivate(user: User) -> None:
    set_active(user, False)


def _take_away(user: User) -> None:
    set_standing(user, Standing.MEMBER)
    Operation.objects.update(actor=None)


def _ask_for_more(user: User) -> None:
    Role.objects.filter(slug=Standing.ADMINISTRATOR).update(second_factor=True)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (_revoke, "the token ended"),
        (_deactivate, "the token ended"),
        (_take_away, "the right ended"),
        (_ask_for_more, "a second factor is asked for"),
    ],
)
async def test_it_ends_with_the_token_and_with_the_right(
    world: World, secret: str, quick: None, end: Any, reason: str
) -> None:
    content = await follow(secret, await sync_to_async(running)(world))
    await anext(content)
    await sync_to_async(end)(await User.objects.aget(username="ada"))
    assert (await rest(content))[-1] == {"type": "end", "reason": reason}


async def test_events_name_where_to_go_on(world: World, secret: str) -> None:
    content = await follow(secret, world.operation, Accept="text/event-stream")
    first, last = [part.decode() async for part in content]
    assert first.startswith("id: 1\nevent: line\ndata: {")
    assert first.endswith("\n\n")
    assert last.startswith("event: end\ndata: ")


def test_it_is_asked_again_within_ten_seconds() -> None:
    assert streams.RECHECK_SECONDS <= 5


class FakeEngine:
    """An engine that has one log."""

    async def get(self, path: str, **_: Any) -> dict[str, Any]:
        return {"Config": {"Tty": False}, "State": {"Running": False, "Status": "exited", "ExitCode": 3}}

    @asynccontextmanager
    async def stream(self, method: str, path: str, **parameters: Any) -> AsyncIterator[Any]:
        self.parameters = parameters
        yield type("Answer", (), {"content": Content(frame(1, b"2026-11-29T10:00:00Z hello\n"))})


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    made = FakeEngine()

    @asynccontextmanager
    async def engine_for(_: object) -> AsyncIterator[FakeEngine]:
        yield made

    monkeypatch.setattr(streams, "engine_for", engine_for)
    return made


async def test_a_log_is_read_and_that_is_written_down(world: World, secret: str, engine: FakeEngine) -> None:
    container: Container = world.container
    address = f"/api/v1/containers/{container.pk}/logs?tail=all&stderr=false"
    answer = await AsyncClient().get(address, headers=bearer(secret))
    found = await rest(answer.streaming_content)
    assert found == [
        {"type": "line", "stream": "stdout", "time": "2026-11-29T10:00:00Z", "text": "hello"},
        {"type": "end", "reason": "the log ended", "running": False, "state": "exited", "exit_code": 3},
    ]
    assert (engine.parameters["tail"], engine.parameters["stderr"], engine.parameters["timestamps"]) == (
        "all",
        False,
        True,
    )
    entries = [entry async for entry in AuditEntry.objects.filter(verb="container.logs").order_by("seq")]
    assert [(entry.target_name, entry.door, entry.token_name, entry.result) for entry in entries] == [
        ("shop", "api", "ci", ""),
        ("shop", "api", "ci", "ended"),
    ]


async def test_a_log_is_downloaded_as_it_was_written(
    world: World, secret: str, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "engine_for", streams.engine_for)
    address = f"/api/v1/containers/{world.container.pk}/logs/download?stderr=false&timestamps=true"
    answer: Any = await AsyncClient().get(address, headers=bearer(secret))
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer["Content-Disposition"].startswith('attachment; filename="shop-')
    assert b"".join([part async for part in answer.streaming_content]) == b"2026-11-29T10:00:00Z hello\n"
    assert engine.parameters == LogQuery("all", follow=False, stderr=False).parameters()
    entries = [entry async for entry in AuditEntry.objects.filter(verb="container.logs").order_by("seq")]
    assert [(entry.door, entry.result) for entry in entries] == [("api", ""), ("api", "ended")]


async def test_an_engines_refusal_comes_before_the_download(
    world: World, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: Any) -> AsyncIterator[bytes]:
        raise engine_error(501, "the log driver keeps nothing")
        yield b""

    monkeypatch.setattr(log_files, "text", refused)
    answer = await AsyncClient().get(f"/api/v1/containers/{world.container.pk}/logs/download", headers=bearer(secret))
    assert answer.status_code == 501
    assert answer["Content-Type"] == "application/problem+json"
