"""Linking an identity of a provider to one's account and unlinking it: by its owner alone, whatever is said there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import urlsplit

import pytest
from allauth.socialaccount.models import SocialAccount
from django.core.cache import cache
from django.test import Client

from controlplane.access.models import BrowserSession, Team, User
from controlplane.operations.models import AuditEntry, Outcome
from tests.access.factors import PASSWORD, signed_in
from tests.access.test_identity_provider import come_in, is_in, use
from tests.access.test_second_factor import stale
from tests.security.access_changes import with_key
from tests.support.identity import IdentityProvider
from tests.support.passkey import Passkey
from tests.support.redis import RedisServer


@pytest.fixture(scope="module")
def running() -> Iterator[IdentityProvider]:
    with IdentityProvider() as provider:
        yield provider


@pytest.fixture
def provider(running: IdentityProvider, settings: object, redis_server: RedisServer, db: None) -> IdentityProvider:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # type: ignore[attr-defined]
    cache.clear()
    running.lie("")
    use(settings, running.environment())
    running.add("ann", preferred_username="ann", email="ada@example.org", email_verified=True, groups=["ops"])
    return running


@pytest.fixture
def ada(provider: IdentityProvider) -> User:
    return User.objects.create_user("ada", email="ada@example.org", password=PASSWORD, standing="viewer")


def way(client: Client) -> str:
    """The address that the page of one's account offers."""
    found = re.search(r'href="(/account/identities/link/[^"]*)"', client.get("/account/").content.decode())
    assert found
    return unescape(found[1])


def link(client: Client, provider: IdentityProvider, sub: str = "ann") -> str:
    return come_in(client, provider, sub, start=way(client))


def told(outcome: str = Outcome.ALLOWED) -> list[str]:
    rows = AuditEntry.objects.filter(verb="access.account", outcome=outcome).order_by("seq")
    return list(rows.values_list("detail", flat=True))


def page(client: Client) -> str:
    return client.get("/account/").content.decode()


def test_what_is_linked_signs_into_the_same_account(ada: User, provider: IdentityProvider) -> None:
    client = signed_in("ada")
    assert "Link Example ID" in page(client)
    assert link(client, provider) == "/account/"
    assert told() == ["linked the identity ann at sso"]
    assert "Unlink Example ID" in page(client)
    assert "Link Example ID" not in page(client)
    other = Client()
    assert come_in(other, provider) == "/"
    assert other.session["_auth_user_id"] == str(ada.pk)
    assert User.objects.count() == 1


def test_the_same_verified_address_links_nothing(ada: User, provider: IdentityProvider) -> None:
    """Neither for a stranger nor for whoever is signed in with it, unless they begin a link."""
    come_in(Client(), provider)
    client = signed_in("ada")
    SocialAccount.objects.all().delete()
    come_in(client, provider)
    assert client.session["_auth_user_id"] != str(ada.pk)
    assert not SocialAccount.objects.filter(user=ada).exists()


@pytest.mark.parametrize("proof", ["", "&proof=x", "&proof=ü", "of another's page"])
def test_no_other_site_begins_a_link(ada: User, provider: IdentityProvider, proof: str) -> None:
    """By GET, as a form may not lead to another site: so the link itself has what only our own page knows."""
    client = signed_in("ada")
    if proof.startswith("of"):
        User.objects.create_user("eve", password=PASSWORD)
        proof = f"&{urlsplit(way(signed_in('eve'))).query}"
    assert client.get(f"/account/identities/link/?provider=sso{proof}").status_code == 400
    assert "socialaccount_states" not in client.session
    assert not SocialAccount.objects.exists()


def test_nobody_begins_one_who_is_not_signed_in(provider: IdentityProvider) -> None:
    assert Client().get("/account/identities/link/?provider=sso")["Location"].startswith("/login/")


def test_a_provider_that_is_none_is_not_there(ada: User) -> None:
    client = signed_in("ada")
    assert client.get(way(client).replace("=sso&", "=other&")).status_code == 404


def test_a_proof_is_asked_for_first(ada: User, provider: IdentityProvider) -> None:
    client = signed_in("ada")
    stale(client)
    assert client.get(way(client))["Location"].startswith("/account/confirm/?next=")
    link_again = client.post("/account/confirm/", {"password": PASSWORD, "next": way(client)})
    assert come_in(client, provider, start=link_again["Location"]) == "/account/"
    assert SocialAccount.objects.get().user == ada


def test_an_identity_of_another_account_stays_there(ada: User, provider: IdentityProvider) -> None:
    come_in(Client(), provider)
    owner = SocialAccount.objects.get().user
    client = signed_in("ada")
    assert link(client, provider) == "/account/"
    assert SocialAccount.objects.get().user == owner
    assert "could not be linked" in page(client)
    assert told(Outcome.REFUSED) == ["link of the identity ann at sso, which is another account's"]


def test_an_answer_links_only_for_who_asked(ada: User, provider: IdentityProvider) -> None:
    User.objects.create_user("bob", password=PASSWORD)
    client = signed_in("ada")
    back = urlsplit(provider.approve(client.get(way(client))["Location"], "ann"))
    session = client.session
    states = session["socialaccount_states"]
    client.force_login(User.objects.get(username="bob"))
    session = client.session
    session["socialaccount_states"] = states  # even if it outlived the change of person
    session.save()
    client.get(f"{back.path}?{back.query}")
    assert not SocialAccount.objects.exists()
    assert told(Outcome.REFUSED) == ["an answer for whoever began a link and is not signed in any more"]


def test_linking_twice_changes_nothing(ada: User, provider: IdentityProvider) -> None:
    client = signed_in("ada")
    start = way(client)
    link(client, provider)
    assert come_in(client, provider, start=start) == "/account/"
    assert SocialAccount.objects.count() == 1
    assert len(told()) == 1


def test_what_is_refused_there_leads_back_to_the_account(ada: User, provider: IdentityProvider) -> None:
    client = signed_in("ada")
    provider.lie("no signature")
    assert link(client, provider) == "/account/"
    assert not SocialAccount.objects.exists()
    assert is_in(client)


def unlink(client: Client, identity: int | None = None) -> None:
    pk = identity or SocialAccount.objects.get(user=client.session["_auth_user_id"]).pk
    assert client.post("/account/identities/unlink/", {"identity": pk})["Location"] == "/account/"


def test_what_is_unlinked_signs_in_no_more(ada: User, provider: IdentityProvider) -> None:
    Team.objects.create(name="Keepers", slug="keepers", group="ops")
    Team.objects.create(name="Chess", slug="chess").members.add(ada)
    client = signed_in("ada")
    link(client, provider)
    by_it = Client()
    come_in(by_it, provider)
    assert sorted(ada.teams.values_list("slug", flat=True)) == ["chess", "keepers"]
    unlink(client)
    assert told()[-1] == "unlinked the identity ann at sso; left the team Keepers"
    assert is_in(client)
    assert not is_in(by_it), "other sessions may have come by it"
    assert BrowserSession.objects.filter(user=ada).count() == 1
    assert list(ada.teams.values_list("slug", flat=True)) == ["chess"]
    come_in(by_it, provider)
    assert by_it.session["_auth_user_id"] != str(ada.pk)


def test_the_last_way_in_stays(provider: IdentityProvider) -> None:
    client = Client()
    come_in(client, provider)
    unlink(client)
    assert SocialAccount.objects.exists()
    assert "no other way to sign in" in page(client)
    with_key(client, Passkey())
    unlink(client)
    assert not SocialAccount.objects.exists()


def test_nobody_unlinks_what_is_another_s(ada: User, provider: IdentityProvider) -> None:
    come_in(Client(), provider)
    theirs = SocialAccount.objects.get().pk
    client = signed_in("ada")
    for identity in (theirs, "x", "", "0"):
        assert client.post("/account/identities/unlink/", {"identity": identity}).status_code == 404
    assert SocialAccount.objects.exists()


def test_unlinking_takes_a_proof_and_our_own_form(ada: User, provider: IdentityProvider) -> None:
    client = signed_in("ada")
    link(client, provider)
    pk = SocialAccount.objects.get().pk
    assert client.get(f"/account/identities/unlink/?identity={pk}").status_code == 405
    stale(client)
    assert "/account/confirm/" in client.post("/account/identities/unlink/", {"identity": pk})["Location"]
    assert SocialAccount.objects.exists()
