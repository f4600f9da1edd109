"""What is shared by a name: definitions and builds; and what a name in an error tells."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from controlplane.access.models import ImageName, User
from controlplane.operations.models import Operation
from images.builds.models import Build, Definition
from images.builds.naming import filed_under
from images.work import _used_by
from tests.security.tenants import UNUSABLE, Tenants, give


@pytest.fixture
def mate(tenants: Tenants) -> Client:
    """Another developer of the same images."""
    user = User.objects.create(username="mate", password=UNUSABLE)
    give(user, "developer", tenants.own.environment, ["shop/web"], ["dev-*"])
    client = Client()
    client.force_login(user)
    return client


def test_a_team_shares_the_definitions_of_its_images(mate: Client, tenants: Tenants) -> None:
    rows = mate.get("/builds/definitions/").context["listing"].rows
    assert [definition.name for definition in rows] == ["shop-web"]
    address = tenants.own.definition.get_absolute_url()
    assert mate.get(address).context["can_build"]
    assert mate.post(f"{address}build/").status_code == 302
    assert Operation.objects.latest("pk").actor == User.objects.get(username="mate")


def test_one_that_is_given_another_name_is_shared_no_more(mate: Client, tenants: Tenants) -> None:
    address = tenants.own.definition.get_absolute_url()
    give(tenants.developer, "developer", tenants.own.environment, ["shop/web"], ["v9"])
    developer = Client()
    developer.force_login(tenants.developer)
    form = {"name": "shop-web", "kind": "typed", "dockerfile": "FROM scratch", "tags": "shop/web:v9"}
    where = {"where": f"host:{tenants.own.host.pk}", "concurrency": "queue"}
    assert developer.post(f"{address}edit/", form | where).status_code == 302
    found = Definition.objects.get(pk=tenants.own.definition.pk)
    assert (found.host, str(found.image_name)) == (tenants.own.host, "docker.io/shop/web:v9")
    assert mate.get(address).status_code == 404
    assert developer.get(address).status_code == 200, "it is still their own"


def test_a_build_shows_of_its_names_those_one_sees(mate: Client, tenants: Tenants) -> None:
    Build.objects.filter(pk=tenants.own.build.pk).update(tags=["shop/web:dev-1", "shop/web:v1"])
    for path in ("/builds/", f"/builds/{tenants.own.build.operation_id}/", tenants.own.definition.get_absolute_url()):
        page = mate.get(path).content.decode()
        assert "shop/web:dev-1" in page or path.startswith("/builds/definitions")
        assert "shop/web:v1" not in page, path


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("tags", "name"),
    [
        (["shop/web:dev-1"], "docker.io/shop/web:dev-1"),
        (["shop/web:dev-1", "shop/web:latest"], "docker.io/shop/web:dev-1"),
        (["shop/web:dev-1", "other/web:dev-1"], None),
        (["shop/web:dev-1", "shop/web:{branch}"], None),
        (["shop/web:{branch}"], None),
        ([], None),
    ],
)
def test_a_build_is_found_by_its_name_alone(tags: list[str], name: str | None) -> None:
    found = filed_under(tags)
    assert (str(ImageName.objects.get(pk=found)) if found else None) == name


def test_a_definition_that_is_not_seen_is_not_named_by_its_builds(mate: Client, tenants: Tenants) -> None:
    """Its builds are seen by their own names; what it is called by now is another matter."""
    Definition.objects.filter(pk=tenants.own.definition.pk).update(image_name=None, name="hush", slug="hush")
    pk = tenants.own.build.operation_id
    for path in ("/builds/", f"/builds/{pk}/", f"/builds/{pk}/compare/", f"/operations/{pk}/"):
        answer = mate.get(path)
        assert answer.status_code == 200
        assert not re.search(r"\bhush\b", answer.content.decode()), path


USING = [
    {"Image": "shop/web:dev-1", "Names": ["/own"], "State": "running"},
    {"Image": "docker.io/shop/web:dev-1", "Names": ["/as-podman-says"], "State": "running"},
    {"Image": "secret/x:v1", "Names": ["/canary"], "State": "running"},
    {"Image": "sha256:" + "a" * 64, "Names": ["/canary-2"], "State": "exited"},
]


def test_an_image_in_use_names_only_what_was_made_by_the_same_name() -> None:
    """Whoever reads of its removal has a right to the name, not to whatever else lies on the host."""
    assert _used_by(USING, "shop/web:dev-1") == "used by containers own, as-podman-says"
    assert _used_by(USING[2:], "shop/web:dev-1") == "in use"
    assert "canary-2" in _used_by(USING, "sha256:" + "a" * 64), "of a bare id only those read who see everything there"


def test_a_part_is_listed_by_itself_where_the_whole_is_not_seen(tenants: Tenants) -> None:
    for user, listed in ((tenants.developer, True), (tenants.foreign.administrator, False)):
        client = Client()
        client.force_login(user)
        rows = client.get("/operations/").context["listing"].rows
        assert (tenants.own.operation in rows) is listed
        assert (tenants.own.operation.parent in rows) is not listed
