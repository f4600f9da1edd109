"""What a narrowed token starts keeps its limits, and nothing it leaves behind outlives them."""

from __future__ import annotations

import pytest
from django.test import Client

from controlplane.access.models import Role, Standing, User
from controlplane.access.tokens import Narrowing
from controlplane.operations.models import Operation, State
from images.builds.following import after
from images.builds.models import Definition
from tests.api.conftest import UNUSABLE, client_with, issue
from tests.api.table import World, make

pytestmark = pytest.mark.django_db
JSON = "application/json"


@pytest.fixture
def world() -> World:
    owner = User.objects.create(username="ada", password=UNUSABLE, standing=Standing.ADMINISTRATOR)
    return make("shore", owner)


def narrowed(role: str, *repositories: str) -> Client:
    owner = User.objects.get(username="ada")
    narrowing = Narrowing(Role.objects.get(slug=role), repositories=repositories or ("**",))
    return client_with(issue(owner, narrowing=narrowing)[1])


def test_it_does_no_more_than_its_role_over_its_images(world: World) -> None:
    reached, elsewhere = narrowed("operator", "shop/*"), None
    stop = f"/api/v1/containers/{world.container.pk}/stop"
    assert reached.post(stop, content_type=JSON).status_code == 202
    assert reached.post(f"/api/v1/containers/{world.container.pk}/reveal", content_type=JSON).status_code == 403
    User.objects.get(username="ada").tokens.update(name="first")
    elsewhere = narrowed("operator", "other/*")
    assert elsewhere.post(stop, content_type=JSON).status_code == 404
    assert elsewhere.get("/api/v1/containers").json()["items"] == []


def test_it_saves_no_definition(world: World) -> None:
    body = {"name": "Another", "host": world.host.pk, "dockerfile": "FROM scratch\n", "tags": ["shop/web:dev-1"]}
    answer = narrowed("developer").post("/api/v1/build-definitions", body, content_type=JSON)
    assert answer.status_code == 403
    assert "narrowed token" in answer.json()["detail"]
    assert not Definition.objects.filter(name="Another").exists()


def test_it_makes_no_token(world: World) -> None:
    world.service.responsible = User.objects.get(username="ada")
    world.service.save()
    body = {"owner": world.service.pk, "name": "wider"}
    assert narrowed("developer").post("/api/v1/tokens", body, content_type=JSON).status_code == 422
    assert not world.service.tokens.exists()


def test_what_follows_a_build_has_no_more_than_the_token(world: World) -> None:
    """The build was permitted; the push afterwards is asked of the token too."""
    _, build = narrowed("viewer", "shop/*"), world.build
    Operation.objects.filter(pk=build.operation_id).update(token=User.objects.get(username="ada").tokens.latest("pk"))
    build.options["push"] = True
    build.save()
    before = Operation.objects.count()
    assert "lacks the right" in after(build, Operation.objects.get(pk=build.operation_id))
    assert Operation.objects.count() == before
    Operation.objects.filter(pk=build.operation_id).update(token=None, state=State.SUCCEEDED)
    assert after(build, Operation.objects.get(pk=build.operation_id)) == ""
    assert Operation.objects.count() == before + 1
