"""Why, by the API: the grant or what is missing, of what the one who asks may be told."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from django.test import Client

from containers.models import Container
from controlplane.access.models import User
from controlplane.operations.models import AuditEntry, Outcome
from hosts.models import Environment, Host
from images.access import key
from images.models import ImageTag
from tests.api.conftest import client_with, issue, send
from tests.granting.conftest import Shop


def ask(asker: User, status: int = 200, **query: Any) -> dict[str, Any]:
    client: Client = client_with(issue(asker, secrets.token_hex())[1])
    answer = client.get("/api/v1/why", {"user": "bob", "verb": "container.exec", **query})
    assert answer.status_code == status, answer.content
    found: dict[str, Any] = answer.json()
    return found


def container(reference: str, environment: Environment) -> dict[str, Any]:
    found = Container.objects.get(image_ref=reference, host__environment=environment)
    return {"kind": "container", "object": found.pk}


def test_it_names_the_grant_or_what_is_missing(shop: Shop) -> None:
    shop.team.members.add(shop.bob)
    grant = shop.grant(shop.team, "developer", shop.staging, repositories="shop/*", tags="dev-*")
    given = ask(shop.ada, **container("shop/web:dev-1", shop.staging))
    assert given["allowed"]
    assert given["sentence"].endswith("the grant of Developer to the team Shop team gives it.")
    line = {"grant": grant.pk, "by": "the grant of Developer to the team Shop team", "gives": True}
    assert given["lines"] == [{**line, "by_owning": False, "missing": []}]
    lacking = ask(shop.ada, **container("shop/web:v1", shop.staging))
    assert (lacking["allowed"], lacking["lines"][0]["missing"]) == (False, ["the tag v1 is not covered by dev-*"])
    tag = ImageTag.objects.get(reference="nginx:1", host__environment=shop.staging)
    lacking = ask(shop.ada, verb="image.pull", kind="image", object=key(tag))
    assert "is not covered by shop/*" in lacking["sentence"]
    host = Host.objects.get(environment=None)
    assert "it holds in Staging alone" in ask(shop.ada, verb="host.see", kind="host", object=host.pk)["sentence"]
    assert ask(shop.ada, verb="container.logs")["allowed"], "of anything at all"
    assert not ask(shop.ada, verb="access.manage")["allowed"]
    assert ask(shop.ada, user="ada", verb="access.manage")["lines"][0]["grant"] is None, "by standing"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"user": "nobody"}, "user"),
        ({"verb": "moon.land"}, "verb"),
        ({"kind": "host"}, "object"),
        ({"object": "1"}, "object"),
        ({"kind": "moon", "object": "1"}, "kind"),
    ],
)
def test_a_question_that_is_not_whole_is_refused(shop: Shop, query: dict[str, Any], field: str) -> None:
    assert ask(shop.ada, 422, **query)["errors"].keys() == {field}


def test_what_the_asker_does_not_see_or_manage_is_not_there(shop: Shop) -> None:
    shop.grant(shop.sue, "viewer", shop.live)  # sees it, does not manage it
    ask(shop.sue, 422, **container("shop/web:dev-1", shop.staging))  # bob holds nothing in what she manages
    shop.grant(shop.bob, "viewer", shop.staging)
    asked = 0
    for kind, rows in (
        ("container", Container.objects.all()),
        ("image", ImageTag.objects.exclude(reference="").select_related("image")),
        ("host", Host.objects.all()),
    ):
        for row in rows:
            host = row if isinstance(row, Host) else row.host
            name = row.name if isinstance(row, Host) else row.image_ref if isinstance(row, Container) else row.reference
            mine = host.environment == shop.staging and (kind == "host" or name.startswith("shop/"))
            ask(shop.sue, 200 if mine else 404, kind=kind, object=key(row) if isinstance(row, ImageTag) else row.pk)
            asked += mine
    assert asked == 7
    for thing in ("0", "9" * 30, "x", "|sha256:0|shop/web:dev-1"):
        ask(shop.ada, 404, kind="image", object=thing)


@pytest.mark.parametrize("named", ["0|sha256:0|shop/web:v9", "9" * 30 + "|a|b", "x", "|sha256:0|shop/web:v9"])
def test_what_cannot_be_seen_is_not_removed_either(shop: Shop, named: str) -> None:
    ada = client_with(issue(shop.ada)[1])
    answer = send(ada, "post", "/images/remove", images=[named])
    assert answer.status_code == 404
    entry = AuditEntry.objects.latest("seq")
    assert (entry.verb, entry.outcome, entry.target_kind) == ("image.see", Outcome.MISSING, "imagetag")


def test_grants_beyond_what_one_manages_are_not_told(shop: Shop) -> None:
    shop.grant(shop.bob, "developer", repositories="shop/*")
    target = container("shop/web:dev-1", shop.staging)
    given = ask(shop.sue, **target)
    assert given["sentence"] == "bob may, by a grant that reaches beyond what you manage."
    assert (given["allowed"], given["lines"]) == (True, [])
    lacking = ask(shop.sue, verb="container.secrets", **target)
    assert (lacking["allowed"], lacking["lines"]) == (False, [])
    assert "Developer" not in lacking["sentence"]
