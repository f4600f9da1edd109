"""The whole path from a browser to a container, of real parts, for the tests of streams.

    with Stage(engine) as stage:                  # engine: a started Dockerd or Podman
        pk = stage.add_container(engine_id, "web-1")
        stage.url, stage.cookie("admin")          # for a browser or a WebSocket client
        stage.django("…")                         # Python inside the control plane; returns what it prints
        stage.audit()                             # [(verb, detail), …] as written
        stage.agent, stage.gateway, stage.web     # processes: kill() and start() again
    with Stage(engine, desk) as stage:            # all of it on the loopback of a network namespace

Users: "admin" (administrator) and "viewer".
"""

import contextlib
import fcntl
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, Self

from tests.support import unixhttp
from tests.support.engines import EngineProcess
from tests.support.home import ROOT, Home
from tests.support.netns import NetworkNamespace
from tests.support.redis import RedisServer
from tests.support.tunnel import AgentHost
from tests.support.waiting import eventually

SEED = """
from django.contrib.sessions.backends.db import SessionStore
from controlplane.access.models import Role, User
from hosts.models import Host, HostState
Host.objects.create(pk=1, name="host-1", state=HostState.CONNECTED, public_key={public_key!r})
for name, role in (("admin", Role.ADMINISTRATOR), ("viewer", Role.VIEWER), ("other", Role.ADMINISTRATOR)):
    User.objects.create_user(name, password="a long enough word", role=role)
"""
SIGN_IN = """
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from controlplane.access.models import User
user = User.objects.get(username={name!r})
session = SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.save()
print(session.session_key)
"""
ADD = """
from containers.models import Container
fields = {{"engine_id": {engine_id!r}, "name": {name!r}, "image_ref": "busybox", "state": "running"}}
print(Container.objects.create(host_id=1, **fields).pk)
"""


class Stage:
    """A control plane with one host; a context manager."""

    def __init__(self, engine: EngineProcess, desk: NetworkNamespace | None = None) -> None:
        self.engine = engine
        self.home = Home()
        enter = desk.command() if desk else []
        self.run = self.home.path / "run"
        (self.run / "hosts").mkdir(parents=True, mode=0o700)
        self.run.chmod(0o700)
        self.redis = RedisServer(self.run / "redis.sock")
        gateway = [*enter, sys.executable, "manage.py", "gateway"]
        self.gateway = Process("gateway", self.home, gateway, self.home.gateway_port)
        web = [*enter, sys.executable, "-m", "uvicorn", *self._uvicorn()]
        self.web = Process("web", self.home, web, self.home.port)
        run = self.run / "hosts"
        self.agent = AgentHost(self.home.path, self.home.gateway_url, run, "1", engine.socket)
        self.agent.prefix = enter
        self.stack = contextlib.ExitStack()
        self.cookies: dict[str, str] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.home)
            stack.enter_context(self._no_wheels())
            stack.enter_context(self.redis)
            self.manage("migrate", "--verbosity=0")
            self.django(SEED.format(public_key=self.agent.public_key))
            stack.enter_context(self.gateway)
            stack.callback(self.agent.kill)
            self.agent.start()
            stack.enter_context(self.web)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stack.close()

    @property
    def url(self) -> str:
        return self.home.url

    def _no_wheels(self) -> IO[str]:
        """The gateway would fetch the agent's wheels from the network (hosts/wheels.py): hold its lock."""
        folder = self.home.path / "wheels"
        folder.mkdir(mode=0o700)
        lock = (folder / "lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def _uvicorn(self) -> list[str]:
        """As the supervisor starts it (controlplane/supervisor/parts.py)."""
        return [
            *("controlplane.asgi:application", "--host", self.home.address, "--port", str(self.home.port)),
            *("--lifespan", "on", "--ws", "websockets-sansio", "--ws-per-message-deflate", "false"),
            *("--ws-max-size", "1048576", "--timeout-graceful-shutdown", "3"),
            *("--log-level", "warning", "--no-access-log"),
        ]

    def manage(self, *arguments: str) -> str:
        """Run manage.py; its standard output."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.home.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"manage.py {arguments[0]}: {done.stderr[-2000:]}")
        return done.stdout

    def django(self, code: str) -> str:
        """Run Python inside the control plane's Django."""
        return self.manage("shell", "--verbosity=0", "-c", code).strip()

    def cookie(self, name: str) -> str:
        """The value of that user's session cookie, the same each time."""
        if name not in self.cookies:
            self.cookies[name] = self.fresh_cookie(name)
        return self.cookies[name]

    def fresh_cookie(self, name: str) -> str:
        """As `cookie`, of a session of its own."""
        return self.django(SIGN_IN.format(name=name)).splitlines()[-1]

    def add_container(self, engine_id: str, name: str) -> int:
        """Put a running container into the mirror."""
        return int(self.django(ADD.format(engine_id=engine_id, name=name)).splitlines()[-1])

    def audit(self) -> list[tuple[str, str]]:
        """(verb, detail) of every audit entry, oldest first."""
        with contextlib.closing(sqlite3.connect(self.home.path / "gantry.sqlite3")) as database:
            return list(database.execute("SELECT verb, detail FROM operations_auditentry ORDER BY id"))

    def terminals(self) -> list[dict[str, Any]]:
        """What the agent says it holds."""
        return list(unixhttp.request(self.agent.agent, "GET", "/gantry/terminals")[1])


class Process:
    """One of Gantry's processes, ready when it listens on its port; a context manager."""

    def __init__(self, name: str, home: Home, command: list[str], port: int) -> None:
        self.name = name
        self.home = home
        self.command = command
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None
        self.log = home.path / f"{name}.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.home.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self._ready, timeout=30, what=f"{self.name} answers")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(20)
            self.process = None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    @property
    def memory(self) -> int:
        """Resident memory in bytes."""
        assert self.process
        return memory_of(self.process.pid)

    def _ready(self) -> bool:
        assert self.process
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended at once:\n{self.log.read_text()[-3000:]}")
        return is_listening(self.process.pid, self.port)


def is_listening(pid: int, port: int) -> bool:
    """Whether anybody in the process's network namespace listens on that IPv4 port (proc(5), /proc/PID/net/tcp)."""
    try:
        lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return False
    return any(local.endswith(f":{port:04X}") and state == "0A" for _, local, _, state, *_ in map(str.split, lines))


def memory_of(pid: int) -> int:
    """Resident memory of a process in bytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024
