"""What the list of hosts can be narrowed by and put in order by."""

from __future__ import annotations

import django_filters
from django.db.models import QuerySet
from django.http import HttpRequest

from controlplane.lib.searching import SearchFilter
from hosts.access import environments, seen_by
from hosts.models import Environment, Host, HostState

SORTS = {
    "name": ("name",),
    "state": ("state", "name"),
    "environment": ("environment__position", "environment__name", "name"),
    "containers": ("container_count", "name"),
    "seen": ("last_seen_at", "name"),
}


def hosts_seen(request: HttpRequest | None) -> QuerySet[Host]:
    """The hosts a person may choose from in a list's filter; none without a request."""
    return seen_by(request.user) if request else Host.objects.none()


def environments_seen(request: HttpRequest | None) -> QuerySet[Environment]:
    """The environments a person may choose from likewise."""
    return environments(request.user) if request else Environment.objects.none()


class HostFilter(django_filters.FilterSet):
    """`?q=` (name, label, engine, OS), `?state=`, `?environment=` (slug)."""

    q = SearchFilter("name", "labels", "engine_kind", "os")
    state = django_filters.ChoiceFilter(choices=HostState.choices, label="State", empty_label="Any state")
    environment = django_filters.ModelChoiceFilter(
        queryset=environments_seen,
        to_field_name="slug",
        label="Environment",
        empty_label="Any environment",
    )

    class Meta:
        model = Host
        fields: list[str] = []
