"""The test machinery itself: what everything else here leans on."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings

from tests.conftest import need
from tests.support.engines import Dockerd, EngineProcess
from tests.support.images import busybox
from tests.support.netns import NetworkNamespace
from tests.support.redis import RedisServer
from tests.support.registry import Registry, SlowRegistry


def test_the_run_has_a_home_of_its_own() -> None:
    assert str(settings.GANTRY_HOME).startswith("/tmp/gt")


@pytest.mark.redis_server
def test_redis_is_where_the_settings_expect_it(redis_server: RedisServer) -> None:
    assert redis_server.url == settings.REDIS_URL


@pytest.mark.docker
@pytest.mark.podman
@pytest.mark.registry
@pytest.mark.parametrize("engine", ["docker_engine", "podman_engine"])
def test_an_engine_runs_the_image_of_the_registry(
    engine: str, request: pytest.FixtureRequest, busybox_loaded: Callable[[EngineProcess], str]
) -> None:
    process: EngineProcess = request.getfixturevalue(engine)
    container = process.run(busybox_loaded(process), "sleep", "60")
    try:
        assert process.cli("exec", container, "echo", "hello") == "hello\n"
    finally:
        process.request("DELETE", f"/containers/{container}", force="true")


@pytest.mark.registry
def test_a_registry_with_users_refuses_others() -> None:
    need(Registry.why_not())
    with Registry(users={"ada": "secret"}) as registry:
        registry.push(busybox(), "gantry/busybox:1")
        assert registry.tags("gantry/busybox") == ["1"]
        registry.users = {}
        with pytest.raises(RuntimeError, match="401"):
            registry.tags("gantry/busybox")


@pytest.mark.root
@pytest.mark.docker
@pytest.mark.registry
def test_a_host_in_its_own_namespace_pulls_slowly_from_a_registry_outside() -> None:
    need(NetworkNamespace.why_not(), Dockerd.why_not(), Registry.why_not())
    with (
        NetworkNamespace() as there,
        Registry(host=there.outside) as registry,
        SlowRegistry(registry, bytes_per_second=10_000_000) as slow,
        Dockerd(netns=there.name) as engine,
    ):
        registry.push(busybox(layers=3), "gantry/layers:1")
        engine.cli("pull", slow.reference("gantry/layers:1"))
        assert slow.bytes_sent > 300_000


@pytest.mark.root
@pytest.mark.docker
def test_nothing_is_left_of_a_killed_engine() -> None:
    need(Dockerd.why_not())
    with Dockerd() as engine:
        engine.load(busybox().archive("gantry/busybox:1"))
        engine.run("gantry/busybox:1", "sleep", "1000")
        engine.kill()
    assert not engine.folder.exists()
    assert str(engine.folder) not in Path("/proc/self/mountinfo").read_text()
