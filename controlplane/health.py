"""`/healthz`: is every part of Gantry up? For load balancers, the supervisor and people; open to anybody."""

from __future__ import annotations

from collections import Counter

import redis
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from controlplane.lib import parts

_PATIENCE = 2.0  # seconds for Redis to answer
_redis = redis.from_url(settings.REDIS_URL, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE)


def _database_is_up() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


def _running() -> Counter[str] | None:
    """How many processes of each part beat; None when Redis does not answer."""
    try:
        return Counter(beat.part for beat in parts.living(_redis))
    except (redis.RedisError, OSError):
        return None


@login_not_required
@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """200 when database, Redis and every part are up, else 503 naming what is missing.

    The answer holds counts only: no pid, version or address, since nobody is asked who they are.
    """
    running = _running()
    processes = {name: (running or Counter())[name] for name in parts.NAMES}
    up = {"database": _database_is_up(), "redis": running is not None}
    up |= {name: count > 0 for name, count in processes.items()}
    missing = [name for name, is_up in up.items() if not is_up]
    body = {
        "status": "down" if missing else "up",
        "missing": missing,
        "parts": {name: "up" if is_up else "down" for name, is_up in up.items()},
        "processes": processes,
    }
    return JsonResponse(body, status=503 if missing else 200)
