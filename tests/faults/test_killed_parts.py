"""kill -9 of each part, in the middle of a pull, a stop and a log that is followed.

All come back by themselves; no operation is left "running" that does not run, and none is silent about its
end; the page shows what the engine has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.faults.person import Person
from tests.support.engines import Dockerd, unique
from tests.support.images import busybox
from tests.support.registry import Registry, SlowRegistry
from tests.support.up import Up
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.docker, pytest.mark.registry, pytest.mark.timeout(240)]

STUBBORN = ("sh", "-c", 'trap "echo asked" TERM; while :; do sleep 0.1; done')
COUNTING = ("sh", "-c", "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.1; done")
# These carry the streams of bytes; the others may die without anybody who looks on noticing.
CARRIERS = ("web", "gateway", "agent")
SETTLED_SECONDS = 60


@pytest.fixture
def slow(registry: Registry) -> Iterator[SlowRegistry]:
    with SlowRegistry(registry, bytes_per_second=60_000) as slow:
        yield slow


@pytest.mark.parametrize("part", ["worker", "watch", "gateway", "web", "agent", "redis"])
def test_a_part_killed_in_the_middle_of_work(
    part: str, up: Up, person: Person, engine: Dockerd, image: str, registry: Registry, slow: SlowRegistry
) -> None:
    name = f"gantry/{part}:1"
    registry.push(busybox(layers=4, layer_size=400_000), name)
    stubborn, counting = unique("stubborn"), unique("counting")
    engine.run(image, *STUBBORN, name=stubborn)
    engine.run(image, *COUNTING, name=counting)
    stubborn_pk = eventually(lambda: person.running(stubborn), timeout=20)
    counting_pk = eventually(lambda: person.running(counting), timeout=20)

    with person.socket(f"/ws/containers/{counting_pk}/logs?tail=5&follow=1&stdout=1&stderr=1") as log:
        eventually(lambda: b"line" in _bytes(log), what="the log is followed")
        pull = person.ask("/images/pull/", reference=slow.reference(name), hosts=[1])
        eventually(lambda: slow.bytes_sent > 100_000, timeout=30, what="the pull is under way")
        stop = person.ask("/containers/do/stop/", ids=[stubborn_pk])
        eventually(lambda: person.operation(stop).state == "running", timeout=20, what="the stop is under way")
        eventually(lambda: "asked" in engine.cli("logs", stubborn), what="and its engine knows of it")
        assert person.operation(pull).state == "running"

        old = up.kill(part)
        killed = time.monotonic()
        slow.release()
        meanwhile = unique("meanwhile")
        engine.run(image, "sleep", "1000", name=meanwhile)
        if part not in CARRIERS:
            eventually(lambda: b"line" in _bytes(log), what="the log is followed as if nothing had been")

    eventually(lambda: set(up.pids(part)) - set(old), timeout=30, what="it is started again")
    eventually(up.is_whole, timeout=60, what="all parts are back")
    whole = time.monotonic() - killed
    for operation in (pull, stop):
        eventually(lambda operation=operation: person.is_finished(operation), timeout=SETTLED_SECONDS)
        row = person.operation(operation)
        assert row.state == "succeeded" or row.error, row
        assert row.state == "succeeded" or part in ("gateway", "agent"), f"{row} though {part} carries no bytes"
    settled = time.monotonic() - killed

    # A stop whose connection broke has failed here at once; the engine goes through with it all the same.
    eventually(lambda: person.container(stubborn) == (stubborn_pk, "exited"), timeout=30, what="it has stopped")
    eventually(lambda: person.host_state(1) == "connected", timeout=40, what="its host is back")
    eventually(lambda: person.running(meanwhile), timeout=30, what="what was started meanwhile is shown")
    eventually(lambda: _agrees(person, engine), timeout=30, what="every row is as the engine says")
    right = time.monotonic() - killed
    with person.socket(f"/ws/containers/{counting_pk}/logs?tail=5&follow=1&stdout=1&stderr=1") as log:
        eventually(lambda: b"line" in _bytes(log), what="the log can be followed again")
    print(f"\n{part}: {[person.operation(each)[:3] for each in (pull, stop)]}")
    print(f"{part}: whole after {whole:.1f} s, operations settled {settled:.1f} s, mirror right {right:.1f} s")
    engine.remove_containers()


def _agrees(person: Person, engine: Dockerd) -> bool:
    """Whether the mirror's containers are the engine's, each in the engine's state."""
    theirs = {entry["Id"]: entry["State"] for entry in engine.expect("GET", "/containers/json", all="true")}
    ours = dict(person.rows("SELECT engine_id, state FROM containers_container WHERE host_id = 1"))
    assert ours == theirs
    return True


def _bytes(log: ClientConnection) -> bytes:
    """The next piece of the log itself; messages between are passed over."""
    try:
        message = log.recv(timeout=10)
    except (TimeoutError, ConnectionClosed) as exc:
        raise AssertionError(f"no more of the log: {exc!r}") from exc
    return message if isinstance(message, bytes) else b""
