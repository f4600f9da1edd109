"""The pages on which a host is added and looked at: what they say before, and after, its agent is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from controlplane.access.models import Standing, User
from hosts import wheels
from hosts.models import EnrolmentToken, Host, HostState


@pytest.fixture
def signed_in(client: Client, db: None) -> Client:
    client.force_login(User.objects.create(username="ada", standing=Standing.ADMINISTRATOR))
    return client


@pytest.fixture
def collected(settings: Any, tmp_path: Path) -> Callable[..., None]:
    """Sets how far the collecting of the agent's packages is."""
    settings.GANTRY_HOME = tmp_path
    wheels.folder().mkdir()

    def collected(state: str, reason: str = "") -> None:
        (wheels.folder() / "status.json").write_text(json.dumps({"state": state, "reason": reason}))
        entry = {"project": "gantry-agent", "name": "gantry_agent-0.2.0-py3-none-any.whl", "sha256": "0"}
        (wheels.folder() / "index.json").write_text(json.dumps([entry]))

    return collected


@pytest.mark.parametrize(
    ("state", "words"), [("collecting", "still being collected"), ("failed", "no route to the index"), ("ready", "")]
)
def test_what_keeps_the_line_from_working_is_said(
    signed_in: Client, collected: Callable[..., None], state: str, words: str
) -> None:
    collected(state, "no route to the index")
    host = Host.objects.create(name="edge-1")
    EnrolmentToken.issue(host)
    for address in ("/hosts/add/", f"/hosts/{host.pk}/"):
        shown = signed_in.get(address).content.decode()
        if words:
            assert words in shown
        else:
            assert "collected" not in shown


def test_a_newer_agent_is_named_with_the_way_to_it(signed_in: Client, collected: Callable[..., None]) -> None:
    collected("ready")
    host = Host.objects.create(
        name="edge-1", public_key="k", state=HostState.CONNECTED, tunnel_up=True, agent_version="0.1.0"
    )
    assert "0.2.0 is here" in signed_in.get(f"/hosts/{host.pk}/").content.decode()
    Host.objects.filter(pk=host.pk).update(agent_version="0.2.0")
    assert "is here" not in signed_in.get(f"/hosts/{host.pk}/").content.decode()


def test_a_name_that_is_taken_is_refused_in_plain_words(signed_in: Client) -> None:
    Host.objects.create(name="edge-1")
    answer = signed_in.post("/hosts/add/", {"name": "edge-1", "labels": "rack=b2"})
    assert answer.status_code == 422
    shown = answer.content.decode()
    assert "There is a host of this name already." in shown
    assert "rack=b2" in shown


def test_a_spent_token_puts_the_line_away(signed_in: Client) -> None:
    host = Host.objects.create(name="edge-1")
    token, _ = EnrolmentToken.issue(host)
    assert "data-token-spent" not in signed_in.get(f"/hosts/{host.pk}/").content.decode()
    EnrolmentToken.objects.filter(pk=token.pk).update(used_at=token.created_at)
    assert "data-token-spent" in signed_in.get(f"/hosts/{host.pk}/").content.decode()
