"""The sweeper: no operation stays "running" that does not run."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from controlplane.access.models import User
from controlplane.operations import actions, lifecycle, tasks
from controlplane.operations.models import HEARTBEAT_LIMIT, AuditEntry, Operation, State
from tests.operations.conftest import request


def dead(administrator: User, kind: str, **fields: object) -> Operation:
    """An operation whose worker died a moment too long ago."""
    operation = actions.start(administrator, request(kind))
    lifecycle.claim(operation.pk)
    silent = timezone.now() - HEARTBEAT_LIMIT - timedelta(seconds=1)
    Operation.objects.filter(pk=operation.pk).update(heartbeat_at=silent, **fields)
    return operation


def test_what_can_be_repeated_is_queued_again_and_says_so(administrator: User) -> None:
    operation = dead(administrator, "say")
    assert lifecycle.rescue_lost() == [operation.pk]
    operation.refresh_from_db()
    assert operation.state == State.QUEUED
    assert "died" in operation.output.get().text


def test_what_cannot_is_marked_lost_with_the_reason(administrator: User) -> None:
    operation = dead(administrator, "once")
    lifecycle.rescue_lost()
    operation.refresh_from_db()
    assert operation.state == State.LOST
    assert "worker" in operation.error
    assert operation.hint


def test_it_is_not_repeated_for_ever(administrator: User) -> None:
    operation = dead(administrator, "say", attempt=lifecycle.MOST_ATTEMPTS)
    lifecycle.rescue_lost()
    operation.refresh_from_db()
    assert operation.state == State.LOST


def test_one_that_was_being_cancelled_ends_cancelled(administrator: User) -> None:
    operation = dead(administrator, "say", cancel_requested_at=timezone.now())
    lifecycle.rescue_lost()
    operation.refresh_from_db()
    assert operation.state == State.CANCELLED


def test_a_living_one_is_left_alone(administrator: User) -> None:
    operation = actions.start(administrator, request())
    lifecycle.claim(operation.pk)
    lifecycle.rescue_lost()
    operation.refresh_from_db()
    assert operation.state == State.RUNNING


def test_the_dead_workers_claim_ends_with_it(administrator: User) -> None:
    operation = dead(administrator, "say")
    before = Operation.objects.get(pk=operation.pk)
    lifecycle.rescue_lost()
    assert not lifecycle.finish(before, State.SUCCEEDED)


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED])
def test_a_parent_nobody_summed_up_is_summed_up(administrator: User, state: str) -> None:
    parent = actions.start_many(administrator, "Two", [request(), request()])
    parent.children.update(state=state)
    lifecycle.settle_orphans()
    parent.refresh_from_db()
    assert parent.state == state


def test_what_is_old_is_dropped_and_the_trail_stays(administrator: User) -> None:
    old = actions.start(administrator, request())
    fresh = actions.start(administrator, request())
    ended = timezone.now() - tasks.KEEP_FOR - timedelta(days=1)
    Operation.objects.filter(pk=old.pk).update(state=State.SUCCEEDED, finished_at=ended)
    Session.objects.create(session_key="gone", session_data="", expire_date=timezone.now() - timedelta(days=1))
    tasks.prune()
    assert list(Operation.objects.all()) == [fresh]
    assert not Session.objects.exists()
    assert list(AuditEntry.objects.filter(verb="container.start").values_list("operation", flat=True)) == [
        fresh.pk,
        old.pk,
    ]
    assert AuditEntry.objects.get(verb="operation.prune").detail.startswith("dropped 1 operations")
