"""Containers of all hosts: the list, one container, and what can be done to them."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_POST

from containers import actions
from containers.access import get_container, seen_by, select
from containers.committing import may_commit
from containers.filters import SORTS, ContainerFilter
from containers.forms import RemoveForm, RenameForm
from containers.inspecting import inspect_container
from containers.keeping import broken_by
from containers.models import Container
from containers.recordings.access import of_container
from controlplane.access.decide import allows, require
from controlplane.access.middleware import signed_in
from controlplane.lib.errors import InvalidArgument, NotFound
from controlplane.lib.lists import listing
from controlplane.lib.pages import back, page
from controlplane.operations.access import seen_by as operations_seen
from controlplane.operations.audit import audited, client_ip
from controlplane.operations.models import UNFINISHED, Operation

# How long a container's row names an operation that went wrong.
RECENT = timedelta(minutes=10)


def container_list(request: HttpRequest) -> HttpResponse:
    """One list over all hosts; search, filters, order and page are in the URL."""
    require(request.user, "container.see")
    found = listing(request, ContainerFilter, seen_by(request.user), sorts=SORTS, default_sort="name")
    latest = _latest(request, found.rows)
    for container in found.rows:
        container.latest = latest.get((container.host_id, container.engine_id))
        container.verbs = _permitted_verbs(request, container)
        container.can_exec = allows(request.user, "container.exec", container)
        container.can_logs = allows(request.user, "container.logs", container)
    context = {
        "listing": found,
        "verbs": _permitted_verbs(request),
        "any": seen_by(request.user).exists(),
        "can_run": allows(request.user, "container.create"),
    }
    return page(request, "containers/list.html", context)


def _latest(request: HttpRequest, rows: list[Container]) -> dict[tuple[int, str], Operation]:
    """What each container's row has to say of an operation, in one query: that one is under way, or that the
    newest went wrong a moment ago.
    """
    recent = Q(state__in=UNFINISHED) | Q(finished_at__gt=timezone.now() - RECENT)
    ids = [row.engine_id for row in rows]
    found = operations_seen(request.user).filter(recent, target_kind="container", target_id__in=ids).order_by("id")
    newest = {(operation.host_id or 0, operation.target_id): operation for operation in found}
    return {key: operation for key, operation in newest.items() if not operation.is_finished or operation.went_wrong}


def _permitted_verbs(request: HttpRequest, container: Container | None = None) -> list[actions.Verb]:
    """What the person may do to `container`; without one, to any at all."""
    return [verb for verb in actions.VERBS.values() if allows(request.user, verb.permission, container)]


def container_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One container in words, from the mirror alone; what only the host knows is fetched by the page itself."""
    container = get_container(request.user, pk)
    operations = operations_seen(request.user).filter(
        host=container.host, target_kind="container", target_id=container.engine_id
    )
    context = {
        "container": container,
        "broken": broken_by(container),
        "verbs": _permitted_verbs(request, container),
        "operations": operations[:10],
        "latest": operations.first(),
        "pending": operations.filter(state__in=UNFINISHED).first(),
        "rename_form": RenameForm(initial={"name": container.name}),
        "can_exec": allows(request.user, "container.exec", container),
        "can_replay": allows(request.user, "recording.see", container),
        "recordings": of_container(request.user, container)[:5],
        "can_reveal": allows(request.user, "container.secrets", container),
        "can_update": allows(request.user, "container.update", container),
        "can_commit": may_commit(request.user, container),
        "can_run": all(allows(request.user, verb, container) for verb in ("container.create", "image.run")),
    }
    return page(request, "containers/detail.html", context)


def inspect(request: HttpRequest, pk: int) -> HttpResponse:
    """What the engine says of a container now, as JSON, with the values of its environment masked."""
    container = get_container(request.user, pk)
    context = {
        "container": container,
        "inspection": inspect_container(container, reveal=False),
        "can_reveal": allows(request.user, "container.secrets", container),
    }
    return page(request, "containers/inspect.html", context)


@require_POST
def reveal(request: HttpRequest, pk: int) -> HttpResponse:
    """The same with the environment in clear; who looked is written down."""
    container = get_container(request.user, pk, "container.secrets")
    audited(request, request.user, "container.secrets", container, detail="revealed the environment")
    inspection = inspect_container(container, reveal=True)
    context = {"container": container, "inspection": inspection, "can_reveal": True}
    response = page(request, "containers/inspect.html", context)
    response["Cache-Control"] = "no-store"
    return response


@require_POST
def act(request: HttpRequest, verb: str) -> HttpResponse:
    """Do `verb` to the containers of `ids`: a row's button, a page's button, or the bulk bar.

    Those the verb makes no sense for are left out and named; none left is an error.
    """
    if verb not in actions.VERBS:
        raise NotFound(f"There is no such thing to do to a container: {verb}.")
    chosen = actions.VERBS[verb]
    selected = select(request.user, request.POST.getlist("ids"))
    if not selected:
        require(request.user, chosen.permission)
    for container in selected:
        require(request.user, chosen.permission, container)
    fitting = actions.refuse_unfit(chosen, selected)
    params = _params(request, verb)
    operation = actions.act(signed_in(request), chosen, fitting, ip=client_ip(request), **params)
    left_out = [container.name for container in selected if container not in fitting]
    if left_out:
        messages.warning(request, f"Left out, as {chosen.label.lower()} does not fit: {', '.join(left_out)}.")
    messages.info(request, operation.title, extra_tags=f"operation-{operation.pk}")
    return back(request, "operations:detail", pk=operation.pk)


def _params(request: HttpRequest, verb: str) -> dict[str, object]:
    if verb != "remove":
        return {}
    form = RemoveForm(request.POST)
    return {key: value for key, value in form.cleaned_data.items() if value} if form.is_valid() else {}


@require_POST
def rename(request: HttpRequest, pk: int) -> HttpResponse:
    """Give a container another name."""
    container = get_container(request.user, pk, "container.update")
    form = RenameForm(request.POST)
    if not form.is_valid():
        raise InvalidArgument(
            " ".join(map(str, form.errors["name"])), "A name is letters, digits and _ . - after the first."
        )
    operation = actions.rename(
        signed_in(request),
        container,
        form.cleaned_data["name"],
        ip=client_ip(request),
    )
    messages.info(request, operation.title, extra_tags=f"operation-{operation.pk}")
    return back(request, "operations:detail", pk=operation.pk)
