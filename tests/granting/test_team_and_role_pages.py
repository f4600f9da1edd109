"""Teams, roles and people by their pages."""

from __future__ import annotations

import pytest

from controlplane.access.models import Grant, Role, Team
from controlplane.operations.models import AuditEntry
from tests.granting.conftest import Shop
from tests.granting.test_grant_pages import last, text

pytestmark = pytest.mark.django_db


def test_a_team_from_its_making_to_its_end(shop: Shop) -> None:
    ada = shop.browser(shop.ada)
    made = ada.post("/access/teams/", {"name": "Night shift", "group": "night"})
    team = Team.objects.get(slug="night-shift")
    assert made["Location"] == f"/access/teams/{team.pk}/"
    assert last().detail == "made the team Night shift for the group night"
    assert ada.post(f"/access/teams/{team.pk}/add/", {"people": [shop.bob.pk, shop.sue.pk]}).status_code == 302
    assert set(team.members.all()) == {shop.bob, shop.sue}
    entries = AuditEntry.objects.filter(detail="added to the team Night shift")
    assert {entry.target_name for entry in entries} == {"bob", "sue"}
    grant = shop.grant(team, "operator", shop.staging)
    page = text(ada.get(f"/access/teams/{team.pk}/"))
    assert "This takes from 2 people what its 1 grant gives." in page
    assert f"/access/grants/{grant.pk}/" in page
    ada.post(f"/access/teams/{team.pk}/take/", {"person": shop.sue.pk})
    assert list(team.members.all()) == [shop.bob]
    assert ada.post(f"/access/teams/{team.pk}/take/", {"person": shop.sue.pk}).status_code == 404
    ada.post(f"/access/teams/{team.pk}/", {"name": "Late shift", "group": ""})
    team.refresh_from_db()
    assert (team.name, team.slug, team.group) == ("Late shift", "late-shift", "")
    ada.post(f"/access/teams/{team.pk}/remove/")
    assert not Team.objects.filter(pk=team.pk).exists()
    assert not Grant.objects.filter(pk=grant.pk).exists()
    assert last().detail == "removed the team; its grants: Operator to the team Late shift on ** : * in Staging"


@pytest.mark.parametrize("name", ["Shop team", "shop-team", "", "\0", "  ", "x" * 81, "<b>", "!"])
def test_a_name_that_is_none_or_taken_makes_no_team(shop: Shop, name: str) -> None:
    answer = shop.browser(shop.ada).post("/access/teams/", {"name": name})
    assert answer.status_code == 422
    assert "field-error" in text(answer)
    assert Team.objects.count() == 1


def test_a_role_from_its_making_to_its_end(shop: Shop) -> None:
    ada = shop.browser(shop.ada)
    assert "Open terminals in containers" in text(ada.get("/access/roles/new/"))
    ada.post("/access/roles/new/", {"name": "Log reader", "verbs": ["container.see", "container.logs"]})
    role = Role.objects.get(slug="log-reader")
    assert role.verbs == ["container.logs", "container.see"]
    grant = shop.grant(shop.bob, "log-reader", shop.staging)
    page = text(ada.get(f"/access/roles/{role.pk}/"))
    assert "1 grant give" in page
    ada.post(f"/access/roles/{role.pk}/", {"name": "Log reader", "verbs": ["container.logs", "container.stats"]})
    role.refresh_from_db()
    assert role.verbs == ["container.logs", "container.stats"]
    assert last().detail == "changed the role Log reader; added: container.stats; taken: container.see"
    answer = ada.post(f"/access/roles/{role.pk}/remove/")
    assert (answer.status_code, Role.objects.filter(pk=role.pk).exists()) == (409, True)
    assert "in use: by grants to bob" in text(answer)
    grant.delete()
    assert ada.post(f"/access/roles/{role.pk}/remove/").status_code == 302
    assert not Role.objects.filter(pk=role.pk).exists()


def test_a_built_in_role_is_read_only(shop: Shop) -> None:
    ada, viewer = shop.browser(shop.ada), Role.objects.get(slug="viewer")
    page = text(ada.get(f"/access/roles/{viewer.pk}/"))
    assert 'name="verbs"' not in page
    answer = ada.post(f"/access/roles/{viewer.pk}/", {"name": "Viewer", "verbs": ["access.manage"]})
    assert answer.status_code == 422
    assert "is built in and stays as it is" in text(answer)
    assert ada.post(f"/access/roles/{viewer.pk}/remove/").status_code == 409
    viewer.refresh_from_db()
    assert "access.manage" not in viewer.verbs


@pytest.mark.parametrize(
    "form",
    [
        {"name": "New", "verbs": []},
        {"name": "New", "verbs": ["moon.land"]},
        {"name": "Keys", "verbs": ["container.see"]},
        {"name": "", "verbs": ["container.see"]},
    ],
)
def test_what_is_no_role_is_not_made(shop: Shop, form: dict[str, object]) -> None:
    before = Role.objects.count()
    assert shop.browser(shop.ada).post("/access/roles/new/", form).status_code == 422
    assert Role.objects.count() == before


def test_fields_that_are_not_asked_are_not_taken(shop: Shop) -> None:
    ada = shop.browser(shop.ada)
    more = {"built_in": "on", "second_factor": "on", "slug": "viewer", "id": "1"}
    ada.post("/access/roles/new/", {"name": "New", "verbs": ["container.see"]} | more)
    role = Role.objects.get(name="New")
    assert (role.built_in, role.second_factor, role.slug) == (False, False, "new")
    ada.post("/access/teams/", {"name": "New", "members": [shop.bob.pk], "slug": "x", "id": "1"})
    team = Team.objects.get(name="New")
    assert (team.slug, team.members.count()) == ("new", 0)


def test_a_person_s_page_has_what_they_hold_and_by_what(shop: Shop) -> None:
    shop.team.members.add(shop.bob)
    shop.grant(shop.team, "operator", shop.staging)
    shop.grant(shop.bob, "viewer", shop.live, repositories="registry.example/**")
    page = text(shop.browser(shop.ada).get(f"/access/people/{shop.bob.pk}/"))
    for words in ("by the team Shop team", "Operator", "registry.example/**", "Production", "Member"):
        assert words in page


def test_whoever_manages_one_environment_counts_the_grants_of_that_one(shop: Shop) -> None:
    shop.grant(shop.team, "operator", shop.staging)
    shop.grant(shop.team, "operator", shop.live)
    shop.grant(shop.team, "operator")
    for user, counts in ((shop.sue, 1), (shop.ada, 3)):
        (team,) = shop.browser(user).get("/access/teams/").context["teams"]
        roles = {role.slug: role for role in shop.browser(user).get("/access/roles/").context["roles"]}
        assert (team.grant_count, roles["operator"].grant_count) == (counts, counts)
