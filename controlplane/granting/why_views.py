"""What one person holds, and why they may do something or may not."""

from __future__ import annotations

from typing import Any

from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from containers.models import Container
from controlplane.access.decide import one_of, require
from controlplane.access.giving import known_to, manageable, managed, named_like
from controlplane.access.middleware import signed_in
from controlplane.access.models import Grant
from controlplane.access.roles import ALL_VERBS
from controlplane.granting.forms import verbs_by_kind
from controlplane.granting.why import answer, things
from controlplane.lib.lists import row_ids
from controlplane.lib.pages import page
from controlplane.lib.searching import having
from hosts.models import Host
from images.models import ImageTag

MOST = 12  # people and things offered
KINDS = {"container": "A container", "image": "An image on a host", "host": "A host", "": "Anything at all"}


@require_safe
def person(request: HttpRequest, pk: int) -> HttpResponse:
    """One person: standing, teams, and every grant they have, by themselves or by a team."""
    require(request.user, "access.manage")
    found = one_of(known_to(signed_in(request)), "access.manage", pk=pk)
    grants = manageable(signed_in(request)).filter(pk__in=Grant.objects.of(found).values("pk"))
    context = {
        "person": found,
        "teams": found.teams.all(),
        "grants": grants.select_related("user", "team", "role").prefetch_related("environments"),
        "is_partial": managed(signed_in(request)) is not None,
    }
    return page(request, "access/person.html", context)


@require_safe
def why(request: HttpRequest) -> HttpResponse:
    """`?user=`, `?verb=`, `?kind=`, `?object=` (ids): the answer and its reasons; `?p=` finds people, `?q=` things."""
    require(request.user, "access.manage")
    user = signed_in(request)
    kind = request.GET.get("kind", "container")
    kind = kind if kind in KINDS else "container"
    verb = request.GET.get("verb", "")
    found = things(user, kind)
    thing = found.filter(pk__in=row_ids(request.GET.getlist("object")[:1])).first() if found is not None else None
    people = known_to(user)
    who = people.filter(pk__in=row_ids(request.GET.getlist("user")[:1])).first()
    context = {
        "people": _first(named_like(people, request.GET.get("p", "").replace("\0", "")[:150]), who),
        "who": who,
        "verb": verb if verb in ALL_VERBS else "",
        "verbs": verbs_by_kind().items(),
        "kinds": KINDS.items(),
        "kind": kind,
        "thing": thing,
        "things": _offered(found, request.GET.get("q", ""), thing),
    }
    if who and verb in ALL_VERBS and (thing or not kind):
        context["answer"] = answer(user, who, verb, thing)
    return page(request, "access/why.html", context)


def _offered(rows: QuerySet[Any] | None, text: str, chosen: Model | None) -> list[Any]:
    """The first few that match every word, and what is chosen already."""
    if rows is None:
        return []
    fields = {
        Container: ("name", "image_ref", "host__name"),
        ImageTag: ("reference", "host__name"),
        Host: ("name", "environment__name"),
    }[rows.model]
    return _first(having(rows, text, *fields), chosen)


def _first(rows: QuerySet[Any], chosen: Model | None) -> list[Any]:
    """The first few of `rows`, and what is chosen already."""
    found = list(rows[:MOST])
    return found if chosen is None or chosen in found else [chosen, *found]
