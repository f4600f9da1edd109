"""Credentials: what one holds comes in and is never given out."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from controlplane.access.models import Grant, Role, User
from controlplane.access.naming import cover_again
from controlplane.api.models import Answer
from controlplane.operations.models import AuditEntry
from hosts.models import Environment
from images.builds.asked import Options, Source
from images.builds.models import Credential, Definition
from tests.api.conftest import client_with, issue
from tests.security.fleet import Fleet

CREDENTIALS = "/api/v1/build-credentials"
JSON = "application/json"
HELD = "hunter2-hunter2"


@pytest.fixture
def key(ada: Client, fleet: Fleet) -> str:
    """The address of a registry's login for hosts of one environment."""
    body = {"name": "hub", "kind": "registry", "server": "https://Registry.example/", "username": "ci", "secret": HELD}
    answer = ada.post(CREDENTIALS, {**body, "environment": "env"}, content_type=JSON, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 201, answer.content
    return f"{CREDENTIALS}/hub"


def change(client: Client, key: str, **said: Any) -> Any:
    return client.patch(key, said, content_type=JSON)


def test_it_is_kept_sealed_and_never_given_out(ada: Client, key: str) -> None:
    kept = Credential.objects.get(name="hub")
    assert kept.secret == HELD
    shown = ada.get(key)
    assert shown.json()["server"] == "registry.example"
    assert shown.json()["environment"] == "env"
    seen = [shown.content, ada.get(CREDENTIALS).content, change(ada, key, username="robot").content]
    seen += [ada.get(f"{CREDENTIALS}?q=hunter2").content, Answer.objects.get().body.encode(), kept.sealed.encode()]
    assert not any(HELD.encode() in each for each in seen)
    assert HELD not in "".join(AuditEntry.objects.values_list("detail", flat=True))
    assert ada.get(f"{CREDENTIALS}?q=hunter2").json()["items"] == []


def test_what_is_left_out_stays(ada: Client, key: str) -> None:
    assert change(ada, key, username="robot").json()["username"] == "robot"
    kept = Credential.objects.get(name="hub")
    assert (kept.server, kept.secret, str(kept.environment)) == ("registry.example", HELD, "web")
    change(ada, key, secret="another")
    assert Credential.objects.get(name="hub").secret == "another"
    assert change(ada, key, name="other").status_code == 422
    assert change(ada, key, kind="secret").status_code == 422


@pytest.mark.parametrize("said", [{"server": "evil.example"}, {"environment": None}])
def test_a_secret_goes_nowhere_else_without_being_said_again(ada: Client, key: str, said: dict[str, Any]) -> None:
    answer = change(ada, key, **said)
    assert (answer.status_code, list(answer.json()["errors"])) == (422, ["secret"])
    assert change(ada, key, secret=HELD, **said).status_code == 200


def test_one_that_is_named_stays(ada: Client, fleet: Fleet, key: str) -> None:
    options = Options(logins=["hub"]).as_json()
    Definition.objects.create(name="Web", slug="web-7", source=Source("typed").as_json(), options=options)
    assert ada.get(key).json()["used_by"] == ["web-7"]
    assert ada.delete(key).status_code == 409
    Definition.objects.filter(slug="web-7").delete()
    assert ada.delete(key).status_code == 204
    assert not Credential.objects.filter(name="hub").exists()
    entry = AuditEntry.objects.latest("seq")
    assert (entry.verb, entry.target_kind, entry.door) == ("registry.manage", "credential", "api")


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"name": "new"}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "token"}, "name"),  # the fleet has it
        ({"kind": "registry"}, "server"),
        ({"kind": "git-key", "server": "git.example"}, "secret"),
        ({"secret": ""}, "secret"),
        ({"environment": "nowhere"}, "environment"),
        ({"sealed": "x"}, "sealed"),
    ],
)
def test_what_cannot_be_is_told(ada: Client, fleet: Fleet, said: dict[str, Any], field: str) -> None:
    body = {"name": "fresh", "kind": "secret", "secret": "x", **said}
    answer = ada.post(CREDENTIALS, body, content_type=JSON)
    assert answer.status_code == 422
    assert field in answer.json()["errors"]
    assert Credential.objects.count() == 1


def test_who_manages_one_environment_has_its_credentials_alone(fleet: Fleet, key: str) -> None:
    nia = User.objects.create(username="nia")
    role = Role.objects.create(name="Keys", slug="keys", verbs=["registry.manage", "host.see", "host.manage"])
    grant = Grant.objects.create(user=nia, role=role, repositories=["**"], tags=["*"])
    other = Environment.objects.create(name="Other", slug="other", position=9)
    grant.environments.set([other])
    cover_again(grant)
    client = client_with(issue(nia)[1])
    assert client.get(CREDENTIALS).json()["items"] == []
    assert client.get(key).status_code == 404
    body = {"name": "theirs", "kind": "secret", "secret": "x"}
    assert client.post(CREDENTIALS, body, content_type=JSON).status_code == 422, "of every environment"
    assert client.post(CREDENTIALS, {**body, "environment": "env"}, content_type=JSON).status_code == 422
    assert client.post(CREDENTIALS, {**body, "environment": "other"}, content_type=JSON).status_code == 201
    assert [row["name"] for row in client.get(CREDENTIALS).json()["items"]] == ["theirs"]
