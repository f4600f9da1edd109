"""How many there are of everything that somebody sees: the overview's figures."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Count, Q, Sum
from django.utils import timezone

from containers.models import Container, ContainerState
from controlplane.access.decide import Actor, visible
from controlplane.operations.access import tops
from controlplane.operations.models import UNFINISHED, State
from hosts.models import Host, HostState
from images.models import Image


def figures(actor: Actor) -> dict[str, Any]:
    """What is down, what is running, what has failed within a day."""
    hosts = visible(actor, "host.see", Host.objects.all())
    containers = visible(actor, "container.see", Container.objects.all())
    operations = tops(actor)
    up = Q(host__state=HostState.CONNECTED)
    day_ago = timezone.now() - timedelta(days=1)
    return {
        "hosts_total": hosts.count(),
        "hosts_connected": hosts.filter(state=HostState.CONNECTED).count(),
        "containers_total": containers.count(),
        "containers_running": containers.filter(up, state=ContainerState.RUNNING).count(),
        "containers_unhealthy": containers.filter(up, health="unhealthy").count(),
        "containers_unknown": containers.exclude(up).count(),
        "images": visible(actor, "image.see", Image.objects.all()).aggregate(
            count=Count("engine_id", distinct=True), size=Sum("size")
        ),
        "operations_running": operations.filter(state__in=UNFINISHED).count(),
        "operations_failed": operations.filter(state__in=[State.FAILED, State.LOST], created_at__gt=day_ago).count(),
    }
