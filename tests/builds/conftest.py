"""People, and each real engine in turn as a builder; a base image of busybox that all of them hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controlplane.access.models import Standing, User
from hosts.models import Host
from tests.images.working import host_of
from tests.support.engines import EngineProcess

ENGINES = [
    pytest.param("native_engine", marks=pytest.mark.root),
    pytest.param("docker_engine", marks=pytest.mark.docker),
    pytest.param("podman_engine", marks=pytest.mark.podman),
]


@pytest.fixture
def administrator(db: None) -> User:
    return User.objects.create_user("ada", password="x", standing=Standing.ADMINISTRATOR)


@pytest.fixture
def viewer(db: None) -> User:
    return User.objects.create_user("vic", password="x", standing=Standing.VIEWER)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> EngineProcess:
    """Gantry's own engine, Docker Engine, Podman."""
    found: EngineProcess = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def builder(transactional_db: None, engine: EngineProcess) -> Host:
    return kind_of(host_of(engine))


@pytest.fixture
def native(transactional_db: None, native_engine: EngineProcess) -> Host:
    """Gantry's own engine alone."""
    return kind_of(host_of(native_engine))


def kind_of(host: Host) -> Host:
    """What watch would write: the native engine calls itself gantry."""
    if host.engine_kind == "native":
        host.engine_kind = "gantry"
        host.save()
    return host


@pytest.fixture
def base(engine: EngineProcess, busybox_loaded: Callable[[EngineProcess], str]) -> str:
    """The reference of busybox on `engine`."""
    return busybox_loaded(engine)


@pytest.fixture
def native_base(native_engine: EngineProcess, busybox_loaded: Callable[[EngineProcess], str]) -> str:
    return busybox_loaded(native_engine)
