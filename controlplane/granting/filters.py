"""What the list of grants can be narrowed by and put in order by."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import django_filters
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest
from django.utils import timezone

from controlplane.access.giving import holders, manageable, named_like
from controlplane.access.middleware import signed_in
from controlplane.access.models import Grant, Role, Team, User
from controlplane.granting.access import environments
from controlplane.lib.searching import having
from hosts.models import Environment

SORTS = {
    "id": ("id",),
    "to": ("team__name", "user__username", "-id"),
    "role": ("role__name", "-id"),
    "ends": ("expires_at", "-id"),
}
MOST_SUGGESTIONS = 50
SOON = timedelta(days=7)
SEARCHED = (
    "user__username",
    "user__first_name",
    "user__last_name",
    "team__name",
    "role__name",
    "repositories_text",
    "tags_text",
    "reason",
)
STATES = (("active", "In force"), ("soon", "Ends within a week"), ("ended", "Ended"))


def _environments(request: HttpRequest | None) -> QuerySet[Environment]:
    return environments(signed_in(request)) if request else Environment.objects.none()


def _people(request: HttpRequest | None) -> QuerySet[User]:
    """Whoever has one of the grants that are listed."""
    return holders(manageable(signed_in(request))) if request else User.objects.none()


def _teams(request: HttpRequest | None) -> QuerySet[Team]:
    if request is None:
        return Team.objects.none()
    return Team.objects.filter(pk__in=manageable(signed_in(request)).filter(team__isnull=False).values("team"))


class GrantFilter(django_filters.FilterSet):
    """`?q=` (who, team, role, pattern, reason), `?person=` (a user name, or part of a name: their own and their
    teams'), `?team=`, `?role=`, `?environment=` (slugs), `?state=`."""

    q = django_filters.CharFilter(method="search", label="Search")
    person = django_filters.CharFilter(method="of", label="Person", max_length=150)
    team = django_filters.ModelChoiceFilter(queryset=_teams, to_field_name="slug", label="Team", empty_label="Any team")
    role = django_filters.ModelChoiceFilter(
        queryset=Role.objects.all(), to_field_name="slug", label="Role", empty_label="Any role"
    )
    environment = django_filters.ModelChoiceFilter(
        queryset=_environments, to_field_name="slug", method="there", label="Environment", empty_label="Any environment"
    )
    state = django_filters.ChoiceFilter(choices=STATES, method="by_state", label="State", empty_label="Any state")

    class Meta:
        model = Grant
        fields: list[str] = []

    def search(self, queryset: QuerySet[Grant], name: str, value: str) -> QuerySet[Grant]:
        text = TextField()
        queryset = queryset.alias(repositories_text=Cast("repositories", text), tags_text=Cast("tags", text))
        return having(queryset, value, *SEARCHED)

    def of(self, queryset: QuerySet[Grant], name: str, value: str) -> QuerySet[Grant]:
        people = named_like(_people(self.request), value).order_by().values("pk")
        teams = Team.members.through.objects.filter(user_id__in=people).values("team_id")
        return queryset.filter(Q(user__in=people) | Q(team__in=teams))

    @property
    def known_people(self) -> list[str]:
        """To suggest."""
        return list(_people(self.request).values_list("username", flat=True)[:MOST_SUGGESTIONS])

    def there(self, queryset: QuerySet[Grant], name: str, value: Environment) -> QuerySet[Grant]:
        held = Grant.environments.through.objects.filter(environment_id=value.pk).values("grant_id")
        return queryset.filter(Q(every_environment=True) | Q(pk__in=held))

    def by_state(self, queryset: QuerySet[Grant], name: str, value: Any) -> QuerySet[Grant]:
        now = timezone.now()
        if value == "ended":
            return queryset.filter(expires_at__lte=now)
        if value == "soon":
            return queryset.filter(expires_at__gt=now, expires_at__lte=now + SOON)
        return queryset.filter(Q(expires_at=None) | Q(expires_at__gt=now))
