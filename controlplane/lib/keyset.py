"""Lists that only grow, paged by a key: nothing is counted, and the last page costs what the first does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import django_filters
from django.db.models import QuerySet
from django.http import HttpRequest

from controlplane.lib.lists import PAGE_SIZES, row_ids


@dataclass(frozen=True)
class Keyed:
    """One page, the largest key first. `newer`, `older`: what `?after=` and `?before=` take for the pages beside it."""

    rows: list[Any]
    filter: django_filters.FilterSet
    size: int
    is_narrowed: bool
    newer: int | None
    older: int | None


def keyed(
    request: HttpRequest, filterset: type[django_filters.FilterSet], queryset: QuerySet[Any], *, key: str
) -> Keyed:
    """Apply the filters, `?before=` or `?after=` (a key), and `?size=`. What cannot be read is left out."""
    narrowed = filterset(request.GET, queryset=queryset, request=request)
    size = next((size for size in PAGE_SIZES if request.GET.get("size") == str(size)), 50)
    before, after = (row_ids([request.GET.get(name, "")])[:1] for name in ("before", "after"))
    rows, newer, older = _page(narrowed.qs, key, size, before, after)
    is_narrowed = any(value for name, value in request.GET.items() if name in narrowed.filters)
    return Keyed(rows, narrowed, size, is_narrowed, newer, older)


def _page(
    rows: QuerySet[Any], key: str, size: int, before: list[int], after: list[int]
) -> tuple[list[Any], int | None, int | None]:
    if after and not before:
        found = list(rows.filter(**{f"{key}__gt": after[0]}).order_by(key)[: size + 1])
        if len(found) > size:
            page = found[:size][::-1]
            return page, getattr(page[0], key), getattr(page[-1], key)
        before = []  # near the top: the whole first page
    if before:
        rows = rows.filter(**{f"{key}__lt": before[0]})
    found = list(rows.order_by(f"-{key}")[: size + 1])
    page = found[:size]
    newer = getattr(page[0], key) if page and before else None
    older = getattr(page[-1], key) if len(found) > size else None
    return page, newer, older
