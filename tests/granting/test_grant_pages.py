"""Grants by their pages: made, changed, removed, found; each change in the trail, each refusal with its verb."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controlplane.access.models import Grant, Role, Standing, Team, User
from controlplane.operations.models import AuditEntry, Outcome
from tests.granting.conftest import Shop

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true", "HX-Target": "preview"}


def last() -> AuditEntry:
    return AuditEntry.objects.latest("pk")


def text(answer: Any) -> str:
    return str(answer.content.decode())


def test_an_administrator_grants_and_it_is_written_down(shop: Shop) -> None:
    ada = shop.browser(shop.ada)
    wanted = shop.form(shop.team, "developer", shop.staging, repositories="shop/*, !shop/secret", tags="dev-*")
    wanted |= {"reason": "the new shop", "expires_at": f"{timezone.now() + timedelta(days=3):%Y-%m-%dT%H:%M}"}
    assert ada.post("/access/grants/new/", wanted).status_code == 302
    grant = Grant.objects.get(team=shop.team)
    assert (grant.repositories, grant.tags, grant.created_by) == (["shop/*", "!shop/secret"], ["dev-*"], shop.ada)
    assert grant.names.count() == 2
    assert last().detail.startswith("granted Developer to the team Shop team on shop/* !shop/secret : dev-* in Staging")
    assert last().detail.endswith("(the new shop)")
    page = text(ada.get("/access/grants/"))
    assert "in 2 d 23 h" in page
    assert "the new shop" in page


def test_a_grant_is_changed_and_removed(shop: Shop) -> None:
    ada, grant = shop.browser(shop.ada), shop.grant(shop.bob, "viewer", shop.staging)
    path = f"/access/grants/{grant.pk}/"
    assert "This grant" in text(ada.get(path))
    changed = shop.form(shop.team, "operator", shop.live, repositories="nginx")
    assert ada.post(path, changed).status_code == 302
    grant.refresh_from_db()
    assert (grant.user, grant.team, grant.role.slug) == (shop.bob, None, "operator"), "its holder stays"
    assert [each.slug for each in grant.environments.all()] == ["production"]
    assert list(grant.names.values_list("repository", flat=True)) == ["docker.io/library/nginx"]
    assert "was Viewer to bob on ** : * in Staging" in last().detail
    assert ada.post(f"{path}remove/").status_code == 302
    assert not Grant.objects.filter(pk=grant.pk).exists()
    assert "removed the grant of Operator to bob on nginx : * in Production" in last().detail


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"repositories": "shop/[ab]"}, "Expected a pattern of repositories"),
        ({"tags": "!v1"}, "found only exceptions"),
        ({"environments": []}, "Expected at least one environment"),
        ({"holder": "user:99999"}, "Expected a person or a team that is there"),
        ({"holder": "token:1"}, "Expected a person or a team that is there"),
        ({"role": "99999"}, "Select a valid choice"),
        ({"expires_at": "2020-01-01T00:00"}, "Expected an end in the future"),
        ({"expires_at": "soon"}, "Expected a day and a time"),
        ({"reason": "two\nlines"}, "Expected one line of text"),
        ({"repositories": "\0"}, "Null characters are not allowed"),
    ],
)
def test_what_is_no_grant_is_explained_beside_its_field(shop: Shop, more: dict[str, object], words: str) -> None:
    before = Grant.objects.count()
    answer = shop.browser(shop.ada).post("/access/grants/new/", shop.form(shop.bob, "viewer", shop.staging) | more)
    assert answer.status_code == 422
    assert words in text(answer)
    assert Grant.objects.count() == before


def test_whoever_manages_staging_manages_staging(shop: Shop) -> None:
    sue = shop.browser(shop.sue)
    beyond = shop.grant(shop.bob, "viewer", shop.live)
    both = shop.grant(shop.bob, "viewer", shop.live, shop.staging)
    everywhere = shop.grant(shop.bob, "viewer")
    inside = shop.grant(shop.bob, "viewer", shop.staging)
    page = text(sue.get("/access/grants/"))
    assert f"/access/grants/{inside.pk}/" in page
    for grant in (beyond, both, everywhere):
        assert f"/access/grants/{grant.pk}/" not in page
        for path in (f"/access/grants/{grant.pk}/", f"/access/grants/{grant.pk}/remove/"):
            assert sue.post(path, shop.form(shop.bob, "viewer", shop.staging)).status_code == 404
    person = text(sue.get(f"/access/people/{shop.bob.pk}/"))
    assert f"/access/grants/{inside.pk}/" in person
    assert f"/access/grants/{beyond.pk}/" not in person
    assert "Production" not in text(sue.get("/access/grants/new/"))
    enough = shop.form(shop.bob, "developer", shop.staging, repositories="shop/web", tags="dev-*")
    assert sue.post("/access/grants/new/", enough).status_code == 302
    before = Grant.objects.count()
    for more in ({"environments": [str(shop.live.pk)]}, {"every_environment": "on", "environments": []}):
        assert sue.post("/access/grants/new/", enough | more).status_code == 422, "not offered, not taken"
    answer = sue.post("/access/grants/new/", enough | {"repositories": "**"})
    assert answer.status_code == 403
    assert (last().outcome, last().actor) == (Outcome.REFUSED, shop.sue)
    assert last().verb in text(answer)
    assert Grant.objects.count() == before
    assert sue.post(f"/access/grants/{inside.pk}/remove/").status_code == 302


@pytest.mark.parametrize(
    "path",
    [
        "/people/",
        "/people/invite/",
        "/people/1/",
        "/access/teams/",
        "/access/teams/{team}/add/",
        "/access/teams/{team}/take/",
        "/access/teams/{team}/remove/",
        "/access/roles/new/",
        "/access/roles/{role}/",
        "/access/roles/{role}/remove/",
    ],
)
def test_what_is_of_no_environment_takes_managing_everything(shop: Shop, path: str) -> None:
    path = path.format(team=shop.team.pk, role=Role.objects.get(slug="keys").pk)
    answer = shop.browser(shop.sue).post(path, {"name": "x", "verbs": "container.see", "standing": "administrator"})
    assert answer.status_code == 403
    assert (last().verb, last().outcome) == ("access.manage", Outcome.REFUSED)
    assert not User.objects.filter(standing=Standing.ADMINISTRATOR).exclude(pk=shop.ada.pk).exists()
    assert Team.objects.get().name == "Shop team"


def test_the_preview_says_what_it_covers_and_what_one_cannot_give(shop: Shop) -> None:
    ada, sue = shop.browser(shop.ada), shop.browser(shop.sue)
    wanted = shop.form(shop.bob, "maintainer", shop.staging, repositories="shop/*", tags="dev-*")
    said = text(ada.post("/access/grants/preview/", wanted, headers=HTMX))
    assert "<html" not in said
    for words in (
        "Repositories directly below shop on Docker Hub; tags that begin with dev-.",
        "<strong>2</strong> images",
        "<strong>2</strong> containers",
        "<strong>1</strong> host",
        "shop/web:dev-1",
        "<code>host.manage</code>",  # given only over everything
    ):
        assert words in said
    assert "You cannot give this" not in said
    assert "<code>container.secrets</code>" in text(sue.post("/access/grants/preview/", wanted, headers=HTMX))
    bad = text(ada.post("/access/grants/preview/", wanted | {"tags": "a b!"}, headers=HTMX))
    assert "Expected a pattern of tags" in bad
    assert 'id="said-tags"' in bad
    assert text(ada.post("/access/grants/preview/", {}, headers=HTMX)).count("field-error") == 2
    assert not Grant.objects.filter(user=shop.bob).exists()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=bob", {"bob"}),
        ("q=shop%20team", {"team"}),
        ("q=registry.example", {"team"}),
        ("q=nothing-such", set()),
        ("person=bob", {"bob", "team"}),
        ("team=shop-team", {"team"}),
        ("role=operator", {"team"}),
        ("environment=production", {"bob", "ended"}),
        ("state=active", {"bob", "team"}),
        ("state=soon", {"team"}),
        ("state=ended", {"ended"}),
    ],
)
def test_the_list_is_narrowed(shop: Shop, query: str, expected: set[str]) -> None:
    Grant.objects.all().delete()
    shop.team.members.add(shop.bob)
    now = timezone.now()
    grants = {
        "bob": shop.grant(shop.bob, "viewer", shop.live),
        "team": shop.grant(shop.team, "operator", shop.staging, repositories="registry.example/**"),
        "ended": shop.grant(shop.ada, "maintainer"),
    }
    Grant.objects.filter(pk=grants["team"].pk).update(expires_at=now + timedelta(days=2))
    Grant.objects.filter(pk=grants["ended"].pk).update(expires_at=now - timedelta(days=2))
    page = text(shop.browser(shop.ada).get(f"/access/grants/?{query}"))
    assert {name for name, grant in grants.items() if f"/access/grants/{grant.pk}/" in page} == expected


@pytest.mark.usefixtures("clocks_aside")
def test_pages_make_as_many_queries_for_forty_as_for_four(shop: Shop) -> None:
    ada, sue = shop.browser(shop.ada), shop.browser(shop.sue)
    role = Role.objects.get(slug="viewer")
    paths = [
        "/access/grants/",
        "/access/teams/",
        "/access/roles/",
        f"/access/teams/{shop.team.pk}/",
        f"/access/roles/{role.pk}/",
        f"/access/people/{shop.bob.pk}/",
        f"/access/why/?user={shop.bob.pk}&verb=container.exec&kind=",
        "/access/grants/new/",
    ]

    def queries(client: Client, path: str) -> int:
        client.get(path)
        with CaptureQueriesContext(connection) as found:
            assert client.get(path).status_code == 200
        return len(found)

    def grow(n: int) -> None:
        for k in range(n):
            person = User.objects.create(username=f"p{n}-{k}", password="!")
            team = Team.objects.create(name=f"t{n}-{k}", slug=f"t{n}-{k}")
            team.members.add(person, shop.bob)
            shop.team.members.add(person)
            shop.grant(team, "viewer", shop.staging, repositories="shop/*")
            shop.grant(shop.bob, "viewer", shop.staging, shop.live, repositories="shop/*")
            shop.grant(shop.team, "viewer", shop.staging)

    grow(2)
    few = {(path, who): queries(who, path) for path in paths for who in (ada, sue)}
    grow(20)
    assert {(path, who): queries(who, path) for path in paths for who in (ada, sue)} == few
    assert max(few.values()) < 30


def test_a_grant_ends_by_itself(shop: Shop) -> None:
    grant = shop.grant(shop.bob, "viewer")
    bob = shop.browser(shop.bob)
    assert "host-Staging" in text(bob.get("/hosts/"))
    Grant.objects.filter(pk=grant.pk).update(expires_at=timezone.now())
    assert bob.get("/hosts/").status_code == 403
    assert "ended" in text(shop.browser(shop.ada).get("/access/grants/?state=ended"))
