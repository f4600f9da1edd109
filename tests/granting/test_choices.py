"""Whom pages of access offer: those that one may know of there, found by name and never all at once."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from controlplane.access.giving import holders, known_to, manageable, named_like
from controlplane.access.models import Standing, Team, User
from controlplane.granting.filters import MOST_SUGGESTIONS
from controlplane.granting.why_views import MOST
from tests.granting.conftest import Shop
from tests.granting.test_grant_pages import text

pytestmark = pytest.mark.django_db


@pytest.fixture
def people(shop: Shop) -> dict[str, User]:
    """One person each who holds something by another way; and one who holds nothing."""
    made = {
        name: User.objects.create(username=name, password="!")
        for name in ("staging-own", "staging-team", "live-own", "everywhere", "nothing", "both")
    }
    made["viewer"] = User.objects.create(username="viewer", password="!", standing=Standing.VIEWER)
    team = Team.objects.create(name="Staging people", slug="staging-people")
    team.members.add(made["staging-team"])
    far = Team.objects.create(name="Live people", slug="live-people")
    shop.grant(made["staging-own"], "viewer", shop.staging)
    shop.grant(team, "viewer", shop.staging)
    shop.grant(made["live-own"], "viewer", shop.live)
    shop.grant(far, "viewer", shop.live)
    shop.grant(made["everywhere"], "viewer")
    shop.grant(made["both"], "viewer", shop.staging, shop.live)
    return made


def names(found: Any) -> set[str]:
    return set(found.values_list("username", flat=True))


def asked(shop: Shop, who: User, **query: object) -> set[str]:
    """The people that *Why?* offers."""
    answer = shop.browser(who).get("/access/why/", query)
    return {each.username for each in answer.context["people"]}


def test_one_who_manages_everything_knows_everybody(shop: Shop, people: dict[str, User]) -> None:
    assert names(known_to(shop.ada)) == names(User.objects.all())


def test_one_who_manages_an_environment_knows_who_holds_anything_there(shop: Shop, people: dict[str, User]) -> None:
    expected = {"sue", "ada", "viewer", "staging-own", "staging-team", "everywhere", "both"}
    assert names(known_to(shop.sue)) == expected
    assert asked(shop, shop.sue) == expected
    page = text(shop.browser(shop.sue).get("/access/why/"))
    for hidden in ("live-own", "nothing", "bob"):
        assert not re.search(rf"\b{hidden}\b", page)


@pytest.mark.parametrize("name", ["live-own", "nothing"])
def test_who_is_not_known_is_not_found_by_any_way(shop: Shop, people: dict[str, User], name: str) -> None:
    assert asked(shop, shop.sue, p=name) == set()
    query = {"user": people[name].pk, "verb": "container.see", "kind": ""}
    answer = shop.browser(shop.sue).get("/access/why/", query)
    assert answer.context["who"] is None
    assert name not in text(answer)
    assert "Ask a question" in text(answer), "as for somebody who is not there"
    assert asked(shop, shop.ada, p=name) == {name}


def test_the_list_of_grants_knows_those_of_its_grants(shop: Shop, people: dict[str, User]) -> None:
    assert names(holders(manageable(shop.sue))) == {"sue", "staging-own", "staging-team"}
    page = text(shop.browser(shop.sue).get("/access/grants/"))
    offered = set(
        re.findall(r'<option value="([^"]*)"', page.partition('id="known-people"')[2].partition("</datal")[0])
    )
    assert offered == {"sue", "staging-own", "staging-team"}
    assert "Live people" not in page
    assert "Staging people" in page


@pytest.mark.parametrize(
    ("person", "expected"),
    [
        ("staging-own", {"staging-own"}),
        ("staging-team", {"Staging people"}),
        ("STAGING", {"staging-own", "Staging people"}),
        ("own stag", {"staging-own"}),
        ("live-own", set()),
        ("everywhere", set()),
        ("nothing", set()),
        ("\0", None),
    ],
)
def test_grants_are_found_by_part_of_a_name(
    shop: Shop, people: dict[str, User], person: str, expected: set[str] | None
) -> None:
    answer = shop.browser(shop.sue).get("/access/grants/", {"person": person})
    found = {str(grant.team or grant.user) for grant in answer.context["listing"].rows}
    assert found == expected if expected is not None else answer.status_code == 200


def test_who_is_called_just_that_is_meant_alone(db: None) -> None:
    for name in ("ann", "anna", "joanne"):
        User.objects.create(username=name, first_name="X")
    assert names(named_like(User.objects.all(), "ann")) == {"ann"}
    assert names(named_like(User.objects.all(), "nn")) == {"ann", "anna", "joanne"}
    assert names(named_like(User.objects.all(), "x anna")) == {"anna"}
    assert names(named_like(User.objects.all(), "")) == {"ann", "anna", "joanne"}


@pytest.mark.usefixtures("clocks_aside")
def test_a_thousand_people_are_no_list_of_a_thousand(shop: Shop) -> None:
    def look() -> list[int]:
        counts = []
        for path in ("/access/why/", "/access/why/?p=many-7", "/access/grants/", "/access/grants/?person=many-7"):
            with CaptureQueriesContext(connection) as captured:
                answer = client.get(path)
            assert len(re.findall("many-", text(answer))) <= 2 * MOST_SUGGESTIONS + 2 * MOST
            counts.append(len(captured))
        return counts

    def join(numbers: range) -> None:
        made = User.objects.bulk_create(User(username=f"many-{n}", password="!") for n in numbers)
        shop.team.members.add(*made)

    client = shop.browser(shop.ada)
    join(range(8))
    shop.grant(shop.team, "viewer", shop.staging)
    look()  # the first request of a session notes the browser
    few = look()
    join(range(8, 1000))
    assert look() == few
    assert len(asked(shop, shop.ada)) == MOST
    assert asked(shop, shop.ada, p="many-777") == {"many-777"}


def test_who_is_chosen_stays_in_the_list(shop: Shop, people: dict[str, User]) -> None:
    assert asked(shop, shop.ada, p="viewer", user=people["nothing"].pk) == {"viewer", "nothing"}
