"""A grant that is taken away ends the terminals and logs that it opened, over real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.engines import EngineProcess, unique
from tests.support.shell import Shell
from tests.support.stage import Stage

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.redis_server]

SEED = """
from controlplane.access import grant_actions as do
from controlplane.access.models import Role, Team, User
from hosts.models import Environment, Host
staging = Environment.objects.get(slug="staging")
Host.objects.update(environment=staging)
admin = User.objects.get(username="admin")
for name in ("mia", "tom"):
    User.objects.create_user(name, password="a long enough word")
team = Team.objects.create(name="Shop", slug="shop")
team.members.add(User.objects.get(username="tom"))
asked = do.Asked(Role.objects.get(slug="developer"), frozenset([staging.pk]), ["busybox"], ["*"])
do.give(admin, User.objects.get(username="mia"), asked)
do.give(admin, team, asked)
"""
NAMED = """
from containers.models import Container
from controlplane.access.naming import intern_one
Container.objects.update(image_name=intern_one("busybox"))
"""
TAKE = """
from controlplane.access import grant_actions as do
from controlplane.access.models import Grant, Team, User
admin = User.objects.get(username="admin")
{}
"""
REMOVED = TAKE.format('do.remove_grant(admin, Grant.objects.get(user__username="mia"))')
TAKEN_OUT = TAKE.format('do.remove_member(admin, Team.objects.get(), User.objects.get(username="tom"))')


@pytest.fixture(scope="module")
def stage(docker_engine: EngineProcess, busybox_loaded: Callable[[EngineProcess], str]) -> Iterator[Stage]:
    busybox_loaded(docker_engine)
    with Stage(docker_engine) as stage:
        stage.django(SEED)
        yield stage


@pytest.fixture
def container(stage: Stage, docker_engine: EngineProcess, busybox_image: str) -> Iterator[int]:
    name = unique("grant")
    script = "while echo tick; do sleep 0.2; done"
    engine_id = docker_engine.run(busybox_image, "sh", "-c", script, name=name)
    pk = stage.add_container(engine_id, name)
    stage.django(NAMED)
    yield pk
    docker_engine.request("DELETE", f"/containers/{engine_id}", force="true")


def code_of(socket: ClientConnection) -> int:
    """What it closes with, whatever it says before."""
    while True:
        try:
            socket.recv(20)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006


@pytest.mark.parametrize(("user", "take"), [("mia", REMOVED), ("tom", TAKEN_OUT)])
def test_what_a_grant_has_opened_ends_with_it(stage: Stage, container: int, user: str, take: str) -> None:
    logs = connect(
        f"{stage.url.replace('http', 'ws', 1)}/ws/containers/{container}/logs",
        origin=stage.url,  # type: ignore[arg-type]
        additional_headers={"Cookie": f"gantry_session={stage.cookie(user)}"},
        compression=None,
    )
    with logs, Shell(stage, container, user=user) as shell:
        shell.type("echo o''pen\n")
        shell.until("open")
        logs.recv(20)
        stage.django(take)
        assert shell.until_closed() == 4403, "whoever had it open is told that it was their right"
        assert code_of(logs) == 4403
    with Shell(stage, container, user=user) as again:
        assert again.until_closed() == 4404
