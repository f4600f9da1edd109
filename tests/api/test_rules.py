"""The rules of an environment by the API."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from controlplane.access.models import Role
from controlplane.operations.models import AuditEntry, Outcome
from hosts.rules.models import EnvironmentRules, rules_of
from tests.api.conftest import client_with, issue
from tests.granting.conftest import Shop

JSON = "application/json"
WHOLE = {
    "images": ["shop/** : v* dev-*", f"nginx : * @ sha256:{'a' * 64}"],
    "for_bases": True,
    "binds": ["/srv/shop"],
    "capabilities": ["NET_BIND_SERVICE"],
    "memory": 2 * 1024**3,
    "cpus": 0.29,
    "pids": 100,
    "no_privileged": True,
    "own_namespaces": True,
    "plain_volumes": True,
    "no_devices": True,
    "confined": True,
    "safe_sysctls": True,
    "plain_runtime": True,
    "read_only_root": True,
    "not_root": True,
}


@pytest.fixture
def ada(shop: Shop) -> Client:
    return client_with(issue(shop.ada)[1])


def address(shop: Shop) -> str:
    return f"/api/v1/environments/{shop.staging.pk}/rules"


def put(client: Client, path: str, **body: Any) -> Any:
    return client.put(path, body, content_type=JSON)


def test_what_is_said_is_what_holds_and_what_is_read(shop: Shop, ada: Client) -> None:
    first = ada.get(address(shop)).json()
    assert (first["images"], first["binds"], first["memory"], first["changed_at"]) == ([], None, None, None)
    said = put(ada, address(shop), **WHOLE).json()
    assert {name: said[name] for name in WHOLE} == WHOLE
    assert (said["environment"], said["changed_by"]) == ("staging", "ada")
    assert ada.get(address(shop)).json() == said
    held = rules_of(shop.staging.pk)
    assert (held.memory, held.nano_cpus, held.pids, held.capabilities) == (
        2 * 1024**3,
        290_000_000,
        100,
        ("NET_BIND_SERVICE",),
    )
    entry = AuditEntry.objects.latest("seq")
    assert (entry.verb, entry.target_name, entry.door) == ("rules.manage", "Staging", "api")
    put(ada, address(shop), **WHOLE)
    assert AuditEntry.objects.latest("seq") == entry, "nothing was different"
    assert put(ada, address(shop)).json()["no_privileged"] is False, "what is left out is no rule"
    assert rules_of(shop.staging.pk).is_empty


@pytest.mark.parametrize("name", ["binds", "capabilities"])
def test_an_empty_list_allows_none_and_null_any(shop: Shop, ada: Client, name: str) -> None:
    assert put(ada, address(shop), **{name: []}).json()[name] == []
    assert getattr(rules_of(shop.staging.pk), name) == ()
    assert put(ada, address(shop), **{name: None}).json()[name] is None
    assert getattr(rules_of(shop.staging.pk), name) is None


@pytest.mark.parametrize(
    "body",
    [
        {"images": ["shop/[ab]"]},
        {"images": ["# all of them"]},
        {"images": [""]},
        {"images": ["a\nb"]},
        {"binds": ["srv"]},
        {"binds": ["/srv/../etc"]},
        {"capabilities": ["NET BIND"]},
        {"memory": 5},
        {"cpus": 0},
        {"pids": 0},
        {"no_privilege": True},
    ],
)
def test_what_is_no_rule_is_refused(shop: Shop, ada: Client, body: dict[str, Any]) -> None:
    for answer in (
        put(ada, address(shop), **body),
        ada.post(f"{address(shop)}/preview", body, content_type=JSON),
    ):
        assert (answer.status_code, bool(answer.json()["errors"])) == (422, True)
    assert not EnvironmentRules.objects.exists()


def test_a_preview_names_what_is_seen_and_counts_the_rest(shop: Shop, ada: Client) -> None:
    Role.objects.create(name="Law", slug="law", verbs=["rules.manage"])
    shop.grant(shop.sue, "law", shop.staging)  # of containers she sees those of shop/*
    wanted = {"images": ["** : v*"]}
    said = ada.post(f"{address(shop)}/preview", wanted, content_type=JSON).json()
    assert (said["count"], said["more"]) == (4, 0)
    assert {each["name"] for each in said["containers"]} == {"c0", "c2", "c3", "c4"}
    assert all(each["host"] == "host-Staging" and each["broken"] for each in said["containers"])
    sue = client_with(issue(shop.sue)[1])
    said = sue.post(f"{address(shop)}/preview", wanted, content_type=JSON).json()
    assert ({each["name"] for each in said["containers"]}, said["more"], said["count"]) == ({"c0", "c2"}, 2, 4)
    assert not EnvironmentRules.objects.exists()


def test_whoever_sees_it_is_refused_and_to_others_it_is_not_there(shop: Shop) -> None:
    sue = client_with(issue(shop.sue)[1])
    for environment, status in ((shop.staging, 403), (shop.live, 404)):
        path = f"/api/v1/environments/{environment.pk}/rules"
        for answer in (
            sue.get(path),
            put(sue, path, no_privileged=True),
            sue.post(f"{path}/preview", {}, content_type=JSON),
        ):
            assert answer.status_code == status
            assert AuditEntry.objects.latest("seq").outcome == Outcome.REFUSED
    assert not EnvironmentRules.objects.exists()


def test_the_right_in_one_environment_is_of_that_one(shop: Shop) -> None:
    Role.objects.create(name="Law", slug="law", verbs=["rules.manage", "host.see"])
    shop.grant(shop.sue, "law", shop.staging)
    sue = client_with(issue(shop.sue)[1])
    assert put(sue, address(shop), no_privileged=True).status_code == 200
    assert put(sue, f"/api/v1/environments/{shop.live.pk}/rules", no_privileged=True).status_code == 404
    assert [row.environment for row in EnvironmentRules.objects.all()] == [shop.staging]
