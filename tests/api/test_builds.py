"""Builds: two side by side, and what lint says of a Dockerfile."""

from __future__ import annotations

from typing import Any

from django.test import Client

from controlplane.access.models import User
from controlplane.operations.models import Operation, State
from hosts.models import Host
from hosts.rules.models import EnvironmentRules
from hosts.rules.rules import Rules, parse_images
from images.builds.models import Build
from tests.security.fleet import Fleet

JSON = "application/json"


def build(fleet: Fleet, actor: User, dockerfile: str, size: int, **fields: Any) -> Build:
    operation = Operation.objects.create(
        kind="image.build", title="Build", state=State.SUCCEEDED, actor=actor, host=fleet.host
    )
    texts = dockerfile.splitlines()
    steps = [{"text": text, "state": "built", "seconds": 1, "line": n, "stage": 0} for n, text in enumerate(texts)]
    return Build.objects.create(
        operation=operation,
        dockerfile=dockerfile,
        image_id="sha256:a",
        size=size,
        steps=steps,
        layers=[{"created_by": text, "size": size} for text in texts],
        options={"target": f"t{size}"},
        **{"tags": ["shop/web:1"], **fields},
    )


def test_two_stand_side_by_side(ada: Client, fleet: Fleet) -> None:
    first = build(fleet, fleet.administrator, "FROM a\nRUN one\n", 1)
    second = build(fleet, fleet.administrator, "FROM a\nRUN two\n", 2)
    said = ada.get(f"/api/v1/builds/{second.operation_id}/compare").json()
    assert (said["before"], said["after"]) == (first.operation_id, second.operation_id)
    assert [(row["kind"], row["text"]) for row in said["dockerfile"]][1:] == [
        ("same", "FROM a"),
        ("removed", "RUN one"),
        ("added", "RUN two"),
    ]
    assert {"name": "target", "before": "t1", "after": "t2"} in said["options"]
    assert [(row["name"], bool(row["before"]), bool(row["after"])) for row in said["steps"]] == [
        ("FROM a", True, True),
        ("RUN one", True, False),
        ("RUN two", False, True),
    ]
    assert said["layers"][0] == {"name": "FROM a", "before": 1, "after": 2}
    turned = ada.get(f"/api/v1/builds/{first.operation_id}/compare?other={second.operation_id}").json()
    assert (turned["before"], turned["after"]) == (second.operation_id, first.operation_id)


def test_what_is_not_there_or_not_seen_is_not_compared(ada: Client, fleet: Fleet) -> None:
    first = build(fleet, fleet.administrator, "FROM a\n", 1, tags=["lonely/one:1"])
    address = f"/api/v1/builds/{first.operation_id}/compare"
    answer = ada.get(address)
    assert (answer.status_code, answer.json()["hint"]) == (404, "Name one: ?other=ID.")
    assert ada.get(f"{address}?other=999999").status_code == 404
    assert ada.get(f"{address}?with=1").status_code == 422


def test_lint_says_what_the_editor_says(ada: Client, fleet: Fleet) -> None:
    body = {"dockerfile": "FROM a:latest\nCPY x /x\n"}
    before = Operation.objects.count()
    said = ada.post("/api/v1/builds/lint", body, content_type=JSON).json()["findings"]
    assert [(row["line"], row["severity"]) for row in said] == [(1, "info"), (2, "error")]
    assert "Did you mean COPY?" in said[1]["message"]
    assert ada.post("/api/v1/builds/lint", {"dockerfile": " \n"}, content_type=JSON).json() == {"findings": []}
    assert Operation.objects.count() == before


def test_what_a_build_may_be_asked_with(ada: Client, fleet: Fleet) -> None:
    Host.objects.filter(pk=fleet.host.pk).update(labels={"builder": "big"})
    Host.objects.create(name="not-enrolled")
    said = ada.get("/api/v1/builds/choices").json()
    here = {"id": fleet.host.pk, "name": "web"}
    assert said["hosts"] == [here]
    assert said["pools"] == [{"name": "big", "hosts": [here]}]
    assert said["credentials"] == [{"name": "token", "kind": "secret"}]


def test_what_a_queued_operation_waits_for(ada: Client, fleet: Fleet) -> None:
    first, second = (
        Operation.objects.create(
            kind="container.stop", title=f"Stop {n}", state=State.QUEUED, actor=fleet.administrator, lane="one"
        )
        for n in range(2)
    )
    said = ada.get(f"/api/v1/operations/{second.pk}").json()
    assert (said["waits"], said["waits_for"]) == (True, [{"id": first.pk, "title": "Stop 0"}])
    said = ada.get(f"/api/v1/operations/{first.pk}").json()
    assert (said["waits"], said["waits_for"]) == (False, [])


def test_a_container_says_which_rules_it_breaks(ada: Client, fleet: Fleet) -> None:
    address = f"/api/v1/containers/{fleet.container.pk}"
    assert ada.get(address).json()["breaks"] == []
    rules = Rules(images=parse_images("registry.example/**"))
    EnvironmentRules.objects.create(environment=fleet.environment, body=rules.as_json())
    (found,) = ada.get(address).json()["breaks"]
    assert "registry.example/**" in found["allowed"]
