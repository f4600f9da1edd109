"""Which engine a host has, as its /version says."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.lib.templatetags.gantry import engine
from hosts.watch.facts import engine_facts


@pytest.mark.parametrize(
    ("version", "kind", "shown"),
    [
        ({"Platform": {"Name": "Docker Engine - Community"}, "Components": [{"Name": "Engine"}]}, "docker", "Docker"),
        ({"Components": [{"Name": "Podman Engine"}, {"Name": "Conmon"}]}, "podman", "Podman"),
        (
            {"Platform": {"Name": "Gantry native engine"}, "Components": [{"Name": "Engine"}]},
            "gantry",
            "Gantry native",
        ),
        ({}, "docker", "Docker"),
        ({"Platform": None, "Components": [None, {"Name": 7}]}, "docker", "Docker"),
    ],
)
def test_the_engine_is_told_by_its_platform_and_components(version: dict[str, Any], kind: str, shown: str) -> None:
    assert engine_facts(version, {})["engine_kind"] == kind
    assert engine(kind) == shown
