"""Which address leaves what in the audit trail: every route and stream, entry by entry, and nothing besides.

A route that changes something and is in neither table below fails here: whoever adds one says what it leaves.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import secrets
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from gantry_agent import keys

from controlplane.lib.seal import seal
from controlplane.operations import refusals
from controlplane.operations.models import AuditEntry, Operation, Outcome, RefusalCount, State
from controlplane.operations.verify import verify
from hosts.models import EnrolmentToken
from images.builds.asked import Options, Source
from images.builds.models import Build
from tests.security.access_changes import ACCESS
from tests.security.changes import Change, form, one
from tests.security.fleet import Fleet
from tests.security.routes import NEVER, TABLE, address

pytestmark = pytest.mark.django_db

HOOK = "the webhook's own secret"


def _enrol(client: Client, path: str, fleet: Fleet) -> Any:
    _, token = EnrolmentToken.issue(fleet.host, fleet.administrator)
    said = {"token": token, "public_key": keys.public_text(keys.generate()), "hostname": "box", "agent_version": "1"}
    return Client().post(path, json.dumps(said), "application/json")


def _hook(client: Client, path: str, fleet: Fleet) -> Any:
    # A delivery is taken once, whichever test it was.
    body = json.dumps({"ref": "refs/heads/main", "after": "1" * 40, "id": secrets.token_hex()}).encode()
    signature = hmac.new(HOOK.encode(), body, hashlib.sha256).hexdigest()
    return Client().post(path, body, "application/json", headers={"X-Gitea-Signature": signature})


def _define(fleet: Fleet) -> None:
    """A definition that can be built, on a host that builds, with a webhook; a build that can be done again."""
    source = Source("typed", dockerfile="FROM scratch\nCOPY x /x\n").as_json()
    options = Options(host=fleet.host.pk, tags=["web:1"]).as_json()
    found = fleet.definition
    found.name, found.source, found.options, found.owner = "App", source, options, fleet.administrator
    found.hook_secret = seal(HOOK)
    found.save()
    Build.objects.filter(pk=fleet.build.pk).update(source=source, options=options, definition=None, tags=["web:1"])


def _tar(fleet: Fleet) -> int:
    """The upload's file is whole; its size."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("Dockerfile"), io.BytesIO())
    upload = fleet.upload
    upload.path.parent.mkdir(parents=True, exist_ok=True)
    upload.path.write_bytes(packed.getvalue())
    type(upload).objects.filter(pk=upload.pk).update(owner=fleet.administrator, finished_at=None)
    return len(packed.getvalue())


def _finish(client: Client, path: str, fleet: Fleet) -> Any:
    return client.post(path, json.dumps({"size": _tar(fleet)}), "application/json")


def _drop(client: Client, path: str, fleet: Fleet) -> Any:
    _tar(fleet)
    return client.delete(path)


def _json(**said: Any) -> Callable[[Client, str, Fleet], Any]:
    return lambda client, path, fleet: client.post(path, json.dumps(said), "application/json")


def _queued(fleet: Fleet) -> None:
    Operation.objects.filter(pk=fleet.operation.pk).update(state=State.QUEUED)


BUILD = form(
    kind="typed", dockerfile="FROM scratch\nCOPY x /x\n", where=lambda fleet: f"host:{fleet.host.pk}", tags="a:1"
)

CHANGES: dict[str, Change] = {
    **ACCESS,
    "agent/enrol": one("host.enrol", "host", "agent", post=_enrol),
    "operations/<int:pk>/cancel/": Change(
        [("operation.cancel", "operation", "page"), ("operation.ended", "container", "page")], before=_queued
    ),
    "operations/<int:pk>/retry/": one("container.stop", "container"),
    "hosts/add/": one("host.manage", "host", form=form(name="new")),
    "hosts/environments/": one("host.manage", "environment", form=form(name="New")),
    "hosts/environments/<int:pk>/remove/": one("host.manage", "environment"),
    "hosts/environments/<int:pk>/rules/": one("rules.manage", "environment", form=form(do="save", no_privileged="on")),
    "hosts/<int:pk>/edit/": one("host.manage", "host", form=form(name="other", pull_limit="2")),
    "hosts/<int:pk>/token/": one("host.manage", "host"),
    "hosts/<int:pk>/rotate/": one("host.manage", "host"),
    "hosts/<int:pk>/remove/": one("host.manage", "host", form=form(confirm=lambda fleet: fleet.host.name)),
    "images/pull/": one("image.pull", "image", form=form(reference="nginx", hosts=lambda fleet: fleet.host.pk)),
    "images/remove/": one(
        "image.delete",
        "image",
        form=form(
            images=lambda fleet: f"{fleet.host.pk}|{fleet.tag.image.engine_id}|{fleet.tag.reference}", confirmed="1"
        ),
    ),
    "builds/new/": one("image.build", "build", form=BUILD),
    "builds/<int:pk>/rebuild/": one("image.build", "build", before=_define),
    "builds/<int:pk>/push/": one("image.push", "image", before=_define),
    "builds/uploads/<slug:ident>/": one("image.build", "upload", post=_drop),
    "builds/uploads/<slug:ident>/finish/": one("image.build", "upload", post=_finish),
    "builds/definitions/new/": one(
        "image.build", "definition", form=lambda fleet: {**BUILD(fleet), "name": "Other", "concurrency": "queue"}
    ),
    "builds/definitions/<slug:slug>/edit/": one(
        "image.build",
        "definition",
        before=_define,
        form=lambda fleet: {**BUILD(fleet), "name": "Other", "concurrency": "queue"},
    ),
    "builds/definitions/<slug:slug>/build/": one("image.build", "build", before=_define),
    "builds/definitions/<slug:slug>/delete/": one("image.build", "definition"),
    "builds/definitions/<slug:slug>/webhook/": one("image.build", "definition"),
    "builds/hooks/<slug:slug>/": one("image.build", "build", "webhook", before=_define, post=_hook),
    "builds/credentials/new/": one("registry.manage", "credential", form=form(name="other", kind="secret", secret="x")),
    "builds/credentials/<slug:name>/": one("registry.manage", "credential", form=form(secret="x")),
    "builds/credentials/<slug:name>/delete/": one("registry.manage", "credential"),
    "containers/run/": one(
        "container.create",
        "image",
        form=form(host=lambda fleet: fleet.host.pk, image="nginx", name="other", do="create"),
    ),
    "containers/do/<slug:verb>/": one("container.stop", "container", form=form(ids=lambda fleet: fleet.container.pk)),
    "containers/<int:pk>/reveal/": one("container.secrets", "container"),
    "containers/<int:pk>/rename/": one("container.update", "container", form=form(name="other")),
    "containers/<int:pk>/update/": one("container.update", "container", form=form(memory="64m", restart="always")),
    "containers/<int:pk>/commit/": one("container.files", "container", form=form(reference="web:dev-2", pause="on")),
    "containers/<int:pk>/duplicate/": one(
        "container.create",
        "image",
        form=form(host=lambda fleet: fleet.host.pk, image="nginx", name="other", do="create"),
    ),
    "recordings/<int:pk>/remove/": one("recording.remove", "recording"),
}

# POST, and yet nothing is changed that outlives the answer or that anybody would ask for.
NO_CHANGE = {
    "access/grants/preview/": "says what a grant would cover",
    "account/confirm/": "is remembered for ten minutes, by the session alone",
    "builds/lint/": "says what a text is worth",
    "builds/uploads/": "keeps a place for files; that they came, or went, is written down",
}

# A reading of a host, which needs one: tests/security/test_audit_streams.py.
STREAMED = {"containers/<int:pk>/logs/download/"}

# GET and POST alike show it: there is no form of it that would change anything.
LOOKS = {
    "",
    "account/second-factor/",
    "people/",
    "people/tokens/",
    "access/roles/",
    "access/grants/",
    "operations/",
    "operations/audit/",
    "operations/audit/<int:pk>/",
    "operations/<int:pk>/",
    "hosts/",
    "hosts/<int:pk>/",
    "images/",
    "builds/",
    "builds/<int:pk>/",
    "builds/<int:pk>/compare/",
    "builds/definitions/",
    "builds/definitions/<slug:slug>/",
    "builds/credentials/",
    "containers/",
    "containers/<int:pk>/",
    "containers/<int:pk>/inspect/",
    "containers/<int:pk>/logs/",
    "containers/<int:pk>/terminal/",
    "recordings/",
    "recordings/<int:pk>/",
    "recordings/<int:pk>/watch/",
}

READS = {
    "operations/audit/export/": ["audit.see"],
    "recordings/<int:pk>/cast/": ["recording.see"],
    "recordings/<int:pk>/download/": ["recording.see"],
}


def test_every_change_says_what_it_leaves() -> None:
    posted = {route for route, rule in TABLE.items() if rule.post != NEVER}
    said = [*CHANGES, *NO_CHANGE, *LOOKS, *STREAMED]
    assert len(said) == len(set(said))
    assert posted == set(said) - {"builds/uploads/<slug:ident>/"}, "that one: by DELETE"
    assert set(said) <= set(TABLE)


@pytest.mark.parametrize("route", CHANGES)
@pytest.mark.usefixtures("redis_server")  # where deliveries of webhooks are remembered
def test_a_change_leaves_exactly_its_entries(administrator: Client, fleet: Fleet, route: str) -> None:
    change = CHANGES[route]
    change.before(fleet)
    last = AuditEntry.objects.latest("seq").seq
    path = address(route, fleet)
    post = change.post or (lambda client, path, fleet: client.post(path, change.form(fleet)))
    answer = post(administrator, path, fleet)
    assert answer.status_code in change.answers, answer.content.decode()[:3000]
    left = AuditEntry.objects.filter(seq__gt=last).order_by("seq")
    assert [(entry.verb, entry.target_kind, entry.door) for entry in left] == change.leaves
    for entry in left:
        assert entry.outcome == Outcome.ALLOWED
        assert entry.ip == "127.0.0.1"
        assert entry.actor_name != "anonymous"
        assert entry.detail
    assert verify([]).findings == ()


ABOUT_A_HOST = [
    route
    for route in CHANGES
    if route.startswith(
        ("hosts/<int:pk>", "images/", "containers/", "builds/new", "operations/<int:pk>/retry", "recordings/")
    )
]


@pytest.mark.parametrize("route", ABOUT_A_HOST)
def test_it_names_host_and_environment(administrator: Client, fleet: Fleet, route: str) -> None:
    change = CHANGES[route]
    change.before(fleet)
    typed = {"environment": fleet.environment.pk} if "edit" in route else {}
    administrator.post(address(route, fleet), {**change.form(fleet), **typed})
    entry = AuditEntry.objects.latest("seq")
    assert (entry.environment, entry.environment_row) == (fleet.environment.name, fleet.environment)
    assert entry.host_name in (fleet.host.name, "other")


@pytest.mark.parametrize("route", NO_CHANGE)
def test_what_changes_nothing_leaves_nothing(administrator: Client, fleet: Fleet, route: str) -> None:
    last = AuditEntry.objects.latest("seq").seq
    said = json.dumps({"dockerfile": "FROM x", "name": "x"})
    assert administrator.post(address(route, fleet), said, "application/json").status_code in (200, 201)
    assert AuditEntry.objects.latest("seq").seq == last


@pytest.mark.parametrize("route", [route for route, rule in TABLE.items() if rule.get != NEVER])
def test_looking_at_a_page_leaves_nothing_but_where_it_says_so(administrator: Client, fleet: Fleet, route: str) -> None:
    last = AuditEntry.objects.latest("seq").seq
    administrator.get(address(route, fleet))
    left = AuditEntry.objects.filter(seq__gt=last)
    assert [entry.verb for entry in left] == READS.get(route, [])


# --- Refusals ---


def test_what_may_not_be_seen_and_what_is_not_there_are_written_down_alike(
    administrator: Client, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/containers/{fleet.container.pk}/"
    monkeypatch.setattr("controlplane.access.decide.visible", lambda actor, verb, queryset: queryset.none())
    assert administrator.get(path).status_code == 404
    entry = AuditEntry.objects.latest("seq")
    assert (entry.verb, entry.outcome, entry.target_kind) == ("container.see", Outcome.REFUSED, "container")
    assert (entry.target_name, entry.detail) == (fleet.container.name, f"GET {path}")
    assert administrator.get("/containers/999999/").status_code == 404
    entry = AuditEntry.objects.latest("seq")
    assert (entry.verb, entry.outcome, entry.target_id) == ("container.see", Outcome.MISSING, "999999")
    assert administrator.get("/no/such/page/").status_code == 404
    assert AuditEntry.objects.latest("seq") == entry, "an address that is none was refused to nobody"


def test_repeated_refusals_are_counted_and_summed_up(
    viewer: Client, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "this_minute", lambda: 30_000_000)
    before = AuditEntry.objects.count()
    for _ in range(refusals.MOST_A_MINUTE + 7):
        assert viewer.get("/people/").status_code == 403
    written = AuditEntry.objects.count() - before
    assert RefusalCount.objects.get().count == refusals.MOST_A_MINUTE + 7
    assert written == refusals.MOST_A_MINUTE
    refusals.sum_up()
    assert AuditEntry.objects.count() == before + written, "the minute is not over"
    RefusalCount.objects.all().delete()


def test_a_minute_that_is_over_becomes_one_entry(viewer: Client, fleet: Fleet) -> None:
    viewer.get("/people/")
    RefusalCount.objects.update(count=refusals.MOST_A_MINUTE + 7, minute=1)
    refusals.sum_up()
    entry = AuditEntry.objects.latest("seq")
    assert (entry.verb, entry.outcome, entry.actor) == ("access.refused", Outcome.REFUSED, fleet.viewer)
    assert entry.detail.startswith("7 more refusals within the same minute, the last: access.manage GET /people/")
    assert not RefusalCount.objects.exists()
    refusals.sum_up()
    assert AuditEntry.objects.latest("seq") == entry


def test_one_persons_refusals_hide_no_others(viewer: Client, administrator: Client, fleet: Fleet) -> None:
    viewer.get("/people/")
    RefusalCount.objects.update(count=10**6)
    assert administrator.get("/containers/999999/").status_code == 404
    assert AuditEntry.objects.latest("seq").actor == fleet.administrator


def test_a_webhook_with_a_wrong_signature_is_written_down(client: Client, fleet: Fleet) -> None:
    _define(fleet)
    for slug, outcome in ((fleet.definition.slug, Outcome.REFUSED), ("no-such", Outcome.MISSING)):
        answer = client.post(f"/builds/hooks/{slug}/", b"{}", "application/json", headers={"X-Gitlab-Token": "x"})
        assert answer.status_code == 403
        entry = AuditEntry.objects.latest("seq")
        assert (entry.verb, entry.outcome, entry.door) == ("image.build", outcome, "webhook")
        assert (entry.target_kind, entry.target_id, entry.actor) == ("definition", slug, None)


@pytest.mark.usefixtures("redis_server")
def test_a_trigger_whose_owner_lost_the_right_is_written_down(client: Client, fleet: Fleet) -> None:
    _define(fleet)
    fleet.definition.owner = fleet.viewer
    fleet.definition.save()
    assert _hook(client, f"/builds/hooks/{fleet.definition.slug}/", fleet).status_code == 403
    entry = AuditEntry.objects.latest("seq")
    assert (entry.verb, entry.outcome, entry.actor) == ("image.build", Outcome.REFUSED, fleet.viewer)
    assert entry.door == "webhook"
