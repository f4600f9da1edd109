"""What was agreed for a container, in words; whatever a host answers."""

from __future__ import annotations

from typing import Any

import pytest

from containers.conditions import conditions


def test_limits_and_policies_are_said_in_words() -> None:
    said = dict(
        conditions(
            {
                "HostConfig": {
                    "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
                    "Memory": 64 * 1024**2,
                    "NanoCpus": 500_000_000,
                    "AutoRemove": True,
                },
                "Config": {"Entrypoint": ["sh", "-c", "echo hi"], "User": "nobody", "WorkingDir": "/srv"},
                "State": {"OOMKilled": True},
            }
        )
    )
    assert said == {
        "Restart": "when it fails, at most 3 times",
        "Memory limit": "64 MiB",
        "CPU limit": "0.5 cores",
        "Entrypoint": "sh -c 'echo hi'",
        "Working directory": "/srv",
        "User": "nobody",
        "When it ends": "it is removed",
        "Killed": "for want of memory",
    }


def test_the_older_way_of_limiting_cores_is_understood() -> None:
    said = dict(conditions({"HostConfig": {"CpuQuota": 150_000, "CpuPeriod": 100_000}}))
    assert said["CPU limit"] == "1.5 cores"


@pytest.mark.parametrize("odd", [None, [], "x", 5, {"Memory": "x", "NanoCpus": True, "RestartPolicy": [1]}])
def test_odd_answers_say_that_nothing_limits_it(odd: Any) -> None:
    said = dict(conditions({"HostConfig": odd, "Config": odd, "State": odd}))
    assert said == {"Restart": "no: it stays ended", "Memory limit": "none", "CPU limit": "none"}
