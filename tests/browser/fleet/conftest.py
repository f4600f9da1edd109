"""The fleet that the browser tests share: one Gantry over TLS, three hosts, of which a user made the second join.

    up             Gantry itself (tests.support.up.Up), serving on the address of a network namespace
    there          that namespace: the second host lives in it, with an engine and an agent of its own
    engines        {"first": OwnEngine, Gantry's native one, "second": Dockerd, "third": Podman}
    shop           a registry all engines reach, with busybox in it
    page, context  Playwright's, signed in as the administrator "ada"

The first administrator and the first two hosts are made by clicking, in `fleet`; the tests of that are in
test_first_steps.py. The third is enrolled behind the pages.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.conftest import need
from tests.faults.agents import joined
from tests.support.engines import Dockerd, EngineProcess, Native, Podman
from tests.support.images import TestImage
from tests.support.netns import NetworkNamespace
from tests.support.own_engine import OwnEngine
from tests.support.registry import Registry
from tests.support.up import Up
from tests.support.waiting import eventually

HERE = Path(__file__).parent
PASSWORD = "a word nobody guesses 1"


@dataclass
class Fleet:
    """What the browser tests share."""

    up: Up
    there: NetworkNamespace
    engines: dict[str, EngineProcess]
    state: Any = None  # the administrator's cookies
    lines: list[str] = field(default_factory=list)  # enrolment lines as shown

    def host(self, name: str) -> int:
        """The id of a host by its name."""
        code = f"from hosts.models import Host; print(Host.objects.get(name={name!r}).pk)"
        return int(self.up.manage("shell", "--no-imports", "-c", code))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first of them starts everything, which counts as its time."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(400))


@pytest.fixture(scope="session")
def there() -> Iterator[NetworkNamespace]:
    need(NetworkNamespace.why_not())
    with NetworkNamespace() as namespace:
        yield namespace


@pytest.fixture(scope="session")
def shop(there: NetworkNamespace, busybox_archive: TestImage) -> Iterator[Registry]:
    """A registry on the namespace's outer address, with gantry/busybox:1 in it."""
    need(Registry.why_not())
    with Registry(host=there.outside) as registry:
        registry.push(busybox_archive, "gantry/busybox:1")
        yield registry


@pytest.fixture(scope="session")
def fleet(there: NetworkNamespace, browser: Browser) -> Iterator[Fleet]:
    """Starts Gantry, makes the first administrator by the printed link, adds the second host by its line."""
    need(Dockerd.why_not(), Podman.why_not(), Native.why_not())
    up = Up("--engine", "native", address=there.outside, tls=True)
    with OwnEngine(up.home.path) as first, Dockerd(netns=there.name) as second, Podman() as third, up:
        fleet = Fleet(up, there, {"first": first, "second": second, "third": third})
        context = browser.new_context(ignore_https_errors=True)
        page = context.new_page()
        make_administrator(page, up.link)
        fleet.state = context.storage_state()
        rename_first_host(page, fleet)
        join_second_host(page, fleet)
        context.close()
        try:
            with joined(up, "third", third.socket):
                yield fleet
        finally:
            first.clear()
            leave(fleet)


def make_administrator(page: Page, link: str) -> None:
    page.goto(link)
    page.get_by_label("Username").fill("ada")
    page.locator("[name=password1]").fill(PASSWORD)
    page.locator("[name=password2]").fill(PASSWORD)
    page.locator("main button[type=submit]").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


def rename_first_host(page: Page, fleet: Fleet) -> None:
    """This machine joined by itself, under its own name; its agent is started when it has."""
    eventually(lambda: fleet.up.pids("agent"), timeout=60)
    page.goto(f"{fleet.up.url}/hosts/1/edit/")
    page.get_by_label("Name").fill("first")
    page.locator("main button[type=submit]").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("first")


def join_second_host(page: Page, fleet: Fleet) -> None:
    """Add host → paste the line into the namespace → it is there."""
    page.goto(f"{fleet.up.url}/hosts/add/")
    page.get_by_label("Name").fill("second")
    page.locator("main button[type=submit]").click()
    line = page.locator(".copyable code").first.inner_text()
    fleet.lines.append(line)
    done = run_line(fleet, line)
    assert done.returncode == 0, done.stdout + done.stderr
    expect(page.locator("main")).to_contain_text("connected", timeout=20_000)


def run_line(fleet: Fleet, line: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Paste the line on the second host. It has no systemd: the line's own way of going on is used."""
    folder = fleet.up.home.path / "second"
    engine = f"unix://{fleet.engines['second'].socket}"
    where = ["--prefix", str(folder), "--state", str(folder / "state"), "--engine", engine]
    return subprocess.run(
        fleet.there.command("sh", "-c", f"{line} {' '.join([*where, *options])}"),
        capture_output=True,
        text=True,
        timeout=180,  # the line itself waits two minutes for the packages
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "GANTRY_HOME": str(fleet.up.home.path)},
    )


def leave(fleet: Fleet) -> None:
    """End the second host's agent, which the line has left running in the background."""
    for pid in fleet.up.pids("agent"):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


@pytest.fixture
def up(fleet: Fleet) -> Up:
    return fleet.up


@pytest.fixture
def engines(fleet: Fleet) -> dict[str, EngineProcess]:
    return fleet.engines


@pytest.fixture
def browser_context_args(fleet: Fleet) -> dict[str, Any]:
    """Each test's context is signed in, and accepts the self-made certificate."""
    return {"ignore_https_errors": True, "storage_state": fleet.state, "base_url": fleet.up.url}


@pytest.fixture
def context(browser: Browser, browser_context_args: dict[str, Any]) -> Iterator[BrowserContext]:
    context = browser.new_context(**browser_context_args)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page whose script errors fail the test."""
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    assert errors == []


@pytest.fixture
def loaded(fleet: Fleet, shop: Registry, busybox_archive: TestImage) -> str:
    """The reference of busybox, present on all engines."""
    reference = shop.reference("gantry/busybox:1")
    for engine in fleet.engines.values():
        if engine.request("GET", f"/images/{reference}/json")[0] != 200:
            engine.load(busybox_archive.archive(reference))
    return reference


@pytest.fixture
def running(fleet: Fleet, loaded: str) -> Callable[..., str]:
    """Starts a container by the engine itself: `running("first", "web-1", "sleep", "1000")` → its id."""

    def start(engine: str, name: str, *command: str) -> str:
        return fleet.engines[engine].run(loaded, *(command or ("sleep", "1000")), name=name)

    return start
