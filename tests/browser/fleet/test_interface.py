"""The interface itself, on every page: nothing inline, no word against the CSP, usable on a phone and by keyboard."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import ConsoleMessage, Page, Route, WebSocketRoute, expect

PAGES = (
    "/",
    "/hosts/",
    "/hosts/add/",
    "/hosts/environments/",
    "/containers/",
    "/containers/run/",
    "/images/",
    "/images/pull/",
    "/builds/",
    "/builds/new/",
    "/builds/definitions/",
    "/builds/definitions/new/",
    "/builds/credentials/",
    "/builds/credentials/new/",
    "/operations/",
    "/operations/audit/",
    "/people/",
    "/account/password/",
)
# What the CSP would have to allow; htmx's and our own data attributes are neither.
INLINE = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>|<style|\sstyle=|\son[a-z]+=|javascript:", re.I)


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """Errors that the browser reports: scripts', and the CSP's."""
    heard: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error":
            heard.append(message.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: heard.append(str(error)))
    return heard


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_nothing_inline_and_the_browser_no_complaint(page: Page, complaints: list[str], path: str) -> None:
    response = page.goto(path)
    assert response is not None
    assert response.status == 200
    policy = response.headers["content-security-policy"]
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy
    assert INLINE.findall(response.text()) == []
    expect(page.locator("[data-live-status=live]")).to_be_attached()
    assert complaints == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_a_phone_and_its_sections_are_one_tap_away(page: Page, path: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(path)
    expect(page.locator("[data-live-status=live]")).to_be_attached()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.get_by_role("button", name="Menu").click()
    images = page.get_by_role("navigation", name="Main").get_by_role("link", name="Images")
    expect(images).to_be_visible()
    page.keyboard.press("Escape")
    expect(images).to_be_hidden()


def test_every_control_has_a_name(page: Page) -> None:
    for path in PAGES:
        page.goto(path)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("a, button, input, select, textarea")]
                .filter((e) => e.type !== "hidden" && e.checkVisibility() && !e.labels?.length
                    && !(e.textContent.trim() || e.ariaLabel || e.title || e.getAttribute("aria-labelledby")))
                .map((e) => e.outerHTML.slice(0, 120))"""
        )
        assert nameless == [], path


def test_a_chosen_theme_stands_before_the_first_paint_and_survives_a_reload(page: Page) -> None:
    page.emulate_media(color_scheme="light")
    page.goto("/")
    expect(page.locator("[data-live-status=live]")).to_be_attached()
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator(".me").click()
    page.get_by_role("button", name="Dark").click()
    page.reload(wait_until="commit")
    # The script is the first in <head> and blocks: by the time there is a body, the choice stands.
    page.wait_for_selector("body", state="attached")
    assert page.locator("html").get_attribute("data-bs-theme") == "dark"
    expect(page.locator("[data-live-status=live]")).to_be_attached()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.evaluate("gantryTheme('system')")
    assert page.locator("html").get_attribute("data-bs-theme") is None


def test_the_keyboard_reaches_search_sections_and_menus(page: Page) -> None:
    page.goto("/containers/")
    expect(page.locator("[data-live-status=live]")).to_be_attached()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#page")).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_label("Search containers")).to_be_focused()
    page.keyboard.press("Escape")
    page.locator(".me").focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("button", name="System")).to_be_focused()
    page.keyboard.press("End")
    expect(page.get_by_role("button", name="Sign out")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".me")).to_be_focused()
    page.keyboard.press("g")
    page.keyboard.press("h")
    expect(page).to_have_url(re.compile(r"/hosts/$"))


def test_a_filter_goes_into_the_address_and_the_field_keeps_the_keyboard(page: Page) -> None:
    page.goto("/containers/")
    expect(page.locator("[data-live-status=live]")).to_be_attached()
    page.keyboard.press("/")
    page.keyboard.type("surely-not-there")
    expect(page).to_have_url(re.compile(r"/containers/\?q=surely-not-there$"))
    expect(page.get_by_role("heading", name="No container matches")).to_be_visible()
    expect(page.get_by_label("Search containers")).to_be_focused()
    page.get_by_role("link", name="Clear the filters").click()
    expect(page).to_have_url(re.compile(r"/containers/$"))


def test_a_late_live_answer_does_not_undo_a_filter(page: Page) -> None:
    held: list[Route] = []
    page.goto("/containers/")
    expect(page.locator("[data-live-status=live]")).to_be_attached()
    page.wait_for_load_state("networkidle")  # a topic that is new to the page is fetched once: not that one is held

    def hold(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route(re.compile(r"/containers/$"), hold)
    with page.expect_request(re.compile(r"/containers/$")):
        page.evaluate("() => document.body.dispatchEvent(new Event('live:containers'))")
    page.get_by_label("State", exact=True).select_option("paused")
    filtered = page.locator("#listing[hx-get='/containers/?state=paused']")
    expect(filtered).to_be_attached()
    with page.expect_response(re.compile(r"state=paused$")):  # the late answer is thrown away and asked for anew
        held[0].continue_()
    expect(filtered).to_be_attached()


def test_a_lost_connection_is_said_and_taken_back_without_a_reload(page: Page) -> None:
    away = False
    sockets: list[WebSocketRoute] = []

    def between(socket: WebSocketRoute) -> None:
        if away:
            socket.close(code=1011)
            return
        socket.connect_to_server()
        sockets.append(socket)

    page.route_web_socket(re.compile(r"/ws/live$"), between)
    page.goto("/containers/")
    expect(page.locator("[data-live-status=live]")).to_be_attached()
    sockets[-1].close(code=1012)  # a short drop, of which nobody is told, comes before the long one
    while len(sockets) == 1:
        page.wait_for_timeout(50)
    page.wait_for_timeout(500)
    away = True
    sockets[-1].close(code=1011)
    expect(page.get_by_text("Connection lost.")).to_be_visible()
    away = False
    expect(page.locator("[data-live-status=live]")).to_be_attached(timeout=30_000)
    expect(page.get_by_text("Connection lost.")).to_be_hidden()
