"""A container of each real engine in turn, and its row in the mirror."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client

from containers.mirror import ContainerMirror
from containers.models import Container
from controlplane.access.models import Standing, User
from controlplane.operations.models import Operation
from hosts.engine import engine_for
from hosts.models import Host
from tests.builds.conftest import kind_of
from tests.images.working import host_of, run
from tests.support.engines import EngineProcess, unique


@dataclass
class Lab:
    """A host of an engine, the name for one container there, and its administrator's browser."""

    engine: EngineProcess
    host: Host
    image: str
    name: str
    client: Client

    def start(self, *more: str, command: tuple[str, ...] = ("top",)) -> Container:
        """The container, as the docker CLI makes it with these words; its row."""
        self.engine.cli("run", "-d", "--name", self.name, *more, self.image, *command)
        return self.row()

    def create(self, *more: str) -> Container:
        """The same, not started."""
        self.engine.cli("create", "--name", self.name, *more, self.image, "top")
        return self.row()

    def row(self) -> Container:
        async def refresh() -> None:
            async with engine_for(self.host) as engine:
                await ContainerMirror().refresh(engine, self.host)

        async_to_sync(refresh)()
        return Container.objects.get(host=self.host, name=self.name)

    def inspect(self, name: str = "") -> dict[str, Any]:
        found: dict[str, Any] = self.engine.expect("GET", f"/containers/{name or self.name}/json")
        return found

    def post(self, path: str, **typed: Any) -> Operation:
        """The form, sent; the operation that it has become, run to its end."""
        answer = self.client.post(path, typed)
        assert answer.status_code == 302, answer.context["form"].errors
        return run(Operation.objects.latest("pk"))


@pytest.fixture(
    params=[
        pytest.param("native_engine", marks=pytest.mark.root),
        pytest.param("docker_engine", marks=pytest.mark.docker),
        pytest.param("podman_engine", marks=pytest.mark.podman),
    ]
)
def lab(
    request: pytest.FixtureRequest, transactional_db: None, busybox_loaded: Callable[[EngineProcess], str]
) -> Iterator[Lab]:
    engine: EngineProcess = request.getfixturevalue(request.param)
    client = Client()
    client.force_login(User.objects.create(username="ada", password="!", standing=Standing.ADMINISTRATOR))
    name = f"{unique('lab')}x"  # a name that ends in a number would be counted on
    yield Lab(engine, kind_of(host_of(engine)), busybox_loaded(engine), name, client)
    for each in engine.expect("GET", "/containers/json", all="true"):
        if any(own.lstrip("/").startswith(name) for own in each["Names"]):
            engine.request("DELETE", f"/containers/{each['Id']}", force="true", v="true")
    for image in engine.expect("GET", "/images/json"):
        for tag in image["RepoTags"] or []:
            if name in tag:
                engine.request("DELETE", f"/images/{tag}", force="true")
    engine.request("DELETE", f"/volumes/{name}")
