"""Limits, an image and another one by the API, on each engine: what the pages do."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from controlplane.access.models import User
from controlplane.operations.models import AuditEntry, Operation, State
from hosts.rules.actions import save
from hosts.rules.rules import Rules
from tests.api.conftest import client_with, issue
from tests.containers.conftest import Lab
from tests.images.working import run
from tests.rules.conftest import grant, staging  # noqa: F401
from tests.support.redis import RedisServer

pytestmark = [pytest.mark.root, pytest.mark.django_db(transaction=True)]
MIB = 1024 * 1024


@pytest.fixture
def api(lab: Lab, redis_server: RedisServer) -> Client:
    return client_with(issue(User.objects.get(username="ada"))[1])


def done(answer: Any) -> Operation:
    assert answer.status_code == 202, answer.content
    return run(Operation.objects.get(pk=answer.json()["id"]))


def test_another_one_like_it(lab: Lab, api: Client) -> None:
    row = lab.start("-e", "TOKEN=s3cret", "-m", "64m", command=("sh", "-c", "sleep 60\nexit 0"))
    path = f"/api/v1/containers/{row.pk}/duplicate"
    before = AuditEntry.objects.count()
    masked = api.get(path)
    assert masked.status_code == 200, masked.content
    assert "s3cret" not in masked.content.decode()
    assert "the variables TOKEN: their values take the right container.secrets" in masked.json()["left_out"]
    assert AuditEntry.objects.count() == before
    whole = api.get(f"{path}?secrets=true")
    entry = AuditEntry.objects.latest("seq")
    assert (entry.verb, entry.door, entry.target_name) == ("container.secrets", "api", lab.name)
    body = whole.json()["run"]
    assert (body["environment"], body["memory"], body["name"]) == ({"TOKEN": "s3cret"}, "64m", f"{lab.name}-2")
    operation = done(api.post("/api/v1/containers", body, content_type="application/json"))
    assert operation.state == State.SUCCEEDED, operation.error
    made = lab.inspect(f"{lab.name}-2")
    assert made["Config"]["Cmd"] == ["sh", "-c", "sleep 60\nexit 0"]
    assert (made["HostConfig"]["Memory"], "TOKEN=s3cret" in made["Config"]["Env"]) == (64 * MIB, True)


def test_values_take_their_right(lab: Lab, api: Client) -> None:
    row = lab.start()
    dev = User.objects.create(username="dev", password="!")
    grant(dev, None, "**", role="developer")
    answer = client_with(issue(dev)[1]).get(f"/api/v1/containers/{row.pk}/duplicate?secrets=true")
    assert (answer.status_code, answer.json()["verb"]) == (403, "container.secrets")


def test_an_image_and_limits(lab: Lab, api: Client) -> None:
    row = lab.start("--pids-limit", "50")
    path, name = f"/api/v1/containers/{row.pk}", f"{lab.name}/app:1"
    body = {"reference": name, "changes": ["ENV MODE=prod"], "comment": "as it was"}
    operation = done(api.post(f"{path}/commit", body, content_type="application/json"))
    assert operation.state == State.SUCCEEDED, operation.error
    assert "MODE=prod" in lab.engine.expect("GET", f"/images/{name}/json")["Config"]["Env"]
    wrong = api.post(f"{path}/commit", {"reference": "Shop/Web"}, content_type="application/json")
    assert (wrong.status_code, list(wrong.json()["errors"])) == (422, ["reference"])
    if lab.engine.kind == "podman":
        return  # 4.3 knows no updates over this API
    limits = {"memory": "64m", "pids": 0}
    assert done(api.post(f"{path}/update", limits, content_type="application/json")).state == State.SUCCEEDED
    host = lab.inspect()["HostConfig"]
    assert (host["Memory"], (host["PidsLimit"] or 0) <= 0) == (64 * MIB, True)
    nothing = api.post(f"{path}/update", {}, content_type="application/json")
    assert nothing.status_code == 422


def test_rules_refuse_by_name(lab: Lab, api: Client, staging: Any) -> None:  # noqa: F811
    lab.host.environment = staging
    lab.host.save()
    row = lab.start("-m", "64m", "--cap-add", "SYS_TIME")
    save(User.objects.get(username="ada"), staging, Rules(memory=64 * MIB, capabilities=()))
    path = f"/api/v1/containers/{row.pk}"
    for address, body in (
        (f"{path}/update", {"memory": "65m"}),
        (f"{path}/commit", {"reference": f"{lab.name}/app:1"}),
    ):
        answer = api.post(address, body, content_type="application/json")
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:gantry:problem:rules-broken"), answer.content
    assert not Operation.objects.exists()
