"""Both ends of the tunnel for tests: a real gateway in a thread, real agents as processes.

    with Tunnel() as tunnel:
        host = tunnel.enrol(engine.socket)        # keys and state made directly, without the web
        host.start()                              # `gantry-agent run`, waits until it is connected
        docker("-H", f"unix://{host.engine}", "ps")
        host.process                              # kill it, stop it, start it again

The gateway's directory is `tunnel.directory`: hosts in memory instead of the database.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, Self

from gantry_agent import keys
from gantry_agent.state import Enrolment, State

from hosts.gateway.server import Gateway
from tests.support.scratch import discard, make_scratch
from tests.support.waiting import eventually


class MemoryDirectory:
    """Hosts in a dictionary. `stalled` makes every call wait, as a stuck database does."""

    def __init__(self) -> None:
        self.hosts: dict[str, str] = {}
        self.rotations: set[str] = set()
        self.news: list[tuple[str, str, str]] = []
        self.stalled: asyncio.Event | None = None

    async def _ready(self) -> None:
        if self.stalled is not None:
            await self.stalled.wait()

    async def public_key(self, host: str) -> str:
        await self._ready()
        return self.hosts.get(host, "")

    async def public_keys(self, hosts: Iterable[str]) -> dict[str, str]:
        await self._ready()
        return {host: self.hosts[host] for host in hosts if host in self.hosts}

    async def wanted_rotations(self, hosts: Iterable[str]) -> list[str]:
        await self._ready()
        return [host for host in hosts if host in self.rotations]

    async def store_key(self, host: str, old: str, new: str) -> bool:
        await self._ready()
        if self.hosts.get(host) != old:
            return False
        self.hosts[host] = new
        self.rotations.discard(host)
        return True

    async def connected(self, host: str, agent_version: str) -> None:
        await self._ready()
        self.news.append((host, "connected", agent_version))

    async def disconnected(self, host: str, reason: str) -> None:
        await self._ready()
        self.news.append((host, "disconnected", reason))

    async def seen(self, hosts: Iterable[str]) -> None:
        await self._ready()

    async def lost(self, present: Iterable[str]) -> None:
        await self._ready()

    def last(self, host: str) -> tuple[str, str]:
        """The newest (state, detail) of a host."""
        return next(((state, detail) for name, state, detail in reversed(self.news) if name == host), ("", ""))


class AgentHost:
    """One enrolled host: its state folder, its sockets at the gateway, its agent process."""

    def __init__(self, folder: Path, gateway: str, run: Path, ident: str, engine: Path | None) -> None:
        self.id = ident
        self.state = State(folder / f"agent-{ident}")
        self.state.prepare()
        self.key = keys.generate()
        self.gateway = gateway
        self.engine_socket = engine
        self.engine, self.agent = run / f"{ident}.sock", run / f"{ident}.agent.sock"
        self.state.save_enrolment(self.key, Enrolment(ident, f"host-{ident}", "http://127.0.0.1", [gateway]))
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / f"agent-{ident}.log"
        self.prefix: list[str] = []  # e.g. nsenter, for a network namespace

    @property
    def public_key(self) -> str:
        return keys.public_text(self.key)

    def start(self, *, wait: bool = True) -> None:
        """Start `gantry-agent run` and wait until the gateway has its sockets."""
        command = [
            *self.prefix,
            sys.executable,
            "-m",
            "gantry_agent",
            "run",
            "--state",
            str(self.state.folder),
        ]
        command += ["--engine", f"unix://{self.engine_socket}" if self.engine_socket else "none"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            eventually(lambda: self.engine.exists() and self.is_connected, timeout=30, what=f"agent {self.id} connects")

    @property
    def is_connected(self) -> bool:
        status = self.state.read_status()
        ours = self.process is not None and status.get("pid") == self.process.pid
        return ours and any(gateway["connected"] for gateway in status.get("gateways", []))

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Tunnel:
    """A gateway in a thread of its own; a context manager."""

    def __init__(self, *, host: str = "127.0.0.1", tls: Any = None, scheme: str = "ws") -> None:
        self.folder = make_scratch()
        self.run = self.folder / "hosts"
        self.run.mkdir(mode=0o700)
        self.directory = MemoryDirectory()
        self.host, self.tls, self.scheme = host, tls, scheme
        self.agents: list[AgentHost] = []
        self.loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30), "the gateway serves"
        if self._failure:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        for agent in self.agents:
            agent.kill()
        self.loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)
        discard(self.folder)

    def _serve(self) -> None:
        with (
            asyncio.Runner(loop_factory=lambda: self.loop) as runner,
            contextlib.suppress(asyncio.CancelledError),
        ):
            runner.run(self._main())

    async def _main(self) -> None:
        self._task = asyncio.current_task()
        try:
            self.gateway = Gateway(self.directory, self.run)
            self.port = await self.gateway.start(self.host, 0, self.tls)
        except BaseException as exc:
            self._failure = exc
            raise
        finally:
            self._ready.set()
        await self.gateway.run()

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the gateway's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def enrol(self, engine: Path | None, ident: str = "1") -> AgentHost:
        """A host the gateway knows, with its state folder; not started."""
        agent = AgentHost(self.folder, self.url, self.run, ident, engine)
        self.directory.hosts[ident] = agent.public_key
        self.agents.append(agent)
        return agent

    def wait_for(self, host: AgentHost, state: str, *, timeout: float = 20.0) -> str:
        """Wait until the directory was told this state; the detail it was told."""
        eventually(lambda: self.directory.last(host.id)[0] == state, timeout=timeout, what=f"{host.id} {state}")
        return self.directory.last(host.id)[1]


def status_of(agent: AgentHost) -> Any:
    """The agent's status file."""
    return json.loads(agent.state.status_file.read_text())
