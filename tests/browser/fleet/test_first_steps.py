"""From nothing to a fleet: the first administrator, and a second machine that joins by its pasted line."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, Page, expect

from tests.browser.fleet.conftest import PASSWORD, Fleet, run_line
from tests.support.waiting import eventually


def test_the_first_link_works_once(fleet: Fleet, browser: Browser) -> None:
    context = browser.new_context(ignore_https_errors=True)
    page = context.new_page()
    answer = page.goto(fleet.up.link)
    assert answer is not None
    assert answer.status == 404
    expect(page.locator("body")).to_contain_text("has been used")
    context.close()


def test_one_signs_in_and_out(fleet: Fleet, browser: Browser) -> None:
    context = browser.new_context(ignore_https_errors=True)
    page = context.new_page()
    page.goto(fleet.up.url)
    expect(page).to_have_url(re.compile("/login/"))
    page.get_by_label("Username").fill("ada")
    page.locator("[name=password]").fill("wrong")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.locator("body")).to_contain_text("correct username and password")
    page.locator("[name=password]").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    context.close()


def test_all_hosts_are_connected_and_say_what_they_are(page: Page) -> None:
    page.goto("/hosts/")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(3)
    for name, engine in (("first", "Gantry native"), ("second", "Docker"), ("third", "Podman")):
        row = rows.filter(has=page.get_by_role("link", name=name, exact=True))
        expect(row).to_contain_text("connected")
        expect(row).to_contain_text(engine)
    page.get_by_role("link", name="second").click()
    main = page.locator("main")
    for words in ("cores", "Memory", "Disk", "Load", "Agent", "0.1.0"):
        expect(main).to_contain_text(re.compile(words, re.IGNORECASE))


def test_a_used_line_is_refused_and_shown(fleet: Fleet, page: Page) -> None:
    again = run_line(fleet, fleet.lines[0], "--no-service")
    assert again.returncode != 0
    assert "used" in (again.stdout + again.stderr)
    page.goto(f"/hosts/{fleet.host('second')}/")
    expect(page.locator("main")).to_contain_text(re.compile("refused", re.IGNORECASE))


def test_a_host_is_renamed_labelled_and_put_into_an_environment(fleet: Fleet, page: Page) -> None:
    pk = fleet.host("second")
    page.goto(f"/hosts/{pk}/edit/")
    page.get_by_label("Environment").select_option(label="Staging")
    page.get_by_label("Labels").fill("rack=b2\nno equals sign")
    page.locator("main button[type=submit]").click()
    expect(page.locator("main")).to_contain_text("expected key=value, found “no equals sign”")
    expect(page.get_by_label("Labels")).to_have_value("rack=b2\nno equals sign")
    page.get_by_label("Labels").fill("rack=b2")
    page.locator("main button[type=submit]").click()
    expect(page).to_have_url(re.compile(f"/hosts/{pk}/$"))
    expect(page.locator("main")).to_contain_text("Staging")
    page.goto("/hosts/?environment=staging")
    expect(page.locator("tbody tr")).to_have_count(1)


def test_its_key_is_rotated_and_it_stays(fleet: Fleet, page: Page) -> None:
    pk = fleet.host("second")
    code = f"from hosts.models import Host; print(Host.objects.get(pk={pk}).public_key)"
    before = fleet.up.manage("shell", "--no-imports", "-c", code)
    page.goto(f"/hosts/{pk}/")
    page.get_by_role("button", name="More").click()
    page.get_by_role("button", name=re.compile("key", re.IGNORECASE)).click()
    page.locator("dialog[open] button", has_text=re.compile("Rotate|Ask|new key", re.IGNORECASE)).click()
    expect(page.locator("main")).to_contain_text("connected")

    def rotated() -> bool:
        return fleet.up.manage("shell", "--no-imports", "-c", code) != before

    eventually(rotated, timeout=20, what="the gateway holds another key")
    assert "CONTAINER" in fleet.up.docker(pk, "ps")
