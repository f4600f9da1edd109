"""Removing images: what it would hit is shown first; what is used stays, and the reason names who uses it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from django.test import Client

from containers.models import Container
from controlplane.access.models import User
from controlplane.lib.references import parse
from controlplane.operations.models import AuditEntry, Operation, State
from hosts.engine import Engine
from hosts.models import Host
from images import actions
from images.mirror import from_list
from images.models import Image, ImageTag
from images.pulling import has_image
from tests.images.working import hold, make_host, run, said, use
from tests.support.engines import EngineProcess, unique
from tests.support.images import busybox

pytestmark = pytest.mark.django_db
NGINX = "sha256:" + "a" * 64


@pytest.fixture
def image(engine: EngineProcess) -> Iterator[str]:
    """The reference of an image that this engine alone has."""
    reference = f"127.0.0.1:1/gantry/{unique()}:1"
    engine.load(busybox(extra=os.urandom(8)).archive(reference))
    yield reference
    engine.request("DELETE", f"/images/{reference}", force="true")


def mirrored(host: Host, engine: EngineProcess, reference: str) -> ImageTag:
    found = engine.expect("GET", f"/images/{reference}/json")
    repository, _, tag = reference.rpartition(":")
    engine_id = f"sha256:{found['Id'].removeprefix('sha256:')}"
    row = Image.objects.filter(host=host, engine_id=engine_id).first()
    row = row or Image.objects.create(host=host, engine_id=engine_id)
    return ImageTag.objects.create(host=host, image=row, reference=reference, repository=repository, tag=tag)


def there(engine: EngineProcess, name: str) -> bool:
    return engine.request("GET", f"/images/{name}/json")[0] == 200


@pytest.mark.root
def test_an_unused_image_goes(administrator: User, host: Host, engine: EngineProcess, image: str) -> None:
    operation = run(actions.remove(administrator, [mirrored(host, engine, image)], force=False))
    assert (operation.state, operation.error) == (State.SUCCEEDED, "")
    assert not there(engine, image)
    assert "Untagged" in said(operation)
    assert list(AuditEntry.objects.values_list("verb", "result")) == [
        ("operation.ended", "succeeded"),
        ("image.delete", ""),
    ]


@pytest.mark.root
def test_one_name_of_two_goes_and_the_other_stays(
    administrator: User, host: Host, engine: EngineProcess, image: str
) -> None:
    other = image.replace(":1/", ":2/")
    engine.expect("POST", f"/images/{image}/tag", repo=other.rpartition(":")[0], tag="1")
    operation = run(actions.remove(administrator, [mirrored(host, engine, other)], force=False))
    assert (operation.state, operation.error) == (State.SUCCEEDED, "")
    assert there(engine, image)
    assert not there(engine, other)


@pytest.mark.root
def test_a_used_image_stays_and_the_user_is_named(
    administrator: User, host: Host, engine: EngineProcess, image: str
) -> None:
    name = unique()
    container = engine.run(image, "sleep", "60", name=name)
    tag = mirrored(host, engine, image)
    try:
        for force in (False, True):
            operation = run(actions.remove(administrator, [tag], force=force))
            assert operation.state == State.FAILED
            assert name in operation.error
            assert "Stop and remove" in operation.hint
            assert there(engine, image)
            assert engine.expect("GET", f"/containers/{container}/json")["State"]["Running"]
    finally:
        engine.request("DELETE", f"/containers/{container}", force="true")


@pytest.mark.root
def test_a_stopped_user_gives_way_to_force_alone(
    administrator: User, host: Host, engine: EngineProcess, image: str
) -> None:
    name = unique()
    container = engine.expect("POST", "/containers/create", {"Image": image, "Cmd": ["true"]}, name=name)["Id"]
    tag = mirrored(host, engine, image)
    try:
        refused = run(actions.remove(administrator, [tag], force=False))
        assert refused.state == State.FAILED
        assert name in refused.error
        assert "by force" in refused.hint
        forced = run(actions.remove(administrator, [tag], force=True))
        assert (forced.state, forced.error) == (State.SUCCEEDED, "")
        assert name in said(forced)
        assert not there(engine, image)
    finally:
        engine.request("DELETE", f"/containers/{container}", force="true")


@pytest.mark.root
def test_a_nameless_image_goes_by_its_id(administrator: User, host: Host, engine: EngineProcess, image: str) -> None:
    tag = mirrored(host, engine, image)
    ImageTag.objects.filter(pk=tag.pk).update(reference="", repository="", tag="")
    operation = run(actions.remove(administrator, list(ImageTag.objects.all()), force=False))
    assert (operation.state, operation.error) == (State.SUCCEEDED, "")
    assert not there(engine, tag.image.engine_id)


@pytest.mark.root
async def test_one_of_docker_hub_has_one_name_on_every_engine(engine: EngineProcess) -> None:
    name = unique()
    engine.load(busybox(extra=os.urandom(8)).archive(f"docker.io/library/{name}:1"))
    listed = [name for entry in engine.expect("GET", "/images/json") for name in from_list(entry)[1]]
    assert f"{name}:1" in listed
    async with Engine(engine.socket) as client:
        assert await has_image(client, parse(f"{name}:1"))
        await client.delete(f"/images/{name}:1")
    assert not there(engine, f"{name}:1")


@pytest.mark.root
def test_what_is_gone_already_says_so(administrator: User, host: Host, engine: EngineProcess, image: str) -> None:
    tag = mirrored(host, engine, image)
    engine.expect("DELETE", f"/images/{image}")
    operation = run(actions.remove(administrator, [tag], force=False))
    assert operation.state == State.FAILED
    assert "has no image" in operation.error


@pytest.mark.root
def test_a_repetition_after_a_dead_worker_finds_it_gone_and_is_content(
    administrator: User, host: Host, engine: EngineProcess, image: str
) -> None:
    tag = mirrored(host, engine, image)
    engine.expect("DELETE", f"/images/{image}")
    operation = actions.remove(administrator, [tag], force=False)
    Operation.objects.filter(pk=operation.pk).update(attempt=1)
    assert run(operation).state == State.SUCCEEDED


@pytest.fixture
def signed_in(administrator: User) -> Client:
    client = Client()
    client.force_login(administrator)
    return client


@pytest.fixture
def fleet(db: None) -> dict[str, Host]:
    """nginx:1 on three hosts: used on one, and one of them away."""
    hosts = {name: make_host(name) for name in ("one", "two")} | {"away": make_host("away", state="unreachable")}
    for host in hosts.values():
        hold(host, NGINX, "nginx:1")
    use(hosts["one"], NGINX, "web-1")
    return hosts


def test_first_it_shows_what_it_would_hit(signed_in: Client, fleet: dict[str, Host]) -> None:
    answer = signed_in.post("/images/remove/", {"images": [f"|{NGINX}|nginx:1"]})
    assert answer.status_code == 200
    hits = {hit["tag"].host.name: hit for hit in answer.context["hits"]}
    assert set(hits) == {"one", "two", "away"}
    assert [user.name for user in hits["one"]["users"]] == ["web-1"]
    assert not hits["away"]["known"]
    page = answer.content.decode()
    assert "web-1" in page
    assert "1 of 3 is in use" in page
    assert page.count(" checked") == 2
    assert not Operation.objects.exists()


def test_confirmed_it_removes_what_is_still_ticked(signed_in: Client, fleet: dict[str, Host]) -> None:
    keys = [f"{fleet[name].pk}|{NGINX}|nginx:1" for name in ("one", "two")]
    signed_in.post("/images/remove/", {"images": keys, "confirmed": "yes", "force": "on"})
    parent = Operation.objects.get(parent=None)
    assert parent.title == "Remove 2 images"
    children = {child.host_name: child for child in parent.children.all()}
    assert set(children) == {"one", "two"}
    assert children["one"].params == {"reference": "nginx:1", "force": True}
    assert children["one"].lane == f"image:{fleet['one'].pk}:nginx:1"


def test_rows_listed_again_meanwhile_are_still_found(signed_in: Client, fleet: dict[str, Host]) -> None:
    key = f"{fleet['two'].pk}|{NGINX}|nginx:1"
    ImageTag.objects.all().delete()
    Image.objects.all().delete()
    hold(fleet["two"], NGINX, "nginx:1")
    signed_in.post("/images/remove/", {"images": [key], "confirmed": "yes"})
    assert Operation.objects.get().host == fleet["two"]


@pytest.mark.parametrize("keys", [[], ["nonsense"], ["|sha256:none|nginx:1"], ["9999|x|y"], ["||"]])
def test_nothing_selected_is_refused(signed_in: Client, fleet: dict[str, Host], keys: list[str]) -> None:
    answer = signed_in.post("/images/remove/", {"images": keys, "confirmed": "yes"})
    assert answer.status_code == 409
    assert not Operation.objects.exists()


def test_a_viewer_may_not_remove(viewer: User, fleet: dict[str, Host]) -> None:
    client = Client()
    client.force_login(viewer)
    answer = client.post("/images/remove/", {"images": [f"|{NGINX}|nginx:1"], "confirmed": "yes"})
    assert answer.status_code == 403
    assert not Operation.objects.exists()
    assert Container.objects.exists()
