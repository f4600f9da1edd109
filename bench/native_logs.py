"""Reading 200,000 lines of a log at once: Docker, Podman and the native engine, in turn."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable

from bench.figures import Figure, Ratio, Result
from tests.support.engines import Dockerd, EngineProcess, Native, Podman
from tests.support.images import busybox, busybox_why_not
from tests.support.unixhttp import UnixConnection

LINES = 200_000
WIDTH = 100  # bytes of a line, the newline included
ROUNDS = 7
WANTED = 0.30
IMAGE = "gantry/busybox:1"
PIECE = 1 << 20


def why_not() -> str:
    """What this machine lacks for it."""
    return Dockerd.why_not() or Podman.why_not() or Native.why_not() or busybox_why_not()


def run() -> Result:
    result = Result(
        title=f"logs: {LINES:,} lines of {WIDTH} bytes, GET /containers/ID/logs?stdout=1, {ROUNDS} rounds",
        pacing="in turn: docker, podman, native; no pause; each container has ended before",
    )
    archive = busybox().archive(IMAGE)
    with contextlib.ExitStack() as stack:
        engines: list[EngineProcess] = [stack.enter_context(kind()) for kind in (Dockerd, Podman, Native)]
        containers = [_written(engine, archive) for engine in engines]
        for query in ("stdout=1", "stdout=1&timestamps=1"):
            samples: list[list[float]] = [[] for _ in engines]
            for _ in range(ROUNDS):
                for engine, container, found in zip(engines, containers, samples, strict=True):
                    found.append(_timed(lambda: _read(engine, container, query)))  # noqa: B023  called at once
            figures = [
                Figure(f"{engine.kind}, {query}", "ms", [1000 * each for each in found])
                for engine, found in zip(engines, samples, strict=True)
            ]
            result.figures += figures
            share = figures[-1].median / figures[0].median
            result.ratios.append(Ratio(f"native to docker, {query}", share, f"at most {WANTED}", share <= WANTED))
    return result


def _written(engine: EngineProcess, archive: bytes) -> str:
    """A container that has written all its lines and ended."""
    engine.load(archive)
    script = f"yes {'x' * (WIDTH - 1)} | head -n {LINES}"
    container = engine.run(IMAGE, "sh", "-c", script, HostConfig={"NetworkMode": "none"})
    engine.expect("POST", f"/containers/{container}/wait")
    return container


def _read(engine: EngineProcess, container: str, query: str) -> None:
    connection = UnixConnection(engine.socket, 60)
    try:
        connection.request("GET", f"/containers/{container}/logs?{query}")
        response = connection.getresponse()
        count = 0
        while data := response.read1(PIECE):
            count += len(data)
    except http.client.HTTPException as exc:
        raise RuntimeError(f"{engine.kind}: {exc}") from exc
    finally:
        connection.close()
    assert count >= LINES * (WIDTH + 8), f"{engine.kind}: only {count} bytes"


def _timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
