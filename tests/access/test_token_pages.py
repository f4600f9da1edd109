"""The pages of tokens and service accounts: a secret is shown once, and one's own are nobody else's to end."""

from __future__ import annotations

import re

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from controlplane.access import tokens
from controlplane.access.models import Standing, Token, User
from controlplane.operations.models import AuditEntry

pytestmark = pytest.mark.django_db
OWN, SERVICES = "/profile/tokens/", "/people/services/"


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def secret_on(page: str) -> str:
    found = tokens.TOKEN.findall(page)
    assert len(set(found)) == 1
    return str(found[0])


def test_a_token_is_made_and_shown_once(vic: User) -> None:
    client = signed_in(vic)
    form = {"name": "backup", "days": "30", "role": "viewer", "repositories": "shop/*", "addresses": "192.0.2.0/24"}
    answer = client.post(OWN, form, follow=True)
    secret = secret_on(answer.content.decode())
    assert answer["Cache-Control"] == "no-store"
    token = Token.objects.get()
    assert tokens.user_of(secret, "192.0.2.1") == vic
    assert (token.name, token.is_narrowed, token.addresses) == ("backup", True, ["192.0.2.0/24"])
    assert [grant.repositories for grant in token.grants.all()] == [["shop/*"]]
    assert secret not in client.get(OWN).content.decode()
    entry = AuditEntry.objects.get(verb="access.token")
    assert entry.actor == vic
    assert secret not in entry.detail


def test_while_it_waits_to_be_shown_it_is_sealed(vic: User) -> None:
    client = signed_in(vic)
    client.post(OWN, {"name": "backup", "days": "30"})
    (session,) = Session.objects.all()
    kept = session.get_decoded()["new_token"]["secret"]
    assert not re.search("gantry_pat", kept)
    assert secret_on(client.get(OWN).content.decode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a\nb"),
        ("days", "0"),
        ("days", "367"),
        ("days", "x"),
        ("role", "nonsense"),
        ("repositories", "***"),
        ("repositories", "shop/*"),  # without a role
        ("tags", "a b/c"),
        ("addresses", "300.0.0.1"),
        ("environments", "nowhere"),
    ],
)
def test_what_cannot_be_is_said_at_its_field(vic: User, field: str, value: str) -> None:
    answer = signed_in(vic).post(OWN, {"name": "t", "days": "30", field: value})
    assert answer.status_code == 422
    assert "field-error" in answer.content.decode()
    assert not Token.objects.exists()


def test_ones_own_token_is_revoked_and_nobody_elses(ada: User, vic: User) -> None:
    mia = User.objects.create(username="mia", standing=Standing.MEMBER)
    signed_in(vic).post(OWN, {"name": "t", "days": "30"})
    token = Token.objects.get()
    address = f"{OWN}{token.pk}/revoke/"
    assert signed_in(mia).post(address).status_code == 404
    assert Token.objects.live().exists()
    assert signed_in(vic).post(address).status_code == 302
    assert not Token.objects.live().exists()
    assert AuditEntry.objects.filter(verb="access.token").count() == 2


def test_who_manages_access_sees_and_ends_all(ada: User, vic: User) -> None:
    signed_in(vic).post(OWN, {"name": "of vic", "days": "30"})
    client = signed_in(ada)
    assert "of vic" in client.get("/people/tokens/?q=vic").content.decode()
    assert signed_in(vic).get("/people/tokens/").status_code == 403
    client.post(f"{OWN}{Token.objects.get().pk}/revoke/")
    assert not Token.objects.live().exists()


def test_a_service_account_is_made_and_seen_to(ada: User, vic: User) -> None:
    client = signed_in(ada)
    answer = client.post(SERVICES, {"name": "deployer", "purpose": "Deploys", "responsible": "vic"})
    account = User.objects.get(username="deployer")
    assert answer["Location"] == f"{SERVICES}{account.pk}/"
    assert (account.is_service, account.responsible, account.has_usable_password()) == (True, vic, False)
    made = signed_in(vic).post(answer["Location"], {"name": "rollout", "days": "900"}, follow=True)
    assert tokens.user_of(secret_on(made.content.decode()), None) == account
    other = User.objects.create(username="mia", standing=Standing.VIEWER)
    assert signed_in(other).get(answer["Location"]).status_code == 404
    assert "deployer" not in signed_in(other).get(SERVICES).content.decode()
    assert signed_in(other).post(SERVICES, {"name": "mine"}).status_code == 403


def test_a_service_account_is_kept_out_with_its_tokens(ada: User) -> None:
    client = signed_in(ada)
    client.post(SERVICES, {"name": "deployer"})
    account = User.objects.get(username="deployer")
    page = client.post(f"{SERVICES}{account.pk}/", {"name": "t", "days": "30"}, follow=True)
    client.post(f"{SERVICES}{account.pk}/change/", {"standing": "member"})
    with pytest.raises(tokens.Refused, match="deactivated"):
        tokens.user_of(secret_on(page.content.decode()), None)
    answer = client.post(f"{SERVICES}{account.pk}/change/", {"standing": "administrator", "is_active": "on"})
    assert answer.status_code == 400
    assert "deployer" not in client.get("/people/").content.decode()
