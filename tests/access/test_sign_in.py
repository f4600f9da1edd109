"""Signing in: guesses are slow and few, a name that exists looks like one that does not, cookies stay ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import redis
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.core.cache import cache
from django.db import connection
from django.test import Client

from controlplane.access.models import User
from controlplane.operations.models import AuditEntry, Outcome
from controlplane.people.sign_in import GUESSES, WRONG
from tests.support.redis import RedisServer

PASSWORD = "correct horse battery"


@pytest.fixture
def counting(redis_server: RedisServer) -> Iterator[None]:
    """Tries are counted from nought."""
    cache.clear()
    yield
    cache.clear()


class Quick(PBKDF2PasswordHasher):
    """One round, and a note of each password that was hashed."""

    iterations = 1
    hashed: list[str] = []

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        self.hashed.append(password)
        return super().encode(password, salt, iterations)


@pytest.fixture(autouse=True)
def _quick(settings: object) -> None:
    settings.PASSWORD_HASHERS = [f"{__name__}.Quick"]  # type: ignore[attr-defined]


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create_user("ann", password=PASSWORD)


def guess(name: str, password: str = "wrong", **more: str) -> int:
    return Client(**more).post("/login/", {"username": name, "password": password}).status_code  # type: ignore[arg-type]


def test_a_known_and_an_unknown_name_cost_the_same(ann: User) -> None:
    """One password is hashed for each, whatever the name: the time tells nothing."""
    ann.is_active = True
    gone = User.objects.create_user("gone", password=PASSWORD, is_active=False)
    answers = {}
    for name in (ann.username, gone.username, "nobody"):
        Quick.hashed.clear()
        response = Client().post("/login/", {"username": name, "password": "wrong"})
        assert Quick.hashed == ["wrong"], name
        answers[name] = response.content.decode().replace(name, "").split("<form", 1)[1].split("csrfmiddlewaretoken")[0]
    assert len(set(answers.values())) == 1


def test_someone_deactivated_is_told_no_more_than_a_stranger(ann: User) -> None:
    User.objects.update(is_active=False)
    answer = Client().post("/login/", {"username": "ann", "password": PASSWORD})
    assert answer.status_code == 200
    assert "inactive" not in answer.content.decode()


@pytest.mark.usefixtures("counting")
def test_guesses_of_one_name_from_one_address_are_few(ann: User) -> None:
    assert [guess("ann") for _ in range(GUESSES.most)] == [200] * GUESSES.most
    answer = Client().post("/login/", {"username": "ann", "password": PASSWORD})
    assert answer.status_code == 429, "even the right one waits: otherwise guessing could go on"
    assert answer["Retry-After"] == str(GUESSES.seconds)
    assert "Too many attempts" in answer.content.decode()
    assert guess(" ANN ") == 429, "the same name in another dress"
    assert guess("ben") == 200
    assert guess("ann", PASSWORD, REMOTE_ADDR="192.0.2.7") == 302, "she is not locked out from elsewhere"
    assert guess("ann", HTTP_X_FORWARDED_FOR="192.0.2.8") == 429, "which address it is, nobody may choose"
    entry = AuditEntry.objects.get(verb="access.sign-in", detail__contains="too many")
    assert (entry.outcome, entry.actor, entry.ip) == (Outcome.REFUSED, None, "127.0.0.1")
    assert "ann" in entry.detail
    assert AuditEntry.objects.filter(verb="access.sign-in", detail="wrong password for “ann”").count() == GUESSES.most
    allowed = AuditEntry.objects.get(verb="access.sign-in", outcome=Outcome.ALLOWED)
    assert (allowed.actor, allowed.ip, allowed.detail) == (ann, "192.0.2.7", "signed in with password")


@pytest.mark.usefixtures("counting")
def test_a_list_of_names_is_no_way_round(ann: User) -> None:
    """Wrong sign-ins of one address are counted, whatever the name; right ones are not."""
    assert {guess("ann", PASSWORD) for _ in range(3)} == {302}
    codes = [guess(f"name{number}") for number in range(WRONG.most + 1)]
    assert codes == [200] * WRONG.most + [429]
    assert guess("ann", PASSWORD) == 429
    assert guess("ann", PASSWORD, REMOTE_ADDR="192.0.2.7") == 302
    assert AuditEntry.objects.filter(verb="access.sign-in", detail__contains="too many").count() == 1


@pytest.mark.usefixtures("counting")
def test_nothing_is_hashed_for_one_who_tried_too_often(ann: User) -> None:
    for _ in range(GUESSES.most):
        guess("ann")
    Quick.hashed.clear()
    assert guess("ann") == 429
    assert Quick.hashed == []


@pytest.mark.usefixtures("counting")
def test_the_right_password_begins_the_count_anew(ann: User) -> None:
    for _ in range(GUESSES.most - 1):
        guess("ann")
    assert guess("ann", PASSWORD) == 302
    assert guess("ann") == 200


@pytest.mark.usefixtures("counting")
def test_the_count_ends_after_its_time(ann: User) -> None:
    for _ in range(GUESSES.most + 1):
        guess("ann")
    (key,) = _keys()
    assert 0 < cache._cache.get_client().ttl(key) <= GUESSES.seconds  # type: ignore[attr-defined]
    cache._cache.get_client().expire(key, 0)  # type: ignore[attr-defined]
    assert guess("ann") == 200


def _keys() -> list[bytes]:
    return list(cache._cache.get_client().scan_iter("*throttle:sign-in:*"))  # type: ignore[attr-defined]


@pytest.mark.usefixtures("counting")
@pytest.mark.django_db(transaction=True)
def test_guesses_sent_all_at_once_are_counted_too() -> None:
    User.objects.create_user("ann", password=PASSWORD)
    outcomes: list[int] = []
    start = threading.Barrier(20)

    def try_once() -> None:
        try:
            start.wait(10)
            outcomes.append(guess("ann"))
        finally:
            connection.close()
            for pool in cache._cache._pools.values():  # this thread's own, which nobody closes for it
                pool.disconnect()

    threads = [threading.Thread(target=try_once) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes.count(200) == GUESSES.most
    assert outcomes.count(429) == 20 - GUESSES.most


def test_people_sign_in_while_redis_is_away(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise redis.ConnectionError("nobody there")

    monkeypatch.setattr(cache, "add", away)
    monkeypatch.setattr(cache, "delete", away)
    assert guess("ann") == 200
    assert guess("ann", PASSWORD) == 302


@pytest.mark.parametrize("name", ["", "\0", "a" * 10_000, "‮", "🦀", "ann\r\nSet-Cookie: x=1"])
def test_an_odd_name_is_only_wrong(db: None, name: str) -> None:
    assert guess(name) == 200


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example/",
        "https://evil.example/",
        "//evil.example/",
        "///evil.example/",
        "/\\evil.example/",
        "\\\\evil.example/",
        "http:///evil.example/",
        "http:evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "//testserver@evil.example/",
        "http://testserver:80@evil.example/",
        "\t//evil.example/",
        " //evil.example/",
        "/%09/evil.example/\nX: y",
    ],
)
def test_next_leads_nowhere_else(ann: User, target: str) -> None:
    for field in ("next", "url"):
        response = Client().post("/login/", {"username": "ann", "password": PASSWORD, field: target})
        assert response.status_code == 302
        assert response["Location"].startswith("/"), response["Location"]
        assert not response["Location"].startswith(("//", "/\\"))
        assert "\n" not in response["Location"]
    signed_in = Client()
    signed_in.force_login(ann)
    assert signed_in.get("/login/", {"next": target})["Location"].startswith("/")
    assert signed_in.post("/logout/", {"next": target})["Location"].startswith("/")


def test_next_leads_to_our_own_page(ann: User) -> None:
    response = Client().post("/login/", {"username": "ann", "password": PASSWORD, "next": "/hosts/?q=a"})
    assert response["Location"] == "/hosts/?q=a"


def test_a_session_from_before_is_not_kept(ann: User) -> None:
    """Whoever has planted a session's key beforehand has nothing of it afterwards."""
    client = Client()
    session = client.session
    session["planted"] = True
    session.save()
    client.post("/login/", {"username": "ann", "password": PASSWORD})
    assert client.cookies["gantry_session"].value != session.session_key
