"""The list of images: grouped over hosts, searched, filtered, sorted, paged; cheap at any size."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from containers.models import Container
from controlplane.access.models import Standing, User
from hosts.models import Environment, Host
from images.models import Image, ImageTag
from tests.images.working import hold, make_host, use

pytestmark = pytest.mark.django_db

NGINX, REDIS, OLD = (f"sha256:{digit * 64}" for digit in "abc")


@pytest.fixture
def client(administrator: User) -> Client:
    client = Client()
    client.force_login(administrator)
    return client


@pytest.fixture
def fleet() -> dict[str, Host]:
    """nginx on both hosts (used on one), redis on one, and a nameless image that nobody uses."""
    production, _ = Environment.objects.get_or_create(slug="production", defaults={"name": "Production"})
    one, two = make_host("one", environment=production), make_host("two")
    hold(one, NGINX, "nginx:1.27", "shop/web:2", size=3000)
    hold(two, NGINX, "nginx:1.27", size=3000)
    hold(two, REDIS, "redis:7", size=2000)
    hold(two, OLD, size=1000, digests=("quay.io/x/tool@sha256:00",))
    use(one, NGINX, "web-1")
    use(one, NGINX, "web-2")
    return {"one": one, "two": two}


def rows(client: Client, **query: str) -> list[tuple[str, int, int]]:
    response = client.get("/images/", query)
    assert response.status_code == 200
    return [(row.reference, row.host_count, row.user_count) for row in response.context["rows"]]


def test_one_row_for_each_name_and_image_over_all_hosts(client: Client, fleet: dict[str, Host]) -> None:
    assert rows(client) == [("", 1, 0), ("nginx:1.27", 2, 2), ("redis:7", 1, 0), ("shop/web:2", 1, 2)]


def test_the_same_name_for_different_images_makes_two_rows(client: Client) -> None:
    hold(make_host("one"), NGINX, "app:1")
    hold(make_host("two"), REDIS, "app:1")
    assert rows(client) == [("app:1", 1, 0), ("app:1", 1, 0)]


def test_a_row_names_hosts_and_users(client: Client, fleet: dict[str, Host]) -> None:
    row = next(row for row in client.get("/images/").context["rows"] if row.reference == "nginx:1.27")
    assert [host.name for host in row.hosts] == ["one", "two"]
    assert [user.name for user in row.users] == ["web-1", "web-2"]


def test_a_user_of_the_image_on_another_host_is_no_user_of_the_name_here(client: Client) -> None:
    one, two = make_host("one"), make_host("two")
    hold(one, NGINX, "mine:1")
    hold(two, NGINX, "theirs:1")
    use(two, NGINX, "web-1")
    assert rows(client) == [("mine:1", 1, 0), ("theirs:1", 1, 1)]
    mine, theirs = client.get("/images/").context["rows"]
    assert mine.users == []
    assert [user.name for user in theirs.users] == ["web-1"]


def test_an_image_pulled_by_digest_shows_where_it_came_from(client: Client, fleet: dict[str, Host]) -> None:
    response = client.get("/images/", {"show": "dangling"})
    assert [row.name for row in response.context["rows"]] == ["quay.io/x/tool"]
    assert "no tag" in response.content.decode()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"q": "ngi"}, ["nginx:1.27"]),
        ({"q": "sha256:bbbb"}, ["redis:7"]),
        ({"q": "BBBB"}, ["redis:7"]),
        ({"q": "one web"}, ["shop/web:2"]),
        ({"environment": "production"}, ["nginx:1.27", "shop/web:2"]),
        ({"show": "unused"}, ["", "redis:7"]),
        ({"show": "used"}, ["nginx:1.27", "shop/web:2"]),
        ({"show": "dangling"}, [""]),
        ({"sort": "-size"}, ["shop/web:2", "nginx:1.27", "redis:7", ""]),
        ({"sort": "-hosts"}, ["nginx:1.27", "shop/web:2", "redis:7", ""]),
        ({"sort": "users"}, ["", "redis:7", "nginx:1.27", "shop/web:2"]),
        ({"sort": "image__host__public_key"}, ["", "nginx:1.27", "redis:7", "shop/web:2"]),
        ({"page": "nonsense", "size": "25"}, ["", "nginx:1.27", "redis:7", "shop/web:2"]),
    ],
)
def test_search_filter_and_order_are_in_the_address(
    client: Client, fleet: dict[str, Host], query: dict[str, str], found: list[str]
) -> None:
    listed = [reference for reference, _, _ in rows(client, **query)]
    assert (listed if "sort" in query else sorted(listed)) == found


def test_a_host_narrows_the_counts_too(client: Client, fleet: dict[str, Host]) -> None:
    host = str(fleet["two"].pk)
    assert rows(client, host=host) == [("", 1, 0), ("nginx:1.27", 1, 0), ("redis:7", 1, 0)]
    assert ("nginx:1.27", 1, 0) in rows(client, host=host, show="unused")


def test_a_viewer_sees_the_list_without_anything_to_press(fleet: dict[str, Host]) -> None:
    viewer = Client()
    viewer.force_login(User.objects.create_user("vic", password="x", standing=Standing.VIEWER))
    page = viewer.get("/images/").content.decode()
    assert "nginx" in page
    for word in ("/images/pull/", 'value="|sha256', "/containers/run/"):
        assert word not in page


def test_names_are_shown_as_text_whatever_they_are(client: Client) -> None:
    hold(make_host("one"), NGINX, "<script>alert(1)</script>:1")
    assert "<script>alert" not in client.get("/images/").content.decode()


@pytest.mark.usefixtures("clocks_aside")
def test_the_number_of_queries_does_not_grow(client: Client, fleet: dict[str, Host]) -> None:
    client.get("/images/")  # the first request of a session notes the browser
    with CaptureQueriesContext(connection) as few:
        client.get("/images/")
    hosts = [make_host(f"host-{n:02}") for n in range(20)]
    now = datetime.now(UTC)
    images = Image.objects.bulk_create(
        Image(host=host, engine_id=f"sha256:{n:064x}", size=n, created_at=now - timedelta(hours=n))
        for host in hosts
        for n in range(500)
    )
    ImageTag.objects.bulk_create(
        ImageTag(
            host_id=image.host_id, image=image, reference=f"app:{image.size}", repository="app", tag=str(image.size)
        )
        for image in images
    )
    Container.objects.bulk_create(
        Container(host=host, engine_id=f"c{n}", name=f"c{n}", image_id=f"sha256:{n % 500:064x}", state="running")
        for host in hosts
        for n in range(100)
    )
    with CaptureQueriesContext(connection) as many:
        response = client.get("/images/", {"q": "app", "show": "used", "sort": "-users"})
    assert response.context["listing"].total == 100
    assert response.context["rows"][0].more_hosts == 18
    assert len(many) == len(few)
