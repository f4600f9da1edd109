"""A build's output by step, in the browser, its WebSocket spoken by the test."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, WebSocketRoute, expect

from tests.browser.parts import Stage

pytestmark = [pytest.mark.browser]

AT = "2026-11-20T18:40:00+00:00"


class Script:
    """The output's WebSocket, spoken by the test."""

    def __init__(self, stage: Stage, *, address: str = "/") -> None:
        self.sequence = 0
        self.sockets: list[WebSocketRoute] = []
        self.first: list[dict[str, Any]] = []
        self.later: list[dict[str, Any]] = []
        self.away = False
        stage.page.route_web_socket("**/ws/operations/7/output*", self.connected)
        self.page = stage.page
        self.stage = stage
        self.address = address

    def connected(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)
        if self.away:
            socket.close(code=1012)
            return
        for message in self.first if len(self.sockets) == 1 else self.later:
            socket.send(json.dumps(message))

    def lines(self, *records: tuple[str, str]) -> dict[str, Any]:
        rows = []
        for stream, text in records:
            rows.append([self.sequence, AT, stream, text])
            self.sequence += 1
        return {"lines": rows}

    def show(self, *messages: dict[str, Any]) -> Page:
        self.first = list(messages)
        self.stage.show(
            '<button data-goto-step="make">The step make</button>'
            '<svg width="90" height="20"><g data-goto-step="make" tabindex="0" role="button" aria-label="Drawn">'
            '<rect width="90" height="20" /></g></svg><div data-build-output="7" data-keep></div>',
            "builds/output",
            "ui/time",
            address=self.address,
        )
        return self.page

    def send(self, message: dict[str, Any]) -> None:
        self.sockets[-1].send(json.dumps(message))


BUILD = (
    ("info", "Sending the context\n"),
    ("step", "base\tFROM debian:12"),
    ("done", "base\tcached\t0.0"),
    ("step", "make\tRUN make -j8 \\\n    all"),
    ("stdout", "compiling \x1b[31mred\x1b[0m one\n"),
    ("stdout", "compiling two\nand three\n"),
    ("stderr", "10%\r"),
    ("stderr", "20%\r"),
    ("stderr", "100%\n"),
)


def head(page: Page, text: str) -> Locator:
    return page.locator(".bo-head", has_text=text)


def test_steps_fold_by_their_state(stage: Stage) -> None:
    script = Script(stage)
    page = script.show(script.lines(*BUILD))
    expect(head(page, "FROM debian:12")).to_have_attribute("aria-expanded", "false")
    expect(head(page, "FROM debian:12")).to_contain_text("cached")
    expect(head(page, "RUN make -j8 all")).to_have_attribute("aria-expanded", "true")
    expect(page.locator("[data-step=make] .line")).to_have_text(
        ["compiling red one", "compiling two", "and three", "100%"]
    )
    expect(page.locator(".fg-1")).to_have_text("red")
    script.send(script.lines(("done", "make\tbuilt\t72.4"), ("step", "end\tRUN false"), ("stdout", "no\n")))
    expect(head(page, "RUN make")).to_have_attribute("aria-expanded", "false")
    expect(head(page, "RUN make")).to_contain_text("1 min 12 s")
    script.send(script.lines(("done", "end\tfailed\t0.2"), ("error", "It failed.\n")))
    script.send({"ended": "failed"})
    expect(head(page, "RUN false")).to_have_attribute("aria-expanded", "true")
    expect(head(page, "Finishing")).to_have_attribute("aria-expanded", "true")
    expect(page.locator("[data-step=finishing] .line")).to_have_text(["It failed."])
    expect(page.locator(".bo-status")).to_contain_text("3 steps, 7 lines")


def test_what_the_reader_opened_stays_open_and_the_keyboard_does_it(stage: Stage) -> None:
    script = Script(stage)
    page = script.show(script.lines(*BUILD))
    head(page, "RUN make").focus()
    page.keyboard.press("Enter")
    expect(head(page, "RUN make")).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Space")
    expect(head(page, "RUN make")).to_have_attribute("aria-expanded", "true")
    script.send(script.lines(("done", "make\tbuilt\t1"), ("step", "next\tRUN x")))
    expect(head(page, "RUN x")).to_be_visible()
    expect(head(page, "RUN make")).to_have_attribute("aria-expanded", "true")
    page.get_by_role("button", name="Fold all").click()
    expect(page.locator(".bo-head[aria-expanded=true]")).to_have_count(0)
    page.get_by_role("button", name="Open all").click()
    expect(page.locator(".bo-head[aria-expanded=false]")).to_have_count(0)


def test_a_reconnect_goes_on_after_the_last_line(stage: Stage) -> None:
    script = Script(stage)
    page = script.show(script.lines(*BUILD))
    expect(page.locator("[data-step=make] .line")).to_have_count(4)
    last = script.sequence - 1
    script.later = [{"lines": [[last, AT, "stderr", "said again\n"], [last + 1, AT, "stdout", "more\n"]]}]
    script.away = True
    script.sockets[0].close(code=1012)
    expect(page.locator(".bo-status")).to_contain_text("reconnecting")
    script.away = False
    expect(page.locator("[data-step=make] .line .text").last).to_have_text("more")
    expect(page.locator("[data-step=make] .line")).to_have_count(5)
    assert urlsplit(script.sockets[-1].url).query == f"after={last}"


def test_search_opens_what_matches_and_goes_from_match_to_match(stage: Stage) -> None:
    script = Script(stage)
    page = script.show(
        script.lines(
            *BUILD,
            ("done", "make\tbuilt\t1"),
            ("step", "end\tRUN x"),
            ("stdout", "a TWO two\n"),
            ("done", "end\tbuilt\t1"),
        ),
        {"ended": "succeeded"},
    )
    expect(page.locator(".bo-head[aria-expanded=true]")).to_have_count(0)
    page.get_by_label("Search the output").fill("two")
    expect(page.locator(".bo-found")).to_have_text("2")
    expect(page.locator("mark")).to_have_text(["two", "TWO", "two"])
    page.keyboard.press("Enter")
    expect(page.locator(".bo-found")).to_have_text("1 of 2")
    expect(page.locator(".line.current .text")).to_have_text("compiling two")
    page.get_by_role("button", name="Next match").click()
    expect(page.locator(".line.current .text")).to_have_text("a TWO two")
    page.get_by_role("button", name="Previous match").click()
    expect(page.locator(".bo-found")).to_have_text("1 of 2")
    page.get_by_role("button", name="Only lines that match").click()
    expect(page.locator(".line .text")).to_have_text(["compiling two", "a TWO two"])
    expect(head(page, "FROM debian:12")).to_be_hidden()
    page.get_by_label("Search the output").fill("TWO")
    expect(page.locator(".bo-found")).to_have_text("1")
    page.get_by_label("Search the output").fill("")
    expect(page.locator(".bo-head[aria-expanded=true]")).to_have_count(0)
    expect(head(page, "FROM debian:12")).to_be_visible()


def test_a_link_to_a_line_waits_for_it_opens_its_step_and_marks_it(stage: Stage) -> None:
    script = Script(stage, address="/#L6")
    page = script.show(script.lines(*BUILD, ("done", "make\tbuilt\t1")))
    expect(head(page, "RUN make")).to_have_attribute("aria-expanded", "false")
    script.send(script.lines(("step", "end\tRUN y"), ("stdout", "the sixth\n"), ("done", "end\tbuilt\t1")))
    expect(page.locator(".line.marked .text")).to_have_text("the sixth")
    expect(page.locator(".line.marked")).to_be_in_viewport()
    page.evaluate("location.hash = '#L3'")
    expect(page.locator(".line.marked .text")).to_have_text("compiling two")
    page.get_by_role("link", name="Line 4").click()
    expect(page).to_have_url("http://gantry.test/#L4")
    expect(page.locator(".line.marked .text")).to_have_text("and three")


@pytest.mark.parametrize("way", ["click", "key on a drawing"])
def test_a_step_is_gone_to_from_elsewhere_on_the_page(stage: Stage, way: str) -> None:
    script = Script(stage)
    page = script.show(
        script.lines(*BUILD, *[("stdout", f"{number}\n") for number in range(300)], ("done", "make\tbuilt\t1")),
        {"ended": "succeeded"},
    )
    expect(head(page, "RUN make")).to_have_attribute("aria-expanded", "false")
    if way == "click":
        page.get_by_role("button", name="The step make").click()
    else:
        page.get_by_role("button", name="Drawn").press("Enter")
    expect(head(page, "RUN make")).to_have_attribute("aria-expanded", "true")
    expect(head(page, "RUN make")).to_be_focused()
    expect(head(page, "RUN make")).to_be_in_viewport()


def test_the_end_is_followed_until_somebody_scrolls_up(stage: Stage) -> None:
    script = Script(stage)
    page = script.show(script.lines(*BUILD, *[("stdout", f"line {number}\n") for number in range(400)]))
    last = page.locator(".line .text").last
    expect(last).to_have_text("line 399")
    expect(last).to_be_in_viewport()
    page.locator(".bo-scroll").hover()
    page.mouse.wheel(0, -3000)
    end = page.get_by_role("button", name="To the end")
    expect(end).to_be_visible()
    script.send(script.lines(("stdout", "new\n")))
    expect(page.locator(".bo-status")).to_contain_text("406 lines")
    expect(page.get_by_text("line 399")).not_to_be_in_viewport()
    end.click()
    expect(page.get_by_text("new", exact=True)).to_be_in_viewport()
    expect(end).to_be_hidden()


def test_two_hundred_thousand_lines_have_rows_only_where_one_looks(stage: Stage) -> None:
    script = Script(stage)
    page = script.show(script.lines(*BUILD))
    expect(head(page, "RUN make")).to_be_visible()
    for start in range(0, 200_000, 20_000):
        text = "".join(f"number {number}\n" for number in range(start, start + 20_000))
        script.send(script.lines(("stdout", text)))
    expect(page.locator(".bo-status")).to_contain_text("200,005 lines", timeout=60_000)
    expect(page.get_by_text("number 199999")).to_be_in_viewport()
    assert page.locator(".line").count() <= 3000
    page.locator(".bo-scroll").evaluate("(box) => { box.scrollTop = box.scrollHeight / 2; }")
    expect(page.locator(".line", has_text="number 100000")).to_be_attached()
    assert page.locator(".line").count() <= 3000
    page.get_by_label("Search the output").fill("number 1234")
    expect(page.locator(".bo-found")).to_have_text("111")
    page.keyboard.press("Enter")
    expect(page.locator(".line.current .text")).to_have_text("number 1234")
    expect(page.locator(".line.current")).to_be_in_viewport()
    page.evaluate("location.hash = '#L150005'")
    expect(page.locator(".line.marked .text")).to_have_text("number 149999")
    expect(page.locator(".line.marked")).to_be_in_viewport()
    assert page.locator(".line").count() <= 3000


def test_all_of_it_is_downloaded_as_text(stage: Stage) -> None:
    script = Script(stage)
    page = script.show(script.lines(*BUILD), {"ended": "cancelled"})
    expect(head(page, "RUN make")).to_contain_text("cancelled")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as text").click()
    assert download.value.suggested_filename == "build-7.txt"
    assert download.value.path().read_text() == (
        "Preparing\nSending the context\n\n#1 FROM debian:12 (cached)\n\n"
        "#2 RUN make -j8 \\\n    all (cancelled)\ncompiling red one\ncompiling two\nand three\n100%\n\n"
    )


def test_a_build_without_output_says_so(stage: Stage) -> None:
    page = Script(stage).show({"ended": "failed"})
    expect(page.get_by_text("It wrote no output.")).to_be_visible()
