"""Lists cost a member with many grants the same number of queries, whatever they hold: for 10 rows as for 1,000."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from containers.models import Container
from controlplane.access.models import User
from controlplane.access.naming import intern
from controlplane.operations.models import Operation, State
from hosts.models import Environment, Host, HostState
from images.builds.models import Build, Definition
from images.models import Image, ImageTag
from tests.security.tenants import UNUSABLE, give

MANY = 1000
PAGES = [
    "/",
    "/hosts/",
    "/hosts/?sort=-containers",
    "/hosts/environments/",
    "/containers/?size=250",
    "/containers/?q=web&sort=-host",
    "/images/?size=250",
    "/images/?show=used&sort=-users",
    "/builds/?size=250",
    "/builds/definitions/",
    "/operations/?size=250",
    "/operations/?q=web",
    "/containers/run/",
    "/images/pull/",
    "/builds/new/",
]


@pytest.fixture
def member(db: None, clocks_aside: None) -> Client:
    """Twenty grants over tags, in as many environments."""
    user = User.objects.create(username="dev", password=UNUSABLE)
    for n in range(20):
        environment = Environment.objects.create(name=f"Site {n}", slug=f"site-{n}", position=n)
        give(user, "developer", environment, [f"shop/{n}*", "shop/web*"], ["dev-*"])
        Host.objects.create(
            name=f"host-{n}",
            environment=environment,
            public_key=f"{n}",
            state=HostState.CONNECTED,
            labels={"builder": f"pool-{n % 4}"},
        )
    client = Client()
    client.force_login(user)
    client.get("/")  # the first request of a session writes down where it comes from
    return client


def _fill(start: int, stop: int) -> None:
    """So many of everything, a third of it nothing that the member may see."""
    hosts = list(Host.objects.order_by("pk"))
    other = User.objects.get_or_create(username="other", defaults={"password": UNUSABLE})[0]
    pairs = [(f"docker.io/shop/web{n}", "v1" if n % 3 == 0 else "dev-1") for n in range(start, stop)]
    names = intern(pairs)
    for n, (repository, tag) in zip(range(start, stop), pairs, strict=True):
        of: dict[str, Any] = {"host": hosts[n % len(hosts)], "image_name_id": names[repository, tag]}
        reference = f"shop/web{n}:{tag}"
        image = Image.objects.create(host=of["host"], engine_id=f"sha256:{n:064x}", size=n)
        ImageTag.objects.create(image=image, reference=reference, repository=f"shop/web{n}", tag=tag, **of)
        Container.objects.create(
            engine_id=f"{n:064x}",
            name=f"web-{n}",
            image_ref=reference,
            image_id=image.engine_id,
            state="running",
            created_at=timezone.now(),
            **of,
        )
        done = {"actor": other, "actor_name": "other", "state": State.SUCCEEDED, "host_name": of["host"].name}
        Operation.objects.create(kind="container.stop", title=f"Stop web-{n}", target_kind="container", **done, **of)
        build = Operation.objects.create(kind="image.build", title=f"Build web-{n}", target_kind="build", **done, **of)
        source = {"kind": "typed"}
        definition = Definition.objects.create(name=f"web {n}", slug=f"web-{n}", owner=other, source=source, **of)
        made = {"image_id": image.engine_id, "tags": [reference], "size": n, "source": source}
        Build.objects.create(operation=build, definition=definition, number=1, **made)


def _queries(client: Client) -> Callable[[str], int]:
    def count(path: str) -> int:
        with CaptureQueriesContext(connection) as found:
            assert client.get(path).status_code == 200, path
        return len(found)

    return count


def test_lists_cost_the_same_for_ten_rows_and_a_thousand(member: Client) -> None:
    count = _queries(member)
    _fill(0, 10)
    few = {path: count(path) for path in PAGES}
    assert member.get("/containers/").context["listing"].total == 6
    _fill(10, MANY)
    assert member.get("/containers/").context["listing"].total == MANY - len(range(0, MANY, 3))
    many = {path: count(path) for path in PAGES}
    assert many == few
    assert max(many.values()) <= 25, many


def test_one_host_costs_the_same_whatever_lies_on_it(member: Client) -> None:
    count, host = _queries(member), Host.objects.order_by("pk")[0]
    _fill(0, 10)
    few = count(f"/hosts/{host.pk}/")
    _fill(10, 300)
    assert count(f"/hosts/{host.pk}/") == few
