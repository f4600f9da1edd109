"""Echo of a key in a terminal, through Gantry's whole chain and by `docker exec -it`; then 200 terminals at once.

The chain: WebSocket client, web (uvicorn), gateway, agent, engine, `cat` in a container, and back. Beside it
`docker exec -it … cat` on a pseudo-terminal on the same engine. The two take turns, key by key.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import termios
import time
import uuid
from collections.abc import Iterator
from urllib.parse import urlencode

from bench._chain import IMAGE, Chain, chain, why_not
from bench._wire import Wire
from bench.figures import Figure, Ratio, Result
from tests.support.engines import Dockerd

__all__ = ["run", "why_not"]

KEYS = 600
WARM_UP = 60
MANY = 200
GOAL_MS = 2.0


def run() -> Result:
    """Take turns key by key; then open MANY terminals and type into each."""
    with chain() as gantry:
        container = gantry.engine.run(IMAGE, "top", name="echo")
        address = gantry.address(container, "terminal")
        result = Result(
            f"Echo of a key in a terminal, and {MANY} terminals at once",
            f"key by key in turn, {KEYS} keys each after {WARM_UP} to warm up; {os.cpu_count()} cores, "
            f"load {os.getloadavg()[0]:.1f} at the start",
        )
        echoes(gantry, address, result)
        crowd(gantry, address, result)
        return result


def echoes(gantry: Chain, address: str, result: Result) -> None:
    """Milliseconds from a key to its echo on each side, and their difference."""
    ours: list[float] = []
    theirs: list[float] = []
    with open_terminal(gantry, address) as wire, docker_exec(gantry.engine) as master:
        for number in range(WARM_UP + KEYS):
            key = b"abcdefghijklmnopqrstuvwxyz"[number % 26 : number % 26 + 1]
            if number % 2:
                ours.append(by_wire(wire, key))
            theirs.append(by_pty(master, key))
            if not number % 2:
                ours.append(by_wire(wire, key))
    mine, other = Figure("Gantry", "ms", ours[WARM_UP:]), Figure("docker exec -it", "ms", theirs[WARM_UP:])
    result.figures += [other, mine]
    more = mine.median - other.median
    result.ratios.append(Ratio("Gantry's surplus at the median, ms", more, f"at most {GOAL_MS:g}", more <= GOAL_MS))


def crowd(gantry: Chain, address: str, result: Result) -> None:
    """MANY terminals at once: memory that each takes in each process, and the echo among them."""
    before = gantry.memory()
    opening: list[float] = []
    echo: list[float] = []
    with contextlib.ExitStack() as stack:
        wires = []
        for _ in range(MANY):
            started = time.perf_counter()
            wires.append(stack.enter_context(open_terminal(gantry, address)))
            opening.append((time.perf_counter() - started) * 1000)
            for wire in wires:
                wire.attend()
        for key in b"wxyz":
            echo += [by_wire(wire, bytes((key,))) for wire in wires]
        after = gantry.memory()
    result.figures += [Figure("opening a terminal", "ms", opening), Figure(f"echo among {MANY}", "ms", echo)]
    result.figures += [
        Figure(f"memory for each terminal, {part}", "KiB", [(after[part] - before[part]) / MANY / 1024])
        for part in after
    ]


@contextlib.contextmanager
def open_terminal(gantry: Chain, address: str) -> Iterator[Wire]:
    """A terminal that runs `cat`, closed on its host afterwards."""
    query = urlencode({"session": str(uuid.uuid4()), "columns": 80, "rows": 24, "command": "cat"})
    with Wire(f"{address}?{query}", f"gantry_session={gantry.cookie}") as wire:
        wire.told("ready")
        yield wire
        wire.say(type="end")
        with contextlib.suppress(ConnectionError):
            wire.told("exit")


def by_wire(wire: Wire, key: bytes) -> float:
    started = time.perf_counter()
    wire.send(key)
    wire.bytes_until(key)
    return (time.perf_counter() - started) * 1000


@contextlib.contextmanager
def docker_exec(engine: Dockerd) -> Iterator[int]:
    """The master side of a pseudo-terminal with `docker exec -it` on it, once the CLI has made it raw."""
    pid, master = pty.fork()
    if pid == 0:
        os.execvp("docker", ["docker", "-H", f"unix://{engine.socket}", "exec", "-it", "echo", "cat"])
    try:
        while termios.tcgetattr(master)[3] & termios.ECHO:
            time.sleep(0.01)
        by_pty(master, b"~")
        yield master
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(master)


def by_pty(master: int, key: bytes) -> float:
    started = time.perf_counter()
    os.write(master, key)
    seen = b""
    while key not in seen:
        if not select.select([master], [], [], 20)[0]:
            raise TimeoutError(f"no echo of {key!r}")
        seen += os.read(master, 65536)
    return (time.perf_counter() - started) * 1000
