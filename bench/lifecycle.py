"""The life of containers on Docker, Podman and the native engine in turns: run `true`, a published port, exec, a list
of 300, how soon a death is told, and memory."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.figures import Figure, Ratio, Result
from tests.support.engines import Dockerd, EngineProcess, Native, Podman
from tests.support.images import busybox, busybox_why_not

ROUNDS = int(os.environ.get("GANTRY_BENCH_ROUNDS", "15"))
WARM_UP = 2
PAUSE = 0.2  # seconds before each measurement: engines do best back to back, which is not how people use them
IMAGE = "gantry/busybox:1"
LISTED = 300
RUNNING = 10
TARGETS = {  # of Docker's median
    "run true": 0.30,
    "port, to started": 0.45,
    "port, with removal": 0.55,
    "exec true": 0.75,
    "list 300": 1.0,
    "die to event": 0.5,
}
IDLE, EACH = 70.0, 3.0  # MB
NONE = {"NetworkMode": "none"}


def why_not() -> str:
    """Empty when everything is here."""
    reasons = [kind.why_not() for kind in (Dockerd, Podman, Native)]
    return next((reason for reason in (*reasons, busybox_why_not()) if reason), "")


class Client:
    """One connection kept open: what is measured is the engine, not the connecting."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._connection: http.client.HTTPConnection | None = None

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        """JSON in, JSON out. Raises RuntimeError for an error."""
        status, content = self._ask(method, path, body)
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {content[:300]!r}")
        try:
            return json.loads(content) if content.strip() else None
        except ValueError:
            return content

    def _ask(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        text = json.dumps(body) if body is not None else None
        for attempt in (0, 1):
            if self._connection is None:
                self._connection = http.client.HTTPConnection("engine")
                self._connection.sock = socket.socket(socket.AF_UNIX)
                self._connection.sock.connect(self._path)
            try:
                self._connection.request(method, f"/v1.40{path}", text, {"Content-Type": "application/json"})
                response = self._connection.getresponse()
                content = response.read()
                if response.will_close:
                    self._connection = None
                return response.status, content
            except (OSError, http.client.HTTPException):
                self._connection = None
                if attempt:
                    raise
        raise AssertionError("not reached")


def run() -> Result:
    """All contestants through all measurements."""
    cores, load = os.cpu_count(), os.getloadavg()[0]
    result = Result(
        "the life of a container",
        f"{ROUNDS} rounds after {WARM_UP}; engines take turns, {PAUSE} s of rest before each;"
        f" {cores} cores, load {load:.1f}",
    )
    with Dockerd() as docker, Podman() as podman, Native() as native:
        engines = (docker, podman, native)
        idle = {engine.kind: _memory(engine) for engine in engines}
        archive = busybox().archive(IMAGE)
        for engine in engines:
            engine.load(archive)
        clients = {engine.kind: Client(engine.socket) for engine in engines}
        _rounds(result, clients, {"run true": _run_true})
        _rounds(result, clients, {"port": _port})
        with held(clients) as containers:
            _rounds(
                result,
                clients,
                {"exec true": lambda client, number: {"exec true": run_exec(client, containers[id(client)])}},
            )
        _rounds(result, clients, {"die to event": lambda client, number: _death(client)})
        _memory_of_each(result, engines, clients, idle)
        for client in clients.values():
            for number in range(LISTED):
                client(
                    "POST",
                    f"/containers/create?name=listed{number}",
                    {"Image": IMAGE, "HostConfig": NONE, "Cmd": ["true"]},
                )
        _rounds(result, clients, {f"list {LISTED}": _list})
    _judge(result)
    return result


Work = Callable[[Client, int], dict[str, float]]


def _rounds(result: Result, clients: dict[str, Client], works: dict[str, Work]) -> None:
    samples: dict[str, list[float]] = {}
    for work in works.values():
        for number in range(ROUNDS + WARM_UP):
            for kind, client in clients.items():
                time.sleep(PAUSE)
                for name, milliseconds in work(client, number).items():
                    if number >= WARM_UP:
                        samples.setdefault(f"{name}, {kind}", []).append(milliseconds)
    result.figures += [Figure(name, "ms", values) for name, values in samples.items()]


def _run_true(client: Client, number: int) -> dict[str, float]:
    begun = time.perf_counter()
    made = client("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"], "HostConfig": NONE})["Id"]
    client("POST", f"/containers/{made}/start")
    client("POST", f"/containers/{made}/wait")
    client("DELETE", f"/containers/{made}")
    return {"run true": _since(begun)}


def _port(client: Client, number: int) -> dict[str, float]:
    host = {"PortBindings": {"80/tcp": [{"HostPort": ""}]}}
    body = {"Image": IMAGE, "Cmd": ["sleep", "1000"], "HostConfig": host, "ExposedPorts": {"80/tcp": {}}}
    begun = time.perf_counter()
    made = client("POST", "/containers/create", body)["Id"]
    client("POST", f"/containers/{made}/start")
    started = _since(begun)
    client("DELETE", f"/containers/{made}?force=true")
    return {"port, to started": started, "port, with removal": _since(begun)}


def run_exec(client: Client, container: str) -> float:
    """Run `true` in a container, until its output has ended; ms."""
    begun = time.perf_counter()
    body = {"Cmd": ["true"], "AttachStdout": True, "AttachStderr": True}
    made = client("POST", f"/containers/{container}/exec", body)["Id"]
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(client._path)
        content = json.dumps({"Detach": False, "Tty": False}).encode()
        head = (
            f"POST /v1.40/exec/{made}/start HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        stream.sendall(head.encode() + content)
        while stream.recv(65536):
            pass
    taken = _since(begun)
    code = client("GET", f"/exec/{made}/json")["ExitCode"]
    assert code == 0, code
    return taken


def _death(client: Client) -> dict[str, float]:
    """From the kill of the first process to the arrival of the event."""
    made = client("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["sleep", "1000"], "HostConfig": NONE})["Id"]
    client("POST", f"/containers/{made}/start")
    pid = client("GET", f"/containers/{made}/json")["State"]["Pid"]
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(client._path)
        filters = "%7B%22event%22%3A%5B%22die%22%2C%22died%22%5D%7D"
        stream.sendall(f"GET /v1.40/events?filters={filters} HTTP/1.1\r\nHost: engine\r\n\r\n".encode())
        seen = stream.recv(65536)
        time.sleep(PAUSE)
        begun = time.perf_counter()
        os.kill(pid, 9)
        while made.encode() not in seen:
            seen += stream.recv(65536)
        taken = _since(begun)
    client("DELETE", f"/containers/{made}?force=true")
    return {"die to event": taken}


def _list(client: Client, number: int) -> dict[str, float]:
    begun = time.perf_counter()
    found = client("GET", "/containers/json?all=true")
    taken = _since(begun)
    assert len(found) == LISTED, len(found)
    return {f"list {LISTED}": taken}


@contextlib.contextmanager
def held(clients: dict[str, Client]) -> Iterator[dict[int, str]]:
    """One running container on each engine, by the client's identity."""
    made = {}
    for client in clients.values():
        body = {"Image": IMAGE, "Cmd": ["sleep", "10000"], "HostConfig": NONE}
        made[id(client)] = client("POST", "/containers/create", body)["Id"]
        client("POST", f"/containers/{made[id(client)]}/start")
    yield made
    for client in clients.values():
        client("DELETE", f"/containers/{made[id(client)]}?force=true")


def _memory_of_each(
    result: Result, engines: tuple[EngineProcess, ...], clients: dict[str, Client], idle: dict[str, float]
) -> None:
    """Proportional memory of everything an engine has running, idle and with RUNNING containers that sleep."""
    for engine in engines:
        client = clients[engine.kind]
        before = _memory(engine)
        made = []
        for _ in range(RUNNING):
            body = {"Image": IMAGE, "Cmd": ["sleep", "10000"], "HostConfig": NONE}
            made.append(client("POST", "/containers/create", body)["Id"])
            client("POST", f"/containers/{made[-1]}/start")
        each = (_memory(engine) - before) / RUNNING
        for container in made:
            client("DELETE", f"/containers/{container}?force=true")
        result.figures.append(Figure(f"memory idle, {engine.kind}", "MB", [idle[engine.kind]]))
        result.figures.append(Figure(f"memory of each, {engine.kind}", "MB", [each]))


def _memory(engine: EngineProcess) -> float:
    """MB (proportional) of the engine, and of every helper that names the engine's folder in its command line."""
    assert engine.process is not None
    total = 0.0
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            is_own = str(engine.folder).encode() in (path / "cmdline").read_bytes()
            if is_own or int(path.name) == engine.process.pid:
                rollup = (path / "smaps_rollup").read_text()
                total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024
    return total


def _judge(result: Result) -> None:
    medians = {figure.name: figure.median for figure in result.figures}
    for name, target in TARGETS.items():
        ratio = medians[f"{name}, native"] / medians[f"{name}, docker"]
        result.ratios.append(Ratio(f"{name}, native to docker", ratio, f"at most {target}", ratio <= target))
    for name, limit in (("memory idle", IDLE), ("memory of each", EACH)):
        value = medians[f"{name}, native"]
        result.ratios.append(Ratio(f"{name}, native, MB", value, f"at most {limit:g}", value <= limit))


def _since(begun: float) -> float:
    return (time.perf_counter() - begun) * 1000
