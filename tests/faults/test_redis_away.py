"""Redis loses everything, or is gone again and again: what was asked for is still done."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.faults.person import Person
from tests.support.engines import Dockerd, unique
from tests.support.images import busybox
from tests.support.redis import RedisServer
from tests.support.registry import Registry, SlowRegistry
from tests.support.up import Up
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.docker, pytest.mark.registry, pytest.mark.timeout(240)]

# What the worker says before its third pause.
TRIED = "Trying again in 6.00 seconds"


def ask_redis(up: Up, *words: str) -> str:
    socket = up.home.path / "run" / "redis.sock"
    return subprocess.run(
        ["redis-cli", "-s", str(socket), *words], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_flushed_redis_loses_no_operation(
    up: Up, person: Person, engine: Dockerd, image: str, registry: Registry
) -> None:
    """Six pulls on a host that takes three at once: three run, three wait, and the broker forgets them all."""
    names = [f"gantry/flushed:{number}" for number in range(6)]
    for name in names:
        registry.push(busybox(layers=2, layer_size=300_000), name)
    with SlowRegistry(registry, bytes_per_second=200_000) as slow:
        pulls = [person.ask("/images/pull/", reference=slow.reference(name), hosts=[1]) for name in names]
        eventually(lambda: slow.bytes_sent > 100_000, timeout=30, what="pulls are under way")
        with person.socket("/ws/live?topics=containers") as live:
            watched(live)
            assert ask_redis(up, "FLUSHALL") == "OK"
            slow.release()
            eventually(up.is_whole, timeout=30, what="every part has said anew that it lives")
            name = unique("flushed")
            engine.run(image, "sleep", "1000", name=name)
            eventually(lambda: "containers" in changed(live), timeout=15, what="live updates are back")
        eventually(lambda: person.container(name), timeout=15, what="the mirror follows")
        eventually(lambda: all(map(person.is_finished, pulls)), timeout=60, what="all six have ended")
    assert [person.operation(pull).state for pull in pulls] == ["succeeded"] * 6


def test_a_redis_killed_over_and_over_is_waited_for(up: Up, person: Person, engine: Dockerd, image: str) -> None:
    """Each time the supervisor waits longer before it starts it again: 1, 2, 4, 8 s. What is asked for meanwhile
    is done afterwards, by the same worker."""
    worker = up.pids("worker")
    asked = []
    for round_ in range(4):
        up.kill("redis")
        eventually(lambda: not up.is_whole(), what="it is missed")
        asked.append(person.run(1, image, unique(f"round{round_}"), "sleep 1000"))
        eventually(lambda: up.pids("redis"), timeout=30, what="it is started again")
    eventually(up.is_whole, timeout=60, what="all parts are back")
    eventually(lambda: all(map(person.is_finished, asked)), timeout=60, what="what was asked for is done")
    assert [person.operation(each).state for each in asked] == ["succeeded"] * 4
    assert up.pids("worker") == worker, "the worker itself has found it again"
    with person.socket("/ws/live?topics=containers") as live:
        watched(live)
        engine.run(image, "sleep", "1000", name=unique("after"))
        eventually(lambda: "containers" in changed(live), timeout=15, what="pages hear of changes again")
    engine.remove_containers()


def test_a_page_misses_nothing_that_happened_while_redis_was_away(
    up: Up, person: Person, engine: Dockerd, image: str
) -> None:
    """The fact that a container came was told to nobody: the open page is sent to connect anew, and fetches all."""
    name = unique("unheard")
    with person.socket("/ws/live?topics=containers") as live:
        watched(live)
        up.kill("redis")
        engine.run(image, "sleep", "1000", name=name)
        eventually(lambda: person.container(name), timeout=20, what="the mirror follows without Redis")
        eventually(lambda: sent_away(live), timeout=30, what="the page is told")
    engine.remove_containers()


def sent_away(live: ClientConnection) -> bool:
    """Whether the socket was closed as by a service that restarts."""
    try:
        live.recv(timeout=1)
    except TimeoutError:
        return False
    except ConnectionClosed as exc:
        return exc.rcvd is not None and exc.rcvd.code == 1012
    return False


def test_a_redis_that_stays_away_is_waited_for(engine: Dockerd, image: str, tmp_path: Path) -> None:
    """Away until Celery's worker has tried three times, which takes it twelve seconds and more each time after.

    It is a Redis of somebody else's, which Gantry's supervisor does not start again.
    """
    with (
        RedisServer(tmp_path / "redis.sock") as redis,
        Up("--engine", f"unix://{engine.socket}", REDIS_URL=redis.url) as up,
    ):
        person = Person(up)
        eventually(lambda: person.host_state(1) == "connected", timeout=30)
        worker, name = up.pids("worker"), unique("away")
        redis.kill()
        operation = person.run(1, image, name, "sleep 1000")
        eventually(lambda: TRIED in up.output, timeout=60, what="the worker has tried again and again")
        assert "<main" in person.get("/containers/"), "pages go on"
        assert person.operation(operation).state == "queued"
        redis.start()
        began = time.monotonic()
        eventually(lambda: person.is_finished(operation), timeout=60, what="it is done")
        print(f"\ndone {time.monotonic() - began:.1f} s after Redis is back")
        assert person.operation(operation).state == "succeeded"
        assert up.pids("worker") == worker
        eventually(up.is_whole, timeout=30)
    engine.remove_containers()


def watched(live: ClientConnection) -> None:
    assert json.loads(live.recv(timeout=10)) == {"watching": ["containers"]}


def changed(live: ClientConnection) -> list[str]:
    try:
        return list(json.loads(live.recv(timeout=2)).get("changed", []))
    except TimeoutError:
        return []
