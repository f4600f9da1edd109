"""The Dockerfile's editor: the field beneath it, colours, completion, what the check says."""

from __future__ import annotations

import json
from html import escape
from typing import Any

import pytest
from playwright.sync_api import Page, Request, expect

from tests.browser.parts import Stage

pytestmark = [pytest.mark.browser]

INTERACTION_DELAY = 150  # ms: twice what CodeMirror ignores keys for once a completion has opened (interactionDelay)
TEXT = """# syntax=docker/dockerfile:1
FROM debian:12 AS build
RUN <<EOF
echo "FROM is no instruction here"
EOF
FROM scratch
COPY --from=build /a /b
"""


def editor_page(stage: Stage, text: str = "", diagnostics: tuple[dict[str, Any], ...] = ()) -> Page:
    def lint(request: Request) -> dict[str, Any]:
        assert request.headers["x-csrftoken"] == "secret"
        given = json.loads(request.post_data or "")["dockerfile"]
        found = [each for each in diagnostics if "ARG" not in given]
        return {"content_type": "application/json", "body": json.dumps({"diagnostics": found})}

    stage.answers["/builds/lint/"] = lint
    return stage.show(
        f"""<form action="/made" class="narrow"><label for="id_text">Dockerfile text</label>
        <textarea class="form-control" id="id_text" name="text" rows="16"
          data-dockerfile data-lint="/builds/lint/">{escape(text)}</textarea>
        <div class="form-foot"><button class="btn btn-primary" type="submit">Build</button></div></form>""",
        "builds/editor",
    )


def caret_at_end(page: Page) -> None:
    page.locator(".cm-content").click()
    page.keyboard.press("Control+End")


def labels(page: Page) -> list[str]:
    expect(page.locator(".cm-tooltip-autocomplete li").first).to_be_visible()
    return page.locator(".cm-tooltip-autocomplete .cm-completionLabel").all_inner_texts()


def test_the_form_posts_what_was_typed(stage: Stage) -> None:
    page = editor_page(stage)
    page.get_by_text("Dockerfile text").click()
    expect(page.get_by_role("textbox", name="Dockerfile text")).to_be_focused()
    page.keyboard.type("FROM a")
    expect(page.locator("#id_text")).to_have_value("FROM a")
    page.get_by_role("button", name="Build").click()
    expect(page).to_have_url("http://gantry.test/made?text=FROM+a")


def test_whoever_writes_the_field_writes_the_editor(stage: Stage) -> None:
    page = editor_page(stage)
    page.evaluate("""() => {
      const field = document.getElementById("id_text");
      field.value = "FROM template";
      field.dispatchEvent(new Event("change", { bubbles: true }));
    }""")
    expect(page.locator(".cm-line")).to_have_text(["FROM template"])


def test_tab_leaves_the_editor_unless_a_completion_is_open(stage: Stage) -> None:
    page = editor_page(stage)
    page.locator(".cm-content").click()
    page.keyboard.type("EXPO")
    assert labels(page) == ["EXPOSE"]
    page.wait_for_timeout(INTERACTION_DELAY)
    page.keyboard.press("Tab")
    expect(page.locator("#id_text")).to_have_value("EXPOSE ")
    expect(page.locator(".cm-content")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Build")).to_be_focused()


def test_instructions_and_bodies_have_their_colours(stage: Stage) -> None:
    page = editor_page(stage, TEXT)
    expect(page.locator(".df-keyword")).to_have_text(["FROM", "AS", "RUN", "FROM", "COPY"])
    expect(page.locator(".df-meta")).to_have_text(["# syntax=docker/dockerfile:1"])
    expect(page.locator(".df-builtin")).to_have_text(["echo"])
    expect(page.locator(".df-flag")).to_have_text(["--from="])
    colours = page.locator(".df-keyword, .df-string, .df-name").evaluate_all(
        "(all) => [...new Set(all.map((each) => getComputedStyle(each).color))].length"
    )
    assert colours == 3


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("\nCOPY --", ["--from=", "--chown=", "--chmod=", "--link", "--exclude=", "--parents"]),
        ("\nCOPY --from=", ["build"]),
        ("\nRUN --mount=type=", ["bind", "cache", "secret", "ssh", "tmpfs"]),
        ("\nFROM b", ["build"]),
    ],
)
def test_completion_offers_what_may_stand_there(stage: Stage, typed: str, expected: list[str]) -> None:
    page = editor_page(stage, TEXT)
    caret_at_end(page)
    page.keyboard.insert_text(typed)
    page.keyboard.press("Control+Space")
    assert sorted(labels(page)) == sorted(expected)


def test_completion_says_what_an_instruction_takes(stage: Stage) -> None:
    page = editor_page(stage)
    page.locator(".cm-content").click()
    page.keyboard.type("wor")
    assert labels(page) == ["WORKDIR"]
    expect(page.locator(".cm-completionInfo")).to_contain_text("made when it is not there")
    page.wait_for_timeout(INTERACTION_DELAY)
    page.keyboard.press("Enter")
    expect(page.locator("#id_text")).to_have_value("WORKDIR ")


def test_the_check_marks_the_text_and_lists_what_it_found(stage: Stage) -> None:
    page = editor_page(
        stage,
        "FROM a\nFRM b\nCOPY x\n",
        (
            {
                "line": 2,
                "from": 0,
                "to": 3,
                "severity": "error",
                "message": "unknown instruction: FRM",
                "unless": "ARG",
            },
            {"line": 3, "from": None, "to": None, "severity": "warning", "message": "COPY wants two"},
        ),
    )
    expect(page.locator(".lint-list li")).to_have_count(2)
    expect(page.locator(".cm-lintRange-error")).to_have_text("FRM")
    expect(page.locator(".cm-lintRange-warning")).to_have_text("COPY x")
    expect(page.locator(".cm-lint-marker")).to_have_count(2)
    page.get_by_role("button", name="Line 3").click()
    expect(page.locator(".cm-activeLine")).to_have_text("COPY x")
    expect(page.locator(".cm-content")).to_be_focused()
    page.keyboard.type("ARG ")
    expect(page.locator(".lint-list li")).to_have_count(0)
    expect(page.locator(".cm-lint-marker")).to_have_count(0)


def test_a_dockerfile_is_shown_with_its_line_marked(stage: Stage) -> None:
    page = stage.show(f'<pre data-dockerfile-view data-mark-line="7">{escape(TEXT)}</pre>', "builds/editor")
    expect(page.locator(".df-marked")).to_have_text("COPY --from=build /a /b")
    page.locator(".cm-content").focus()
    page.keyboard.type("x")
    expect(page.locator(".cm-line").first).to_have_text("# syntax=docker/dockerfile:1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(stage: Stage, scheme: str) -> None:
    """WCAG AA: 4.5 to 1 for text."""
    stage.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page = editor_page(stage, TEXT + 'ENV A="b" C=$D\nEXPOSE 80\nFRM x\n# end\n')
    expect(page.locator(".df-invalid")).to_be_visible()
    poor = page.evaluate("""() => {
      const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
      const channel = (value) => linear(value / 255);
      const canvas = new OffscreenCanvas(1, 1).getContext("2d");
      const luminance = (colour) => {
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = canvas.getImageData(0, 0, 1, 1).data;
        return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
      };
      const ground = luminance(getComputedStyle(document.querySelector(".df-editor")).backgroundColor);
      return [...document.querySelectorAll(".cm-line span, .cm-lineNumbers .cm-gutterElement")].map((each) => {
        const ink = luminance(getComputedStyle(each).color);
        return [each.textContent, (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05)];
      }).filter(([, ratio]) => ratio < 4.5);
    }""")
    assert poor == []
