"""What the fault tests share: one Gantry as `./gantry up` starts it, on a Docker Engine of its own.

up        tests.support.up.Up; a test may kill its parts, and waits until it is whole again
engine    the engine of its first host, named by this machine
person    an administrator (tests/faults/person.py)
image     the reference of busybox, present on the engine
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import need
from tests.faults.person import Person
from tests.support.engines import Dockerd
from tests.support.images import TestImage
from tests.support.redis import RedisServer
from tests.support.registry import Registry
from tests.support.up import Up
from tests.support.waiting import eventually


@pytest.fixture(scope="session")
def engine() -> Iterator[Dockerd]:
    need(Dockerd.why_not())
    with Dockerd() as engine:
        yield engine


@pytest.fixture(scope="session")
def shared_up(engine: Dockerd) -> Iterator[Up]:
    need(RedisServer.why_not())
    with Up("--engine", f"unix://{engine.socket}") as up:
        try:
            yield up
        finally:
            print(up.output[-20_000:])


@pytest.fixture(scope="session")
def person(shared_up: Up) -> Person:
    return Person(shared_up)


@pytest.fixture
def up(shared_up: Up, person: Person) -> Up:
    """Whole, and its first host connected, whatever the test before has done to it."""
    eventually(shared_up.is_whole, timeout=60, what="/healthz answers 200")
    eventually(lambda: person.host_state(1) == "connected", timeout=30, what="the first host is connected")
    return shared_up


@pytest.fixture(scope="session")
def image(registry: Registry, busybox_image: str, busybox_archive: TestImage, engine: Dockerd) -> str:
    engine.load(busybox_archive.archive(busybox_image))
    return busybox_image
