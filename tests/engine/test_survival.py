"""Containers outlive the engine: killed twenty times, it takes all of them back, and no line of theirs is lost."""

import asyncio
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from hosts.engine import STDOUT, Engine, demultiplex
from tests.support.engines import Native
from tests.support.images import TestImage
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

CONTAINERS = 50
KILLS = 20
COUNTER = "i=0; while :; do echo $i; i=$((i+1)); usleep 50000; done"
IMAGE = "gantry/busybox:1"


@pytest.fixture
def native(busybox_archive: TestImage):
    if reason := Native.why_not():
        pytest.skip(reason)
    with Native() as engine:
        engine.load(busybox_archive.archive(IMAGE))
        yield engine


def start(engine: Native, script: str, **body: Any) -> str:
    host = {"NetworkMode": "none", **body.pop("HostConfig", {})}
    return engine.run(IMAGE, "sh", "-c", script, HostConfig=host, **body)


def inspect(engine: Native, container: str) -> dict[str, Any]:
    found: dict[str, Any] = engine.expect("GET", f"/containers/{container}/json")
    return found


async def log(engine: Native, container: str, query: str = "stdout=1&stderr=1") -> bytes:
    found = b""
    path = f"/containers/{container}/logs?{query}"
    async with Engine(engine.socket) as client, client.stream("GET", path, timeout=30) as response:
        async for number, piece in demultiplex(response.content):
            assert number == STDOUT
            found += piece
    return found


def seconds(text: str) -> float:
    """A time of the API, whole seconds since the epoch."""
    return datetime.fromisoformat(text[:19] + "+00:00").timestamp()


def start_times(pids: list[int]) -> list[str]:
    return [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19] for pid in pids]


def test_fifty_containers_through_twenty_kills(native: Native) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: start(native, COUNTER), range(CONTAINERS)))
    pids = [inspect(native, container)["State"]["Pid"] for container in made]
    born = start_times(pids)
    for _ in range(KILLS):
        native.kill()
        native.start()
        listed = native.expect("GET", "/containers/json")
        assert {each["Id"] for each in listed} == set(made)
    assert [inspect(native, container)["State"]["Pid"] for container in made] == pids
    assert start_times(pids) == born
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda container: native.expect("POST", f"/containers/{container}/kill"), made))
    for container in made:
        assert native.expect("POST", f"/containers/{container}/wait")["StatusCode"] == 137
        lines = asyncio.run(log(native, container)).split()
        assert lines == [b"%d" % number for number in range(len(lines))]
        assert len(lines) > KILLS


def test_it_stops_at_once_though_clients_follow(native: Native) -> None:
    """Its streams end with it, and the containers do not."""
    container = start(native, COUNTER)
    begun = [Path(native.folder / f"seen{number}") for number in range(3)]
    words = (["logs", "-f", container], ["attach", "--no-stdin", container], ["exec", container, "sh", "-c", COUNTER])
    clients = []
    for path, command in zip(begun, words, strict=True):
        with path.open("wb") as out:
            arguments = ["docker", "-H", f"unix://{native.socket}", *command]
            clients.append(subprocess.Popen(arguments, stdout=out, stderr=subprocess.DEVNULL))
    eventually(lambda: all(path.stat().st_size for path in begun), what="all of them read")
    native.stop()
    for client in clients:
        client.wait(5)
    native.start()
    assert inspect(native, container)["State"]["Running"]


def test_what_happened_while_it_was_away_is_known(native: Native, tmp_path: Path) -> None:
    shared = {"Binds": [f"{tmp_path}:/shared"]}
    wait = "while [ ! -e /shared/go ]; do usleep 10000; done"
    leaves = start(native, f"{wait}; exit 9", HostConfig=shared)
    comes_back = start(native, f"{wait}; exit 1", HostConfig={**shared, "RestartPolicy": {"Name": "always"}})
    goes = start(native, wait, HostConfig={**shared, "AutoRemove": True})
    native.kill()
    (tmp_path / "go").touch()
    exits = native.run_folder / "exits"
    eventually(lambda: {leaves, comes_back, goes} <= {entry.name for entry in exits.iterdir()}, what="all have ended")
    ended_before = time.time()
    native.start()
    state = inspect(native, leaves)["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 9)
    assert seconds(state["FinishedAt"]) <= ended_before
    eventually(lambda: inspect(native, comes_back)["RestartCount"] >= 1, what="the restart policy is kept")
    eventually(lambda: native.request("GET", f"/containers/{goes}/json")[0] == 404, what="it removes itself")


async def test_streams_health_and_execs_go_on(native: Native) -> None:
    check = {"Test": ["CMD-SHELL", "cat /ok"], "Interval": 50_000_000, "Retries": 1}
    container = start(native, "read x; echo got $x; read y", OpenStdin=True, Healthcheck=check)
    eventually(lambda: inspect(native, container)["State"]["Health"]["Status"] == "unhealthy")
    made = native.expect(
        "POST",
        f"/containers/{container}/exec",
        {"Cmd": ["sh", "-c", "while ! test -e /told; do usleep 20000; done; touch /ok; exit 6"]},
    )
    native.expect("POST", f"/exec/{made['Id']}/start", {"Detach": True})
    native.kill()
    native.start()
    native.cli("exec", container, "touch", "/told")
    eventually(lambda: native.expect("GET", f"/exec/{made['Id']}/json")["ExitCode"] == 6, what="the exec's exit code")
    eventually(lambda: inspect(native, container)["State"]["Health"]["Status"] == "healthy", what="checks go on")
    query = {"stream": True, "stdin": True, "stdout": True}
    async with (
        Engine(native.socket) as client,
        await client.hijack("POST", f"/containers/{container}/attach", None, **query) as stream,
    ):
        await stream.write(b"this\n")
        found = b""
        while b"got this\n" not in found:
            found += await asyncio.wait_for(stream.read(), 10)
