"""What the lists of operations and of the audit trail can be narrowed by."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import django_filters
from django import forms
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from controlplane.access.decide import visible
from controlplane.access.models import User
from controlplane.lib.origin import Door
from controlplane.lib.searching import SearchFilter
from controlplane.operations.access import seen_by
from controlplane.operations.models import UNFINISHED, AuditEntry, Operation, Outcome, State

MOST_SUGGESTIONS = 300
FOLDED = ("target", "host", "environment", "door", "since", "until")

KINDS = (("container", "Containers"), ("image", "Images and builds"), ("bulk", "Bulk actions"))


def _hosts(request: HttpRequest | None) -> QuerySet[Any]:
    """Reached through the model's field: the app of hosts is above this one."""
    host = Operation._meta.get_field("host").related_model
    assert isinstance(host, type)
    hosts = host._default_manager.order_by("name")
    return visible(request.user, "host.see", hosts) if request else hosts.none()


def _people(request: HttpRequest | None) -> QuerySet[User]:
    """Whoever has asked for something that is seen: not everybody there is."""
    if request is None:
        return User.objects.none()
    return User.objects.filter(pk__in=seen_by(request.user).order_by().values("actor")).order_by("username")


class MomentField(forms.DateTimeField):
    """A moment in UTC, as the browser's own control writes it."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")

    def to_python(self, value: Any) -> Any:
        try:
            moment = super().to_python(value)
            return moment.astimezone(UTC) if moment else moment
        except OverflowError as exc:  # at the end of the calendar, in another time zone
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from exc


class MomentFilter(django_filters.Filter):
    field_class = MomentField


class OperationFilter(django_filters.FilterSet):
    """`?q=`, `?state=` (a state, or "unfinished"), `?kind=` (the word before the dot), `?host=` (id),
    `?who=` (user name).
    """

    q = SearchFilter("title", "target_name", "host_name", "actor_name", "error")
    state = django_filters.ChoiceFilter(
        choices=[("unfinished", "Unfinished"), *State.choices],
        method="by_state",
        label="State",
        empty_label="Any state",
    )
    kind = django_filters.ChoiceFilter(choices=KINDS, lookup_expr="startswith", label="Kind", empty_label="Any kind")
    host = django_filters.ModelChoiceFilter(queryset=_hosts, label="Host", empty_label="Any host")
    who = django_filters.ModelChoiceFilter(
        queryset=_people,
        field_name="actor",
        to_field_name="username",
        label="Who",
        empty_label="Anybody",
    )

    class Meta:
        model = Operation
        fields: list[str] = []

    def by_state(self, queryset: QuerySet[Operation], name: str, value: str) -> QuerySet[Operation]:
        return queryset.filter(state__in=UNFINISHED if value == "unfinished" else [value])


class AuditFilter(django_filters.FilterSet):
    """`?q=`, `?who=` (a name, or part of it), `?verb=` (or its beginning), `?target=` (an id, or part of a name),
    `?host=`, `?environment=` (a name), `?outcome=`, `?door=`, `?since=`, `?until=` (in UTC).
    """

    q = SearchFilter(
        "actor_name",
        "token_name",
        "verb",
        "target_name",
        "target_id",
        "host_name",
        "detail",
        "ip",
        max_length=200,
    )
    who = django_filters.CharFilter(method="by_who", label="Who", max_length=200)
    verb = django_filters.CharFilter(lookup_expr="startswith", label="Right", max_length=60)
    target = django_filters.CharFilter(method="by_target", label="On what", max_length=300)
    host = django_filters.CharFilter(field_name="host_name", label="Host", max_length=200)
    environment = django_filters.CharFilter(label="Environment", max_length=60)
    outcome = django_filters.ChoiceFilter(choices=Outcome.choices, label="Outcome", empty_label="Any outcome")
    door = django_filters.ChoiceFilter(
        choices=[(door, door.capitalize()) for door in Door.ALL], label="Door", empty_label="Any door"
    )
    since = MomentFilter(field_name="at", lookup_expr="gte", label="From (UTC)")
    until = MomentFilter(field_name="at", lookup_expr="lt", label="Until (UTC)")

    class Meta:
        model = AuditEntry
        fields: list[str] = []

    def by_who(self, queryset: QuerySet[AuditEntry], name: str, value: str) -> QuerySet[AuditEntry]:
        named = User.objects.filter(username=value).values("pk")
        return queryset.filter(Q(actor_name__icontains=value) | Q(token_name__icontains=value) | Q(actor_id__in=named))

    def by_target(self, queryset: QuerySet[AuditEntry], name: str, value: str) -> QuerySet[AuditEntry]:
        return queryset.filter(Q(target_id=value) | Q(target_name__icontains=value))

    @property
    def has_details(self) -> bool:
        """Whether any of the filters is set that the page keeps folded away."""
        return any(self.data.get(name) for name in FOLDED)

    @property
    def known_hosts(self) -> list[str]:
        """To suggest."""
        return list(_hosts(self.request).values_list("name", flat=True)[:MOST_SUGGESTIONS])

    @property
    def known_environments(self) -> list[str]:
        found = _hosts(self.request).exclude(environment=None).order_by("environment__name")
        return list(found.values_list("environment__name", flat=True).distinct()[:MOST_SUGGESTIONS])

    @property
    def words(self) -> str:
        """What is set, as it stands in the address."""
        form = self.form
        return ", ".join(f"{name}={value}" for name, value in form.cleaned_data.items() if value) or "all of it"
