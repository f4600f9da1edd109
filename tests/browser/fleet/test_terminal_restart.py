"""A stopped container is started again from its terminal page, which then opens a shell by itself."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.fleet.conftest import Fleet
from tests.support.engines import unique


def test_start_the_container_from_its_terminal(page: Page, fleet: Fleet, running: Callable[..., str]) -> None:
    name = unique("again")
    engine_id = running("first", name, "sleep", "1000")
    page.goto(f"/containers/?q={name}")
    page.get_by_role("link", name=name).first.click()
    page.get_by_role("link", name="Terminal", exact=True).first.click()
    status = page.locator("[data-part=status] .word")
    expect(status).to_have_text("Connected", timeout=20_000)
    fleet.engines["first"].request("POST", f"/containers/{engine_id}/stop", t="0")
    notice = page.locator("[data-part=notice]")
    expect(notice).to_contain_text("The container stopped")
    expect(page.locator("#terminal-state")).to_contain_text("exited")
    page.get_by_role("button", name="Start container").click()
    expect(status).to_have_text("Connected", timeout=30_000)
    expect(notice).to_be_hidden()
    expect(page.locator("#terminal-state")).to_contain_text(re.compile("running"))
