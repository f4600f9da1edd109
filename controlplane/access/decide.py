"""The one decision: may this actor do this to that?

`allows` answers for one object, `visible` for a whole queryset in SQL. Nothing else in Gantry decides.
The two agree by construction: both reduce to `_holds`, and both take the target, so that grants by
environment, repository and tag can be added here without touching a caller.
"""

from __future__ import annotations

from typing import TypeVar

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Model, QuerySet
from django.http import Http404

from controlplane.access.models import User
from controlplane.access.roles import ALL_VERBS, VERBS
from controlplane.lib.errors import RightMissing

Actor = User | AnonymousUser
M = TypeVar("M", bound=Model)


def _holds(actor: Actor, verb: str) -> bool:
    if verb not in ALL_VERBS:
        raise ValueError(f"unknown verb {verb!r}: expected one of {', '.join(sorted(ALL_VERBS))}")
    return isinstance(actor, User) and actor.is_active and verb in VERBS.get(actor.role, frozenset())


def allows(actor: Actor, verb: str, target: Model | None = None) -> bool:
    """Whether `actor` may do `verb` to `target` (None: to anything of the kind)."""
    return _holds(actor, verb)


def visible(actor: Actor, verb: str, queryset: QuerySet[M]) -> QuerySet[M]:
    """The rows of `queryset` on which `actor` may do `verb`."""
    return queryset if _holds(actor, verb) else queryset.none()


def require(actor: Actor, verb: str, target: Model | None = None) -> None:
    """Raise `RightMissing` unless `allows`."""
    if not allows(actor, verb, target):
        raise RightMissing(verb, target)


def fetch(actor: Actor, verb: str, queryset: QuerySet[M], *, see: str, **lookup: object) -> M:
    """The one row of `queryset` that matches, for `verb`.

    Raises Http404 when it is not there or `actor` may not `see` it (the two look alike on purpose), and
    RightMissing when it is seen but `verb` is not held.
    """
    try:
        target = visible(actor, see, queryset).get(**lookup)
    except (ObjectDoesNotExist, ValueError) as exc:
        raise Http404("Nothing here, or nothing you may see.") from exc
    if verb != see:
        require(actor, verb, target)
    return target
