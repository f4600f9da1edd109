"""Builds on Docker's classic builder, buildah and the native engine in turns: cold, cached, with one file changed; and
how much memory Docker and the native engine take for a small context and for a large one."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.figures import Figure, Ratio, Result
from tests.support.engines import Dockerd, EngineProcess, Native
from tests.support.images import busybox, busybox_why_not
from tests.support.unixhttp import UnixConnection

ROUNDS = int(os.environ.get("GANTRY_BENCH_ROUNDS", "5"))
WARM_UP = 1
PAUSE = 0.2  # seconds before each measurement
BASE = "gantry/busybox:1"
NAME = "gantry/built:1"
FILES, FOLDERS = 2000, 40
SEED = 20261201
TARGETS = {  # of Docker's median
    "cold": 0.6,
    "cached": 1.0,
    "small COPY changed": 0.7,
    "large COPY changed": 0.7,
}
SMALL, LARGE = 50, 1024  # MB of a context
GROWTH = 1.25  # of memory, from the small context to the large one
SAMPLING = 0.02  # seconds
CHUNK = 1 << 20  # bytes
TIMEOUT = 300.0  # seconds

# A plain service: what seldom changes first, the program's few files last.
SERVICE = f"""\
FROM {BASE}
ENV LANG=C.UTF-8
WORKDIR /srv
COPY files /srv/files
RUN mkdir -p /srv/cache && for n in $(seq 100); do echo "line $n" > /srv/cache/$n; done
RUN find /srv/files -type f | sort > /srv/index
ENV MODE=production PORT=8000
RUN dd if=/dev/zero of=/srv/zeros bs=64k count=64 2>/dev/null
RUN rm -r /srv/files/0 && echo "done" > /srv/state
EXPOSE 8000
COPY app /srv/app
CMD ["/bin/sh"]
"""
# The whole context last, as most Dockerfiles have it.
WHOLE = f"""\
FROM {BASE}
WORKDIR /srv
RUN echo "ready" > /srv/state
COPY files /srv/files
"""
MEMORY = f"FROM {BASE}\nCOPY files /files\n"

Builder = Callable[[Path, bool], None]
"""Builds what a tar holds; the flag says whether the cache may be used. Raises RuntimeError."""


def why_not() -> str:
    """Empty when everything is here; buildah may be missing."""
    return next((reason for reason in (Dockerd.why_not(), Native.why_not(), busybox_why_not()) if reason), "")


def run() -> Result:
    """Times, then memory."""
    pacing = (
        f"{ROUNDS} rounds after {WARM_UP}; builders take turns, {PAUSE} s of rest before each; every round a context"
        f" of its own; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    if not shutil.which("buildah"):
        pacing += "; without buildah: it is not installed"
    result = Result(f"build from a context of {FILES} files", pacing)
    folder = Path(tempfile.mkdtemp(prefix="gantry-bench-", dir="/var/tmp"))
    try:
        with Dockerd() as docker, Native() as native, _buildah(folder) as buildah:
            for engine in (docker, native):
                engine.load(busybox().archive(BASE))
            builders = {engine.kind: functools.partial(_post, engine) for engine in (docker, native)}
            _times(result, {**builders, **buildah}, folder)
        for kind in (Dockerd, Native):
            _memory(result, kind, folder)
    finally:
        shutil.rmtree(folder)
    _judge(result)
    return result


# Times


def _times(result: Result, builders: Mapping[str, Builder], folder: Path) -> None:
    samples: dict[str, list[float]] = {f"{what}, {kind}": [] for what in TARGETS for kind in builders}
    for number in range(ROUNDS + WARM_UP):
        steps = _steps(number, folder)
        for kind, build in builders.items():
            for what, (context, uses_cache) in steps.items():
                time.sleep(PAUSE)
                begun = time.perf_counter()
                build(context, uses_cache)
                if what in TARGETS and number >= WARM_UP:
                    samples[f"{what}, {kind}"].append((time.perf_counter() - begun) * 1000)
    result.figures += [Figure(name, "ms", values) for name, values in samples.items()]


def _steps(number: int, folder: Path) -> dict[str, tuple[Path, bool]]:
    """What one builder builds in a round, in order; those that are no measurement make the next one's cache."""
    files = _files(number)
    changed = {**files, "app/main.sh": b"echo changed\n"}
    more = {**files, "files/7/7": b"changed\n"}
    contexts = {
        "service": _write_context(folder / "service.tar", SERVICE, files),
        "service changed": _write_context(folder / "service-changed.tar", SERVICE, changed),
        "whole": _write_context(folder / "whole.tar", WHOLE, files),
        "whole changed": _write_context(folder / "whole-changed.tar", WHOLE, more),
    }
    return {
        "cold": (contexts["service"], False),
        "cached": (contexts["service"], True),
        "small COPY changed": (contexts["service changed"], True),
        "whole": (contexts["whole"], True),
        "large COPY changed": (contexts["whole changed"], True),
    }


def _files(number: int) -> dict[str, bytes]:
    """FILES files of 1 to 8 KB that compress as programs do, other ones in each round, and a program's five."""
    chance = random.Random(SEED + number)
    words = [chance.randbytes(4).hex().encode() for _ in range(2000)]
    found = {f"app/{name}.sh": b" ".join(chance.choices(words, k=100)) for name in ("main", "one", "two", "three")}
    for each in range(FILES):
        text = b" ".join(chance.choices(words, k=chance.randint(100, 900)))
        found[f"files/{each % FOLDERS}/{each // FOLDERS}"] = text
    return found


def _write_context(path: Path, dockerfile: str, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in {"Dockerfile": dockerfile.encode(), **files}.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), SEED
            archive.addfile(entry, io.BytesIO(content))
    return path


def _post(engine: EngineProcess, context: Path, uses_cache: bool) -> None:
    """POST /build with a tar from a file."""
    connection = UnixConnection(engine.socket, TIMEOUT)
    try:
        with context.open("rb") as body:
            headers = {"Content-Type": "application/x-tar", "Content-Length": str(context.stat().st_size)}
            path = f"/v1.40/build?t={NAME}&nocache={int(not uses_cache)}"
            connection.blocksize = CHUNK  # type: ignore[attr-defined]  # bytes read at a time
            connection.request("POST", path, body, headers)
            said = connection.getresponse().read()
    finally:
        connection.close()
    if b"Successfully tagged" not in said:
        raise RuntimeError(f"{engine.kind} did not build: {said[-500:]!r}")


@contextmanager
def _buildah(folder: Path) -> Iterator[dict[str, Builder]]:
    """buildah with images of its own, where it is installed."""
    if not shutil.which("buildah"):
        yield {}
        return
    command = ["buildah", f"--root={folder}/buildah", f"--runroot={folder}/buildah-run", "--storage-driver=overlay"]
    archive = folder / "base.tar"
    archive.write_bytes(busybox().archive(BASE))
    quiet = {"check": True, "capture_output": True}
    subprocess.run([*command, "pull", "--quiet", f"docker-archive:{archive}"], **quiet)  # type: ignore[call-overload]

    def build(context: Path, uses_cache: bool) -> None:
        options = ["--isolation=chroot", "--layers", "--pull-never", f"--tag={NAME}"]
        options += [] if uses_cache else ["--no-cache"]
        with context.open("rb") as body:
            done = subprocess.run([*command, "build", *options, "-"], stdin=body, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"buildah did not build: {done.stderr[-500:]!r}")

    try:
        yield {"buildah": build}
    finally:
        subprocess.run([*command, "rmi", "--all", "--force"], capture_output=True, check=False)


# Memory


def _memory(result: Result, kind: type[EngineProcess], folder: Path) -> None:
    """The most memory an engine has while it builds, on an engine that has built nothing yet."""
    with kind() as engine:
        engine.load(busybox().archive(BASE))
        for size in (SMALL, LARGE):
            context = _large_context(folder / "large.tar", size)
            with _watched(engine) as peak:
                _post(engine, context, False)
            result.figures += [
                Figure(f"peak of the {who}, {size} MB context, {kind.kind}", "MB", [most]) for who, most in peak.items()
            ]


def _large_context(path: Path, size: int) -> Path:
    """A context of `size` MB in files of 1 MB that do not compress."""
    block = random.Random(SEED).randbytes(CHUNK)
    with tarfile.open(path, "w") as archive:
        for number in range(-1, size):
            name, content = ("Dockerfile", MEMORY.encode()) if number < 0 else (f"files/{number}", block)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@contextmanager
def _watched(engine: EngineProcess) -> Iterator[dict[str, float]]:
    """The most memory meanwhile, in MB: of the engine itself as the kernel says (VmHWM), and of the processes it has
    started, their proportional sum looked at every SAMPLING seconds."""
    assert engine.process is not None
    own = Path(f"/proc/{engine.process.pid}")
    (own / "clear_refs").write_text("5")  # proc(5): resets VmHWM
    peak = {"engine": 0.0, "helpers": 0.0}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(SAMPLING):
            peak["helpers"] = max(peak["helpers"], sum(map(_proportional, _descendants(own.name))))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
        peak["engine"] = _field(own / "status", "VmHWM:")


def _descendants(pid: str) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                yield child
                yield from _descendants(child)


def _proportional(pid: str) -> float:
    try:
        return _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")
    except (OSError, StopIteration):  # it has ended
        return 0.0


def _field(path: Path, name: str) -> float:
    return next(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(name)) / 1024


def _judge(result: Result) -> None:
    medians = {figure.name: figure.median for figure in result.figures}
    for name, target in TARGETS.items():
        ratio = medians[f"{name}, native"] / medians[f"{name}, docker"]
        result.ratios.append(Ratio(f"{name}, native to docker", ratio, f"at most {target}", ratio <= target))
    # Together: what one engine does itself another leaves to a process, and looking misses helpers of short life.
    small, large = (
        sum(medians[f"peak of the {who}, {size} MB context, native"] for who in ("engine", "helpers"))
        for size in (SMALL, LARGE)
    )
    name = f"peak of engine and helpers, native, {LARGE} MB context to {SMALL}"
    result.ratios.append(Ratio(name, large / small, f"at most {GROWTH}", large / small <= GROWTH))


if __name__ == "__main__":
    found = run()
    print(json.dumps(found.as_json()) if os.environ.get("JSON") else found.as_text())
