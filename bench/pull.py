"""Pull of the realistic image from a registry on loopback: Docker, Podman and the native engine in turns, and how long
each lets a ping wait meanwhile; and one layer after the other unpacked by GNU tar and by the native engine."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import _image
from bench.figures import Figure, Ratio, Result
from tests.support.engines import Dockerd, EngineProcess, Native, Podman
from tests.support.registry import Registry

ROUNDS = int(os.environ.get("GANTRY_BENCH_ROUNDS", "5"))
NAME = "gantry/realistic:1"
TARGET = 0.40  # of Docker's median
UNPACK_TARGET = 1.0  # of GNU tar's, which gets the tars unpacked by pigz or gzip on the other core
PING = 0.02  # seconds between two pings
LAYERS = 8
CHUNK = 1 << 20  # bytes
MEMORY = "/dev/shm"  # a tmpfs


def why_not() -> str:
    """Empty when everything is here."""
    reasons = [kind.why_not() for kind in (Dockerd, Podman, Native)]
    return next((reason for reason in (*reasons, Registry.why_not(), _image.why_not()) if reason), "")


def run() -> Result:
    """Both comparisons."""
    image = _image.realistic()
    result = Result(
        "pull of 8 gzip layers over loopback; unpack of the same layers",
        f"{ROUNDS} rounds; each engine in turn pulls once, after its image was removed and all caches dropped",
    )
    with Registry() as registry, Dockerd() as docker, Podman() as podman, Native() as native:
        reference = image.serve(registry, NAME)
        samples: dict[str, list[float]] = {engine.kind: [] for engine in (docker, podman, native)}
        pings: dict[str, list[float]] = {kind: [] for kind in samples}
        for _ in range(ROUNDS):
            for engine in (docker, podman, native):
                with _pinging(engine, pings[engine.kind]):
                    samples[engine.kind].append(_pull(engine, reference))
                _remove(engine, reference)
    result.figures += [Figure(f"pull, {kind}", "s", values) for kind, values in samples.items()]
    result.figures += [Figure(f"ping during a pull, {kind}", "ms", values) for kind, values in pings.items()]
    _unpack(image, result)
    medians = {figure.name: figure.median for figure in result.figures}
    ratio = medians["pull, native"] / medians["pull, docker"]
    result.ratios.append(Ratio("pull, native to docker", ratio, f"at most {TARGET}", ratio <= TARGET))
    ratio = medians["unpack, native"] / medians["unpack, gzip | tar"]
    result.ratios.append(
        Ratio("unpack, native to gzip | tar", ratio, f"at most {UNPACK_TARGET}", ratio <= UNPACK_TARGET)
    )
    return result


@contextmanager
def _pinging(engine: EngineProcess, into: list[float]) -> Iterator[None]:
    """Ask the engine whether it is there every PING seconds; how long each answer took, in ms."""
    ended = threading.Event()

    def ping() -> None:
        while not ended.wait(PING):
            begun = time.perf_counter()
            engine.request("GET", "/_ping")
            into.append((time.perf_counter() - begun) * 1000)

    thread = threading.Thread(target=ping)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def drop_caches() -> None:
    """What was written is on the disk, and what was read must be read again."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def _pull(engine: EngineProcess, reference: str) -> float:
    drop_caches()
    begun = time.perf_counter()
    said = engine.request("POST", "/images/create", fromImage=reference, timeout=300.0)[1]
    took = time.perf_counter() - begun
    if str(said).count("Pull complete") < LAYERS:  # Podman says it in other words, and is asked for the image
        is_podman = engine.kind == "podman" and engine.request("GET", f"/images/{reference}/json")[0] == 200
        if not is_podman:
            raise RuntimeError(f"{engine.kind} did not pull every layer: {str(said)[-500:]}")
    return took


def _remove(engine: EngineProcess, reference: str) -> None:
    engine.expect("DELETE", f"/images/{reference}", force="true", timeout=300.0)


def _unpack(image: _image.Layered, result: Result) -> None:
    contestants: dict[str, Callable[[Path, Path], None]] = {"gzip | tar": _by_tar, "native": _by_native}
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, unpack in contestants.items():
            took = 0.0
            for layer in image.layers:
                folder = Path(tempfile.mkdtemp(dir=MEMORY))
                try:
                    layer.read_bytes()  # from memory to memory: the unpacking is measured, not the disk
                    begun = time.perf_counter()
                    unpack(layer, folder)
                    took += time.perf_counter() - begun
                finally:
                    shutil.rmtree(folder)
            samples[name].append(took)
    result.figures += [Figure(f"unpack, {name}", "s", values) for name, values in samples.items()]


def _by_tar(layer: Path, folder: Path) -> None:
    """Both cores are used: one by gzip, one by tar."""
    with layer.open("rb") as packed:
        plain = subprocess.Popen(["gzip", "-dc"], stdin=packed, stdout=subprocess.PIPE)
        subprocess.run(["tar", "--numeric-owner", "-xpf", "-", "-C", str(folder)], stdin=plain.stdout, check=True)
        plain.wait()


def _by_native(layer: Path, folder: Path) -> None:
    from gantry_agent.engine.layers.unpack import Unpacker

    async def work() -> None:
        async with Unpacker(folder) as unpacker:
            with layer.open("rb") as file:
                while chunk := file.read(CHUNK):
                    await unpacker.write(chunk)
            await unpacker.finish()

    asyncio.run(work())


if __name__ == "__main__":
    found = run()
    print(found.as_text() if "--json" not in sys.argv else json.dumps(found.as_json()))
