"""Nobody gives what they do not have, whatever they do and in whatever order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.access import grant_actions as do
from controlplane.access.actions import open_invitation
from controlplane.access.giving import manageable, managed
from controlplane.access.models import Grant, Invitation, Role, Standing, Team, User
from controlplane.access.naming import cover_again
from controlplane.access.reach import Place
from controlplane.access.rights import Rights, forget, standing_and_grants
from controlplane.access.roles import ALL_VERBS, STANDING
from controlplane.lib.errors import Conflict, GantryError, InvalidArgument, NotFound, RightMissing
from hosts.models import Environment

pytestmark = pytest.mark.django_db

NAMES = [("docker.io/shop/web", "dev-1"), ("docker.io/shop/web", "v1"), ("docker.io/shop/db", "dev-1")]
NAMES += [("docker.io/library/nginx", "latest"), ("r.io/shop/web", "dev-1"), ("docker.io/shop/web", "")]
REPOSITORIES = [["**"], ["shop/*"], ["shop/web"], ["**/web"], ["r.io/**"], ["**", "!shop/db"], ["*"]]
TAGS = [["*"], ["dev-*"], ["v*"], ["*", "!v1"]]
ROLES = {
    "manager": ["access.manage", "container.see", "container.logs"],
    "seer": ["container.see", "image.see", "host.see"],
    "entering": ["container.see", "container.exec", "image.run"],
    "keeper": ["host.manage", "access.manage", "container.exec", "container.see"],
}


@dataclass
class World:
    giver: User
    mate: User
    other: User
    team: Team
    environments: list[Environment]
    roles: dict[str, Role]

    @property
    def people(self) -> list[User]:
        return [self.giver, self.mate, self.other]

    def places(self) -> Iterator[Place]:
        for environment in (*self.environments, None):
            pk = environment.pk if environment else None
            yield Place(pk)
            yield Place(pk, any_image=True)
            yield from (Place(pk, (name,)) for name in NAMES)

    def held(self, user: User) -> set[tuple[str, Place | None]]:
        rights = Rights(user.pk, (standing_and_grants(User.objects.get(pk=user.pk)),))
        found: set[tuple[str, Place | None]] = {(verb, None) for verb in ALL_VERBS if rights.hold(verb)}
        verbs = {verb for verb, _ in found}
        return found | {(v, place) for v, place in product(verbs, self.places()) if rights.allow(v, place)}

    def grant(self, holder: User | Team, role: str, environments: list[int] | None, *patterns: list[str]) -> Grant:
        repositories, tags = patterns or (["**"], ["*"])
        key = "team" if isinstance(holder, Team) else "user"
        grant = Grant.objects.create(
            **{key: holder},
            role=self.roles[role],
            every_environment=environments is None,
            repositories=repositories,
            tags=tags,
        )
        grant.environments.set([self.environments[n] for n in environments or ()])
        cover_again(grant)
        for user in self.people:
            forget(user)
        return grant

    def asked(self, role: str, environments: list[int] | None, *patterns: list[str], **more: Any) -> do.Asked:
        repositories, tags = patterns or (["**"], ["*"])
        ids = None if environments is None else frozenset(self.environments[n].pk for n in environments)
        return do.Asked(self.roles[role], ids, repositories, tags, **more)


@pytest.fixture
def world(db: None) -> World:
    giver, mate, other = (User.objects.create(username=name) for name in ("giver", "mate", "other"))
    team = Team.objects.create(name="t", slug="t")
    team.members.add(mate)
    environments = [Environment.objects.create(name=n, slug=n) for n in ("dev", "live")]
    roles = {slug: Role.objects.create(name=slug, slug=slug, verbs=verbs) for slug, verbs in ROLES.items()}
    return World(giver, mate, other, team, environments, roles)


environments = st.one_of(st.none(), st.lists(st.integers(0, 1), min_size=1, max_size=2, unique=True))
what = st.tuples(st.sampled_from(sorted(ROLES)), environments, st.sampled_from(REPOSITORIES), st.sampled_from(TAGS))
whole = st.tuples(st.sampled_from(["manager", "keeper"]), environments, st.just(["**"]), st.just(["*"]))
holders = st.sampled_from(["giver", "mate", "other", "team"])
verbs = st.lists(st.sampled_from(sorted(ALL_VERBS)), max_size=3)
acts = st.one_of(
    st.tuples(st.just("give"), holders, what),
    st.tuples(st.just("change"), st.integers(0, 5), what),
    st.tuples(st.just("remove"), st.integers(0, 5)),
    st.tuples(st.just("join"), st.sampled_from(["giver", "other"])),
    st.tuples(st.just("role"), st.sampled_from(sorted(ROLES)), verbs),
    st.tuples(st.just("person"), st.sampled_from(["mate", "other"]), st.sampled_from(Standing.values), st.booleans()),
)


def act(world: World, asked: Any) -> None:
    grants = list(Grant.objects.order_by("pk"))
    match asked:
        case ("give", holder, wanted):
            do.give(world.giver, getattr(world, holder), world.asked(*wanted))
        case ("change", n, wanted) if grants:
            do.change_grant(world.giver, grants[n % len(grants)], world.asked(*wanted))
        case ("remove", n) if grants:
            do.remove_grant(world.giver, grants[n % len(grants)])
        case ("join", who):
            do.add_members(world.giver, world.team, [getattr(world, who)])
        case ("role", slug, verbs):
            role = world.roles[slug]
            do.change_role(world.giver, role, role.name, "", {*ROLES[slug], *verbs})
            role.refresh_from_db()
        case ("person", who, standing, active):
            person = getattr(world, who)
            do.change_person(world.giver, person, standing, active)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    own=st.lists(whole, min_size=1, max_size=2),
    more=st.lists(what, max_size=2),
    there=st.lists(st.tuples(holders, what), max_size=3),
    todo=st.lists(acts, min_size=1, max_size=5),
)
def test_nobody_comes_to_hold_what_the_giver_did_not(world: World, own: Any, more: Any, there: Any, todo: Any) -> None:
    with transaction.atomic():
        for each in (*own, *more):
            world.grant(world.giver, *each)
        for holder, each in there:
            world.grant(getattr(world, holder), *each)
        for each in todo:
            before = {user: world.held(user) for user in world.people}
            try:
                act(world, each)
            except GantryError:
                assert {user: world.held(user) for user in world.people} == before, "a refusal changes nothing"
                continue
            for user in world.people:
                user.refresh_from_db()
                assert world.held(user) - before[user] <= before[world.giver], each
        transaction.set_rollback(True)
    for user in world.people:
        user.refresh_from_db()
        forget(user)
    for role in world.roles.values():
        role.refresh_from_db()


def test_whoever_manages_one_environment_gives_there_what_they_have(world: World) -> None:
    world.grant(world.giver, "manager", [0])
    world.grant(world.giver, "entering", None, ["shop/*"], ["dev-*"])
    made = do.give(world.giver, world.mate, world.asked("entering", [0], ["shop/web"], ["dev-*"]))
    assert list(manageable(world.giver)) == [made, Grant.objects.filter(role=world.roles["manager"]).get()]
    for wanted in (
        world.asked("entering", [1], ["shop/web"], ["dev-*"]),  # holds it there, does not manage there
        world.asked("entering", [0, 1], ["shop/web"], ["dev-*"]),
        world.asked("entering", None, ["shop/web"], ["dev-*"]),
        world.asked("entering", [0], ["shop/web"], ["*"]),
        world.asked("entering", [0], ["shop/**"], ["dev-*"]),
        world.asked("keeper", [0], ["shop/web"], ["dev-*"]),
    ):
        with pytest.raises(RightMissing):
            do.give(world.giver, world.mate, wanted)
        with pytest.raises(RightMissing):
            do.change_grant(world.giver, made, wanted)
    do.change_grant(world.giver, made, world.asked("entering", [0], ["shop/db"], ["dev-1"]))
    do.remove_grant(world.giver, made)


def test_single_grants_add_up_over_environments(world: World) -> None:
    for n in (0, 1):
        world.grant(world.giver, "manager", [n])
        world.grant(world.giver, "entering", [n], ["shop/*"], ["*"])
    do.give(world.giver, world.mate, world.asked("entering", [0, 1], ["shop/web"], ["*"]))
    with pytest.raises(RightMissing):
        do.give(world.giver, world.mate, world.asked("entering", None, ["shop/web"], ["*"]))


def test_what_lies_beyond_is_neither_seen_nor_touched(world: World) -> None:
    world.grant(world.giver, "manager", [0])
    beyond = [
        world.grant(world.mate, "seer", [1]),
        world.grant(world.mate, "seer", [0, 1]),
        world.grant(world.mate, "seer", None),
        world.grant(world.mate, "seer", []),
    ]
    assert managed(world.giver) == frozenset([world.environments[0].pk])
    assert not manageable(world.giver).filter(pk__in=[each.pk for each in beyond]).exists()
    for each in beyond:
        with pytest.raises(RightMissing):
            do.remove_grant(world.giver, each)
        with pytest.raises(RightMissing):
            do.change_grant(world.giver, each, world.asked("seer", [0]))
    for refused in (
        lambda: do.create_team(world.giver, "new"),
        lambda: do.add_members(world.giver, world.team, [world.other]),
        lambda: do.remove_member(world.giver, world.team, world.mate),
        lambda: do.change_team(world.giver, world.team, "new", ""),
        lambda: do.remove_team(world.giver, world.team),
        lambda: do.create_role(world.giver, "new", "", []),
        lambda: do.change_role(world.giver, world.roles["seer"], "new", "", []),
        lambda: do.remove_role(world.giver, world.roles["seer"]),
        lambda: do.change_person(world.giver, world.mate, Standing.MEMBER, False),
        lambda: do.invite(world.giver, Standing.MEMBER),
    ):
        with pytest.raises(RightMissing, match=r"access\.manage"):
            refused()


def test_managing_over_some_images_is_managing_nothing(world: World) -> None:
    world.grant(world.giver, "manager", None, ["**", "!none/none"], ["*"])
    with pytest.raises(RightMissing):
        manageable(world.giver)


def test_what_is_given_does_not_outlast_what_is_held(world: World) -> None:
    soon: datetime = timezone.now() + timedelta(hours=1)
    world.grant(world.giver, "manager", [0])
    held = world.grant(world.giver, "entering", [0])
    Grant.objects.filter(pk=held.pk).update(expires_at=soon)
    for until in (None, soon + timedelta(seconds=1)):
        with pytest.raises(RightMissing):
            do.give(world.giver, world.mate, world.asked("entering", [0], expires_at=until))
        with pytest.raises(RightMissing):
            do.change_grant(world.giver, held, world.asked("entering", [0], expires_at=until))
    do.give(world.giver, world.mate, world.asked("entering", [0], expires_at=soon))


def test_a_wider_role_and_a_fuller_team_are_given_too(world: World) -> None:
    world.grant(world.giver, "manager", None)
    world.grant(world.giver, "seer", None)
    world.grant(world.team, "entering", [1])
    entering, seer = world.roles["entering"], world.roles["seer"]
    with pytest.raises(RightMissing, match=r"container\.exec"):
        do.add_members(world.giver, world.team, [world.giver])
    with pytest.raises(RightMissing, match=r"container\.exec"):
        do.change_team(world.giver, world.team, "t", "everybody")
    with pytest.raises(RightMissing, match=r"container\.remove"):
        do.change_role(world.giver, entering, "entering", "", [*entering.verbs, "container.remove"])
    do.change_role(world.giver, entering, "entering", "", ["container.see"])
    do.add_members(world.giver, world.team, [world.other])
    do.change_role(world.giver, seer, "seer", "", [*seer.verbs, "container.logs"])
    with pytest.raises(RightMissing):
        do.change_role(world.giver, seer, "seer", "", [*seer.verbs, "container.exec"])


def test_a_standing_is_given_and_taken_by_whoever_has_it(world: World) -> None:
    world.grant(world.giver, "manager", None)
    boss = User.objects.create(username="boss", standing=Standing.ADMINISTRATOR)
    User.objects.create(username="second", standing=Standing.ADMINISTRATOR)
    for person, standing, active in (
        (world.mate, Standing.ADMINISTRATOR, True),
        (world.mate, Standing.VIEWER, True),
        (world.giver, Standing.ADMINISTRATOR, True),
        (boss, Standing.MEMBER, True),
        (boss, Standing.ADMINISTRATOR, False),
    ):
        with pytest.raises(RightMissing):
            do.change_person(world.giver, person, standing, active)
    with pytest.raises(RightMissing):
        do.invite(world.giver, Standing.ADMINISTRATOR)
    do.invite(world.giver, Standing.MEMBER)
    do.change_person(world.giver, world.mate, Standing.MEMBER, False)
    world.grant(world.mate, "entering", None)
    with pytest.raises(RightMissing):
        do.change_person(world.giver, world.mate, Standing.MEMBER, True)
    do.change_person(boss, world.mate, Standing.VIEWER, True)


def test_an_invitation_is_good_while_its_maker_could_make_it(world: World) -> None:
    world.grant(world.giver, "manager", [0])
    for standing in STANDING:
        _, token = Invitation.issue(standing, created_by=world.giver)
        with pytest.raises(NotFound):
            open_invitation(token)
    world.grant(world.giver, "manager", None)
    _, token = Invitation.issue(Standing.ADMINISTRATOR, created_by=world.giver)
    with pytest.raises(NotFound):
        open_invitation(token)
    _, token = Invitation.issue(Standing.MEMBER, created_by=world.giver)
    assert open_invitation(token).standing == Standing.MEMBER


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create(username="ada", standing=Standing.ADMINISTRATOR)


def test_roles_that_are_built_in_or_in_use_stay(world: World, ada: User) -> None:
    viewer = Role.objects.get(slug="viewer")
    with pytest.raises(Conflict, match="built in"):
        do.change_role(ada, viewer, "Viewer", "", ALL_VERBS)
    with pytest.raises(Conflict, match="built in"):
        do.remove_role(ada, viewer)
    world.grant(world.team, "seer", None)
    world.grant(world.mate, "seer", [0])
    with pytest.raises(Conflict, match="in use: by grants to mate, t"):
        do.remove_role(ada, world.roles["seer"])
    do.remove_role(ada, world.roles["keeper"])
    assert not Role.objects.filter(slug="keeper").exists()


def test_verbs_of_another_gantry_stay_in_a_role(world: World, ada: User) -> None:
    role = Role.objects.create(name="later", slug="later", verbs=["container.see", "moon.land"])
    do.change_role(ada, role, "later", "", ["container.logs"])
    role.refresh_from_db()
    assert role.verbs == ["container.logs", "moon.land"]
    with pytest.raises(InvalidArgument, match=r"moon\.land"):
        do.create_role(ada, "new", "", ["moon.land"])


@pytest.mark.parametrize(
    ("environments", "repositories", "tags", "until"),
    [
        ([], ["**"], ["*"], None),
        ([0], [], ["*"], None),
        ([0], ["!shop/*"], ["*"], None),
        ([0], ["a b"], ["["], None),
        ([0], ["**"], ["*"], -1),
    ],
)
def test_what_is_no_grant_is_refused(
    world: World, ada: User, environments: list[int], repositories: list[str], tags: list[str], until: int | None
) -> None:
    expires_at = None if until is None else timezone.now() + timedelta(seconds=until)
    with pytest.raises(InvalidArgument):
        do.give(ada, world.mate, world.asked("seer", environments, repositories, tags, expires_at=expires_at))
    assert not Grant.objects.exists()


def test_what_has_gone_leaves_nothing_wider_behind(world: World, ada: User) -> None:
    """An environment that is removed takes its part of each grant along; none becomes one over every environment."""
    world.grant(world.giver, "manager", [0, 1])
    grant = world.grant(world.mate, "seer", [0])
    world.environments[0].delete()
    assert world.held(world.mate) == set()
    assert grant not in manageable(world.giver)
    assert grant in manageable(ada)
