"""The log viewer's modules by themselves, in the browser they are made for."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Route

from tests.support.home import ROOT

pytestmark = [pytest.mark.browser]

STATIC = ROOT / "static"


@pytest.fixture(scope="module")
def parts(browser: Browser) -> Iterator[Callable[[str], Any]]:
    """Runs code with the viewer's modules at hand. The files are served by the test itself."""
    context = browser.new_context()
    context.route("http://gantry.test/**", serve)
    page = context.new_page()
    page.goto("http://gantry.test/")
    names = ("frames", "lines", "cursor", "ansi", "heights", "times")
    imports = ", ".join(f"import('/js/logs/{name}.js')" for name in names)

    def evaluate(code: str) -> Any:
        return page.evaluate(f"async () => {{ const [{', '.join(names)}] = await Promise.all([{imports}]); {code} }}")

    yield evaluate
    context.close()


def serve(route: Route) -> None:
    path = urlsplit(route.request.url).path
    if path == "/":
        route.fulfill(content_type="text/html", body="<!doctype html><title>parts</title>")
    else:
        route.fulfill(content_type="text/javascript", body=(STATIC / path.lstrip("/")).read_text())


FEED = """
const encode = (text) => new TextEncoder().encode(text);
const frame = (stream, text) => {
  const body = encode(text);
  return [stream, 0, 0, 0, 0, 0, body.length >> 8, body.length & 255, ...body];
};
const stamp = "2026-11-20T18:40:00.123456789Z ";
function lines_of(bytes, step, Reader) {
  const rows = [];
  const assembler = new lines.Assembler((line) => rows.push(line) - 1, (at, line) => (rows[at] = line));
  const reader = new Reader((stream, stamp, bytes) => assembler.take(stream, stamp, bytes));
  for (let at = 0; at < bytes.length; at += step) reader.feed(new Uint8Array(bytes.slice(at, at + step)));
  reader.end(true);
  return rows.map((row) => [row.stream, row.seconds, row.nanos, row.text, row.continued]);
}
"""


@pytest.mark.parametrize("step", [1, 2, 7, 8, 9, 64, 100_000])
def test_frames_are_read_however_they_are_cut(parts: Callable[[str], Any], step: int) -> None:
    rows = parts(
        FEED
        + f"""const bytes = [...frame(1, stamp + "one\\n"), ...frame(2, stamp + "naïve ü\\n"),
          ...frame(1, stamp + "par"), ...frame(2, stamp + "between\\n"), ...frame(1, stamp + "tial\\n"),
          ...frame(1, stamp + "\\n"), ...frame(1, "no time\\n")];
        return lines_of(bytes, {step}, frames.FramedReader);"""
    )
    at = [datetime(2026, 11, 20, 18, 40, tzinfo=UTC).timestamp(), 123456789]
    assert rows == [
        [1, *at, "one", False],
        [2, *at, "naïve ü", False],
        [1, *at, "partial", False],
        [2, *at, "between", False],
        [1, *at, "", False],
        [1, 0, 0, "no time", False],
    ]


@pytest.mark.parametrize("step", [1, 13, 100_000])
def test_plain_streams_are_read_however_they_are_cut(parts: Callable[[str], Any], step: int) -> None:
    rows = parts(
        FEED
        + f"""const text = stamp + "one\\r\\n" + stamp + "x".repeat(16384) + stamp + "y\\r\\n" + stamp + "end";
        return lines_of([...encode(text)], {step}, frames.PlainReader);"""
    )
    assert [row[3] for row in rows] == ["one", "x" * 16384, "y", "end"]
    assert [row[4] for row in rows] == [False, False, True, False]


def test_half_a_character_waits_for_the_other_half(parts: Callable[[str], Any]) -> None:
    code = """const raw = (stream, bytes) => [stream, 0, 0, 0, 0, 0, 0, bytes.length, ...bytes];
    const head = [...encode(stamp)];
    return lines_of([...raw(1, [...head, 0x61, 0xc3]), ...raw(1, [...head, 0xa9, 10])], 1000, frames.FramedReader);"""
    assert parts(FEED + code)[0][3] == "aé"


def test_what_is_no_log_is_refused(parts: Callable[[str], Any]) -> None:
    code = """try { lines_of([...encode("HTTP/1.1 200 OK")], 100, frames.FramedReader); return ""; }
      catch (error) { return error.message; }"""
    assert "not a container’s log" in parts(FEED + code)


FINE = [[1 + i % 2, 100 + i // 4, (i * 7 % 3) * 1000] for i in range(40)]
"""Out of order by one or two, some of the same moment."""
COARSE = [[1 + i % 2, 100 + i // 15, 0] for i in range(40)]
"""Podman's engine gives whole seconds."""


@pytest.mark.parametrize("log", [FINE, COARSE], ids=["fine", "coarse"])
@pytest.mark.parametrize("size", [4, 50])
@pytest.mark.parametrize("cut", range(0, 40, 3))
def test_a_cursor_loses_and_doubles_nothing(
    parts: Callable[[str], Any], log: list[list[int]], size: int, cut: int
) -> None:
    """The engine gives again what is not before `since`, in the same order."""
    got = parts(
        f"const log = {json.dumps(log)}, size = {size}, cut = {cut}, got = [];"
        """
        const mark = new cursor.Cursor(size);
        const read = (from) => log.forEach(([stream, seconds, nanos], at) => {
          if (from === null ? at >= cut : seconds + nanos / 1e9 < from - 1e-9) return;
          if (from !== null && mark.seen(stream, { seconds, nanos })) return;
          mark.note(stream, { seconds, nanos });
          got.push(at);
        });
        read(null);
        read(mark.isEmpty ? 0 : Number(mark.resume()));
        return got;"""
    )
    assert sorted(got) == list(range(40))


def test_escape_sequences_come_apart(parts: Callable[[str], Any]) -> None:
    given = {
        "\x1b[31mred\x1b[m": "red",
        "\x1b]0;title\x07text": "text",
        "\x1b]52;c;eA==\x1b\\text": "text",
        "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\": "link",
        "\x1bPsecret\x1b\\text": "text",
        "\x9b31mred": "red",
        "\x1b[2K\x1b[1Gstep 2": "step 2",
        "old\rnew": "new",
        "text\r": "text",
        "ab\bc": "ac",
        "bell\x07": "bell",
        "\x1b": "",
        "\x1b[": "",
        "\x1b]unfinished": "",
        "\x00\x01\x7f": "␀␁␡",
        "plain\ttab": "plain\ttab",
    }
    assert parts(f"return {json.dumps(list(given))}.map((text) => ansi.parseLine(text).text)") == list(given.values())


def test_rows_of_any_height_are_found_again(parts: Callable[[str], Any]) -> None:
    assert (
        parts("""
      const tall = new heights.Uneven(262_100), kept = [];
      let seed = 1;
      const wrong = [];
      for (let i = 0; i < 2000; i += 1) {
        seed = (seed * 48271) % 2147483647;
        tall.push(1 + (seed % 5)); kept.push(1 + (seed % 5));
        if (i % 3 === 0) { tall.shift(); kept.shift(); }
        if (i % 50) continue;
        let y = 0;
        kept.forEach((height, at) => {
          const row = tall.first + at;
          const found = [tall.offset(row) === y, tall.find(y) === row, tall.find(y + height - 0.5) === row];
          if (found.includes(false)) wrong.push([i, row]);
          y += height;
        });
        if (tall.total !== y) wrong.push([i, "total"]);
      }
      return wrong;
    """)
        == []
    )


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("2026-11-20T18:40:00.123456789Z x", "2026-11-20T18:40:00.123456789Z"),
        ("2026-11-20T19:40:00.5+01:00 x", "2026-11-20T18:40:00.500000000Z"),
        ("2026-11-20T18:40:00Z x", "2026-11-20T18:40:00.000000000Z"),
        ("not a time at all, but long enough", ""),
        ("", ""),
    ],
)
def test_times_of_both_engines_are_read(parts: Callable[[str], Any], given: str, found: str) -> None:
    code = f"""const stamp = new times.Stamp();
      const length = stamp.read(new TextEncoder().encode({json.dumps(given)}), 0);
      return length ? times.isoTime(stamp.seconds, stamp.nanos) : "";"""
    assert parts(code) == found
