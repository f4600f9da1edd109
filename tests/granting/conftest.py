"""Hosts in two environments with images and containers; an administrator, one who manages staging, somebody else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from django.test import Client

from containers.models import Container
from controlplane.access.models import Grant, Role, Standing, Team, User
from controlplane.access.naming import cover_again, intern_one
from hosts.models import Environment, Host, HostState
from images.models import Image, ImageTag

REFERENCES = ["shop/web:dev-1", "shop/web:v1", "shop/db:dev-1", "nginx:1", "sha256:" + "a" * 64]


@dataclass
class Shop:
    """The rows, and a browser for each of the people."""

    ada: User
    sue: User  # manages staging, and enters shop/* there
    bob: User
    team: Team
    staging: Environment
    live: Environment

    def browser(self, user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    def grant(
        self, holder: User | Team, role: str, *environments: Environment, repositories: str = "**", tags: str = "*"
    ) -> Grant:
        """Made without asking anybody; no environments: every one."""
        grant = Grant.objects.create(
            **({"team": holder} if isinstance(holder, Team) else {"user": holder}),
            role=Role.objects.get(slug=role),
            every_environment=not environments,
            repositories=repositories.split(),
            tags=tags.split(),
        )
        grant.environments.set(environments)
        cover_again(grant)
        return grant

    def form(self, holder: User | Team, role: str, *environments: Environment, **more: str) -> dict[str, object]:
        """What the form of a grant sends."""
        kind = "team" if isinstance(holder, Team) else "user"
        return {
            "holder": f"{kind}:{holder.pk}",
            "role": str(Role.objects.get(slug=role).pk),
            "environments": [str(each.pk) for each in environments],
            "repositories": "**",
            "tags": "*",
            **more,
        }


def fill(host: Host, references: list[str]) -> None:
    """An image and a container of each."""
    for n, reference in enumerate(references):
        name = intern_one(reference)
        image = Image.objects.create(host=host, engine_id=f"sha256:{n}")
        ImageTag.objects.create(image=image, host=host, reference=reference if name else "", image_name_id=name)
        Container.objects.create(
            host=host, engine_id=f"{n}", name=f"c{n}", image_ref=reference, image_name_id=name, state="running"
        )


@pytest.fixture
def shop(db: None) -> Shop:
    return make_shop()


def make_shop() -> Shop:
    ada = User.objects.create(username="ada", password="!", standing=Standing.ADMINISTRATOR)
    sue, bob = (User.objects.create(username=name, password="!") for name in ("sue", "bob"))
    team = Team.objects.create(name="Shop team", slug="shop-team")
    staging, live = (
        Environment.objects.get_or_create(slug=slug, defaults={"name": slug.title()})[0]
        for slug in ("staging", "production")
    )
    for environment in (staging, live, None):
        host = Host.objects.create(
            name=f"host-{environment or 'none'}", environment=environment, state=HostState.CONNECTED, public_key="k"
        )
        fill(host, REFERENCES)
    Role.objects.create(name="Keys", slug="keys", verbs=["access.manage"])
    found = Shop(ada, sue, bob, team, staging, live)
    found.grant(sue, "keys", staging)
    found.grant(sue, "developer", staging, repositories="shop/*")
    return found
