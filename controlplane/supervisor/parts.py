"""Gantry's parts on one machine: what runs, in what order, and how each shows that it is ready."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import redis
import redis.asyncio
from django.conf import settings

from controlplane.lib.parts import NAMES, key
from controlplane.supervisor.engine import agent_arguments
from controlplane.supervisor.options import split
from controlplane.supervisor.redis import Choice
from controlplane.supervisor.redis import part as redis_part
from controlplane.supervisor.supervisor import Part, Readiness

# First nothing new comes in; then what runs may end, which takes the tunnel; Redis is the last to go.
_ENTRANCE, _WORK, _TUNNEL, _STORE = range(4)
_PATIENCE = 1.0  # seconds for Redis to answer the question whether a part is ready
# No part runs Django's checks. They are for who changes the code (`./gantry check` runs them) and import every view;
# what somebody may set wrong is refused by settings.py itself.
_CELERY = ("-m", "celery", "--quiet", "--skip-checks", "-A", "controlplane")


class Signs:
    """Asks for the parts' signs of life; one connection to Redis for all of them."""

    def __init__(self, url: str) -> None:
        self._client = redis.asyncio.from_url(
            url, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE, max_connections=8
        )

    async def redis(self, pid: int) -> bool:
        try:
            return bool(await self._client.ping())
        except (redis.RedisError, OSError):
            return False

    def heartbeat(self, name: str, listen: str = "") -> Readiness:
        """Ready once the process beats and, where it listens on an address, accepts connections there."""

        async def ready(pid: int) -> bool:
            try:
                beats = bool(await self._client.exists(key(name, pid)))
            except (redis.RedisError, OSError):
                return False
            return beats and (not listen or await _accepts(listen))

        return ready

    async def close(self) -> None:
        await self._client.aclose()


async def _accepts(listen: str) -> bool:
    host, port = split(listen)
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    try:
        _, writer = await asyncio.open_connection(loopback.get(host, host), port)
    except OSError:
        return False
    writer.close()
    return True


def own_redis(choice: Choice, signs: Signs) -> list[Part]:
    """Our own Redis, or nothing to run where REDIS_URL names another."""
    run_dir = Path(settings.RUN_DIR)
    return [redis_part(choice, run_dir, signs.redis, stage=_STORE)] if choice.program else []


def main_parts(signs: Signs, after: Iterable[str] = ()) -> list[Part]:
    """web, worker, beat, watch and gateway; each starts when the parts of `after` are ready."""
    web, gateway = settings.GANTRY_LISTEN, settings.GANTRY_GATEWAY_LISTEN
    manage = (sys.executable, str(settings.BASE_DIR / "manage.py"))
    shape = {
        "web": (web_command(web), signs.heartbeat("web", web), _ENTRANCE, 6.0),
        "worker": (_worker(), signs.heartbeat("worker"), _WORK, 12.0),
        "beat": (_beat(), signs.heartbeat("beat"), _ENTRANCE, 5.0),
        "watch": ((*manage, "watch"), signs.heartbeat("watch"), _ENTRANCE, 5.0),
        "gateway": ((*manage, "gateway"), signs.heartbeat("gateway", gateway), _TUNNEL, 5.0),
    }
    return [
        Part(name, command, ready, after=tuple(after), stage=stage, grace=grace)
        for name, (command, ready, stage, grace) in ((name, shape[name]) for name in NAMES)
    ]


def agent(choice: str) -> Part:
    """This machine's own agent. `choice` is the value of `--engine`."""
    command: tuple[str, ...] = (sys.executable, "-m", "gantry_agent", "run")
    command += ("--state", str(settings.GANTRY_HOME / "agent"))
    command += tuple(agent_arguments(choice, Path(settings.GANTRY_HOME), Path(settings.RUN_DIR)))
    return Part("agent", command, stage=_TUNNEL, grace=5.0, after=("web", "gateway"))


def web_command(listen: str) -> tuple[str, ...]:
    """The web process that listens on an address, HOST:PORT."""
    host, port = split(listen)
    command = [sys.executable, "-m", "uvicorn", "controlplane.asgi:application"]
    command += ["--host", host, "--port", str(port), "--lifespan", "on"]
    # Deflate costs a buffer per stream and defeats backpressure; one message is a keystroke or a paste.
    command += ["--ws", "websockets-sansio", "--ws-per-message-deflate", "false", "--ws-max-size", "1048576"]
    command += ["--timeout-graceful-shutdown", "3", "--log-level", "warning", "--no-access-log"]
    command += ["--no-server-header"]
    # Who asks is taken from X-Forwarded-For only where a proxy is known to stand in front.
    command += [] if settings.PUBLIC_URL else ["--no-proxy-headers"]
    if settings.TLS_CERT:
        command += ["--ssl-certfile", settings.TLS_CERT, "--ssl-keyfile", settings.TLS_KEY]
    return tuple(command)


def _worker() -> tuple[str, ...]:
    command = [sys.executable, *_CELERY, "worker", "--loglevel", "WARNING"]
    # Threads are made as they are needed and mostly wait: three pulls on each of 20 hosts are 60.
    command += ["--pool", "threads", "--concurrency", "64", "--hostname", f"worker-{os.getpid()}@%h"]
    command += ["--without-gossip", "--without-mingle"]
    return tuple(command)


def _beat() -> tuple[str, ...]:
    command = [sys.executable, *_CELERY, "beat", "--loglevel", "WARNING"]
    command += ["--schedule", str(Path(settings.RUN_DIR) / "beat-schedule"), "--pidfile", ""]
    return tuple(command)
