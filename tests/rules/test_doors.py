"""Each restriction at each door: the form, the worker, start and restart, a terminal, a build, an update, a commit, a
duplicate."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client

from containers import actions, keeping
from containers.limits import Changes
from containers.mirror import ContainerMirror
from containers.models import Container
from containers.running import standing_violations
from controlplane.access.models import User
from controlplane.lib.seal import unseal
from controlplane.operations.models import AuditEntry, Operation, Outcome, State
from hosts.engine import engine_for
from hosts.rules.actions import save
from hosts.rules.errors import RulesBroken
from hosts.rules.facts import Facts
from hosts.rules.judge import judge
from hosts.rules.rules import Rules, parse_images
from tests.images.working import make_host, run
from tests.rules.conftest import Place
from tests.rules.table import MIB, ROWS, Row
from tests.support.engines import unique

pytestmark = [pytest.mark.root, pytest.mark.django_db(transaction=True)]
REAL = [pytest.param(row, id=row.name) for row in ROWS]
# What both engines make a container of that runs; the others are judged before any engine hears of them.
RUNNABLE = {"privileged", "host network", "bind", "capability", "memory", "root"}


def asked(actor: User, place: Place, body: dict[str, Any], *, start: bool = True) -> Operation:
    reference = body["Image"]
    body = {**body, "Cmd": ["top"]}
    return actions.run(actor, place.host, reference=reference, name=unique("door"), body=body, start=start)


def refused(operation: Operation, field: str, verb: str) -> None:
    assert operation.state == State.FAILED, operation.state
    assert field in operation.error
    entry = AuditEntry.objects.filter(outcome=Outcome.REFUSED).latest("pk")
    assert (entry.outcome, entry.verb, entry.operation) == (Outcome.REFUSED, verb, operation)
    assert field in entry.detail


@pytest.mark.parametrize("row", REAL)
def test_a_run_is_refused_when_it_is_asked_for(row: Row, ada: User, staging: Any) -> None:
    host = make_host("one", environment=staging)
    save(ada, staging, row.rules)
    if row.name == "root by the image":
        return  # known to the worker alone
    with pytest.raises(RulesBroken) as caught:
        actions.run(ada, host, reference="shop/web:dev-1", name="x", body=row.body(row.broken), start=True)
    assert row.field in [each.field for each in caught.value.violations]
    assert not Operation.objects.exists()


def test_a_run_is_judged_again_by_what_is_sent(place: Place, ada: User) -> None:
    """The rules were made after it was asked for. One engine suffices: no request reaches it."""
    for row in ROWS:
        place.rules()
        operation = asked(ada, place, row.body(row.broken))
        place.rules(**vars(row.rules))
        refused(run(operation), row.field, "container.create")
        assert not place.made()


def test_what_keeps_to_the_rules_runs(place: Place, ada: User) -> None:
    place.rules(
        images=parse_images("shop/** : dev-*"),
        no_privileged=True,
        own_namespaces=True,
        binds=("/srv/shop",),
        plain_volumes=True,
        capabilities=("CHOWN",),
        no_devices=True,
        confined=True,
        safe_sysctls=True,
        plain_runtime=True,
        memory=64 * MIB,
        nano_cpus=1_000_000_000,
        pids=100,
        read_only_root=True,
        not_root=True,
    )
    host = {"Memory": 16 * MIB, "NanoCpus": 500_000_000, "PidsLimit": 20, "ReadonlyRootfs": True, "CapAdd": ["CHOWN"]}
    body = {"Image": "shop/web:dev-1", "User": "65534", "HostConfig": {**host, "Tmpfs": {"/tmp": ""}}}
    operation = run(asked(ada, place, body))
    assert operation.state == State.SUCCEEDED, operation.error
    container = operation.result["container_id"]
    assert violations(place, container) == []
    assert [each.field for each in violations(place, container, shell_as="0")] == ["User"]


def violations(place: Place, container: str, **more: Any) -> list[Any]:
    async def ask() -> list[Any]:
        async with engine_for(place.host) as engine:
            return await standing_violations(place.host, engine, container, **more)

    return async_to_sync(ask)()


def watched(place: Place) -> None:
    async def refresh() -> None:
        async with engine_for(place.host) as engine:
            await ContainerMirror().refresh(engine, place.host)

    async_to_sync(refresh)()


@pytest.mark.parametrize("row", [row for row in REAL if row.id in RUNNABLE])
def test_a_container_that_is_there_already(place: Place, ada: User, row: Row) -> None:
    """It is shown, and neither started, restarted nor entered; stopped it may be."""
    made = run(asked(ada, place, row.body(row.broken), start=False))
    if made.state != State.SUCCEEDED:
        pytest.skip(f"{place.engine.kind}: {made.error}")
    container = made.result["container_id"]
    watched(place)
    before = actions.act(ada, actions.VERBS["start"], [Container.objects.get()], ip=None)
    save(ada, place.environment, row.rules)
    mirrored = Container.objects.get()
    assert mirrored.breaks_rules
    assert row.field in [each.field for each in keeping.broken_by(mirrored)]
    for verb in ("start", "restart"):
        with pytest.raises(RulesBroken):
            actions.act(ada, actions.VERBS[verb], [mirrored], ip=None)
    refused(run(before), row.field, "container.start")
    assert row.field in [each.field for each in violations(place, container, shell_as="")]
    assert not place.engine.expect("GET", f"/containers/{container}/json")["State"]["Running"]
    for verb in ("stop", "remove"):
        operation = run(actions.act(ada, actions.VERBS[verb], [mirrored], ip=None))
        assert operation.state == State.SUCCEEDED, operation.error
    watched(place)
    assert not Container.objects.exists()


# Each limit that an update could take away, or raise: how, and the field that is named.
UPDATES = [
    pytest.param(Rules(memory=64 * MIB), Changes(memory=65 * MIB), "HostConfig.Memory", id="more memory"),
    pytest.param(Rules(memory=16 * MIB), Changes(memory=16 * MIB), "HostConfig.MemorySwap", id="swap"),
    pytest.param(Rules(nano_cpus=10**9), Changes(nano_cpus=2 * 10**9), "HostConfig.NanoCpus", id="cpus"),
    pytest.param(Rules(pids=100), Changes(pids=101), "HostConfig.PidsLimit", id="pids"),
    pytest.param(Rules(pids=100), Changes(pids=0), "HostConfig.PidsLimit", id="no end of pids"),
]
LIMITED = {"Memory": 8 * MIB, "MemorySwap": 80 * MIB, "NanoCpus": 500_000_000, "PidsLimit": 20}


@pytest.mark.parametrize(("rules", "changes", "field"), UPDATES)
def test_an_update_takes_no_limit_away(place: Place, ada: User, rules: Rules, changes: Changes, field: str) -> None:
    made = run(asked(ada, place, {"Image": "shop/web:dev-1", "HostConfig": LIMITED}))
    assert made.state == State.SUCCEEDED, made.error
    watched(place)
    row = Container.objects.get()
    before = actions.update(ada, row, changes, ip=None)
    save(ada, place.environment, rules)
    with pytest.raises(RulesBroken) as caught:
        actions.update(ada, row, changes, ip=None)
    assert field in [each.field for each in caught.value.violations]
    refused(run(before), field, "container.update")
    found = place.engine.expect("GET", f"/containers/{row.engine_id}/json")["HostConfig"]
    assert {name: found[name] for name in LIMITED} == LIMITED


def test_an_update_that_keeps_to_the_rules(place: Place, ada: User) -> None:
    """Also one by which a container, older than they are, comes to keep to them; its writable root is not its doing."""
    run(asked(ada, place, {"Image": "shop/web:dev-1"}))
    watched(place)
    row = Container.objects.get()
    save(ada, place.environment, Rules(memory=64 * MIB, nano_cpus=10**9, pids=100, read_only_root=True))
    less = Changes(memory=64 * MIB, nano_cpus=10**9)
    with pytest.raises(RulesBroken):
        actions.update(ada, row, less, ip=None)
    whole = Changes(memory=64 * MIB, nano_cpus=10**9, pids=100)
    operation = run(actions.update(ada, row, whole, ip=None))
    assert operation.state == State.SUCCEEDED, operation.error
    found = place.engine.expect("GET", f"/containers/{row.engine_id}/json")["HostConfig"]
    assert (found["Memory"], found["NanoCpus"], found["PidsLimit"]) == (64 * MIB, 10**9, 100)


def test_what_breaks_rules_is_not_made_to_start_by_itself(place: Place, ada: User) -> None:
    made = run(asked(ada, place, {"Image": "shop/web:dev-1", "HostConfig": {"NetworkMode": "host"}}, start=False))
    watched(place)
    row = Container.objects.get()
    save(ada, place.environment, Rules(own_namespaces=True))
    always = Changes(restart={"Name": "always", "MaximumRetryCount": 0})
    refused(run(actions.update(ada, row, always, ip=None)), "HostConfig.NetworkMode", "container.update")
    found = place.engine.expect("GET", f"/containers/{made.result['container_id']}/json")
    assert found["HostConfig"]["RestartPolicy"]["Name"] in ("", "no")
    save(ada, place.environment, Rules())
    assert run(actions.update(ada, row, always, ip=None)).state == State.SUCCEEDED
    save(ada, place.environment, Rules(own_namespaces=True))
    never = Changes(restart={"Name": "no", "MaximumRetryCount": 0})
    assert run(actions.update(ada, row, never, ip=None)).state == State.SUCCEEDED, "that one may always"


def images_of(place: Place) -> set[str]:
    found = place.engine.expect("GET", "/images/json", all="true")
    return {image["Id"] for image in found}


@pytest.mark.parametrize("row", [row for row in REAL if row.id in RUNNABLE])
def test_no_image_is_made_of_a_container_that_breaks_them(place: Place, ada: User, row: Row) -> None:
    made = run(asked(ada, place, row.body(row.broken), start=False))
    if made.state != State.SUCCEEDED:
        pytest.skip(f"{place.engine.kind}: {made.error}")
    watched(place)
    before = actions.commit(ada, Container.objects.get(), "shop/web:dev-2", ip=None)
    save(ada, place.environment, row.rules)
    there = images_of(place)
    with pytest.raises(RulesBroken) as caught:
        actions.commit(ada, Container.objects.get(), "shop/web:dev-2", ip=None)
    assert row.field in [each.field for each in caught.value.violations]
    refused(run(before), row.field, "container.files")
    assert images_of(place) == there


def test_no_image_is_made_that_may_not_run_there(place: Place, ada: User) -> None:
    run(asked(ada, place, {"Image": "shop/web:dev-1"}))
    watched(place)
    row = Container.objects.get()
    before = actions.commit(ada, row, "shop/web:v2", ip=None)
    save(ada, place.environment, Rules(images=parse_images("shop/** : dev-*")))
    there = images_of(place)
    with pytest.raises(RulesBroken, match="shop/web:v2"):
        actions.commit(ada, row, "shop/web:v2", ip=None)
    refused(run(before), "repo", "container.files")
    assert images_of(place) == there
    save(ada, place.environment, Rules(images=parse_images(f"shop/** : dev-* @ {place.id_of('shop/web:dev-1')}")))
    with pytest.raises(RulesBroken, match="another digest"):
        actions.commit(ada, row, "shop/web:dev-2", ip=None)
    save(ada, place.environment, Rules(images=parse_images("shop/** : dev-*")))
    operation = run(actions.commit(ada, row, "shop/web:dev-2", changes=["USER 0"], ip=None))
    assert operation.state == State.SUCCEEDED, operation.error
    save(ada, place.environment, Rules(images=parse_images("shop/** : dev-1")))
    with pytest.raises(RulesBroken):
        asked(ada, place, {"Image": "shop/web:dev-2"})
    save(ada, place.environment, Rules(not_root=True))
    refused(run(asked(ada, place, {"Image": "shop/web:dev-2"})), "User", "container.create")


@pytest.mark.parametrize("row", [row for row in REAL if row.id in RUNNABLE])
def test_a_duplicate_of_a_container_that_breaks_them(place: Place, ada: User, row: Row) -> None:
    """What the form takes over is judged as whatever is typed there; what it does not, it says."""
    made = run(asked(ada, place, row.body(row.broken), start=False))
    if made.state != State.SUCCEEDED:
        pytest.skip(f"{place.engine.kind}: {made.error}")
    watched(place)
    save(ada, place.environment, row.rules)
    client = Client()
    client.force_login(ada)
    path = f"/containers/{Container.objects.get().pk}/duplicate/"
    context = client.get(path).context
    form = context["form"]
    typed = {name: value for name in form.fields if (value := form[name].value())}
    answer = client.post(path, typed)
    if row.name in ("privileged", "capability"):
        assert {"privileged": "that it is privileged", "capability": "added capabilities"}[row.name] in "\n".join(
            context["copy"].left_out
        )
        body = json.loads(unseal(Operation.objects.latest("pk").params["body"]))
        assert judge(row.rules, body, Facts()) == []
        return
    assert answer.status_code == 422
    page = answer.content.decode()
    assert row.field in page
    assert "Duplicate door-" in page
    assert AuditEntry.objects.latest("pk").outcome == Outcome.REFUSED


def test_rules_that_end_and_hosts_that_move_change_what_is_shown(ada: User, staging: Any) -> None:
    host = make_host("one", environment=staging)
    name = {"host": host, "name": "a", "image_ref": "shop/web:dev-1", "state": "running"}
    Container.objects.create(engine_id="a" * 64, settings={"User": "", "HostConfig": {"Privileged": True}}, **name)
    Container.objects.create(engine_id="b" * 64, settings={"User": "", "HostConfig": {}}, **name)
    save(ada, staging, Rules(no_privileged=True))
    assert [c.engine_id[0] for c in Container.objects.filter(breaks_rules=True)] == ["a"]
    client = Client()
    client.force_login(ada)
    page = client.get("/containers/?rules=broken").content.decode()
    assert page.count("data-key=") == 1
    first = Container.objects.get(engine_id="a" * 64)
    assert "It breaks the rules of shop staging" in client.get(f"/containers/{first.pk}/").content.decode()
    client.post(f"/hosts/{host.pk}/edit/", {"name": "one", "pull_limit": "3", "environment": "", "labels": ""})
    assert not Container.objects.filter(breaks_rules=True).exists()
    client.post(
        f"/hosts/{host.pk}/edit/", {"name": "one", "pull_limit": "3", "environment": str(staging.pk), "labels": ""}
    )
    assert Container.objects.filter(breaks_rules=True).count() == 1
    save(ada, staging, Rules())
    assert not Container.objects.filter(breaks_rules=True).exists()


def test_the_form_tells_each_violation_and_keeps_what_was_typed(ada: User, staging: Any) -> None:
    host = make_host("one", environment=staging)
    save(ada, staging, Rules(images=parse_images("shop/** : v*"), own_namespaces=True, memory=64 * MIB))
    client = Client()
    client.force_login(ada)
    typed = {"host": str(host.pk), "image": "shop/web:dev-1", "network": "host", "labels": "kept=yes"}
    answer = client.post("/containers/run/", typed)
    page = answer.content.decode()
    assert answer.status_code == 422
    for text in ("docker.io/shop/web:dev-1", "shop/** : v*", "HostConfig.NetworkMode", "HostConfig.Memory", "kept=yes"):
        assert text in page
    entry = AuditEntry.objects.filter(outcome=Outcome.REFUSED).latest("pk")
    assert (entry.verb, entry.outcome, entry.actor) == ("container.create", Outcome.REFUSED, ada)
    assert "HostConfig.NetworkMode" in entry.detail
    assert (
        client.post("/containers/run/", {**typed, "image": "shop/web:v1", "network": "", "memory": "32m"}).status_code
        == 302
    )


def test_saving_rules_takes_the_right_and_leaves_a_trail(ada: User, dev: User, staging: Any) -> None:
    from controlplane.lib.errors import RightMissing

    with pytest.raises(RightMissing):
        save(dev, staging, Rules(no_privileged=True))
    assert save(ada, staging, Rules(no_privileged=True, images=parse_images("shop/** : v*")))
    entry = AuditEntry.objects.latest("pk")
    assert (entry.verb, entry.target_name) == ("rules.manage", "shop staging")
    assert "no privileged containers: no → yes" in entry.detail
    assert "images: any → shop/** : v*" in entry.detail
    assert not save(ada, staging, Rules(no_privileged=True, images=parse_images("shop/** : v*")))
