"""A host that vanishes without a word: its rows read unknown within 20 s, right themselves, and none is deleted."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import need
from tests.faults.agents import Agent, joined
from tests.faults.person import Person
from tests.support.engines import Dockerd, unique
from tests.support.images import TestImage
from tests.support.netns import NetworkNamespace
from tests.support.up import Up
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.docker, pytest.mark.registry, pytest.mark.timeout(240)]

UNKNOWN_SECONDS = 20


@pytest.fixture
def there() -> Iterator[NetworkNamespace]:
    need(NetworkNamespace.why_not())
    with NetworkNamespace() as namespace:
        yield namespace


def row(person: Person, name: str, host: str) -> str:
    """A container's row on the page of all containers, without its markup; "" when there is none."""
    rows = person.page(f"/containers/?q={name}").split("<tr ")[1:]
    mine = [each.partition("</tr>")[0] for each in rows if f'data-name="{name} on {host}"' in each]
    return " ".join(re.sub(r"<[^>]*>", " ", "".join(mine)).split())


def vanishes_and_returns(
    person: Person, engine: Dockerd, image: str, agent: Agent, vanish: Callable[[], None], come_back: Callable[[], None]
) -> None:
    """The course of every such fault."""
    stays, goes = unique("stays"), unique("goes")
    for name in (stays, goes):
        engine.run(image, "sleep", "1000", name=name)
    eventually(
        lambda: "running" in row(person, stays, agent.name) and "running" in row(person, goes, agent.name), timeout=20
    )
    before = person.rows("SELECT id FROM containers_container WHERE host_id = ? ORDER BY id", agent.host)

    vanish()
    gone = time.monotonic()
    eventually(
        lambda: "unknown since" in row(person, stays, agent.name), timeout=UNKNOWN_SECONDS, what="the row reads unknown"
    )
    print(f"\nunknown after {time.monotonic() - gone:.1f} s")
    assert "running" not in row(person, stays, agent.name)
    assert "unreachable" in person.page(f"/hosts/{agent.host}/")
    assert person.rows("SELECT id FROM containers_container WHERE host_id = ? ORDER BY id", agent.host) == before
    engine.cli("rm", "-f", goes)

    come_back()
    back = time.monotonic()
    eventually(lambda: "running" in row(person, stays, agent.name), timeout=60, what="the row rights itself")
    print(f"right again after {time.monotonic() - back:.1f} s")
    eventually(lambda: not row(person, goes, agent.name), timeout=10, what="what was removed meanwhile is gone")


def test_an_agent_that_is_stopped(up: Up, person: Person, engine: Dockerd, image: str) -> None:
    with joined(up, unique("frozen"), engine.socket) as agent:
        eventually(lambda: person.host_state(agent.host) == "connected", timeout=30)
        vanishes_and_returns(person, engine, image, agent, agent.freeze, agent.thaw)
    engine.remove_containers()


def test_an_agent_that_is_killed(up: Up, person: Person, engine: Dockerd, image: str) -> None:
    with joined(up, unique("killed"), engine.socket) as agent:
        eventually(lambda: person.host_state(agent.host) == "connected", timeout=30)
        vanishes_and_returns(person, engine, image, agent, agent.kill, agent.start)
    engine.remove_containers()


def test_an_engine_that_is_stopped(up: Up, person: Person, image: str, busybox_archive: TestImage) -> None:
    """The agent is well; behind it nobody answers."""
    with Dockerd() as frozen:
        frozen.load(busybox_archive.archive(image))
        with joined(up, unique("engine"), frozen.socket) as agent:
            eventually(lambda: person.host_state(agent.host) == "connected", timeout=30)
            name = unique("stays")
            frozen.run(image, "sleep", "1000", name=name)
            eventually(lambda: "running" in row(person, name, agent.name), timeout=20)
            frozen.freeze()
            eventually(lambda: "unknown since" in row(person, name, agent.name), timeout=UNKNOWN_SECONDS)
            frozen.thaw()
            eventually(lambda: "running" in row(person, name, agent.name), timeout=30)


def test_a_line_that_is_cut(there: NetworkNamespace, busybox_archive: TestImage, image: str) -> None:
    """Every packet is dropped and TCP stays half-open: nobody is told anything."""
    with (
        Dockerd() as engine,
        Up("--engine", "none", address=there.outside, tls=True) as up,
    ):
        person = Person(up)
        engine.load(busybox_archive.archive(image))
        with joined(up, "far", engine.socket, where=there) as agent:
            eventually(lambda: person.host_state(agent.host) == "connected", timeout=30)
            vanishes_and_returns(person, engine, image, agent, there.cut, there.heal)
