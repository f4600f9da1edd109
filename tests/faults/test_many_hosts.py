"""One image on twenty hosts at once; five pulls on a host that takes two."""

from __future__ import annotations

import pytest

from tests.faults.agents import fleet, joined
from tests.faults.person import Person
from tests.faults.test_lying_host import memory
from tests.support.engines import Dockerd, unique
from tests.support.images import busybox
from tests.support.registry import Registry, SlowRegistry
from tests.support.up import Up
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.docker, pytest.mark.registry, pytest.mark.timeout(300)]

HOSTS = 20
MEMORY_KIB = 200 * 1024
RUNNING = """
    SELECT host_id, COUNT(*) FROM operations_operation WHERE state = 'running' AND kind = 'image.pull' GROUP BY host_id
"""


def test_the_same_image_is_pulled_on_twenty_hosts_at_once(
    up: Up, person: Person, engine: Dockerd, registry: Registry
) -> None:
    """Twenty agents on one engine: it is our side that is looked at."""
    registry.push(busybox(layers=3, layer_size=300_000), "gantry/many:1")
    before = {part: memory(up, part) for part in ("worker", "gateway", "watch", "web")}
    with fleet(up, [unique("one-of-many") for _ in range(HOSTS)], engine.socket) as agents:
        hosts = [agent.host for agent in agents]
        for host in hosts:
            eventually(lambda host=host: person.host_state(host) == "connected", timeout=60)
        with SlowRegistry(registry, bytes_per_second=20_000) as slow:
            parent = person.ask("/images/pull/", reference=slow.reference("gantry/many:1"), hosts=hosts)
            at_once = eventually(lambda: len(running := person.rows(RUNNING)) == HOSTS and running, timeout=60)
            assert {count for _, count in at_once} == {1}
            assert "<main" in person.get(f"/operations/{parent}/")
            slow.release()
            eventually(lambda: person.is_finished(parent), timeout=120, what="the bulk operation has ended")
        assert person.operation(parent).state == "succeeded"
        children = person.rows("SELECT state FROM operations_operation WHERE parent_id = ?", parent)
        assert children == [("succeeded",)] * HOSTS
        grown = {part: memory(up, part) - kib for part, kib in before.items()}
        print(f"\ngrown by KiB: {grown}")
        assert max(grown.values()) < MEMORY_KIB, grown


def test_a_host_pulls_no_more_at_once_than_its_limit(
    up: Up, person: Person, engine: Dockerd, registry: Registry
) -> None:
    names = [f"gantry/limited:{number}" for number in range(5)]
    for name in names:
        registry.push(busybox(layers=1, layer_size=200_000), name)
    with (
        joined(up, unique("limited"), engine.socket, pull_limit=2) as agent,
        SlowRegistry(registry, bytes_per_second=30_000) as slow,
    ):
        eventually(lambda: person.host_state(agent.host) == "connected", timeout=30)
        pulls = [person.ask("/images/pull/", reference=slow.reference(name), hosts=[agent.host]) for name in names]
        seen = {
            eventually(lambda: (running := dict(person.rows(RUNNING)).get(agent.host, 0)) > 1 and running, timeout=60)
        }
        slow.release()

        def all_done() -> bool:
            seen.add(dict(person.rows(RUNNING)).get(agent.host, 0))
            return all(map(person.is_finished, pulls))

        eventually(all_done, timeout=90, what="all five have ended")
        assert [person.operation(pull).state for pull in pulls] == ["succeeded"] * 5
        assert max(seen) == 2, f"counts of running pulls seen: {seen}"
