"""Another container like one that is there: what the form is filled in with, what it says it cannot, what runs then."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from containers import spec
from containers.duplicating import copy_of
from containers.models import Container
from containers.running import OPERATION_LABEL
from controlplane.access.models import Standing, User
from controlplane.operations.models import AuditEntry, Operation, State
from tests.containers.conftest import Lab
from tests.images.working import make_host, run
from tests.rules.conftest import grant
from tests.support.waiting import free_port

MIB = 1024 * 1024
SCRIPT = "echo one\ntrap 'exit 0' TERM\nsleep 60"


def filled(client: Client, row: Container) -> tuple[dict[str, Any], list[str]]:
    """What the form begins with, where that is anything; and what is said to be left out."""
    answer = client.get(f"/containers/{row.pk}/duplicate/")
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    form, copy = answer.context["form"], answer.context["copy"]
    assert copy.error == ""
    for each in copy.left_out:
        assert each.partition(":")[0] in answer.content.decode()
    # Of ulimits nobody can tell an engine's own defaults from what was asked for: Podman always says some.
    said = [each for each in copy.left_out if not each.startswith("ulimits: ")]
    return {name: value for name in form.fields if (value := form[name].value())}, said


@pytest.mark.root
@pytest.mark.django_db(transaction=True)
def test_a_plain_container_leaves_nothing_out(lab: Lab) -> None:
    row = lab.start()
    typed, left_out = filled(lab.client, row)
    assert left_out == []
    assert typed == {
        "host": lab.host.pk,
        "image": lab.image,
        "name": f"{lab.name}-2",
        "command": "top",
        "restart": "no",
    }


@pytest.mark.root
@pytest.mark.django_db(transaction=True)
def test_the_second_is_as_the_first(lab: Lab) -> None:
    port = free_port()
    row = lab.start(
        *("-e", "GREETING=hello there", "-e", "SECRET=s3cret", "-l", "team=shop", "-l", f"{OPERATION_LABEL}=7"),
        *("-p", f"127.0.0.1:{port}:80", "-v", f"{lab.name}:/data", "-v", "/tmp:/srv/x:ro", "-v", "/anonymous"),
        *("-m", "64m", "--cpus", "0.5", "--pids-limit", "50", "--restart", "on-failure:3"),
        *("-u", "0", "-w", "/data", "--read-only", "-t"),
        command=("sh", "-c", SCRIPT),
    )
    typed, left_out = filled(lab.client, row)
    assert left_out == []
    assert "io.gantry" not in str(typed)
    assert AuditEntry.objects.latest("seq").verb == "container.secrets", "the values were shown"
    answer = lab.client.post(f"/containers/{row.pk}/duplicate/", typed)
    if answer.status_code == 422:  # it runs, and its port is its own
        assert set(answer.context["form"].errors) == {"ports"}
        typed["ports"] = typed["ports"].replace(str(port), str(free_port()))
    operation = lab.post(f"/containers/{row.pk}/duplicate/", **typed)
    assert (operation.kind, operation.state) == ("container.run", State.SUCCEEDED), operation.error
    first, second = lab.inspect(), lab.inspect(typed["name"])
    for name in ("Cmd", "Entrypoint", "User", "WorkingDir", "Tty", "Image"):
        assert second["Config"][name] == first["Config"][name], name
    assert set(second["Config"]["Env"]) - {f"HOSTNAME={second['Id'][:12]}"} == set(first["Config"]["Env"]) - {
        f"HOSTNAME={first['Id'][:12]}"
    }
    assert second["Config"]["Labels"]["team"] == "shop"
    label = f"{operation.pk}.{operation.result['mark']}"
    assert second["Config"]["Labels"][OPERATION_LABEL] == label
    for name in ("Memory", "NanoCpus", "PidsLimit", "RestartPolicy", "ReadonlyRootfs", "NetworkMode"):
        assert second["HostConfig"][name] == first["HostConfig"][name], name
    mounts = {each["Destination"]: each for each in second["Mounts"]}
    assert set(mounts) == {"/data", "/srv/x", "/anonymous"}
    assert (mounts["/data"]["Name"], mounts["/srv/x"]["RW"]) == (lab.name, False)
    others = {each["Destination"]: each.get("Name") for each in first["Mounts"]}
    assert mounts["/anonymous"]["Name"] != others["/anonymous"], "an anonymous volume is one's own"


@pytest.mark.root
@pytest.mark.django_db(transaction=True)
def test_what_another_gantry_made_under_the_same_number_is_left_alone(lab: Lab) -> None:
    """Or this one, before its database was made anew: numbers of operations begin at 1 again."""
    typed = {"host": lab.host.pk, "image": lab.image, "name": f"{lab.name}-2", "command": "top", "restart": "no"}
    assert lab.client.post("/containers/run/", typed).status_code == 302
    operation = Operation.objects.latest("pk")
    theirs = lab.start("-l", f"{OPERATION_LABEL}={operation.pk}")
    assert run(operation).state == State.SUCCEEDED, operation.error
    assert lab.inspect(f"{lab.name}-2")["Id"] == operation.result["container_id"] != theirs.engine_id
    assert lab.inspect()["State"]["Running"]


@pytest.mark.root
@pytest.mark.django_db(transaction=True)
def test_what_the_form_cannot_say_is_told(lab: Lab) -> None:
    device = () if lab.engine.kind == "podman" else ("--device", "/dev/null:/dev/x")  # its CLI asks for more there
    row = lab.create(
        *("--privileged", "--cap-add", "SYS_TIME", *device, "--hostname", "box"),
        *("--tmpfs", "/scratch", "--dns", "192.0.2.1", "-e", "LINES=a\nb", "--shm-size", "32m", "--stop-signal", "HUP"),
    )
    _, left_out = filled(lab.client, row)
    said = "\n".join(left_out)
    for words in (
        *("that it is privileged", "added capabilities", "devices of the host", "file systems in memory: "),
        *("name servers: ", "the variables LINES: a value that is not one line", "its host name: box"),
        *("the size of /dev/shm: 33554432", "the signal that stops it"),
    ):
        if lab.engine.kind == "podman" and words in ("added capabilities", "devices of the host"):
            continue  # privileged has all of them, and Podman says so by saying none
        assert words in said, words


@pytest.mark.root
@pytest.mark.django_db(transaction=True)
def test_values_are_for_whoever_may_see_them(lab: Lab) -> None:
    row = lab.start("-e", "TOKEN=s3cret")
    dev = User.objects.create(username="dev", password="!")
    grant(dev, None, "**", role="developer")
    client = Client()
    client.force_login(dev)
    before = AuditEntry.objects.count()
    typed, left_out = filled(client, row)
    assert "environment" not in typed
    assert left_out == ["the variables TOKEN: their values take the right container.secrets"]
    assert "s3cret" not in client.get(f"/containers/{row.pk}/duplicate/").content.decode()
    assert AuditEntry.objects.count() == before
    typed, left_out = filled(lab.client, row)
    assert (typed["environment"], left_out) == ("TOKEN=s3cret", [])


@pytest.mark.root
@pytest.mark.django_db(transaction=True)
def test_an_image_that_goes_by_another_name_now(lab: Lab) -> None:
    name = f"{lab.name}/app:1"
    lab.engine.cli("tag", lab.image, name)
    plain, lab.image = lab.image, name
    row = lab.start()
    lab.engine.cli("rmi", "-f" if lab.engine.kind == "podman" else "--no-prune", name)
    typed, left_out = filled(lab.client, row)
    assert typed["image"] == name
    assert left_out == [f"the very same image: {name} stands for another one there now, or for none"]
    lab.image = plain


@pytest.mark.django_db
def test_a_host_that_does_not_answer_is_said() -> None:
    client = Client()
    client.force_login(User.objects.create(username="ada", password="!", standing=Standing.ADMINISTRATOR))
    host = make_host("one")
    for name in ("web-1", "web-2"):
        row = Container.objects.create(host=host, engine_id=name, name=name, image_ref="nginx:1.27", state="running")
    page = client.get(f"/containers/{row.pk}/duplicate/")
    assert "How it was made is not known now." in page.content.decode()
    form = page.context["form"]
    assert (form["image"].value(), form["name"].value()) == ("nginx:1.27", "web-3")
    wrong = client.post(f"/containers/{row.pk}/duplicate/", {"host": host.pk, "image": "nginx", "memory": "lots"})
    assert wrong.status_code == 422
    assert "Duplicate web-2" in wrong.content.decode()
    assert not Operation.objects.exists()


IMAGE = {
    "RepoTags": ["shop/web:1"],
    "Config": {"Env": ["PATH=/bin"], "Entrypoint": ["/init"], "Cmd": ["serve"], "Labels": {"of": "image"}, "User": "9"},
}


def inspected(config: dict[str, Any], host: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    usual = {**IMAGE["Config"], "Image": "shop/web:1"}  # type: ignore[dict-item]
    return {"Id": "a" * 64, "Config": {**usual, **config}, "HostConfig": host or {}, **more}


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        ({}, {}),
        ({"Cmd": ["sh", "-c", "a b"]}, {"command": "sh -c 'a b'"}),
        ({"Cmd": ["sh", "-c", "a\nb"]}, {"command": '["sh", "-c", "a\\nb"]'}),
        ({"Entrypoint": None}, {"entrypoint": "[]", "command": "serve"}),
        ({"Entrypoint": [""], "Cmd": ["x"]}, {"entrypoint": "[]", "command": "x"}),
        ({"Entrypoint": ["/other"], "Cmd": None}, {"entrypoint": "/other"}),
        ({"User": "1000:1000", "WorkingDir": "/srv"}, {"user": "1000:1000", "working_dir": "/srv"}),
        ({"Env": ["PATH=/sbin", "A= b "]}, {"environment": "PATH=/sbin\nA= b "}),
        ({"Labels": {"of": "image", "io.gantry.x": "1", "a": "b=c"}}, {"labels": "a=b=c"}),
        ({"Volumes": {"/x": {}}}, {"volumes": "/x"}),
    ],
)
def test_only_what_is_not_the_images_own(config: dict[str, Any], shown: dict[str, Any]) -> None:
    copy = copy_of(inspected(config), IMAGE, reveal=True)
    found = {name: value for name, value in copy.initial.items() if value}
    assert found == {"image": "shop/web:1", "restart": "no", **shown}
    assert copy.left_out == []


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ({"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}}, {"ports": "8080:80/tcp"}),
        ({"PortBindings": {"53/udp": [{"HostIp": "::1", "HostPort": ""}]}}, {"ports": "[::1]::53/udp"}),
        ({"PortBindings": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "0"}]}}, {"ports": "80/tcp"}),
        ({"Binds": ["a-b:/x:rw,rprivate,nosuid", "/etc:/y:ro,z"]}, {"volumes": "a-b:/x\n/etc:/y:ro,z"}),
        ({"Binds": ["a" * 64 + ":/x:rprivate"]}, {"volumes": "/x"}),
        ({"Mounts": [{"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": True}]}, {"volumes": "/a:/b:ro"}),
        ({"NetworkMode": "shop-net"}, {"network": "shop-net"}),
        ({"NetworkMode": "default", "MemorySwap": 128 * MIB, "Memory": 64 * MIB}, {"memory": "64m"}),
        ({"CpuQuota": 50_000, "CpuPeriod": 100_000, "AutoRemove": True}, {"cpus": "0.5", "auto_remove": True}),
    ],
)
def test_each_as_the_form_takes_it(host: dict[str, Any], shown: dict[str, Any]) -> None:
    copy = copy_of(inspected({}, host), IMAGE, reveal=True)
    found = {name: value for name, value in copy.initial.items() if value}
    assert found == {"image": "shop/web:1", "restart": "no", **shown}
    assert copy.left_out == []


@pytest.mark.parametrize(
    ("config", "host", "words"),
    [
        ({"Image": "sha256:" + "b" * 64}, {}, "the image: it was made from an image’s id"),
        ({"Image": "shop/web:2"}, {}, "the very same image"),
        ({"Labels": {"a": "x\ny"}}, {}, "the label a"),
        ({"Healthcheck": {"Test": ["CMD", "x"]}}, {}, "its health check"),
        ({"OpenStdin": True}, {}, "its input is kept open"),
        ({"ExposedPorts": {"80/tcp": {}}}, {}, "exposed and not published: 80/tcp"),
        ({}, {"PidMode": "host"}, "the pid namespace: host"),
        ({}, {"MemorySwap": -1, "Memory": 64 * MIB}, "the limit with swap: -1"),
        ({}, {"Mounts": [{"Type": "tmpfs", "Target": "/x"}]}, "the tmpfs mount at /x"),
        ({}, {"Binds": ["a-b:/x:idmap"]}, "the volume a-b:/x:idmap"),
        ({}, {"LogConfig": {"Type": "syslog", "Config": {"a": "b"}}}, "where its log goes"),
        ({}, {"MaskedPaths": []}, "not masked"),
        ({}, {"Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 1}]}, "ulimits: Name=nofile, Soft=1, Hard=1"),
        ({}, {"KernelMemoryTCP": 5}, "KernelMemoryTCP: 5"),
    ],
)
def test_each_that_it_does_not_take(config: dict[str, Any], host: dict[str, Any], words: str) -> None:
    (found,) = copy_of(inspected(config, host), IMAGE, reveal=True).left_out
    assert words in found


def test_a_host_may_say_anything() -> None:
    odd: Any
    for odd in (7, "x", [], {"a": 1}, [1, {"x": []}], None):
        strange = dict.fromkeys(("Env", "Cmd", "Entrypoint", "Labels", "Volumes", "User", "Image"), odd)
        host = dict.fromkeys(("Binds", "Mounts", "PortBindings", "RestartPolicy", "Memory", "LogConfig"), odd)
        networks = {"NetworkSettings": {"Networks": {"a": odd}}}
        for found in (
            copy_of({"Config": strange, "HostConfig": host, **networks}, {"Config": odd, "RepoTags": odd}, reveal=True),
            copy_of({"Config": odd, "HostConfig": odd, "Id": odd, "NetworkSettings": odd}, {}, reveal=False),
        ):
            lines = [*found.command, *(found.entrypoint or []), *found.environment, *found.labels, *found.ports]
            lines += [*found.volumes, *found.left_out]
            words = [found.image, found.name, found.user, found.working_dir, found.network, found.memory, found.cpus]
            assert {type(each) for each in [*lines, *words]} == {str}, "a form shows nothing else"
            assert found.restart in spec.POLICIES
