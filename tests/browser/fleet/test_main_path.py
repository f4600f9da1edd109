"""The main job in two browsers: pull, run, follow, type, stop from outside and see it, stop many, cancel a pull."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.fleet.conftest import Fleet
from tests.support.engines import EngineProcess, unique
from tests.support.images import busybox
from tests.support.registry import Registry, SlowRegistry
from tests.support.up import Up
from tests.support.waiting import eventually


@pytest.fixture
def other(browser: Browser, browser_context_args: dict[str, Any]) -> Iterator[Page]:
    """A second browser, signed in as well."""
    context: BrowserContext = browser.new_context(**browser_context_args)
    yield context.new_page()
    context.close()


@pytest.fixture
def slow_image(shop: Registry) -> Iterator[tuple[SlowRegistry, str]]:
    """An image of several layers behind a registry that takes its time."""
    name = f"gantry/{unique('slow')}:1"
    shop.push(busybox(layers=6, layer_size=300_000), name)
    with SlowRegistry(shop, bytes_per_second=150_000) as slow:
        yield slow, slow.reference(name)


def on_screen(page: Page, pattern: str) -> None:
    """Wait until a line of the terminal matches; it draws on a canvas, so its own buffer is asked."""
    page.wait_for_function(
        """(pattern) => {
            const screen = document.querySelector('[data-terminal]').page.terminal.buffer.active;
            const lines = Array.from({length: screen.length}, (_, n) => screen.getLine(n).translateToString(true));
            return lines.some((line) => new RegExp(pattern).test(line));
        }""",
        arg=pattern,
        timeout=10_000,
    )


def pull(page: Page, reference: str, *hosts: str) -> str:
    """Fill in the form; returns the operation's address."""
    page.goto("/images/pull/")
    page.get_by_label("Reference").fill(reference)
    for host in hosts:
        page.locator("#id_hosts").get_by_label(host, exact=True).check()
    page.locator("main button[type=submit]").click()
    expect(page).to_have_url(re.compile(r"/operations/\d+/$"))
    return page.url


@pytest.mark.parametrize("host", ["first", "second"])
def test_a_pull_is_seen_by_two_browsers_layer_by_layer(
    page: Page, other: Page, slow_image: tuple[SlowRegistry, str], host: str
) -> None:
    slow, reference = slow_image
    address = pull(page, reference, host)
    expect(page.locator(".layer").first).to_be_visible()
    expect(page.locator(".layers")).to_contain_text("Downloading")
    other.goto(address)
    expect(other.locator(".layer").first).to_be_visible()
    expect(other.locator("#output")).to_contain_text("Pulling")
    slow.release()
    for each in (page, other):
        expect(each.locator("#operation")).to_contain_text("succeeded", timeout=30_000)
        expect(each.locator("#operation")).to_contain_text("100%")
    page.goto(f"/images/?q={reference.rpartition('/')[2].split(':')[0]}")
    expect(page.locator("tbody tr")).to_have_count(1)


def test_cancelling_a_pull_stops_it_on_the_host(page: Page, slow_image: tuple[SlowRegistry, str]) -> None:
    slow, reference = slow_image
    pull(page, reference, "first")
    expect(page.locator(".layers")).to_contain_text("Downloading")
    assert slow.connections > 0
    page.get_by_role("button", name="Cancel").click()
    page.locator("dialog[open] button", has_text="Cancel the operation").click()
    expect(page.locator("#operation")).to_contain_text("cancelled")
    eventually(lambda: slow.connections == 0, timeout=15, what="the engine let go of the registry")


@pytest.mark.parametrize("host", ["first", "second", "third"])
def test_a_container_is_run_from_the_form_followed_and_entered(
    page: Page, fleet: Fleet, loaded: str, engines: dict[str, EngineProcess], host: str
) -> None:
    name = unique("web")
    page.goto(f"/containers/run/?image={loaded}&host={fleet.host(host)}")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Command").fill("sh -c 'while true; do echo tick; sleep 0.3; done'")
    page.get_by_label("Environment").fill("GREETING=hello there")
    page.get_by_label("Labels").fill(f"job={name}")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#operation")).to_contain_text("succeeded", timeout=20_000)

    page.goto(f"/containers/?label=job={name}")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.locator("main")).to_contain_text("running")
    expect(page.locator("main")).to_contain_text("GREETING")
    expect(page.locator("main")).not_to_contain_text("hello there")
    page.get_by_role("button", name="Reveal").click()
    page.locator("dialog[open] button[type=submit]").last.click()
    expect(page.locator("main")).to_contain_text("hello there")

    page.get_by_role("link", name="Logs").click()
    expect(page.locator("[data-logs]")).to_contain_text("tick")

    page.get_by_role("link", name="Terminal").click()
    expect(page.locator("[data-part=status]")).to_contain_text("Connected", timeout=20_000)
    page.keyboard.type("echo $((6*7))-$GREETING\n")
    on_screen(page, r"42-hello there")
    wide = page.locator("[data-part=size]").inner_text()
    page.set_viewport_size({"width": 700, "height": 500})
    expect(page.locator("[data-part=size]")).not_to_have_text(wide)
    columns, rows = page.locator("[data-part=size]").inner_text().split(" × ")
    page.keyboard.type("stty size\n")
    on_screen(page, rf"^{rows} {columns} *$")
    engines[host].cli("rm", "-f", name)
    expect(page.locator("[data-part=notice]")).to_contain_text(re.compile("stopped|removed|ended|gone"))


@pytest.mark.parametrize("host", ["first", "second"])
def test_what_somebody_does_with_the_docker_cli_shows_at_once(
    page: Page, engines: dict[str, EngineProcess], running: Callable[..., str], host: str
) -> None:
    """Told by events: the host is listed anew only after minutes."""
    name = unique("cli")
    page.goto(f"/containers/?q={name}")
    expect(page.locator("main")).to_contain_text("No container matches")
    running(host, name)
    row = page.locator("tbody tr", has_text=name)
    expect(row).to_contain_text("running")
    engines[host].cli("stop", "-t", "0", name)
    expect(row).to_contain_text("exited")
    engines[host].cli("rename", name, f"{name}-b")
    expect(row).to_contain_text(f"{name}-b")
    engines[host].cli("rm", f"{name}-b")
    expect(page.locator("main")).to_contain_text("No container matches")


def test_what_one_reads_stays_when_somebody_removes_it(
    page: Page, fleet: Fleet, engines: dict[str, EngineProcess], running: Callable[..., str]
) -> None:
    name = unique("read")
    running("first", name, "sh", "-c", "echo last words; sleep 1000")
    row = page.locator("tbody tr", has_text=name)
    page.goto(f"/containers/?q={name}")
    row.get_by_label(f"Logs of {name}").click()
    expect(page.locator(".logs")).to_contain_text("last words")
    engines["first"].cli("rm", "-f", name)
    expect(page.locator(".page-head .state.pill")).to_have_text("removed")
    expect(page.locator(".logs")).to_contain_text("The container has been removed")
    expect(page.locator(".logs")).to_contain_text("last words")


def test_several_are_stopped_at_once_and_shown_before(
    page: Page, engines: dict[str, EngineProcess], running: Callable[..., str]
) -> None:
    stem = unique("bulk")
    for n, host in enumerate(("first", "second", "third")):
        running(host, f"{stem}-{n}")
    page.goto(f"/containers/?q={stem}")
    expect(page.locator("tbody tr")).to_have_count(3)
    page.get_by_label("Select all on this page").check()
    page.get_by_role("region", name="Selected containers").get_by_role("button", name="Stop").click()
    dialog = page.locator("dialog[open]")
    for n in range(3):
        expect(dialog).to_contain_text(f"{stem}-{n}")
    dialog.get_by_role("button", name="Stop").click()
    for n in range(3):
        expect(page.locator("tbody tr", has_text=f"{stem}-{n}")).to_contain_text("exited", timeout=60_000)
    for engine in engines.values():
        assert stem not in engine.cli("ps")


@pytest.mark.parametrize("host", ["first", "second"])
def test_the_docker_cli_works_on_the_hosts_sockets(
    fleet: Fleet, up: Up, running: Callable[..., str], host: str
) -> None:
    name = unique("sock")
    running(host, name)
    pk = fleet.host(host)
    assert name in up.docker(pk, "ps")
    assert up.docker(pk, "exec", name, "echo", "through") == "through\n"
    assert oct(up.socket(pk).stat().st_mode)[-3:] == "600"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("{shop}/gantry/nothing:1", "has no image"),
        ("127.0.0.1:9/gantry/x:1", "reach|refused"),
        ("UPPER/case", "capital letters"),
    ],
)
def test_a_bad_pull_says_why_and_what_to_do(page: Page, shop: Registry, reference: str, words: str) -> None:
    page.goto("/images/pull/")
    page.get_by_label("Reference").fill(reference.format(shop=shop.address))
    page.locator("#id_hosts").get_by_label("first", exact=True).check()
    page.locator("main button[type=submit]").click()
    expect(page.locator("main")).to_contain_text(re.compile(words, re.IGNORECASE), timeout=20_000)
