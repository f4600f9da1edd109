"""Why somebody may do something, or what is missing."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field

from controlplane.access.decide import one_of, require
from controlplane.access.explaining import by
from controlplane.access.giving import known_to
from controlplane.access.models import User
from controlplane.api.common import Verb, caller
from controlplane.api.problems import Invalid
from controlplane.granting.why import Thing, answer, things
from controlplane.lib.lists import row_ids
from images.access import not_seen, select

router = Router(tags=["grants"])


class LineOut(Schema):
    """One thing that they hold: the `grant` (its id; null: by standing), and what keeps it from giving it."""

    grant: int | None
    by: str
    gives: bool
    by_owning: bool
    missing: list[str]


class WhyOut(Schema):
    """The answer. `lines`: what gives it, then the others, the nearest miss first; of grants, those you manage."""

    allowed: bool
    sentence: str
    lines: list[LineOut]


class WhyQuery(Schema):
    user: Annotated[str, Field(max_length=150, description="A user name.")]
    verb: Verb
    kind: Annotated[Literal["container", "image", "host"] | None, Field(description="Left out: anything at all.")] = (
        None
    )
    object: Annotated[
        str | None, Field(max_length=500, description="An id; of an image its key on one host: HOST|ID|REFERENCE.")
    ] = None


@router.get("", response=WhyOut, operation_id="why")
def why(request: HttpRequest, query: Query[WhyQuery]) -> Any:
    """Whether somebody may do something to a thing: the grant that gives it, or what is missing."""
    require(request.user, "access.manage")
    if (query.kind is None) != (query.object is None):
        raise Invalid({"object": ["Expected `kind` and `object` together, or neither of them."]})
    who = known_to(caller(request)).filter(username=query.user).first()
    if who is None:
        raise Invalid({"user": [f"Expected a user name, found “{query.user}”."]})
    found = answer(caller(request), who, query.verb, _thing(caller(request), query.kind, query.object or ""))
    return {"allowed": found.allowed, "sentence": found.sentence, "lines": [_said(who, line) for line in found.lines]}


def _thing(actor: User, kind: str | None, ident: str) -> Thing | None:
    """None: it is asked of nothing in particular. Raises NotSeen for what `actor` does not see or manage."""
    rows = things(actor, kind or "")
    if rows is None:
        return None
    # Without a host a key means an image on all of them.
    named = [tag.pk for tag in select(actor, [ident]) if ident[:1] != "|"] if kind == "image" else row_ids([ident])
    if kind == "image" and not named:
        raise not_seen(ident)
    found: Thing = one_of(rows, "access.manage", pk=named[0] if named else ident)
    return found


def _said(who: User, line: Any) -> dict[str, Any]:
    return {
        "grant": line.grant.pk if line.grant else None,
        "by": by(line, who),
        "gives": line.gives,
        "by_owning": line.by_owning,
        "missing": [each.words for each in line.missing],
    }
