"""The whole way of a script: a token, a container, a stop, what the operation said."""

from __future__ import annotations

import json

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient, Client

from controlplane.operations.models import AuditEntry, Operation, OperationOutput, State
from tests.api.conftest import bearer, issue
from tests.security.fleet import Fleet, make

JSON = "application/json"


def test_from_a_token_to_an_operation(ada: Client, fleet: Fleet) -> None:
    listed = ada.get("/api/v1/containers")
    assert listed.status_code == 200, listed.content
    (row,) = listed.json()["items"]
    assert (row["id"], row["name"], row["state"]) == (fleet.container.pk, "web", "running")
    assert listed.json()["next"] is None

    asked = ada.post(f"/api/v1/containers/{row['id']}/stop", content_type=JSON)
    assert asked.status_code == 202, asked.content
    operation = Operation.objects.get(pk=asked.json()["id"])
    assert asked["Location"] == f"/api/v1/operations/{operation.pk}"
    assert (operation.kind, operation.actor, operation.state) == ("container.stop", fleet.administrator, State.QUEUED)
    assert operation.token is not None
    entry = AuditEntry.objects.get(operation=operation)
    assert (entry.door, entry.token_name, entry.token_id) == ("api", "ci", operation.token_id)

    shown = ada.get(asked["Location"])
    assert shown.json()["target"] == {"kind": "container", "id": "c" * 64, "name": "web"}


@pytest.mark.django_db(transaction=True)
async def test_an_operations_output() -> None:
    fleet = await sync_to_async(make)()
    _, secret = await sync_to_async(issue)(fleet.administrator)
    rows = [OperationOutput(operation=fleet.operation, seq=n, text=f"line {n}\n") for n in range(2, 6)]
    await OperationOutput.objects.abulk_create(rows)
    address = f"/api/v1/operations/{fleet.operation.pk}/output?after=2&follow=true"
    answer = await AsyncClient().get(address, headers=bearer(secret))
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in (b"".join([part async for part in answer.streaming_content])).splitlines()]
    assert [line["text"] for line in lines[:-1]] == ["line 3\n", "line 4\n", "line 5\n"]
    assert lines[-1] == {"type": "end", "reason": "the operation ended", "state": "failed"}
