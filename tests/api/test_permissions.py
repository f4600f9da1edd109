"""Every operation of the API against everybody: nobody, a viewer, a member with a tag, an administrator."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from controlplane.access.models import Grant, Role, Standing, User
from controlplane.access.naming import cover_again, intern_one
from controlplane.access.roles import ALL_VERBS, BUILT_IN, STANDING, WHOLE_VERBS
from controlplane.access.tokens import Narrowing
from controlplane.api.description import each
from controlplane.api.service import described
from controlplane.operations.models import AuditEntry, Operation, Outcome
from images.builds.models import Definition
from tests.api.conftest import UNUSABLE, client_with, issue
from tests.api.table import ANYBODY, TABLE, TAR, World, make

JSON = "application/json"
DEVELOPER = BUILT_IN["developer"][2] - WHOLE_VERBS
OPERATIONS = {operation["operationId"]: (method, path) for path, method, operation in each(described())}
# What whoever may do everything in one environment gets there, and elsewhere. Teams, roles and people are of none.
STEWARD = {
    "get_rules": (200, 404),
    "change_rules": (200, 404),
    "preview_rules": (200, 404),
    "list_teams": (200, 200),
    "add_team": (403, 403),
    "get_team": (200, 200),
    "change_team": (403, 403),
    "remove_team": (403, 403),
    "add_members": (403, 403),
    "take_member": (403, 403),
    "list_roles": (200, 200),
    "add_role": (403, 403),
    "get_role": (200, 200),
    "change_role": (403, 403),
    "remove_role": (403, 403),
    "ask_second_factor": (403, 403),
    "list_grants": (200, 200),
    "add_grant": (201, 422),
    "preview_grant": (200, 422),
    "get_grant": (200, 404),
    "change_grant": (200, 404),
    "remove_grant": (204, 404),
    "why": (200, 422),  # somebody who holds nothing inside is nobody one may ask about
    "list_audit": (200, 200),
    "export_audit": (200, 200),
    "get_audit_entry": (200, 404),
    "list_people": (403, 403),
    "change_person": (403, 403),
}
BY_BODY = ("run_container", "do_to_containers", "pull_image", "remove_images", "start_build")

pytestmark = pytest.mark.django_db


def test_every_operation_says_what_it_takes() -> None:
    assert sorted(OPERATIONS) == sorted(TABLE)
    assert {rule.verb for rule in TABLE.values()} <= ALL_VERBS | {ANYBODY}


@pytest.fixture
def member() -> User:
    return User.objects.create(username="mia", password=UNUSABLE, standing=Standing.MEMBER)


@pytest.fixture
def own(member: User) -> World:
    """What the member's grant reaches: shop/*:dev-* in shore."""
    world = make("shore", member)
    grant = Grant.objects.create(
        user=member, role=Role.objects.get(slug="developer"), repositories=["shop/*"], tags=["dev-*"]
    )
    grant.environments.set([world.environment])
    cover_again(grant)
    return world


@pytest.fixture
def foreign() -> World:
    return make("quarry", User.objects.create(username="zoe", password=UNUSABLE))


def ask(client: Client, name: str, world: World, ident: str = "") -> Any:
    method, path = OPERATIONS[name]
    rule = TABLE[name]
    path = path.replace("{verb}", "stop").replace("{person}", world.pk("person"))
    path = re.sub(r"{(pk|slug|name|ident)}", ident or (world.pk(rule.kind) if rule.kind else ""), path)
    body = rule.body(world) if rule.body else None
    options = {"content_type": JSON} if method != "get" else {}
    if isinstance(body, bytes):
        path, options = f"{path}?offset={TAR}", {"content_type": "application/octet-stream"}
    return (
        getattr(client, method)(path, body, **options) if body is not None else getattr(client, method)(path, **options)
    )


@pytest.mark.parametrize("name", TABLE)
def test_nobody_does_anything(client: Client, foreign: World, name: str) -> None:
    before = Operation.objects.count()
    for headers in ({}, {"Authorization": "Bearer gantry_pat_no"}, {"Authorization": "Basic YTpi"}):
        answer = ask(Client(headers=headers), name, foreign)
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"].startswith("Bearer")
        assert answer["Content-Type"] == "application/problem+json"
    assert Operation.objects.count() == before


@pytest.mark.parametrize("name", TABLE)
def test_a_session_is_no_way_in(foreign: World, name: str) -> None:
    administrator = User.objects.create(username="ada", password=UNUSABLE, standing=Standing.ADMINISTRATOR)
    client = Client()
    client.force_login(administrator)
    assert ask(client, name, foreign).status_code == 401


@pytest.mark.parametrize("name", TABLE)
def test_a_viewer_gets_what_the_table_says(foreign: World, name: str) -> None:
    viewer = User.objects.create(username="vic", password=UNUSABLE, standing=Standing.VIEWER)
    client = client_with(issue(viewer)[1])
    before, rule = Operation.objects.count(), TABLE[name]
    answer = ask(client, name, foreign)
    if rule.verb == ANYBODY and rule.own:
        assert answer.status_code == 404
    elif rule.verb in STANDING[Standing.VIEWER] | {ANYBODY}:
        assert answer.status_code in (200, 204, 503), answer.content
    elif rule.hidden:
        assert answer.status_code in (404, 422)
    else:
        _refused(answer, rule.verb, viewer)
    assert Operation.objects.count() == before


def _refused(answer: Any, verb: str, actor: User) -> None:
    assert answer.status_code == 403, answer.content
    assert answer.json()["verb"] == verb
    entry = AuditEntry.objects.latest("pk")
    assert (entry.verb, entry.outcome, entry.actor) == (verb, Outcome.REFUSED, actor)


@pytest.mark.parametrize("name", TABLE)
def test_a_member_does_what_is_granted_to_what_it_reaches(member: User, own: World, name: str) -> None:
    client, rule = client_with(issue(member)[1]), TABLE[name]
    answer = ask(client, name, own)
    if rule.verb in DEVELOPER | {ANYBODY}:
        assert answer.status_code in (200, 201, 202, 204, 409, 503), answer.content
    elif rule.hidden:
        assert answer.status_code in (404, 422)
    else:
        _refused(answer, rule.verb, member)


@pytest.mark.parametrize("name", [name for name, rule in TABLE.items() if rule.kind or name in BY_BODY])
def test_what_is_anothers_is_not_there(member: User, own: World, foreign: World, name: str) -> None:
    client, rule = client_with(issue(member)[1]), TABLE[name]
    before = Operation.objects.count()
    answer = ask(client, name, foreign)
    if rule.verb in WHOLE_VERBS and not rule.hidden and rule.kind not in ("host", "environment"):
        assert answer.status_code == 403, "of such a kind they see none"
    elif name in BY_BODY:
        assert answer.status_code in (403, 404, 422)
    else:
        assert answer.status_code == 404
    told = answer.json()
    assert told.pop("instance") == answer.request["PATH_INFO"]
    assert "quarry" not in str(told)
    assert Operation.objects.count() == before


@pytest.mark.parametrize("name", STEWARD)
def test_an_administrator_of_one_environment_is_one_only_inside_it(own: World, foreign: World, name: str) -> None:
    steward = User.objects.create(username="stu", password=UNUSABLE, standing=Standing.MEMBER)
    grant = Grant.objects.create(user=steward, role=Role.objects.get(slug="administrator"))
    grant.environments.set([own.environment])
    client = client_with(issue(steward)[1])
    elsewhere, inside = ask(client, name, foreign), ask(client, name, own)
    assert (inside.status_code, elsewhere.status_code) == STEWARD[name], (inside, elsewhere)
    if elsewhere.status_code >= 400:
        assert "quarry-1" not in elsewhere.content.decode()


@pytest.mark.parametrize("name", TABLE)
def test_an_administrator_may_do_all(foreign: World, name: str) -> None:
    administrator = User.objects.create(username="ada", password=UNUSABLE, standing=Standing.ADMINISTRATOR)
    client = client_with(issue(administrator)[1])
    answer = ask(client, name, foreign)
    if TABLE[name].own:
        assert answer.status_code == 404, "all but what is somebody's own"
    else:
        assert answer.status_code in (200, 201, 202, 204, 409, 503), answer.content


@pytest.mark.parametrize("name", [name for name, rule in TABLE.items() if rule.kind and rule.kind != "definition"])
def test_an_id_that_leads_nowhere_is_not_found(foreign: World, name: str) -> None:
    administrator = User.objects.create(username="ada", password=UNUSABLE, standing=Standing.ADMINISTRATOR)
    client = client_with(issue(administrator)[1])
    for ident in ("0", "999999", str(2**63), "9" * 30, "1" * 5000, "-1", "x"):
        answer = ask(client, name, foreign, ident)
        assert answer.status_code == 404, (ident[:60], answer.content)
        assert answer["Content-Type"] == "application/problem+json"


def test_an_environment_that_is_not_seen_is_as_one_that_is_not_there(member: User, own: World, foreign: World) -> None:
    client = client_with(issue(member)[1])
    answers = [
        client.post("/api/v1/images/pull", {"reference": "shop/web:dev-1", "environments": [slug]}, content_type=JSON)
        for slug in (foreign.environment.slug, "nowhere")
    ]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert answers[0].content.replace(b"quarry", b"X") == answers[1].content.replace(b"nowhere", b"X")


def test_a_narrowed_token_gets_no_webhook_s_secret(member: User, own: World) -> None:
    """Whoever has it builds with all the rights of the definition's owner."""
    Definition.objects.filter(pk=own.definition.pk).update(host=own.host, image_name=intern_one("shop/web:dev-1"))
    narrowed = Narrowing(Role.objects.get(slug="developer"), None, ["shop/*"], ["dev-*"])
    address = f"/api/v1/build-definitions/{own.definition.slug}"
    for narrowing, status in ((narrowed, 403), (None, 200)):
        client = client_with(issue(member, f"t{status}", narrowing)[1])
        assert client.get(address).status_code == 200
        assert client.post(f"{address}/webhook", {"on": True}, content_type=JSON).status_code == status
        assert bool(Definition.objects.get(pk=own.definition.pk).hook_secret) is (status == 200)
