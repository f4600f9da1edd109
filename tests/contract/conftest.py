"""The engines the contract is run against, as ``process``; another engine joins by one line in ENGINES."""

from collections.abc import AsyncIterator, Callable

import pytest

from hosts.engine import Engine
from tests.support.engines import EngineProcess

ENGINES = [
    pytest.param("docker_engine", marks=[pytest.mark.root, pytest.mark.docker, pytest.mark.registry], id="docker"),
    pytest.param("podman_engine", marks=[pytest.mark.root, pytest.mark.podman, pytest.mark.registry], id="podman"),
    pytest.param("native_engine", marks=[pytest.mark.root, pytest.mark.registry], id="native"),
]


@pytest.fixture(scope="session", params=ENGINES)
def process(request: pytest.FixtureRequest) -> EngineProcess:
    """A real engine."""
    engine: EngineProcess = request.getfixturevalue(request.param)
    return engine


@pytest.fixture(scope="session")
def image(process: EngineProcess, busybox_loaded: Callable[[EngineProcess], str]) -> str:
    """A reference of busybox that the engine has."""
    return busybox_loaded(process)


@pytest.fixture
async def engine(process: EngineProcess) -> AsyncIterator[Engine]:
    """Our client of it."""
    async with Engine(process.socket) as engine:
        yield engine
