"""Who may run an operation, and when: once, in its turn, and not too many on one host."""

from __future__ import annotations

from controlplane.access.models import User
from controlplane.operations import actions, lifecycle
from controlplane.operations.models import State
from hosts.models import Host
from tests.operations.conftest import request


def test_it_is_given_to_one_worker_only(administrator: User) -> None:
    operation = actions.start(administrator, request())
    assert lifecycle.claim(operation.pk) is not None
    assert lifecycle.claim(operation.pk) is None


def test_two_of_one_lane_run_one_after_the_other(administrator: User, host: Host) -> None:
    first = actions.start(administrator, request(host=host, lane="container:1:a"))
    second = actions.start(administrator, request(host=host, lane="container:1:a"))

    assert lifecycle.claim(second.pk) is None, "the later one may not overtake"
    running = lifecycle.claim(first.pk)
    assert running is not None
    assert lifecycle.claim(second.pk) is None
    assert lifecycle.waits_for(second) == [first]

    assert lifecycle.finish(running, State.SUCCEEDED)
    assert second in lifecycle.waiting(running)
    assert lifecycle.claim(second.pk) is not None


def test_other_lanes_do_not_wait(administrator: User, host: Host) -> None:
    first = actions.start(administrator, request(host=host, lane="container:1:a"))
    other = actions.start(administrator, request(host=host, lane="container:1:b"))
    assert lifecycle.claim(first.pk)
    assert lifecycle.claim(other.pk)


def test_a_host_runs_no_more_heavy_ones_than_its_limit(administrator: User, host: Host) -> None:
    elsewhere = Host.objects.create(name="edge-2", pull_limit=1)
    here = [actions.start(administrator, request("heavy", host=host)) for _ in range(3)]
    there = actions.start(administrator, request("heavy", host=elsewhere))

    claimed = [lifecycle.claim(operation.pk) for operation in here]
    assert [bool(one) for one in claimed] == [True, True, False]
    assert lifecycle.waits_for(here[2]) == here[:2]
    assert lifecycle.waits_for(there) == []
    assert lifecycle.claim(there.pk), "another host has its own limit"

    assert claimed[0] is not None
    lifecycle.finish(claimed[0], State.SUCCEEDED)
    assert lifecycle.claim(here[2].pk)


def test_light_ones_are_not_held_up_by_heavy_ones(administrator: User, host: Host) -> None:
    for _ in range(2):
        lifecycle.claim(actions.start(administrator, request("heavy", host=host)).pk)
    assert lifecycle.claim(actions.start(administrator, request(host=host)).pk)


def test_a_claim_that_was_taken_over_writes_nothing(administrator: User) -> None:
    operation = actions.start(administrator, request())
    old = lifecycle.claim(operation.pk)
    assert old is not None
    operation.refresh_from_db()
    operation.claim += 1
    operation.save(update_fields=["claim"])

    assert not lifecycle.finish(old, State.SUCCEEDED)
    operation.refresh_from_db()
    assert operation.state == State.RUNNING
