"""What starts builds without a person: signed webhooks, the clock, a new base image."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from controlplane.access.models import Standing, User
from controlplane.lib.errors import RightMissing, Unavailable
from controlplane.lib.seal import seal
from controlplane.operations.models import Operation, State
from hosts.models import Host, HostState
from images.builds import actions, triggers
from images.builds.access import require_every_name
from images.builds.asked import Options, Source
from images.builds.models import Build, Concurrency, Definition
from tests.access.test_tokens import narrowed
from tests.builds.test_building import typed
from tests.images.working import make_host, run
from tests.support.engines import EngineProcess, unique
from tests.support.images import busybox
from tests.support.redis import RedisServer
from tests.support.registry import Registry

pytestmark = pytest.mark.django_db
SECRET = "the webhook's own secret"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def host(db: None) -> Host:
    return make_host("builder")


@pytest.fixture
def definition(administrator: User, host: Host) -> Definition:
    source = Source("git", url="https://git.example/team/app.git", ref="main")
    options = Options(host=host.pk, tags=["team/app:main", "team/hidden:main"])
    made = Definition(name="App", source=source.as_json(), options=options.as_json())
    saved = actions.save_definition(administrator, made)
    Definition.objects.filter(pk=saved.pk).update(hook_secret=seal(SECRET))
    saved.refresh_from_db()
    return saved


def body(ref: str = "refs/heads/main", commit: str = COMMIT, **more: Any) -> bytes:
    return json.dumps({"ref": ref, "after": commit, **more}).encode()


def signature(content: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


def deliver(client: Client, content: bytes, slug: str = "app", **headers: str) -> Any:
    return client.post(f"/builds/hooks/{slug}/", content, "application/json", headers=headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Hub-Signature-256": "sha256={}"},
        {"X-Gitea-Signature": "{}"},
        {"X-Gitlab-Token": SECRET},
    ],
    ids=["github", "gitea", "gitlab"],
)
def test_a_signed_push_builds_that_commit(
    client: Client, definition: Definition, redis_server: RedisServer, headers: dict[str, str]
) -> None:
    content = body(unique=unique())
    signed = {name: value.format(signature(content)) for name, value in headers.items()}
    answer = deliver(client, content, **signed)
    assert answer.status_code == 202, answer.content
    operation = Operation.objects.get(pk=answer.json()["operation"])
    build = Build.objects.get(operation=operation)
    assert (build.trigger, build.number, build.source["commit"]) == ("webhook", 1, COMMIT)
    assert operation.actor == definition.owner
    again = deliver(client, content, **signed)
    assert (again.status_code, Operation.objects.count()) == (409, 1)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hub-Signature-256": "sha256=" + "0" * 64},
        {"X-Hub-Signature-256": ""},
        {"X-Gitlab-Token": "other"},
        {"X-Gitlab-Token": ""},
        {"X-Hub-Signature-256": "sha256=ä"},
    ],
)
def test_an_unsigned_push_builds_nothing(client: Client, definition: Definition, headers: dict[str, str]) -> None:
    answer = deliver(client, body(), **headers)
    none = deliver(client, body(), slug="nobody", **headers)
    assert (answer.status_code, answer.content) == (none.status_code, none.content) == (403, none.content)
    assert not Operation.objects.exists()


def test_another_secret_and_a_changed_body_are_refused(client: Client, definition: Definition) -> None:
    good = signature(body())
    assert deliver(client, body(x=1), **{"X-Hub-Signature-256": f"sha256={good}"}).status_code == 403
    wrong = signature(body(), "another")
    assert deliver(client, body(), **{"X-Hub-Signature-256": f"sha256={wrong}"}).status_code == 403


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (body(ref="refs/heads/other"), 200),
        (body(ref="refs/tags/main"), 200),
        (body(commit="0" * 40), 200),
        (body(commit="--upload-pack=id"), 200),
        (b'{"zen": "ping"}', 200),
        (b"[]", 200),
        (b"not json", 400),
        (b"[" * 100_000, 400),
    ],
)
def test_what_is_no_push_to_its_branch_builds_nothing(
    client: Client, definition: Definition, redis_server: RedisServer, content: bytes, status: int
) -> None:
    answer = deliver(client, content, **{"X-Hub-Signature-256": f"sha256={signature(content)}"})
    assert answer.status_code == status
    assert not Operation.objects.exists()


def test_a_narrowed_token_of_its_owner_is_held_to_its_names(definition: Definition) -> None:
    assert definition.owner
    require_every_name(definition.owner, definition)
    with pytest.raises(RightMissing):
        require_every_name(narrowed(definition.owner, repositories=["team/app"]), definition)


def test_an_owner_who_lost_the_right_builds_nothing_and_it_is_shown(
    client: Client, definition: Definition, redis_server: RedisServer
) -> None:
    User.objects.filter(pk=definition.owner_id).update(standing=Standing.VIEWER)
    content = body(unique=unique())
    answer = deliver(client, content, **{"X-Hub-Signature-256": f"sha256={signature(content)}"})
    assert answer.status_code == 403
    assert not Operation.objects.exists()
    definition.refresh_from_db()
    assert "image.build" in definition.refused_why
    assert "team/" not in definition.refused_why, "who sees the definition by one name is not told the others"


def test_a_definition_without_a_branch_builds_the_default_one(
    client: Client, definition: Definition, redis_server: RedisServer
) -> None:
    source = Source("git", url="https://git.example/team/app.git")
    Definition.objects.filter(pk=definition.pk).update(source=source.as_json())
    about = {"default_branch": "main"}
    for ref, status in (("refs/heads/experiment", 200), ("refs/heads/main", 202)):
        content = body(ref=ref, repository=about, unique=unique())
        answer = deliver(client, content, **{"X-Hub-Signature-256": f"sha256={signature(content)}"})
        assert answer.status_code == status, answer.content
    assert Build.objects.get().source["ref"] == "main", "for {branch} in a tag"


def test_a_delivery_that_started_nothing_may_come_again(
    client: Client, definition: Definition, redis_server: RedisServer
) -> None:
    content = body(unique=unique())
    signed = {"X-Hub-Signature-256": f"sha256={signature(content)}"}
    User.objects.filter(pk=definition.owner_id).update(is_active=False)
    assert deliver(client, content, **signed).status_code == 409
    User.objects.filter(pk=definition.owner_id).update(is_active=True)
    assert deliver(client, content, **signed).status_code == 202


def test_saving_leaves_alone_what_changed_meanwhile(administrator: User, definition: Definition) -> None:
    stale = Definition.objects.get(pk=definition.pk)
    actions.renew_hook(administrator, definition, on=False)
    actions.start_defined(administrator, definition)
    actions.save_definition(administrator, stale)
    stale.refresh_from_db()
    assert (stale.hook_secret, stale.next_number) == ("", 2)


def test_a_new_secret_ends_the_old_one(administrator: User, client: Client, definition: Definition) -> None:
    secret = actions.renew_hook(administrator, definition, on=True)
    assert deliver(client, body(), **{"X-Gitlab-Token": SECRET}).status_code == 403
    assert secret not in str(Definition.objects.values().get())
    actions.renew_hook(administrator, definition, on=False)
    assert deliver(client, body(), **{"X-Gitlab-Token": secret}).status_code == 403


def test_a_schedule_starts_once_when_it_is_due(administrator: User, definition: Definition) -> None:
    definition.schedule = "*/5 * * * *"
    actions.save_definition(administrator, definition)
    triggers.start_due()
    assert not Operation.objects.exists()
    Definition.objects.update(next_run_at=timezone.now() - timedelta(minutes=1))
    triggers.start_due()
    triggers.start_due()
    assert Build.objects.get().trigger == "schedule"
    definition.refresh_from_db()
    assert definition.next_run_at
    assert definition.next_run_at > timezone.now()


def test_builds_of_one_definition_wait_for_each_other_or_cancel(administrator: User, definition: Definition) -> None:
    first = actions.start_defined(administrator, definition)
    second = actions.start_defined(administrator, definition)
    assert first.lane == second.lane != ""
    definition.concurrency = Concurrency.CANCEL
    actions.save_definition(administrator, definition)
    third = actions.start_defined(administrator, definition)
    states = dict(Operation.objects.values_list("pk", "state"))
    assert states == {first.pk: State.CANCELLED, second.pk: State.CANCELLED, third.pk: State.QUEUED}
    assert [build.number for build in Build.objects.order_by("pk")] == [1, 2, 3]


@pytest.mark.root
@pytest.mark.registry
@pytest.mark.django_db(transaction=True)
def test_a_new_base_image_builds_again(
    administrator: User, native: Host, native_engine: EngineProcess, registry: Registry
) -> None:
    base = registry.push(busybox(extra=b"one"), f"gantry/{unique()}:1")
    source, options = typed(f"FROM {base}\n"), Options(host=native.pk, tags=[f"gantry/{unique()}:1"])
    made = Definition(name="On base", source=source.as_json(), options=options.as_json(), follows_base=True)
    definition = actions.save_definition(administrator, made)
    triggers.look_at_bases()
    triggers.look_at_bases()
    assert not Operation.objects.exists()
    second = busybox(extra=b"two")
    registry.push(second, base.partition("/")[2])
    triggers.look_at_bases()
    operation = Operation.objects.get()
    assert Build.objects.get().trigger == "base"
    assert run(operation).state == State.SUCCEEDED, operation.error
    built = native_engine.expect("GET", f"/images/{options.tags[0]}/json")
    assert built["RootFS"]["Layers"] == json.loads(second.configuration)["rootfs"]["diff_ids"]
    triggers.look_at_bases()
    assert Operation.objects.filter(kind="image.build").count() == 1
    definition.refresh_from_db()
    assert definition.base_trouble == ""


def test_base_images_are_asked_for_through_hosts_on_which_the_owner_builds(definition: Definition, host: Host) -> None:
    """Another environment's host stands in another network, and holds other credentials."""
    Definition.objects.filter(pk=definition.pk).update(follows_base=True)
    Build.objects.create(
        operation=Operation.objects.create(kind="image.build", host=host), definition=definition, dockerfile="FROM a\n"
    )
    elsewhere = make_host("elsewhere")
    assert triggers._asking(definition)[0] == host
    Host.objects.filter(pk=host.pk).update(state=HostState.UNREACHABLE)
    assert triggers._asking(definition)[0] == elsewhere, "an administrator builds everywhere"
    User.objects.filter(pk=definition.owner_id).update(standing=Standing.MEMBER)
    with pytest.raises(Unavailable):
        triggers._asking(Definition.objects.get(pk=definition.pk))
    User.objects.filter(pk=definition.owner_id).update(standing=Standing.ADMINISTRATOR, is_active=False)
    with pytest.raises(Unavailable):
        triggers._asking(Definition.objects.get(pk=definition.pk))
