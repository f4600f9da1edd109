"""The end of an operation names who asked for it, by which token and door, whoever ran or ended it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from controlplane.access import tokens
from controlplane.access.models import Token, User
from controlplane.access.tokens import Wanted
from controlplane.lib import origin
from controlplane.lib.errors import RightMissing
from controlplane.lib.origin import Door
from controlplane.operations import actions, kinds, lifecycle
from controlplane.operations.kinds import Kind
from controlplane.operations.models import HEARTBEAT_LIMIT, AuditEntry, Operation, Outcome
from controlplane.operations.runner import Work, run
from controlplane.operations.verify import verify
from tests.operations.conftest import request

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def token(administrator: User) -> Token:
    return tokens.issue(administrator, administrator, Wanted("ci", timezone.now() + timedelta(hours=1)))[0]


@pytest.fixture
def asked(administrator: User, token: Token) -> Operation:
    """Asked for by a script."""
    administrator.token = token
    with origin.entered(door=Door.API, ip="192.0.2.7", token_id=token.pk, token_name=token.name):
        return actions.start(administrator, request("say"))


def by_a_worker(operation: Operation) -> None:
    with origin.entered(door=Door.TASK):
        claimed = lifecycle.claim(operation.pk)
        assert claimed
        run(claimed)


def the_end() -> AuditEntry:
    return AuditEntry.objects.get(verb="operation.ended")


def assert_as_asked(entry: AuditEntry, administrator: User, token: Token) -> None:
    assert (entry.actor, entry.actor_name) == (administrator, administrator.display)
    assert (entry.token_id, entry.token_name) == (token.pk, "ci")
    assert (entry.door, entry.ip) == ("api", "192.0.2.7")


def test_a_worker_that_ends_it_writes_who_asked(asked: Operation, administrator: User, token: Token) -> None:
    by_a_worker(asked)
    assert the_end().result == "succeeded"
    assert_as_asked(the_end(), administrator, token)
    assert verify([]).findings == ()


def test_whoever_cancels_it_is_in_their_own_entry(
    asked: Operation, administrator: User, viewer: User, token: Token
) -> None:
    with origin.entered(door=Door.PAGE, ip="198.51.100.1"):
        actions.cancel(viewer, asked)
    cancelled = AuditEntry.objects.get(verb="operation.cancel")
    assert (cancelled.actor, cancelled.door, cancelled.ip) == (viewer, "page", "198.51.100.1")
    assert cancelled.token_id is None
    assert_as_asked(the_end(), administrator, token)


def test_so_it_is_when_its_worker_died(asked: Operation, administrator: User, token: Token) -> None:
    Operation.objects.filter(pk=asked.pk).update(kind="test.once")
    assert lifecycle.claim(asked.pk)
    Operation.objects.filter(pk=asked.pk).update(heartbeat_at=timezone.now() - 2 * HEARTBEAT_LIMIT)
    with origin.entered(door=Door.TASK):
        lifecycle.rescue_lost()
    assert the_end().result == "lost"
    assert_as_asked(the_end(), administrator, token)


def test_a_token_that_is_gone_is_still_named(asked: Operation, administrator: User, token: Token) -> None:
    kept = Token(pk=token.pk, name=token.name)
    token.delete()
    by_a_worker(asked)
    assert_as_asked(the_end(), administrator, kept)


def test_what_is_refused_while_it_runs_names_them_too(asked: Operation, administrator: User, token: Token) -> None:
    async def refuse(work: Work) -> None:
        raise RightMissing("image.run")

    kinds.register(Kind("test.refused", verb="container.start", run=refuse))
    try:
        Operation.objects.filter(pk=asked.pk).update(kind="test.refused")
        by_a_worker(asked)
    finally:
        del kinds._kinds["test.refused"]
    refused = AuditEntry.objects.get(verb="image.run", outcome=Outcome.REFUSED)
    assert_as_asked(refused, administrator, token)
    assert_as_asked(the_end(), administrator, token)


def test_without_the_entry_of_the_asking_the_token_is_that_of_the_row(administrator: User, token: Token) -> None:
    bare = Operation.objects.create(kind="test.say", title="t", actor=administrator, actor_name="ada", token=token)
    by_a_worker(bare)
    assert (the_end().token_id, the_end().token_name, the_end().door) == (token.pk, "ci", "task")
