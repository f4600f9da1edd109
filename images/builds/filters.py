"""What the list of builds can be narrowed by and put in order by."""

from __future__ import annotations

import django_filters
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from controlplane.lib.searching import SearchFilter
from controlplane.operations.models import UNFINISHED, State
from hosts.filters import hosts_seen
from images.builds.access import definitions
from images.builds.models import Build, Definition, Trigger

SORTS = {
    "id": ("operation_id",),
    "state": ("operation__state", "-operation_id"),
    "host": ("operation__host_name", "-operation_id"),
    "size": ("size", "-operation_id"),
}
STARTS = [("webhook", "A webhook"), ("schedule", "The clock"), ("base", "A new base image"), ("hand", "By hand")]
DEFINITION_SORTS = {"name": ("name",), "host": ("host__name", "name"), "id": ("id",)}


def _definitions(request: HttpRequest | None) -> QuerySet[Definition]:
    return definitions(request.user) if request else Definition.objects.none()


class BuildFilter(django_filters.FilterSet):
    """`?q=`, `?state=`, `?of=` (a definition's slug), `?host=` (id), `?trigger=`."""

    q = SearchFilter(
        "operation__title",
        "operation__actor_name",
        "operation__error",
        "operation__host_name",
        also=lambda word: (
            Q(commit__startswith=word.lower())
            | Q(image_id__startswith=f"sha256:{word.lower().removeprefix('sha256:')}")
        ),
    )
    state = django_filters.ChoiceFilter(
        choices=[("unfinished", "Unfinished"), *State.choices],
        method="by_state",
        label="State",
        empty_label="Any state",
    )
    of = django_filters.ModelChoiceFilter(
        queryset=_definitions,
        field_name="definition",
        to_field_name="slug",
        label="Definition",
        empty_label="Any build",
    )
    host = django_filters.ModelChoiceFilter(
        queryset=hosts_seen, field_name="operation__host", label="Host", empty_label="Any host"
    )
    trigger = django_filters.ChoiceFilter(choices=Trigger.choices, label="Started by", empty_label="Started by any")

    class Meta:
        model = Build
        fields: list[str] = []

    def by_state(self, queryset: QuerySet[Build], name: str, value: str) -> QuerySet[Build]:
        states = UNFINISHED if value == "unfinished" else [value]
        return queryset.filter(operation__state__in=states)


class DefinitionFilter(django_filters.FilterSet):
    """`?q=` (words of name, slug, owner), `?starts=` (what starts it), `?host=` (id)."""

    q = SearchFilter("name", "slug", "owner__username")
    starts = django_filters.ChoiceFilter(
        choices=STARTS, method="by_start", label="Started by", empty_label="Started by any"
    )
    host = django_filters.ModelChoiceFilter(queryset=hosts_seen, label="Host", empty_label="Any host")

    class Meta:
        model = Definition
        fields: list[str] = []

    def by_start(self, queryset: QuerySet[Definition], name: str, value: str) -> QuerySet[Definition]:
        by = {"webhook": ~Q(hook_secret=""), "schedule": ~Q(schedule=""), "base": Q(follows_base=True)}
        if value == "hand":
            return queryset.exclude(by["webhook"] | by["schedule"] | by["base"])
        return queryset.filter(by[value])
