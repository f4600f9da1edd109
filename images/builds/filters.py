"""What the list of builds can be narrowed by and put in order by."""

from __future__ import annotations

import django_filters
from django.db.models import Q, QuerySet

from controlplane.operations.models import UNFINISHED, State
from hosts.filters import hosts_seen
from images.builds.models import Build, Definition, Trigger

SORTS = {
    "id": ("operation_id",),
    "state": ("operation__state", "-operation_id"),
    "host": ("operation__host_name", "-operation_id"),
    "size": ("size", "-operation_id"),
}


class BuildFilter(django_filters.FilterSet):
    """`?q=`, `?state=`, `?of=` (a definition's slug), `?host=` (id), `?trigger=`."""

    q = django_filters.CharFilter(method="search", label="Search")
    state = django_filters.ChoiceFilter(
        choices=[("unfinished", "Unfinished"), *State.choices],
        method="by_state",
        label="State",
        empty_label="Any state",
    )
    of = django_filters.ModelChoiceFilter(
        queryset=Definition.objects.all(),
        field_name="definition",
        to_field_name="slug",
        label="Definition",
        empty_label="Any build",
    )
    host = django_filters.ModelChoiceFilter(
        queryset=hosts_seen, field_name="operation__host", label="Host", empty_label="Any host"
    )
    trigger = django_filters.ChoiceFilter(choices=Trigger.choices, label="Started", empty_label="Started by any")

    class Meta:
        model = Build
        fields: list[str] = []

    def search(self, queryset: QuerySet[Build], name: str, value: str) -> QuerySet[Build]:
        for word in value.split()[:8]:
            queryset = queryset.filter(
                Q(operation__title__icontains=word)
                | Q(operation__actor_name__icontains=word)
                | Q(operation__error__icontains=word)
                | Q(operation__host_name__icontains=word)
                | Q(commit__startswith=word.lower())
                | Q(image_id__startswith=f"sha256:{word.lower().removeprefix('sha256:')}")
            )
        return queryset

    def by_state(self, queryset: QuerySet[Build], name: str, value: str) -> QuerySet[Build]:
        states = UNFINISHED if value == "unfinished" else [value]
        return queryset.filter(operation__state__in=states)
