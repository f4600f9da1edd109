"""The system's Chromium for all browser tests: Playwright downloads none.

It drops its connections whenever an interface comes or goes (ERR_NETWORK_CHANGED), and on a machine that starts
containers they do: it runs in a network namespace of its own, the `desk`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, expect

from tests.browser.parts import Stage
from tests.conftest import need
from tests.support.netns import NetworkNamespace

CHROMIUM = "/usr/bin/chromium"
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

expect.set_options(timeout=20_000)


@pytest.fixture(scope="session")
def desk() -> Iterator[NetworkNamespace]:
    """The network the browser sits in."""
    need(NetworkNamespace.why_not())
    with NetworkNamespace() as desk:
        yield desk


@pytest.fixture(scope="session")
def program(desk: NetworkNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chromium at the desk, as one executable."""
    program = tmp_path_factory.mktemp("desk") / "chromium"
    words = " ".join(desk.command(CHROMIUM))
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o755)
    return program


@pytest.fixture(scope="session")
def browser(playwright: Playwright, program: Path) -> Iterator[Browser]:
    """One Chromium for the run."""
    browser = playwright.chromium.launch(executable_path=program, args=list(SWITCHES))
    yield browser
    browser.close()


@pytest.fixture
def stage(browser: Browser) -> Iterator[Stage]:
    """Its page may not have complained of anything by the end of the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    yield Stage(page)
    complaints = page.evaluate("window.complaints")
    context.close()
    assert complaints == []
