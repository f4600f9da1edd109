"""Following a log through the whole chain (engine, agent, gateway, web, WebSocket) beside `docker logs -f`.

1. The rate: a container has written LINES lines; each contestant reads them all with their times. They take turns.
2. The memory of web and gateway while one endless log passes, and of web and agent for 200 followed logs at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection, connect

from bench._chain import IMAGE, PARTS, Chain, chain, why_not
from bench.figures import Figure, Ratio, Result
from tests.support.engines import Dockerd

__all__ = ["run", "why_not"]

LINES = 300_000
TEXT = "2026-11-20 INFO request served in 12 ms by a handler of ordinary length, as logs have them"
ROUNDS = 5
STREAMS = 200
ENDLESS = 200 * 1024 * 1024
WANTED = 0.6
CONFIRM_EVERY = 256 * 1024
MEGABYTE = 1024 * 1024


def run() -> Result:
    result = Result(
        title=f"following logs: {LINES:,} lines of {len(TEXT) + 8} characters, {ROUNDS} rounds",
        pacing="in turn: direct, through Gantry; no pause; one engine, all processes on this machine",
    )
    with chain() as there:
        _rate(there, result)
        _memory(there, result)
        _many(there, result)
    return result


def _rate(there: Chain, result: Result) -> None:
    script = f"yes '{TEXT}' | head -n {LINES} | nl -w 7; echo done-here; sleep 100000"
    engine_id = there.engine.run(IMAGE, "sh", "-c", script, name="rate")
    while "done-here" not in there.engine.cli("logs", "--tail", "1", engine_id):
        time.sleep(0.2)
    address = there.address(engine_id, "logs?tail=all")
    direct, through = [], []
    for _ in range(ROUNDS):
        direct.append(LINES / _timed(lambda: _docker_logs(there.engine, engine_id)))
        through.append(LINES / _timed(lambda: asyncio.run(_read_until_done(address, there))))
    result.figures += [
        Figure("docker logs -f -t, on the host", "lines/s", direct),
        Figure("through Gantry", "lines/s", through),
    ]
    share = result.figures[-1].median / result.figures[-2].median
    result.ratios.append(Ratio("rate of docker logs -f", share, f"at least {WANTED}", share >= WANTED))
    there.engine.request("DELETE", f"/containers/{engine_id}", force="true")


def _memory(there: Chain, result: Result) -> None:
    """Resident memory while an endless log passes."""
    engine_id = there.engine.run(IMAGE, "yes", TEXT, name="endless")
    address = there.address(engine_id, "logs?tail=0")
    seen = [there.memory()]
    asyncio.run(_read_bytes(address, there, ENDLESS, lambda: seen.append(there.memory())))
    there.engine.request("DELETE", f"/containers/{engine_id}", force="true")
    for part in PARTS:
        grown = [(memory[part] - seen[0][part]) / MEGABYTE for memory in seen[1:]]
        result.figures.append(Figure(f"{part} grew while {ENDLESS // MEGABYTE} MB passed", "MB", grown))


def _many(there: Chain, result: Result) -> None:
    """STREAMS followed logs of one container that writes ten lines a second."""
    script = "while :; do echo tick $(date +%s); usleep 100000; done"
    engine_id = there.engine.run(IMAGE, "sh", "-c", script, name="many")
    address = there.address(engine_id, "logs?tail=10")
    before = there.memory()
    opened, after = asyncio.run(_follow_many(address, there))
    for part in PARTS:
        each = (after[part] - before[part]) / STREAMS / 1024
        result.figures.append(Figure(f"{part}, each of {STREAMS} streams", "kB", [each]))
    result.figures.append(Figure(f"until lines have reached all {STREAMS}", "s", [opened]))
    there.engine.request("DELETE", f"/containers/{engine_id}", force="true")


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _docker_logs(engine: Dockerd, engine_id: str) -> None:
    """`docker logs -f -t` until the last line, read in large pieces as the other contestant is."""
    command = ["docker", "-H", f"unix://{engine.socket}", "logs", "-f", "-t", engine_id]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout
    try:
        rest = b""
        while b"done-here" not in rest:
            data = os.read(process.stdout.fileno(), MEGABYTE)
            rest = rest[-16:] + data
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _open(address: str, there: Chain) -> connect:
    return connect(
        address,
        origin=there.up.url,  # type: ignore[arg-type]
        additional_headers={"Cookie": f"gantry_session={there.cookie}"},
        compression=None,
        max_size=4 * MEGABYTE,
        ping_interval=None,
    )


async def _pieces(log: ClientConnection, take: Callable[[bytes], bool]) -> None:
    """Read and confirm until `take` says it is enough."""
    count = confirmed = 0
    async for message in log:
        if isinstance(message, str):
            continue
        count += len(message)
        if count - confirmed >= CONFIRM_EVERY or len(message) < CONFIRM_EVERY // 8:
            confirmed = count
            await log.send(json.dumps({"ack": count}))
        if take(message):
            # A polite close waits for what is still on its way, which nobody reads any more.
            log.transport.abort()
            return


async def _read_until_done(address: str, there: Chain) -> None:
    rest = b""

    def take(data: bytes) -> bool:
        nonlocal rest
        rest = rest[-16:] + data
        return b"done-here" in rest

    async with _open(address, there) as log:
        await _pieces(log, take)


async def _read_bytes(address: str, there: Chain, most: int, look: Callable[[], None]) -> None:
    count = looked = 0

    def take(data: bytes) -> bool:
        nonlocal count, looked
        count += len(data)
        if count - looked > 10 * MEGABYTE:
            looked = count
            look()
        return count >= most

    async with _open(address, there) as log:
        await _pieces(log, take)


async def _follow_many(address: str, there: Chain) -> tuple[float, dict[str, float]]:
    """Seconds until each stream has had a line, and the memory when all are open."""
    start = time.perf_counter()
    waiting = set(range(STREAMS))
    all_read, enough = asyncio.Event(), False

    async def follow(number: int) -> None:
        def take(data: bytes) -> bool:
            waiting.discard(number)
            if not waiting:
                all_read.set()
            return enough

        async with _open(address, there) as log:
            await _pieces(log, take)

    async with asyncio.TaskGroup() as group:
        for number in range(STREAMS):
            group.create_task(follow(number))
        await all_read.wait()
        opened = time.perf_counter() - start
        memory = await asyncio.to_thread(there.memory)
        enough = True
    return opened, memory
