"""Ctrl-C in the middle of work, or a kill of everything: the next start keeps what was there and settles the rest."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import need
from tests.faults.person import Person
from tests.support.engines import Dockerd, unique
from tests.support.images import TestImage, busybox
from tests.support.redis import RedisServer
from tests.support.registry import Registry, SlowRegistry
from tests.support.up import Up
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.docker, pytest.mark.registry, pytest.mark.timeout(240)]

PARTS = ("redis", "web", "worker", "beat", "watch", "gateway", "agent")


@pytest.mark.parametrize("how", ["ctrl-c", "kill -9"])
def test_a_second_start_keeps_the_data_and_settles_what_was_interrupted(
    how: str, registry: Registry, busybox_archive: TestImage, busybox_image: str
) -> None:
    need(RedisServer.why_not(), Dockerd.why_not())
    registry.push(busybox(layers=3, layer_size=400_000), "gantry/interrupted:1")
    with (
        Dockerd() as engine,
        SlowRegistry(registry, bytes_per_second=50_000) as slow,
        Up("--engine", f"unix://{engine.socket}") as up,
    ):
        engine.load(busybox_archive.archive(busybox_image))
        person = Person(up)
        eventually(lambda: person.host_state(1) == "connected", timeout=30)
        stays, stops = unique("stays"), unique("stops")
        engine.run(busybox_image, "sleep", "1000", name=stays)
        engine.run(busybox_image, "sh", "-c", 'trap "echo asked" TERM; while :; do sleep 0.1; done', name=stops)
        stops_pk = eventually(lambda: person.container(stays) and person.running(stops), timeout=20)
        pull = person.ask("/images/pull/", reference=slow.reference("gantry/interrupted:1"), hosts=[1])
        eventually(lambda: slow.bytes_sent > 50_000, timeout=30, what="the pull is under way")
        stop = person.ask("/containers/do/stop/", ids=[stops_pk])
        eventually(lambda: person.operation(stop).state == "running", timeout=20, what="the stop is under way")
        eventually(lambda: "asked" in engine.cli("logs", stops), what="and its engine knows of it")

        pids = [pid for part in PARTS for pid in up.pids(part)]
        end(up, how)
        eventually(lambda: not [pid for pid in pids if alive(pid)], timeout=20, what="no process is left")
        slow.release()
        engine.cli("rm", "-f", stays)

        up.start()
        assert "/setup/" not in up.output, "there is an administrator already"
        assert "Enrolled" not in up.output, "this machine is a host already"
        assert "Overview" in person.get("/"), "and the session goes on"
        eventually(lambda: person.host_state(1) == "connected", timeout=30)
        for operation in (pull, stop):
            eventually(lambda operation=operation: person.is_finished(operation), timeout=60)
            row = person.operation(operation)
            assert row.state == "succeeded" or row.error, row
        if how == "kill -9":  # an orderly end has told them, and is free to fail them with its reason
            assert [person.operation(each).state for each in (pull, stop)] == ["succeeded", "succeeded"]
        eventually(lambda: person.container(stops) == (stops_pk, "exited"), timeout=30)
        eventually(lambda: person.container(stays) is None, timeout=30)


def end(up: Up, how: str) -> None:
    """Stop it. With -9 only the supervisor is hit: its parts die with it."""
    assert up.process is not None
    if how == "ctrl-c":
        up.stop()
        assert "Stopped." in up.output
        return
    os.killpg(up.process.pid, signal.SIGKILL)
    up.process.wait()
    up.process = None


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
