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
import sqlite3
import sys
from typing import IO, Any, Self

from controlplane.supervisor.parts import web_command
from tests.support import unixhttp
from tests.support.engines import EngineProcess
from tests.support.home import Home
from tests.support.netns import NetworkNamespace
from tests.support.process import Process
from tests.support.redis import RedisServer
from tests.support.tunnel import AgentHost

SEED = """
from django.contrib.sessions.backends.db import SessionStore
from controlplane.access.models import User
from hosts.models import Host, HostState
Host.objects.create(pk=1, name="host-1", state=HostState.CONNECTED, public_key={public_key!r})
for name, standing in (("admin", "administrator"), ("viewer", "viewer"), ("other", "administrator")):
    User.objects.create_user(name, password="a long enough word", standing=standing)
"""
SIGN_IN = """
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from controlplane.access.models import User
user = User.objects.get(username={name!r})
session = SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = "controlplane.access.backend.People"
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
        web = web_command(f"{self.home.address}:{self.home.port}")
        self.web = Process("web", self.home, [*enter, *web], self.home.port)
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
            self.home.manage("migrate", "--verbosity=0")
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

    def another_web(self, port: int) -> Process:
        """A second web process; start it, or use it as a context manager."""
        return Process("web-2", self.home, [*web_command(f"{self.home.address}:{port}")], port)

    def django(self, code: str) -> str:
        """Run Python inside the control plane's Django; what it prints."""
        return self.home.django(code)

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
