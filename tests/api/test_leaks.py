"""Nothing of what a developer, or a token narrower than its owner, may not see reads out of any answer of the API."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from containers import inspecting
from controlplane.access.models import Role, User
from controlplane.access.tokens import Narrowing
from controlplane.api import door
from controlplane.api.account import SessionQuery
from controlplane.api.audit import AuditQuery
from controlplane.api.builds import BuildQuery
from controlplane.api.containers import ContainerQuery
from controlplane.api.credentials import CredentialQuery
from controlplane.api.definitions import DefinitionQuery
from controlplane.api.description import each
from controlplane.api.grants import GrantQuery
from controlplane.api.hosts import EnvironmentQuery, HostQuery
from controlplane.api.images import ImageQuery
from controlplane.api.operations import OperationQuery
from controlplane.api.people import InvitationQuery, PeopleQuery
from controlplane.api.recordings import RecordingQuery
from controlplane.api.roles import RoleQuery
from controlplane.api.service import described
from controlplane.api.teams import TeamQuery
from controlplane.api.tokens import TokenQuery
from images.builds.models import Build
from tests.api.conftest import client_with, issue
from tests.security.fleet import Fleet
from tests.security.tenants import CANARY, CANARY_SIZE, Tenants, make_tenants

pytestmark = pytest.mark.django_db

LISTS = {
    "containers": ContainerQuery,
    "images": ImageQuery,
    "builds": BuildQuery,
    "operations": OperationQuery,
    "hosts": HostQuery,
    "tokens": TokenQuery,
    "service-accounts": PeopleQuery,
    "audit": AuditQuery,
    "people": PeopleQuery,
    "build-credentials": CredentialQuery,
    "recordings": RecordingQuery,
    "teams": TeamQuery,
    "roles": RoleQuery,
    "grants": GrantQuery,
    "environments": EnvironmentQuery,
    "build-definitions": DefinitionQuery,
    "invitations": InvitationQuery,
    "me/sessions": SessionQuery,
}
OTHERS = ["me", "overview"]
ROWS = {
    "containers": "container",
    "hosts": "host",
    "operations": "operation",
    "environments": "environment",
}
# Not what streams, which is rows of its own (tests/api/test_streams.py).
READ = sorted(
    path
    for path, method, _ in each(described())
    if method == "get" and path.split("/")[3] in (*ROWS, "builds", "build-definitions")
    if "{" in path and not path.endswith(("output", "logs"))
)


@pytest.fixture
def tenants(monkeypatch: pytest.MonkeyPatch) -> Tenants:
    async def fetched(_: Any) -> Any:
        return {"RepoTags": [f"{CANARY}/x:v1"], "ImageName": f"{CANARY}/x:v1", "Config": {"Env": ["A=1"]}}

    monkeypatch.setattr(inspecting, "_fetch", fetched)
    monkeypatch.setattr(door, "REQUESTS", door.Throttle("api-requests", most=10**9, seconds=1))
    return make_tenants()


@pytest.fixture
def whole(tenants: Tenants) -> User:
    """The developer, who may do everything in Staging as well: what their narrowed token leaves out is all beside."""
    return tenants.steward


@pytest.fixture(params=["developer", "narrowed"])
def client(request: pytest.FixtureRequest, tenants: Tenants, whole: User) -> Client:
    if request.param == "developer":
        return client_with(issue(tenants.developer)[1])
    staging = [tenants.own.environment.pk]
    to = Narrowing(Role.objects.get(slug="developer"), staging, ["shop/*"], ["dev-*"])
    return client_with(issue(whole, narrowing=to)[1])


def told(client: Client, path: str) -> Any:
    answer = client.get(path)
    text = str(answer.headers) + answer.content.decode()
    for secret in (CANARY, str(CANARY_SIZE)):
        where = text.find(secret)
        assert where < 0, f"{path} tells: …{text[max(0, where - 300) : where + 60]}…"
    return answer


def filled(path: str, fleet: Fleet) -> str:
    kind = path.split("/")[3]
    if kind == "build-definitions":
        return path.replace("{slug}", fleet.definition.slug)
    pk = fleet.build.operation_id if kind == "builds" else getattr(fleet, ROWS[kind]).pk
    return re.sub(r"{pk}", str(pk), path)


@pytest.mark.parametrize("path", READ)
def test_what_is_of_ones_own_tells_of_nothing_beside_it(client: Client, tenants: Tenants, path: str) -> None:
    own, beside, foreign = (filled(path, each) for each in (tenants.own, tenants.beside, tenants.foreign))
    is_definition = "definitions" in path and client.get("/api/v1/me").json()["account"]["username"] == "stu"
    expected = {200, 503}
    if is_definition or path.endswith("/compare"):  # another build than this one there is none
        expected.add(404)
    if path.endswith("/rules"):
        expected.add(403)
    assert told(client, own).status_code in expected
    for other in {beside, foreign} - {own}:
        answer = client.get(other)
        assert answer.status_code == 404
        assert CANARY not in answer.content.decode().replace(other, "")


@pytest.mark.parametrize("name", LISTS)
def test_no_order_filter_or_page_of_a_list_tells(client: Client, tenants: Tenants, name: str) -> None:
    fields = LISTS[name].model_fields
    sorts = fields["sort"].annotation.__args__
    questions = [[("sort", sort), ("limit", str(limit))] for sort in sorts for limit in (1, 200)]
    for field in set(fields) - {"sort", "limit", "cursor"}:
        values = ["zqcan", "qcanary", "b" * 12, "sha256:bbbb", "ada", "env", str(tenants.foreign.host.pk), "1"]
        values += ["running", "failed", "used", "dangling", "bulk", "image", "broken", "webhook", "refused", "api"]
        questions += [[(field, value)] for value in values]
    for pairs in questions:
        path: str | None = f"/api/v1/{name}?{urlencode(pairs)}"
        while path:
            answer = told(client, path)
            assert answer.status_code in (200, 403, 422), (path, answer.content)
            path = answer.json().get("next") if answer.status_code == 200 else None


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_else_tells(client: Client, name: str) -> None:
    assert told(client, f"/api/v1/{name}").status_code in (200, 403)


def test_no_search_finds_what_is_not_seen(client: Client) -> None:
    for name in ("containers", "images", "builds", "operations", "hosts"):
        for hint in ("zqcan", "qcanary", "b" * 12, "0" * 12):
            assert client.get(f"/api/v1/{name}?q={hint}").json()["items"] == [], (name, hint)


def test_a_filter_by_what_is_not_seen_is_refused_as_one_by_nothing(client: Client, tenants: Tenants) -> None:
    for name, field, there, nowhere in (
        ("containers", "host", str(tenants.foreign.host.pk), "999999"),
        ("containers", "environment", tenants.foreign.environment.slug, "nowhere"),
        ("images", "environment", tenants.foreign.environment.slug, "nowhere"),
        ("builds", "of", tenants.foreign.definition.slug, "nowhere"),
        ("operations", "who", "ada2", "nowhere"),
        ("operations", "host", str(tenants.foreign.host.pk), "999999"),
    ):
        User.objects.get_or_create(username="ada2")
        answers = [client.get(f"/api/v1/{name}?{field}={value}") for value in (there, nowhere)]
        assert [answer.status_code for answer in answers] == [422, 422], (name, field)
        assert answers[0].json() == answers[1].json()


def test_a_cursor_of_somebody_elses_shows_nothing_of_theirs(client: Client, tenants: Tenants) -> None:
    administrator = client_with(issue(tenants.foreign.administrator)[1])
    path = "/api/v1/containers?limit=1&sort=name"
    while path:
        following = administrator.get(path).json()["next"]
        if following:
            assert told(client, following).status_code == 200
        path = following


def test_canaries_are_where_they_should_be(tenants: Tenants) -> None:
    """Or nothing above would mean anything."""
    client = client_with(issue(tenants.foreign.administrator)[1])
    for name in ("containers", "images", "builds", "operations", "hosts", "environments", "build-definitions"):
        assert CANARY in client.get(f"/api/v1/{name}").content.decode(), name


def test_names_of_a_build_that_are_not_seen_are_in_no_answer_about_it(client: Client, tenants: Tenants) -> None:
    build = tenants.own.build
    names = ["shop/web:dev-1", f"shop/web:{CANARY}"]
    Build.objects.filter(pk=build.pk).update(tags=names, options={**build.options, "tags": names})
    itself = f"builds/{build.operation_id}"
    for path in (itself, f"{itself}/compare?other={build.operation_id}", "builds", "operations"):
        assert told(client, f"/api/v1/{path}").status_code == 200
    for act in ("rebuild", "push"):
        answer = client.post(f"/api/v1/builds/{build.operation_id}/{act}", content_type="application/json")
        assert answer.status_code == 403
        assert CANARY not in answer.content.decode()
