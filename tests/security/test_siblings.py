"""Several things under one roof: a build with several names, a definition with several builders. Whoever reaches one
part of it reads nothing of the others, and does nothing to them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from controlplane.access.models import User
from controlplane.lib.errors import GantryError, RightMissing
from controlplane.operations import actions as operations
from controlplane.operations.models import Operation, State
from controlplane.operations.runner import Work
from images.builds import actions, building, naming
from images.builds.asked import Options
from images.builds.models import Build, Concurrency, Definition
from tests.security.tenants import UNUSABLE, Tenants, give

HUSH = "zqhush"  # the tag, and the definition, that the mate may not see
BOTH = ["shop/web:dev-1", f"shop/web:{HUSH}"]


@pytest.fixture
def mate(tenants: Tenants) -> User:
    """Another developer of the same images."""
    user = User.objects.create(username="mate", password=UNUSABLE)
    give(user, "developer", tenants.own.environment, ["shop/web"], ["dev-*"])
    return user


@pytest.fixture
def owner(tenants: Tenants) -> User:
    """Who may do with both names what the mate may do with one."""
    give(tenants.developer, "developer", tenants.own.environment, ["shop/web"], [HUSH])
    return User.objects.get(pk=tenants.developer.pk)


@pytest.fixture
def browser(mate: User) -> Client:
    client = Client()
    client.force_login(mate)
    return client


@pytest.fixture
def hushed(tenants: Tenants) -> Definition:
    """The definition of a build that the mate sees; itself it is seen by its owner alone."""
    Definition.objects.filter(pk=tenants.own.definition.pk).update(
        image_name=None, name=HUSH, slug=HUSH, concurrency=Concurrency.CANCEL
    )
    return Definition.objects.get(pk=tenants.own.definition.pk)


@pytest.fixture
def built(tenants: Tenants, owner: User) -> Build:
    """The developer's build, under both names."""
    Build.objects.filter(pk=tenants.own.build.pk).update(tags=BOTH)
    return Build.objects.get(pk=tenants.own.build.pk)


@pytest.fixture
def shared(tenants: Tenants, owner: User) -> Definition:
    """The developer's definition of both names, filed under the one that the mate sees."""
    found = tenants.own.definition
    options = Options(host=tenants.own.host.pk, tags=BOTH, push=True).as_json()
    Definition.objects.filter(pk=found.pk).update(options=options, image_name=naming.filed_under(BOTH))
    return Definition.objects.get(pk=found.pk)


def test_building_again_neither_names_nor_disturbs_a_definition_that_is_not_seen(
    browser: Client, tenants: Tenants, hushed: Definition
) -> None:
    of_it = Operation.objects.create(kind="image.build", title="theirs", state=State.QUEUED, host=tenants.own.host)
    Build.objects.create(operation=of_it, definition=hushed, number=7)
    before = hushed.next_number
    assert browser.post(f"/builds/{tenants.own.build.operation_id}/rebuild/").status_code == 302
    made = Operation.objects.latest("pk")
    assert (made.title, made.lane, made.build.definition) == ("Build shop/web:dev-1", "", None)
    assert HUSH not in json.dumps(made.params)
    hushed.refresh_from_db()
    of_it.refresh_from_db()
    assert (hushed.next_number, of_it.cancel_requested_at) == (before, None)


def test_a_push_of_several_names_is_found_by_its_asker_and_who_reaches_everything(
    browser: Client, owner: User, built: Build, tenants: Tenants
) -> None:
    operation = actions.push(owner, built)
    for path in (f"/operations/{operation.pk}/", f"/operations/{operation.pk}/retry/"):
        method = browser.post if path.endswith("retry/") else browser.get
        assert method(path).status_code == 404
    for path in ("/operations/?q=shop", f"/builds/{built.operation_id}/"):
        assert f"/operations/{operation.pk}/" not in browser.get(path).content.decode()
    steward = Client()
    steward.force_login(tenants.steward)
    assert steward.get(f"/operations/{operation.pk}/").status_code == 200


def test_pushing_once_more_takes_the_right_to_each_name(owner: User, mate: User, built: Build) -> None:
    operation = actions.push(owner, built)
    Operation.objects.filter(pk=operation.pk).update(state=State.FAILED, image_name=naming.filed_under(BOTH))
    failed = Operation.objects.get(pk=operation.pk)
    with pytest.raises(RightMissing):
        operations.retry(mate, failed)
    assert operations.retry(owner, failed).params["references"] == BOTH


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (f"Successfully tagged shop/web:{HUSH}", "Successfully tagged under a further name"),
        (f"COMMIT docker.io/shop/web:{HUSH}", "COMMIT under a further name"),
        ("Successfully tagged shop/web:dev-1", "Successfully tagged shop/web:dev-1"),
        ("Successfully tagged other/web:1", "Successfully tagged other/web:1"),
        ("COMMIT", "COMMIT"),
        ("Successfully built 0123456789ab", "Successfully built 0123456789ab"),
    ],
)
def test_an_engine_that_tells_of_a_further_name_is_not_quoted(line: str, shown: str) -> None:
    assert naming.without_further(line, BOTH) == shown


def _form(definition: Definition, tags: str) -> dict[str, Any]:
    place = {"where": f"host:{definition.host_id}", "concurrency": "queue"}
    return {"name": definition.name, "kind": "typed", "dockerfile": "FROM scratch", "tags": tags} | place


def test_a_definition_is_changed_by_who_may_give_every_name_of_it(
    browser: Client, developer: Client, shared: Definition
) -> None:
    """Its form shows them all, and its webhook builds them with the rights of its owner."""
    address = shared.get_absolute_url()
    assert HUSH not in browser.get(address).content.decode()
    for method, path, form in (
        ("get", "edit/", {}),
        ("post", "edit/", _form(shared, "shop/web:dev-1")),
        ("post", "webhook/", {"do": "on"}),
        ("post", "delete/", {}),
        ("post", "build/", {}),
    ):
        answer = getattr(browser, method)(address + path, form)
        assert answer.status_code == 403, path
        assert HUSH not in answer.content.decode(), path
    assert Definition.objects.get(pk=shared.pk).owner == shared.owner
    assert developer.get(f"{address}edit/").status_code == 200
    assert developer.post(f"{address}webhook/", {"do": "on"}).status_code == 302


def test_no_definition_is_filed_under_a_name_that_its_maker_may_not_give(mate: User, tenants: Tenants) -> None:
    """It would stand among another team's, who would run a Dockerfile of a stranger's with their own rights."""
    options = Options(host=tenants.own.host.pk, tags=["shop/web:v9"]).as_json()
    made = Definition(name="bait", source={"kind": "typed", "dockerfile": "FROM scratch"}, options=options)
    with pytest.raises(GantryError) as refused:
        actions.save_definition(mate, made)
    assert isinstance(refused.value, RightMissing)
    assert not Definition.objects.filter(name="bait").exists()


def test_a_refusal_to_build_or_push_again_names_no_name_that_is_not_seen(
    browser: Client, built: Build, owner: User
) -> None:
    for act, verb in (("rebuild", "image.build"), ("push", "image.push")):
        Build.objects.filter(pk=built.pk).update(options={**built.options, "tags": BOTH})
        answer = browser.post(f"/builds/{built.operation_id}/{act}/")
        assert answer.status_code == 403
        said = answer.content.decode()
        assert verb in said
        assert HUSH not in said


def test_a_form_like_a_build_is_filled_with_the_names_that_are_seen(
    browser: Client, developer: Client, built: Build, tenants: Tenants
) -> None:
    options = Options(host=tenants.own.host.pk, tags=BOTH).as_json()
    Build.objects.filter(pk=built.pk).update(options=options)
    for path in ("/builds/new/", "/builds/definitions/new/"):
        assert "shop/web:dev-1" in browser.get(f"{path}?like={built.operation_id}").content.decode()
        assert HUSH not in browser.get(f"{path}?like={built.operation_id}").content.decode()
        assert HUSH in developer.get(f"{path}?like={built.operation_id}").content.decode()


@pytest.mark.parametrize("pooled", [True, False])
def test_a_build_is_called_by_its_definition_where_whoever_finds_it_finds_that(
    tenants: Tenants, owner: User, pooled: bool
) -> None:
    found = tenants.own.definition
    type(found.host)._default_manager.filter(pk=tenants.own.host.pk).update(labels={"builder": "any"})
    place = {"pool": "any"} if pooled else {"host": tenants.own.host.pk}
    found.options = Options(tags=["shop/web:dev-1"], **place).as_json()
    saved = actions.save_definition(owner, found)
    title = actions.start_defined(owner, saved).title
    assert title == ("Build shop/web:dev-1" if pooled else f"Build {found.name} #1")


def test_a_build_that_is_retried_fails_without_a_name_that_is_not_seen(mate: User, built: Build) -> None:
    options = Options(host=built.operation.host_id, tags=BOTH).as_json()
    params = {"source": built.source, "options": options, "definition": built.definition_id}
    Operation.objects.filter(pk=built.operation_id).update(state=State.FAILED, params=params)
    again = operations.retry(mate, Operation.objects.get(pk=built.operation_id))
    job = building._begin(Work(Operation.objects.get(pk=again.pk)))
    job.build.tags = BOTH
    with pytest.raises(RightMissing) as refused:
        building._name(job)
    assert "image.build" in refused.value.message
    assert HUSH not in refused.value.message
