"""Grants: one object and a whole table give the same answer, whatever is granted; more grants never give less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import product

import pytest
from django.db import connection, transaction
from django.db.models import Model
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from containers.models import Container
from controlplane.access.decide import allows, visible
from controlplane.access.models import Grant, ImageName, Role, Team, User
from controlplane.access.naming import cover_again, intern, intern_one
from controlplane.access.reach import Place
from controlplane.access.rights import forget
from controlplane.access.roles import ALL_VERBS, BUILT_IN, OWNER_VERBS, WHOLE_VERBS
from controlplane.lib.references import name_of
from controlplane.operations.audit import record
from controlplane.operations.models import AuditEntry, Operation
from hosts.models import Environment, Host
from images.builds.models import Build, Credential, Definition
from images.models import Image, ImageTag

pytestmark = pytest.mark.django_db

MODELS: list[type[Model]] = [Environment, Host, Container, Image, ImageTag, Operation, Build, Definition, Credential]
MODELS += [AuditEntry, User]
NAMED = ["shop/web:dev-1", "shop/web:v1", "shop/db:dev-1", "registry.example/shop/web:dev-1", "nginx"]
REFERENCES = [*NAMED, "sha256:" + "a" * 64]
REPOSITORIES = ["**", "shop/*", "shop/web", "**/shop/*", "registry.example/**", "nginx", "none/*"]
REPOSITORIES += ["!shop/db", "!**/web"]
TAGS = ["*", "dev-*", "v*", "latest", "!dev-1", "none"]


@dataclass
class World:
    """People, and rows of every kind in three environments and in none."""

    ann: User
    ben: User
    team: Team
    environments: list[Environment]

    def rows(self) -> Iterator[tuple[type[Model], list[Model]]]:
        for model in MODELS:
            yield model, list(model._default_manager.all())


@pytest.fixture
def world(db: None) -> World:
    ann, ben = User.objects.create(username="ann"), User.objects.create(username="ben")
    environments = [Environment.objects.create(name=f"{n} site", slug=f"{n}-site") for n in ("dev", "test", "live")]
    Definition.objects.create(name="d", slug="d", owner=ann)
    Credential.objects.create(name="any", kind="secret")
    for place, (n, reference) in product([*environments, None], enumerate(REFERENCES)):
        host, _ = Host.objects.get_or_create(name=str(place), defaults={"environment": place})
        name = intern_one(reference)
        of = {"host": host, "image_name_id": name}
        Container.objects.create(engine_id=f"{n}", name="c", image_ref=reference, state="running", **of)
        image = Image.objects.create(host=host, engine_id=f"sha256:{n}")
        ImageTag.objects.create(image=image, reference=reference if name else "", **of)
        if n == 0:  # one image under two names
            second = intern_one("shop/web:v1")
            ImageTag.objects.create(host=host, image=image, reference="shop/web:second", image_name_id=second)
        Definition.objects.create(name=f"{place} {n}", slug=f"{host.pk}-{n}", owner=ben, **of)
        if n == 0:
            Credential.objects.create(name=f"of-{host.pk}", kind="secret", environment=place)
        operation = Operation.objects.create(kind="image.build", title="t", actor=ben if n % 2 else ann, **of)
        Build.objects.create(operation=operation)
    Operation.objects.create(kind="bulk", title="of nothing", actor=ann)
    record(ben, "host.see")
    return World(ann, ben, Team.objects.create(name="t", slug="t"), environments)


def _with_a_plain_one(every: str) -> Callable[[list[str]], tuple[str, ...]]:
    return lambda found: tuple(found) if any(each[0] != "!" for each in found) else (every, *found)


patterns = st.lists(st.sampled_from(REPOSITORIES), max_size=3).map(_with_a_plain_one("**"))
tags = st.lists(st.sampled_from(TAGS), max_size=2).map(_with_a_plain_one("*"))


@dataclass(frozen=True)
class Given:
    """One grant to be made."""

    role: str
    to_team: bool
    environments: tuple[int, ...] | None
    repositories: tuple[str, ...]
    tags: tuple[str, ...]
    expired: bool = False

    def make(self, world: World) -> Grant:
        now = timezone.now()
        grant = Grant.objects.create(
            **({"team": world.team} if self.to_team else {"user": world.ann}),
            role=Role.objects.get(slug=self.role),
            every_environment=self.environments is None,
            repositories=list(self.repositories),
            tags=list(self.tags),
            expires_at=now - timedelta(seconds=1) if self.expired else None,
        )
        grant.environments.set([world.environments[n] for n in self.environments or ()])
        cover_again(grant)
        forget(world.ann)
        return grant


grants = st.lists(
    st.builds(
        Given,
        role=st.sampled_from(sorted(BUILT_IN)),
        to_team=st.booleans(),
        environments=st.one_of(st.none(), st.lists(st.integers(0, 2), max_size=3, unique=True).map(tuple)),
        repositories=patterns,
        tags=tags,
        expired=st.sampled_from([False, False, False, True]),
    ),
    max_size=4,
)
verbs = st.lists(st.sampled_from(sorted(ALL_VERBS)), min_size=1, max_size=4, unique=True)
ON_ROLLED_BACK_DATABASE = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ON_ROLLED_BACK_DATABASE
@given(made=grants, asked=verbs, member=st.booleans(), standing=st.sampled_from(["member", "viewer"]))
def test_allows_and_visible_agree(
    world: World, made: list[Given], asked: list[str], member: bool, standing: str
) -> None:
    with transaction.atomic():
        world.ann.standing = standing
        if member:
            world.team.members.add(world.ann)
        for each in made:
            each.make(world)
        forget(world.ann)
        for model, rows in world.rows():
            for verb in asked:
                seen = list(visible(world.ann, verb, model._default_manager.all()))
                assert len(seen) == len(set(seen)), "no row twice"
                assert set(seen) == {row for row in rows if allows(world.ann, verb, row)}, (model, verb)
        transaction.set_rollback(True)
    forget(world.ann)


def _reached(world: World, asked: list[str]) -> set[tuple[str, str, object]]:
    forget(world.ann)
    return {
        (verb, model.__name__, pk)
        for model in MODELS
        for verb in asked
        for pk in visible(world.ann, verb, model._default_manager.all()).values_list("pk", flat=True)
    }


@ON_ROLLED_BACK_DATABASE
@given(made=grants, more=grants.filter(bool), asked=verbs)
def test_a_further_grant_takes_nothing_and_one_removed_gives_nothing(
    world: World, made: list[Given], more: list[Given], asked: list[str]
) -> None:
    with transaction.atomic():
        world.team.members.add(world.ann)
        for each in made:
            each.make(world)
        before = _reached(world, asked)
        further = [each.make(world) for each in more]
        after = _reached(world, asked)
        assert before <= after
        for grant in further:
            grant.delete()
            assert _reached(world, asked) <= after
        assert _reached(world, asked) == before
        transaction.set_rollback(True)
    forget(world.ann)


@ON_ROLLED_BACK_DATABASE
@given(one=grants.filter(lambda found: len(found) == 1), asked=verbs)
def test_no_grant_gives_more_than_it_says(world: World, one: list[Given], asked: list[str]) -> None:
    """Said once more, by the words of the grant alone."""
    (given_one,) = one
    with transaction.atomic():
        grant = given_one.make(world)
        held = grant.role.known_verbs if not given_one.to_team and not given_one.expired else frozenset()
        for container, verb in product(Container.objects.select_related("host", "image_name"), asked):
            place = given_one.environments is None or container.host.environment in [
                world.environments[n] for n in given_one.environments
            ]
            name = grant.scope.covers(*name_of(container.image_ref))
            whole = grant.scope.is_whole or verb not in WHOLE_VERBS
            assert allows(world.ann, verb, container) == (verb in held and place and name and whole)
        transaction.set_rollback(True)
    forget(world.ann)


def _grant(world: World, role: str, repositories: list[str], tags: list[str], *environments: int) -> Grant:
    return Given(role, False, environments or None, tuple(repositories), tuple(tags)).make(world)


def test_a_name_that_comes_later_is_covered_too(world: World) -> None:
    grant = _grant(world, "developer", ["shop/*"], ["dev-*"])
    names = [("docker.io/shop/new", "dev-9"), ("docker.io/shop/new", "v9"), ("docker.io/other/new", "dev-9")]
    found = intern(names)
    assert set(found) == set(names)
    assert set(grant.names.filter(pk__in=found.values()).values_list("repository", "tag")) == {names[0]}
    assert intern(names) == found
    assert ImageName.objects.filter(tag__in=["dev-9", "v9"]).count() == 3


def test_a_developer_reaches_just_their_tags_in_their_environment(world: World) -> None:
    _grant(world, "developer", ["shop/*"], ["dev-*"], 1)
    seen = visible(world.ann, "container.exec", Container.objects.all())
    assert sorted(seen.values_list("image_ref", flat=True)) == ["shop/db:dev-1", "shop/web:dev-1"]
    hosts = list(visible(world.ann, "host.see", Host.objects.all()))
    assert [host.name for host in hosts] == ["test site"]
    assert {container.host for container in seen} == set(hosts)
    staging = world.environments[1].pk
    assert allows(world.ann, "image.run", Place(staging, (("docker.io/shop/web", "dev-2"),)))
    assert not allows(world.ann, "image.run", Place(staging, (("docker.io/shop/web", "v2"),)))
    assert not allows(world.ann, "image.run", Place(staging)), "a bare id"
    assert not allows(world.ann, "image.run", Place(None, (("docker.io/shop/web", "dev-2"),)))


def test_what_is_ones_own_is_seen_but_gives_no_right_to_what_it_touches(world: World) -> None:
    _grant(world, "developer", ["none/*"], ["*"], 0)
    own = Operation.objects.filter(actor=world.ann)
    assert set(visible(world.ann, "operation.see", Operation.objects.all())) == set(own)
    for verb in ALL_VERBS - OWNER_VERBS:
        assert not visible(world.ann, verb, Operation.objects.all()).exists()
        assert not any(allows(world.ann, verb, row) for row in own)


@pytest.mark.usefixtures("clocks_aside")
def test_a_list_costs_the_same_whatever_is_granted(world: World) -> None:
    def queries() -> int:
        forget(world.ann)
        with CaptureQueriesContext(
            connection,
        ) as found:
            list(visible(world.ann, "container.see", Container.objects.select_related("host")))
        return len(found)

    _grant(world, "developer", ["shop/*"], ["dev-*"], 1)
    few = queries()
    for n in range(30):
        _grant(world, "viewer", [f"shop/{n}*"], ["*"], n % 3)
    assert queries() == few <= 3
