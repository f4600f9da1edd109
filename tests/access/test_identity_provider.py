"""Signing in by an identity provider: a real one (tests.support.identity), which lies when it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.socialaccount.models import SocialAccount, SocialApp
from django.test import Client

from controlplane.access.actions import set_active
from controlplane.access.models import Role, Team, User
from controlplane.lib import providers
from controlplane.operations.models import AuditEntry, Outcome
from tests.access.factors import code_of, with_app
from tests.support.identity import IdentityProvider
from tests.support.identity_server import LIES, OTHER_LIES


@pytest.fixture(scope="module")
def running() -> Iterator[IdentityProvider]:
    with IdentityProvider() as provider:
        yield provider


@pytest.fixture
def provider(running: IdentityProvider, settings: object, db: None) -> IdentityProvider:
    """The provider, told of as the environment does; "ann" is there."""
    running.lie("")
    use(settings, running.environment())
    claims = {"preferred_username": "ann", "given_name": "Ann", "family_name": "O’Neil", "email": "ann@example.org"}
    running.add("ann", **claims, groups=["ops", "shop"])
    return running


def use(settings: object, environment: dict[str, str]) -> None:
    apps = [each.as_app() for each in providers.from_environment(environment)]
    settings.SOCIALACCOUNT_PROVIDERS = {"oidc": {"APPS": apps}}  # type: ignore[attr-defined]


def come_in(client: Client, provider: IdentityProvider, sub: str = "ann", start: str = "/login/by/sso/") -> str:
    """The whole way there and back; where the last answer leads."""
    away = client.get(start)["Location"]
    assert away.startswith(f"{provider.issuer}/authorize?")
    back = urlsplit(provider.approve(away, sub))
    assert back.netloc == "testserver"
    answer = client.get(f"{back.path}?{back.query}")
    assert answer.status_code == 302, answer.content.decode()
    return answer["Location"]


def is_in(client: Client) -> bool:
    return client.get("/").status_code == 200


def refusals() -> list[str]:
    return list(AuditEntry.objects.filter(outcome=Outcome.REFUSED).values_list("detail", flat=True))


def test_somebody_new_comes_in_with_the_least_role(provider: IdentityProvider) -> None:
    client = Client()
    assert "Sign in with Example ID" in client.get("/login/").content.decode()
    assert come_in(client, provider) == "/"
    assert is_in(client)
    ann = User.objects.get()
    assert (ann.username, ann.display, ann.email) == ("ann", "Ann O’Neil", "ann@example.org")
    assert (ann.standing, ann.is_staff, ann.is_superuser) == ("member", False, False)
    assert not ann.has_usable_password()
    details = list(AuditEntry.objects.order_by("pk").values_list("verb", "detail"))
    assert details == [
        ("access.join", "joined as member by sso"),
        ("access.sign-in", "signed in with sso; groups: ops, shop"),
    ]


def test_the_same_person_is_known_again(provider: IdentityProvider) -> None:
    come_in(Client(), provider)
    provider.add("ann", preferred_username="anna", email="else@example.org")
    client = Client()
    come_in(client, provider)
    assert is_in(client)
    assert User.objects.get().username == "ann"


def groups_said() -> list[str]:
    groups: list[str] = SocialAccount.objects.get().extra_data["groups"]
    return groups


def test_teams_follow_the_groups_at_every_sign_in(provider: IdentityProvider) -> None:
    for slug, group in (("keepers", "ops"), ("shop", "shop"), ("chess", ""), ("other", "other")):
        Team.objects.create(name=slug, slug=slug, group=group)

    def teams() -> list[str]:
        come_in(Client(), provider)
        return sorted(User.objects.get().teams.values_list("slug", flat=True))

    assert teams() == ["keepers", "shop"]
    User.objects.get().teams.add(Team.objects.get(slug="chess"))
    provider.add("ann", groups=["shop"])
    assert teams() == ["chess", "shop"]
    provider.add("ann")
    assert teams() == ["chess"]


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ("ops", ["ops"]),
        (["a", "a", 1, None, {"x": 1}, "", "b\nc", "‮", "x" * 201, "d"], ["a", "d"]),
        ({"ops": True}, []),
        (7, []),
        ([f"g{number}" for number in range(2000)], [f"g{number}" for number in range(500)]),
    ],
)
def test_groups_of_any_shape(provider: IdentityProvider, said: object, taken: list[str]) -> None:
    provider.add("ann", groups=said)
    come_in(Client(), provider)
    assert groups_said() == taken


def test_another_claim_may_hold_them(provider: IdentityProvider, settings: object) -> None:
    use(settings, provider.environment() | {"GANTRY_OIDC_GROUPS_CLAIM": "roles"})
    provider.add("ann", groups=["no"], roles=["yes"])
    come_in(Client(), provider)
    assert groups_said() == ["yes"]


@pytest.mark.parametrize("verified", [True, False, "true"])
def test_no_account_is_taken_over_by_its_address_or_its_name(provider: IdentityProvider, verified: object) -> None:
    ada = User.objects.create_user("ann", email="ann@example.org", password="correct horse battery")
    provider.add("ann", preferred_username="ann", email="ann@example.org", email_verified=verified)
    client = Client()
    assert come_in(client, provider) == "/"
    new = User.objects.exclude(pk=ada.pk).get()
    assert client.session["_auth_user_id"] == str(new.pk)
    assert new.username != "ann"
    ada.refresh_from_db()
    assert ada.check_password("correct horse battery")
    assert not SocialAccount.objects.filter(user=ada).exists()


def test_another_issuer_of_the_same_word_does_not_meet_its_people(provider: IdentityProvider, settings: object) -> None:
    come_in(Client(), provider)
    with IdentityProvider() as other:
        other.add("ann", preferred_username="ann")
        use(settings, other.environment())
        come_in(Client(), other)
    assert User.objects.count() == 2


@pytest.mark.parametrize("lie", [*LIES, *OTHER_LIES])
def test_a_lying_provider_lets_nobody_in(provider: IdentityProvider, lie: str) -> None:
    provider.lie(lie)
    client = Client()
    answer = client.get("/login/by/sso/")
    if answer["Location"] != "/login/":
        back = urlsplit(provider.approve(answer["Location"], "ann"))
        answer = client.get(f"{back.path}?{back.query}")
    assert answer["Location"] == "/login/"
    assert "did not work" in client.get("/login/").content.decode()
    assert not is_in(client)
    assert not User.objects.exists()
    assert len(refusals()) == 1
    assert "retrieving" not in refusals()[0], "it was not the lie that was refused"
    assert "caught" not in provider.people(), "nothing was sent where it was led to"


def test_an_answer_is_taken_once_and_only_by_who_asked(provider: IdentityProvider) -> None:
    """Otherwise somebody could sign a victim in as themselves, or come in by a code they have seen."""
    asking, other = Client(), Client()
    back = urlsplit(provider.approve(asking.get("/login/by/sso/")["Location"], "ann"))
    other.get("/login/by/sso/")
    assert other.get(f"{back.path}?{back.query}")["Location"] == "/login/"
    assert asking.get(f"{back.path}?{back.query}")["Location"] == "/"
    asking.post("/logout/")
    assert asking.get(f"{back.path}?{back.query}")["Location"] == "/login/"
    assert not is_in(asking)
    assert not is_in(other)


def test_a_code_of_another_question_is_refused(provider: IdentityProvider) -> None:
    """By PKCE at the provider: the code that a victim was given does not fit the verifier of this browser."""
    victim, thief = Client(), Client()
    seen = parse_qs(urlsplit(provider.approve(victim.get("/login/by/sso/")["Location"], "ann")).query)["code"][0]
    state = parse_qs(urlsplit(thief.get("/login/by/sso/")["Location"]).query)["state"][0]
    assert thief.get(f"/login/by/sso/callback/?code={seen}&state={state}")["Location"] == "/login/"
    assert not is_in(thief)


def test_what_it_is_asked_with(provider: IdentityProvider) -> None:
    """Nothing of the question is for the address to choose."""
    address = (
        "/login/by/sso/?scope=admin&auth_params=nonce%3Dx%26code_challenge%3Dx&process=connect&next=//evil.example/"
    )
    asked = parse_qs(urlsplit(Client().get(address)["Location"]).query)
    assert set(asked["scope"][0].split()) == {"openid", "profile", "email"}
    assert asked["code_challenge_method"] == ["S256"]
    assert len(asked["nonce"][0]) == len(asked["code_challenge"][0]) == 43
    assert asked["redirect_uri"] == ["http://testserver/login/by/sso/callback/"]
    assert asked["response_type"] == ["code"]


def test_it_leads_on_to_our_own_page_and_nowhere_else(provider: IdentityProvider) -> None:
    assert come_in(Client(), provider, start="/login/by/sso/?next=/hosts/%3Fq%3Da") == "/hosts/?q=a"
    assert come_in(Client(), provider, start="/login/by/sso/?next=//evil.example/") == "/"


def test_whoever_is_refused_there_is_told_so(provider: IdentityProvider) -> None:
    client = Client()
    assert come_in(client, provider, "nobody") == "/login/"
    assert not is_in(client)


@pytest.mark.parametrize(
    "query", ["", "?code=x", "?state=x", "?code=x&state=x", "?error=access_denied", "?code=\0&state="]
)
def test_an_answer_to_no_question_is_refused(provider: IdentityProvider, query: str) -> None:
    assert Client().get(f"/login/by/sso/callback/{query}")["Location"] == "/login/"


@pytest.mark.parametrize("slug", ["other", "openid_connect", "oidc", "google"])
def test_no_other_provider_is_there(provider: IdentityProvider, slug: str) -> None:
    for path in (f"/login/by/{slug}/", f"/login/by/{slug}/callback/?code=x&state=x"):
        assert Client().get(path).status_code == 404


def test_a_provider_in_the_database_counts_for_nothing(db: None) -> None:
    """Where one is, only the environment says: whoever can write a row cannot make Gantry ask an address of theirs."""
    SocialApp.objects.create(
        provider="oidc", provider_id="evil", name="evil", client_id="x", settings={"server_url": "http://127.0.0.1:1"}
    )
    assert Client().get("/login/by/evil/").status_code == 404
    assert "evil" not in Client().get("/login/").content.decode()


def test_somebody_deactivated_stays_out(provider: IdentityProvider) -> None:
    come_in(Client(), provider)
    set_active(User.objects.get(), False)
    client = Client()
    assert come_in(client, provider) == "/login/"
    assert not is_in(client)
    assert "deactivated" in refusals()


def test_a_second_factor_of_ones_own_is_asked_for_too(provider: IdentityProvider) -> None:
    come_in(Client(), provider)
    secret = with_app(User.objects.get())
    team = Team.objects.create(name="ops", slug="ops", group="ops")
    client = Client()
    assert come_in(client, provider) == "/login/second/"
    assert not is_in(client)
    assert not team.members.exists()
    assert client.post("/login/second/", {"code": code_of(secret)})["Location"] == "/"
    assert is_in(client)
    assert team.members.get().username == "ann"


def test_whoever_has_no_password_sets_one_up_after_a_fresh_sign_in(provider: IdentityProvider) -> None:
    client = Client()
    come_in(client, provider)
    Role.objects.filter(slug="viewer").update(second_factor=True)
    User.objects.update(standing="viewer")
    assert client.get("/")["Location"] == "/account/second-factor/"
    assert client.get("/account/app/").status_code == 200
    session = client.session
    session["account_authentication_methods"][0]["at"] -= 3600
    session.save()
    where = client.get("/account/app/")["Location"]
    page = client.get(where).content.decode()
    assert "Sign in again with Example ID" in page
    assert 'type="password"' not in page
    assert come_in(client, provider, start="/login/by/sso/?next=/account/app/") == "/account/app/"
    assert client.get("/account/app/").status_code == 200


def test_names_stay_on_their_line(provider: IdentityProvider) -> None:
    provider.add("ann", preferred_username="a\nb", given_name="\x1b[2J", family_name={"x": 1}, email=["a"], name="‮x")
    come_in(Client(), provider)
    user = User.objects.get()
    assert (user.username + user.display + user.email).isprintable()


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"ISSUER": "http://id.example"}, "https"),
        ({"ISSUER": "ftp://id.example"}, "https"),
        ({"ISSUER": "https://user:pass@id.example"}, "https"),
        ({"ISSUER": "file:///etc/passwd"}, "https"),
        ({"ISSUER": "https://["}, "https"),
        ({"CLIENT_ID": ""}, "GANTRY_OIDC_CLIENT_ID"),
        ({"CLIENT_SECRET": ""}, "GANTRY_OIDC_CLIENT_SECRET"),
        ({"ISSUER": ""}, "GANTRY_OIDC_ISSUER"),
    ],
)
def test_a_wrong_setting_is_told_at_the_start(environment: dict[str, str], word: str) -> None:
    good = {"ISSUER": "https://id.example", "CLIENT_ID": "a", "CLIENT_SECRET": "b"}
    with pytest.raises(ValueError, match=word):
        providers.from_environment({f"GANTRY_OIDC_{name}": value for name, value in (good | environment).items()})


def test_there_may_be_several() -> None:
    good = {"ISSUER": "https://id.example", "CLIENT_ID": "a", "CLIENT_SECRET": "b"}
    first = {f"GANTRY_OIDC_{name}": value for name, value in good.items()}
    second = {f"GANTRY_OIDC_PARTNER_{name}": value for name, value in good.items()}
    found = providers.from_environment(first | second | {"GANTRY_OIDC_SCOPES": "groups"})
    assert [(each.slug, each.name) for each in found] == [("sso", "single sign-on"), ("partner", "Partner")]
    assert found[0].scopes == ["openid", "profile", "email", "groups"]
    assert providers.from_environment({"HOME": "/"}) == []
