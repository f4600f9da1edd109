"""Every address against everybody: nobody, a viewer, an administrator, and ids that lead nowhere."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest
from django.test import Client
from django.urls import Resolver404, resolve

from controlplane.access.models import Standing
from controlplane.access.roles import ALL_VERBS, STANDING
from controlplane.operations.models import AuditEntry, Operation, Outcome
from controlplane.routing import websocket_urlpatterns
from tests.security.fleet import Fleet
from tests.security.routes import ACTS, NEVER, OWN, PUBLIC, SIGNED_IN, SOCKETS, TABLE, address, form_for, walk

VIEWERS = STANDING[Standing.VIEWER] | {PUBLIC, SIGNED_IN}
GUARDED = [route for route, rule in TABLE.items() if not rule.is_public]
WITH_ID = [route for route in TABLE if "<int:pk>" in route]


def test_every_route_says_who_may_use_it() -> None:
    assert sorted(walk()) == sorted(TABLE)
    known = ALL_VERBS | {PUBLIC, SIGNED_IN, NEVER}
    assert {verb for rule in TABLE.values() for verb in (rule.get, rule.post)} <= known


def test_every_stream_says_who_may_have_it() -> None:
    routes = [str(pattern.pattern) for pattern in websocket_urlpatterns]
    assert routes == [*SOCKETS, ""], "the last is what closes every other address"


def test_the_pinned_list_of_what_answers_to_anybody() -> None:
    assert sorted(set(TABLE) - set(GUARDED)) == [
        "agent/enrol",
        "agent/install.sh",
        "agent/wheels/",
        "agent/wheels/<path:name>",
        "builds/hooks/<slug:slug>/",
        "healthz",
        "login/",
        "login/by/<slug:slug>/",
        "login/by/<slug:slug>/callback/",
        "login/passkey/",
        "login/second/",
        "setup/<str:token>/",
    ]


@pytest.mark.parametrize("route", GUARDED)
def test_nobody_reads_or_changes_anything(client: Client, fleet: Fleet, route: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "ODD"):
        answer = client.generic(method, address(route, fleet))
        assert answer.status_code == 302
        assert answer["Location"].startswith("/login/?next=")
    assert not Operation.objects.exclude(pk=fleet.operation.pk).exists()


@pytest.mark.parametrize("path", ["/admin/", "/static/%2e%2e/manage.py", "/.git/config", "/api/"])
def test_nothing_else_is_there(client: Client, db: None, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_static_file_needs_no_session(client: Client, db: None) -> None:
    answer = client.get("/static/css/tokens.css")
    assert answer.status_code == 200
    answer.close()


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("route", GUARDED)
def test_a_viewer_gets_what_the_table_says(viewer: Client, fleet: Fleet, route: str, method: str) -> None:
    verb = getattr(TABLE[route], method)
    before = AuditEntry.objects.count()
    answer = getattr(viewer, method)(address(route, fleet), form_for(route, fleet) if method == "post" else None)
    if verb == NEVER:
        assert answer.status_code == 405
    elif verb in VIEWERS:
        assert answer.status_code in (200, 302, 503), "503: the fleet's host does not answer"
        assert AuditEntry.objects.count() == before + (route in OWN and method == "post")
    else:
        assert answer.status_code == 403
        assert verb in answer.content.decode()
        entry = AuditEntry.objects.latest("pk")
        assert (entry.verb, entry.outcome, entry.actor) == (verb, Outcome.REFUSED, fleet.viewer)
    assert not Operation.objects.exclude(pk=fleet.operation.pk).exists()


@pytest.mark.parametrize("verb", ACTS)
@pytest.mark.parametrize("selected", [True, False])
def test_a_viewer_does_nothing_to_a_container(viewer: Client, fleet: Fleet, verb: str, selected: bool) -> None:
    ids = [fleet.container.pk] if selected else []
    answer = viewer.post(f"/containers/do/{verb}/", {"ids": ids})
    assert answer.status_code == 403
    assert AuditEntry.objects.latest("pk").verb == ACTS[verb]
    assert not Operation.objects.exclude(pk=fleet.operation.pk).exists()


def test_the_acts_are_all_of_them() -> None:
    from containers.actions import VERBS as acts

    assert {name: act.permission for name, act in acts.items()} == ACTS


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("route", WITH_ID)
def test_an_id_that_leads_nowhere_is_not_found(administrator: Client, route: str, method: str) -> None:
    expected = 405 if getattr(TABLE[route], method) == NEVER else 404
    for ident in (0, 999_999, 2**63 - 1, 2**63, 10**30):
        path = "/" + route.replace("<int:pk>", str(ident))
        assert getattr(administrator, method)(path).status_code == expected
    path = "/" + route.replace("<int:pk>", "1" * 5000)
    assert getattr(administrator, method)(path).status_code == 404, "int() refuses it: no route fits"


@pytest.mark.parametrize("ids", [["1" * 5000], [str(10**30)], ["-1"], ["1.5"], ["²"], ["x"], ["\0"], ["1 OR 1=1"]])
def test_ids_in_forms_that_lead_nowhere_select_nothing(administrator: Client, ids: list[str]) -> None:
    for path, name in (("/containers/do/stop/", "ids"), ("/images/remove/", "images")):
        assert administrator.post(path, {name: ids}).status_code == 409
    keys = [f"{text}|sha256:a|web" for text in ids]
    assert administrator.post("/images/remove/", {"images": keys}).status_code == 409


class Offers(HTMLParser):
    """Everything of a page that leads somewhere: (method, address)."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path, self.found = path, set[tuple[str, str]]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and "action" in given:
            self._add(given.get("method", "get"), given["action"])
        for name, method in (("formaction", "post"), ("hx-post", "post"), ("hx-get", "get")):
            if name in given:
                self._add(method, given[name])
        if tag == "a" and "href" in given:
            self._add("get", given["href"])

    def _add(self, method: str, target: str) -> None:
        self.found.add((method.lower(), urlsplit(urljoin(self.path, target)).path))


@pytest.mark.parametrize("route", [route for route in GUARDED if TABLE[route].get in VIEWERS])
def test_a_viewer_is_offered_nothing_they_may_not_do(viewer: Client, fleet: Fleet, route: str) -> None:
    path = address(route, fleet)
    answer = viewer.get(path)
    if answer.status_code == 302 or not answer.get("Content-Type", "").startswith("text/html"):
        return
    offers = Offers(path)
    offers.feed(answer.content.decode())
    assert offers.found
    for method, target in offers.found:
        try:
            reached = resolve(target).route
        except Resolver404:
            continue
        assert getattr(TABLE[reached], method) in VIEWERS, f"{path} offers {method} {target}"
