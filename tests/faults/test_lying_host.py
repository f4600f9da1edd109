"""A dead, slow or lying host harms no other host's rows and slows no page."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.engine import LyingEngine, endless_body, garbage, garbage_json, huge_label, silent, slow, zip_bomb
from tests.faults.agents import joined
from tests.faults.person import Person
from tests.support.engines import Dockerd, unique
from tests.support.up import Up
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.docker, pytest.mark.registry, pytest.mark.timeout(240)]

# What each lies about: everything, or the list alone, which is asked for when all else seemed well.
LIES = [
    (silent, ""),
    (silent, "/containers/json"),
    (garbage, ""),
    (garbage_json, "/containers/json"),
    (slow, "/containers/json"),
    (huge_label, "/containers/json"),
    (endless_body, "/images/json"),
    (zip_bomb, "/info"),
]
PAGES = ("/", "/hosts/", "/containers/", "/images/", "/operations/", "/containers/run/", "/images/pull/")
MEMORY_KIB = 200 * 1024


def test_hosts_that_lie_harm_nobody_else(up: Up, person: Person, engine: Dockerd, image: str) -> None:
    """All of them at once, beside an honest host."""
    before = {part: memory(up, part) for part in ("watch", "gateway", "web")}
    with ExitStack() as stack:
        liars = []
        for lie, about in LIES:
            liar = stack.enter_context(LyingEngine(lie, about=about, truth=engine.socket if about else None))
            agent = stack.enter_context(joined(up, unique(lie.__name__.replace("_", "-")), liar.socket))
            liars.append((liar, agent.host))
        for liar, _ in liars:
            eventually(lambda liar=liar: liar.lies, timeout=40, what=f"{liar.lie.__name__} has been asked")

        name = unique("honest")
        engine.run(image, "sleep", "1000", name=name)
        eventually(lambda: shown(person, name) == "running", timeout=30, what="the honest host's rows follow")
        engine.cli("stop", "-t", "0", name)
        eventually(lambda: shown(person, name) == "exited", timeout=30, what="and go on following")
        for page in PAGES:
            assert "<main" in person.get(page, timeout=10), f"{page} with lying hosts"
        for _, host in liars:
            assert "<main" in person.get(f"/hosts/{host}/", timeout=10)
            assert person.host_state(host) != "connected"

        operation = person.run(1, image, unique("beside"), "sleep 1000")
        eventually(lambda: person.is_finished(operation), timeout=30, what="work on the honest host goes on")
        assert person.operation(operation).state == "succeeded"
        grown = {part: memory(up, part) - kib for part, kib in before.items()}
        print(f"\ngrown by KiB: {grown}")
        assert max(grown.values()) < MEMORY_KIB, grown
    eventually(up.is_whole, timeout=30, what="every part is well")
    engine.remove_containers()


def test_what_is_asked_of_a_silent_host_fails_with_a_reason(up: Up, person: Person, engine: Dockerd) -> None:
    """A host whose engine stopped answering after the mirror was made: asked directly, a page says so."""
    with (
        LyingEngine(silent, about="/images/create", truth=engine.socket) as liar,
        joined(up, unique("mute"), liar.socket) as agent,
    ):
        eventually(lambda: person.host_state(agent.host) == "connected", timeout=30)
        operation = person.ask("/images/pull/", reference="127.0.0.1:1/nothing:1", hosts=[agent.host])
        eventually(lambda: liar.lies, timeout=20)
        person.post(f"/operations/{operation}/cancel/")
        eventually(lambda: person.is_finished(operation), timeout=20, what="cancelling ends it all the same")
        assert person.operation(operation).state == "cancelled"
        # One connection stays: the stream of events, about which this one does not lie.
        eventually(lambda: liar.connections <= 1, timeout=20, what="nobody waits for its answer any longer")


def shown(person: Person, name: str) -> str:
    found = person.rows("SELECT state FROM containers_container WHERE name = ? AND host_id = 1", name)
    return str(found[0][0]) if found else ""


def memory(up: Up, part: str) -> int:
    """Resident KiB of a part's largest process."""
    sizes = [0]
    for pid in up.pids(part):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                sizes.append(int(line.split()[1]))
    return max(sizes)
