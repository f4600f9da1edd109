"""The overview, and the pages that say what went wrong."""

from __future__ import annotations

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from containers.models import ContainerState
from controlplane.access.decide import allows, visible
from controlplane.figures import figures
from controlplane.lib.pages import page
from controlplane.operations import foreign
from controlplane.operations.access import tops
from hosts.access import counted
from hosts.models import Host


def overview(request: HttpRequest) -> HttpResponse:
    """The state of everything in one look: what is down, what is running, what has just failed."""
    hosts = visible(request.user, "host.see", Host.objects.select_related("environment"))
    context = {
        "hosts": hosts.annotate(
            container_count=counted(request.user, "container.see", "containers"),
            running_count=counted(request.user, "container.see", "containers", state=ContainerState.RUNNING),
        )[:50],
        **figures(request.user),
        "recent_operations": tops(request.user).select_related("host")[:8],
        "can_add_host": allows(request.user, "host.manage"),
        "can_run": allows(request.user, "container.create"),
    }
    return page(request, "overview.html", context)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """What Django finds suspicious. A wrong Host is written down."""
    if isinstance(exception, DisallowedHost):
        foreign.host_refused(request)
    return render(request, "errors/400.html", {"error": exception}, status=400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "errors/403.html", {"error": exception}, status=403)


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form that was open for too long, or came from another site. Gives Django's reason to nobody but the trail."""
    foreign.form_refused(request, reason)
    return forbidden(request)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "errors/404.html", {"error": exception}, status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    return render(request, "errors/500.html", status=500)
