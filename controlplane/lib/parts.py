"""The heart-beats of Gantry's long-running parts, kept in Redis.

Every part sets the key `gantry:part:<name>:<pid>` every five seconds; Redis forgets it after fifteen, so a
part that died, hangs or cannot reach Redis drops out by itself. A sorted set of the same beats, scored by
time, lets a reader find the living parts in one call instead of scanning every key.

`beating` is for a part with an event loop: it proves that the loop still turns. `beat_in_thread` is for
Celery's worker and beat, which have none.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import redis
import redis.asyncio
from django.conf import settings

from controlplane.lib.cancelling import heed

logger = logging.getLogger(__name__)

INTERVAL = 5.0  # seconds between two beats
LIFETIME = 15  # seconds after which a silent part counts as gone
NAMES = ("web", "worker", "beat", "watch", "gateway")
_INDEX = "gantry:parts"


@dataclass(frozen=True)
class Beat:
    """One living process: which part it is, its pid, when it started (ISO 8601, UTC) and its version."""

    part: str
    pid: int
    started: str
    version: str


def key(name: str, pid: int) -> str:
    return f"gantry:part:{name}:{pid}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _queue(pipeline: Any, name: str, started: str) -> Any:
    """Put one beat of this process on `pipeline` (of either client) and give it back."""
    pid, now = os.getpid(), time.time()
    value = json.dumps({"part": name, "pid": pid, "started": started, "version": settings.VERSION})
    pipeline.set(key(name, pid), value, ex=LIFETIME)
    pipeline.zadd(_INDEX, {key(name, pid): now})
    pipeline.zremrangebyscore(_INDEX, "-inf", now - LIFETIME)
    return pipeline


async def beating(name: str) -> None:
    """Beat as part `name` until cancelled; while Redis is away, try again every second."""
    started = _now()
    async with redis.asyncio.from_url(settings.REDIS_URL, socket_timeout=INTERVAL) as client:
        while True:
            pause = INTERVAL
            try:
                await _queue(client.pipeline(transaction=False), name, started).execute()
            except (redis.RedisError, OSError) as exc:
                logger.debug("no heart-beat for %s: %s", name, exc)
                pause = 1.0
            heed()
            await asyncio.sleep(pause)


def beat_in_thread(name: str) -> threading.Event:
    """Beat as part `name` from a daemon thread; set the event that is given back to end it."""
    stop, started = threading.Event(), _now()

    def run() -> None:
        client = redis.from_url(settings.REDIS_URL, socket_timeout=INTERVAL)
        pause = 0.0
        while not stop.wait(pause):
            pause = INTERVAL
            try:
                _queue(client.pipeline(transaction=False), name, started).execute()
            except (redis.RedisError, OSError) as exc:
                logger.debug("no heart-beat for %s: %s", name, exc)
                pause = 1.0
        client.close()

    threading.Thread(target=run, name=f"beat-{name}", daemon=True).start()
    return stop


def living(client: redis.Redis) -> list[Beat]:
    """The parts that beat within the last LIFETIME seconds. Raises redis.RedisError."""
    keys: Any = client.zrangebyscore(_INDEX, time.time() - LIFETIME, "+inf")
    values: Any = client.mget(keys) if keys else []
    return [Beat(**json.loads(value)) for value in values if value is not None]
