"""The overview, and the pages that say what went wrong."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Count, Q, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from containers.models import Container, ContainerState
from controlplane.access.decide import visible
from controlplane.lib.pages import page
from controlplane.operations.models import UNFINISHED, Operation, State
from hosts.models import Host, HostState
from images.models import Image


def overview(request: HttpRequest) -> HttpResponse:
    """The state of everything in one look: what is down, what is running, what has just failed."""
    hosts = visible(request.user, "host.see", Host.objects.select_related("environment"))
    containers = visible(request.user, "container.see", Container.objects.all())
    operations = visible(request.user, "operation.see", Operation.objects.filter(parent=None))
    up = Q(host__state=HostState.CONNECTED)
    day_ago = timezone.now() - timedelta(days=1)
    context = {
        "hosts": hosts.annotate(
            container_count=Count("containers"),
            running_count=Count("containers", filter=Q(containers__state=ContainerState.RUNNING)),
        )[:50],
        "hosts_total": hosts.count(),
        "hosts_connected": hosts.filter(state=HostState.CONNECTED).count(),
        "containers_total": containers.count(),
        "containers_running": containers.filter(up, state=ContainerState.RUNNING).count(),
        "containers_unhealthy": containers.filter(up, health="unhealthy").count(),
        "containers_unknown": containers.exclude(up).count(),
        "images": visible(request.user, "image.see", Image.objects.all()).aggregate(
            count=Count("engine_id", distinct=True), size=Sum("size")
        ),
        "operations_running": operations.filter(state__in=UNFINISHED).count(),
        "operations_failed": operations.filter(state__in=[State.FAILED, State.LOST], created_at__gt=day_ago).count(),
        "recent_operations": operations.select_related("host")[:8],
    }
    return page(request, "overview.html", context)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "errors/400.html", {"error": exception}, status=400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "errors/403.html", {"error": exception}, status=403)


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form that was open for too long, or came from another site. Gives Django's reason to nobody but the log."""
    return forbidden(request)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "errors/404.html", {"error": exception}, status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    return render(request, "errors/500.html", status=500)
