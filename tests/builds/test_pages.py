"""The pages about builds: what they show, what forms take, what stays hidden."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from containers.models import Container
from controlplane.access.models import User
from controlplane.operations.models import AuditEntry, Operation, State
from hosts.models import Host
from images.builds import actions, pool
from images.builds.asked import Options, Source
from images.builds.models import Build, Credential, Definition
from tests.images.working import make_host

pytestmark = pytest.mark.django_db


@pytest.fixture
def host(db: None) -> Host:
    return make_host("edge-1")


@pytest.fixture
def ada(administrator: User) -> Client:
    client = Client()
    client.force_login(administrator)
    return client


def built(actor: User, host: Host, *, tag: str = "shop/web:1", **fields: Any) -> Build:
    """A build that ended well."""
    source = Source("typed", dockerfile="FROM a AS one\nRUN make\nFROM scratch\nCOPY --from=one /x /x\n")
    operation = actions.start(actor, source, Options(host=host.pk, tags=[tag]))
    Operation.objects.filter(pk=operation.pk).update(state=State.SUCCEEDED)
    build = Build.objects.get(operation=operation)
    build.dockerfile, build.image_id, build.size, build.tags = source.dockerfile, "sha256:" + "b" * 64, 1000, [tag]
    for name, value in fields.items():
        setattr(build, name, value)
    build.save()
    return build


def form(**fields: Any) -> dict[str, Any]:
    return {"kind": "typed", "dockerfile": "FROM scratch\nCOPY x /x\n", "where": "host:1", **fields}


def test_the_form_starts_a_build(ada: Client, host: Host) -> None:
    answer = ada.post(
        "/builds/new/",
        form(where=f"host:{host.pk}", tags="shop/web:{n}\n", args="A=1\nB= x", memory="512m", cpus="1.5", minutes="5"),
    )
    operation = Operation.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, f"/builds/{operation.pk}/")
    options = Options.of_json(operation.params["options"])
    assert (options.tags, options.args, options.memory) == (["shop/web:{n}"], {"A": "1", "B": " x"}, 512 << 20)
    assert (options.cpus, options.timeout) == (1.5, 300)
    assert AuditEntry.objects.get().verb == "image.build"
    assert ada.get(f"/builds/{operation.pk}/").status_code == 200
    like = ada.get(f"/builds/new/?like={operation.pk}").content.decode()
    assert "shop/web:{n}" in like
    assert "COPY x /x" in like


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dockerfile": " "}, "Begin with FROM"),
        ({"kind": "upload"}, "Expected a folder or an archive"),
        ({"kind": "git"}, "Expected the address of a repository"),
        ({"kind": "git", "url": "file:///etc"}, "Expected https, http, ssh or git"),
        ({"kind": "git", "url": "https://u:p@git.example/a"}, "without a password"),
        ({"kind": "git", "url": "https://git.example/a", "ref": "-x"}, "Expected a branch"),
        ({"kind": "odd"}, "Select a valid choice"),
        ({"tags": "web:{branch}"}, "this build has none"),
        ({"tags": "Web"}, "lower case"),
        ({"push": "on"}, "Expected a tag to push"),
        ({"where": "host:999"}, "Select a valid choice"),
        ({"args": "x"}, "expected KEY=VALUE"),
        ({"memory": "1"}, "6m"),
        ({"cpus": "-1"}, "Expected a number of CPUs"),
        ({"cpus": "nan"}, "Expected a number of CPUs"),
        ({"minutes": "0"}, "Expected minutes from 1"),
    ],
)
def test_what_cannot_be_is_told_and_kept(ada: Client, host: Host, fields: dict[str, Any], words: str) -> None:
    answer = ada.post("/builds/new/", form(**{"where": f"host:{host.pk}", "target": "kept", **fields}))
    page = answer.content.decode()
    assert answer.status_code == 422
    assert words in page.replace("&#x27;", "'")
    assert 'value="kept"' in page
    assert not Operation.objects.exists()


def test_the_least_busy_of_a_pool_builds(administrator: User, host: Host) -> None:
    for name, state, label in (("b1", "connected", ""), ("b2", "connected", "true"), ("b3", "unreachable", "yes")):
        make_host(name, state=state, labels={"builder": label})
    make_host("arm", labels={"builder": "arm64"})
    assert {name: [each.name for each in hosts] for name, hosts in pool.pools(administrator).items()} == {
        "any": ["b1", "b2", "b3"],
        "arm64": ["arm"],
    }
    options = Options(pool="any", tags=["a:1"])
    chosen = [actions.start(administrator, Source(dockerfile="FROM x"), options).host_name for _ in range(3)]
    assert chosen == ["b1", "b2", "b1"]


def test_the_page_of_a_build(ada: Client, administrator: User, host: Host) -> None:
    first = built(administrator, host, size=400)
    build = built(administrator, host)
    Container.objects.create(
        host=host, engine_id="c", name="web-1", image_ref="x", image_id=build.image_id, state="running"
    )
    page = ada.get(build.get_absolute_url()).content.decode()
    for text in ("shop/web:1", "web-1", "+600 B", first.get_absolute_url(), "RUN make", "bbbbbbbbbbbb"):
        assert text in page or text == first.get_absolute_url()
    compared = ada.get(f"/builds/{build.operation_id}/compare/").content.decode()
    assert "The same, to the letter." in compared
    assert "400 B" in compared


def test_a_viewer_sees_and_cannot_build(viewer: User, administrator: User, host: Host) -> None:
    build = built(administrator, host)
    client = Client()
    client.force_login(viewer)
    page = client.get(build.get_absolute_url()).content.decode()
    assert "shop/web:1" in page
    assert "Rebuild" not in page
    assert client.get("/builds/new/").status_code == 403
    assert client.post(f"/builds/{build.operation_id}/rebuild/").status_code == 403
    assert client.get("/builds/credentials/").status_code == 403


@pytest.mark.usefixtures("clocks_aside")
def test_the_list_asks_the_database_the_same_for_ten_as_for_forty(ada: Client, administrator: User, host: Host) -> None:
    counts = []
    ada.get("/builds/")  # the first request of a session notes the browser
    for _ in range(2):
        for _ in range(10):
            built(administrator, host)
        with CaptureQueriesContext(connection) as captured:
            assert ada.get("/builds/").status_code == 200
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_a_credential_is_never_shown_again(ada: Client, host: Host) -> None:
    value = "a-token-nobody-sees"
    answer = ada.post(
        "/builds/credentials/new/",
        {"name": "hub", "kind": "registry", "server": "https://r.example/", "username": "ada", "secret": value},
    )
    assert answer.status_code == 302, answer.content.decode()[:3000]
    credential = Credential.objects.get()
    assert (credential.secret, credential.server) == (value, "r.example")
    assert value not in credential.sealed
    for path in ("/builds/credentials/", "/builds/credentials/hub/", "/builds/new/", "/operations/audit/"):
        page = ada.get(path)
        assert page.status_code == 200
        assert value not in page.content.decode()
    ada.post("/builds/credentials/hub/", {"server": "r.example", "username": "bob", "secret": ""})
    credential.refresh_from_db()
    assert (credential.secret, credential.username, credential.kind) == (value, "bob", "registry")


def test_a_secret_is_entered_again_before_another_server_sees_it(ada: Client) -> None:
    credential = Credential(name="hub", kind="registry", server="r.example", username="ada")
    credential.secret = "a-token-nobody-sees"
    credential.save()
    answer = ada.post("/builds/credentials/hub/", {"server": "evil.example", "username": "ada", "secret": ""})
    assert answer.status_code == 422
    assert "Enter it again" in answer.content.decode()
    credential.refresh_from_db()
    assert credential.server == "r.example"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": ""}, "Expected a name"),
        ({"name": "a b"}, "Expected letters"),
        ({"name": "new"}, "Expected another name"),
        ({"kind": "registry", "server": ""}, "Expected the server"),
        ({"kind": "registry", "username": ""}, "Expected the user"),
        ({"kind": "git-key"}, "private key in PEM"),
        ({"secret": ""}, "Expected the secret itself"),
        ({"server": "a/b"}, "Expected HOST"),
    ],
)
def test_a_credential_that_cannot_be_is_told(ada: Client, fields: dict[str, str], words: str) -> None:
    given = {"name": "x", "kind": "registry", "server": "r.example", "username": "ada", "secret": "s3cret", **fields}
    answer = ada.post("/builds/credentials/new/", given)
    assert answer.status_code == 422
    assert words in answer.content.decode().replace("&#x27;", "'")
    assert not Credential.objects.exists()


def test_a_definition_is_saved_changed_and_deleted(ada: Client, administrator: User, host: Host) -> None:
    given = form(kind="git", url="https://git.example/a.git", ref="main", where=f"host:{host.pk}")
    given |= {"name": "New", "concurrency": "queue", "schedule": "30 3 * * *", "tags": "a:{branch}"}
    answer = ada.post("/builds/definitions/new/", given)
    definition = Definition.objects.get()
    assert answer["Location"] == "/builds/definitions/new-2/", "“new” is the address of the form"
    assert definition.next_run_at
    assert definition.owner == administrator
    page = ada.get(answer["Location"]).content.decode()
    assert "https://git.example/a.git" in page
    changed = ada.post("/builds/definitions/new-2/edit/", {**given, "name": "App", "schedule": ""})
    assert changed["Location"] == "/builds/definitions/new-2/"
    definition.refresh_from_db()
    assert (definition.name, definition.next_run_at) == ("App", None)
    shown = ada.post("/builds/definitions/new-2/webhook/", follow=True).content.decode()
    assert "shown this once" in shown
    assert "shown this once" not in ada.get("/builds/definitions/new-2/").content.decode()
    ada.post("/builds/definitions/new-2/build/")
    refused = ada.post("/builds/definitions/new-2/delete/", headers={"Referer": "http://testserver/builds/"})
    assert Definition.objects.exists(), refused
    Operation.objects.update(state=State.SUCCEEDED)
    ada.post("/builds/definitions/new-2/delete/")
    assert not Definition.objects.exists()
    assert Build.objects.get().number == 1


def test_a_credential_in_use_is_not_deleted(ada: Client, administrator: User, host: Host) -> None:
    credential = Credential(name="token", kind="secret")
    credential.secret = "x" * 20
    credential.save()
    options = Options(host=host.pk, secrets=["token"])
    made = Definition(name="App", source=Source(dockerfile="FROM x").as_json(), options=options.as_json())
    actions.save_definition(administrator, made)
    ada.post("/builds/credentials/token/delete/")
    assert Credential.objects.exists()
    page = ada.get("/builds/credentials/").content.decode()
    assert "App" in page


def test_lint_answers_the_editor(ada: Client) -> None:
    answer = ada.post("/builds/lint/", '{"dockerfile": "FROM a\\nCPY x y"}', "application/json")
    assert [(each["line"], each["severity"]) for each in answer.json()["diagnostics"]] == [(2, "error")]
    assert ada.post("/builds/lint/", "[]", "application/json").status_code == 400


def test_definitions_are_found_narrowed_and_paged(ada: Client) -> None:
    by = {3: {"schedule": "0 3 * * *"}, 4: {"follows_base": True}, 5: {"hook_secret": "sealed"}}
    Definition.objects.bulk_create(
        Definition(name=f"app {n:02}", slug=f"app-{n:02}", source={"kind": "typed"}, options={}, **by.get(n, {}))
        for n in range(40)
    )

    def names(query: str) -> list[str]:
        listing = ada.get(f"/builds/definitions/?{query}").context["listing"]
        return [row.name for row in listing.rows]

    assert names("size=25&page=2") == [f"app {n}" for n in range(25, 40)]
    assert names("q=app+07") == ["app 07"]
    assert names("sort=-name")[0] == "app 39"
    assert [names(f"starts={what}") for what in ("schedule", "base", "webhook")] == [["app 03"], ["app 04"], ["app 05"]]
    assert len(names("starts=hand")) == 37
    assert "No definition matches" in ada.get("/builds/definitions/?q=nothing").content.decode()


def test_a_part_that_is_refreshed_does_not_take_what_is_shown_once(ada: Client) -> None:
    Definition.objects.create(name="app", slug="app", source={"kind": "typed"}, options={})
    ada.post("/builds/definitions/app/webhook/")
    fragment = ada.get("/builds/definitions/app/", headers={"HX-Request": "true", "HX-Target": "listing"})
    assert "shown this once" not in fragment.content.decode()
    assert "shown this once" in ada.get("/builds/definitions/app/").content.decode()
    assert "shown this once" not in ada.get("/builds/definitions/app/").content.decode()
