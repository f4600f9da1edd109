"""The whole engine killed at random moments of load, pull, commit and remove: it opens whole, everything it lists runs,
and nothing is left on the machine."""

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.conftest import need
from tests.support.counts import count
from tests.support.engines import Native
from tests.support.images import busybox, busybox_why_not
from tests.support.registry import Registry
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.registry, pytest.mark.timeout(count(180, 3600))]
ROUNDS = count(8, 300)
LONGEST = 0.4  # seconds of work before the kill


def check(engine: Native) -> str:
    program = Path(sys.executable).with_name("gantry-agent")
    command = [str(program), "engine", "check", "--root", str(engine.root)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def mounts_below(folder: Path) -> list[str]:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{folder}/")]


def work(engine: Native, what: Callable[[], object], seconds: float) -> None:
    """Begin `what` and kill the engine so many seconds later."""

    def quietly() -> None:
        try:
            what()
        except (OSError, RuntimeError, HTTPException):
            pass  # its engine was killed

    doing = threading.Thread(target=quietly)
    doing.start()
    time.sleep(seconds)  # the moment is what is random here
    engine.kill()
    doing.join()


def test_an_engine_killed_at_any_moment_comes_back_whole(registry: Registry) -> None:
    need(Native.why_not(), busybox_why_not())
    base, loaded, pulled = (busybox(layers=number, layer_size=3_000_000) for number in (0, 4, 5))
    reference, archive = registry.push(pulled, "gantry/killed:1"), loaded.archive("loaded:1")
    chance = random.Random(7)
    with Native() as engine:
        engine.load(base.archive("base:1"))
        container = engine.run(
            "base:1", "sh", "-c", "echo x > /changed; sleep 1000", HostConfig={"NetworkMode": "none"}
        )
        kinds: list[Callable[[], object]] = [
            lambda: engine.load(archive),
            lambda: engine.cli("pull", "-q", reference),
            lambda: engine.expect("POST", f"/commit?container={container}&repo=made&tag=1"),
            lambda: engine.cli("rmi", "-f", "loaded:1", reference, "made:1"),
        ]
        for number in range(ROUNDS):
            work(engine, kinds[number % len(kinds)], chance.uniform(0, LONGEST))
            engine.start()
            assert check(engine).startswith(f"{engine.root} is whole."), engine.log.read_text()[-2000:]
            eventually(lambda: not list((engine.root / "tmp").iterdir()), what="temporary files go")
            names = {name for image in engine.expect("GET", "/images/json") for name in image["RepoTags"]}
            assert "base:1" in names
            for name in sorted(names):
                assert engine.cli("run", "--rm", "--network=none", name, "echo", "runs") == "runs\n"
            assert engine.expect("GET", f"/containers/{container}/json")["State"]["Running"]
            assert len(mounts_below(engine.root)) == 1, "the root of the one container"
        for what in kinds[:3]:
            what()
        engine.expect("DELETE", f"/containers/{container}", force="true")
        engine.expect("POST", "/images/prune", filters='{"dangling": ["false"]}')
        eventually(lambda: not list((engine.root / "tmp").iterdir()), what="temporary files go")
        for folder in ("blobs/sha256", "layers", "l", "containers"):
            assert list((engine.root / folder).iterdir()) == [], folder
        assert mounts_below(engine.root) == []
        for folder in ("netns", "exits", "sockets"):
            assert list((engine.run_folder / folder).iterdir()) == [], folder
