"""A token of somebody whose role asks for a second factor is good once they have one, and they are told so before."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from controlplane.access import tokens
from controlplane.access.models import Grant, Role, Standing, Team, User
from controlplane.access.second_factor import lacks_second_factor
from controlplane.access.tokens import Narrowing, Wanted
from controlplane.api import door
from controlplane.operations.models import AuditEntry, Outcome
from tests.access.factors import with_app
from tests.api.conftest import UNUSABLE, bearer, client_with, issue
from tests.security.fleet import Fleet

pytestmark = pytest.mark.django_db
ME = "/api/v1/me"


def ask(slug: str) -> None:
    Role.objects.filter(slug=slug).update(second_factor=True)


def of_their_team(user: User) -> None:
    team = Team.objects.create(name="Ops", slug="ops")
    team.members.add(user)
    Grant.objects.create(team=team, role=Role.objects.get(slug="operator"), every_environment=True)
    ask("operator")


ASKED: dict[str, Any] = {"by standing": lambda user: ask(user.standing), "by a team's grant": of_their_team}


@pytest.mark.parametrize("how", ASKED)
def test_it_is_refused_until_there_is_one(fleet: Fleet, how: str) -> None:
    _, secret = issue(fleet.viewer)
    client = client_with(secret)
    assert client.get(ME).status_code == 200
    ASKED[how](fleet.viewer)
    for answer in (client.get(ME), client.post(f"/api/v1/containers/{fleet.container.pk}/stop")):
        assert answer.status_code == 403
        said = answer.json()
        assert said["type"] == "urn:gantry:problem:second-factor-missing"
        assert "second factor" in said["detail"]
        assert "Your account" in said["hint"]
    with_app(fleet.viewer)
    assert client.get(ME).status_code == 200


def test_it_is_written_down_with_whose_it_is(fleet: Fleet) -> None:
    token, secret = issue(fleet.viewer)
    ask(Standing.VIEWER)
    client_with(secret).get(ME)
    entry = AuditEntry.objects.latest("seq")
    assert (entry.verb, entry.outcome, entry.door) == ("access.token", Outcome.REFUSED, "api")
    assert (entry.actor, entry.target_kind, entry.target_id) == (fleet.viewer, "token", str(token.pk))
    assert "without the second factor" in entry.detail


def test_a_narrowed_token_is_no_way_round(fleet: Fleet) -> None:
    """What is asked for is asked of the person, whatever the token keeps of their rights."""
    _, secret = issue(fleet.administrator, narrowing=Narrowing(Role.objects.get(slug="viewer")))
    ask(Standing.ADMINISTRATOR)
    assert client_with(secret).get(ME).status_code == 403


def test_one_whose_role_asks_for_none_is_let_in(fleet: Fleet) -> None:
    _, secret = issue(fleet.viewer)
    ask(Standing.ADMINISTRATOR)
    assert client_with(secret).get(ME).status_code == 200


def test_it_is_not_told_of_a_token_that_is_not_good(fleet: Fleet, client: Client) -> None:
    _, secret = issue(fleet.viewer, addresses=["192.0.2.0/24"])
    ask(Standing.VIEWER)
    assert client.get(ME, headers=bearer(secret)).status_code == 401, "from elsewhere"
    assert client.get(ME, headers=bearer(secret), REMOTE_ADDR="192.0.2.7").status_code == 403


def test_it_is_no_wrong_guess(fleet: Fleet) -> None:
    _, secret = issue(fleet.viewer)
    ask(Standing.VIEWER)
    client = client_with(secret)
    assert {client.get(ME).status_code for _ in range(door.FAILURES.most + 2)} == {403}


def test_a_service_account_is_not_asked(fleet: Fleet) -> None:
    service = User.objects.create(
        username="robot", password=UNUSABLE, is_service=True, responsible=fleet.viewer, standing=Standing.VIEWER
    )
    of_their_team(service)
    ask(Standing.VIEWER)
    with_app(fleet.viewer)
    wanted = Wanted("ci", timezone.now() + timedelta(hours=1))
    _, secret = tokens.issue(fleet.viewer, service, wanted)
    assert client_with(secret).get(ME).status_code == 200
    assert not lacks_second_factor(service)
