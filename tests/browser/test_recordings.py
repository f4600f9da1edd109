"""Recorded terminals in a real browser: a shell is typed in one, replayed and watched in another."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.parts import SCREEN_TEXT
from tests.browser.test_terminal import enter, shows, type_line
from tests.support.engines import EngineProcess, unique
from tests.support.netns import NetworkNamespace
from tests.support.stage import Stage

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.redis_server, pytest.mark.browser]

MAKE = """
from pathlib import Path
from containers.models import Container, Ending
from containers.recordings import actions
from containers.recordings.actions import Told
from containers.recordings.cast import Event, header
from containers.recordings.files import CastFile
from controlplane.access.models import User
from django.conf import settings
settings.RECORDINGS_MOST = 10**9
row = actions.begin(User.objects.get(username="admin"), Container.objects.get(pk={pk}), {name!r}, "/bin/sh")
start = row.started_at.timestamp()
first = header(columns=80, rows=24, started=start, shell="sh", title="t", about={{}})
file = CastFile.create(actions.path_of(row), first, start, 0)
{events}
file.seal()
actions.end(row, Told(Ending.EXITED, file.size))
print(row.pk)
"""
STEPS = """
for second in range(20):
    if second == 10:
        file.append([Event(start + 95.0, "r", "100x30")], 0)
    file.append([Event(start + 10 * second, "o", f"\\x1b[2J\\x1b[Hsecond {10 * second}\\r\\n".encode())], 0)
file.append([Event(start + 195.0, "m", "a mark")], 0)
"""
LONG = """
line = ("x" * 70 + "\\r\\n").encode()
for number in range(64_000):
    file.append([Event(start + number / 10, "o", b"line %d " % number + line * 13)], 0)
"""
HOSTILE = """
file.append([Event(start, "o", b"\\x1b]52;c;ZXZpbA==\\x07\\x1b]0;<img src=x onerror=hit=1>\\x07\\x1b[6n\\x1b[c"
    b"\\x1b]8;;https://evil.example/x\\x07CLICK-HERE\\x1b]8;;\\x07 <b>bold</b>\\x1b[8;200;400t done")], 0)
file.append([Event(start + 1, "m", "<img src=x onerror=hit=1>")], 0)
"""


@pytest.fixture(scope="module")
def stage(
    docker_engine: EngineProcess, busybox_loaded: Callable[[EngineProcess], str], desk: NetworkNamespace
) -> Iterator[Stage]:
    busybox_loaded(docker_engine)
    with Stage(docker_engine, desk) as stage:
        yield stage


@pytest.fixture
def container(stage: Stage, docker_engine: EngineProcess, busybox_image: str) -> Iterator[int]:
    made = docker_engine.run(busybox_image, "top", name=unique("rec"))
    yield stage.add_container(made, unique("rec"))
    docker_engine.request("DELETE", f"/containers/{made}", force="true")


def sign_in(browser: Browser, stage: Stage, name: str, **arguments: Any) -> BrowserContext:
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 760}, **arguments})
    context.add_cookies([{"name": "gantry_session", "value": stage.cookie(name), "url": stage.url}])
    return context


def opened(context: BrowserContext) -> tuple[Page, list[str]]:
    """A page, and what goes wrong in it."""
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: "Content Security" in said.text and errors.append(said.text))  # type: ignore[func-returns-value]
    return page, errors


@pytest.fixture
def person(browser: Browser, stage: Stage) -> Iterator[Page]:
    """The browser of the person in the shell."""
    context = sign_in(browser, stage, "admin")
    page, errors = opened(context)
    yield page
    assert errors == []
    context.close()


@pytest.fixture
def watcher(browser: Browser, stage: Stage) -> Iterator[Page]:
    """Somebody else's."""
    context = sign_in(browser, stage, "other")
    page, errors = opened(context)
    yield page
    assert errors == []
    context.close()


def made(stage: Stage, container: int, events: str) -> int:
    """A recording of those events."""
    return int(stage.django(MAKE.format(pk=container, name=unique("t"), events=events)).splitlines()[-1])


PLAYER = "document.querySelector('[data-recording]')?.page"
SCREEN = "document.querySelector('[data-terminal]')?.page?.face.terminal"


def sees(page: Page, text: str, timeout: int = 20_000) -> None:
    """Wait until the screen of a recording shows `text`."""
    seen = f"(text) => {SCREEN} && ({SCREEN_TEXT})({SCREEN}).includes(text)"
    page.wait_for_function(seen, arg=text, timeout=timeout)


def play(page: Page) -> None:
    page.get_by_role("button", name="Play (Space)").click()


def status(page: Page) -> Any:
    return page.locator("[data-part=status] .word")


def test_what_was_typed_is_replayed(person: Page, watcher: Page, stage: Stage, container: int) -> None:
    enter(person, f"{stage.url}/containers/{container}/terminal/")
    expect(person.locator("[data-part=recorded]")).to_have_text("Recorded")
    type_line(person, "echo $((6*7))-done; exit")
    expect(person.locator("[data-part=notice]")).to_contain_text("The shell ended")
    watcher.goto(f"{stage.url}/containers/{container}/")
    watcher.locator(".card", has_text="Recorded terminals").locator("a.what").click()
    expect(watcher.get_by_role("button", name="Play (Space)")).to_be_enabled()
    play(watcher)
    sees(watcher, "\n42-done")
    expect(status(watcher)).to_have_text("At its end")


def test_a_second_browser_watches_and_the_first_sees_it(
    person: Page, watcher: Page, stage: Stage, container: int
) -> None:
    enter(person, f"{stage.url}/containers/{container}/terminal/")
    type_line(person, "echo bef''ore")
    shows(person, "\nbefore")
    watching = person.locator("[data-part=watchers]")
    expect(watching).to_be_hidden()
    watcher.goto(f"{stage.url}/recordings/")
    expect(watcher.locator("#listing tbody tr").first).to_contain_text("live")
    watcher.locator("#listing tbody tr").first.locator("a.name").click()
    sees(watcher, "\nbefore")
    expect(status(watcher)).to_have_text("Live")
    expect(watching).to_have_text("other is watching")
    type_line(person, "echo af''ter")
    sees(watcher, "\nafter")
    watcher.keyboard.type("exit\n")  # goes nowhere
    type_line(person, "echo still-h''ere")
    sees(watcher, "\nstill-here")
    person.set_viewport_size({"width": 900, "height": 600})
    person.wait_for_function("() => document.querySelector('[data-terminal]').page.terminal.cols < 110")
    columns = person.evaluate("document.querySelector('[data-terminal]').page.terminal.cols")
    watcher.wait_for_function(f"() => {SCREEN}.cols === {columns}")
    address = watcher.url
    watcher.goto(f"{stage.url}/recordings/")
    expect(watching).to_be_hidden()
    watcher.goto(address)
    sees(watcher, "\nstill-here")
    type_line(person, "exit")
    expect(status(watcher)).to_have_text("Ended")
    watcher.get_by_role("link", name="Replay it").click()
    play(watcher)
    sees(watcher, "\nstill-here")


def test_the_player_plays_pauses_seeks_and_skips(watcher: Page, stage: Stage, container: int) -> None:
    pk = made(stage, container, STEPS)
    watcher.goto(f"{stage.url}/recordings/{pk}/")
    clock = watcher.locator("[data-part=time]")
    expect(clock).to_have_text("0:00 / 3:15")
    watcher.keyboard.press("Space")  # 195 seconds, in which almost nothing happens
    watcher.locator("[data-part=speed]").select_option("16")
    expect(status(watcher)).to_have_text("At its end", timeout=60_000)
    sees(watcher, "second 190")
    expect(clock).to_have_text("3:15 / 3:15")
    watcher.keyboard.press("Home")
    sees(watcher, "second 0\n")
    assert watcher.evaluate(f"{SCREEN}.cols") == 80
    watcher.get_by_label("Place in the recording").fill("125")
    sees(watcher, "second 120")
    assert watcher.evaluate(f"{SCREEN}.cols") == 100
    watcher.keyboard.press("ArrowRight")
    sees(watcher, "second 130")
    watcher.locator("[data-part=markers] a").click()
    expect(clock).to_have_text("3:15 / 3:15")
    watcher.goto(f"{stage.url}/recordings/{pk}/?t=42")
    sees(watcher, "second 40")
    expect(clock).to_have_text("0:42 / 3:15")
    watcher.keyboard.press("<")
    expect(watcher.locator("[data-part=speed]")).to_have_value("0.5")
    watcher.keyboard.press("s")
    expect(watcher.get_by_label("Skip pauses")).not_to_be_checked()


@pytest.mark.timeout(400)
def test_a_long_recording_does_not_freeze_the_page(watcher: Page, stage: Stage, container: int) -> None:
    """64 MB: the page answers while it loads, and any place is a moment away."""
    pk = made(stage, container, LONG)
    watcher.add_init_script(
        f"""window.turns = 0;
        setInterval(() => {{
          const cast = {PLAYER}?.cast;
          if (cast?.characters > 1_000_000 && !cast.isComplete) window.turns += 1;
        }}, 20);"""
    )
    watcher.goto(f"{stage.url}/recordings/{pk}/")
    watcher.wait_for_function(f"() => {PLAYER}?.cast.isComplete", timeout=120_000)
    assert watcher.evaluate("window.turns") > 5, "others had their turn while it was read"
    watcher.wait_for_function(f"() => {PLAYER}.keyframes.frames.length >= 50", timeout=120_000)
    for number in (60_000, 100, 33_333, 63_999, 0):
        watcher.evaluate(f"{PLAYER}.player.seek({number / 10})")
        sees(watcher, f"line {number} ")
    assert watcher.evaluate("performance.memory.usedJSHeapSize") < 700 * 1024 * 1024


def test_hostile_output_does_nothing(browser: Browser, stage: Stage, container: int) -> None:
    pk = made(stage, container, HOSTILE)
    context = sign_in(browser, stage, "other", permissions=["clipboard-read", "clipboard-write"])
    page, errors = opened(context)
    sent: list[Any] = []
    page.on("request", lambda request: sent.append(request.url))
    page.goto(f"{stage.url}/recordings/{pk}/")
    page.evaluate("navigator.clipboard.writeText('mine')")
    page.keyboard.press("End")
    sees(page, "done")
    title = page.title()
    box = page.locator(".xterm-screen").bounding_box()
    assert box
    page.mouse.click(box["x"] + 30, box["y"] + 8)
    assert page.evaluate("navigator.clipboard.readText()") == "mine"
    assert page.evaluate("window.hit") is None
    assert (page.title(), len(context.pages)) == (title, 1)
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate(f"[{SCREEN}.cols, {SCREEN}.rows]") == [80, 24]
    expect(page.locator("[data-part=markers]")).to_contain_text("<img src=x onerror=hit=1>")
    assert not [url for url in sent if not url.startswith(stage.url)]
    assert errors == []
    context.close()


def test_a_link_to_a_moment_is_copied(browser: Browser, stage: Stage, container: int) -> None:
    pk = made(stage, container, STEPS)
    context = sign_in(browser, stage, "other", permissions=["clipboard-read", "clipboard-write"])
    page, _ = opened(context)
    page.goto(f"{stage.url}/recordings/{pk}/?t=63")
    sees(page, "second 60")
    page.get_by_role("button", name="Copy link").click()
    page.wait_for_function(
        "async (link) => await navigator.clipboard.readText() === link", arg=f"{stage.url}/recordings/{pk}/?t=63"
    )
    context.close()


def test_the_download_is_a_cast(watcher: Page, stage: Stage, container: int) -> None:
    pk = made(stage, container, STEPS)
    watcher.goto(f"{stage.url}/recordings/{pk}/")
    with watcher.expect_download() as coming:
        watcher.get_by_role("link", name="Download").click()
    assert re.fullmatch(r"rec-.*\.cast", coming.value.suggested_filename)
    first, *events = coming.value.path().read_text().splitlines()
    assert json.loads(first)["version"] == 2
    assert len(events) == 22


def test_it_is_removed_after_a_question(watcher: Page, stage: Stage, container: int) -> None:
    pk = made(stage, container, STEPS)
    watcher.goto(f"{stage.url}/recordings/{pk}/")
    watcher.get_by_role("button", name="Remove").click()
    dialog = watcher.get_by_role("dialog")
    expect(dialog).to_contain_text("Remove this recording?")
    dialog.get_by_role("button", name="Remove").click()
    expect(watcher.locator(".toasts")).to_contain_text("was removed")
    assert watcher.goto(f"{stage.url}/recordings/{pk}/").status == 404  # type: ignore[union-attr]


class TestOnAPhone:
    def test_nothing_sticks_out(self, browser: Browser, stage: Stage, container: int) -> None:
        pk = made(stage, container, STEPS)
        context = sign_in(browser, stage, "other", viewport={"width": 390, "height": 780}, has_touch=True)
        page, errors = opened(context)
        for path in ("", f"{pk}/", f"{pk}/watch/"):
            page.goto(f"{stage.url}/recordings/{path}")
            page.wait_for_load_state("networkidle")
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        assert errors == []
        context.close()
