"""Lists: every row once, whatever comes or goes between two pages, in every order there is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from containers.filters import SORTS
from containers.models import Container, Recording
from containers.recordings.filters import SORTS as RECORDING_SORTS
from controlplane.access.models import User
from controlplane.api.credentials import SORTS as CREDENTIAL_SORTS
from controlplane.api.hosts import ENVIRONMENT_SORTS
from hosts.filters import SORTS as HOST_SORTS
from hosts.models import Environment, Host
from images.builds.asked import Options
from images.builds.models import Credential, Definition
from images.filters import SORTS as IMAGE_SORTS
from images.models import Image, ImageTag
from tests.api.conftest import UNUSABLE, client_with, issue
from tests.security.fleet import Fleet

CONTAINERS = "/api/v1/containers"


@pytest.fixture
def many(fleet: Fleet) -> None:
    now = timezone.now()
    for n in range(9):
        environment = Environment.objects.first() if n % 3 else None
        host = Host.objects.create(name=f"h{n}", environment=environment, last_seen_at=now if n % 2 else None)
        Container.objects.create(
            host=host,
            engine_id=f"{n}" * 64,
            name=f"c{n // 2}",
            image_ref=f"i{n % 3}",
            state="exited",
            created_at=now - timedelta(seconds=n // 3) if n % 4 else None,
        )
        image = Image.objects.create(
            host=host, engine_id=f"sha256:{n % 5}", size=n % 5, created_at=now if n % 2 else None
        )
        ImageTag.objects.create(host=host, image=image, reference=f"r{n % 4}:1", repository=f"r{n % 4}", tag="1")
        Credential.objects.create(
            name=f"key-{n}", kind="secret" if n % 2 else "git-key", last_used_at=now if n % 3 else None
        )
        Definition.objects.create(
            name=f"d{n}", slug=f"d{n}", host=host, options=Options(secrets=[f"key-{n}", "key-0"]).as_json()
        )
        Recording.objects.create(
            engine_id=f"{n}" * 64,
            container_name=f"c{n // 2}",
            host=host,
            host_name=host.name,
            environment=environment,
            actor_name=f"a{n % 3}",
            terminal=f"{n}" * 32,
            started_at=now - timedelta(seconds=n // 3),
            is_live=n < 2,
            size=n % 5,
            path=f"{n}.cast",
        )


def walk(client: Client, address: str) -> list[Any]:
    """Every row, page by page."""
    found = []
    following: str | None = address
    while following:
        answer = client.get(following)
        assert answer.status_code == 200, answer.content
        found += answer.json()["items"]
        following = answer.json()["next"]
    return found


@pytest.mark.parametrize("turned", ["", "-"])
@pytest.mark.parametrize(
    ("address", "key", "sort"),
    [
        *((CONTAINERS, "id", sort) for sort in SORTS),
        *(("/api/v1/hosts", "id", sort) for sort in HOST_SORTS),
        *(("/api/v1/images", "key", sort) for sort in IMAGE_SORTS),
        *(("/api/v1/environments", "id", sort) for sort in ENVIRONMENT_SORTS),
        ("/api/v1/build-definitions", "slug", "name"),
        ("/api/v1/roles", "slug", "name"),
        ("/api/v1/operations", "id", "state"),
        ("/api/v1/builds", "id", "size"),
        ("/api/v1/audit", "seq", "seq"),
        ("/api/v1/people", "id", "username"),
        ("/api/v1/tokens", "id", "used"),
        *(("/api/v1/build-credentials", "name", sort) for sort in CREDENTIAL_SORTS),
        *(("/api/v1/recordings", "id", sort) for sort in RECORDING_SORTS),
    ],
)
def test_pages_hold_every_row_once_in_order(
    ada: Client, many: None, address: str, key: str, sort: str, turned: str
) -> None:
    whole = [row[key] for row in walk(ada, f"{address}?limit=200&sort={turned}{sort}")]
    parts = [row[key] for row in walk(ada, f"{address}?limit=2&sort={turned}{sort}")]
    assert parts == whole
    assert len(set(whole)) == len(whole) > 0


def test_rows_that_come_and_go_meanwhile_shift_nothing(ada: Client, many: None) -> None:
    before = [row["id"] for row in walk(ada, f"{CONTAINERS}?limit=200")]
    first = ada.get(f"{CONTAINERS}?limit=4").json()
    host = Host.objects.get(name="h0")
    Container.objects.create(host=host, engine_id="early", name="a", image_ref="i", state="exited")
    Container.objects.filter(pk=before[3]).delete()  # the very row the page ended with
    rest = walk(ada, first["next"])
    assert [row["id"] for row in first["items"] + rest] == before


def test_a_cursor_is_of_one_list_and_cannot_be_made(ada: Client, many: None) -> None:
    following = ada.get(f"{CONTAINERS}?limit=2&sort=name").json()["next"]
    cursor = following.partition("cursor=")[2]
    for address in (
        f"{CONTAINERS}?limit=2&sort=image&cursor={cursor}",
        f"{CONTAINERS}?limit=2&sort=name&q=c&cursor={cursor}",
        f"/api/v1/hosts?limit=2&sort=name&cursor={cursor}",
        f"{CONTAINERS}?cursor={cursor[:-2]}",
        f"{CONTAINERS}?cursor=x",
    ):
        assert ada.get(address).status_code == 422
    assert ada.get(f"{CONTAINERS}?limit=7&sort=name&cursor={cursor}").status_code == 200


def test_filters_are_those_of_the_pages(ada: Client, many: None) -> None:
    found = ada.get(f"{CONTAINERS}?image=i1&state=unknown").json()["items"]
    assert {row["image"] for row in found} == {"i1"}
    assert {row["state"] for row in found} == {"unknown"}
    assert ada.get(f"{CONTAINERS}?state=nonsense").status_code == 422
    assert ada.get(f"{CONTAINERS}?host={10**30}").status_code == 422
    assert ada.get(f"{CONTAINERS}?environment=nowhere").json()["errors"].keys() == {"environment"}


@pytest.mark.usefixtures("clocks_aside")
@pytest.mark.parametrize(
    ("address", "order"),
    [
        ("containers", "name"),
        ("hosts", "name"),
        ("images", "name"),
        ("operations", "id"),
        ("build-credentials", "name"),
        ("recordings", "started"),
        ("people", "username"),
        ("build-definitions", "name"),
        ("environments", "name"),
    ],
)
def test_a_page_costs_the_same_however_many_rows(ada: Client, many: None, address: str, order: str) -> None:
    def queries(limit: int) -> int:
        with CaptureQueriesContext(connection) as found:
            assert ada.get(f"/api/v1/{address}?limit={limit}&sort=-{order}").status_code == 200
        return len(found)

    queries(1)  # the token's last use is written once
    assert queries(1) == queries(10)


def test_the_overview_counts_what_is_seen(ada: Client, many: None, fleet: Fleet) -> None:
    said = ada.get("/api/v1/overview").json()
    assert (said["hosts_total"], said["hosts_connected"]) == (10, 1)
    assert (said["containers_total"], said["containers_running"], said["containers_unknown"]) == (10, 1, 9)
    assert (said["images_total"], said["operations_failed"]) == (6, 1)
    nobody = client_with(issue(User.objects.create(username="nobody", password=UNUSABLE, standing="member"))[1])
    assert set(nobody.get("/api/v1/overview").json().values()) == {0}


def test_an_entry_says_whether_it_fits(ada: Client, fleet: Fleet) -> None:
    said = ada.get(f"/api/v1/audit/{fleet.entry.seq}").json()
    assert (said["is_whole"], said["follows"], said["hash"]) == (True, True, fleet.entry.hash)
