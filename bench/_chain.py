"""The whole chain as `./gantry up` starts it, on an engine of its own, for benchmarks of streams."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.engines import Dockerd
from tests.support.images import busybox, busybox_why_not
from tests.support.redis import RedisServer
from tests.support.up import Up
from tests.support.waiting import eventually

IMAGE = "gantry/busybox:bench"
PARTS = ("web", "gateway", "agent")

_SIGN_IN = """
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from controlplane.access.models import Standing, User
user, _ = User.objects.get_or_create(username="bench", defaults={"standing": Standing.ADMINISTRATOR})
session = SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = "controlplane.access.backend.People"
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.save()
print(session.session_key)
"""
_KEY = """
from containers.models import Container
print(*Container.objects.filter(engine_id={!r}).values_list("pk", flat=True))
"""


def why_not() -> str:
    """Empty when the chain can be started here."""
    return Dockerd.why_not() or busybox_why_not() or RedisServer.why_not()


@dataclass
class Chain:
    """One running Gantry whose only host is `engine`."""

    engine: Dockerd
    up: Up
    cookie: str

    def key(self, engine_id: str) -> int:
        """The number of a container in Gantry, once `watch` has seen it."""
        return int(eventually(lambda: self._python(_KEY.format(engine_id)), timeout=30, what="in the mirror"))

    def address(self, engine_id: str, stream: str) -> str:
        """The WebSocket address of a container's stream: "logs", "terminal"."""
        return f"{self.up.url.replace('http', 'ws', 1)}/ws/containers/{self.key(engine_id)}/{stream}"

    def memory(self) -> dict[str, float]:
        """Resident bytes of web, gateway and agent."""
        return {part: sum(_resident(pid) for pid in self.up.pids(part)) for part in PARTS}

    def _python(self, code: str) -> str:
        return self.up.home.django(code)


@contextmanager
def chain() -> Iterator[Chain]:
    """Start engine and Gantry, sign in, take all away at the end."""
    with Dockerd() as engine:
        engine.load(busybox().archive(IMAGE))
        with Up("--engine", f"unix://{engine.socket}") as up:
            made = Chain(engine, up, "")
            made.cookie = made._python(_SIGN_IN).splitlines()[-1]
            yield made


def _resident(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0
