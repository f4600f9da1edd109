"""The terminal page in a real browser, on a shell in a real container."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, WebSocket, expect

from tests.browser.parts import SCREEN_TEXT
from tests.support.engines import EngineProcess, unique
from tests.support.netns import NetworkNamespace
from tests.support.stage import Stage

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.redis_server, pytest.mark.browser]

ROOT = "document.querySelector('[data-terminal]').page"


@pytest.fixture(scope="module")
def stage(
    docker_engine: EngineProcess, busybox_loaded: Callable[[EngineProcess], str], desk: NetworkNamespace
) -> Iterator[Stage]:
    busybox_loaded(docker_engine)
    with Stage(docker_engine, desk) as stage:
        yield stage


@pytest.fixture(scope="module")
def cookie(stage: Stage) -> dict[str, Any]:
    return {"name": "gantry_session", "value": stage.cookie("admin"), "url": stage.url}


@pytest.fixture
def engine_id(docker_engine: EngineProcess, busybox_image: str) -> Iterator[str]:
    made = docker_engine.run(busybox_image, "top", name=unique("term"))
    yield made
    docker_engine.request("DELETE", f"/containers/{made}", force="true")


@pytest.fixture
def address(stage: Stage, engine_id: str) -> str:
    """The terminal page of a fresh container."""
    return f"{stage.url}/containers/{stage.add_container(engine_id, unique('term'))}/terminal/"


@pytest.fixture
def browser_context_args() -> dict[str, Any]:
    return {"viewport": {"width": 1200, "height": 760}}


@pytest.fixture
def context(browser: Browser, browser_context_args: dict[str, Any], cookie: dict[str, Any]) -> Iterator[BrowserContext]:
    context = browser.new_context(**browser_context_args)
    context.add_cookies([cookie])  # type: ignore[list-item]
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: "Content Security" in said.text and errors.append(said.text))  # type: ignore[func-returns-value]
    yield page
    assert errors == []


def enter(page: Page, address: str) -> None:
    """Open the page and wait for the shell's prompt."""
    page.goto(address)
    expect(status(page)).to_have_text("Connected", timeout=20_000)
    shows(page, "/ #")


def status(page: Page) -> Any:
    return page.locator("[data-part=status] .word")


def notice(page: Page) -> Any:
    return page.locator("[data-part=notice]")


def screen(page: Page) -> str:
    """All lines of the terminal, wrapped ones joined."""
    return str(page.evaluate(f"() => ({SCREEN_TEXT})({ROOT}.terminal)"))


def shows(page: Page, text: str, timeout: int = 15_000) -> None:
    """Wait until the terminal shows `text`."""
    page.wait_for_function(f"(text) => ({SCREEN_TEXT})({ROOT}.terminal).includes(text)", arg=text, timeout=timeout)


def type_line(page: Page, text: str) -> None:
    page.keyboard.type(text)
    page.keyboard.press("Enter")


def test_type_and_resize(page: Page, address: str) -> None:
    enter(page, address)
    type_line(page, "echo $((6*7))-done")
    shows(page, "\n42-done")
    type_line(page, "stty size")
    columns, rows = size(page)
    shows(page, f"\n{rows} {columns}")
    page.set_viewport_size({"width": 900, "height": 600})
    page.wait_for_function(f"() => {ROOT}.terminal.cols !== {columns}")
    narrower, lower = size(page)
    assert narrower < columns
    assert lower < rows
    expect(page.locator("[data-part=size]")).to_have_text(f"{narrower} × {lower}")
    type_line(page, "stty size")
    shows(page, f"\n{lower} {narrower}")


def size(page: Page) -> list[int]:
    return list(page.evaluate(f"[{ROOT}.terminal.cols, {ROOT}.terminal.rows]"))


def test_another_command_and_user(page: Page, address: str) -> None:
    enter(page, address)
    page.get_by_role("button", name="New shell…").click()
    page.get_by_label("Command").fill("sh -c 'echo as-$(id -u); exec cat'")
    page.get_by_label("User").fill("1234")
    page.get_by_role("button", name="Open", exact=True).click()
    shows(page, "as-1234")
    expect(page.locator("[data-part=command]")).to_contain_text("exec cat")
    assert "/ #" not in screen(page), "the screen begins anew"


def test_the_same_shell_after_the_web_was_away(page: Page, address: str, stage: Stage) -> None:
    enter(page, address)
    type_line(page, "A=kept; echo bef''ore")
    shows(page, "\nbefore")
    stage.web.kill()
    expect(notice(page)).to_contain_text("Reconnecting…")
    page.keyboard.type("lost keys")
    stage.web.start()
    expect(status(page)).to_have_text("Connected", timeout=20_000)
    expect(notice(page)).to_be_hidden()
    type_line(page, "echo after-$A")
    shows(page, "\nafter-kept")
    assert screen(page).count("\nbefore") == 1, "its screen is still there, once"
    assert "lost keys" not in screen(page)


def test_a_host_out_of_contact_is_named(page: Page, address: str, stage: Stage) -> None:
    enter(page, address)
    type_line(page, "A=kept; echo bef''ore")
    shows(page, "\nbefore")
    stage.gateway.kill()
    expect(notice(page)).to_contain_text("host-1 has been out of contact since")
    stage.gateway.start()
    expect(status(page)).to_have_text("Connected", timeout=30_000)
    expect(notice(page)).to_be_hidden()
    type_line(page, "echo after-$A")
    shows(page, "\nafter-kept")


def test_a_reload_returns_to_the_shell_and_its_screen(page: Page, address: str) -> None:
    enter(page, address)
    type_line(page, "A=kept; echo bef''ore")
    shows(page, "\nbefore")
    page.reload()
    shows(page, "\nbefore")
    type_line(page, "echo after-$A")
    shows(page, "\nafter-kept")


def test_questions_in_the_past_are_not_answered_again(page: Page, address: str) -> None:
    """A program once asked where the cursor is. The screen's replay asks again; the shell must hear nothing."""
    enter(page, address)
    type_line(page, "printf '\\033[6n\\033[c'; sleep 0.3; clear; echo as''ked")
    shows(page, "asked")
    page.keyboard.press("Control+U")
    sent: list[bytes] = []

    def watch(socket: WebSocket) -> None:
        socket.on("framesent", lambda data: isinstance(data, bytes) and sent.append(data))  # type: ignore[func-returns-value]

    page.on("websocket", watch)
    page.reload()
    shows(page, "asked")
    expect(status(page)).to_have_text("Connected")
    assert sent == []
    type_line(page, "echo cl''ean")
    shows(page, "\nclean")


def test_a_stopped_container_is_announced(
    page: Page, address: str, engine_id: str, docker_engine: EngineProcess
) -> None:
    enter(page, address)
    docker_engine.request("POST", f"/containers/{engine_id}/stop", t="0")
    expect(notice(page)).to_contain_text("The container stopped")
    expect(page.get_by_role("button", name="Start container")).to_be_visible()
    expect(page.get_by_role("link", name="Back to the container")).to_be_visible()
    page.reload()
    expect(notice(page)).to_contain_text("is not running")


def test_an_ended_shell_shows_its_code_and_opens_again(page: Page, address: str) -> None:
    enter(page, address)
    type_line(page, "A=old; exit 7")
    expect(notice(page)).to_contain_text("The shell ended with exit code 7")
    page.get_by_role("button", name="Open again").click()
    shows(page, "/ #")
    type_line(page, "echo fresh-$A.")
    shows(page, "\nfresh-.")


def test_a_second_tab_takes_the_shell_over(page: Page, context: BrowserContext, address: str) -> None:
    enter(page, address)
    type_line(page, "A=mine")
    kept = page.evaluate("JSON.stringify(sessionStorage)")
    second = context.new_page()  # what “duplicate tab” does: the same session storage
    second.add_init_script(
        f"for (const [k, v] of Object.entries(JSON.parse({json.dumps(kept)}))) sessionStorage.setItem(k, v)"
    )
    second.goto(address)
    expect(notice(page)).to_contain_text("Continued elsewhere")
    expect(second.locator("[data-part=status]")).to_contain_text("Connected")
    type_line(second, "echo second-$A")
    shows(second, "\nsecond-mine")
    page.get_by_role("button", name="Continue here").click()
    shows(page, "\nsecond-mine")
    expect(notice(second)).to_contain_text("Continued elsewhere")


def test_signing_out_elsewhere_closes_it(page: Page, address: str, stage: Stage) -> None:
    own = stage.fresh_cookie("admin")
    page.context.clear_cookies()
    page.context.add_cookies([{"name": "gantry_session", "value": own, "url": stage.url}])
    enter(page, address)
    # The page's other socket would leave for the sign-in page first.
    page.evaluate("window.stop()")
    stage.django(f"from django.contrib.sessions.models import Session; Session.objects.get(pk={own!r}).delete()")
    page.wait_for_function(
        f"() => location.pathname.includes('login') || {ROOT}.notice.element.textContent.includes('signed out')",
        timeout=15_000,
    )


def test_a_program_cannot_write_the_clipboard(page: Page, context: BrowserContext, address: str) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    enter(page, address)
    page.evaluate("navigator.clipboard.writeText('mine')")
    type_line(page, "printf '\\033]52;c;ZXZpbA==\\007'; echo do''ne")
    shows(page, "\ndone")
    assert page.evaluate("navigator.clipboard.readText()") == "mine"


def test_a_link_is_offered_never_followed(page: Page, context: BrowserContext, address: str) -> None:
    enter(page, address)
    type_line(page, "clear; printf '\\033]8;;https://evil.example/x\\007CLICK-HERE\\033]8;;\\007\\n'; echo do''ne")
    shows(page, "\ndone")
    link_row = page.evaluate(
        f"""Array.from({{ length: 40 }}, (_, row) => {ROOT}.terminal.buffer.active.getLine(row))
          .findIndex((line) => line?.translateToString(true).startsWith("CLICK-HERE"))"""
    )
    box = page.locator(".xterm-screen").bounding_box()
    assert box
    height = box["height"] / size(page)[1]
    page.mouse.move(box["x"] + 30, box["y"] + (link_row + 0.4) * height)
    page.mouse.move(box["x"] + 34, box["y"] + (link_row + 0.5) * height)
    expect(page.locator(".terminal-screen .xterm-cursor-pointer")).to_have_count(1)
    page.mouse.click(box["x"] + 34, box["y"] + (link_row + 0.5) * height)
    expect(page.get_by_role("heading", name="Open this address?")).to_be_visible()
    expect(page.locator("[data-part=address]")).to_have_text("https://evil.example/x")
    assert len(context.pages) == 1
    page.get_by_role("button", name="Cancel").click()


def test_a_title_is_text_only(page: Page, address: str) -> None:
    enter(page, address)
    before = page.title()
    type_line(page, "printf '\\033]0;<img src=x onerror=window.hit=1>\\342\\200\\256gpj\\007'; echo do''ne")
    shows(page, "\ndone")
    title = page.locator("[data-part=title]")
    expect(title).to_have_text("<img src=x onerror=window.hit=1>gpj")
    assert page.evaluate("window.hit") is None
    assert page.title() == before


def test_a_flood_leaves_the_tab_alive_and_obeys_ctrl_c(page: Page, address: str, stage: Stage) -> None:
    enter(page, address)
    before = stage.web.memory
    type_line(page, "yes flooding-the-terminal")
    shows(page, "\nflooding-the-terminal")
    page.wait_for_function(f"() => {ROOT}.link.offset > 8_000_000", timeout=60_000)
    page.get_by_role("button", name="Larger type").click()  # the page still answers
    page.keyboard.press("Control+C")
    type_line(page, "echo sto''pped")
    shows(page, "\nstopped")
    assert stage.web.memory - before < 40 * 1024 * 1024
    assert page.evaluate("performance.memory.usedJSHeapSize") < 200 * 1024 * 1024


def test_a_paste_of_a_megabyte(page: Page, address: str) -> None:
    enter(page, address)
    type_line(page, "stty -echo; cat > /tmp/pasted; stty echo; wc -l < /tmp/pasted; echo do''ne")
    page.evaluate(
        f"""() => {{
          const lines = Array.from({{ length: 16_000 }}, (_, number) => String(number).padStart(64, "x"));
          {ROOT}.terminal.paste(lines.join("\\n") + "\\n");
        }}"""
    )
    page.keyboard.press("Control+D")
    shows(page, "\ndone", timeout=60_000)
    assert "\n16000\n" in screen(page)


def test_search_and_type_size(page: Page, address: str) -> None:
    enter(page, address)
    type_line(page, "for i in 1 2 3; do echo need''le-$i; done")
    shows(page, "needle-3")
    page.keyboard.press("Control+Shift+F")
    page.keyboard.type("needle-2")
    expect(page.locator("[data-count]")).to_have_text("1 of 1")
    page.keyboard.press("Escape")
    columns = size(page)[0]
    page.get_by_role("button", name="Larger type").click()
    page.wait_for_function(f"() => {ROOT}.terminal.cols < {columns}")
    type_line(page, "echo typ''ed")
    shows(page, "\ntyped")


def test_the_keyboard_finds_its_way_out(page: Page, address: str) -> None:
    enter(page, address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "xterm-helper-textarea"
    page.keyboard.press("Control+Shift+E")
    assert page.evaluate("document.activeElement.dataset.do") == "find"


def test_it_follows_the_theme(page: Page, address: str) -> None:
    enter(page, address)
    background = f"{ROOT}.terminal.options.theme.background"
    page.evaluate("gantryTheme('light')")
    light = page.evaluate(background)
    page.evaluate("gantryTheme('dark')")
    page.wait_for_function(f"() => {background} !== {light!r}")
    assert page.evaluate(background) == "#0d1117"


class TestOnAPhone:
    @pytest.fixture
    def browser_context_args(self) -> dict[str, Any]:
        return {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True}

    def test_its_row_of_keys(self, page: Page, address: str) -> None:
        enter(page, address)
        type_line(page, "sh -c 'echo sta\"\"rted; exec cat'")
        shows(page, "\nstarted")  # it is this that the key ends, not a shell that is about to start it
        page.get_by_role("button", name="Control, for the next key").tap()
        page.keyboard.type("c")
        shows(page, "^C\n/ #")
        page.keyboard.type("echo firs''t")
        page.keyboard.press("Enter")
        shows(page, "\nfirst")
        page.get_by_role("button", name="Up", exact=True).tap()
        page.keyboard.press("Enter")
        page.wait_for_function(
            f"""() => Array.from({{ length: 30 }}, (_, row) => {ROOT}.terminal.buffer.active.getLine(row))
              .filter((line) => line?.translateToString(true) === "first").length === 2"""
        )

    def test_nothing_sticks_out(self, page: Page, address: str) -> None:
        enter(page, address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("document.documentElement.scrollHeight") <= 780
