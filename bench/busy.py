"""Exec while the engine is busy: `true` run in a container over and over, first at rest, then while a 1 GB image is
pulled from a registry on loopback. Docker and the native engine in turns."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench import _image
from bench.figures import Figure, Ratio, Result
from bench.lifecycle import IMAGE, PAUSE, WARM_UP, Client, held, run_exec
from bench.pull import drop_caches
from tests.support.engines import Dockerd, EngineProcess, Native
from tests.support.images import busybox, busybox_why_not
from tests.support.registry import Registry

ROUNDS = int(os.environ.get("GANTRY_BENCH_ROUNDS", "3"))
AT_REST = 25  # execs a round
NAME = "gantry/large:1"
TARGET = 1.0  # of Docker's median
LAYERS = 8
PULL_TIMEOUT = 300.0  # seconds


def why_not() -> str:
    """Empty when everything is here."""
    reasons = (kind.why_not() for kind in (Dockerd, Native))
    return next(filter(None, (*reasons, Registry.why_not(), busybox_why_not(), _image.why_not_large())), "")


def run() -> Result:
    """Both engines, at rest and busy."""
    image = _image.large()
    size = sum(layer.stat().st_size for layer in image.layers)
    result = Result(
        f"exec while an image of {LAYERS} layers, {size / 1e9:.2f} GB, is pulled over loopback",
        f"{ROUNDS} rounds, engines in turn; {AT_REST} execs at rest, then execs until the pull has ended, {PAUSE} s of"
        f" rest before each; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
    )
    with Registry() as registry, Dockerd() as docker, Native() as native:
        reference = image.serve(registry, NAME)
        engines = (docker, native)
        archive = busybox().archive(IMAGE)
        for engine in engines:
            engine.load(archive)
        clients = {engine.kind: Client(engine.socket) for engine in engines}
        samples: dict[str, list[float]] = {}
        with held(clients) as containers:
            for _ in range(ROUNDS):
                for engine in engines:
                    client = clients[engine.kind]
                    _round(engine, reference, lambda: run_exec(client, containers[id(client)]), samples)  # noqa: B023
    result.figures += [Figure(name, "s" if "took" in name else "ms", values) for name, values in samples.items()]
    _judge(result)
    return result


def _round(
    engine: EngineProcess, reference: str, run_once: Callable[[], float], samples: dict[str, list[float]]
) -> None:
    """One engine's execs at rest and beside one pull; the image is removed afterwards."""
    at_rest, busy, took = (
        samples.setdefault(f"{what}, {engine.kind}", [])
        for what in ("exec at rest", "exec during the pull", "the pull took")
    )
    drop_caches()
    for number in range(WARM_UP + AT_REST):
        time.sleep(PAUSE)
        milliseconds = run_once()
        if number >= WARM_UP:
            at_rest.append(milliseconds)
    with _pulling(engine, reference, took) as ended:
        while not ended.wait(PAUSE):
            milliseconds = run_once()
            if not ended.is_set():
                busy.append(milliseconds)
    engine.expect("DELETE", f"/images/{reference}", force="true", timeout=PULL_TIMEOUT)


@contextmanager
def _pulling(engine: EngineProcess, reference: str, took: list[float]) -> Iterator[threading.Event]:
    """Pull in a thread; the event is set at its end. Raises RuntimeError when not every layer came."""
    ended, said = threading.Event(), [""]

    def pull() -> None:
        begun = time.perf_counter()
        try:
            said[0] = str(engine.request("POST", "/images/create", fromImage=reference, timeout=PULL_TIMEOUT)[1])
            took.append(time.perf_counter() - begun)
        finally:
            ended.set()

    thread = threading.Thread(target=pull)
    thread.start()
    try:
        yield ended
    finally:
        thread.join()
    if said[0].count("Pull complete") < LAYERS:
        raise RuntimeError(f"{engine.kind} did not pull every layer: {said[0][-500:]}")


def _judge(result: Result) -> None:
    medians = {figure.name: figure.median for figure in result.figures}
    for what, target in (("exec at rest", None), ("exec during the pull", TARGET)):
        ratio = medians[f"{what}, native"] / medians[f"{what}, docker"]
        wanted = f"at most {target}" if target else ""
        result.ratios.append(Ratio(f"{what}, native to docker", ratio, wanted, ratio <= target if target else None))


if __name__ == "__main__":
    found = run()
    print(found.as_text() if "--json" not in sys.argv else json.dumps(found.as_json()))
