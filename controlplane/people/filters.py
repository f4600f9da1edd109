"""What the lists of people, service accounts and tokens can be narrowed by and put in order by."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import Q, QuerySet
from django.utils import timezone

from controlplane.access.models import Standing, Token, User
from controlplane.lib.searching import SearchFilter

PEOPLE_SORTS = {
    "username": ("username",),
    "name": ("first_name", "last_name", "username"),
    "seen": ("last_login", "username"),
    "standing": ("standing", "username"),
    "id": ("id",),
}
TOKEN_SORTS = {
    "id": ("id",),
    "name": ("name", "id"),
    "owner": ("owner__username", "name", "id"),
    "expires": ("expires_at", "id"),
    "used": ("last_used_at", "id"),
}


class PeopleFilter(django_filters.FilterSet):
    """`?q=` (words of name, user name, email, purpose), `?standing=`, `?state=` (active, deactivated)."""

    q = SearchFilter("first_name", "last_name", "username", "email", "purpose")
    standing = django_filters.ChoiceFilter(choices=Standing.choices, label="Standing", empty_label="Any standing")
    state = django_filters.ChoiceFilter(
        choices=[("active", "Active"), ("deactivated", "Deactivated")],
        method="by_state",
        label="State",
        empty_label="Active or not",
    )

    class Meta:
        model = User
        fields: list[str] = []

    def by_state(self, queryset: QuerySet[User], name: str, value: Any) -> QuerySet[User]:
        return queryset.filter(is_active=value == "active")


class TokenFilter(django_filters.FilterSet):
    """`?q=` (words of name and owner, the beginning), `?state=` (good, ended)."""

    q = SearchFilter("name", "owner__username", also=lambda word: Q(hint__startswith=word))
    state = django_filters.ChoiceFilter(
        choices=[("good", "Good"), ("ended", "Revoked or expired")],
        method="by_state",
        label="State",
        empty_label="Good or ended",
    )

    class Meta:
        model = Token
        fields: list[str] = []

    def by_state(self, queryset: QuerySet[Token], name: str, value: Any) -> QuerySet[Token]:
        good = Q(revoked_at=None, expires_at__gt=timezone.now())
        return queryset.filter(good if value == "good" else ~good)
