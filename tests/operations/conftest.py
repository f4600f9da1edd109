"""People, a host, and kinds of operation whose work a test holds in its hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from controlplane.access.models import Standing, User
from controlplane.lib.errors import Conflict
from controlplane.operations import kinds
from controlplane.operations.actions import Request
from controlplane.operations.kinds import Kind, OnLoss
from controlplane.operations.runner import Work
from hosts.models import Host


@pytest.fixture
def administrator(db: None) -> User:
    return User.objects.create_user("ada", password="a long password", standing=Standing.ADMINISTRATOR)


@pytest.fixture
def viewer(db: None) -> User:
    return User.objects.create_user("vi", password="a long password", standing=Standing.VIEWER)


@pytest.fixture
def host(db: None) -> Host:
    return Host.objects.create(name="edge-1", pull_limit=2)


async def _say(work: Work) -> None:
    for word in work.params.get("words", ["hello"]):
        work.say(word)
        work.progress(word, "done", 1, 1)


async def _fail(work: Work) -> None:
    raise Conflict("The name is in use.", "Choose another.")


async def _break(work: Work) -> None:
    raise ZeroDivisionError("a defect of ours")


async def _wait_for_ever(work: Work) -> None:
    work.say("waiting")
    await asyncio.Event().wait()


KINDS = (
    Kind("test.say", verb="container.start", run=_say, on_loss=OnLoss.REPEAT),
    Kind("test.once", verb="container.start", run=_say, on_loss=OnLoss.GIVE_UP),
    Kind("test.heavy", verb="image.pull", run=_say, heavy=True),
    Kind("test.fail", verb="container.start", run=_fail),
    Kind("test.break", verb="container.start", run=_break),
    Kind("test.personal", verb="container.start", run=_fail, personal=("login",)),
    Kind("test.wait", verb="container.start", run=_wait_for_ever),
    Kind("test.stubborn", verb="container.start", run=_wait_for_ever, cancel_note="It ends by itself."),
)


@pytest.fixture(autouse=True)
def _test_kinds() -> Iterator[None]:
    for kind in KINDS:
        kinds.register(kind)
    yield
    for kind in KINDS:
        del kinds._kinds[kind.name]


def request(kind: str = "test.say", **fields: object) -> Request:
    return Request(kind=f"test.{kind.removeprefix('test.')}", title=f"Test {kind}", **fields)  # type: ignore[arg-type]
