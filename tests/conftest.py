"""Fixtures every test may use: real engines, a registry, a tiny image. See the docstrings in tests/support/.

Session-wide (shared: use ``unique()`` names, do not stop them):
    redis_server                   a Redis at settings.REDIS_URL, for live updates, cache, Celery, channels
    docker_engine, podman_engine, native_engine
                                   an EngineProcess each: .socket, .request(), .cli(), .run()
    registry                       a Registry: .address, .push(image, "gantry/name:tag")
    busybox_image                  the reference "127.0.0.1:PORT/gantry/busybox:1", pushed to ``registry``
    busybox_loaded                 the same reference, loaded into one of the engines on demand:
                                   busybox_loaded(docker_engine) → reference
For one file:
    stage                          a control plane whose host is ``docker_engine``
A test that kills, freezes or fills an engine starts its own: ``with Dockerd() as engine: …`` (0.3 s).
"""

import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from django.apps import apps
from django.conf import settings
from django.db.models.signals import post_migrate

from tests.support import cgroups
from tests.support.engines import Dockerd, EngineProcess, Native, Podman
from tests.support.flush import allow_flush
from tests.support.images import TestImage, busybox, busybox_why_not
from tests.support.redis import RedisServer
from tests.support.registry import Registry
from tests.support.scratch import sweep

if TYPE_CHECKING:
    from tests.support.stage import Stage

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("gantry", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("gantry")

allow_flush()


def pytest_report_header() -> str:
    return f"cgroups: version {cgroups.version()}"


RUNNERS = re.compile(r'File "[^"]*/site-packages/(_pytest|pluggy|pytest_\w+|xdist|schemathesis/pytest)/')


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Native tracebacks begin with some thirty frames of pytest's own: a failure is told from the test on."""
    report = yield
    for entry in getattr(getattr(report.longrepr, "reprtraceback", None), "reprentries", ()):
        kept = [line for line in entry.lines if not RUNNERS.search(line)]
        if any(line.startswith("  File ") for line in kept):
            entry.lines = kept
    return report


def need(*reasons: str) -> None:
    """Skip the test with the first reason that is not empty (``Dockerd.why_not()`` and its like)."""
    for reason in reasons:
        if reason:
            pytest.skip(reason)


@pytest.fixture
def clocks_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries are counted: how long a page takes must not be. A minute later the session would be noted again, and two
    seconds into a page the grants be read again."""
    from controlplane.access import rights, sessions

    monkeypatch.setattr(sessions, "NOTE_SECONDS", float("inf"))
    monkeypatch.setattr(rights, "KEPT_SECONDS", float("inf"))


@pytest.fixture(scope="session", autouse=True)
def _no_leftovers() -> None:
    """Clear away what a killed test run left behind."""
    sweep()


@pytest.fixture(scope="session", autouse=True)
def _built_in_roles() -> Iterator[None]:
    """A test with transactions of its own empties every table at its end; these rows belong to the installation."""
    # Here, not above: programs of tests that know no Django import this module, too.
    from controlplane.access.models import Role
    from controlplane.access.roles import BUILT_IN

    def make(**_: object) -> None:
        for slug, (name, description, verbs) in BUILT_IN.items():
            values = {"name": name, "description": description, "verbs": sorted(verbs), "built_in": True}
            Role.objects.update_or_create(slug=slug, defaults=values)

    sender = apps.get_app_config("access")
    post_migrate.connect(make, sender=sender, weak=False)
    yield
    post_migrate.disconnect(make, sender=sender)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis where the settings expect it (unless REDIS_URL named one before the run)."""
    need(RedisServer.why_not())
    path = settings.REDIS_URL.removeprefix("unix://").partition("?")[0]
    with RedisServer(Path(path)) as server:
        yield server


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[EngineProcess]:
    """A Docker Engine for the whole run."""
    need(Dockerd.why_not())
    with Dockerd() as engine:
        yield engine


@pytest.fixture(scope="session")
def podman_engine() -> Iterator[EngineProcess]:
    """A Podman service for the whole run."""
    need(Podman.why_not())
    with Podman() as engine:
        yield engine


@pytest.fixture(scope="session")
def native_engine() -> Iterator[EngineProcess]:
    """Gantry's own engine for the whole run."""
    need(Native.why_not())
    with Native() as engine:
        yield engine


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A registry without passwords for the whole run."""
    need(Registry.why_not())
    with Registry() as registry:
        yield registry


@pytest.fixture(scope="session")
def busybox_archive() -> TestImage:
    """The tiny image itself."""
    need(busybox_why_not())
    return busybox()


@pytest.fixture(scope="session")
def busybox_image(registry: Registry, busybox_archive: TestImage) -> str:
    """The reference of busybox in the registry."""
    return registry.push(busybox_archive, "gantry/busybox:1")


@pytest.fixture(scope="session")
def busybox_loaded(busybox_image: str, busybox_archive: TestImage) -> Callable[[EngineProcess], str]:
    """Puts busybox on an engine (once) and answers its reference there."""

    def load(engine: EngineProcess) -> str:
        if engine.request("GET", f"/images/{busybox_image}/json")[0] != 200:
            engine.load(busybox_archive.archive(busybox_image))
        return busybox_image

    return load


@pytest.fixture(scope="module")
def stage(docker_engine: EngineProcess, busybox_loaded: Callable[[EngineProcess], str]) -> Iterator["Stage"]:
    """A control plane whose one host is ``docker_engine``, for the tests of a file."""
    from tests.support.stage import Stage

    busybox_loaded(docker_engine)
    with Stage(docker_engine) as stage:
        yield stage


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests go last: Playwright's synchronous API leaves an event loop running in this thread, in
    which no asynchronous test can run any more. The longest of all, the bare machine, ends the run.
    """
    late = {"browser": 1, "bare": 2}

    def place(item: pytest.Item) -> int:
        return max((rank for folder, rank in late.items() if f"/tests/{folder}/" in str(item.path)), default=0)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """When several workers share the run, a file stays with one of them. So does all that needs Podman (two services
    at once disturb each other in the firewall chains they have in common), and all that shares the fleet.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            if "browser/fleet/" in path:
                return "fleet"
            return "podman" if "podman" in nodeid.lower() and "browser/" not in path else path

    return Sharing(config, log)
