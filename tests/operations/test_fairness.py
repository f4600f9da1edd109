"""One host that never answers leaves the workers to the others."""

from __future__ import annotations

from controlplane.access.models import User
from controlplane.operations import actions, lifecycle
from controlplane.operations.models import State
from hosts.models import Host
from tests.operations.conftest import request


def test_a_host_takes_only_so_many_places_of_the_workers(administrator: User, host: Host) -> None:
    elsewhere = Host.objects.create(name="edge-2")
    here = [actions.start(administrator, request(host=host)) for _ in range(lifecycle.MOST_ON_A_HOST + 1)]
    claimed = [lifecycle.claim(operation.pk) for operation in here]
    assert [bool(one) for one in claimed] == [True] * lifecycle.MOST_ON_A_HOST + [False]
    assert len(lifecycle.waits_for(here[-1])) == lifecycle.MOST_ON_A_HOST
    assert lifecycle.claim(actions.start(administrator, request(host=elsewhere)).pk), "another host goes on"

    assert claimed[0] is not None
    lifecycle.finish(claimed[0], State.SUCCEEDED)
    assert here[-1] in lifecycle.waiting(claimed[0])
    assert lifecycle.claim(here[-1].pk)
