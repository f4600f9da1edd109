"""What the next engine finds of one that was killed: the dead with their codes, the half-made, the half-removed."""

import contextlib
import http.client
import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.cgroups import groups_of
from tests.support.engines import Native
from tests.support.images import busybox
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(Native.why_not()), reason=Native.why_not() or "-")]
IMAGE = "gantry/busybox:1"


@pytest.fixture
def engine() -> Iterator[Native]:
    with Native() as native:
        native.load(busybox().archive(IMAGE))
        yield native


def run(engine: Native, script: str, **host: Any) -> str:
    return engine.run(IMAGE, "sh", "-c", script, HostConfig={"NetworkMode": "none", **host})


def inspect(engine: Native, container: str) -> dict[str, Any]:
    found: dict[str, Any] = engine.expect("GET", f"/containers/{container}/json")
    return found


def seconds(text: str) -> float:
    return datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00").timestamp()


def test_deaths_of_the_meantime_have_their_code_and_time(engine: Native) -> None:
    go = engine.folder / "go"
    script = "while [ ! -e /go/now ]; do sleep 0.05; done; exit"
    go.mkdir()
    made = [run(engine, f"{script} {code}", Binds=[f"{go}:/go"]) for code in (0, 7, 200)]
    engine.kill()
    (go / "now").touch()
    eventually(lambda: all((engine.run_folder / "exits" / each).exists() for each in made))
    ended = time.time()
    engine.start()
    states = [eventually(lambda each=each: ended_state(engine, each)) for each in made]
    assert [state["ExitCode"] for state in states] == [0, 7, 200]
    assert all(seconds(state["FinishedAt"]) <= ended for state in states)


def ended_state(engine: Native, container: str) -> dict[str, Any] | None:
    state: dict[str, Any] = inspect(engine, container)["State"]
    return state if state["Status"] == "exited" else None


def test_policies_and_auto_removal_hold_for_deaths_of_the_meantime(engine: Native) -> None:
    again = run(engine, "sleep 1000", RestartPolicy={"Name": "on-failure"})
    gone = run(engine, "sleep 1000", AutoRemove=True)
    pids = {each: inspect(engine, each)["State"]["Pid"] for each in (again, gone)}
    engine.kill()
    for pid in pids.values():
        os.kill(pid, 9)
    eventually(lambda: all((engine.run_folder / "exits" / each).exists() for each in pids))
    engine.start()
    eventually(lambda: inspect(engine, again)["State"]["Running"] and inspect(engine, again)["RestartCount"] == 1)
    eventually(lambda: inspect(engine, again)["State"]["Pid"] not in (0, pids[again]))
    eventually(lambda: engine.request("GET", f"/containers/{gone}/json")[0] == 404)


def test_a_paused_container_stays_paused(engine: Native) -> None:
    container = run(engine, "sleep 1000")
    engine.expect("POST", f"/containers/{container}/pause")
    engine.kill()
    engine.start()
    assert inspect(engine, container)["State"]["Status"] == "paused"
    engine.expect("POST", f"/containers/{container}/unpause")
    engine.expect("POST", f"/containers/{container}/stop", t=0)
    assert inspect(engine, container)["State"]["ExitCode"] == 137


def test_a_removal_that_was_begun_is_finished(engine: Native) -> None:
    container = run(engine, "true")
    engine.expect("POST", f"/containers/{container}/wait")
    engine.stop()
    with sqlite3.connect(engine.root / "engine.sqlite3") as database:
        database.execute("UPDATE containers SET data = replace(data, '\"exited\"', '\"removing\"')")
    database.close()
    engine.start()
    eventually(lambda: engine.request("GET", f"/containers/{container}/json")[0] == 404)
    assert not (engine.root / "containers" / container).exists()


def test_a_removal_that_is_finished_later_takes_the_volumes_that_were_to_go(engine: Native) -> None:
    made = [engine.run(IMAGE, "true", HostConfig={"NetworkMode": "none"}, Volumes={"/v": {}}) for _ in range(2)]
    volumes = [inspect(engine, each)["Mounts"][0]["Name"] for each in made]
    for container in made:
        engine.expect("POST", f"/containers/{container}/wait")
    tmp = engine.root / "tmp"
    kept = tmp.rename(engine.root / "kept")
    tmp.touch()  # no removal comes to its end
    for container, takes in zip(made, ("true", "false"), strict=True):
        assert engine.request("DELETE", f"/containers/{container}", v=takes)[0] == 500
    engine.kill()
    tmp.unlink()
    kept.rename(tmp)
    engine.start()
    assert all(engine.request("GET", f"/containers/{each}/json")[0] == 404 for each in made)
    assert [engine.request("GET", f"/volumes/{each}")[0] for each in volumes] == [404, 200]


def test_a_container_paused_for_a_commit_goes_on_when_the_engine_is_killed(engine: Native) -> None:
    container = run(engine, "dd if=/dev/urandom of=/big bs=1M count=200 2>&1; touch /done; exec sleep 1000")
    eventually(lambda: engine.request("HEAD", f"/containers/{container}/archive?path=/done")[0] == 200)
    worker = threading.Thread(target=commit, args=(engine, container))
    worker.start()
    eventually(lambda: inspect(engine, container)["State"]["Paused"])
    engine.kill()
    worker.join()
    engine.start()
    assert inspect(engine, container)["State"]["Status"] == "running"
    engine.expect("POST", f"/containers/{container}/stop", t=0)
    assert inspect(engine, container)["State"]["ExitCode"] == 137


def commit(engine: Native, container: str) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):  # the engine is killed meanwhile
        engine.request("POST", "/commit", container=container)


def test_a_folder_without_a_row_goes(engine: Native) -> None:
    engine.stop()
    stranger = engine.root / "containers" / ("ab" * 32)
    (stranger / "upper").mkdir(parents=True)
    engine.start()
    eventually(lambda: not stranger.exists())


def test_killed_at_any_moment_of_a_containers_life_it_leaves_nothing_behind(engine: Native) -> None:
    """Create, start, wait and remove, while the engine is killed at random moments."""
    random.seed(3)
    made: set[str] = set()
    for _ in range(8):
        worker = threading.Thread(target=whole_life, args=(engine, made))
        worker.start()
        threading.Event().wait(random.uniform(0.0, 0.15))
        engine.kill()
        worker.join()
        engine.start()
        for each in engine.expect("GET", "/containers/json", all="true"):
            made.add(each["Id"])
            assert each["State"] in ("created", "running", "exited")
    engine.remove_containers()
    eventually(lambda: not list((engine.root / "containers").iterdir()))
    eventually(lambda: str(engine.root / "containers") not in Path("/proc/self/mountinfo").read_text())
    assert not list((engine.run_folder / "runtime").iterdir())
    assert not [path for each in made for path in groups_of(each)]
    assert not list((engine.run_folder / "netns").iterdir())
    eventually(lambda: not processes_of(engine), what="no process is left")


def whole_life(engine: Native, every: set[str]) -> None:
    try:
        made = engine.expect("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["sleep", "0.02"]})["Id"]
        every.add(made)
        engine.expect("POST", f"/containers/{made}/start")
        engine.expect("POST", f"/containers/{made}/wait")
        engine.expect("DELETE", f"/containers/{made}")
    except (OSError, RuntimeError, ValueError, http.client.HTTPException):
        pass  # the engine was killed: that is the point


def processes_of(engine: Native) -> list[str]:
    """conmons and containers of this engine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "conmon" in text and str(engine.root) in text:
            found.append(text)
    return found
