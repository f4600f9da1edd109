"""What the list of images can be narrowed by and put in order by."""

from __future__ import annotations

import re

import django_filters
from django.db.models import Q, QuerySet

from controlplane.lib.searching import SearchFilter
from hosts.filters import environments_seen, hosts_seen
from images.models import ImageTag

SORTS = {
    "name": ("repository", "tag", "image__engine_id"),
    "size": ("size", "repository", "tag", "image__engine_id"),
    "created": ("created", "repository", "tag", "image__engine_id"),
    "hosts": ("host_count", "repository", "tag", "image__engine_id"),
    "users": ("user_count", "repository", "tag", "image__engine_id"),
}


def _by_id(word: str) -> Q:
    """The image whose id begins so. What is no hexadecimal number begins none."""
    digits = word.lower().removeprefix("sha256:")
    return Q(image__engine_id__startswith=f"sha256:{digits}") if re.fullmatch("[0-9a-f]+", digits) else Q(pk__in=[])


class ImageFilter(django_filters.FilterSet):
    """`?q=` (reference, id, host), `?host=` (id), `?environment=` (slug), `?show=` (unused, used, dangling).

    For a queryset of `catalogue.grouped`: `show` looks at the group's `user_count`.
    """

    q = SearchFilter("reference", "host__name", also=_by_id)
    host = django_filters.ModelChoiceFilter(queryset=hosts_seen, label="Host", empty_label="Any host")
    environment = django_filters.ModelChoiceFilter(
        queryset=environments_seen,
        field_name="host__environment",
        to_field_name="slug",
        label="Environment",
        empty_label="Any environment",
    )
    show = django_filters.ChoiceFilter(
        choices=[("used", "Used"), ("unused", "Unused"), ("dangling", "Without a name")],
        method="by_use",
        label="Use",
        empty_label="Used or not",
    )

    class Meta:
        model = ImageTag
        fields: list[str] = []

    def by_use(self, queryset: QuerySet[ImageTag], name: str, value: str) -> QuerySet[ImageTag]:
        if value == "dangling":
            return queryset.filter(reference="")
        used = Q(user_count__gt=0)  # an annotation of `catalogue.grouped`
        return queryset.filter(used if value == "used" else ~used)
