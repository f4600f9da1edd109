"""The one decision: one object and a whole table give the same answer, and nobody inactive has any right."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db.models import Model
from django.http import Http404
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from containers.models import Container
from controlplane.access.decide import Actor, allows, fetch, require, visible
from controlplane.access.models import Standing, User
from controlplane.access.roles import ALL_VERBS, CHANGING, SEEING, STANDING
from controlplane.lib.errors import RightMissing
from controlplane.operations.models import Operation
from hosts.models import Host
from images.models import ImageTag

pytestmark = pytest.mark.django_db

actors: st.SearchStrategy[Actor] = st.one_of(
    st.builds(AnonymousUser),
    st.builds(
        User,
        pk=st.just(1),
        username=st.just("somebody"),
        standing=st.sampled_from([*Standing.values, "", "Administrator", "root"]),
        is_active=st.booleans(),
        is_staff=st.booleans(),
        is_superuser=st.booleans(),
    ),
)
ANY_DATABASE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def tables(db: None) -> list[type[Model]]:
    hosts = [Host.objects.create(name=f"h{number}") for number in range(3)]
    for host in hosts:
        Container.objects.create(host=host, engine_id=str(host.pk), name="c", image_ref="i", state="running")
        Operation.objects.create(kind="container.stop", title="t", host=host)
    return [Host, Container, Operation, ImageTag]


@ANY_DATABASE
@given(actor=actors, verb=st.sampled_from(sorted(ALL_VERBS)))
def test_allows_and_visible_agree_on_every_row(tables: list[type[Model]], actor: Actor, verb: str) -> None:
    for model in tables:
        rows = model._default_manager.all()
        assert set(visible(actor, verb, rows)) == {row for row in rows if allows(actor, verb, row)}


@ANY_DATABASE
@given(actor=actors, verb=st.sampled_from(sorted(ALL_VERBS)))
def test_a_right_comes_from_the_role_of_an_active_person_alone(actor: Actor, verb: str) -> None:
    """Django's own flags (staff, superuser) count for nothing."""
    active = isinstance(actor, User) and actor.is_active
    assert allows(actor, verb) == (active and verb in STANDING.get(getattr(actor, "standing", ""), ()))


@given(actor=actors, verb=st.text(max_size=30).filter(lambda text: text not in ALL_VERBS))
def test_an_unknown_verb_is_a_defect_not_a_refusal(actor: Actor, verb: str) -> None:
    with pytest.raises(ValueError, match="unknown verb"):
        allows(actor, verb)
    with pytest.raises(ValueError, match="unknown verb"):
        visible(actor, verb, Host.objects.all())
    with pytest.raises(ValueError, match="unknown verb"):
        require(actor, verb)


def test_a_viewer_sees_and_changes_nothing(vic: User) -> None:
    assert all(allows(vic, verb) for verb in SEEING)
    assert not any(allows(vic, verb) for verb in CHANGING)
    assert not {"container.secrets", "container.exec", "audit.see"} & STANDING[Standing.VIEWER]


def test_an_administrator_holds_every_verb(ada: User) -> None:
    assert all(allows(ada, verb) for verb in ALL_VERBS)


def test_what_may_not_be_seen_is_not_there(ada: User, vic: User) -> None:
    """Only what is seen is refused by its verb: otherwise a refusal would tell that it exists."""
    host = Host.objects.create(name="h")
    vic.is_active = False
    with pytest.raises(Http404):
        fetch(vic, "host.manage", Host.objects.all(), see="host.see", pk=host.pk)
    vic.is_active = True
    with pytest.raises(RightMissing) as refused:
        fetch(vic, "host.manage", Host.objects.all(), see="host.see", pk=host.pk)
    assert (refused.value.verb, refused.value.target) == ("host.manage", host)
    assert fetch(ada, "host.manage", Host.objects.all(), see="host.see", pk=host.pk) == host


@pytest.mark.parametrize("pk", ["x", "1 OR 1=1", "", None, 10**30, -1])
def test_an_id_that_cannot_be_one_is_not_there(ada: User, pk: object) -> None:
    with pytest.raises(Http404):
        fetch(ada, "host.see", Host.objects.all(), see="host.see", pk=pk)
