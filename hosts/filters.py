"""What the list of hosts can be narrowed by and put in order by."""

from __future__ import annotations

import django_filters
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from controlplane.access.decide import visible
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
    return visible(request.user, "host.see", Host.objects.all()) if request else Host.objects.none()


class HostFilter(django_filters.FilterSet):
    """`?q=` (name, label, engine, OS), `?state=`, `?environment=` (slug)."""

    q = django_filters.CharFilter(method="search", label="Search")
    state = django_filters.ChoiceFilter(choices=HostState.choices, label="State", empty_label="Any state")
    environment = django_filters.ModelChoiceFilter(
        queryset=Environment.objects.all(),
        to_field_name="slug",
        label="Environment",
        empty_label="Any environment",
    )

    class Meta:
        model = Host
        fields: list[str] = []

    def search(self, queryset: QuerySet[Host], name: str, value: str) -> QuerySet[Host]:
        return queryset.filter(
            Q(name__icontains=value)
            | Q(labels__icontains=value)
            | Q(engine_kind__icontains=value)
            | Q(os__icontains=value)
        )
