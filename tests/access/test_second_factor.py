"""Second factors: asked at each sign-in, each code good once, few guesses, changed only by who has just proved
themselves, and where a role asks for one nothing else opens before."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from io import StringIO

import pytest
import redis
from allauth.mfa.models import Authenticator
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from controlplane.access.models import Grant, Role, Team, User
from controlplane.access.second_factor import second_factor_required
from controlplane.operations.models import AuditEntry, Outcome
from controlplane.people import factor_forms
from controlplane.people.factor_forms import CODES, accept
from tests.access.factors import PASSWORD, code_of, recovery_code, signed_in, with_app
from tests.support.redis import RedisServer


@pytest.fixture(autouse=True)
def _quick(settings: object) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _counting(redis_server: RedisServer) -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create_user("ann", password=PASSWORD, standing="viewer")


def half_way(**more: str) -> Client:
    """A browser that has given the right password."""
    client = Client(**more)  # type: ignore[arg-type]
    assert client.post("/login/", {"username": "ann", "password": PASSWORD})["Location"] == "/login/second/"
    return client


def is_in(client: Client) -> bool:
    return client.get("/").status_code == 200


def stale(client: Client) -> None:
    """Make the last proof an old one."""
    session = client.session
    for proof in session["account_authentication_methods"]:
        proof["at"] -= 3600
    session.save()


def test_the_password_alone_opens_nothing(ann: User) -> None:
    with_app(ann)
    client = half_way()
    assert not is_in(client)
    assert client.get("/account/").status_code == 302
    assert client.get("/login/second/").status_code == 200
    assert not AuditEntry.objects.filter(verb="access.sign-in", outcome=Outcome.ALLOWED).exists()


def test_the_code_of_the_app_opens(ann: User) -> None:
    client = signed_in("ann", with_app(ann))
    assert is_in(client)
    assert AuditEntry.objects.get(verb="access.sign-in").detail == "signed in with password and a code"


@pytest.mark.parametrize("steps", [-1, 1])
def test_a_clock_that_is_half_a_minute_off_is_forgiven(ann: User, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, now = with_app(ann), time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    assert half_way().post("/login/second/", {"code": code_of(secret, steps)})["Location"] == "/"


@pytest.mark.parametrize("code", ["", "000000", "x", "1" * 5000, "‮", "\0", "１２３４５６", "None"])
def test_any_other_code_does_not(ann: User, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = with_app(ann)
    if code_of(secret) == code:
        monkeypatch.setattr(time, "time", lambda: 10**9)
    client = half_way()
    assert client.post("/login/second/", {"code": code}).status_code == 200
    assert not is_in(client)
    entry = AuditEntry.objects.get(verb="access.sign-in", outcome=Outcome.REFUSED)
    assert (entry.actor, entry.detail) == (ann, "wrong second factor")


def test_a_code_is_good_once_and_none_before_it_afterwards(ann: User) -> None:
    secret = with_app(ann)
    code, earlier = code_of(secret), code_of(secret, -1)
    assert accept(ann, code)
    assert accept(ann, code) is None
    assert accept(ann, earlier) is None
    assert accept(ann, code_of(secret, 1))


@pytest.mark.django_db(transaction=True)
def test_a_code_sent_many_times_at_once_is_good_once() -> None:
    ann = User.objects.create_user("ann", password=PASSWORD)
    code = code_of(with_app(ann))
    start, taken = threading.Barrier(8), []

    def send() -> None:
        try:
            start.wait(10)
            taken.append(accept(ann, code) is not None)
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(taken) == [False] * 7 + [True]


def test_a_recovery_code_is_good_once(ann: User) -> None:
    with_app(ann)
    code = recovery_code(ann)
    assert half_way().post("/login/second/", {"code": f" {code[:4]} {code[4:]} "})["Location"] == "/"
    assert half_way().post("/login/second/", {"code": code}).status_code == 200


def test_wrong_codes_are_few_from_wherever_they_come(ann: User) -> None:
    secret = with_app(ann)
    for number in range(CODES.most):
        address = f"192.0.2.{number}"
        assert half_way(REMOTE_ADDR=address).post("/login/second/", {"code": "x"}, REMOTE_ADDR=address).status_code
    answer = half_way().post("/login/second/", {"code": code_of(secret)})
    assert answer.status_code == 200
    assert factor_forms.TOO_MANY in answer.content.decode()


def test_codes_are_taken_while_redis_is_away(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise redis.ConnectionError("nobody there")

    for name in ("add", "incr", "decr", "delete", "get", "set"):
        monkeypatch.setattr(cache, name, away)
    secret = with_app(ann)
    assert half_way().post("/login/second/", {"code": code_of(secret)})["Location"] == "/"


def test_its_secrets_are_sealed(ann: User) -> None:
    secret = with_app(ann)
    for row in Authenticator.objects.all():
        assert secret not in str(row.data)
    assert recovery_code(ann) not in str(Authenticator.objects.get(type="recovery_codes").data)


def secret_shown(page: str) -> str:
    found = re.search(r'data-copy="([A-Z2-7]{32})"', page)
    assert found
    return found[1]


def test_it_is_set_up_by_the_code_it_shows(ann: User) -> None:
    client = signed_in("ann")
    secret = secret_shown(client.get("/account/app/").content.decode())
    assert client.post("/account/app/", {"code": "000000"}).status_code == 200
    assert not Authenticator.objects.exists()
    answer = client.post("/account/app/", {"code": code_of(secret)})
    assert answer["Location"] == "/account/recovery-codes/"
    codes = re.findall(r"<li>(\d{8})</li>", client.get("/account/recovery-codes/").content.decode())
    assert len(codes) == 10
    assert client.get("/account/recovery-codes/").status_code == 302, "shown once"
    assert [entry.detail for entry in AuditEntry.objects.filter(verb="access.account")] == ["set up an app for codes"]
    assert half_way().post("/login/second/", {"code": codes[3]})["Location"] == "/"


CHANGES = [
    ("get", "/account/app/"),
    ("post", "/account/app/"),
    ("get", "/account/passkeys/add/"),
    ("post", "/account/passkeys/add/"),
    ("post", "/account/factors/remove/"),
    ("get", "/account/recovery-codes/"),
    ("post", "/account/recovery-codes/"),
]


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_it_is_changed_only_after_a_fresh_proof(ann: User, method: str, path: str) -> None:
    client = signed_in("ann", with_app(ann))
    stale(client)
    before = list(Authenticator.objects.values_list("pk", "data"))
    factor = Authenticator.objects.get(type="totp").pk
    answer = getattr(client, method)(path, {"factor": factor} if method == "post" else None)
    assert answer["Location"].startswith("/account/confirm/?next=")
    assert list(Authenticator.objects.values_list("pk", "data")) == before
    assert client.post(answer["Location"], {"password": "wrong"}).status_code == 200
    assert getattr(client, method)(path)["Location"].startswith("/account/confirm/")
    assert client.post(answer["Location"], {"password": PASSWORD})["Location"].startswith("/account/")
    assert not getattr(client, method)(path).headers.get("Location", "").startswith("/account/confirm/")


def test_a_code_proves_it_too(ann: User) -> None:
    secret = with_app(ann)
    client = signed_in("ann", secret)
    stale(client)
    where = "/account/confirm/?next=/account/app/"
    assert client.post(where, {"code": "x"}).status_code == 200
    assert client.post(where, {"code": code_of(secret, 1), "next": "/account/app/"})["Location"] == "/account/app/"


@pytest.mark.parametrize("target", ["//evil.example/", "https://evil.example/", "javascript:alert(1)"])
def test_a_proof_leads_nowhere_else(ann: User, target: str) -> None:
    client = signed_in("ann")
    answer = client.post("/account/confirm/", {"password": PASSWORD, "next": target})
    assert answer["Location"] == "/account/"


def test_removing_the_last_one_ends_the_recovery_codes(ann: User) -> None:
    client = signed_in("ann", with_app(ann))
    factor = Authenticator.objects.get(type="totp").pk
    assert client.post("/account/factors/remove/", {"factor": factor}).status_code == 302
    assert not Authenticator.objects.exists()
    assert signed_in("ann")


def test_nobody_removes_anothers(ann: User) -> None:
    ben = User.objects.create_user("ben", password=PASSWORD)
    with_app(ben)
    client = signed_in("ann", with_app(ann))
    theirs = Authenticator.objects.get(user=ben, type="totp").pk
    for ident in (theirs, "x", "9" * 30, ""):
        assert client.post("/account/factors/remove/", {"factor": ident}).status_code == 404
    assert Authenticator.objects.filter(user=ben).count() == 2


def test_an_administrator_takes_away_what_somebody_has_lost(ada: User, ann: User) -> None:
    theirs = signed_in("ann", with_app(ann))
    administrator = Client()
    administrator.force_login(ada)
    assert administrator.post(f"/people/{ann.pk}/factors/forget/").status_code == 302
    assert not Authenticator.objects.exists()
    assert not is_in(theirs), "whoever was in with them is out"
    assert AuditEntry.objects.get(verb="access.manage").actor == ada
    assert signed_in("ann")


def test_the_machine_takes_away_what_the_last_administrator_has_lost(ann: User) -> None:
    theirs = signed_in("ann", with_app(ann))
    call_command("forget_factors", "ann", stdout=StringIO())
    assert not is_in(theirs)
    assert signed_in("ann")
    with pytest.raises(CommandError, match="nobody called 'ben'"):
        call_command("forget_factors", "ben")


@pytest.fixture
def asked(ann: User) -> User:
    """Ann, whose role asks for a second factor that she has not got."""
    Role.objects.filter(slug=ann.standing).update(second_factor=True)
    return ann


def test_nothing_else_opens_before_it_is_set_up(asked: User) -> None:
    client = signed_in("ann")
    for path in ("/", "/containers/", "/account/", "/account/password/", "/hosts/"):
        assert client.get(path)["Location"] == "/account/second-factor/"
        assert client.post(path).status_code == 403
        entry = AuditEntry.objects.latest("seq")
        assert (entry.outcome, entry.actor, entry.detail.partition(":")[0]) == ("refused", asked, f"POST {path}")
        fragment = client.get(path, headers={"HX-Request": "true", "HX-Target": "listing"})
        assert fragment.status_code == 403
        assert "second factor" in fragment.content.decode()
        assert client.get(path, headers={"HX-Request": "true", "HX-Boosted": "true"}).status_code == 403
    assert client.get("/account/second-factor/").status_code == 200
    secret = secret_shown(client.get("/account/app/").content.decode())
    client.post("/account/app/", {"code": code_of(secret)})
    assert client.get("/account/recovery-codes/").status_code == 200
    assert is_in(client)


def test_it_is_asked_of_whoever_holds_the_role_by_a_grant(ann: User) -> None:
    """Their own or a team's; not by one that has expired."""
    role = Role.objects.get(slug="developer")
    role.second_factor = True
    role.save()
    team = Team.objects.create(name="shop", slug="shop")
    assert not second_factor_required(ann)
    grant = Grant.objects.create(team=team, role=role)
    assert not second_factor_required(ann)
    team.members.add(ann)
    assert second_factor_required(ann)
    grant.expires_at = timezone.now()
    grant.save()
    assert not second_factor_required(ann)
    Grant.objects.create(user=ann, role=role)
    assert second_factor_required(ann)


def test_whoever_lacks_it_can_leave(asked: User) -> None:
    assert signed_in("ann").post("/logout/")["Location"] == "/login/"


def test_it_is_asked_of_sessions_that_are_open_already(ann: User, ada: User) -> None:
    client = signed_in("ann")
    administrator = Client()
    administrator.force_login(ada)
    administrator.post("/people/second-factor/", {"roles": ["viewer"]})
    assert client.get("/")["Location"] == "/account/second-factor/"
    assert is_in(administrator)
    administrator.post("/people/second-factor/", {})
    assert is_in(client)
    details = AuditEntry.objects.filter(verb="access.manage").order_by("pk").values_list("detail", flat=True)
    assert list(details) == [
        "second factor asked of: Viewer; before of: nobody",
        "second factor asked of: nobody; before of: Viewer",
    ]


def test_the_last_one_stays_where_the_role_asks_for_it(asked: User) -> None:
    client = signed_in("ann", with_app(asked))
    factor = Authenticator.objects.get(type="totp").pk
    client.post("/account/factors/remove/", {"factor": factor})
    assert Authenticator.objects.filter(pk=factor).exists()


def test_recovery_codes_alone_are_none(asked: User) -> None:
    with_app(asked)
    Authenticator.objects.filter(type="totp").delete()
    assert signed_in("ann").get("/")["Location"] == "/account/second-factor/"


NONSENSE = ["", "x", "[]", "null", "1", "{}", '{"response": []}', '{"response": {"userHandle": 1}}', '"x"']
HALF = (
    '{"id":"x","rawId":"x","type":"public-key",'
    '"response":{"clientDataJSON":"e30","authenticatorData":"","signature":""%s}}'
)


@pytest.mark.parametrize("said", [*NONSENSE, HALF % "", HALF % ',"userHandle":"MQ"', HALF % ',"userHandle":null'])
def test_a_passkey_of_any_shape_is_only_wrong(ann: User, said: str) -> None:
    client = Client()
    client.get("/login/passkey/", headers={"Accept": "application/json"})
    assert client.post("/login/passkey/", {"credential": said})["Location"] == "/login/"
    with_app(ann)
    assert half_way().post("/login/second/", {"credential": said}).status_code == 200
    inside = Client()
    inside.force_login(ann)
    assert inside.post("/account/confirm/", {"credential": said}).status_code == 200
    assert not is_in(client)
