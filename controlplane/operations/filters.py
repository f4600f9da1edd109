"""What the lists of operations and of the audit trail can be narrowed by."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from controlplane.access.decide import visible
from controlplane.access.models import User
from controlplane.operations.models import UNFINISHED, AuditEntry, Operation, Outcome, State

KINDS = (("container", "Containers"), ("image", "Images and builds"), ("bulk", "Bulk actions"))


def _hosts(request: HttpRequest | None) -> QuerySet[Any]:
    """Reached through the model's field: the app of hosts is above this one."""
    host = Operation._meta.get_field("host").related_model
    assert isinstance(host, type)
    hosts = host._default_manager.order_by("name")
    return visible(request.user, "host.see", hosts) if request else hosts.none()


class OperationFilter(django_filters.FilterSet):
    """`?q=`, `?state=` (a state, or "unfinished"), `?kind=` (the word before the dot), `?host=` (id),
    `?who=` (user name).
    """

    q = django_filters.CharFilter(method="search", label="Search")
    state = django_filters.ChoiceFilter(
        choices=[("unfinished", "Unfinished"), *State.choices],
        method="by_state",
        label="State",
        empty_label="Any state",
    )
    kind = django_filters.ChoiceFilter(choices=KINDS, lookup_expr="startswith", label="Kind", empty_label="Any kind")
    host = django_filters.ModelChoiceFilter(queryset=_hosts, label="Host", empty_label="Any host")
    who = django_filters.ModelChoiceFilter(
        queryset=User.objects.order_by("username"),
        field_name="actor",
        to_field_name="username",
        label="Who",
        empty_label="Anybody",
    )

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
