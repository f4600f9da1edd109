"""The overview: how many there are of everything one sees."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from controlplane.figures import figures

router = Router(tags=["overview"])


class OverviewOut(Schema):
    """`containers_unknown`: on hosts out of contact. `operations_failed`: within the last day."""

    hosts_total: int
    hosts_connected: int
    containers_total: int
    containers_running: int
    containers_unhealthy: int
    containers_unknown: int
    images_total: int
    images_size: Annotated[int, Field(description="Bytes, an image counted on each host that holds it.")]
    operations_running: int
    operations_failed: int


@router.get("", response=OverviewOut, operation_id="get_overview")
def overview(request: HttpRequest) -> Any:
    """What is down, what is running, what has just failed."""
    found = figures(request.user)
    return {**found, "images_total": found["images"]["count"], "images_size": found["images"]["size"] or 0}
