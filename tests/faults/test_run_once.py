"""A worker killed between an effect and its note does not do it twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from containers.running import OPERATION_LABEL
from tests.fakes.engine import LyingEngine, answers, silent
from tests.faults.agents import joined
from tests.faults.person import Person
from tests.support.engines import Dockerd, unique
from tests.support.home import ROOT
from tests.support.up import Up
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.docker, pytest.mark.registry, pytest.mark.timeout(240)]

NOTHING = "\0"  # occurs in no path: a liar that lies about it lies no more


def made_by(engine: Dockerd, operation: int) -> list[dict[str, Any]]:
    """The containers that carry an operation's mark."""
    filters = json.dumps({"label": [OPERATION_LABEL]})
    found = engine.expect("GET", "/containers/json", all="true", filters=filters)
    return [each for each in found if each["Labels"][OPERATION_LABEL].startswith(f"{operation}.")]


@contextmanager
def second_worker(up: Up) -> Iterator[None]:
    """One more worker on the same home, as on a second machine."""
    command = [sys.executable, "-W", "ignore", "-m", "celery", "--quiet", "-A", "controlplane", "worker"]
    command += ["--pool", "threads", "--concurrency", "4", "--hostname", "second@%h"]
    with (up.home.path / "second-worker.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=up.home.environment(), stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("named", [True, False], ids=["named", "nameless"])
def test_a_worker_killed_right_after_the_create_makes_no_second_container(
    named: bool, up: Up, person: Person, engine: Dockerd, image: str
) -> None:
    """The engine never answers `start`, so that the worker dies between the two calls."""
    with (
        LyingEngine(silent, about="/start", truth=engine.socket) as liar,
        joined(up, unique("host"), liar.socket) as agent,
    ):
        eventually(lambda: person.host_state(agent.host) == "connected", timeout=30)
        operation = person.run(agent.host, image, unique() if named else "", "sleep 1000")
        eventually(lambda: liar.lies, timeout=30, what="it is created and about to be started")
        up.kill("worker")
        liar.about = NOTHING
        eventually(lambda: person.is_finished(operation), timeout=60, what="the operation is settled")
        row = person.operation(operation)
        assert (row.state, row.attempt) == ("succeeded", 2), row
        made = made_by(engine, operation)
        assert [entry["State"] for entry in made] == ["running"]
    engine.remove_containers()


def test_a_worker_that_was_only_stopped_writes_nothing_when_it_wakes(
    up: Up, person: Person, engine: Dockerd, image: str
) -> None:
    """SIGSTOP looks like death: another takes over; the sleeper wakes and finds that it is its turn no more."""
    with (
        LyingEngine(silent, about="/start", truth=engine.socket) as liar,
        joined(up, unique("host"), liar.socket) as agent,
    ):
        eventually(lambda: person.host_state(agent.host) == "connected", timeout=30)
        operation = person.run(agent.host, image, "", "sleep 1000")
        eventually(lambda: liar.lies, timeout=30, what="it is created and about to be started")
        asleep = up.pids("worker")
        for pid in asleep:
            os.kill(pid, signal.SIGSTOP)
        try:
            liar.about = NOTHING
            with second_worker(up):
                eventually(lambda: person.is_finished(operation), timeout=60, what="another has done it")
        finally:
            for pid in asleep:
                os.kill(pid, signal.SIGCONT)
        eventually(up.is_whole, timeout=30)
        assert person.operation(operation).state == "succeeded"
        assert len(made_by(engine, operation)) == 1
    engine.remove_containers()


def test_a_worker_that_slept_before_the_create_makes_no_second_container(
    up: Up, person: Person, engine: Dockerd, image: str
) -> None:
    """It wakes with the answer it waited for in its hand, and the next call would be the create."""
    answered = threading.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.to_thread(answered.wait, 120)
        await answers({"Id": "sha256:0"})(reader, writer)

    with (
        LyingEngine(late, about="/images/127", truth=engine.socket) as liar,
        joined(up, unique("host"), liar.socket) as agent,
    ):
        eventually(lambda: person.host_state(agent.host) == "connected", timeout=30)
        operation = person.run(agent.host, image, "", "sleep 1000")
        eventually(lambda: liar.lies, timeout=30, what="it asks whether the image is there")
        asleep = up.pids("worker")
        for pid in asleep:
            os.kill(pid, signal.SIGSTOP)
        try:
            liar.about = NOTHING
            with second_worker(up):
                eventually(lambda: person.is_finished(operation), timeout=60, what="another has done it")
        finally:
            answered.set()
            for pid in asleep:
                os.kill(pid, signal.SIGCONT)
        taken_over = f"operation {operation} was taken over while it ran here"
        eventually(lambda: taken_over in up.output, timeout=30, what="the sleeper has seen that it is not its turn")
        assert len(made_by(engine, operation)) == 1
    engine.remove_containers()
