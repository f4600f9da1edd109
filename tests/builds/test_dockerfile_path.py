"""The path of a Dockerfile among the files: what every engine takes for that file, and nothing else."""

from __future__ import annotations

import pytest
from django.test import Client

from controlplane.access.models import User
from controlplane.lib.errors import InvalidArgument
from hosts.models import Host
from images.builds import actions
from images.builds.asked import Options, Source
from images.builds.context import dockerfile_path, refuse_template
from images.builds.models import Build, Definition
from tests.images.working import make_host

pytestmark = pytest.mark.django_db
URL = "https://git.example/team/app.git"
OTHER = [
    *("", "/", ".", "..", "../Dockerfile", "a/../Dockerfile", "a/./b", "a//b", "a/", "a/..", " a", "a /b", "a\n"),
    *('["real"]', '["\\u002e\\u002e\\u002fetc\\u002fshadow"]', "http://x.example/Dockerfile", "https:/x", "a\\b"),
    *('"a"', "a'b", "a:b", "{}", "a,b", "a$b", "a\0b", "a\u00a0b", "a" * 301),
]


@pytest.fixture
def host(db: None) -> Host:
    return make_host("builder", engine_kind="podman")


@pytest.fixture
def ada(client: Client, administrator: User) -> Client:
    client.force_login(administrator)
    return client


def git(path: str) -> Source:
    return Source("git", url=URL, dockerfile_path=path)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        *(
            (each, each)
            for each in ("Dockerfile", "docker/web.Dockerfile", ".docker/Dockerfile", "a/.b", "...", "-f/x")
        ),
        *((each, each) for each in ("my app/Dockerfile", "größe/Dockerfile", "@a/b+c_d-1", "Dockerfile.in")),
        *((each, "a/Dockerfile") for each in ("./a/Dockerfile", "/a/Dockerfile", ".//./a/Dockerfile")),
    ],
)
def test_a_path_of_ordinary_characters(text: str, path: str) -> None:
    assert dockerfile_path(text) == path


@pytest.mark.parametrize("text", OTHER)
def test_what_an_engine_may_take_for_something_else(text: str) -> None:
    with pytest.raises(InvalidArgument, match="Expected the path of a Dockerfile"):
        dockerfile_path(text)


@pytest.mark.parametrize("kind", ["podman", ""])
def test_a_template_is_built_where_it_is_taken_as_it_is(kind: str) -> None:
    for plain in ("gantry", "docker"):
        refuse_template("Dockerfile.in", plain)
    refuse_template("in/Dockerfile", kind)
    with pytest.raises(InvalidArgument, match="does not end in"):
        refuse_template("Dockerfile.in", kind)


@pytest.mark.parametrize("path", ['["real"]', "../x", "http://x.example/y"])
def test_forms_say_so(ada: Client, host: Host, path: str) -> None:
    form = {"kind": "git", "url": URL, "where": f"host:{host.pk}", "dockerfile_path": path, "name": "App"}
    for address in ("/builds/new/", "/builds/definitions/new/"):
        answer = ada.post(address, form)
        assert answer.status_code == 422, address
        assert "Expected the path of a Dockerfile" in answer.content.decode()
    assert not Build.objects.exists()
    assert not Definition.objects.exists()


def test_a_path_is_kept_without_what_engines_pass_over(ada: Client, host: Host) -> None:
    form = {"kind": "git", "url": URL, "where": f"host:{host.pk}", "dockerfile_path": " ./docker/Dockerfile "}
    assert ada.post("/builds/new/", form).status_code == 302
    assert Build.objects.get().source["dockerfile_path"] == "docker/Dockerfile"


@pytest.mark.parametrize("path", ['["real"]', "a/../b", "Dockerfile.in"])
def test_a_definition_that_was_saved_before_starts_nothing(administrator: User, host: Host, path: str) -> None:
    definition = Definition(name="App", source=git("Dockerfile").as_json(), options=Options(host=host.pk).as_json())
    actions.save_definition(administrator, definition)
    definition.source = git(path).as_json()
    definition.save()
    with pytest.raises(InvalidArgument, match="Dockerfile"):
        actions.start_defined(administrator, definition)
    assert not Build.objects.exists()
