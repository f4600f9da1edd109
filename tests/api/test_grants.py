"""Grants by the API: as by the pages, and within what one manages and has."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controlplane.access.models import Grant, Role, Team, Token
from controlplane.access.tokens import Narrowing
from controlplane.operations.models import AuditEntry, Outcome
from tests.api.conftest import JSON, V1, client_with, issue, send
from tests.api.test_lists import walk
from tests.granting.conftest import Shop


@pytest.fixture
def ada(shop: Shop) -> Client:
    return client_with(issue(shop.ada)[1])


@pytest.fixture
def sue(shop: Shop) -> Client:
    """She manages staging, and enters shop/* there."""
    return client_with(issue(shop.sue)[1])


def last() -> AuditEntry:
    return AuditEntry.objects.latest("seq")


def terms(**more: Any) -> dict[str, Any]:
    return {"user": "bob", "role": "developer", "environments": ["staging"], "repositories": ["shop/web"], **more}


def test_a_grant_from_its_making_to_its_end(shop: Shop, ada: Client) -> None:
    until = (timezone.now() + timedelta(days=3)).replace(microsecond=0)
    more = {"repositories": ["shop/*", "!shop/secret"], "tags": ["dev-*"], "expires_at": until.isoformat()}
    wanted = terms(**more, reason="the new shop")
    del wanted["user"]
    made = send(ada, "post", "/grants", team="shop-team", **wanted)
    assert made.status_code == 201, made.content
    grant = Grant.objects.get(team=shop.team)
    assert (grant.expires_at, grant.created_by, grant.names.count()) == (until, shop.ada, 2)
    said = made.json()
    assert (said["team"], said["user"], said["role"], said["is_live"]) == ("shop-team", None, "developer", True)
    assert (said["environments"], said["repositories"]) == (["staging"], ["shop/*", "!shop/secret"])
    assert last().detail.startswith("granted Developer to the team Shop team on shop/* !shop/secret : dev-* in Staging")
    changed = send(ada, "patch", f"/grants/{grant.pk}", role="operator", environments=None, expires_at=None).json()
    assert (changed["role"], changed["environments"], changed["expires_at"]) == ("operator", None, None)
    assert (changed["tags"], changed["reason"], changed["team"]) == (["dev-*"], "the new shop", "shop-team")
    assert "changed to Operator to the team Shop team" in last().detail
    assert "in Staging until" in last().detail.partition("; was ")[2]
    assert ada.get(f"{V1}/grants/{grant.pk}").json() == changed
    assert ada.delete(f"{V1}/grants/{grant.pk}").status_code == 204
    assert last().detail.startswith("removed the grant of Operator to the team Shop team")
    assert ada.get(f"{V1}/grants/{grant.pk}").status_code == 404


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"repositories": ["shop/[ab]"]}, "repositories"),
        ({"tags": ["!v1"]}, "tags"),
        ({"environments": []}, "environments"),
        ({"environments": ["nowhere"]}, "environments"),
        ({"user": "nobody"}, "user"),
        ({"user": None, "team": "nobody"}, "team"),
        ({"team": "shop-team"}, ""),
        ({"user": None}, ""),
        ({"role": "none"}, "role"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
        ({"reason": "two\nlines"}, "reason"),
        ({"token": 1}, "token"),
    ],
)
def test_what_is_no_grant_is_explained_by_its_field(shop: Shop, ada: Client, more: dict[str, Any], field: str) -> None:
    before = Grant.objects.count()
    answer = send(ada, "post", "/grants", **terms(**more))
    assert answer.status_code == 422, answer.content
    assert answer.json()["errors"].keys() == {field}
    assert Grant.objects.count() == before


def test_whoever_manages_staging_manages_staging(shop: Shop, sue: Client) -> None:
    inside = shop.grant(shop.bob, "viewer", shop.staging, repositories="shop/*")
    beyond = [shop.grant(shop.bob, "viewer", shop.live), shop.grant(shop.bob, "viewer")]
    beyond.append(shop.grant(shop.bob, "viewer", shop.live, shop.staging))
    found = {each["id"] for each in sue.get(f"{V1}/grants").json()["items"]}
    assert inside.pk in found
    for grant in beyond:
        assert grant.pk not in found
        for answer in (
            sue.get(f"{V1}/grants/{grant.pk}"),
            send(sue, "patch", f"/grants/{grant.pk}", tags=["dev-*"]),
            sue.delete(f"{V1}/grants/{grant.pk}"),
        ):
            assert answer.status_code == 404
            entry = last()
            assert (entry.verb, entry.outcome, entry.target_id) == ("access.manage", Outcome.REFUSED, str(grant.pk))
    assert send(sue, "patch", f"/grants/{inside.pk}", tags=["dev-*"]).status_code == 200
    for places in (["production"], ["staging", "production"], None):
        answer = send(sue, "post", "/grants", **terms(environments=places))
        assert answer.json()["errors"].keys() == {"environments"}, "of another's as of none"
        assert "Production" not in answer.content.decode()
    assert send(sue, "post", "/grants", **terms()).status_code == 201
    assert sue.delete(f"{V1}/grants/{inside.pk}").status_code == 204
    assert Grant.objects.filter(pk__in=[each.pk for each in beyond]).count() == 3


@pytest.mark.parametrize(
    ("more", "verb"), [({"repositories": ["**"]}, "container.create"), ({"role": "maintainer"}, "container.secrets")]
)
def test_nobody_gives_what_they_do_not_have(shop: Shop, sue: Client, more: dict[str, Any], verb: str) -> None:
    inside = shop.grant(shop.bob, "viewer", shop.staging, repositories="shop/web")
    before = list(Grant.objects.values_list("pk", "role", "repositories"))
    changes = {"role": "developer", "repositories": ["shop/web"], **more}
    for answer in (
        send(sue, "post", "/grants", **terms(**more)),
        send(sue, "patch", f"/grants/{inside.pk}", **changes),
    ):
        assert (answer.status_code, answer.json()["verb"]) == (403, verb)
        assert (last().verb, last().outcome, last().actor, last().door) == (verb, Outcome.REFUSED, shop.sue, "api")
    assert list(Grant.objects.values_list("pk", "role", "repositories")) == before
    looked = send(
        sue, "post", "/grants/preview", **{name: each for name, each in terms(**more).items() if name != "user"}
    )
    assert verb in looked.json()["lacking"]


def test_a_narrowed_token_gives_no_more_than_it_has(shop: Shop) -> None:
    places = frozenset({shop.staging.pk})
    keys = Narrowing(Role.objects.get(slug="keys"), places, ["**"], ["*"])
    token, secret = issue(shop.ada, narrowing=keys)
    answer = send(client_with(secret), "post", "/grants", **terms())
    assert (answer.status_code, Grant.objects.filter(user=shop.bob).exists()) == (403, False)
    assert send(client_with(secret), "post", "/grants", **terms(role="keys", repositories=["**"])).status_code == 201
    assert last().token_id == Token.objects.get(pk=token.pk).pk
    assert send(client_with(secret), "post", "/teams", name="New").status_code == 403, "teams are of everything"


def test_a_preview_says_what_it_covers_and_changes_nothing(shop: Shop, ada: Client) -> None:
    before, entries = Grant.objects.count(), AuditEntry.objects.count()
    wanted = {"role": "maintainer", "environments": ["staging"], "repositories": ["shop/*"], "tags": ["dev-*"]}
    said = send(ada, "post", "/grants/preview", **wanted).json()
    assert (said["image_count"], said["images"]) == (2, ["shop/db:dev-1", "shop/web:dev-1"])
    assert (said["container_count"], {each["name"] for each in said["containers"]}) == (2, {"c0", "c2"})
    assert (said["host_count"], [each["name"] for each in said["hosts"]]) == (1, ["host-Staging"])
    assert said["lacking"] == []
    assert said["idle"] == ["host.manage", "rules.manage"]
    assert said["tags_said"] == "tags that begin with dev-"
    assert (Grant.objects.count(), AuditEntry.objects.count()) == (before, entries)


def test_the_list_is_narrowed_as_the_page_s(shop: Shop, ada: Client) -> None:
    Grant.objects.all().delete()
    shop.team.members.add(shop.bob)
    grants = {
        "bob": shop.grant(shop.bob, "viewer", shop.live),
        "team": shop.grant(shop.team, "operator", shop.staging, repositories="registry.example/**"),
        "ended": shop.grant(shop.ada, "maintainer"),
    }
    Grant.objects.filter(pk=grants["ended"].pk).update(expires_at=timezone.now() - timedelta(days=2))
    for query, expected in (
        ("q=registry.example", {"team"}),
        ("person=bob", {"bob", "team"}),
        ("team=shop-team", {"team"}),
        ("role=viewer", {"bob"}),
        ("environment=production", {"bob", "ended"}),
        ("state=ended", {"ended"}),
    ):
        found = {each["id"] for each in ada.get(f"{V1}/grants?{query}").json()["items"]}
        assert {name for name, grant in grants.items() if grant.pk in found} == expected, query
    assert ada.get(f"{V1}/grants?environment=nowhere").json()["errors"].keys() == {"environment"}


@pytest.mark.parametrize("sort", ["id", "-id", "to", "-to", "role", "-role", "ends", "-ends"])
def test_pages_of_grants_hold_every_one_once_in_order(shop: Shop, ada: Client, sort: str) -> None:
    for n in range(5):
        grant = shop.grant(shop.bob if n % 2 else shop.team, "viewer", shop.staging)
        Grant.objects.filter(pk=grant.pk).update(expires_at=timezone.now() if n % 3 else None)
    whole = [row["id"] for row in walk(ada, f"{V1}/grants?limit=200&sort={sort}")]
    assert [row["id"] for row in walk(ada, f"{V1}/grants?limit=2&sort={sort}")] == whole
    assert len(set(whole)) == len(whole) == 7


@pytest.mark.usefixtures("clocks_aside")
@pytest.mark.parametrize("path", ["teams", "roles", "grants"])
def test_a_list_costs_the_same_however_many_rows(shop: Shop, ada: Client, sue: Client, path: str) -> None:
    def queries(client: Client) -> int:
        client.get(f"{V1}/{path}?limit=200")
        with CaptureQueriesContext(connection) as found:
            assert client.get(f"{V1}/{path}?limit=200").status_code == 200
        return len(found)

    def grow(n: int) -> None:
        for k in range(n):
            team = Team.objects.create(name=f"t{n}-{k}", slug=f"t{n}-{k}")
            team.members.add(shop.bob)
            Role.objects.create(name=f"r{n}-{k}", slug=f"r{n}-{k}", verbs=["host.see"])
            shop.grant(team, f"r{n}-{k}", shop.staging, shop.live)
            shop.grant(shop.bob, f"r{n}-{k}", shop.staging)

    grow(2)
    few = [queries(ada), queries(sue)]
    grow(20)
    assert [queries(ada), queries(sue)] == few


def test_a_grant_is_given_once_with_a_key(shop: Shop, ada: Client) -> None:
    for _ in range(2):
        answer = ada.post(f"{V1}/grants", terms(), content_type=JSON, headers={"Idempotency-Key": "grant-1"})
        assert answer.status_code == 201
    assert answer["Idempotency-Replayed"] == "true"
    assert Grant.objects.filter(user=shop.bob).count() == 1
