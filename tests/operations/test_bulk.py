"""A bulk action: one parent that sums up its children."""

from __future__ import annotations

import pytest

from controlplane.access.models import User
from controlplane.lib.errors import Conflict
from controlplane.operations import actions, lifecycle
from controlplane.operations.models import Operation, State
from tests.operations.conftest import request


def end(operation: Operation, state: str) -> None:
    claimed = lifecycle.claim(operation.pk)
    assert claimed is not None
    lifecycle.finish(claimed, state, error="no" if state == State.FAILED else "")


def test_the_parent_ends_with_its_last_child(administrator: User) -> None:
    parent = actions.start_many(administrator, "Test 3", [request() for _ in range(3)])
    children = list(parent.children.order_by("id"))
    for child in children[:2]:
        end(child, State.SUCCEEDED)
    parent.refresh_from_db()
    assert (parent.state, parent.percent) == (State.RUNNING, 66)
    end(children[2], State.SUCCEEDED)
    parent.refresh_from_db()
    assert parent.state == State.SUCCEEDED


def test_one_failure_fails_the_parent_and_says_how_many(administrator: User) -> None:
    parent = actions.start_many(administrator, "Test 2", [request(), request()])
    first, second = parent.children.order_by("id")
    end(first, State.SUCCEEDED)
    end(second, State.FAILED)
    parent.refresh_from_db()
    assert (parent.state, parent.error) == (State.FAILED, "Of 2: 1 failed, 1 succeeded.")


def test_cancelling_the_parent_cancels_what_has_not_ended(administrator: User) -> None:
    parent = actions.start_many(administrator, "Test 2", [request(), request()])
    first, second = parent.children.order_by("id")
    end(first, State.SUCCEEDED)
    actions.cancel(administrator, parent)
    second.refresh_from_db()
    parent.refresh_from_db()
    assert (second.state, parent.state) == (State.CANCELLED, State.CANCELLED)


def test_retrying_the_parent_repeats_only_what_failed(administrator: User) -> None:
    parent = actions.start_many(administrator, "Test 3", [request() for _ in range(3)])
    first, second, third = parent.children.order_by("id")
    end(first, State.SUCCEEDED)
    end(second, State.FAILED)
    end(third, State.FAILED)
    parent.refresh_from_db()
    again = actions.retry(administrator, parent)
    assert again.children.count() == 2


def test_a_single_row_needs_no_parent(administrator: User) -> None:
    assert not actions.start_many(administrator, "Test 1", [request()]).is_bulk


def test_nothing_selected_is_said(administrator: User) -> None:
    with pytest.raises(Conflict, match="Nothing was selected"):
        actions.start_many(administrator, "Test 0", [])
