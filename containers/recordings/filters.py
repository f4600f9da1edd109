"""What the list of recordings can be narrowed by and put in order by."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

import django_filters
from django.db.models import Q, QuerySet
from django.forms import DateInput
from django.http import HttpRequest
from django.utils import timezone

from containers.models import Ending, Recording
from containers.recordings.access import recordings_of
from controlplane.access.models import User
from controlplane.lib.searching import SearchFilter
from hosts.filters import hosts_seen

SORTS = {
    "started": ("is_live", "started_at", "id"),
    "who": ("actor_name", "-started_at", "-id"),
    "container": ("container_name", "-started_at", "-id"),
    "host": ("host_name", "-started_at", "-id"),
    "size": ("size", "id"),
}


def _people(request: HttpRequest | None) -> QuerySet[User]:
    """Whoever is in a recording that is seen: not everybody there is."""
    if request is None:
        return User.objects.none()
    return User.objects.filter(pk__in=recordings_of(request.user).order_by().values("actor")).order_by("username")


class RecordingFilter(django_filters.FilterSet):
    """`?q=` (who, container, image, host, shell), `?state=` ("live" or an ending), `?host=` (id), `?who=` (user name),
    `?container=` (engine id), `?since=` and `?until=` (days, both included).
    """

    q = SearchFilter(
        "actor_name",
        "container_name",
        "image_ref",
        "host_name",
        "shell",
        also=lambda word: Q(engine_id__startswith=word.lower()),
    )
    state = django_filters.ChoiceFilter(
        choices=[("live", "Live"), *Ending.choices], method="by_state", label="State", empty_label="Any state"
    )
    host = django_filters.ModelChoiceFilter(queryset=hosts_seen, label="Host", empty_label="Any host")
    who = django_filters.ModelChoiceFilter(
        queryset=_people,
        field_name="actor",
        to_field_name="username",
        label="Who",
        empty_label="Anybody",
    )
    container = django_filters.CharFilter(field_name="engine_id", label="Container")
    since = django_filters.DateFilter(method="from_day", label="Since", widget=DateInput(attrs={"type": "date"}))
    until = django_filters.DateFilter(method="to_day", label="Until", widget=DateInput(attrs={"type": "date"}))

    class Meta:
        model = Recording
        fields: list[str] = []

    def by_state(self, queryset: QuerySet[Recording], name: str, value: str) -> QuerySet[Recording]:
        return queryset.filter(is_live=True) if value == "live" else queryset.filter(is_live=False, ending=value)

    def from_day(self, queryset: QuerySet[Recording], name: str, value: date) -> QuerySet[Recording]:
        """Those that were not over by then."""
        return queryset.filter(Q(is_live=True) | Q(ended_at__gte=_midnight(value)))

    def to_day(self, queryset: QuerySet[Recording], name: str, value: date) -> QuerySet[Recording]:
        day = timedelta(days=1) if value < date.max else timedelta()
        return queryset.filter(started_at__lt=_midnight(value) + day)


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
