"""Teams and roles by the API: as by the pages, for whoever manages everything."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from controlplane.access import tokens
from controlplane.access.models import Grant, Role, Standing, Team, User
from controlplane.access.tokens import Narrowing
from controlplane.operations.models import AuditEntry, Outcome
from tests.api.conftest import V1, client_with, issue, send
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


# --- Teams ---


def test_a_team_from_its_making_to_its_end(shop: Shop, ada: Client) -> None:
    made = send(ada, "post", "/teams", name="Night shift", group="night")
    assert made.status_code == 201
    team = Team.objects.get(slug="night-shift")
    assert made.json() == {
        "id": team.pk,
        "name": "Night shift",
        "slug": "night-shift",
        "group": "night",
        "member_count": 0,
        "grant_count": 0,
        "members": [],
    }
    assert (last().detail, last().door) == ("made the team Night shift for the group night", "api")
    added = send(ada, "post", f"/teams/{team.pk}/members", people=[shop.bob.pk, shop.sue.pk])
    assert [each["username"] for each in added.json()["members"]] == ["bob", "sue"]
    entries = AuditEntry.objects.filter(detail="added to the team Night shift", target_kind="user")
    assert {entry.target_name for entry in entries} == {"bob", "sue"}
    assert send(ada, "post", f"/teams/{team.pk}/members", people=[shop.bob.pk]).json()["errors"].keys() == {"people"}
    shop.grant(team, "operator", shop.staging)
    assert ada.delete(f"{V1}/teams/{team.pk}/members/{shop.sue.pk}").status_code == 204
    assert ada.delete(f"{V1}/teams/{team.pk}/members/{shop.sue.pk}").status_code == 404
    assert list(team.members.all()) == [shop.bob]
    changed = send(ada, "patch", f"/teams/{team.pk}", name="Late shift").json()
    assert (changed["slug"], changed["group"], changed["grant_count"]) == ("late-shift", "night", 1), "the rest stays"
    assert ada.delete(f"{V1}/teams/{team.pk}").status_code == 204
    assert last().detail == "removed the team; its grants: Operator to the team Late shift on ** : * in Staging"
    assert not Grant.objects.filter(team__isnull=False).exists()


@pytest.mark.parametrize(
    ("name", "status"), [("Shop team", 422), ("shop-team", 409), ("", 422), ("x" * 81, 422), ("<b>", 422), ("_", 400)]
)
def test_a_name_that_is_none_or_taken_makes_no_team(shop: Shop, ada: Client, name: str, status: int) -> None:
    answer = send(ada, "post", "/teams", name=name)
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    assert Team.objects.count() == 1


def test_teams_are_searched(shop: Shop, ada: Client) -> None:
    Team.objects.create(name="Night shift", slug="night-shift", group="ops")
    for text, found in (("shop", ["Shop team"]), ("OPS", ["Night shift"]), ("no", [])):
        assert [each["name"] for each in ada.get(f"{V1}/teams?q={text}").json()["items"]] == found


def test_nobody_lets_people_into_a_team_that_has_more(shop: Shop) -> None:
    """Somebody who manages all access, and nothing else."""
    shop.grant(shop.bob, "keys")
    shop.grant(shop.team, "operator", shop.live)
    bob = client_with(issue(shop.bob)[1])
    for answer in (
        send(bob, "post", f"/teams/{shop.team.pk}/members", people=[shop.bob.pk]),
        send(bob, "patch", f"/teams/{shop.team.pk}", group="everybody"),
    ):
        assert answer.status_code == 403
        assert (last().verb, last().outcome, last().actor) == (answer.json()["verb"], Outcome.REFUSED, shop.bob)
    assert not shop.team.members.exists()
    assert send(bob, "patch", f"/teams/{shop.team.pk}", name="Renamed").status_code == 200


def test_nobody_comes_by_a_team_to_what_its_service_accounts_hold(shop: Shop) -> None:
    """Its members make their tokens: joining it gives what those have."""
    shop.grant(shop.bob, "keys")
    service = User.objects.create(username="deployer", password="!", is_service=True, responsible_team=shop.team)
    shop.grant(service, "maintainer")
    bob = client_with(issue(shop.bob)[1])
    for answer in (
        send(bob, "post", f"/teams/{shop.team.pk}/members", people=[shop.bob.pk]),
        send(bob, "patch", f"/teams/{shop.team.pk}", group="everybody"),
        send(bob, "post", "/tokens", owner=service.pk, name="mine", days=30),
    ):
        assert (answer.status_code, last().outcome) == (403, Outcome.REFUSED), answer.content
    User.objects.filter(pk=shop.sue.pk).update(is_active=False)
    shop.team.members.add(shop.sue)
    Grant.objects.filter(user=shop.sue).delete()
    assert send(bob, "patch", f"/people/{shop.sue.pk}", standing="member", is_active=True).status_code == 403
    Grant.objects.filter(user=service).delete()
    assert send(bob, "post", f"/teams/{shop.team.pk}/members", people=[shop.bob.pk]).status_code == 200


@pytest.mark.parametrize("what", ["teams", "roles"])
def test_a_name_too_long_once_it_is_written_out_is_refused(shop: Shop, ada: Client, what: str) -> None:
    more = {"verbs": ["container.see"]} if what == "roles" else {}
    answer = send(ada, "post", f"/{what}", name="ﬃ" * 60, **more)
    assert answer.status_code == 400
    assert "letters in an address" in answer.json()["detail"]


def test_the_trail_says_what_a_team_was(shop: Shop, ada: Client) -> None:
    send(ada, "patch", f"/teams/{shop.team.pk}", group="shop")
    send(ada, "patch", f"/teams/{shop.team.pk}", group="")
    assert last().detail == "changed to the team Shop team; was Shop team for the group shop"


# --- Roles ---


def test_people_are_counted_within_what_one_manages(shop: Shop, ada: Client, sue: Client) -> None:
    role = Role.objects.get(slug="developer")
    before = sue.get(f"{V1}/roles/{role.pk}").json()["people_count"]
    shop.grant(shop.bob, "developer", shop.live)
    assert sue.get(f"{V1}/roles/{role.pk}").json()["people_count"] == before
    shop.grant(shop.bob, "developer", shop.staging)
    assert sue.get(f"{V1}/roles/{role.pk}").json()["people_count"] == before + 1
    ended = shop.grant(shop.ada, "developer", shop.staging)
    Grant.objects.filter(pk=ended.pk).update(expires_at=timezone.now())
    assert ada.get(f"{V1}/roles/{role.pk}").json()["people_count"] == before + 1


def test_a_role_that_only_tokens_had_can_be_removed(shop: Shop, ada: Client) -> None:
    role = Role.objects.create(name="Log reader", slug="log-reader", verbs=["container.logs"])
    token, _ = issue(shop.ada, "narrow", Narrowing(role))
    refused = ada.delete(f"{V1}/roles/{role.pk}")
    assert (refused.status_code, ada.get(f"{V1}/roles/{role.pk}").json()["grant_count"]) == (409, 0)
    assert "the token narrow of ada" in refused.json()["detail"]
    tokens.revoke(token)
    assert ada.delete(f"{V1}/roles/{role.pk}").status_code == 204
    token.refresh_from_db()
    assert (token.is_narrowed, token.is_live) == (True, False), "it stays in the list, and gives nothing"


def test_a_role_from_its_making_to_its_end(shop: Shop, ada: Client) -> None:
    made = send(ada, "post", "/roles", name="Log reader", verbs=["container.see", "container.logs"])
    assert made.status_code == 201
    pk, said = made.json()["id"], made.json()
    assert (said["slug"], said["verbs"]) == ("log-reader", ["container.logs", "container.see"])
    assert (said["built_in"], said["people_count"], said["unknown"]) == (False, 0, [])
    grant = shop.grant(shop.bob, "log-reader", shop.staging)
    changed = send(ada, "patch", f"/roles/{pk}", verbs=["container.logs", "container.stats"]).json()
    assert (changed["name"], changed["people_count"], changed["grant_count"]) == ("Log reader", 1, 1)
    assert last().detail == "changed the role Log reader; added: container.stats; taken: container.see"
    refused = ada.delete(f"{V1}/roles/{pk}")
    assert refused.status_code == 409
    assert "in use: by grants to bob" in refused.json()["detail"]
    grant.delete()
    assert ada.delete(f"{V1}/roles/{pk}").status_code == 204
    assert (last().detail, last().target_name) == ("removed the role Log reader", "Log reader")


def test_a_built_in_role_stays_as_it_is(shop: Shop, ada: Client) -> None:
    viewer = Role.objects.get(slug="viewer")
    for answer in (
        send(ada, "patch", f"/roles/{viewer.pk}", verbs=["access.manage"]),
        send(ada, "patch", f"/roles/{viewer.pk}"),
        ada.delete(f"{V1}/roles/{viewer.pk}"),
    ):
        assert answer.status_code == 409
        assert answer.json()["detail"] == "Viewer is built in and stays as it is."
    viewer.refresh_from_db()
    assert "access.manage" not in viewer.verbs


@pytest.mark.parametrize(
    "body",
    [
        {"name": "New", "verbs": []},
        {"name": "New", "verbs": ["moon.land"]},
        {"name": "Keys", "verbs": ["container.see"]},
        {"name": "New", "verbs": ["container.see"], "built_in": True},
        {"name": "New"},
    ],
)
def test_what_is_no_role_is_not_made(shop: Shop, ada: Client, body: dict[str, Any]) -> None:
    before = Role.objects.count()
    answer = send(ada, "post", "/roles", **body)
    assert (answer.status_code, bool(answer.json()["errors"])) == (422, True)
    assert Role.objects.count() == before


def test_nobody_widens_a_role_beyond_what_they_have(shop: Shop) -> None:
    shop.grant(shop.bob, "keys")
    role = Role.objects.create(name="Watch", slug="watch", verbs=["access.manage"])
    shop.grant(shop.sue, "watch", shop.live)
    bob = client_with(issue(shop.bob)[1])
    answer = send(bob, "patch", f"/roles/{role.pk}", verbs=["access.manage", "container.exec"])
    assert (answer.status_code, answer.json()["verb"]) == (403, "container.exec")
    role.refresh_from_db()
    assert role.verbs == ["access.manage"]


# --- What is of no environment ---


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/teams"),
        ("patch", "/teams/{team}"),
        ("delete", "/teams/{team}"),
        ("post", "/teams/{team}/members"),
        ("delete", "/teams/{team}/members/{bob}"),
        ("post", "/roles"),
        ("patch", "/roles/{role}"),
        ("delete", "/roles/{role}"),
    ],
)
def test_what_is_of_no_environment_takes_managing_everything(shop: Shop, sue: Client, method: str, path: str) -> None:
    shop.team.members.add(shop.bob)
    before = list(Role.objects.values_list("pk", "name", "verbs"))
    path = path.format(team=shop.team.pk, bob=shop.bob.pk, role=Role.objects.get(slug="keys").pk)
    bodies = {"members": {"people": [shop.sue.pk]}, "roles": {"name": "x", "verbs": ["host.see"]}}
    body = next((body for word, body in bodies.items() if word in path), {"name": "x"})
    answer = sue.delete(f"{V1}{path}") if method == "delete" else send(sue, method, path, **body)
    assert (answer.status_code, answer.json()["verb"]) == (403, "access.manage")
    assert (last().verb, last().outcome) == ("access.manage", Outcome.REFUSED)
    assert (Team.objects.get().name, list(shop.team.members.all())) == ("Shop team", [shop.bob])
    assert list(Role.objects.values_list("pk", "name", "verbs")) == before


def test_teams_and_roles_are_read_by_whoever_manages_access_anywhere(shop: Shop, sue: Client) -> None:
    bob = client_with(issue(shop.bob)[1])
    for path in ("/teams", f"/teams/{shop.team.pk}", "/roles", f"/roles/{Role.objects.get(slug='keys').pk}"):
        assert sue.get(f"{V1}{path}").status_code == 200
        assert bob.get(f"{V1}{path}").status_code == 403


def test_the_last_administrator_stays(shop: Shop, ada: Client) -> None:
    for body in ({"standing": "member", "is_active": True}, {"standing": "administrator", "is_active": False}):
        answer = send(ada, "patch", f"/people/{shop.ada.pk}", **body)
        assert answer.status_code == 409
        assert "last administrator" in answer.json()["detail"]
    assert User.objects.get(pk=shop.ada.pk).standing == Standing.ADMINISTRATOR


def test_a_second_factor_is_asked_of_whole_roles(shop: Shop, ada: Client, sue: Client) -> None:
    roles = ["maintainer", "developer"]
    assert send(sue, "put", "/roles/second-factor", roles=roles).status_code == 403
    answer = send(ada, "put", "/roles/second-factor", roles=roles)
    assert {role["slug"] for role in answer.json()} == set(roles)
    assert set(Role.objects.filter(second_factor=True).values_list("slug", flat=True)) == set(roles)
    assert last().detail == "second factor asked of: Developer, Maintainer; before of: nobody"
    assert send(ada, "put", "/roles/second-factor", roles=["nothing"]).json()["errors"].keys() == {"roles"}
    assert Role.objects.filter(second_factor=True).count() == 2, "and none is changed by that"
    assert send(ada, "put", "/roles/second-factor", roles=[]).json() == []
