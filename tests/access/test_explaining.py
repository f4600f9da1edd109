"""An explanation gives the answer of the decision itself, and names what is missing, the nearest first."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings

from containers.models import Container
from controlplane.access.decide import allows
from controlplane.access.explaining import explain
from controlplane.access.models import Grant, Standing
from controlplane.access.reach import Place, place_of
from controlplane.access.rights import Held, Rights, forget, rights_of
from controlplane.access.wording import in_words
from tests.access.test_grants import Given, World, _grant, grants, verbs, world

__all__ = ["world"]
pytestmark = pytest.mark.django_db


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=grants, asked=verbs)
def test_it_is_the_answer_of_the_decision(world: World, made: list[Given], asked: list[str]) -> None:
    places = {place_of(row) for _, rows in world.rows() for row in rows}
    with transaction.atomic():
        world.team.members.add(world.ann)
        for each in made:
            each.make(world)
        forget(world.ann)
        for verb in asked:
            assert explain(world.ann, verb).allowed == allows(world.ann, verb)
            for place in places:
                assert explain(world.ann, verb, place).allowed == allows(world.ann, verb, place), (place, verb)
        transaction.set_rollback(True)
    forget(world.ann)


def why(world: World, verb: str, *name: str, environment: int | None = 1) -> str:
    pk = None if environment is None else world.environments[environment].pk
    return explain(world.ann, verb, Place(pk, (tuple(name),) if name else ())).sentence("it")  # type: ignore[arg-type]


WEB = "docker.io/shop/web"


def test_each_thing_that_can_be_missing_is_named(world: World) -> None:
    assert "there is no grant" in why(world, "container.exec", WEB, "dev-1")
    grant = _grant(world, "developer", ["shop/*", "!shop/secret"], ["dev-*", "!dev-0"], 1)
    for name, words in (
        ((WEB, "dev-1"), "ann may open terminals in containers (container.exec) on it: the grant of Developer to them"),
        ((WEB, "v1"), "the tag v1 is not covered by dev-*."),
        ((WEB, "dev-0"), "the tag dev-0 is excepted by !dev-0."),
        ((WEB, ""), "an image named by digest, without a tag, is not covered by dev-*."),
        (("docker.io/shop/secret", "dev-1"), "the repository docker.io/shop/secret is excepted by !shop/secret."),
        (("docker.io/library/nginx", "dev-1"), "the repository docker.io/library/nginx is not covered by shop/*."),
        ((), "the image has no name"),
    ):
        assert words in why(world, "container.exec", *name)
    assert "it holds in test site alone." in why(world, "container.exec", WEB, "dev-1", environment=2)
    assert "it holds in test site alone." in why(world, "container.exec", WEB, "dev-1", environment=None)
    assert "Developer does not include container.secrets." in why(world, "container.secrets", WEB, "dev-1")
    _grant(world, "maintainer", ["shop/*"], ["*"], 1)
    assert "host.manage is given only by a grant over every" in why(world, "host.manage")
    Grant.objects.exclude(pk=grant.pk).delete()
    Grant.objects.update(expires_at=timezone.now() - timedelta(days=1))
    forget(world.ann)
    assert "it ended on" in why(world, "container.exec", WEB, "dev-1")
    grant.environments.clear()
    assert "its environments have been removed" in why(world, "container.exec", WEB, "dev-1")


def test_the_nearest_miss_comes_first(world: World) -> None:
    _grant(world, "operator", ["other/*"], ["*"], 0)
    near = _grant(world, "developer", ["shop/*"], ["v*"], 1)
    _grant(world, "developer", ["other/*"], ["*"], 1)
    world.ann.standing = Standing.VIEWER
    found = explain(world.ann, "container.exec", Place(world.environments[1].pk, ((WEB, "dev-1"),)))
    assert not found.allowed
    assert found.lines[0].grant == near
    distances = [line.distance for line in found.lines]
    assert distances == sorted(distances)


def test_the_account_and_the_token_have_their_say(world: World) -> None:
    world.ann.standing = Standing.ADMINISTRATOR
    assert "the standing of administrator gives it" in why(world, "container.exec", WEB, "dev-1")
    narrowed = Rights(world.ann.pk, (*_layers(world), (Held(frozenset({"container.see"})),)))
    world.ann._rights = (float("inf"), narrowed)  # type: ignore[attr-defined]
    assert "the token in use does not carry it" in why(world, "container.exec", WEB, "dev-1")
    assert explain(world.ann, "container.see", Container.objects.first()).allowed
    forget(world.ann)
    world.ann.is_active = False
    assert "the account is deactivated" in why(world, "container.see", WEB, "dev-1")


def _layers(world: World) -> Any:
    forget(world.ann)
    return rights_of(world.ann).layers


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        ("**", "every repository"),
        ("docker.io/**", "every repository on Docker Hub"),
        ("nginx", "the repository nginx on Docker Hub"),
        ("*", "official images on Docker Hub"),
        ("shop/*", "repositories directly below shop on Docker Hub"),
        ("shop/**", "everything below shop, at any depth on Docker Hub"),
        ("r.io/shop/w*", "repositories directly below r.io/shop that begin with w"),
        ("**/web", "every repository named web, in any registry and at any depth"),
        ("shop/*/web", "repositories like shop/*/web on Docker Hub"),
        ("** !**/secret", "every repository, except every repository named secret, in any registry and at any depth"),
        ("r.io/a r.io/b", "the repository r.io/a and the repository r.io/b"),
    ],
)
def test_repositories_in_words(patterns: str, words: str) -> None:
    assert in_words(patterns.split(), "repository") == words


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        ("*", "every tag"),
        ("dev-*", "tags that begin with dev-"),
        ("*-dev", "tags that end with -dev"),
        ("*dev*", "tags that have dev in them"),
        ("v*.*", "tags like v*.*"),
        ("* !latest", "every tag, except the tag latest"),
    ],
)
def test_tags_in_words(patterns: str, words: str) -> None:
    assert in_words(patterns.split(), "tag") == words
