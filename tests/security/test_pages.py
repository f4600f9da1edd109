"""What every page and form brings along: CSRF, headers, cookies, names of hosts, ways back."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from containers.models import Container
from controlplane.access.models import User
from controlplane.operations.models import Operation
from hosts.models import Host
from tests.security.fleet import Fleet
from tests.security.routes import NEVER, TABLE, address

POSTED = [route for route, rule in TABLE.items() if rule.post != NEVER]
READ = [route for route, rule in TABLE.items() if rule.get != NEVER]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def strict(fleet: Fleet) -> Client:
    """An administrator's browser, with CSRF checked as in earnest."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(fleet.administrator)
    return client


@pytest.mark.parametrize("route", POSTED)
def test_no_form_is_taken_from_another_site(strict: Client, fleet: Fleet, route: str) -> None:
    path = address(route, fleet)
    if route == "agent/enrol":
        assert strict.post(path, "{}", "application/json").status_code == 400, "no session counts there"
        return
    if route == "builds/hooks/<slug:slug>/":
        assert "signature" in strict.post(path, "{}", "application/json").json()["message"]
        return
    strict.get("/")
    token = strict.cookies["gantry_csrf"].value
    answer = strict.post(path)
    assert answer.status_code == 403
    assert "came from another site" in answer.content.decode()
    assert strict.post(path, {"csrfmiddlewaretoken": "x" * 32}).status_code == 403
    for origin in ("http://evil.example", "null", "http://testserver:1", "https://testserver"):
        assert strict.post(path, {"csrfmiddlewaretoken": token}, headers={"Origin": origin}).status_code == 403


def test_no_other_method_gets_round_it(strict: Client, fleet: Fleet) -> None:
    people = User.objects.count()
    for route in POSTED:
        for method in ("PUT", "PATCH", "DELETE"):
            answer = strict.generic(method, address(route, fleet))
            assert answer.status_code in (403, 405), route
        answer = strict.get(address(route, fleet), headers={"X-HTTP-Method-Override": "POST"})
        assert answer.status_code in (200, 302, 404, 405, 503), "503: the fleet's host does not answer"
    assert Host.objects.get().name == fleet.host.name
    assert Operation.objects.count() == 1
    assert User.objects.count() == people


WITH_XTERM = ("containers/<int:pk>/terminal/", "recordings/<int:pk>/", "recordings/<int:pk>/watch/")


def _directives(policy: str) -> dict[str, list[str]]:
    return {words[0]: words[1:] for words in (part.split() for part in policy.split(";")) if words}


@pytest.mark.parametrize("route", READ)
def test_every_answer_says_what_a_browser_may_do_with_it(administrator: Client, fleet: Fleet, route: str) -> None:
    _check_headers(administrator.get(address(route, fleet)), style_inline=route in WITH_XTERM)


def _check_headers(answer: object, *, style_inline: bool = False) -> None:
    headers = answer.headers  # type: ignore[attr-defined]
    policy = _directives(headers["Content-Security-Policy"])
    assert policy["default-src"] == ["'self'"]
    assert policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == ["'none'"]
    assert policy["form-action"] == ["'self'"]
    loose = {name for name, sources in policy.items() if {"'unsafe-inline'", "'unsafe-eval'", "*"} & set(sources)}
    assert loose == ({"style-src"} if style_inline else set())
    assert not {"script-src", "script-src-elem"} & set(policy), "scripts go by default-src: our own files alone"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


def test_what_is_refused_or_missing_says_so_too(administrator: Client, viewer: Client, strict: Client) -> None:
    stranger = Client()
    for answer, status in (
        (administrator.get("/nowhere/"), 404),
        (administrator.post("/healthz"), 405),
        (viewer.get("/people/"), 403),
        (strict.post("/people/invite/"), 403),
        (stranger.get("/hosts/"), 302),
        (stranger.get("/", headers={"Host": "evil.example"}), 400),
        (stranger.get("/setup/nothing/"), 404),
    ):
        assert answer.status_code == status
        _check_headers(answer)


@pytest.mark.parametrize("route", READ)
def test_nothing_in_a_page_needs_a_looser_policy(administrator: Client, fleet: Fleet, route: str) -> None:
    answer = administrator.get(address(route, fleet))
    if not answer.get("Content-Type", "").startswith("text/html"):
        return
    page = answer.content.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|hx-on|hx-vals=.js:", page)


@pytest.mark.parametrize(
    "name", ["evil.example", "evil.example:8420", "127.0.0.1.evil.example", "localhost@evil", "a b", "[::1", ""]
)
def test_a_name_that_is_not_ours_is_refused(client: Client, db: None, name: str) -> None:
    for path in ("/", "/login/", "/healthz", "/agent/install.sh", "/nowhere"):
        answer = client.get(path, headers={"Host": name})
        assert answer.status_code in (400, 302, 404, 503, 200) if path == "/healthz" else answer.status_code == 400
    forwarded = client.get("/login/", headers={"X-Forwarded-Host": "evil.example"})
    assert "evil.example" not in forwarded.content.decode()


def test_links_that_are_sent_to_people_carry_our_name(administrator: Client) -> None:
    administrator.post("/people/invite/", {"standing": "viewer"}, headers={"X-Forwarded-Host": "evil.example"})
    page = administrator.get("/people/").content.decode()
    assert "http://testserver/setup/" in page
    assert "evil.example" not in page
    assert "http://testserver/setup/" not in administrator.get("/people/").content.decode(), "shown once"


def test_cookies_are_for_the_server_and_this_site(db: None) -> None:
    User.objects.create_user("ann", password="correct horse battery")
    client = Client()
    client.post("/login/", {"username": "ann", "password": "correct horse battery"})
    assert set(client.cookies) == {"gantry_session", "gantry_csrf"}
    for cookie in client.cookies.values():
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
        assert not cookie["domain"]
    assert 0 < int(client.cookies["gantry_session"]["max-age"]) <= 24 * 3600


@pytest.mark.parametrize(
    ("environment", "secure", "strict_transport"),
    [
        ({}, False, 0),
        ({"GANTRY_TLS_CERT": "c.pem", "GANTRY_TLS_KEY": "k.pem"}, True, 0),
        ({"GANTRY_PUBLIC_URL": "https://gantry.example"}, True, 365 * 24 * 3600),
        ({"GANTRY_PUBLIC_URL": "https://machine.example:8420"}, True, 0),
        ({"GANTRY_PUBLIC_URL": "http://gantry.example"}, False, 0),
    ],
)
def test_a_deployment_has_no_complaint(
    tmp_path: Path, environment: dict[str, str], secure: bool, strict_transport: int
) -> None:
    """`check --deploy`, but for what the settings silence with their reasons."""
    code = (
        "import django; from django.conf import settings as s; django.setup();"
        "from django.core.management import call_command as c; c('check', deploy=True, fail_level='WARNING');"
        "print('found', int(s.SESSION_COOKIE_SECURE and s.CSRF_COOKIE_SECURE), s.SECURE_HSTS_SECONDS, int(s.DEBUG))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "GANTRY_HOME": str(tmp_path / "home"),
            "DJANGO_SETTINGS_MODULE": "controlplane.settings",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["found", str(int(secure)), str(strict_transport), "0"]
    assert "no issues" in done.stdout + done.stderr


def test_nothing_is_pickled() -> None:
    assert settings.SESSION_SERIALIZER == "django.contrib.sessions.serializers.JSONSerializer"
    assert settings.CELERY_TASK_SERIALIZER == "json"
    assert settings.CELERY_ACCEPT_CONTENT == ["json"]


EVIL = [
    "http://evil.example/",
    "//evil.example/",
    "/\\evil.example",
    "javascript:alert(1)",
    "http://testserver@evil.example/",
    "https:evil.example",
    "\x00//evil.example",
    "overview",
    "containers.urls",
    "",
]


@pytest.mark.parametrize("target", EVIL)
def test_after_a_change_one_is_led_nowhere_else(administrator: Client, fleet: Fleet, target: str) -> None:
    Container.objects.update(state="running")
    for path, form in (
        ("/containers/do/stop/", {"ids": str(fleet.container.pk)}),
        (f"/containers/{fleet.container.pk}/rename/", {"name": "web-2"}),
    ):
        answer = administrator.post(path, form | {"next": target})
        assert answer.status_code == 302
        assert answer["Location"] in (target, f"/operations/{Operation.objects.latest('pk').pk}/")
        assert answer["Location"] == target or answer["Location"].startswith("/operations/")
        assert target in ("overview", "containers.urls") or answer["Location"] != target


@pytest.mark.parametrize("target", ["http://evil.example/", "//evil.example/", "javascript:alert(1)", "x", ""])
def test_after_an_error_one_is_led_nowhere_else(administrator: Client, fleet: Fleet, target: str) -> None:
    answer = administrator.post("/containers/do/stop/", {}, headers={"Referer": target})
    assert answer.status_code in (303, 409)
    assert answer.get("Location", "") in ("", "x")


def test_after_an_error_one_is_back_where_one_was(administrator: Client, fleet: Fleet) -> None:
    back = "http://testserver/containers/?q=a"
    answer = administrator.post("/containers/do/stop/", {}, headers={"Referer": back})
    assert (answer.status_code, answer["Location"]) == (303, back)


def test_a_fragment_that_a_page_does_not_have_is_the_page(administrator: Client, fleet: Fleet) -> None:
    for route in READ:
        for target in ("nothing", "#", "../base.html", "a#b", "\xff", "x" * 5000):
            answer = administrator.get(address(route, fleet), headers={"HX-Request": "true", "HX-Target": target})
            assert answer.status_code in (200, 302, 404, 503), route


MASS = {
    "is_staff": "on",
    "is_superuser": "on",
    "standing": "administrator",
    "state": "connected",
    "public_key": "AAAA",
    "tunnel_up": "on",
    "id": "77",
    "pk": "77",
    "created_by": "1",
    "engine_kind": "podman",
    "slug": "evil",
    "actor": "1",
}


def test_what_a_form_does_not_ask_is_not_taken(administrator: Client, fleet: Fleet) -> None:
    host, people = fleet.host, User.objects.count()
    asked = {"name": "renamed", "environment": str(fleet.environment.pk), "labels": "", "pull_limit": "3"}
    assert administrator.post(f"/hosts/{host.pk}/edit/", asked | MASS).status_code == 302
    after = Host.objects.get(pk=host.pk)
    assert (after.name, after.pull_limit) == ("renamed", 3)
    kept = ("state", "public_key", "tunnel_up", "engine_kind", "created_at")
    assert [getattr(after, name) for name in kept] == [getattr(host, name) for name in kept]
    administrator.post("/hosts/add/", {"name": "fresh"} | MASS)
    fresh = Host.objects.get(name="fresh")
    assert (fresh.state, fresh.public_key, fresh.tunnel_up) == ("never", "", False)
    assert fresh.pk != 77
    administrator.post("/hosts/environments/", {"name": "Next"} | MASS)
    assert fleet.environment.__class__.objects.get(name="Next").slug == "next"
    assert (User.objects.get(username="vic").standing, User.objects.count()) == ("viewer", people)
