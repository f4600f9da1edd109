"""What another site sent, or what came by a name that is not ours: written down, and bounded before the database.

Anybody can send such things by the thousand and need no account for it. So each process counts them, lets the first
few of a minute through to `refusals`, and of the rest tells it only by the hundred.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest

from controlplane.access.decide import Actor
from controlplane.lib import origin
from controlplane.lib.origin import Door
from controlplane.lib.threads import in_thread
from controlplane.operations import refusals
from controlplane.operations.audit import client_ip

STEP = 100
MOST_TEXT = 300  # characters of what they sent

CROSS_SITE, FORM, HOST = "access.cross-site", "access.form", "access.host"


class Burst:
    """How many there were of a kind within this minute, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minute = 0
        self._counts: Counter[tuple[str, int | None]] = Counter()

    def share(self, *key: Any) -> int:
        """Count one more; how many are to be told of now, 0 when none."""
        minute = refusals.this_minute()
        with self._lock:
            if minute != self._minute:
                self._minute = minute
                self._counts.clear()
            self._counts[key] += 1
            beyond = self._counts[key] - refusals.MOST_A_MINUTE
        return 1 if beyond <= 0 else 0 if beyond % STEP else STEP


burst = Burst()


def form_refused(request: HttpRequest, reason: str) -> None:
    """A form without the token of our page, or from another site; `reason` is Django's."""
    _write(request.user, FORM, f"{request.method} {request.path}: {reason[:MOST_TEXT]}")


def host_refused(request: HttpRequest) -> None:
    """A request by a name that is not ours. Nobody is signed in: who asks is not looked at."""
    name = request.META.get("HTTP_HOST", "")[:MOST_TEXT]
    with origin.entered(door=origin.door_of(request.path), ip=client_ip(request)):
        _write(AnonymousUser(), HOST, f"{request.method} {request.path[:MOST_TEXT]}: asked as “{name}”")


async def handshake_refused(scope: dict[str, Any]) -> None:
    """A WebSocket that a page of another site opened, or one by a name that is not ours."""
    headers = dict(scope["headers"])
    name, site = (headers.get(key, b"").decode("latin-1")[:MOST_TEXT] for key in (b"host", b"origin"))
    with origin.entered(door=Door.SOCKET, ip=(scope.get("client") or [None])[0]):
        detail = f"WebSocket {scope['path'][:MOST_TEXT]}: from “{site}”, asked as “{name}”"
        await in_thread(_write, AnonymousUser(), CROSS_SITE, detail)


def _write(actor: Actor, verb: str, detail: str) -> None:
    times = burst.share(verb, actor.pk)
    if times:
        refusals.refused(actor, verb, detail=detail, apart=verb, times=times)
