"""Teams: the list, one with its members and grants."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from controlplane.access.decide import allows
from controlplane.access.giving import EVERYTHING, manageable, require_everywhere
from controlplane.access.middleware import signed_in
from controlplane.access.models import Team
from controlplane.granting import access, actions
from controlplane.granting.forms import MembersForm, TeamForm
from controlplane.granting.shared import removal, say
from controlplane.granting.words import described, names
from controlplane.lib.errors import GantryError
from controlplane.lib.lists import row_ids
from controlplane.lib.pages import page


def teams(request: HttpRequest) -> HttpResponse:
    """Every team; a new one."""
    found = access.teams(signed_in(request))
    form = TeamForm(request.POST or None)
    if request.method == "POST":
        require_everywhere(signed_in(request))
        if form.is_valid() and (made := _create(request, form)):
            return redirect("grants:team", pk=made.pk)
    context = {
        "form": form,
        "teams": found,
        "can_manage": allows(request.user, "access.manage", EVERYTHING),
    }
    return page(request, "access/teams.html", context, status=422 if form.errors else 200)


def _create(request: HttpRequest, form: TeamForm) -> Team | None:
    try:
        return actions.create_team(request, form.cleaned_data["name"], form.cleaned_data["group"])
    except GantryError as exc:
        say(form, exc, "name")
        return None


def team(request: HttpRequest, pk: int) -> HttpResponse:
    """One team: who is in it, what it is granted."""
    user = signed_in(request)
    found = access.get_team(user, pk)
    name = found.name
    form = TeamForm(request.POST or None, instance=found)
    if request.method == "POST":
        require_everywhere(user)
        if form.is_valid() and _change(request, found, form):
            return redirect("grants:team", pk=pk)
    grants = manageable(user).filter(team=found).select_related("role", "team").prefetch_related("environments")
    context = {
        "team": found,
        "name": name,
        "form": form,
        "members_form": MembersForm(team=found),
        "members": found.members.all(),
        "grants": grants,
        "names": names(found),
        "hits": [*names(found), *(described(each) for each in grants[:20])],
        "can_manage": allows(user, "access.manage", EVERYTHING),
    }
    return page(request, "access/team.html", context, status=422 if form.errors else 200)


def _change(request: HttpRequest, found: Team, form: TeamForm) -> bool:
    data = form.cleaned_data
    try:
        changed = actions.change_team(request, found, data["name"], data["group"])
    except GantryError as exc:
        say(form, exc, "name")
        return False
    messages.success(request, f"{changed.name} is changed.")
    return True


@require_POST
def add(request: HttpRequest, pk: int) -> HttpResponse:
    """Let people into a team: they have what it is granted from then on."""
    require_everywhere(signed_in(request))
    found = access.get_team(signed_in(request), pk)
    form = MembersForm(request.POST, team=found)
    if form.is_valid():
        people = list(form.cleaned_data["people"])
        actions.add_members(request, found, people)
        messages.success(request, f"{', '.join(each.display for each in people)}: now in {found.name}.")
    else:
        messages.error(request, "Expected somebody who is not in the team yet. Choose at least one.")
    return redirect("grants:team", pk=pk)


@require_POST
def take(request: HttpRequest, pk: int) -> HttpResponse:
    """Take one person (`person`: an id) out of a team."""
    require_everywhere(signed_in(request))
    found = access.get_team(signed_in(request), pk)
    person = access.get_member(found, next(iter(row_ids(request.POST.getlist("person")[:1])), 0))
    actions.take_member(request, found, person)
    messages.success(request, f"{person.display} is no longer in {found.name}.")
    return redirect("grants:team", pk=pk)


# Its grants go with it.
remove = removal(access.get_team, actions.remove_team, "grants:teams")
