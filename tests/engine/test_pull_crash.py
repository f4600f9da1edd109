"""An engine killed at each durable step of a pull opens again, is whole, and pulls the rest."""

from pathlib import Path
from typing import Any

import pytest
from gantry_agent.engine.images.progress import Progress
from gantry_agent.engine.images.pull import pull
from gantry_agent.engine.oci import Reference
from gantry_agent.engine.registry import ANONYMOUS

from tests.engine import crashing
from tests.engine.test_store_crash import FIRST, SECOND, is_empty, killed_everywhere
from tests.engine.test_store_crash import root as root  # the fixture: a store with FIRST as app:1
from tests.support.counts import count
from tests.support.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.registry, pytest.mark.timeout(count(600, 1800))]
STORE = "tests.engine.test_store_crash"


async def do_pull(engine: Any, reference: str) -> None:
    try:
        await pull(engine, Reference.parse(reference), None, ANONYMOUS, Progress())
    finally:
        await engine.registry.close()


def test_a_pull_killed_anywhere_is_done_again(root: Path, registry: Registry) -> None:
    reference = registry.push(SECOND, "gantry/crash:2")
    assert FIRST.layers[0] == SECOND.layers[0], "one layer is there already"

    def again(copy: Path) -> None:
        crashing.run(copy, f"{__name__}:do_pull", reference)
        crashing.run(copy, f"{STORE}:do_look", {"app:1": "first", reference: "second"})
        crashing.run(copy, f"{STORE}:do_remove", "app:1", reference)
        is_empty(copy)

    killed_everywhere(root, f"{__name__}:do_pull", (reference,), again)
