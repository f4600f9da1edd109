"""Who watches which host: one lease for each in Redis, so that any number of watchers share them out."""

from __future__ import annotations

import uuid

import redis.asyncio
from django.conf import settings

LEASE_SECONDS = 15

# Renews only one's own; a plain EXPIRE could prolong a lease that somebody else holds by now.
_RENEW = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('expire', KEYS[1], ARGV[2]) end
return redis.call('set', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) and 1 or 0
"""
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


class Leases:
    """This watcher's leases. Raises RedisError when Redis is away."""

    def __init__(self) -> None:
        self.owner = uuid.uuid4().hex
        self._redis = redis.asyncio.Redis.from_url(settings.REDIS_URL)

    @staticmethod
    def _key(host_id: int) -> str:
        return f"gantry:watch:{host_id}"

    async def hold(self, host_id: int) -> bool:
        """Take or renew the lease of a host. False when another watcher holds it."""
        held = await self._redis.eval(_RENEW, 1, self._key(host_id), self.owner, LEASE_SECONDS)
        return bool(held)

    async def release(self, host_id: int) -> None:
        await self._redis.eval(_RELEASE, 1, self._key(host_id), self.owner)

    async def close(self) -> None:
        await self._redis.aclose()
