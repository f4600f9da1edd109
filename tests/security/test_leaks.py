"""Nothing of what a developer may not see reads out of any answer: each text of it is a canary, and none is found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from containers import inspecting
from containers.filters import SORTS as CONTAINER_SORTS
from containers.models import Container
from controlplane.operations.models import Operation
from controlplane.operations.views import SORTS as OPERATION_SORTS
from hosts.filters import SORTS as HOST_SORTS
from hosts.models import Environment
from images.builds.filters import SORTS as BUILD_SORTS
from images.builds.models import Definition
from images.filters import SORTS as IMAGE_SORTS
from tests.security.routes import SIGNED_IN, TABLE, address
from tests.security.tenants import CANARY, CANARY_WORDS, DIGEST, HELD, OWN, Tenants, reaches

ROOT = Path(__file__).parents[2]
LISTS = {
    "/containers/": CONTAINER_SORTS,
    "/images/": IMAGE_SORTS,
    "/builds/": BUILD_SORTS,
    "/hosts/": HOST_SORTS,
    "/operations/": OPERATION_SORTS,
}
PARTIALS = {
    str(path.relative_to(ROOT / "templates")): re.findall(r"{% partialdef ([\w-]+)", path.read_text())
    for path in (ROOT / "templates").rglob("*.html")
}
READ = [
    route
    for route, rule in TABLE.items()
    if not rule.is_public
    and rule.get in HELD["developer"] | {SIGNED_IN}
    and (not rule.row or reaches("developer", rule.get, OWN, rule.row))
]


@pytest.fixture(autouse=True)
def _a_talkative_engine(monkeypatch: pytest.MonkeyPatch, tenants: Tenants) -> None:
    """It says of a container what it says: its image by all its names, as Podman and some of Docker do."""

    async def fetched(container: Container) -> Any:
        return {
            "Id": container.engine_id,
            "Image": f"sha256:{DIGEST}",
            "ImageName": f"{CANARY}/x:v1",
            "RepoTags": [f"{CANARY}/x:v1", "shop/web:dev-1"],
            "RepoDigests": [f"{CANARY}/x@sha256:{DIGEST}"],
            "Config": {"Image": "shop/web:dev-1", "Env": ["A=1"]},
        }

    monkeypatch.setattr(inspecting, "_fetch", fetched)


def told(answer: Any) -> str:
    """The text of an answer, its headers with it."""
    return str(answer.headers) + answer.content.decode()


def check(client: Client, path: str, **headers: str) -> Any:
    answer = client.get(path, headers=headers)
    text = told(answer)
    for secret in (CANARY, CANARY_WORDS):
        where = text.find(secret)
        assert where < 0, f"{path} {headers} tells: …{text[max(0, where - 300) : where + 60]}…"
    return answer


@pytest.mark.parametrize("route", READ)
def test_no_page_and_no_fragment_tells(developer: Client, tenants: Tenants, route: str) -> None:
    path = address(route, tenants.own)
    answer = check(developer, path)
    assert answer.status_code in (200, 302, 503), "503: the host does not answer"
    for name in sorted({name for template in answer.templates for name in PARTIALS.get(template.name or "", [])}):
        check(developer, path, **{"HX-Request": "true", "HX-Target": name})


def test_no_page_near_ones_own_tells(developer: Client, tenants: Tenants) -> None:
    for path in tenants.extra:
        assert check(developer, path).status_code == 200, path
    for path in tenants.unseen:
        assert check(developer, path).status_code == 404, path


def _questions(path: str, tenants: Tenants) -> Iterator[list[tuple[str, str]]]:
    for sort in LISTS[path]:
        for order in ("", "-"):
            for page in ("1", "2", "last"):
                yield [("sort", order + sort), ("page", page), ("size", "25")]
    pks = {name: str(getattr(tenants.foreign, name).pk) for name in ("host", "environment", "definition")}
    yield [("host", pks["host"])]
    yield [("environment", "env")]
    yield [("of", tenants.foreign.definition.slug)]
    yield [("who", "ada")]
    for state in ("running", "unfinished", "failed", "unhealthy", "unknown", "connected", "exited"):
        yield [("state", state)]
    for show in ("used", "unused", "dangling"):
        yield [("show", show)]
    for kind in ("container", "image", "bulk"):
        yield [("kind", kind)]


@pytest.mark.parametrize("path", LISTS)
def test_no_order_filter_or_page_of_a_list_tells(developer: Client, tenants: Tenants, path: str) -> None:
    for pairs in _questions(path, tenants):
        if pairs[0] == ("of", tenants.foreign.definition.slug):
            continue  # it is in the address
        check(developer, f"{path}?{urlencode(pairs)}")
        check(developer, f"{path}?{urlencode(pairs)}", **{"HX-Request": "true", "HX-Target": "listing"})


HINTS = ["zqcan", "qcanary", "b" * 12, "c" * 12, "0" * 12, "sha256:" + "b" * 12]


@pytest.mark.parametrize("path", LISTS)
def test_no_search_finds_what_is_not_seen(developer: Client, tenants: Tenants, path: str) -> None:
    for name in ("q", "image", "label"):
        for hint in HINTS:
            answer = check(developer, f"{path}?{urlencode([(name, hint)])}")
            if name == "q" or path == "/containers/":
                assert answer.context["listing"].total == 0, (path, name, hint)


@pytest.mark.parametrize("path", LISTS)
def test_a_filter_by_what_is_not_seen_is_like_one_by_nothing(developer: Client, tenants: Tenants, path: str) -> None:
    """Whether there is such a host, environment, definition or person must not show in what the filter does."""
    pairs = [
        ("host", str(tenants.foreign.host.pk), "999999"),
        ("environment", "env", "no-such"),
        ("of", tenants.foreign.definition.slug, "no-such"),
        ("who", "ops", "nobody"),
    ]
    for name, there, nowhere in pairs:
        first, second = (developer.get(f"{path}?{urlencode([(name, value)])}") for value in (there, nowhere))
        assert first.context["listing"].total == second.context["listing"].total, (path, name)
        assert first.content.decode().replace(there, "X").count("option") == second.content.decode().count("option")


def test_every_number_counts_what_is_seen(developer: Client, tenants: Tenants) -> None:
    overview = developer.get("/").context
    seen = {
        name: overview[name]
        for name in ("hosts_total", "hosts_connected", "containers_total", "containers_running", "images")
    }
    assert seen == {
        "hosts_total": 1,
        "hosts_connected": 1,
        "containers_total": 1,
        "containers_running": 1,
        "images": {"count": 1, "size": 1000},
    }
    assert [(host.container_count, host.running_count) for host in overview["hosts"]] == [(1, 1)]
    mine = Operation.objects.filter(actor=tenants.developer).count()
    assert overview["operations_running"] == 1
    assert overview["operations_failed"] == 1
    (host,) = developer.get("/hosts/").context["listing"].rows
    assert (host.container_count, host.running_count) == (1, 1)
    detail = developer.get(f"/hosts/{tenants.own.host.pk}/").context
    assert (detail["counts"], detail["image_count"]) == ({"total": 1, "running": 1}, 1)
    assert developer.get("/containers/").context["listing"].total == 1
    (row,) = developer.get("/images/").context["rows"]
    assert (row.host_count, row.user_count, [user.name for user in row.users]) == (1, 1, ["web-own"])
    assert developer.get("/builds/").context["listing"].total == 1
    assert developer.get("/operations/").context["listing"].total == mine + 1
    (row,) = developer.get("/builds/definitions/").context["listing"].rows
    assert (row.name, row.count) == ("shop-web", 1)
    assert developer.get(tenants.own.definition.get_absolute_url()).context["total"] == 1
    assert [each.name for each in developer.get("/hosts/environments/").context["environments"]] == ["Staging"]


def test_an_administrator_counts_everything(tenants: Tenants) -> None:
    """The same numbers, so that a wrong filter is no empty one."""
    client = Client()
    client.force_login(tenants.foreign.administrator)
    context = client.get("/").context
    assert context["containers_total"] == Container.objects.count() == 5
    assert {host.name: host.container_count for host in context["hosts"]} == {"st-1": 4, CANARY: 1}
    assert context["images"]["count"] == 3
    assert client.get("/builds/definitions/").context["listing"].total == Definition.objects.count()
    assert len(client.get(tenants.own.definition.get_absolute_url()).context["builds"]) == 2
    assert len(client.get("/hosts/environments/").context["environments"]) == Environment.objects.count()


FORMS: list[tuple[str, dict[str, str]]] = [
    ("/containers/run/", {"image": "shop/web:dev-1", "name": "x1", "ports": "8080:80"}),
    ("/containers/run/", {"image": "shop/web:dev-1", "host": "FOREIGN"}),
    ("/images/pull/", {"reference": "shop/web:dev-1", "hosts": "FOREIGN"}),
    ("/images/pull/", {"reference": "shop/web:dev-1", "environments": "ENVIRONMENT"}),
    ("/builds/new/", {"kind": "typed", "dockerfile": "FROM a", "where": "host:FOREIGN", "tags": "shop/web:dev-1"}),
    ("/builds/new/", {"kind": "typed", "dockerfile": "FROM a", "where": "pool:any", "tags": "shop/web:dev-1"}),
    ("/builds/new/", {"kind": "typed", "dockerfile": "FROM a", "upload": "UPLOAD", "where": "host:OWN"}),
    (
        "/builds/new/",
        {"kind": "git", "url": "https://a.example/b.git", "credential": "CREDENTIAL", "where": "host:OWN"},
    ),
]


@pytest.mark.parametrize(("path", "form"), FORMS)
def test_no_error_of_a_form_tells(developer: Client, tenants: Tenants, path: str, form: dict[str, str]) -> None:
    names = {
        "FOREIGN": str(tenants.foreign.host.pk),
        "OWN": str(tenants.own.host.pk),
        "ENVIRONMENT": str(tenants.foreign.environment.pk),
        "UPLOAD": tenants.foreign.upload.pk,
        "CREDENTIAL": str(tenants.foreign.credential.pk),
    }
    sent = {"host": "OWN"} | form if path.startswith("/containers") else form
    for word, value in names.items():
        sent = {name: text.replace(word, value) for name, text in sent.items()}
    before = Operation.objects.count()
    answer = developer.post(path, sent)
    assert answer.status_code == 422
    assert CANARY not in told(answer)
    assert Operation.objects.count() == before


def test_the_choice_of_what_is_not_there_and_not_seen_is_refused_alike(developer: Client, tenants: Tenants) -> None:
    for name, there in (("hosts", tenants.foreign.host.pk), ("environments", tenants.foreign.environment.pk)):
        answers = [
            developer.post("/images/pull/", {"reference": "shop/web:dev-1", name: str(pk)}).context["form"].errors
            for pk in (there, 999999)
        ]
        assert str(answers[0]).replace(str(there), "X") == str(answers[1]).replace("999999", "X")


def test_whoever_replays_terminals_of_one_environment_reads_of_no_other(tenants: Tenants) -> None:
    client = Client()
    client.force_login(tenants.steward)
    for query in ("", "?who=vic", "?q=zqcan", "?state=live"):
        answer = client.get(f"/recordings/{query}")
        assert answer.status_code == 200
        assert answer.context["listing"].total == 0
        people = answer.context["listing"].filter.form.fields["who"].queryset
        assert list(people) == []


def test_canaries_are_where_they_should_be(tenants: Tenants) -> None:
    """Or nothing above would mean anything: an administrator reads them on nearly every page."""
    client = Client()
    client.force_login(tenants.foreign.administrator)
    silent = {"containers/<int:pk>/logs/download/"}
    for route in READ:
        if route not in silent and not route.startswith(("account/", "api/v1/")):
            assert CANARY in told(client.get(address(route, tenants.foreign))), route
