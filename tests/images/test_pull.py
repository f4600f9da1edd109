"""Pulling through a real Docker and a real Podman from a real registry."""

from __future__ import annotations

import json
import os

import pytest
from django.test import Client

from controlplane.access.models import User
from controlplane.lib.references import parse
from controlplane.lib.seal import seal
from controlplane.operations import actions as operations
from controlplane.operations.models import AuditEntry, Operation, State
from controlplane.operations.runner import Work
from hosts.engine import Engine
from hosts.models import Environment, Host
from images import actions
from images.pulling import has_image
from tests.images.working import host_of, make_host, run, run_in_thread, said
from tests.support.engines import Dockerd, EngineProcess, Podman, unique
from tests.support.images import TestImage, busybox, digest
from tests.support.registry import Registry, SlowRegistry
from tests.support.waiting import eventually

pytestmark = [pytest.mark.registry, pytest.mark.root, pytest.mark.django_db]


def fresh(layers: int = 3, layer_size: int = 100_000) -> TestImage:
    """An image no engine has seen."""
    return busybox(layers=layers, layer_size=layer_size, extra=os.urandom(8))


def pull(actor: User, host: Host, reference: str, **login: str) -> Operation:
    return actions.pull(actor, parse(reference).familiar, [host], login=login or None)


def holds(engine: EngineProcess, reference: str) -> bool:
    return engine.request("GET", f"/images/{parse(reference).lookup}/json")[0] == 200


def test_every_layer_has_its_bar_and_the_engine_has_the_image(
    administrator: User, host: Host, engine: EngineProcess, registry: Registry
) -> None:
    image = fresh()
    reference = registry.push(image, f"gantry/{unique()}:1")
    operation = run(pull(administrator, host, reference))
    assert (operation.state, operation.error) == (State.SUCCEEDED, "")
    assert holds(engine, reference)
    assert operation.result["image_id"].removeprefix("sha256:") == digest(image.configuration).removeprefix("sha256:")
    layers = {digest(blob).removeprefix("sha256:")[:12] for blob in image.blobs}
    assert layers <= set(operation.progress)
    assert all(part["current"] == part["total"] for part in operation.progress.values())
    assert "Pulling" in said(operation)
    assert list(AuditEntry.objects.values_list("verb", "result")) == [
        ("operation.ended", "succeeded"),
        ("image.pull", ""),
    ]


def test_a_bar_never_runs_backwards(
    administrator: User, host: Host, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[tuple[str, int | None, int | None]]] = {}
    keep = Work.progress

    def note(self: Work, key: str, status: str, current: int | None = None, total: int | None = None) -> None:
        seen.setdefault(key, []).append((status, current, total))
        keep(self, key, status, current, total)

    monkeypatch.setattr(Work, "progress", note)
    reference = registry.push(fresh(layers=2, layer_size=3_000_000), f"gantry/{unique()}:1")
    with SlowRegistry(registry, bytes_per_second=1_000_000) as slow:
        operation = run(pull(administrator, host, slow.reference(reference.partition("/")[2])))
    assert operation.state == State.SUCCEEDED
    large = [steps for steps in seen.values() if any((total or 0) > 1_000_000 for _, _, total in steps)]
    assert len(large) >= 2
    for steps in large:
        counts = [current for _, current, _ in steps if current is not None]
        assert counts == sorted(counts)
        assert len({total for _, _, total in steps if total and total > 1}) == 1


def test_by_digest(administrator: User, host: Host, engine: EngineProcess, registry: Registry) -> None:
    image = fresh(layers=1)
    repository = registry.push(image, f"gantry/{unique()}:1").rpartition(":")[0]
    for reference in (f"{repository}@{digest(image.manifest)}", f"{repository}:1@{digest(image.manifest)}"):
        operation = run(pull(administrator, host, reference))
        assert (operation.state, operation.error) == (State.SUCCEEDED, "")
        assert holds(engine, reference)


def test_what_is_there_already_is_no_fault(administrator: User, host: Host, registry: Registry) -> None:
    reference = registry.push(fresh(layers=1), f"gantry/{unique()}:1")
    for _ in range(2):
        assert run(pull(administrator, host, reference)).state == State.SUCCEEDED


def test_an_unknown_image_says_so_in_plain_words(administrator: User, host: Host, registry: Registry) -> None:
    for name in ("gantry/never-pushed:1", "gantry/busybox:no-such-tag"):
        operation = run(pull(administrator, host, registry.reference(name)))
        assert operation.state == State.FAILED
        assert "The registry has no image" in operation.error
        assert operation.hint == "Check the name and the tag."
        assert operation.error in said(operation)


def test_a_registry_that_is_not_there(administrator: User, host: Host) -> None:
    operation = run(pull(administrator, host, "127.0.0.1:1/gantry/busybox:1"))
    assert operation.state == State.FAILED
    assert "127.0.0.1:1" in operation.error
    assert "does not answer" in operation.error
    assert "Check the registry’s address" in operation.hint


def test_credentials_reach_the_registry_and_stay_sealed(administrator: User, host: Host, engine: EngineProcess) -> None:
    with Registry(users={"ada": "s3cret-Pässword"}) as private:
        reference = private.push(fresh(layers=0), f"gantry/{unique()}:1")
        for login, word in (
            ({}, "user and a password|credentials"),
            ({"username": "ada", "password": "no"}, "refused"),
        ):
            refused = run(pull(administrator, host, reference, **login))
            assert refused.state == State.FAILED
            assert any(part in f"{refused.error} {refused.hint}" for part in word.split("|"))
            assert not holds(engine, reference)
        operation = run(pull(administrator, host, reference, username="ada", password="s3cret-Pässword"))
        assert (operation.state, operation.error) == (State.SUCCEEDED, "")
    kept = json.dumps([operation.params, operation.result, operation.progress, said(operation)])
    assert "s3cret" not in kept


@pytest.mark.parametrize(
    "kind", [pytest.param(Dockerd, marks=pytest.mark.docker), pytest.param(Podman, marks=pytest.mark.podman)]
)
def test_cancelling_stops_the_engine(
    transactional_db: None, administrator: User, registry: Registry, kind: type[EngineProcess]
) -> None:
    reference = registry.push(fresh(layers=3, layer_size=2_000_000), f"gantry/{unique()}:1")
    if reason := kind.why_not():
        pytest.skip(reason)
    with kind() as engine, SlowRegistry(registry, bytes_per_second=200_000) as slow:
        slow_reference = slow.reference(reference.partition("/")[2])
        operation = pull(administrator, host_of(engine), slow_reference)
        worker = run_in_thread(operation)

        def bytes_arrive() -> bool:
            operation.refresh_from_db()
            return any(part["current"] for part in operation.progress.values())

        eventually(bytes_arrive, timeout=30, what="a bar moves")
        operations.cancel(administrator, operation)
        worker.join(20)
        assert not worker.is_alive()
        operation.refresh_from_db()
        assert operation.state == State.CANCELLED
        eventually(lambda: slow.connections == 0, timeout=15, what="the engine lets go of the registry")
        assert not holds(engine, slow_reference)


@pytest.mark.docker
def test_an_engine_that_dies_under_a_pull_fails_it_with_the_reason(
    transactional_db: None, administrator: User, registry: Registry
) -> None:
    if reason := Dockerd.why_not():
        pytest.skip(reason)
    reference = registry.push(fresh(layers=2, layer_size=2_000_000), f"gantry/{unique()}:1")
    with Dockerd() as engine, SlowRegistry(registry, bytes_per_second=200_000) as slow:
        operation = pull(administrator, host_of(engine), slow.reference(reference.partition("/")[2]))
        worker = run_in_thread(operation)
        eventually(lambda: slow.bytes_sent > 50_000, timeout=30, what="the pull is under way")
        engine.kill()
        worker.join(20)
        operation.refresh_from_db()
        assert operation.state == State.FAILED
        assert "connection" in operation.error.lower()


def test_a_host_out_of_contact_is_named(administrator: User, transactional_db: None) -> None:
    host = Host.objects.create(name="gone-1", state="unreachable", state_reason="no answer for 12 s", public_key="k")
    operation = run(pull(administrator, host, "busybox"))
    assert operation.state == State.FAILED
    assert "gone-1 is not connected: no answer for 12 s" in operation.error


@pytest.mark.docker
async def test_has_image_asks_by_the_name_the_engine_knows(
    docker_engine: EngineProcess, busybox_loaded: object
) -> None:
    reference = busybox_loaded(docker_engine)  # type: ignore[operator]
    async with Engine(docker_engine.socket) as engine:
        assert await has_image(engine, parse(reference))
        assert not await has_image(engine, parse("gantry/never:1"))


@pytest.fixture
def signed_in(administrator: User) -> Client:
    client = Client()
    client.force_login(administrator)
    return client


def test_the_form_makes_one_operation_for_one_host(signed_in: Client) -> None:
    host = make_host("one")
    answer = signed_in.post("/images/pull/", {"reference": "nginx", "hosts": [host.pk]})
    operation = Operation.objects.get()
    assert answer.headers["Location"] == f"/operations/{operation.pk}/"
    assert (operation.kind, operation.target_name, operation.lane) == (
        "image.pull",
        "nginx:latest",
        f"image:{host.pk}:nginx:latest",
    )


def test_the_form_makes_a_child_for_each_host_and_counts_a_host_once(signed_in: Client) -> None:
    staging, _ = Environment.objects.get_or_create(slug="staging", defaults={"name": "Staging"})
    one = make_host("one", environment=staging)
    make_host("two", environment=staging)
    make_host("away", environment=staging, state="unreachable")
    three = make_host("three")
    make_host("four")
    signed_in.post("/images/pull/", {"reference": "nginx:1", "hosts": [one.pk, three.pk], "environments": [staging.pk]})
    parent = Operation.objects.get(parent=None)
    assert parent.title == "Pull nginx:1 on 3 hosts"
    assert sorted(parent.children.values_list("host_name", flat=True)) == ["one", "three", "two"]


def test_all_connected_hosts(signed_in: Client) -> None:
    for name in ("one", "two"):
        make_host(name)
    make_host("away", state="unreachable")
    make_host("planned", public_key="", state="never")
    signed_in.post("/images/pull/", {"reference": "nginx:1", "everywhere": "on"})
    assert Operation.objects.filter(kind="image.pull").count() == 2


@pytest.mark.parametrize(
    ("typed", "said_at"),
    [
        ({"reference": "Nginx"}, ("reference", "lower case")),
        ({"reference": "nginx:"}, ("reference", "tag")),
        ({"reference": "http://x/y"}, ("reference", "http:")),
        ({"reference": ""}, ("reference", "found nothing")),
        ({"hosts": []}, ("hosts", "at least one host")),
        ({"registry_user": "ada"}, ("registry_password", "ada")),
        ({"registry_password": "s"}, ("registry_user", "name")),
    ],
)
def test_a_form_with_an_error_says_what_and_keeps_what_was_typed(
    signed_in: Client, typed: dict[str, object], said_at: tuple[str, str]
) -> None:
    host = make_host("one")
    answer = signed_in.post("/images/pull/", {"reference": "shop/web:2", "hosts": [host.pk], **typed})
    assert answer.status_code == 422
    field, words = said_at
    assert words in " ".join(answer.context["form"].errors[field])
    page = answer.content.decode()
    assert str(typed.get("reference", "shop/web:2")) in page
    if "hosts" not in typed:
        assert "checked" in page
    assert not Operation.objects.exists()


def test_a_host_out_of_contact_cannot_be_chosen_by_name(signed_in: Client) -> None:
    host = make_host("away", state="unreachable")
    answer = signed_in.post("/images/pull/", {"reference": "nginx", "hosts": [host.pk]})
    assert "away" in " ".join(answer.context["form"].errors["hosts"])


def test_a_viewer_may_not_pull(viewer: User) -> None:
    host, client = make_host("one"), Client()
    client.force_login(viewer)
    assert client.get("/images/pull/").status_code == 403
    assert client.post("/images/pull/", {"reference": "nginx", "hosts": [host.pk]}).status_code == 403
    assert not Operation.objects.exists()
    assert set(AuditEntry.objects.values_list("verb", "outcome")) == {("image.pull", "refused")}


def test_a_retry_uses_the_sealed_login_again(administrator: User, transactional_db: None) -> None:
    operation = pull(administrator, make_host("one"), "nginx", username="ada", password="x")
    Operation.objects.filter(pk=operation.pk).update(state=State.FAILED)
    again = operations.retry(administrator, Operation.objects.get(pk=operation.pk))
    assert again.params == operation.params
    assert again.params["login"] != seal("")
