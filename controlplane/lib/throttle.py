"""How often something may be tried: counted in the cache, by everybody's web processes together."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

import redis
from django.core.cache import cache

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Throttle:
    """`most` tries within `seconds` for one key. Without the cache nothing is counted and all pass: while Redis is
    away people must still be able to sign in, and the passwords are hashed slowly all the same."""

    name: str
    most: int
    seconds: int

    def count(self, *parts: str) -> int:
        """Count a try of this key; how many there were in its window, this one included. 0: not known."""
        key = self._key(parts)
        try:
            cache.add(key, 0, self.seconds)
            return int(cache.incr(key))
        except ValueError:  # it expired between the two
            return 1
        except (redis.RedisError, OSError) as exc:
            log.warning("tries of %s are not counted: %s", self.name, exc)
            return 0

    def take_back(self, *parts: str) -> None:
        """As if the last try of this key had not been."""
        try:
            cache.decr(self._key(parts))
        except ValueError:  # it has expired
            pass
        except (redis.RedisError, OSError) as exc:
            log.warning("tries of %s are not taken back: %s", self.name, exc)

    def forget(self, *parts: str) -> None:
        """Let this key begin anew."""
        try:
            cache.delete(self._key(parts))
        except (redis.RedisError, OSError) as exc:
            log.warning("tries of %s are not forgotten: %s", self.name, exc)

    def _key(self, parts: tuple[str, ...]) -> str:
        # Hashed: what people type is neither fit for a key nor to be kept in clear.
        text = "\0".join(parts).encode(errors="backslashreplace")
        return f"throttle:{self.name}:{hashlib.sha256(text).hexdigest()}"
