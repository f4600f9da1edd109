"""What the lists of operations and of the audit trail can be narrowed by."""

from __future__ import annotations

import django_filters
from django.db.models import Q, QuerySet

from controlplane.operations.models import UNFINISHED, AuditEntry, Operation, Outcome, State


class OperationFilter(django_filters.FilterSet):
    """`?q=`, `?state=` (a state, or "unfinished"), `?kind=`, `?host=` (id), `?actor=` (name)."""

    q = django_filters.CharFilter(method="search", label="Search")
    state = django_filters.ChoiceFilter(
        choices=[("unfinished", "Unfinished"), *State.choices], method="by_state", label="State"
    )
    kind = django_filters.CharFilter(lookup_expr="startswith", label="Kind")
    host = django_filters.NumberFilter(field_name="host_id", label="Host")
    actor = django_filters.CharFilter(field_name="actor_name", lookup_expr="icontains", label="Who")

    class Meta:
        model = Operation
        fields: list[str] = []

    def search(self, queryset: QuerySet[Operation], name: str, value: str) -> QuerySet[Operation]:
        return queryset.filter(
            Q(title__icontains=value)
            | Q(target_name__icontains=value)
            | Q(host_name__icontains=value)
            | Q(actor_name__icontains=value)
            | Q(error__icontains=value)
        )

    def by_state(self, queryset: QuerySet[Operation], name: str, value: str) -> QuerySet[Operation]:
        return queryset.filter(state__in=UNFINISHED if value == "unfinished" else [value])


class AuditFilter(django_filters.FilterSet):
    """`?q=`, `?verb=`, `?outcome=`."""

    q = django_filters.CharFilter(method="search", label="Search")
    verb = django_filters.CharFilter(lookup_expr="startswith", label="Verb")
    outcome = django_filters.ChoiceFilter(choices=Outcome.choices, label="Outcome")

    class Meta:
        model = AuditEntry
        fields: list[str] = []

    def search(self, queryset: QuerySet[AuditEntry], name: str, value: str) -> QuerySet[AuditEntry]:
        return queryset.filter(
            Q(actor_name__icontains=value)
            | Q(target_name__icontains=value)
            | Q(target_id__icontains=value)
            | Q(host_name__icontains=value)
            | Q(detail__icontains=value)
            | Q(ip__icontains=value)
        )
