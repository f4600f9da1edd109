"""People, and each real engine in turn as a host."""

from __future__ import annotations

import pytest

from controlplane.access.models import Standing, User
from hosts.models import Host
from tests.images.working import host_of
from tests.support.engines import EngineProcess


@pytest.fixture
def administrator(db: None) -> User:
    return User.objects.create_user("ada", password="x", standing=Standing.ADMINISTRATOR)


@pytest.fixture
def viewer(db: None) -> User:
    return User.objects.create_user("vic", password="x", standing=Standing.VIEWER)


@pytest.fixture(
    params=[
        pytest.param("docker_engine", marks=pytest.mark.docker),
        pytest.param("podman_engine", marks=pytest.mark.podman),
    ]
)
def engine(request: pytest.FixtureRequest) -> EngineProcess:
    """Docker Engine, then Podman."""
    found: EngineProcess = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def host(transactional_db: None, engine: EngineProcess) -> Host:
    return host_of(engine)
