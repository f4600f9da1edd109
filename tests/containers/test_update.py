"""Other limits and another restart policy for a container that is there, on each engine."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from containers.limits import Changes
from containers.models import Container
from containers.spec import cpus_text, memory_text, parse_cpus
from controlplane.access.models import Standing, User
from controlplane.lib.errors import InvalidArgument
from controlplane.lib.typed import parse_memory
from controlplane.operations.models import Operation, State
from tests.containers.conftest import Lab
from tests.images.working import make_host

MIB = 1024 * 1024
NEVER = {"Name": "no", "MaximumRetryCount": 0}


def values(client: Client, path: str) -> dict[str, Any]:
    form = client.get(path).context["form"]
    return {name: form[name].value() for name in form.fields}


@pytest.mark.root
@pytest.mark.django_db(transaction=True)
def test_limits_of_a_running_container(lab: Lab) -> None:
    row = lab.start("-m", "64m", "--cpus", "0.5", "--pids-limit", "50")
    path = f"/containers/{row.pk}/update/"
    assert values(lab.client, path) == {
        "memory": "64m",
        "cpus": "0.5",
        "pids": 50,
        "restart": "no",
        "retries": "",
    }
    asked = {"memory": "128m", "cpus": "1.5", "pids": "60", "restart": "on-failure", "retries": "3"}
    operation = lab.post(path, **asked)
    host = lab.inspect()["HostConfig"]
    if lab.engine.kind == "podman":  # 4.3 knows no updates over this API
        assert operation.state == State.FAILED
        assert "found 404" in operation.error
        assert "Duplicate" in operation.hint
        assert host["Memory"] == 64 * MIB
        return
    assert operation.state == State.SUCCEEDED, operation.error
    assert (host["Memory"], host["MemorySwap"]) == (128 * MIB, 256 * MIB)
    assert (host["NanoCpus"], host["PidsLimit"]) == (1_500_000_000, 60)
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    told = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
    assert lab.engine.cli("exec", lab.name, "sh", "-c", told).strip() == str(128 * MIB), "it holds for what runs"
    assert values(lab.client, path) == {**asked, "pids": 60, "retries": 3}


@pytest.mark.root
@pytest.mark.django_db(transaction=True)
def test_a_stopped_one_and_what_stays_as_it_is(lab: Lab) -> None:
    if lab.engine.kind == "podman":
        pytest.skip("Podman 4.3 knows no updates over this API: see above")
    row = lab.start("--cpu-quota", "50000", "--pids-limit", "50", "--restart", "always")
    lab.engine.cli("stop", "-t", "0", lab.name)
    path = f"/containers/{row.pk}/update/"
    operation = lab.post(path, cpus="0.25", pids="")
    assert operation.state == State.SUCCEEDED, operation.error
    host = lab.inspect()["HostConfig"]
    assert (host["CpuQuota"], host["NanoCpus"]) == (25_000, 0), "in the way it was said at first"
    assert (host["PidsLimit"] or 0) <= 0
    assert (host["Memory"], host["RestartPolicy"]["Name"]) == (0, "always")
    again = lab.post(path, cpus="0.25")
    assert again.state == State.SUCCEEDED
    assert "so already" in "\n".join(again.output.values_list("text", flat=True))


@pytest.mark.root
@pytest.mark.django_db(transaction=True)
def test_a_limit_that_no_engine_takes_away(lab: Lab) -> None:
    row = lab.start("-m", "64m", "--cpus", "0.5")
    answer = lab.client.post(f"/containers/{row.pk}/update/", {"memory": "", "cpus": "0.5"})
    assert answer.status_code == 422
    assert "it has one of 64m" in answer.content.decode()
    Container.objects.filter(pk=row.pk).update(settings=None)  # as before it was inspected: the worker tells
    operation = lab.post(f"/containers/{row.pk}/update/", cpus="")
    assert operation.state == State.FAILED
    assert "it has one of 0.5" in operation.error
    assert lab.inspect()["HostConfig"]["Memory"] == 64 * MIB


@pytest.mark.parametrize(
    ("changes", "host", "body"),
    [
        (Changes(), {"Memory": 5}, {}),
        (Changes(memory=0, nano_cpus=0, pids=0, restart=NEVER), {"PidsLimit": -1, "MemorySwap": -1}, {}),
        (Changes(memory=8), {"Memory": 4, "MemorySwap": 4}, {"Memory": 8, "MemorySwap": 8}),
        (Changes(memory=8), {"Memory": 4, "MemorySwap": -1}, {"Memory": 8}),
        (Changes(memory=8), {}, {"Memory": 8, "MemorySwap": 16}),
        (Changes(nano_cpus=5), {"NanoCpus": 4, "CpuQuota": -1}, {"NanoCpus": 5}),
        (Changes(nano_cpus=10**9), {"CpuQuota": 5, "CpuPeriod": 1000}, {"CpuQuota": 1000}),
        (Changes(pids=0), {"PidsLimit": 5}, {"PidsLimit": -1}),
        (Changes(restart=NEVER), {"RestartPolicy": {"Name": ""}}, {}),
    ],
)
def test_only_what_differs_is_sent(changes: Changes, host: dict[str, Any], body: dict[str, Any]) -> None:
    assert changes.body(host) == body


def test_what_is_not_taken_away() -> None:
    for changes, host in ((Changes(memory=0), {"Memory": 5}), (Changes(nano_cpus=0), {"CpuQuota": 5000})):
        with pytest.raises(InvalidArgument):
            changes.body(host)


@pytest.mark.parametrize("size", [6 * MIB, 64 * MIB, 1024**3, 3 * 1024**4, 6 * MIB + 1, 7_000_000])
def test_a_size_is_shown_as_it_is_read(size: int) -> None:
    assert parse_memory(memory_text(size)) == size


@pytest.mark.parametrize("nano", [10_000_000, 333_333_333, 10**9, 1_500_000_000, 10**10])
def test_cpus_are_shown_as_they_are_read(nano: int) -> None:
    assert parse_cpus(cpus_text(nano)) == nano
    assert memory_text(0) == cpus_text(0) == ""


@pytest.mark.django_db
def test_bad_input_is_told_at_its_field() -> None:
    client = Client()
    client.force_login(User.objects.create(username="ada", password="!", standing=Standing.ADMINISTRATOR))
    row = Container.objects.create(host=make_host("one", cpus=2), engine_id="a" * 64, name="web", state="running")
    for typed, field in (
        ({"memory": "1m"}, "memory"),
        ({"cpus": "3"}, "cpus"),
        ({"pids": "0"}, "pids"),
        ({"restart": "sometimes"}, "restart"),
        ({"restart": "always", "retries": "3"}, "retries"),
        ({}, "__all__"),
    ):
        answer = client.post(f"/containers/{row.pk}/update/", typed)
        assert answer.status_code == 422
        assert list(answer.context["form"].errors) == [field], typed
    assert not Operation.objects.exists()


@pytest.mark.django_db
def test_a_host_that_does_not_answer_shows_no_form() -> None:
    client = Client()
    client.force_login(User.objects.create(username="ada", password="!", standing=Standing.ADMINISTRATOR))
    row = Container.objects.create(host=make_host("one"), engine_id="a" * 64, name="web", state="running")
    page = client.get(f"/containers/{row.pk}/update/").content.decode()
    assert "What it has now is not known." in page
    assert 'name="memory"' not in page, "empty fields would be read as no limits"
