"""The description of the API: who gets it, that it is whole, and that every example in it works."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import pytest
from django.test import Client
from django.urls import get_resolver

from controlplane.access.models import Standing, User
from controlplane.api.description import each
from controlplane.api.service import described
from tests.api.conftest import UNUSABLE, bearer, client_with, issue
from tests.api.table import TABLE, World, make
from tests.security.fleet import Fleet

WITH_EXAMPLE = [
    (method, path, operation["operationId"], operation["requestBody"]["content"]["application/json"]["example"])
    for path, method, operation in each(described())
    if "example" in operation.get("requestBody", {}).get("content", {}).get("application/json", {})
]


def test_whoever_has_a_token_or_is_signed_in_gets_it(client: Client, ada: Client, fleet: Fleet) -> None:
    address = "/api/v1/openapi.json"
    assert client.get(address).status_code == 302
    assert client.get(address, headers=bearer("nonsense")).status_code == 401
    assert ada.get(address).json()["openapi"] == "3.1.0"
    client.force_login(fleet.viewer)
    assert client.get(address).status_code == 200


def test_every_body_has_an_example_or_can_be_left_out() -> None:
    without = {
        operation["operationId"]
        for _, _, operation in each(described())
        if "requestBody" in operation
        and "example" not in operation["requestBody"]["content"].get("application/json", {"example": "bytes have none"})
    }
    assert without == {"change_definition"}, "that of add_definition serves for it"


def test_every_address_is_an_operation_or_known() -> None:
    paths = {path.removeprefix("/api/v1/") for path, _, _ in each(described())}
    resolver = next(each for each in get_resolver().url_patterns if str(each.pattern) == "api/v1/")
    routes = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(each.pattern)) for each in resolver.url_patterns}
    assert routes - paths == {"openapi.json", "docs", ""}


def test_the_page_shows_every_operation(client: Client, fleet: Fleet) -> None:
    client.force_login(fleet.viewer)
    answer = client.get("/api/v1/docs")
    text = answer.content.decode()
    for path, _, operation in each(described()):
        assert f'id="{operation["operationId"]}"' in text
        assert path in text
    assert "default-src 'self'" in answer["Content-Security-Policy"]
    assert "<script>" not in text


@pytest.fixture
def world(db: None) -> World:
    administrator = User.objects.create(username="ada", password=UNUSABLE, standing=Standing.ADMINISTRATOR)
    return make("shore", administrator)


@pytest.mark.parametrize(("method", "path", "name", "example"), WITH_EXAMPLE)
def test_every_example_works(world: World, method: str, path: str, name: str, example: Any) -> None:
    """With the ids that this installation happens to have in place of the example's."""
    client = client_with(issue(User.objects.get(username="ada"))[1])
    ids: dict[str, Any] = {
        "host": world.host.pk,
        "hosts": [world.host.pk],
        "ids": [world.container.pk],
        "owner": world.service.pk,
    }
    ids |= {"team": world.team.slug, "environments": [world.environment.slug], "people": [world.service.pk]}
    key = f"|{world.tag.image.engine_id}|{world.tag.reference}"
    if "/images/" in path:
        ids["images"] = [key]
    body = {field: ids.get(field, value) for field, value in example.items()}
    kinds = {
        "hosts": "host",
        "containers": "container",
        "environments": "environment",
        "people": "person",
        "teams": "team",
        "roles": "role",
        "grants": "grant",
        "service-accounts": "service",
        "build-definitions": "definition",
        "build-uploads": "upload",
        "build-credentials": "credential",
    }
    kind = kinds.get(path.split("/")[3], "")
    address = re.sub(r"{(pk|slug|name|ident)}", lambda _: world.pk(kind), path).replace("{verb}", "stop")
    answer = getattr(client, method)(address, body, content_type="application/json")
    assert 200 <= answer.status_code < 300, answer.content


def test_answers_are_as_described(world: World) -> None:
    """Every list and every row that can be read, against its own schema."""
    client = client_with(issue(User.objects.get(username="ada"))[1])
    schema = described()
    kinds = {
        "operations": "operation",
        "hosts": "host",
        "containers": "container",
        "builds": "build",
        "build-definitions": "definition",
        "build-uploads": "upload",
        "build-credentials": "credential",
        "recordings": "recording",
        "people": "person",
        "teams": "team",
        "roles": "role",
        "grants": "grant",
        "environments": "environment",
        "audit": "entry",
    }
    looked_at = 0
    for path, method, operation in each(schema):
        content = operation["responses"].get("200", {}).get("content", {}).get("application/json")
        kind = kinds.get(path.split("/")[3])
        if method != "get" or content is None or ("{" in path and kind is None):
            continue
        asked = TABLE[operation["operationId"]].body
        address = re.sub(r"{(pk|slug|name|ident)}", world.pk(kind) if kind else "", path)
        answer = client.get(address, asked(world) if asked else None)
        assert answer.status_code == 200, path
        validator = jsonschema_rs.validator_for({**content["schema"], "components": schema["components"]})
        validator.validate(answer.json())
        looked_at += 1
    assert looked_at > 24
