"""Lists whose search, filters, order and page are all in the URL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import django_filters
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest

PAGE_SIZES = (25, 50, 100, 250)


@dataclass(frozen=True)
class Listing:
    """What a list page shows: one page of rows, the filter's form, the order, and whether anything narrows it."""

    page: Page[Any]
    filter: django_filters.FilterSet
    sort: str
    size: int
    is_narrowed: bool

    @property
    def rows(self) -> list[Any]:
        return list(self.page.object_list)

    @property
    def total(self) -> int:
        return self.page.paginator.count


def listing(
    request: HttpRequest,
    filterset: type[django_filters.FilterSet],
    queryset: QuerySet[Any],
    *,
    sorts: dict[str, tuple[str, ...]],
    default_sort: str,
) -> Listing:
    """Apply `?sort=` (a key of `sorts`, "-" before it reverses), the filters, `?page=` and `?size=`.

    Anything not in the allow-lists falls back to the default; a page beyond the last is the last.
    """
    narrowed = filterset(request.GET, queryset=queryset, request=request)
    sort = request.GET.get("sort", default_sort)
    if sort.removeprefix("-") not in sorts:
        sort = default_sort
    rows = narrowed.qs.order_by(*_columns(sort, sorts))
    size = next((size for size in PAGE_SIZES if request.GET.get("size") == str(size)), 50)
    page = Paginator(rows, size).get_page(request.GET.get("page"))
    is_narrowed = any(value for key, value in request.GET.items() if key in narrowed.filters)
    return Listing(page=page, filter=narrowed, sort=sort, size=size, is_narrowed=is_narrowed)


def row_ids(texts: Iterable[str]) -> list[int]:
    """Those of `texts` that can be the id of a row; the rest is left out.

    Longer ones are not looked at: int() raises beyond 4,300 digits, and a database beyond 64 bits.
    """
    return [int(text) for text in texts if text.isascii() and text.isdecimal() and len(text) < 19]


def _columns(sort: str, sorts: dict[str, tuple[str, ...]]) -> list[str]:
    columns = sorts[sort.removeprefix("-")]
    if not sort.startswith("-"):
        return list(columns)
    return [c.removeprefix("-") if c.startswith("-") else f"-{c}" for c in columns]
