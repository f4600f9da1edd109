"""A terminal keeps to the rules, through the whole chain: WebSocket, web, gateway, agent, engine."""

from __future__ import annotations

import pytest

from hosts.rules.rules import Rules
from tests.support.engines import EngineProcess, unique
from tests.support.shell import Shell
from tests.support.stage import Stage

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.redis_server]


def give(stage: Stage, rules: Rules) -> None:
    """Have these rules hold where the host is."""
    stage.django(
        "from hosts.models import Environment, Host\n"
        "from hosts.rules.models import EnvironmentRules\n"
        "place, _ = Environment.objects.get_or_create(name='with rules', slug='with-rules')\n"
        "Host.objects.update(environment=place)\n"
        f"EnvironmentRules.objects.update_or_create(environment=place, defaults={{'body': {rules.as_json()!r}}})\n"
    )


def test_a_shell_that_rules_do_not_allow(stage: Stage, docker_engine: EngineProcess, busybox_image: str) -> None:
    name = unique("term")
    engine_id = docker_engine.run(busybox_image, "top", name=name, User="65534")
    row = stage.add_container(engine_id, name)
    give(stage, Rules(not_root=True))
    with Shell(stage, row) as shell:
        shell.type("id -u\n")
        shell.until("65534")
    with Shell(stage, row, user_="0") as shell:
        told = shell.until_told("refused")
        assert "The rules of with rules do not allow a shell" in told["message"]
        assert shell.until_closed() == 4422
    give(stage, Rules(read_only_root=True))
    with Shell(stage, row) as shell:
        assert "HostConfig.ReadonlyRootfs" in shell.until_told("refused")["message"]
    refused = "from controlplane.operations.models import AuditEntry\n"
    refused += "print(AuditEntry.objects.filter(verb='container.exec', outcome='refused').count())"
    assert int(stage.django(refused)) == 2
    docker_engine.request("DELETE", f"/containers/{engine_id}", force="true")
