"""How soon a killed engine has taken its containers back: fifty of them, from `kill -9` to the next whole answer."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from bench.figures import Figure, Ratio, Result
from tests.support.engines import Native
from tests.support.images import busybox, busybox_why_not

CONTAINERS = 50
ROUNDS = 10
WANTED = 5.0  # seconds
IMAGE = "gantry/busybox:1"


def why_not() -> str:
    """What this machine lacks for it."""
    return Native.why_not() or busybox_why_not()


def run() -> Result:
    result = Result(
        title=f"taking back {CONTAINERS} running containers after kill -9, {ROUNDS} rounds",
        pacing="one after the other; the time includes Python's start and the first list of containers",
    )
    with Native() as engine:
        engine.load(busybox().archive(IMAGE))
        body = {"HostConfig": {"NetworkMode": "none"}}
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: engine.run(IMAGE, "sleep", "100000", **body), range(CONTAINERS)))
        samples = []
        for _ in range(ROUNDS):
            engine.kill()
            begun = time.perf_counter()
            engine.start()
            found = engine.expect("GET", "/containers/json")
            samples.append(time.perf_counter() - begun)
            if len(found) != CONTAINERS:
                raise RuntimeError(f"{len(found)} of {CONTAINERS} containers are there")
    result.figures.append(Figure("from the start to a whole list", "s", samples))
    slowest = max(samples)
    result.ratios.append(Ratio("slowest, in seconds", slowest, f"at most {WANTED:g}", slowest <= WANTED))
    return result
