"""The list of containers and the page of one say what an operation made of them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from containers.models import Container
from controlplane.access.models import Standing, User
from controlplane.operations.models import Operation, State
from hosts.models import Host, HostState


@pytest.fixture
def container(db: None) -> Container:
    host = Host.objects.create(name="edge-1", state=HostState.CONNECTED, tunnel_up=True, public_key="k")
    return Container.objects.create(host=host, engine_id="c" * 64, name="web", image_ref="nginx:1", state="running")


@pytest.fixture
def signed_in(client: Client, db: None) -> Client:
    client.force_login(User.objects.create(username="ada", standing=Standing.ADMINISTRATOR))
    return client


def _operation(container: Container, **fields: object) -> Operation:
    about = {"target_kind": "container", "target_id": container.engine_id, "target_name": container.name}
    return Operation.objects.create(kind="container.rename", host=container.host, **about, **fields)


def test_a_failure_is_shown_where_it_was_asked_for(signed_in: Client, container: Container) -> None:
    _operation(
        container,
        title="Rename web to db",
        state=State.FAILED,
        error="The name is in use.",
        hint="Choose another.",
        finished_at=timezone.now(),
    )
    shown = signed_in.get(f"/containers/{container.pk}/").content.decode()
    assert "The name is in use. Choose another." in shown
    assert "Rename web to db" in signed_in.get("/containers/").content.decode()

    _operation(container, title="Stop web", state=State.SUCCEEDED, finished_at=timezone.now())
    assert "The name is in use." not in signed_in.get(f"/containers/{container.pk}/").content.decode()
    assert "Rename web to db" not in signed_in.get("/containers/").content.decode()


def test_a_row_names_what_is_under_way_and_no_old_failure(signed_in: Client, container: Container) -> None:
    long_ago = timezone.now() - timedelta(hours=1)
    _operation(container, title="Rename web to db", state=State.FAILED, finished_at=long_ago)
    assert "Rename web to db" not in signed_in.get("/containers/").content.decode()
    _operation(container, title="Stop web", state=State.RUNNING)
    assert "Stop web" in signed_in.get("/containers/").content.decode()


def test_an_operation_leads_to_its_container(signed_in: Client, container: Container) -> None:
    operation = _operation(container, title="Stop web", state=State.SUCCEEDED)
    link = f'href="/containers/{container.pk}/"'
    assert link in signed_in.get(f"/operations/{operation.pk}/").content.decode()
    container.delete()
    assert link not in signed_in.get(f"/operations/{operation.pk}/").content.decode()
