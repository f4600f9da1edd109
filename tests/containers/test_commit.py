"""An image of a container as it is, on each engine: what is in it, and what the form refuses."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from django.test import Client

from containers.change_forms import parse_changes
from containers.models import Container
from containers.running import OPERATION_LABEL
from controlplane.access.models import Standing, User
from controlplane.access.naming import intern_one
from controlplane.lib.references import name_of
from controlplane.lib.typed import Malformed
from controlplane.operations.models import Operation, State
from images.models import Origin
from tests.containers.conftest import Lab
from tests.images.working import make_host


@pytest.fixture
def client(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create(username="ada", password="!", standing=Standing.ADMINISTRATOR))
    return client


@pytest.fixture
def row(db: None) -> Container:
    return Container.objects.create(
        host=make_host("one"),
        engine_id="a" * 64,
        name="web",
        state="running",
        image_ref="shop/web:dev-1",
        image_name_id=intern_one("shop/web:dev-1"),
    )


@pytest.mark.root
@pytest.mark.django_db(transaction=True)
def test_its_files_and_what_was_said_are_in_the_image(lab: Lab) -> None:
    row = lab.start("-e", "KEPT=1", "-l", f"{OPERATION_LABEL}=7")
    lab.engine.cli("exec", lab.name, "sh", "-c", "echo hello > /made")
    name = f"{lab.name}/app:dev-1"
    operation = lab.post(
        f"/containers/{row.pk}/commit/",
        reference=name,
        comment="as it was",
        author="Ada",
        changes='ENV MODE=prod\nCMD ["cat", "/made"]\nLABEL team=shop',
        pause="on",
    )
    assert operation.state == State.SUCCEEDED, operation.error
    made = lab.engine.expect("GET", f"/images/{name}/json")
    assert operation.result["image_id"].removeprefix("sha256:") == made["Id"].removeprefix("sha256:")
    assert (made["Comment"], made["Author"]) == ("as it was", "Ada")
    config = made["Config"]
    assert {"KEPT=1", "MODE=prod"} <= set(config["Env"])
    assert (config["Cmd"], config["Labels"]["team"]) == (["cat", "/made"], "shop")
    assert config["Labels"][OPERATION_LABEL] == "", "or its containers would be taken for this one"
    assert lab.engine.cli("run", "--rm", "--network", "none", name).strip() == "hello"
    assert lab.inspect()["State"]["Status"] == "running", "it goes on"
    origin = Origin.objects.get(image_id=operation.result["image_id"])
    assert (origin.repository, origin.tag) == name_of(lab.image)
    page = lab.client.get(f"/operations/{operation.pk}/").content.decode()
    assert f'<a href="/images/?q={quote(name)}">{name}</a>' in page


@pytest.mark.root
@pytest.mark.django_db(transaction=True)
def test_a_stopped_one_without_pause(lab: Lab) -> None:
    row = lab.start()
    lab.engine.cli("stop", "-t", "0", lab.name)
    operation = lab.post(f"/containers/{row.pk}/commit/", reference=f"{lab.name}/app")
    assert operation.state == State.SUCCEEDED, operation.error
    assert operation.result["reference"] == f"{lab.name}/app:latest"
    lab.engine.cli("rm", lab.name)
    again = lab.client.post(f"/containers/{row.pk}/commit/", {"reference": f"{lab.name}/app:2"})
    assert again.status_code == 302, "the mirror does not know yet that it has gone"


@pytest.mark.parametrize(
    ("typed", "field", "told"),
    [
        ({}, "reference", "found nothing"),
        ({"reference": "Shop/Web"}, "reference", "lower case"),
        ({"reference": "shop/web@sha256:" + "a" * 64}, "reference", "digest"),
        ({"reference": "a" * 64}, "reference", "id"),
        ({"reference": "shop/web:2", "changes": "ENV A=b\nRUN rm -rf /"}, "changes", "Line 2: expected one of CMD"),
        ({"reference": "shop/web:2", "changes": "ENV"}, "changes", "whole instruction"),
        ({"reference": "shop/web:2", "changes": "ENV A=b \\"}, "changes", "whole instruction"),
        ({"reference": "shop/web:2", "changes": "LABEL io.gantry.operation=1"}, "changes", "Gantry's own"),
    ],
)
def test_bad_input_is_told_at_its_field(
    client: Client, row: Container, typed: dict[str, str], field: str, told: str
) -> None:
    answer = client.post(f"/containers/{row.pk}/commit/", {"comment": "", **typed})
    assert answer.status_code == 422
    assert told in " ".join(answer.context["form"].errors[field])
    assert not Operation.objects.exists()


def test_instructions_are_sealed(client: Client, row: Container) -> None:
    client.post(f"/containers/{row.pk}/commit/", {"reference": "shop/web:2", "changes": "env TOKEN=s3cret"})
    operation = Operation.objects.get()
    assert operation.title == "Commit web to shop/web:2"
    assert "s3cret" not in json.dumps(operation.params)
    assert parse_changes("env TOKEN=s3cret") == ["ENV TOKEN=s3cret"]
    with pytest.raises(Malformed):
        parse_changes("ONBUILD LABEL io.gantry.x=1")


@pytest.mark.parametrize("reference", ["other/app:1", "shop/web:2"])
def test_of_two_names_nobody_reads_who_has_a_right_to_one(client: Client, row: Container, reference: str) -> None:
    client.post(f"/containers/{row.pk}/commit/", {"reference": reference})
    assert Operation.objects.get().image_name is None


def test_under_its_own_name_it_is_an_operation_of_that(client: Client, row: Container) -> None:
    client.post(f"/containers/{row.pk}/commit/", {"reference": row.image_ref})
    assert Operation.objects.get().image_name == row.image_name


def test_the_form_begins_with_another_tag(client: Client, row: Container) -> None:
    form = client.get(f"/containers/{row.pk}/commit/").context["form"]
    assert (form["reference"].value(), form["pause"].value()) == ("shop/web:dev-1-copy", True)
