"""An environment with a developer of `shop/*:dev-*` in it and a tenant of `secret/*`, on each engine in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from controlplane.access.models import Grant, Role, Standing, User
from controlplane.access.naming import cover_again
from controlplane.access.roles import BUILT_IN
from hosts.models import Environment, Host
from hosts.rules.models import EnvironmentRules
from hosts.rules.rules import Rules
from tests.builds.conftest import kind_of
from tests.images.working import host_of
from tests.support.engines import EngineProcess
from tests.support.images import TestImage, busybox

UNUSABLE = "!"  # hashing a password for every test would take most of its time
ENGINES = [
    pytest.param("native_engine", marks=pytest.mark.root),
    pytest.param("docker_engine", marks=pytest.mark.docker),
]
# The shared engines are used by others: what these tests do to images stays among these names.
OURS = ("shop/", "secret/", "registry.example/")


@cache
def images() -> tuple[TestImage, TestImage]:
    """Two that differ."""
    return busybox(extra=b"shop"), busybox(extra=b"secret")


@dataclass
class Place:
    """A host of an engine, in `staging`; `shop` and `secret` are two images with different files."""

    engine: EngineProcess
    host: Host
    environment: Environment
    shop: TestImage
    secret: TestImage
    before: frozenset[str] = frozenset()
    """The containers that others left there."""

    def made(self) -> set[str]:
        """The containers that have been made since."""
        return {each["Id"] for each in self.engine.expect("GET", "/containers/json", all="true")} - self.before

    def rules(self, **given: Any) -> None:
        """Give the environment these rules."""
        body = Rules(**given).as_json()
        EnvironmentRules.objects.update_or_create(environment=self.environment, defaults={"body": body})

    def id_of(self, name: str) -> str:
        return str(self.engine.expect("GET", f"/images/{name}/json")["Id"])


def grant(user: User, environment: Environment | None, *repositories: str, tags: str = "*", role: str) -> Grant:
    """`role` for `user` over these in the environment, or in every one."""
    name, description, verbs = BUILT_IN[role]
    # A test with transactions of its own leaves none of those that the migration made.
    known = {"name": name, "description": description, "verbs": sorted(verbs), "built_in": True}
    made = Grant.objects.create(
        user=user,
        role=Role.objects.get_or_create(slug=role, defaults=known)[0],
        repositories=list(repositories) or ["**"],
        tags=[tags],
        every_environment=environment is None,
    )
    if environment:
        made.environments.add(environment)
    cover_again(made)
    return made


@pytest.fixture
def staging(db: None) -> Environment:
    return Environment.objects.create(name="shop staging", slug="shop-staging")


@pytest.fixture
def ada(db: None) -> User:
    """The administrator."""
    return User.objects.create(username="ada", password=UNUSABLE, standing=Standing.ADMINISTRATOR)


@pytest.fixture
def dev(staging: Environment) -> User:
    """A developer of shop/*:dev-* in staging, and of nothing else."""
    user = User.objects.create(username="dev", password=UNUSABLE)
    grant(user, staging, "shop/*", tags="dev-*", role="developer")
    return user


@pytest.fixture
def tenant(staging: Environment) -> User:
    """A developer of secret/** there."""
    user = User.objects.create(username="ten", password=UNUSABLE)
    grant(user, staging, "secret/**", role="developer")
    return user


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> EngineProcess:
    """Gantry's own engine, Docker Engine."""
    found: EngineProcess = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def place(transactional_db: None, engine: EngineProcess, staging: Environment) -> Iterator[Place]:
    host = kind_of(host_of(engine))
    host.environment = staging
    host.save()
    shop, secret = images()
    engine.load(shop.archive("docker.io/shop/web:dev-1"))  # in full: Podman would put localhost/ before it
    engine.load(secret.archive("docker.io/secret/app:prod"))
    place = Place(engine, host, staging, shop, secret)
    place.before = frozenset(place.made())
    yield place
    engine.remove_containers()
    for image in engine.expect("GET", "/images/json"):
        for name in image["RepoTags"] or []:
            if name.removeprefix("docker.io/").startswith(OURS):
                engine.request("DELETE", f"/images/{name}", force="true")


@pytest.fixture
def run_form() -> Callable[..., dict[str, str]]:
    """What the run form sends."""

    def form(host: Host, image: str, **typed: str) -> dict[str, str]:
        return {"host": str(host.pk), "image": image, **typed}

    return form
