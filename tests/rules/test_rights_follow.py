"""Whatever is done to images on the host itself, a developer reaches through Gantry what was granted, and no more."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client

from containers import actions, committing
from containers.access import seen_by
from containers.mirror import ContainerMirror
from containers.models import Container
from controlplane.access.models import Role, User
from controlplane.access.rights import forget
from controlplane.lib.errors import Conflict, RightMissing
from controlplane.operations.models import AuditEntry, Operation, Outcome, State
from hosts.engine import engine_for
from hosts.rules.errors import RulesBroken
from images.mirror import ImageMirror
from tests.images.working import run
from tests.rules.conftest import Place, grant
from tests.support.engines import unique
from tests.support.images import digest
from tests.support.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.django_db(transaction=True)]


def asked(actor: User, place: Place, image: str, **body: Any) -> Operation:
    """A run as the form asks for it."""
    return actions.run(
        actor,
        place.host,
        reference=image,
        name=unique("rules"),
        body={"Image": image, "Cmd": ["top"], **body},
        start=True,
    )


def refused(operation: Operation, verb: str) -> str:
    """It failed for want of a right, which is audited, and left nothing."""
    assert operation.state == State.FAILED, operation.state
    assert verb in operation.error, operation.error
    entry = AuditEntry.objects.filter(outcome=Outcome.REFUSED).latest("pk")
    assert (entry.verb, entry.outcome, entry.operation) == (verb, Outcome.REFUSED, operation)
    assert "secret" not in operation.error + operation.hint
    return operation.error


def watched(place: Place) -> None:
    """What the mirror makes of the host now."""

    async def refresh() -> None:
        async with engine_for(place.host) as engine:
            await ImageMirror().refresh(engine, place.host)
            await ContainerMirror().refresh(engine, place.host)

    async_to_sync(refresh)()


def images_of(place: Place) -> set[str]:
    return {str(each["Id"]) for each in place.engine.expect("GET", "/images/json", all="true")}


def shown(actor: User) -> set[str]:
    forget(actor)
    return set(seen_by(actor).values_list("name", flat=True))


def test_a_run_has_the_image_that_was_judged(place: Place, dev: User) -> None:
    operation = run(asked(dev, place, "shop/web:dev-1"))
    assert operation.state == State.SUCCEEDED, operation.error
    made = place.engine.expect("GET", f"/containers/{operation.result['container_id']}/json")
    assert made["Config"]["Image"] == "shop/web:dev-1"
    assert made["Image"] == place.id_of("shop/web:dev-1") == operation.result["judged_image"]
    assert made["State"]["Running"]


def test_what_was_not_granted_is_not_run(place: Place, dev: User) -> None:
    for image in ("secret/app:prod", "shop/web:v1", "nginx"):
        with pytest.raises(RightMissing):
            asked(dev, place, image)


def test_an_id_is_no_name(place: Place, dev: User, ada: User) -> None:
    whole = place.id_of("secret/app:prod")
    for image in (whole, whole.removeprefix("sha256:"), whole[7:19]):
        with pytest.raises(RightMissing):
            asked(dev, place, image)
    operation = run(asked(ada, place, whole))
    assert operation.state == State.FAILED
    assert "an image’s id" in operation.error.replace("engine reads as ", "")


def test_a_name_that_engines_find_an_id_by(place: Place, dev: User, staging: Any) -> None:
    """A grant over all of Docker Hub's own: the beginning of an id is read as one of those names."""
    grant(dev, staging, "*", role="developer")
    forget(dev)
    short = place.id_of("secret/app:prod")[7:15]
    operation = run(asked(dev, place, f"{short}:latest"))
    assert operation.state == State.FAILED
    assert not place.made()


def test_a_digest_of_another_repository(place: Place, dev: User, staging: Any) -> None:
    grant(dev, staging, "shop/*", role="developer")
    forget(dev)
    for name in ("shop/web", "shop/web:dev-1"):
        operation = run(asked(dev, place, f"{name}@{place.id_of('secret/app:prod')}"))
        assert operation.state == State.FAILED
        assert not place.made()


def test_a_digest_of_the_repository_itself(place: Place, dev: User, staging: Any, registry: Registry) -> None:
    reference = registry.push(place.shop, "rules/web:dev-1")
    pinned = f"{reference.rpartition(':')[0]}@{digest(place.shop.manifest)}"
    with pytest.raises(RightMissing):
        asked(dev, place, pinned)
    grant(dev, staging, f"{registry.address}/rules/*", role="developer")
    grant(dev, staging, "**/shop/*", role="developer")  # the engine holds the same image under that name too
    forget(dev)
    operation = run(asked(dev, place, pinned))
    assert operation.state == State.SUCCEEDED, operation.error
    assert run(asked(dev, place, pinned)).state == State.SUCCEEDED, "and again, now that it is there"
    place.engine.remove_containers()
    place.engine.request("DELETE", f"/images/{pinned}", force="true")


def test_a_tag_given_on_the_host(place: Place, dev: User, tenant: User) -> None:
    place.engine.cli("run", "-d", "--name", "secret-1", "secret/app:prod", "top")
    place.engine.cli("tag", "secret/app:prod", "shop/web:dev-9")
    watched(place)
    assert (shown(dev), shown(tenant)) == (set(), {"secret-1"})
    refused(run(asked(dev, place, "shop/web:dev-9")), "image.run")
    assert run(asked(tenant, place, "secret/app:prod")).state == State.FAILED, "nor the other way round"
    place.engine.cli("rmi", "shop/web:dev-9")
    assert run(asked(tenant, place, "secret/app:prod")).state == State.SUCCEEDED


def test_another_tag_of_the_same_repository_is_a_promotion(place: Place, dev: User) -> None:
    place.engine.cli("tag", "shop/web:dev-1", "shop/web:v1")
    assert run(asked(dev, place, "shop/web:dev-1")).state == State.SUCCEEDED


def test_a_name_moved_on_the_host(place: Place, dev: User, tenant: User) -> None:
    """A container keeps the reference it was created from, whatever becomes of that name and of its own."""
    place.engine.cli("run", "-d", "--name", "secret-1", "secret/app:prod", "top")
    place.engine.cli("run", "-d", "--name", "shop-1", "shop/web:dev-1", "top")
    place.engine.cli("rename", "secret-1", "shop-web-dev-2")
    place.engine.cli("tag", "shop/web:dev-1", "secret/app:prod")
    watched(place)
    assert (shown(dev), shown(tenant)) == ({"shop-1"}, {"shop-web-dev-2"})


def test_a_commit_on_the_host(place: Place, dev: User, tenant: User) -> None:
    place.engine.cli("run", "-d", "--name", "secret-1", "secret/app:prod", "top")
    place.engine.cli("commit", "secret-1", "shop/web:dev-10")
    refused(run(asked(dev, place, "shop/web:dev-10")), "image.pull")
    nameless = place.engine.cli("commit", "secret-1").strip()
    with pytest.raises(RightMissing):
        asked(dev, place, nameless)


def test_a_commit_of_ones_own(place: Place, dev: User) -> None:
    place.engine.cli("run", "-d", "--name", "shop-1", "shop/web:dev-1", "top")
    place.engine.cli("commit", "shop-1", "shop/web:dev-11")
    assert run(asked(dev, place, "shop/web:dev-11")).state == State.SUCCEEDED


def committed(actor: User, name: str, reference: str, **more: Any) -> Operation:
    """Of the container `name`, as its page asks for it."""
    return actions.commit(actor, Container.objects.get(name=name), reference, ip=None, **more)


def test_a_commit_through_gantry(place: Place, dev: User, tenant: User, staging: Any) -> None:
    """Of one's own, to a name one may build; of another's it cannot be asked for, whatever the name."""
    place.engine.cli("run", "-d", "--name", "secret-1", "secret/app:prod", "top")
    place.engine.cli("run", "-d", "--name", "shop-1", "shop/web:dev-1", "top")
    watched(place)
    own = run(committed(dev, "shop-1", "shop/web:dev-11"))
    assert own.state == State.SUCCEEDED, own.error
    assert run(asked(dev, place, "shop/web:dev-11")).state == State.SUCCEEDED
    for name, reference, verb in (
        ("secret-1", "shop/web:dev-12", "container.files"),
        ("secret-1", "secret/app:dev-1", "container.files"),
        ("shop-1", "shop/web:v1", "image.build"),
        ("shop-1", "secret/app:prod", "image.build"),
        ("shop-1", "nginx:latest", "image.build"),
    ):
        with pytest.raises(RightMissing) as caught:
            committed(dev, name, reference)
        assert caught.value.verb == verb
    client = Client()
    client.force_login(dev)
    secret = Container.objects.get(name="secret-1")
    for method in (client.get, client.post):
        assert method(f"/containers/{secret.pk}/commit/", {"reference": "shop/web:dev-12"}).status_code == 404
    assert Operation.objects.filter(kind="container.commit").count() == 1


@pytest.mark.parametrize(
    "lacking", ["container.files", "container.exec", "image.pull", "image.build", "container.stop"]
)
def test_what_a_commit_takes(place: Place, staging: Any, lacking: str) -> None:
    """Files are in the image, and variables; it is a use of the image, gives a name, and pauses the container."""
    place.engine.cli("run", "-d", "--name", "shop-1", "shop/web:dev-1", "top")
    watched(place)
    user = User.objects.create(username="ops")
    role = grant(user, staging, "shop/*", role="developer").role
    asked_before = committed(user, "shop-1", "shop/web:dev-13")
    verbs = [verb for verb in role.verbs if verb != lacking]
    user.grants.update(role=Role.objects.create(slug="less", name="less", description="", verbs=verbs))
    forget(user)
    with pytest.raises(RightMissing) as caught:
        committed(user, "shop-1", "shop/web:dev-13")
    assert caught.value.verb == lacking
    before = images_of(place)
    refused(run(asked_before), lacking)
    assert images_of(place) == before
    if lacking == "container.stop":
        operation = run(committed(user, "shop-1", "shop/web:dev-13", pause=False))
        assert operation.state == State.SUCCEEDED, operation.error


def test_a_commit_to_another_repository_widens_nothing(place: Place, dev: User, tenant: User, staging: Any) -> None:
    """By somebody with a right to both names. Who has one to the new name alone reads nothing of it, whatever becomes
    of the old one; nor by way of an image that is made of that."""
    both = User.objects.create(username="both")
    grant(both, staging, "shop/*", "secret/**", role="developer")
    place.engine.cli("run", "-d", "--name", "secret-1", "secret/app:prod", "top")
    watched(place)
    first = run(committed(both, "secret-1", "shop/web:dev-14"))
    assert first.state == State.SUCCEEDED, first.error
    assert first.image_name is None, "nor do others read of it"
    assert run(asked(both, place, "shop/web:dev-14")).state == State.SUCCEEDED
    assert "image.pull" in refused(run(asked(dev, place, "shop/web:dev-14")), "image.pull")
    place.engine.cli("run", "-d", "--name", "both-1", "shop/web:dev-14", "top")
    watched(place)
    second = run(committed(both, "both-1", "shop/web:dev-15"))
    assert second.state == State.SUCCEEDED, second.error
    place.engine.remove_containers()
    for name in ("secret/app:prod", "shop/web:dev-14"):
        place.engine.request("DELETE", f"/images/{name}", force="true", noprune="true")
    refused(run(asked(dev, place, "shop/web:dev-15")), "image.pull")
    place.engine.cli("run", "-d", "--name", "dev-1", "shop/web:dev-15", "top")
    watched(place)
    refused(run(committed(dev, "dev-1", "shop/web:dev-16")), "image.pull")
    assert run(asked(both, place, "shop/web:dev-15")).state == State.SUCCEEDED


def test_a_commit_of_what_was_made_by_an_id(place: Place, dev: User, ada: User) -> None:
    place.engine.cli("run", "-d", "--name", "by-id", place.id_of("secret/app:prod"), "top")
    watched(place)
    with pytest.raises(RightMissing):
        committed(dev, "by-id", "shop/web:dev-17")
    operation = run(committed(ada, "by-id", "shop/web:dev-17"))
    assert operation.state == State.SUCCEEDED, operation.error
    place.engine.remove_containers()
    place.engine.request("DELETE", "/images/secret/app:prod", force="true", noprune="true")
    refused(run(asked(dev, place, "shop/web:dev-17")), "image.pull")


def test_a_name_that_a_commit_takes_over_is_the_last_thing_done(
    place: Place, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is known what it was made of, it is nobody's to use."""
    place.engine.cli("run", "-d", "--name", "shop-1", "shop/web:dev-1", "top")
    watched(place)
    before = place.id_of("shop/web:dev-1")

    def broken(*_: Any) -> None:
        raise Conflict("the database has gone")

    monkeypatch.setattr(committing, "remember_origins", broken)
    assert run(committed(ada, "shop-1", "shop/web:dev-1")).state == State.FAILED
    assert place.id_of("shop/web:dev-1") == before
    monkeypatch.undo()
    assert run(committed(ada, "shop-1", "shop/web:dev-1")).state == State.SUCCEEDED
    assert place.id_of("shop/web:dev-1") != before


def test_a_duplicate_takes_the_right_to_the_image(place: Place, dev: User, staging: Any) -> None:
    place.engine.cli("run", "-d", "--name", "secret-1", "secret/app:prod", "top")
    place.engine.cli("run", "-d", "--name", "shop-1", "shop/web:dev-1", "top")
    watched(place)
    client = Client()
    client.force_login(dev)
    secret, shop = (Container.objects.get(name=name).pk for name in ("secret-1", "shop-1"))
    assert client.get(f"/containers/{secret}/duplicate/").status_code == 404
    typed = {"host": str(place.host.pk), "image": "secret/app:prod"}
    assert client.post(f"/containers/{shop}/duplicate/", typed).status_code == 403
    answer = client.post(f"/containers/{shop}/duplicate/", {**typed, "image": "shop/web:dev-1", "command": "top"})
    assert answer.status_code == 302
    assert run(Operation.objects.latest("pk")).state == State.SUCCEEDED


def test_save_and_load(place: Place, dev: User) -> None:
    """Loaded again it has the same id; under another name it is the same image."""
    place.engine.load(place.secret.archive("shop/web:dev-12"))
    refused(run(asked(dev, place, "shop/web:dev-12")), "image.run")


def test_a_container_made_by_an_id(place: Place, dev: User, tenant: User, ada: User) -> None:
    place.engine.cli("run", "-d", "--name", "by-id", place.id_of("secret/app:prod"), "top")
    place.engine.cli("run", "-d", "--name", "by-id-2", place.id_of("shop/web:dev-1"), "top")
    watched(place)
    assert (shown(dev), shown(tenant)) == (set(), set())
    assert shown(ada) == {"by-id", "by-id-2"}


def test_a_tag_that_moves_while_its_container_is_made(place: Place, dev: User, monkeypatch: pytest.MonkeyPatch) -> None:
    from containers import running

    create = running._create

    async def late(work: Any, engine: Any, body: Any) -> str:
        place.engine.cli("tag", "secret/app:prod", "shop/web:dev-1")
        return await create(work, engine, body)

    monkeypatch.setattr(running, "_create", late)
    operation = run(asked(dev, place, "shop/web:dev-1"))
    assert operation.state == State.FAILED
    assert "came to stand for another image" in operation.error
    assert not place.made()


def test_a_pull_takes_its_right_when_it_comes_to_that(place: Place, staging: Any) -> None:
    user = User.objects.create(username="ops")
    role = grant(user, staging, "shop/*", role="operator").role
    role.verbs, role.slug, role.pk = [v for v in role.verbs if v != "image.pull"], "no-pull", None
    role.name, role.built_in = "no pull", False
    role.save()
    user.grants.update(role=role)
    refused(run(asked(user, place, "shop/web:dev-404")), "image.pull")
    assert run(asked(user, place, "shop/web:dev-1")).state == State.SUCCEEDED


@pytest.mark.parametrize(
    ("body", "verb"),
    [
        ({"HostConfig": {"NetworkMode": "container:secret-1"}}, "container.create"),
        ({"HostConfig": {"PidMode": "container:secret-1"}}, "container.exec"),
        ({"HostConfig": {"IpcMode": "container:secret-1"}}, "container.exec"),
        ({"HostConfig": {"VolumesFrom": ["secret-1:ro"]}}, "container.create"),
        ({"HostConfig": {"Links": ["secret-1:db"]}}, "container.exec"),
        ({"HostConfig": {"Binds": ["secret-data:/x"]}}, "container.create"),
        ({"HostConfig": {"Mounts": [{"Type": "volume", "Source": "secret-data", "Target": "/x"}]}}, "container.create"),
    ],
)
def test_nothing_is_shared_with_a_container_of_others(
    place: Place, dev: User, tenant: User, body: dict[str, Any], verb: str
) -> None:
    place.engine.cli("run", "-d", "--name", "secret-1", "-v", "secret-data:/data", "secret/app:prod", "top")
    assert "secret-1" not in refused(run(asked(dev, place, "shop/web:dev-1", **body)), verb)
    place.engine.request("DELETE", "/containers/secret-1", force="true")
    place.engine.request("DELETE", "/volumes/secret-data")


def test_a_container_of_ones_own_is_shared_with(place: Place, dev: User) -> None:
    first = run(asked(dev, place, "shop/web:dev-1"))
    body = {"HostConfig": {"NetworkMode": f"container:{first.target_name}"}}
    second = run(asked(dev, place, "shop/web:dev-1", **body))
    assert second.state == State.SUCCEEDED, second.error


def test_an_image_is_not_mounted_without_a_right(place: Place, dev: User) -> None:
    mount = {"Type": "image", "Source": "secret/app:prod", "Target": "/x"}
    with pytest.raises(RulesBroken) as caught:
        asked(dev, place, "shop/web:dev-1", HostConfig={"Mounts": [mount]})
    assert [each.field for each in caught.value.violations] == ["HostConfig.Mounts[0].Type"]


def test_rights_that_ended_while_it_waited(place: Place, dev: User) -> None:
    operation = asked(dev, place, "shop/web:dev-1")
    dev.grants.all().delete()
    refused(run(operation), "container.create")
