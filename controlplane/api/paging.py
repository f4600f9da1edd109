"""Lists by cursor: where a page ends is said by the values of its last row, so that rows which come or go meanwhile
are neither skipped nor shown twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

import django_filters
from django.core import signing
from django.core.exceptions import FieldDoesNotExist
from django.db.models import F, Model, Q, QuerySet
from django.http import HttpRequest
from ninja import Schema
from pydantic import ConfigDict, Field, create_model

from controlplane.api.problems import Invalid
from controlplane.lib.searching import SearchFilter

T = TypeVar("T")
Filters = TypeVar("Filters", bound=django_filters.FilterSet)
SALT = "gantry.api.cursor"
MOST = 200
Sorts = Mapping[str, tuple[str, ...]]


class Page(Schema, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: Annotated[str | None, Field(description="The address of the next page; null on the last.")]


class ListQuery(Schema):
    """What every list takes."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=MOST, description="Rows of a page.")] = 50
    cursor: Annotated[str | None, Field(max_length=4000, description="From “next”; not to be made or read.")] = None


def query_of(name: str, filterset: type[django_filters.FilterSet], sorts: Sorts, default: str) -> type[ListQuery]:
    """The query parameters of a list, from the filters and orders that its page has."""
    words = tuple(word for key in sorts for word in (key, f"-{key}"))
    order = Literal.__getitem__(words)
    fields = _filters(filterset) | {"sort": (order, Field(default, description="A “-” in front reverses it."))}
    return create_model(name, __base__=ListQuery, **fields)


def filters_of(name: str, filterset: type[django_filters.FilterSet]) -> type[Schema]:
    """The query parameters of what a list's filters narrow and comes in one piece."""
    return create_model(name, __base__=Schema, **_filters(filterset))


def _filters(filterset: type[django_filters.FilterSet]) -> dict[str, Any]:
    return {
        key: (_type(each) | None, Field(None, description=str(each.label or key)))
        for key, each in filterset.base_filters.items()
    }


def searching(model: type[Model], *columns: str) -> type[django_filters.FilterSet]:
    """A filter by `?q=` alone."""
    meta = type("Meta", (), {"model": model, "fields": []})
    q = {"q": SearchFilter(*columns)} if columns else {}
    return type(f"{model.__name__}Search", (django_filters.FilterSet,), {**q, "Meta": meta})


def _type(each: django_filters.Filter) -> Any:
    if isinstance(each, django_filters.ChoiceFilter) and each.extra.get("choices"):
        return Literal.__getitem__(tuple(str(value) for value, _ in each.extra["choices"]))
    return Annotated[str, Field(max_length=300)]


def paged(
    request: HttpRequest,
    filterset: type[django_filters.FilterSet],
    queryset: QuerySet[Any, Any],
    query: Any,
    *,
    sorts: Sorts,
    last: tuple[str, ...] = ("pk",),
    rows: Callable[[list[Any]], list[Any]] = list,
) -> dict[str, Any]:
    """One page of `queryset`, filtered and in order. `last`: the columns that tell rows apart. `rows`: what becomes of
    the page's. Raises Invalid."""
    narrowed = narrowed_by(request, filterset, queryset)
    keys = _keys(query.sort, sorts, last)
    found = narrowed.qs.order_by(*(_order(queryset.model, column, down) for column, down in keys))
    mark = _mark(request, query.sort)
    if query.cursor is not None:
        found = found.filter(_after(keys, _read(query.cursor, mark, len(keys))))
    page = list(found[: query.limit + 1])
    following = None
    if len(page) > query.limit:
        page = page[: query.limit]
        following = _link(request, mark, [_value(page[-1], column) for column, _ in keys])
    return {"items": rows(page), "next": following}


def narrowed_by(request: HttpRequest, filterset: type[Filters], queryset: QuerySet[Any, Any]) -> Filters:
    """The filters of the request over `queryset`. Raises Invalid."""
    narrowed = filterset(request.GET, queryset=queryset, request=request)
    if not narrowed.is_valid():
        raise Invalid.of_form(narrowed.form)
    return narrowed


def _keys(sort: str, sorts: Sorts, last: tuple[str, ...]) -> list[tuple[str, bool]]:
    """(column, whether it descends), ending with what tells rows apart."""
    turned = sort.startswith("-")
    columns = [(column.removeprefix("-"), column.startswith("-") != turned) for column in sorts[sort.removeprefix("-")]]
    columns = [("pk" if column == "id" else column, down) for column, down in columns]
    have = {column for column, _ in columns}
    return columns + [(column, turned) for column in last if column not in have]


def _order(model: type[Model], column: str, down: bool) -> Any:
    """Where nothing stands it counts as the least, in every database."""
    if not _may_be_null(model, column):
        return f"-{column}" if down else column
    return F(column).desc(nulls_last=True) if down else F(column).asc(nulls_first=True)


def _may_be_null(model: type[Model], column: str) -> bool:
    if column == "pk":
        return False
    current: Any = model
    for step in column.split("__"):
        try:
            field = current._meta.get_field(step)
        except FieldDoesNotExist:
            return True  # an annotation
        if field.null:
            return True
        current = field.related_model
    return False


def _after(keys: list[tuple[str, bool]], values: list[Any]) -> Q:
    """The rows behind the one with `values`."""
    wanted, same = Q(pk__in=[]), Q()
    for (column, down), value in zip(keys, values, strict=True):
        if value is None:
            beyond = None if down else Q(**{f"{column}__isnull": False})
            equal = Q(**{f"{column}__isnull": True})
        else:
            less = Q(**{f"{column}__lt": value}) | Q(**{f"{column}__isnull": True})
            beyond = less if down else Q(**{f"{column}__gt": value})
            equal = Q(**{column: value})
        if beyond is not None:
            wanted |= same & beyond
        same &= equal
    return wanted


def _value(row: Any, column: str) -> Any:
    value = row
    if isinstance(row, dict):
        value = row[column]
    else:
        for step in column.split("__"):
            value = None if value is None else getattr(value, step)
    return value.isoformat() if isinstance(value, datetime) else value


def _mark(request: HttpRequest, sort: str) -> str:
    """What list a cursor belongs to: its address, filters and order."""
    said = sorted((name, value) for name, value in request.GET.items() if name not in ("cursor", "limit"))
    return hashlib.sha256(repr((request.path, sort, said)).encode()).hexdigest()[:16]


def _link(request: HttpRequest, mark: str, values: list[Any]) -> str:
    params = request.GET.copy()
    params["cursor"] = signing.dumps([mark, *values], salt=SALT, compress=True)
    return f"{request.path}?{params.urlencode()}"


def _read(cursor: str, mark: str, length: int) -> list[Any]:
    try:
        said = signing.loads(cursor, salt=SALT)
    except signing.BadSignature as exc:
        raise Invalid({"cursor": ["Expected what `next` held, found something else."]}) from exc
    if not isinstance(said, list) or len(said) != length + 1 or said[0] != mark:
        raise Invalid({"cursor": ["Expected a cursor of this very list, with the same filters and order."]})
    return said[1:]
