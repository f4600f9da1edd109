"""The browsers somebody is signed in with: noted, listed, ended.

A session is Django's own row; ours says what one wants to know of it. Ending it removes both: the next request is a
stranger's, and every socket of it closes within `lib.sockets.RECHECK_SECONDS`.
"""

from __future__ import annotations

import time
from collections import OrderedDict

from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from controlplane.access.models import BrowserSession, User

# How exact "last seen" is. Every process writes it this often at most.
NOTE_SECONDS = 60.0
MOST_REMEMBERED = 10_000

_noted: OrderedDict[str, float] = OrderedDict()


def note(request: HttpRequest) -> None:
    """Write down that the session of `request`, which has a user, is in use."""
    key, user = request.session.session_key, request.user
    if not key or not isinstance(user, User):
        return
    now = time.monotonic()
    if now - _noted.get(key, -NOTE_SECONDS) < NOTE_SECONDS:
        return
    _noted[key] = now
    _noted.move_to_end(key)
    if len(_noted) > MOST_REMEMBERED:
        _noted.popitem(last=False)
    _write(key, user, request)


def _write(key: str, user: User, request: HttpRequest) -> None:
    address = request.META.get("REMOTE_ADDR") or None
    seen = BrowserSession.objects.filter(key=key, user=user).update(seen_at=timezone.now(), address=address)
    if seen:
        return
    agent = "".join(c for c in request.META.get("HTTP_USER_AGENT", "") if c.isprintable())[:300]
    with transaction.atomic():
        BrowserSession.objects.filter(~_is_stored(), user=user).delete()
        BrowserSession.objects.filter(key=key).delete()
        row = BrowserSession(key=key, user=user, address=address, agent=agent)
        BrowserSession.objects.bulk_create([row], ignore_conflicts=True)


def _is_stored() -> Exists:
    """Whether Django's row of the same key is there, and good for a request."""
    return Exists(Session.objects.filter(session_key=OuterRef("key"), expire_date__gt=timezone.now()))


def open_sessions_of_all() -> QuerySet[BrowserSession]:
    """Where anybody is signed in, the last seen first."""
    return BrowserSession.objects.filter(_is_stored())


def open_sessions(user: User) -> QuerySet[BrowserSession]:
    """Where `user` is signed in."""
    return open_sessions_of_all().filter(user=user)


@transaction.atomic
def end(sessions: QuerySet[BrowserSession]) -> int:
    """Sign these browsers out; how many there were."""
    keys = list(sessions.values_list("key", flat=True))
    Session.objects.filter(session_key__in=keys).delete()
    BrowserSession.objects.filter(key__in=keys).delete()
    return len(keys)


def end_all(user: User, *, but: str | None = None) -> int:
    """Sign `user` out everywhere, `but` the session of that key."""
    return end(BrowserSession.objects.filter(user=user).exclude(key=but or ""))


def forget_expired() -> None:
    """Remove what was noted of sessions that are no more."""
    BrowserSession.objects.filter(~_is_stored()).delete()
