"""One's own sessions, and somebody else's: seen, ended, with what they are proved by."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client

from controlplane.access.models import BrowserSession, Role, Standing, User
from controlplane.access.tokens import Narrowing
from controlplane.operations.models import AuditEntry
from tests.api.conftest import UNUSABLE, client_with, issue
from tests.security.fleet import Fleet

SESSIONS = "/api/v1/me/sessions"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0"


def signed_in(user: User) -> Client:
    client = Client(headers={"User-Agent": FIREFOX})
    client.force_login(user)
    assert client.get("/").status_code == 200
    return client


def last() -> tuple[Any, ...]:
    entry = AuditEntry.objects.latest("seq")
    return entry.verb, entry.target_name, entry.detail, entry.door


def test_ones_own_are_listed_and_ended(ada: Client, fleet: Fleet) -> None:
    browsers = [signed_in(fleet.administrator) for _ in range(3)]
    other = signed_in(fleet.viewer)
    found = ada.get(SESSIONS).json()["items"]
    assert [(row["device"], row["address"]) for row in found] == [("Firefox on Linux", "127.0.0.1")] * 3
    assert ada.delete(f"{SESSIONS}/{found[0]['id']}").status_code == 204
    assert last() == ("access.account", "ada", "ended the session of Firefox on Linux at 127.0.0.1", "api")
    assert sorted(each.get("/").status_code for each in browsers) == [200, 200, 302]
    assert ada.delete(f"{SESSIONS}/{found[0]['id']}").status_code == 404
    theirs = BrowserSession.objects.get(user=fleet.viewer).pk
    assert ada.delete(f"{SESSIONS}/{theirs}").status_code == 404
    assert (AuditEntry.objects.latest("seq").outcome, last()[0]) == ("refused", "access.account")
    assert ada.delete(SESSIONS).status_code == 204
    assert last()[2] == "signed out everywhere (2 sessions)"
    assert {each.get("/").status_code for each in browsers} == {302}
    assert other.get("/").status_code == 200
    assert ada.get("/api/v1/me").status_code == 200, "a token is no session"


def test_a_narrowed_token_has_nothing_to_do_with_them(fleet: Fleet) -> None:
    browser = signed_in(fleet.administrator)
    narrowing = Narrowing(Role.objects.get(slug="administrator"))
    client = client_with(issue(fleet.administrator, narrowing=narrowing)[1])
    renamed = client.patch("/api/v1/me", {"first_name": "Eve"}, content_type="application/json")
    for answer in (client.get(SESSIONS), client.delete(SESSIONS), client.delete(f"{SESSIONS}/1"), renamed):
        assert answer.status_code == 403
        assert "narrowed token" in answer.json()["detail"]
        assert (answer.json()["verb"], AuditEntry.objects.latest("seq").outcome) == ("access.account", "refused")
    assert browser.get("/").status_code == 200
    assert User.objects.get(username="ada").first_name == ""


def test_what_one_says_of_oneself_is_changed(ada: Client, fleet: Fleet) -> None:
    def change(**said: str) -> Any:
        return ada.patch("/api/v1/me", said, content_type="application/json")

    assert change(first_name="Ada", email="ada@shop.example").json()["account"]["name"] == "Ada"
    assert last() == ("access.account", "ada", "changed first_name, email", "api")
    assert change(last_name="Byron").json()["account"]["email"] == "ada@shop.example"
    assert list(change(email="nonsense").json()["errors"]) == ["email"]
    assert list(change(first_name="Ada\u202e").json()["errors"]) == ["first_name"]
    assert change(standing="administrator").status_code == 422


def test_somebody_is_signed_out_and_their_second_factors_are_forgotten(ada: Client, fleet: Fleet) -> None:
    browser, address = signed_in(fleet.viewer), f"/api/v1/people/{fleet.viewer.pk}"
    Authenticator.objects.create(user=fleet.viewer, type="totp", data={})
    said = ada.get(address).json()
    assert (said["sessions"], said["has_second_factor"]) == (1, True)
    assert ada.delete(f"{address}/sessions").status_code == 204
    assert last()[::2] == ("access.manage", "ended the sessions of vic (1)")
    assert browser.get("/").status_code == 302
    browser = signed_in(fleet.viewer)
    assert ada.delete(f"{address}/second-factors").status_code == 204
    assert last()[::2] == ("access.manage", "took away vic's second factors")
    assert browser.get("/").status_code == 302
    said = ada.get(address).json()
    assert (said["sessions"], said["has_second_factor"]) == (0, False)


@pytest.mark.parametrize("what", ["sessions", "second-factors"])
def test_whose_sign_in_is_changed_has_no_more_than_whoever_changes_it(fleet: Fleet, what: str) -> None:
    """Who manages access, and nothing else, could become an administrator by it."""
    role = Role.objects.create(name="Doorkeeper", slug="doorkeeper", verbs=["access.manage"])
    keeper = User.objects.create(username="kim", password=UNUSABLE, standing=Standing.MEMBER)
    keeper.grants.create(role=role, every_environment=True, repositories=["**"], tags=["*"])
    browser = signed_in(fleet.administrator)
    answer = client_with(issue(keeper)[1]).delete(f"/api/v1/people/{fleet.administrator.pk}/{what}")
    assert answer.status_code == 403
    assert browser.get("/").status_code == 200


def test_a_service_account_is_no_person_here(ada: Client, fleet: Fleet) -> None:
    assert ada.get(f"/api/v1/people/{fleet.service.pk}").status_code == 404
    assert ada.delete(f"/api/v1/people/{fleet.service.pk}/sessions").status_code == 404
    assert ada.get(f"/api/v1/service-accounts/{fleet.service.pk}").json()["username"] == "svc"
