"""Small facts for open pages: "hosts", "container.7" changed. The page's socket turns them into fetches.

A topic is `kind` or `kind.<id>`. Facts carry no data, so that filters, paging and rights stay in the view.
"""

from __future__ import annotations

import logging
import time

import redis.asyncio
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import transaction
from redis.exceptions import RedisError

from controlplane.lib.cancelling import to_its_end

log = logging.getLogger(__name__)

# What a channel layer raises when Redis is away. Live facts are a courtesy: a page that missed one fetches
# again when its socket reconnects, and no change may fail because of them.
LAYER_ERRORS = (RedisError, OSError, TimeoutError)


# A page may ask what Redis it is this often without a question of its own.
RUN_KEPT_SECONDS = 2.0
_run: tuple[float, str] = (-RUN_KEPT_SECONDS, "")


async def redis_run() -> str:
    """What the present Redis process calls itself; "" while it is away. Another answer than before: facts were lost."""
    global _run
    now = time.monotonic()
    if now - _run[0] < RUN_KEPT_SECONDS:
        return _run[1]
    try:
        found = await to_its_end(_ask_redis())
    except (RedisError, OSError, KeyError):
        return ""
    _run = (now, found)
    return found


async def _ask_redis() -> str:
    async with redis.asyncio.Redis.from_url(settings.REDIS_URL, socket_timeout=2) as client:
        return str((await client.info("server"))["run_id"])


def group(topic: str) -> str:
    """The Channels group of `topic`."""
    return f"live.{topic}"


async def announce(*topics: str) -> None:
    """Tell open pages now. For asyncio code whose write has been committed."""
    layer = get_channel_layer()
    for topic in topics:
        try:
            await layer.group_send(group(topic), {"type": "live.changed", "topic": topic})
        except LAYER_ERRORS as exc:
            log.warning("live fact %s not sent: %s", topic, exc)
            return


def publish(*topics: str) -> None:
    """Tell open pages once the present transaction commits."""
    transaction.on_commit(lambda: async_to_sync(announce)(*topics))
