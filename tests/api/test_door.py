"""The way in: tokens that are not good, how often, how large, what cannot be read; nothing done twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from controlplane.access import tokens
from controlplane.access.models import Token, User
from controlplane.api import door, tasks
from controlplane.api.models import Answer
from controlplane.operations.models import AuditEntry, Operation, Outcome
from hosts.models import Host
from tests.api.conftest import bearer, client_with, issue
from tests.security.fleet import Fleet

JSON = "application/json"
CONTAINERS = "/api/v1/containers"


def test_tokens_that_are_not_good_are_told_alike_and_written_down(client: Client, fleet: Fleet) -> None:
    revoked, secret = issue(fleet.viewer)
    tokens.revoke(revoked)
    told = set()
    for text in (secret, tokens.fresh(tokens.PERSON), "nonsense"):
        answer = client.get(CONTAINERS, headers=bearer(text))
        assert answer.status_code == 401
        told.add((answer.content, answer["WWW-Authenticate"]))
    assert len(told) == 1
    details = list(AuditEntry.objects.filter(verb="access.token").values_list("detail", "target_name", "outcome"))
    assert ("revoked token: GET /api/v1/containers", "ci of web", Outcome.REFUSED) in details
    assert len(details) == 3


def test_tries_are_limited_but_good_tokens_go_on(client: Client, fleet: Fleet, ada: Client) -> None:
    for _ in range(door.FAILURES.most):
        assert client.get(CONTAINERS, headers=bearer("nonsense")).status_code == 401
    answer = client.get(CONTAINERS, headers=bearer("nonsense"))
    assert answer.status_code == 429
    assert answer["Retry-After"] == str(door.FAILURES.seconds)
    assert AuditEntry.objects.filter(verb="access.token").count() == door.FAILURES.most
    assert ada.get(CONTAINERS).status_code == 200


def test_requests_of_one_token_are_limited(ada: Client, vic: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    few = door.Throttle("api-requests-few", most=2, seconds=60)
    token = Token.objects.get(owner__username="ada")
    few.forget(str(token.pk))
    monkeypatch.setattr(door, "REQUESTS", few)
    assert [ada.get("/api/v1/me").status_code for _ in range(3)] == [200, 200, 429]
    assert vic.get("/api/v1/me").status_code == 200


def test_its_use_is_noted(ada: Client) -> None:
    said = ada.get("/api/v1/me", REMOTE_ADDR="192.0.2.9").json()
    assert said["account"]["username"] == "ada"
    token = Token.objects.get(owner__username="ada")
    assert token.last_used_from == "192.0.2.9"
    assert token.last_used_at is not None


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", JSON, 400),
        (b'{"name": "a", "name": "b"}', JSON, 400),
        (b'{"name": NaN}', JSON, 400),
        (b'{"name": "\\u0000"}', JSON, 400),
        (b'{"name": "\\ud800"}', JSON, 400),
        (b'{"name": "\xff"}', JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b'{"name": %s}' % (b"9" * 5000), JSON, 400),
        (b"name=x", "application/x-www-form-urlencoded", 415),
        (b"[]", JSON, 422),
        (b"", JSON, 422),
        (b'{"name": "x", "is_staff": true}', JSON, 422),
        (b'{"name": "x", "public_key": "k"}', JSON, 422),
        (b'{"name": 7}', JSON, 422),
        (b'"' + b"x" * (door.MOST_BYTES + 1) + b'"', JSON, 413),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(ada: Client, body: bytes, content_type: str, status: int) -> None:
    answer = ada.generic("POST", "/api/v1/hosts", body, content_type)
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert Host.objects.count() == 1


def test_fields_are_named_in_a_refusal(ada: Client) -> None:
    said = ada.post("/api/v1/hosts", {"name": "web", "colour": "red"}, content_type=JSON).json()
    assert list(said["errors"]) == ["colour"]
    said = ada.post("/api/v1/hosts", {"name": "web"}, content_type=JSON).json()
    assert said["errors"] == {"name": ["There is a host of this name already. Choose another."]}
    assert said["type"] == "urn:gantry:problem:invalid"
    assert said["instance"] == "/api/v1/hosts"


@pytest.mark.parametrize(
    "query", ["colour=red", "q=a&q=b", "limit=0", "limit=201", "limit=x", "sort=password", "q=%00"]
)
def test_a_query_that_is_not_known_is_refused(ada: Client, query: str) -> None:
    assert ada.get(f"{CONTAINERS}?{query}").status_code == 422


def test_a_method_that_is_not_there_is_named(ada: Client) -> None:
    answer = ada.put(CONTAINERS, "{}", content_type=JSON)
    assert answer.status_code == 405
    assert set(answer["Allow"].split(", ")) == {"GET", "POST"}
    assert answer["Content-Type"] == "application/problem+json"


def test_a_fault_of_ours_is_a_problem_too(ada: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("controlplane.api.containers.seen_by", broken)
    answer = ada.get(CONTAINERS)
    assert answer.status_code == 500
    assert answer["Content-Type"] == "application/problem+json"
    assert "secret" not in answer.content.decode()


def test_a_service_account_has_no_session(fleet: Fleet) -> None:
    service = User.objects.create(username="robot", is_service=True)
    client = Client()
    client.force_login(service)
    answer = client.get("/containers/")
    assert answer.status_code == 302
    assert answer["Location"].startswith("/login/")


# --- Nothing twice ---


def stop(client: Client, fleet: Fleet, key: str, verb: str = "stop") -> Any:
    address = f"{CONTAINERS}/{fleet.container.pk}/{verb}"
    return client.post(address, content_type=JSON, headers={"Idempotency-Key": key})


def test_the_same_request_with_the_same_key_is_done_once(ada: Client, fleet: Fleet) -> None:
    before = Operation.objects.count()
    first, second = stop(ada, fleet, "k1"), stop(ada, fleet, "k1")
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert second["Location"] == first["Location"]
    assert second["Idempotency-Replayed"] == "true"
    assert Operation.objects.count() == before + 1
    assert stop(ada, fleet, "k2").json()["id"] != first.json()["id"]


def test_another_request_with_the_same_key_is_refused(ada: Client, fleet: Fleet) -> None:
    stop(ada, fleet, "k1")
    answer = stop(ada, fleet, "k1", "restart")
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["errors"]


def test_anothers_key_is_another_key(ada: Client, fleet: Fleet) -> None:
    other = client_with(issue(fleet.administrator, "second")[1])
    assert stop(ada, fleet, "k1").json()["id"] != stop(other, fleet, "k1").json()["id"]


@pytest.fixture
def claimed(ada: Client) -> Iterator[None]:
    """A key that another process works on."""

    claim = f"api:key:{Token.objects.get(owner__username='ada').pk}:{hashlib.sha256(b'busy').hexdigest()}"
    cache.set(claim, 1, 60)
    yield
    cache.delete(claim)


def test_one_that_is_under_way_is_told_so(ada: Client, fleet: Fleet, claimed: None) -> None:
    assert stop(ada, fleet, "busy").status_code == 409
    assert Answer.objects.count() == 0


def test_what_was_refused_may_be_asked_again(ada: Client, fleet: Fleet) -> None:
    fleet.container.state = "exited"
    fleet.container.save()
    assert stop(ada, fleet, "k1").status_code == 409
    fleet.container.state = "running"
    fleet.container.save()
    assert stop(ada, fleet, "k1").status_code == 202


def test_a_refusal_rolls_back_what_went_before_but_not_its_entry(vic: Client, fleet: Fleet) -> None:
    answer = stop(vic, fleet, "k1")
    assert (answer.status_code, answer.json()["verb"]) == (403, "container.stop")
    assert AuditEntry.objects.latest("pk").outcome == Outcome.REFUSED
    assert not Answer.objects.exists()


def test_a_secret_in_an_answer_is_kept_sealed_and_for_a_day(ada: Client, fleet: Fleet) -> None:
    options: dict[str, Any] = {"content_type": JSON, "headers": {"Idempotency-Key": "k1"}}
    first = ada.post("/api/v1/hosts", {"name": "fresh"}, **options)
    assert first.status_code == 201
    kept = Answer.objects.get()
    assert first.json()["token"] not in kept.body
    assert ada.post("/api/v1/hosts", {"name": "fresh"}, **options).json() == json.loads(first.content)
    Answer.objects.update(created_at=timezone.now() - timedelta(hours=23))
    tasks.prune()
    assert Answer.objects.exists()
    Answer.objects.update(created_at=timezone.now() - timedelta(hours=25))
    tasks.prune()
    assert not Answer.objects.exists()


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256])
def test_a_key_that_is_none_is_refused(ada: Client, fleet: Fleet, key: str) -> None:
    assert stop(ada, fleet, key).status_code == 422
