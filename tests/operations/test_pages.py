"""The list of operations and the page of one: what they can be narrowed by, and what they lead to."""

from __future__ import annotations

import pytest
from django.test import Client

from controlplane.access.models import User
from controlplane.operations import actions, lifecycle
from hosts.models import Host
from tests.operations.conftest import request


@pytest.fixture
def signed_in(client: Client, administrator: User) -> Client:
    client.force_login(administrator)
    return client


def _titles(answer: object) -> list[str]:
    return [operation.title for operation in answer.context["listing"].rows]  # type: ignore[attr-defined]


def test_the_list_is_narrowed_by_state_kind_host_and_person(
    signed_in: Client, administrator: User, viewer: User, host: Host
) -> None:
    other = Host.objects.create(name="edge-2")
    here = actions.start(administrator, request(host=host))
    there = actions.start(administrator, request(host=other))
    type(there).objects.filter(pk=here.pk).update(title="here", kind="container.stop", actor=viewer)
    type(there).objects.filter(pk=there.pk).update(title="there", kind="image.pull", state="failed")
    for query, expected in {
        "": ["there", "here"],
        "state=failed": ["there"],
        "state=unfinished": ["here"],
        "kind=container": ["here"],
        f"host={other.pk}": ["there"],
        "who=vi": ["here"],
        "who=vi&state=failed": [],
        "host=99999999999999999999": ["there", "here"],
        "who=nobody": ["there", "here"],
    }.items():
        answer = signed_in.get(f"/operations/?{query}")
        assert answer.status_code == 200, query
        assert _titles(answer) == expected, query


def test_a_queued_one_names_what_it_waits_for(signed_in: Client, administrator: User, host: Host) -> None:
    first = actions.start(administrator, request(host=host, lane="container:1:a"))
    second = actions.start(administrator, request(host=host, lane="container:1:a"))
    assert lifecycle.claim(first.pk)
    shown = signed_in.get(f"/operations/{second.pk}/").content.decode()
    assert "It waits its turn" in shown
    assert f'href="/operations/{first.pk}/"' in shown
    assert "It waits its turn" not in signed_in.get(f"/operations/{first.pk}/").content.decode()
