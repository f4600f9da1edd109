"""A grant that ends while its holder reads a log, sits in a shell or watches an operation."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.containers.test_logs import Reader
from tests.support.engines import EngineProcess, unique
from tests.support.shell import Shell
from tests.support.stage import Stage
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.redis_server]

GRANT = """
from controlplane.access.models import Grant, Role, Team, User
from controlplane.access.naming import cover_again, intern_one
from containers.models import Container
from controlplane.operations.models import Operation, OperationOutput
from hosts.models import Environment, Host
staging, _ = Environment.objects.get_or_create(slug="staging", defaults={{"name": "Staging"}})
Host.objects.update(environment=staging)
dev, _ = User.objects.get_or_create(username="dev")
team, _ = Team.objects.get_or_create(name="shop", slug="shop")
team.members.add(dev)
Grant.objects.all().delete()
role = Role.objects.get(slug="developer")
grant = Grant.objects.create(team=team, role=role, repositories=["shop/*"], tags=["dev-*"])
grant.environments.add(staging)
name = intern_one("shop/web:dev-1")
cover_again(grant)
Container.objects.filter(pk={pk}).update(image_name=name, image_ref="shop/web:dev-1")
of = {{"kind": "image.pull", "title": "Pull", "host": Host.objects.get(), "image_name_id": name, "state": "running"}}
operation = Operation.objects.create(**of)
OperationOutput.objects.create(operation=operation, seq=0, text="hello")
print(operation.pk)
"""
ENDINGS = {
    "the grant is removed": "from controlplane.access.models import Grant; Grant.objects.all().delete()",
    "it expires": (
        "from controlplane.access.models import Grant; from django.utils import timezone;"
        "Grant.objects.update(expires_at=timezone.now())"
    ),
    "they leave the team": "from controlplane.access.models import Team; Team.objects.get().members.clear()",
    "they are kept out": (
        "from controlplane.access.actions import set_active; from controlplane.access.models import User;"
        "set_active(User.objects.get(username='dev'), False)"
    ),
}


@pytest.fixture
def container(stage: Stage, docker_engine: EngineProcess, busybox_image: str) -> Iterator[tuple[int, str]]:
    name = unique("revoked")
    engine_id = docker_engine.run(busybox_image, "sh", "-c", "echo a; sleep 1000", name=name)
    yield stage.add_container(engine_id, name), engine_id
    docker_engine.request("DELETE", f"/containers/{engine_id}", force="true")


def _socket(stage: Stage, path: str, session: str) -> ClientConnection:
    address = stage.url.replace("http", "ws", 1)
    return connect(
        address + path,
        origin=Origin(stage.url),
        additional_headers={"Cookie": f"gantry_session={session}"},
        compression=None,
    )


def _code(socket: ClientConnection) -> int | None:
    """Read until it closes; the code."""
    try:
        while True:
            socket.recv(20)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


@pytest.mark.parametrize("why", ENDINGS)
def test_all_that_is_open_ends_within_ten_seconds(stage: Stage, container: tuple[int, str], why: str) -> None:
    pk, engine_id = container
    operation = stage.django(GRANT.format(pk=pk)).splitlines()[-1]
    stage.django("from controlplane.access.models import User; User.objects.update(is_active=True)")
    session = stage.cookies["dev"] = stage.fresh_cookie("dev")
    expected = 4401 if why == "they are kept out" else 4403
    with ExitStack() as stack:
        shell = stack.enter_context(Shell(stage, pk, user="dev"))
        shell.until("# ")
        log = stack.enter_context(Reader(stage, pk, user=session))
        log.until(lambda: log.bytes)
        output = stack.enter_context(_socket(stage, f"/ws/operations/{operation}/output", session))
        assert json.loads(output.recv(10))["lines"]
        live = stack.enter_context(_socket(stage, f"/ws/live?topics=container.{pk}", session))
        assert json.loads(live.recv(10)) == {"watching": [f"container.{pk}"]}
        stage.django(ENDINGS[why])
        began = time.monotonic()
        assert shell.until_closed() == expected
        while log.read():
            pass
        assert log.code == expected
        assert _code(output) == expected
        assert time.monotonic() - began < 10
        _hears_nothing_more(stage, live, pk, expected)
    eventually(lambda: not [held for held in stage.terminals() if held["container"] == engine_id and not held["ended"]])


def _hears_nothing_more(stage: Stage, live: ClientConnection, pk: int, expected: int) -> None:
    """The page stays open for whoever may still sign in; it is told of nothing."""
    if expected == 4401:
        assert _code(live) == 4401
        return
    live.send(json.dumps({"topics": [f"container.{pk}"]}))
    heard = [json.loads(live.recv(10))]
    while "watching" not in heard[-1]:
        heard.append(json.loads(live.recv(10)))
    assert heard[-1] == {"watching": []}
    stage.django(f"from controlplane.lib.live import publish; publish('container.{pk}')")
    live.send(json.dumps({"topics": []}))
    assert json.loads(live.recv(10)) == {"watching": []}
