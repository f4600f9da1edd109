"""Running an operation: its output, its end, and cancelling it."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from controlplane.access import tokens
from controlplane.access.models import User
from controlplane.access.tokens import Wanted
from controlplane.lib.errors import Conflict, Forbidden
from controlplane.operations import actions, kinds, lifecycle, runner
from controlplane.operations.models import AuditEntry, Operation, State
from hosts.models import Host
from tests.operations.conftest import request
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


def run(operation: Operation) -> Operation:
    claimed = lifecycle.claim(operation.pk)
    assert claimed is not None
    runner.run(claimed)
    operation.refresh_from_db()
    return operation


def run_in_thread(operation: Operation) -> threading.Thread:
    def body() -> None:
        try:
            run(Operation.objects.get(pk=operation.pk))
        finally:
            connection.close()

    thread = threading.Thread(target=body)
    thread.start()
    return thread


def test_its_host_is_at_hand_for_a_light_kind_too(administrator: User, host: Host) -> None:
    assert run(actions.start(administrator, request("say", host=host))).state == State.SUCCEEDED


def test_it_keeps_output_and_progress_in_order(administrator: User) -> None:
    words = [f"word {n}" for n in range(500)]
    operation = run(actions.start(administrator, request("say", params={"words": words})))
    assert operation.state == State.SUCCEEDED
    assert list(operation.output.values_list("text", flat=True)) == words
    assert list(operation.progress) == words
    assert operation.finished_at is not None


def test_a_failure_says_why_and_what_to_do(administrator: User) -> None:
    operation = run(actions.start(administrator, request("fail")))
    assert (operation.state, operation.error) == (State.FAILED, "The name is in use.")
    assert operation.hint == "Choose another."


def test_a_defect_of_ours_ends_the_operation_too(administrator: User) -> None:
    operation = run(actions.start(administrator, request("break")))
    assert operation.state == State.FAILED
    assert "ZeroDivisionError" in operation.error


def test_cancelling_a_running_one_stops_its_work(administrator: User) -> None:
    operation = actions.start(administrator, request("wait"))
    thread = run_in_thread(operation)
    eventually(lambda: operation.output.filter(text="waiting").exists(), what="the work has begun")
    actions.cancel(administrator, operation)
    thread.join(timeout=20)
    assert not thread.is_alive()
    operation.refresh_from_db()
    assert (operation.state, operation.cancel_requested_by) == (State.CANCELLED, "ada")


def test_a_run_that_was_given_up_stops_and_writes_nothing(administrator: User) -> None:
    operation = actions.start(administrator, request("wait"))
    thread = run_in_thread(operation)
    eventually(lambda: operation.output.filter(text="waiting").exists(), what="the work has begun")
    Operation.objects.filter(pk=operation.pk).update(claim=99, state=State.QUEUED)
    thread.join(timeout=20)
    assert not thread.is_alive()
    operation.refresh_from_db()
    assert operation.state == State.QUEUED


def test_cancelling_a_queued_one_ends_it_at_once(administrator: User) -> None:
    operation = actions.start(administrator, request())
    actions.cancel(administrator, operation)
    operation.refresh_from_db()
    assert operation.state == State.CANCELLED
    assert lifecycle.claim(operation.pk) is None


def test_it_refuses_to_cancel_what_has_ended_or_cannot_be_stopped(administrator: User) -> None:
    ended = run(actions.start(administrator, request()))
    with pytest.raises(Conflict, match="already succeeded"):
        actions.cancel(administrator, ended)
    stubborn = actions.start(administrator, request("stubborn"))
    lifecycle.claim(stubborn.pk)
    with pytest.raises(Conflict, match="too late"):
        actions.cancel(administrator, stubborn)


def test_a_retry_is_a_new_operation_that_names_the_old(administrator: User) -> None:
    failed = run(actions.start(administrator, request("fail", params={"a": 1})))
    again = actions.retry(administrator, failed)
    assert (again.retry_of, again.params, again.state) == (failed, {"a": 1}, State.QUEUED)


def test_a_retry_asks_for_the_right_again(administrator: User, viewer: User) -> None:

    failed = run(actions.start(administrator, request("fail")))
    with pytest.raises(Forbidden, match=r"container\.start"):
        actions.retry(viewer, failed)


def test_what_waited_until_its_right_had_ended_is_not_done(administrator: User, viewer: User, host: Host) -> None:
    for end in ({"standing": "viewer"}, {"is_active": False}):
        asker = User.objects.create_user(f"asker-{end}", password="x", standing="administrator")
        operation = actions.start(asker, request("say", host=host))
        User.objects.filter(pk=asker.pk).update(**end)
        ended = run(operation)
        assert ended.state == State.FAILED
        assert "container.start" in ended.error
        assert list(ended.output.values_list("text", flat=True)) == [ended.error], "the work never began"
        entry = AuditEntry.objects.filter(operation=operation, outcome="refused").get()
        assert (entry.actor, entry.verb) == (asker, "container.start")


def test_what_waited_until_its_token_was_revoked_is_not_done(administrator: User) -> None:
    token, _ = tokens.issue(administrator, administrator, Wanted("ci", timezone.now() + timedelta(hours=1)))
    asker = User.objects.get(pk=administrator.pk)
    asker.token = token
    operation = actions.start(asker, request("say"))
    tokens.revoke(token)
    assert run(operation).state == State.FAILED


def test_somebody_elses_password_is_not_used_again(administrator: User) -> None:
    """Whoever typed it gave it for that one time; they may use it again themselves."""
    other = User.objects.create_user("ben", password="x", standing="administrator")
    failed = run(actions.start(administrator, request("personal", params={"login": "sealed", "reference": "a"})))
    assert actions.retry(administrator, failed).params == {"login": "sealed", "reference": "a"}
    assert actions.retry(other, failed).params == {"reference": "a"}


def test_the_kinds_that_take_a_password_say_so() -> None:
    for name in ("image.pull", "container.run"):
        assert kinds.get(name).personal == ("login",)


def test_every_start_leaves_an_audit_entry(administrator: User) -> None:
    operation = actions.start(administrator, request(target=("container", "abc", "web\n1")), ip="10.0.0.9")
    entry = AuditEntry.objects.get(operation=operation)
    assert (entry.actor_name, entry.verb, entry.ip) == ("ada", "container.start", "10.0.0.9")
    assert entry.target_name == r"web\n1", "one entry is one line"
