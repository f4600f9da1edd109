"""Searching a list by words."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import django_filters
from django.db.models import Q, QuerySet

MOST_WORDS = 8


def having(
    rows: QuerySet[Any, Any], text: str, *columns: str, also: Callable[[str], Q] | None = None
) -> QuerySet[Any, Any]:
    """Those of `rows` in which each word of `text` is a part of one of `columns`, in whatever case, or `also` finds it.

    Of a long text only the first words count.
    """
    for word in text.split()[:MOST_WORDS]:
        ways = [Q(**{f"{column}__icontains": word}) for column in columns]
        rows = rows.filter(functools.reduce(operator.or_, [*ways, also(word)] if also else ways))
    return rows


class SearchFilter(django_filters.CharFilter):
    """`?q=` of a list: see `having`."""

    def __init__(self, *columns: str, also: Callable[[str], Q] | None = None, **options: Any) -> None:
        super().__init__(label="Search", **options)
        self.columns, self.also = columns, also

    def filter(self, qs: QuerySet[Any, Any], value: str | None) -> QuerySet[Any, Any]:
        return having(qs, value or "", *self.columns, also=self.also)
