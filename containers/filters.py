"""What the list of containers can be narrowed by and put in order by."""

from __future__ import annotations

import django_filters
from django.db.models import Q, QuerySet

from containers.models import Container, ContainerState
from controlplane.lib.searching import SearchFilter
from hosts.filters import environments_seen, hosts_seen
from hosts.models import HostState

SORTS = {
    "name": ("name", "id"),
    "image": ("image_ref", "name", "id"),
    "host": ("host__name", "name", "id"),
    "state": ("state", "name", "id"),
    "created": ("created_at", "id"),
}


class ContainerFilter(django_filters.FilterSet):
    """`?q=` (name, image, id, label), `?state=` (a state, "unknown", "unhealthy"), `?host=` (id),
    `?environment=` (slug), `?image=` (text of the reference), `?label=` (key or key=value),
    `?rules=broken`.
    """

    q = SearchFilter(
        "name",
        "image_ref",
        "labels_text",
        "host__name",
        also=lambda word: Q(engine_id__startswith=word.lower()),
    )
    state = django_filters.ChoiceFilter(
        choices=[*ContainerState.choices, ("unhealthy", "Unhealthy"), ("unknown", "Unknown")],
        method="by_state",
        label="State",
        empty_label="Any state",
    )
    host = django_filters.ModelChoiceFilter(queryset=hosts_seen, label="Host", empty_label="Any host")
    environment = django_filters.ModelChoiceFilter(
        queryset=environments_seen,
        field_name="host__environment",
        to_field_name="slug",
        label="Environment",
        empty_label="Any environment",
    )
    image = django_filters.CharFilter(field_name="image_ref", lookup_expr="icontains", label="Image")
    label = django_filters.CharFilter(method="by_label", label="Label")
    rules = django_filters.ChoiceFilter(
        choices=[("broken", "Breaks rules")], method="by_rules", label="Rules", empty_label="Any"
    )

    class Meta:
        model = Container
        fields: list[str] = []

    def by_state(self, queryset: QuerySet[Container], name: str, value: str) -> QuerySet[Container]:
        if value == "unknown":
            return queryset.exclude(host__state=HostState.CONNECTED)
        queryset = queryset.filter(host__state=HostState.CONNECTED)
        if value == "unhealthy":
            return queryset.filter(health="unhealthy", state=ContainerState.RUNNING)
        return queryset.filter(state=value)

    def by_rules(self, queryset: QuerySet[Container], name: str, value: str) -> QuerySet[Container]:
        return queryset.filter(breaks_rules=True)

    def by_label(self, queryset: QuerySet[Container], name: str, value: str) -> QuerySet[Container]:
        """`key` alone finds any value. Each label is one line of `labels_text`, with a line end on both sides."""
        line = f"\n{value}\n" if "=" in value else f"\n{value}="
        return queryset.filter(labels_text__contains=line)
