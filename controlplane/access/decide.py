"""The one decision: may this actor do this to that?

`allows` answers for one object, `visible` for a whole queryset in SQL. Nothing else in Gantry decides. Both ask the
same `Rights` where an object lies: in which environment, under which name of an image (`reach`).
"""

from __future__ import annotations

from typing import TypeVar

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Model, QuerySet

from controlplane.access.models import User
from controlplane.access.reach import Place, place_of, reach_of
from controlplane.access.rights import rights_of
from controlplane.access.roles import ALL_VERBS
from controlplane.lib.errors import NotSeen, RightMissing

Actor = User | AnonymousUser
Target = Model | Place
M = TypeVar("M", bound=Model)


def _check(verb: str) -> None:
    if verb not in ALL_VERBS:
        raise ValueError(f"unknown verb {verb!r}: expected one of {', '.join(sorted(ALL_VERBS))}")


def allows(actor: Actor, verb: str, target: Target | None = None) -> bool:
    """Whether `actor` may do `verb` to `target` (None: to anything at all of the kind)."""
    _check(verb)
    if not isinstance(actor, User) or not actor.is_active:
        return False
    rights = rights_of(actor)
    return rights.hold(verb) if target is None else rights.allow(verb, place_of(target))


def visible(actor: Actor, verb: str, queryset: QuerySet[M]) -> QuerySet[M]:
    """The rows of `queryset` on which `actor` may do `verb`: by joins with what is kept of grants, whose number does
    not depend on the rows."""
    _check(verb)
    if not isinstance(actor, User) or not actor.is_active:
        return queryset.none()
    return rights_of(actor).narrow(verb, queryset, reach_of(queryset.model))


def require(actor: Actor, verb: str, target: Target | None = None) -> None:
    """Raise `RightMissing` unless `allows`."""
    if not allows(actor, verb, target):
        raise RightMissing(verb, target)


def one_of(rows: QuerySet[M], verb: str, **lookup: object) -> M:
    """The one of `rows` that matches: of all that somebody has or sees for `verb`. Raises NotSeen."""
    try:
        return rows.get(**lookup)
    except (ObjectDoesNotExist, ValueError, OverflowError) as exc:
        raise NotSeen(verb, rows.model, lookup) from exc


def fetch(actor: Actor, verb: str, queryset: QuerySet[M], *, see: str, **lookup: object) -> M:
    """The one row of `queryset` that matches, for `verb`.

    Raises NotSeen (a 404) when it is not there or `actor` may not `see` it (the two look alike on purpose), and
    RightMissing when it is seen but `verb` is not held.
    """
    target = one_of(visible(actor, see, queryset), see, **lookup)
    if verb != see:
        require(actor, verb, target)
    return target
