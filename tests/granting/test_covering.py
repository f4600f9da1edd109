"""What a grant would cover, told before it is made: right, quick, and of what the giver may see alone."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from containers.models import Container
from controlplane.access.decide import visible
from controlplane.access.models import ImageName, User
from controlplane.access.patterns import Scope
from controlplane.access.rights import forget
from controlplane.granting.covering import Coverage, cover
from hosts.models import Host
from images.models import Image, ImageTag
from tests.granting.conftest import Shop

pytestmark = pytest.mark.django_db


def covered(user: User, repositories: str, tags: str, *environments: int) -> Coverage:
    forget(user)
    return cover(user, Scope(tuple(repositories.split()), tuple(tags.split())), environments or None)


def counts(found: Coverage) -> tuple[int, int, int]:
    return found.images, found.containers, found.hosts


def test_an_administrator_is_told_of_everything(shop: Shop) -> None:
    found = covered(shop.ada, "shop/*", "dev-*", shop.staging.pk)
    assert counts(found) == (2, 2, 1)
    assert found.first_images == ["shop/db:dev-1", "shop/web:dev-1"]
    assert [container.image_ref for container in found.first_containers] == ["shop/web:dev-1", "shop/db:dev-1"]
    assert [host.name for host in found.first_hosts] == ["host-Staging"]
    assert counts(covered(shop.ada, "shop/*", "dev-*")) == (2, 6, 3)
    assert counts(covered(shop.ada, "**", "*")) == (4, 15, 3), "what has no name is a container, not a name"
    assert counts(covered(shop.ada, "** !nginx", "*")) == (3, 9, 3), "and only everything covers it"
    assert counts(covered(shop.ada, "none/*", "*")) == (0, 0, 3)


def test_nobody_is_told_of_what_they_may_not_see(shop: Shop) -> None:
    assert counts(covered(shop.sue, "**", "*", shop.staging.pk)) == (3, 3, 1), "nginx is not hers to see"
    assert counts(covered(shop.sue, "**", "*", shop.live.pk)) == (0, 0, 0)
    assert counts(covered(shop.sue, "**", "*")) == (3, 3, 1)
    assert counts(covered(shop.bob, "**", "*")) == (0, 0, 0)


@pytest.mark.parametrize("patterns", [("shop/*", "dev-*"), ("**", "*"), ("** !nginx", "v*"), ("**/web", "*")])
def test_it_is_what_the_grant_then_gives(shop: Shop, patterns: tuple[str, str]) -> None:
    said = covered(shop.ada, *patterns, shop.staging.pk)
    shop.grant(shop.bob, "viewer", shop.staging, repositories=patterns[0], tags=patterns[1])
    forget(shop.bob)
    assert visible(shop.bob, "container.see", Container.objects.all()).count() == said.containers
    tags = visible(shop.bob, "image.see", ImageTag.objects.exclude(reference=""))
    assert tags.values("image_name").distinct().count() == said.images


@pytest.mark.usefixtures("clocks_aside")
def test_ten_thousand_names_take_as_many_queries_as_four(shop: Shop) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            covered(shop.ada, "shop/* many/*", "*", shop.staging.pk)
        return len(found)

    few = queries()
    host = Host.objects.get(environment=shop.staging)
    names = ImageName.objects.bulk_create(
        ImageName(repository=f"docker.io/many/n{n % 100}", tag=f"v{n}") for n in range(10_000)
    )
    image = Image.objects.create(host=host, engine_id="sha256:many")
    ImageTag.objects.bulk_create(
        ImageTag(image=image, host=host, reference=f"{name}", image_name=name) for name in names
    )
    assert queries() == few <= 6
    assert covered(shop.ada, "many/*", "*", shop.staging.pk).images == 10_000
