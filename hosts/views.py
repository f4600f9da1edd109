"""Hosts: the list, one host, adding and removing, environments."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from controlplane.access.decide import allows, fetch, require, visible
from controlplane.access.giving import EVERYTHING
from controlplane.lib.errors import Conflict
from controlplane.lib.lists import listing
from controlplane.lib.pages import page, shown_once
from controlplane.operations.models import Operation
from hosts import actions, enrolment, wheels
from hosts.access import counted, get_host, seen_by
from hosts.access import environments as environments_of
from hosts.filters import SORTS, HostFilter
from hosts.forms import AddHostForm, EnvironmentForm, HostForm
from hosts.models import Environment, Host
from hosts.rules.actions import place_of_rules

# Where the line to paste waits for the one page that shows it.
LINE = "enrolment_line"


def host_list(request: HttpRequest) -> HttpResponse:
    """All hosts: state, engine, load, number of containers."""
    require(request.user, "host.see")
    rows = seen_by(request.user).annotate(
        container_count=counted(request.user, "container.see", "containers"),
        running_count=counted(request.user, "container.see", "containers", state="running"),
    )
    context = {
        "listing": listing(request, HostFilter, rows, sorts=SORTS, default_sort="name"),
        "can_manage": allows(request.user, "host.manage"),
        "any": seen_by(request.user).exists(),
        "no_engine": seen_by(request.user).filter(tunnel_up=True, engine_kind="").exists(),
    }
    return page(request, "hosts/list.html", context)


def host_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One host in words, what runs on it, what was done to it; with the line to paste while it has not joined."""
    host = get_host(request.user, pk)
    line = shown_once(request, LINE)
    can_manage = allows(request.user, "host.manage", host)
    tokens = host.enrolment_tokens.all()[:5] if can_manage else []
    total, running, images = _counts(request, host)
    context = {
        "host": host,
        "can_manage": can_manage,
        "can_run": allows(request.user, "container.create", host),
        "line": line["line"] if line and line["host"] == host.pk else None,
        "packages": wheels.standing(),
        "new_agent": wheels.newer_agent(host.agent_version),
        "tokens": tokens,
        "open_token": next((token for token in tokens if token.is_open), None),
        "refused_token": next((token for token in tokens if token.refused_at), None),
        "counts": {"total": total, "running": running},
        "image_count": images,
        "operations": visible(request.user, "operation.see", Operation.objects.filter(host=host))[:10],
    }
    return page(request, "hosts/detail.html", context)


def _counts(request: HttpRequest, host: Host) -> tuple[int, int, int]:
    """Of the host's containers, those that run, and its images: how many the person may see."""
    numbers = {
        "total": counted(request.user, "container.see", "containers"),
        "running": counted(request.user, "container.see", "containers", state="running"),
        "held": counted(request.user, "image.see", "images"),
    }
    return Host.objects.filter(pk=host.pk).annotate(**numbers).values_list(*numbers).get()


def add(request: HttpRequest) -> HttpResponse:
    """Name a host that will join; the next page shows the line to paste on it."""
    require(request.user, "host.manage")
    form = AddHostForm(request.POST or None, actor=request.user)
    if request.method == "POST" and form.is_valid():
        token = actions.add_host(request, form.save(commit=False))
        return _show_line(request, form.instance, token)
    context = {"form": form, "packages": wheels.standing()}
    return page(request, "hosts/add.html", context, status=422 if form.errors else 200)


@require_POST
def new_token(request: HttpRequest, pk: int) -> HttpResponse:
    """Another enrolment token: the first has expired, or the machine was replaced."""
    host = get_host(request.user, pk, "host.manage")
    return _show_line(request, host, actions.issue_token(request, host))


def _show_line(request: HttpRequest, host: Host, token: str) -> HttpResponse:
    request.session[LINE] = {"host": host.pk, "line": enrolment.pasted_line(request, token)}
    return redirect("hosts:detail", pk=host.pk)


def edit(request: HttpRequest, pk: int) -> HttpResponse:
    """Rename, label, put into an environment."""
    host = get_host(request.user, pk, "host.manage")
    form = HostForm(request.POST or None, instance=host, actor=request.user)
    if request.method == "POST" and form.is_valid():
        if form.changed_data:
            actions.change_host(request, form.instance, form.changed_data)
            messages.success(request, f"{host.name} is changed.")
        return redirect("hosts:detail", pk=pk)
    context = {"form": form, "host": host}
    return page(request, "hosts/edit.html", context, status=422 if form.errors else 200)


@require_POST
def rotate(request: HttpRequest, pk: int) -> HttpResponse:
    """Have the host make a new key pair."""
    host = get_host(request.user, pk, "host.manage")
    actions.rotate_key(request, host)
    messages.info(request, f"{host.name} has been asked for a new key.")
    return redirect("hosts:detail", pk=pk)


@require_POST
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Forget a host. Its name must be typed: its history in the lists goes with it."""
    host = get_host(request.user, pk, "host.manage")
    if request.POST.get("confirm") != host.name:
        raise Conflict(f"To remove it, type its name: {host.name}.")
    actions.remove_host(request, host)
    messages.success(request, f"{host.name} is removed. Its containers run on; its agent is no longer let in.")
    return redirect("hosts:list")


def environments(request: HttpRequest) -> HttpResponse:
    """The groups that hosts belong to."""
    require(request.user, "host.see")
    form = EnvironmentForm(request.POST or None)
    if request.method == "POST":
        require(request.user, "host.manage", EVERYTHING)
        if form.is_valid():
            actions.add_environment(request, form.save(commit=False))
            return redirect("hosts:environments")
    # Whoever sees one host of an environment sees all of them: see Host.reach.
    found = list(environments_of(request.user).annotate(host_count=Count("hosts")))
    context = {
        "form": form,
        "environments": found,
        "ruled": {each.pk for each in found if allows(request.user, "rules.manage", place_of_rules(each))},
        "can_manage": allows(request.user, "host.manage", EVERYTHING),
    }
    return page(request, "hosts/environments.html", context, status=422 if form.errors else 200)


@require_POST
def remove_environment(request: HttpRequest, pk: int) -> HttpResponse:
    """Remove a group; its hosts stay."""
    environment = fetch(request.user, "host.manage", Environment.objects.all(), see="host.see", pk=pk)
    require(request.user, "host.manage", EVERYTHING)
    actions.remove_environment(request, environment)
    return redirect("hosts:environments")
