"""Whatever stands in the address of a list: it falls back, it never breaks, and no text of it reaches SQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.exceptions import FieldError
from django.db.models import QuerySet
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from containers.filters import SORTS as CONTAINER_SORTS
from containers.recordings.filters import SORTS as RECORDING_SORTS
from controlplane.granting.filters import SORTS as GRANT_SORTS
from controlplane.operations.views import SORTS as OPERATION_SORTS
from hosts.filters import SORTS as HOST_SORTS
from images.builds.filters import SORTS as BUILD_SORTS
from images.filters import SORTS as IMAGE_SORTS
from tests.security.fleet import Fleet

LISTS: dict[str, dict[str, tuple[str, ...]]] = {
    "/containers/": CONTAINER_SORTS,
    "/images/": IMAGE_SORTS,
    "/builds/": BUILD_SORTS,
    "/recordings/": RECORDING_SORTS,
    "/hosts/": HOST_SORTS,
    "/operations/": OPERATION_SORTS,
    "/operations/audit/": {"seq": ("seq",)},
    "/access/grants/": GRANT_SORTS,
}
FIELDS = [
    "q",
    "state",
    "host",
    "environment",
    "image",
    "label",
    "kind",
    "actor",
    "who",
    "verb",
    "outcome",
    "show",
    "of",
    "trigger",
    "person",
    "team",
    "role",
    "container",
    "since",
    "until",
    "target",
    "door",
    "before",
    "after",
]
PARAMETERS = [*FIELDS, "sort", "page", "size"]
ODD = [
    "' OR '1'='1",
    "1; DROP TABLE containers_container",
    "name); --",
    "%", "_", "\\", "%%s", "%(a)s", "{0}", "\0", "\x1b", "-", "--", "-?", "?", "password", "host__public_key",
    "actor__password", "-actor__password", "id,name", "name desc", "1e400", "NaN", "inf", "-0", "9" * 5000,
    "1e49", "²", "1.5", "-1", "0x1", "last", "🦀", "\u202e", "a" * 10_000, "environment__slug", "[]", "true",
    "0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "2026-02-30T10:00", "2026-11-29T10:00",
]  # fmt: skip


def ask(client: Client, path: str, pairs: list[tuple[str, str]]) -> Any:
    return client.get(f"{path}?{urlencode(pairs, errors='replace')}")


@pytest.mark.parametrize("path", LISTS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pairs=st.lists(
        st.tuples(
            st.sampled_from(PARAMETERS),
            st.one_of(st.sampled_from(ODD), st.text(max_size=20), st.integers().map(str)),
        ),
        max_size=6,
    )
)
def test_nothing_in_the_address_breaks_a_list(
    administrator: Client, fleet: Fleet, path: str, pairs: list[tuple[str, str]]
) -> None:
    assert ask(administrator, path, pairs).status_code == 200


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("path", LISTS)
def test_each_odd_value_in_each_place(administrator: Client, fleet: Fleet, path: str, name: str) -> None:
    for value in ODD:
        assert ask(administrator, path, [(name, value)]).status_code == 200, (name, value)


@pytest.mark.parametrize("path", LISTS)
def test_the_order_is_one_of_the_list(
    administrator: Client, fleet: Fleet, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2026-1287 and its like: no name of a column or an annotation comes from the address."""
    seen: set[str] = set()
    original: Callable[..., Any] = QuerySet.order_by

    def order_by(self: QuerySet[Any], *names: str) -> QuerySet[Any]:
        seen.update(name for name in names if isinstance(name, str))
        found: QuerySet[Any] = original(self, *names)
        return found

    monkeypatch.setattr(QuerySet, "order_by", order_by)
    for value in [*ODD, *LISTS[path], *(f"-{name}" for name in LISTS[path])]:
        ask(administrator, path, [("sort", value)])
    allowed = {column.removeprefix("-") for columns in LISTS[path].values() for column in columns}
    ours = {"repository", "tag", "reference", "name", "id", "host__name", "pk", "position", "username", "created_at"}
    assert {name.removeprefix("-") for name in seen} <= allowed | ours | {
        "image__engine_id",
        "slug",
        "environment__name",
    }


def shown(answer: Any) -> int:
    """How many rows the page has; each list of the fleet fits on one."""
    return len(answer.context["listing"].rows)


def test_a_key_of_the_address_is_no_lookup(administrator: Client, fleet: Fleet) -> None:
    """Only the filters' own names are looked at: `?host__public_key__startswith=a` would read a column by guessing."""
    for path in LISTS:
        whole = shown(administrator.get(path))
        for key in ("host__public_key__startswith", "actor__password__startswith", "pk__in", "id__gt", "_connector"):
            try:
                assert shown(ask(administrator, path, [(key, "zzz")])) == whole
            except FieldError as exc:
                raise AssertionError(f"{path}: {key} reached the database") from exc


@pytest.mark.parametrize("path", ["/containers/run/", "/images/pull/", "/hosts/add/"])
def test_nothing_in_the_address_breaks_a_form(administrator: Client, fleet: Fleet, path: str) -> None:
    for name in ("host", "image", "name", "network", "reference", "x"):
        for value in ODD:
            assert ask(administrator, path, [(name, value)]).status_code == 200, (name, value)


@pytest.mark.parametrize("path", ["/containers/run/", "/images/pull/", "/hosts/add/", "/hosts/environments/"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.one_of(st.sampled_from(ODD), st.text(max_size=40)))
def test_nothing_typed_breaks_a_form(administrator: Client, fleet: Fleet, path: str, value: str) -> None:
    names = ["host", "hosts", "image", "reference", "name", "command", "environment", "environments", "ports"]
    names += [
        "volumes",
        "memory",
        "cpus",
        "labels",
        "retries",
        "restart",
        "network",
        "user",
        "working_dir",
        "pull_limit",
    ]
    answer = administrator.post(path, dict.fromkeys(names, value.encode(errors="replace").decode()))
    assert answer.status_code in (302, 422)
