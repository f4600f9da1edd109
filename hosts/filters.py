"""What the list of hosts can be narrowed by and put in order by."""

from __future__ import annotations

import django_filters
from django.db.models import Q, QuerySet

from hosts.models import Environment, Host, HostState

SORTS = {
    "name": ("name",),
    "state": ("state", "name"),
    "environment": ("environment__position", "environment__name", "name"),
    "containers": ("container_count", "name"),
    "seen": ("last_seen_at", "name"),
}


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
