"""The form that runs a container: what it refuses and how, and what a real engine makes of what it accepts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client

from containers.models import Container, ContainerState
from controlplane.access.models import User
from controlplane.lib.seal import unseal
from controlplane.operations.models import AuditEntry, Operation, State
from hosts.models import Host, HostState
from tests.images.conftest import administrator, engine, host, viewer  # noqa: F401
from tests.images.working import hold, make_host, run, said
from tests.support.engines import EngineProcess, unique
from tests.support.images import busybox, digest
from tests.support.registry import Registry
from tests.support.waiting import free_port

pytestmark = pytest.mark.django_db
URL = "/containers/run/"
FULL = {
    "image": "registry.example:5000/shop/web:2",
    "name": "web-1",
    "command": 'sh -c "echo hi"',
    "entrypoint": "",
    "user": "1000:1000",
    "working_dir": "/srv",
    "environment": "A=1\nB=x y",
    "network": "",
    "ports": "8080:80\n[::1]:5353:53/udp",
    "volumes": "data:/var/lib/data\n/etc/app:/etc/app:ro",
    "restart": "on-failure",
    "retries": "3",
    "memory": "512m",
    "cpus": "1.5",
    "labels": "team=shop",
    "registry_user": "ada",
    "registry_password": "s3cret",
    "tty": "on",
}


@pytest.fixture
def client(administrator: User) -> Client:  # noqa: F811
    client = Client()
    client.force_login(administrator)
    return client


@pytest.fixture
def one(db: None) -> Host:
    return make_host("one", cpus=2)


def errors(client: Client, one: Host, **typed: str) -> dict[str, str]:
    """What is said at each field when these are typed over a good form."""
    answer = client.post(URL, {"host": str(one.pk), "image": "nginx", **typed})
    assert answer.status_code == 422, answer.headers
    assert not Operation.objects.exists()
    return {name: " ".join(said) for name, said in answer.context["form"].errors.items()}


@pytest.mark.parametrize(
    ("field", "typed", "said_there"),
    [
        ("host", "", "Expected a host, found none"),
        ("host", "9999", "not there any more"),
        ("image", "", "found nothing"),
        ("image", "Shop/Web", "lower case"),
        ("image", "shop/web:", "tag"),
        ("name", "-x", "beginning with a letter or digit"),
        ("name", "x", "two or more"),
        ("command", 'sh -c "x', "Expected words quoted as for a shell, found a quote that is not closed"),
        ("entrypoint", '["a"', "JSON array"),
        ("environment", "\nA=1\nB", "Line 3: expected KEY=VALUE, found “B”"),
        ("environment", "A=1\nA=2", "Line 2: expected each variable once"),
        ("ports", "8080:80\n99999", "Line 2: expected a port of the container between 1 and 65535, found 99999"),
        ("ports", "8001-8000:80", "from the lower port of the host to the higher"),
        ("volumes", "./x:/y", "Line 1: expected a volume's name"),
        ("memory", "-512m", "found “-512m”"),
        ("memory", "1m", "6 MiB"),
        ("cpus", "-1", "found “-1”"),
        ("cpus", "3", "at most 2, as many as the host has, found “3”"),
        ("restart", "sometimes", "sometimes"),
        ("retries", "-1", "Expected 0"),
        ("labels", "io.gantry.operation=1", "Gantry's own"),
        ("user", "a b", "USER or USER:GROUP"),
        ("working_dir", "srv", "absolute path"),
        ("network", "my net", "bridge, host, none"),
    ],
)
def test_each_bad_input_is_told_at_its_field(
    client: Client, one: Host, field: str, typed: str, said_there: str
) -> None:
    found = errors(client, one, **{field: typed})
    assert said_there in found[field]
    assert set(found) == {field}


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"restart": "always", "auto_remove": "on"}, "auto_remove"),
        ({"restart": "always", "retries": "3"}, "retries"),
        ({"network": "host", "ports": "80:80"}, "ports"),
        ({"network": "container:web-1", "ports": "80"}, "ports"),
        ({"registry_user": "ada"}, "registry_password"),
        ({"registry_password": "x"}, "registry_user"),
    ],
)
def test_fields_that_do_not_go_together(client: Client, one: Host, typed: dict[str, str], field: str) -> None:
    assert set(errors(client, one, **typed)) == {field}


def test_a_form_with_errors_keeps_everything_that_was_typed(client: Client, one: Host) -> None:
    answer = client.post(URL, {**FULL, "host": str(one.pk), "memory": "lots"})
    assert answer.status_code == 422
    assert answer.headers["Cache-Control"] == "no-store"
    form, page = answer.context["form"], answer.content.decode()
    for name, value in {**FULL, "memory": "lots"}.items():
        assert str(form[name].value()) == ("True" if name == "tty" else value)
    for text in ("registry.example:5000/shop/web:2", "A=1\nB=x y", "[::1]:5353:53/udp", "lots", "s3cret"):
        assert text in page
    assert re.search(rf'<option value="{one.pk}" selected', page)


def test_html_that_was_typed_is_shown_as_text(client: Client, one: Host) -> None:
    answer = client.post(URL, {"host": str(one.pk), "image": "x", "environment": "</textarea><script>"})
    assert "</textarea><script>" not in answer.content.decode()


def test_a_host_out_of_contact_is_not_run_on(client: Client) -> None:
    away = make_host("away", state=HostState.UNREACHABLE)
    assert "away, unreachable since" in errors(client, away)["host"]


def test_a_name_in_use_is_told_before_anything_is_started(client: Client, one: Host) -> None:
    Container.objects.create(host=one, engine_id="a", name="web-1", state=ContainerState.EXITED)
    assert "one has a container “web-1” already" in errors(client, one, name="web-1")["name"]


def test_a_port_in_use_is_told_before_anything_is_started(client: Client, one: Host) -> None:
    Container.objects.create(
        host=one,
        engine_id="a",
        name="web-1",
        state=ContainerState.RUNNING,
        ports=[{"container": 80, "host": 8080, "ip": "127.0.0.1", "protocol": "tcp"}],
    )
    found = errors(client, one, ports="9090:80\n8080:80\n127.0.0.1:8080:81/udp")
    assert found == {"ports": "Port 8080/tcp of one is taken by web-1."}
    for free in ("127.0.0.2:8080:80", "[::1]:8080:80"):
        answer = client.post(URL, {"host": str(one.pk), "image": "nginx", "ports": free})
        assert answer.status_code == 302
    created = client.post(URL, {"host": str(one.pk), "image": "nginx", "ports": "8080:80", "do": "create"})
    assert created.status_code == 302, "a container that is not started takes no port"


def test_a_good_form_becomes_an_operation_with_its_secrets_sealed(client: Client, one: Host) -> None:
    answer = client.post(URL, {**FULL, "host": str(one.pk)})
    operation = Operation.objects.get()
    assert answer.headers["Location"] == f"/operations/{operation.pk}/"
    assert (operation.kind, operation.host, operation.params["start"]) == ("container.run", one, True)
    body = json.loads(unseal(operation.params["body"]))
    assert body["Image"] == "registry.example:5000/shop/web:2"
    assert body["Env"] == ["A=1", "B=x y"]
    assert body["HostConfig"]["NanoCpus"] == 1_500_000_000
    assert body["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert "s3cret" not in json.dumps(operation.params)
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.outcome, entry.host_name) == ("container.create", "allowed", "one")
    assert "s3cret" not in entry.detail


def test_the_address_fills_the_form_in(client: Client, one: Host) -> None:
    hold(one, "sha256:" + "a" * 64, "nginx:1.27")
    hold(make_host("two"), "sha256:" + "b" * 64, "redis:7")
    answer = client.get(URL, {"image": "nginx:1.27", "host": one.pk})
    assert answer.context["form"]["image"].value() == "nginx:1.27"
    assert answer.context["known_images"] == ["nginx:1.27"]
    assert 'value="nginx:1.27"' in answer.content.decode()


def test_another_host_brings_its_own_suggestions(client: Client, one: Host) -> None:
    hold(one, "sha256:" + "a" * 64, "nginx:1.27")
    headers = {"HX-Request": "true", "HX-Target": "known-images"}
    page = client.get(URL, {"host": one.pk}, headers=headers).content.decode().strip()
    assert page == '<datalist id="known-images"><option value="nginx:1.27"></option></datalist>'


def test_a_viewer_may_not_run(viewer: User, one: Host) -> None:  # noqa: F811
    client = Client()
    client.force_login(viewer)
    assert client.get(URL).status_code == 403
    assert client.post(URL, {"host": str(one.pk), "image": "nginx"}).status_code == 403
    assert not Operation.objects.exists()


@pytest.fixture
def name(engine: EngineProcess) -> Iterator[str]:  # noqa: F811
    """The name of a container that goes with the test."""
    found = unique()
    yield found
    engine.request("DELETE", f"/containers/{found}", force="true", v="true")


def sent(client: Client, host: Host, **typed: str) -> Operation:  # noqa: F811
    answer = client.post(URL, {"host": str(host.pk), **typed})
    assert answer.status_code == 302, answer.context["form"].errors
    return run(Operation.objects.latest("pk"))


@pytest.mark.root
@pytest.mark.registry
def test_a_real_engine_makes_what_was_typed(
    client: Client,
    host: Host,  # noqa: F811
    engine: EngineProcess,  # noqa: F811
    name: str,
    busybox_loaded: Callable[[EngineProcess], str],
) -> None:
    port = free_port()
    operation = sent(
        client,
        host,
        image=busybox_loaded(engine),
        name=name,
        command='sh -c "echo $GREETING; sleep 60"',
        environment="GREETING=hello there",
        ports=f"127.0.0.1:{port}:80",
        volumes=f"{name}:/data\n/anonymous",
        labels="team=shop",
        memory="64m",
        cpus="0.5",
        restart="on-failure",
        retries="2",
        working_dir="/tmp",
        user="root",
    )
    assert (operation.state, operation.error) == (State.SUCCEEDED, "")
    made: dict[str, Any] = engine.expect("GET", f"/containers/{name}/json")
    try:
        assert made["State"]["Running"]
        assert made["Id"] == operation.result["container_id"]
        assert "GREETING=hello there" in made["Config"]["Env"]
        assert made["Config"]["Cmd"] == ["sh", "-c", "echo $GREETING; sleep 60"]
        assert made["Config"]["WorkingDir"] == "/tmp"
        assert made["Config"]["Labels"]["team"] == "shop"
        assert made["HostConfig"]["Memory"] == 64 * 2**20
        assert made["HostConfig"]["NanoCpus"] == 500_000_000
        assert made["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
        assert made["HostConfig"]["PortBindings"]["80/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(port)}]
        assert {mount["Destination"] for mount in made["Mounts"]} == {"/data", "/anonymous"}
    finally:
        engine.request("DELETE", f"/containers/{name}", force="true", v="true")
        engine.request("DELETE", f"/volumes/{name}")


@pytest.mark.root
@pytest.mark.registry
def test_a_missing_image_is_pulled_first(
    client: Client,
    host: Host,  # noqa: F811
    engine: EngineProcess,  # noqa: F811
    name: str,
    registry: Registry,
) -> None:
    reference = registry.push(busybox(extra=os.urandom(8)), f"gantry/{unique()}:1")
    operation = sent(client, host, image=reference, name=name, command="sleep 60")
    assert (operation.state, operation.error) == (State.SUCCEEDED, "")
    assert operation.progress
    assert engine.expect("GET", f"/containers/{name}/json")["State"]["Running"]


@pytest.mark.root
@pytest.mark.registry
def test_a_newer_image_under_the_same_name_is_pulled_when_asked_for(
    client: Client,
    host: Host,  # noqa: F811
    engine: EngineProcess,  # noqa: F811
    name: str,
    registry: Registry,
) -> None:
    tagged = f"gantry/{unique()}:1"
    reference = registry.push(busybox(extra=os.urandom(8)), tagged)
    sent(client, host, image=reference, do="create")
    newer = busybox(extra=os.urandom(8))
    registry.push(newer, tagged)
    for pull, same in (("", False), ("on", True)):
        sent(client, host, image=reference, name=name, do="create", pull=pull)
        made = engine.expect("GET", f"/containers/{name}/json")["Image"]
        assert (made.removeprefix("sha256:") == digest(newer.configuration).removeprefix("sha256:")) is same
        engine.expect("DELETE", f"/containers/{name}")


@pytest.mark.root
@pytest.mark.registry
def test_created_without_starting(
    client: Client,
    host: Host,  # noqa: F811
    engine: EngineProcess,  # noqa: F811
    name: str,
    busybox_loaded: Callable[[EngineProcess], str],
) -> None:
    operation = sent(client, host, image=busybox_loaded(engine), name=name, command="sleep 60", do="create")
    assert operation.title == f"Create {name}"
    assert engine.expect("GET", f"/containers/{name}/json")["State"]["Status"] in ("created", "configured")


@pytest.mark.root
@pytest.mark.registry
@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"command": "no-such-command", "network": "none"}, "“no-such-command” was not found|command was not found"),
        ({"user": "nobody-here", "command": "sleep 1", "network": "none"}, "no user “nobody-here”"),
        ({"network": "no-such-net", "command": "sleep 1"}, "no network “no-such-net”"),
    ],
)
def test_the_engines_reason_comes_in_plain_words(
    client: Client,
    host: Host,  # noqa: F811
    engine: EngineProcess,  # noqa: F811
    name: str,
    busybox_loaded: Callable[[EngineProcess], str],
    typed: dict[str, str],
    words: str,
) -> None:
    operation = sent(client, host, image=busybox_loaded(engine), name=name, **typed)
    assert operation.state == State.FAILED
    assert any(part in operation.error for part in words.split("|")), operation.error
    assert operation.hint
    assert operation.error in said(operation)


@pytest.mark.root
@pytest.mark.registry
def test_a_name_the_mirror_does_not_know_of_is_still_refused_by_the_engine(
    client: Client,
    host: Host,  # noqa: F811
    engine: EngineProcess,  # noqa: F811
    name: str,
    busybox_loaded: Callable[[EngineProcess], str],
) -> None:
    engine.run(busybox_loaded(engine), "sleep", "60", name=name)
    operation = sent(client, host, image=busybox_loaded(engine), name=name)
    assert operation.error == f"The name “{name}” is already in use on this host."
    assert "Choose another name" in operation.hint


@pytest.mark.root
@pytest.mark.registry
def test_a_repetition_after_a_dead_worker_makes_no_second_container(
    client: Client,
    host: Host,  # noqa: F811
    engine: EngineProcess,  # noqa: F811
    name: str,
    busybox_loaded: Callable[[EngineProcess], str],
) -> None:
    operation = sent(client, host, image=busybox_loaded(engine), name=name, command="sleep 60")
    first = operation.result["container_id"]
    written = {each: operation.result[each] for each in ("mark", "judged_image")}  # before it was created
    Operation.objects.filter(pk=operation.pk).update(state=State.QUEUED, result=written)
    operation = run(Operation.objects.get(pk=operation.pk))
    assert (operation.state, operation.error) == (State.SUCCEEDED, "")
    assert operation.result["container_id"] == first
