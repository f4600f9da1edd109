"""What a page asks of the gateways: drop a removed host, rotate a key. Over Redis; the database is the truth.

A gateway that misses an order finds the same in the database when it next looks.
"""

from __future__ import annotations

import json
import logging

import redis
from django.conf import settings
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

CHANNEL = "gantry:gateway-orders"


def tell(order: str, host_id: int) -> None:
    """`order`: "removed" or "rotate". Never raises: Redis may be away, the database is not."""
    client = redis.Redis.from_url(settings.REDIS_URL)
    try:
        client.publish(CHANNEL, json.dumps({"order": order, "host": host_id}))
    except RedisError as exc:
        log.warning("gateways not told to %s host %s: %s", order, host_id, exc)
    finally:
        client.close()
