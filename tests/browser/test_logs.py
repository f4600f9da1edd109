"""The log viewer in a real browser, on real containers, through the whole chain."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.support.engines import EngineProcess, unique
from tests.support.netns import NetworkNamespace
from tests.support.stage import Stage
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.redis_server, pytest.mark.browser]

Run = Callable[..., tuple[int, str]]
COUNT = "i=0; while :; do i=$((i+1)); echo count $i; usleep 20000; done"


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
def run(stage: Stage, docker_engine: EngineProcess, busybox_image: str) -> Iterator[Run]:
    """Run a shell script in a container: `run("echo a")` → (its row's key, its engine id)."""
    made: list[str] = []

    def start(script: str, **body: Any) -> tuple[int, str]:
        name = unique("log")
        engine_id = docker_engine.run(busybox_image, "sh", "-c", script, name=name, **body)
        made.append(engine_id)
        return stage.add_container(engine_id, name), engine_id

    yield start
    for engine_id in made:
        docker_engine.request("DELETE", f"/containers/{engine_id}", force="true")


@pytest.fixture
def context(browser: Browser, cookie: dict[str, Any], stage: Stage) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=stage.url)
    context.add_cookies([cookie])  # type: ignore[list-item]
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page whose script errors and dialogs fail the test."""
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: (errors.append(dialog.message), dialog.dismiss()))
    yield page
    assert errors == []


class Log:
    """The viewer of one container as a person sees it."""

    def __init__(self, page: Page, stage: Stage, pk: int, query: str = "") -> None:
        self.page = page
        page.goto(f"{stage.url}/containers/{pk}/logs/{query}")
        page.locator("[data-logs][data-phase]").wait_for(timeout=10_000)

    @property
    def state(self) -> Locator:
        return self.page.locator("[data-part=state]")

    @property
    def rows(self) -> Locator:
        return self.page.locator(".logs-rows .line")

    def row(self, text: str) -> Locator:
        return self.rows.filter(has_text=text)

    def part(self, name: str) -> Locator:
        return self.page.locator(f"[data-part={name}]")

    def do(self, name: str) -> Locator:
        return self.page.locator(f"button[data-do={name}]").first

    def search(self, text: str) -> Locator:
        field = self.page.get_by_label("Search the lines")
        field.fill(text)
        return field

    def reaches(self, number: int) -> None:
        """Wait until a line "count N" with at least this number is drawn; a single one scrolls past unseen."""
        self.page.wait_for_function(
            """(number) => Array.from(document.querySelectorAll(".logs-rows .line"))
                .some((row) => Number(/count (\\d+)/.exec(row.textContent)?.[1]) >= number)""",
            arg=number,
            timeout=20_000,
        )

    def copied(self) -> list[str]:
        """All lines by the copy button, without times."""
        if self.do("times").get_attribute("aria-pressed") == "true":
            self.do("times").click()
        self.page.evaluate("getSelection().empty(); navigator.clipboard.writeText('not copied yet')")
        self.do("copy").click()
        self.page.wait_for_function("async () => await navigator.clipboard.readText() !== 'not copied yet'")
        return str(self.page.evaluate("navigator.clipboard.readText()")).splitlines()

    def scroll_up(self, lines: int = 30) -> None:
        self.page.locator(".stream-body").hover()
        self.page.mouse.wheel(0, -21 * lines)
        expect(self.do("follow")).to_have_attribute("aria-pressed", "false")


def numbers(lines: list[str]) -> list[int]:
    return [int(line.split()[1]) for line in lines if re.fullmatch(r"count \d+", line)]


# --- Reading


def test_lines_appear_as_they_are_written_with_streams_told_apart(page: Page, stage: Stage, run: Run) -> None:
    pk, _ = run("echo to out; echo to err >&2; sleep 1000")
    log = Log(page, stage, pk)
    expect(log.row("to out")).to_have_class(re.compile("stdout"))
    expect(log.row("to err")).to_have_class(re.compile("stderr"))
    expect(log.state).to_contain_text("Live")
    expect(log.row("to out").locator("time")).to_have_text(re.compile(r"\d\d:\d\d:\d\d\.\d{3}"))
    expect(log.row("to out").locator("time")).to_have_attribute("title", re.compile(r"\.\d{9} UTC$"))


def test_colours_are_kept_and_nothing_else_gets_through(page: Page, stage: Stage, run: Run) -> None:
    pk, _ = run(
        r"printf '\033[31mred\033[0m \033[1;92mbold\033[0m \033[38;5;208mc256\033[0m \033[38;2;1;2;3mtrue\033[0m\n';"
        r"printf '\033]52;c;ZXZpbA==\007clip \033]8;;http://evil.example\033\\link\033]8;;\033\\ ';"
        r"echo '<script>alert(1)</script>';"
        r"printf 'a\000b \377 \r10%%\r100%% done\n'; printf 'turn \342\200\256 round\n'; sleep 1000"
    )
    log = Log(page, stage, pk)
    expect(log.row("red").locator(".fg-1")).to_have_text("red")
    expect(log.row("red").locator(".fg-10.sgr-bold")).to_have_text("bold")
    expect(log.row("red").get_by_text("c256")).to_have_css("color", "rgb(255, 135, 0)")
    expect(log.row("red").get_by_text("true", exact=True)).to_have_css("color", "rgb(1, 2, 3)")
    expect(log.row("clip").locator(".text")).to_have_text("clip link <script>alert(1)</script>")
    assert log.row("clip").locator("a, script").count() == 0
    expect(log.row("done").locator(".text")).to_have_text("100% done")
    expect(log.row("turn").locator(".text")).to_have_text("turn ‹U+202E› round")
    page.evaluate("navigator.clipboard.writeText('untouched')")
    assert page.evaluate("navigator.clipboard.readText()") == "untouched"


def test_a_container_with_a_terminal(page: Page, stage: Stage, run: Run) -> None:
    pk, _ = run(r"printf '\033[32mgreen\033[0m line\n'; echo second; sleep 1000", Tty=True)
    log = Log(page, stage, pk)
    expect(log.row("green line").locator(".fg-2")).to_have_text("green")
    expect(log.row("second").locator(".text")).to_have_text("second")


def test_tail_since_and_streams_are_in_the_address(page: Page, stage: Stage, run: Run) -> None:
    pk, _ = run("for i in $(seq 1 300); do echo count $i; done; sleep 1; echo oops >&2; sleep 1000")
    log = Log(page, stage, pk)
    expect(log.part("lines")).to_have_text("301 lines")
    page.get_by_label("How many lines to begin with").select_option("100")
    expect(log.part("lines")).to_have_text("100 lines")
    assert "tail=100" in page.url
    log.do("stdout").click()
    expect(log.part("lines")).to_have_text("1 line")
    expect(log.row("oops")).to_be_visible()
    page.reload()
    expect(log.do("stdout")).to_have_attribute("aria-pressed", "false")
    expect(log.part("lines")).to_have_text("1 line")


def test_an_empty_log_says_what_will_come(page: Page, stage: Stage, run: Run) -> None:
    pk, _ = run("sleep 1000")
    expect(Log(page, stage, pk).part("empty")).to_contain_text("Nothing written yet")


# --- Moving


def test_it_follows_until_the_reader_scrolls_up(page: Page, stage: Stage, run: Run) -> None:
    pk, _ = run(f"for i in $(seq 1 200); do echo before $i; done; {COUNT}")
    log = Log(page, stage, pk)
    log.reaches(40)
    log.scroll_up()
    top = log.rows.first.inner_text()
    expect(log.part("pill")).to_contain_text(re.compile(r"[2-9]\d+ new lines"))
    assert log.rows.first.inner_text() == top
    log.part("pill").click()
    expect(log.part("pill")).to_be_hidden()
    expect(log.do("follow")).to_have_attribute("aria-pressed", "true")


def test_a_pause_holds_lines_back_and_loses_none(page: Page, stage: Stage, run: Run) -> None:
    pk, _ = run(COUNT)
    log = Log(page, stage, pk, "?tail=all")
    log.reaches(5)
    page.locator(".stream-body").focus()
    page.keyboard.press("p")
    expect(log.state).to_contain_text("Paused")
    expect(log.part("held")).to_contain_text(re.compile(r"[3-9]\d held back"))
    shown = numbers(log.copied())[-1]
    page.keyboard.press("p")
    expect(log.state).to_contain_text("Live")
    log.reaches(shown + 30)
    found = numbers(log.copied())
    assert found == list(range(1, len(found) + 1))


def test_keys(page: Page, stage: Stage, run: Run) -> None:
    pk, _ = run("for i in $(seq 1 200); do echo count $i; done; sleep 1000")
    log = Log(page, stage, pk)
    expect(log.row("count 200")).to_be_visible()
    page.keyboard.press("Home")
    expect(log.rows.first).to_contain_text("count 1")
    page.keyboard.press("End")
    expect(log.row("count 200")).to_be_visible()
    page.keyboard.press("w")
    expect(log.do("wrap")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("t")
    expect(page.locator(".logs-rows .at")).to_have_count(0)
    page.keyboard.press("/")
    expect(page.get_by_label("Search the lines")).to_be_focused()


# --- Searching


def test_search_counts_marks_and_steps(page: Page, stage: Stage, run: Run) -> None:
    pk, _ = run("for i in $(seq 1 400); do echo count $i; [ $((i % 100)) = 0 ] && echo Needle $i; done; sleep 1000")
    log = Log(page, stage, pk)
    field = log.search("needle")
    expect(log.part("found")).to_have_text("4")
    field.press("Shift+Enter")
    expect(log.part("found")).to_have_text("4 of 4")
    field.press("Enter")
    expect(log.part("found")).to_have_text("1 of 4")
    expect(page.locator("mark.current")).to_have_text("Needle")
    expect(log.row("Needle 100")).to_be_visible()
    log.do("only").click()
    expect(log.rows).to_have_count(4)
    field.press("Escape")
    expect(page.locator("mark")).to_have_count(0)
    expect(log.row("count 400")).to_be_attached()


def test_search_by_expression_and_its_mistakes(page: Page, stage: Stage, run: Run) -> None:
    pk, _ = run("echo a.b; echo axb; sleep 1000")
    log = Log(page, stage, pk)
    log.search("a.b")
    expect(log.part("found")).to_have_text("1")
    log.do("expression").click()
    expect(log.part("found")).to_have_text("2")
    log.search("(")
    expect(log.part("found")).to_have_text("not a valid expression")


def test_the_filter_takes_new_lines_as_they_come(page: Page, stage: Stage, run: Run) -> None:
    pk, _ = run(COUNT)
    log = Log(page, stage, pk, "?q=0%24&regex=1&only=1")
    log.reaches(30)
    assert all(line.endswith("0") for line in log.rows.all_inner_texts())


# --- Much


def test_a_burst_of_200_000_lines_leaves_the_page_alive(page: Page, stage: Stage, run: Run) -> None:
    pk, engine_id = run("mkfifo /tmp/go; echo ready; read go < /tmp/go; seq 1 200000 | sed 's/^/count /'; sleep 1000")
    log = Log(page, stage, pk)
    expect(log.row("ready")).to_be_visible()
    page.evaluate("""() => {
        window.frames_ = 0;
        const tick = () => { window.frames_ += 1; requestAnimationFrame(tick); };
        requestAnimationFrame(tick);
    }""")
    stage.engine.cli("exec", engine_id, "sh", "-c", "echo > /tmp/go")
    most = 0

    def arrived() -> bool:
        nonlocal most
        most = max(most, log.rows.count())
        return "200,000 lines" in log.part("lines").inner_text()

    eventually(arrived, timeout=90, what="all lines have arrived")
    # It went on drawing all the while, with no more elements than are in sight.
    assert page.evaluate("window.frames_") > 20
    assert most < 200
    assert log.part("dropped").inner_text() == "1 older not kept"
    expect(log.row("count 200000")).to_be_visible()
    log.scroll_up(100)
    log.search("count 123456")
    expect(log.part("found")).to_have_text("1")
    page.keyboard.press("Enter")
    expect(log.row("count 123456")).to_be_visible()
    assert page.evaluate("performance.memory.usedJSHeapSize") < 200_000_000


def test_a_line_of_ten_megabytes_is_shown_in_pieces(page: Page, stage: Stage, run: Run) -> None:
    size = 10_000_000
    pk, _ = run(f"head -c {size} /dev/zero | tr '\\0' x; echo; echo after; sleep 1000")
    log = Log(page, stage, pk, "?tail=all")
    expect(log.row("after")).to_be_visible(timeout=60_000)
    expect(log.part("lines")).to_have_text(f"{-(-size // 16384) + 1} lines")
    lines = log.copied()
    assert [len(line) for line in lines] == [size, len("after")]


# --- Endings and breaks


def test_it_says_that_the_container_stopped_and_goes_on_when_it_starts(page: Page, stage: Stage, run: Run) -> None:
    pk, engine_id = run("echo run; trap 'exit 3' TERM; while :; do usleep 20000; done")
    log = Log(page, stage, pk)
    expect(log.row("run")).to_be_visible()
    stage.engine.cli("stop", engine_id)
    expect(log.state).to_contain_text("Exited (3)")
    expect(log.row("The container stopped with code 3")).to_be_visible()
    stage.engine.cli("start", engine_id)
    page.evaluate(f"document.body.dispatchEvent(new CustomEvent('live:container.{pk}'))")
    expect(log.state).to_contain_text("Live")
    expect(log.row("run")).to_have_count(2)


def test_no_line_is_lost_or_doubled_when_the_web_dies(page: Page, stage: Stage, run: Run) -> None:
    pk, _ = run(COUNT)
    log = Log(page, stage, pk, "?tail=all")
    for _ in range(3):
        at = numbers(log.copied() or ["count 0"])[-1:] or [0]
        log.reaches(at[0] + 20)
        stage.web.kill()
        expect(log.state).to_contain_text("Reconnecting")
        stage.web.start()
        expect(log.state).to_contain_text("Live", timeout=30_000)
    at = numbers(log.copied())[-1:]
    log.reaches(at[0] + 20)
    found = numbers(log.copied())
    assert found == list(range(1, len(found) + 1))


def test_no_line_is_lost_or_doubled_when_the_host_goes_and_comes(page: Page, stage: Stage, run: Run) -> None:
    pk, _ = run(
        "i=0; while :; do i=$((i+1)); echo count $i; echo err $i >&2; [ $((i % 50)) = 0 ] && usleep 50000; done"
    )
    quiet_pk, _ = run("echo here; sleep 1000")
    quiet = Log(page.context.new_page(), stage, quiet_pk)
    expect(quiet.row("here")).to_be_visible()
    log = Log(page, stage, pk, "?tail=0")
    expect(log.row("count").first).to_be_visible()
    stage.agent.kill()
    try:
        expect(log.state).to_contain_text("Reconnecting", timeout=20_000)
        expect(log.part("notice")).to_contain_text("host-1")
    finally:
        stage.agent.start()
    expect(log.state).to_contain_text("Live", timeout=30_000)
    total = page.locator("[data-part=lines]").inner_text()
    expect(log.part("lines")).not_to_have_text(total)
    log.do("pause").click()
    expect(quiet.row("Contact is back")).to_be_attached()
    lines = log.copied()
    for word in ("count", "err"):
        found = [int(line.split()[1]) for line in lines if re.fullmatch(rf"{word} \d+", line)]
        assert found == list(range(found[0], found[0] + len(found)))


def test_a_removed_container_is_named(page: Page, stage: Stage, run: Run) -> None:
    pk, engine_id = run("echo here; sleep 1000")
    log = Log(page, stage, pk)
    expect(log.row("here")).to_be_visible()
    stage.engine.request("DELETE", f"/containers/{engine_id}", force="true")
    expect(log.state).to_contain_text(re.compile("Removed|Exited"))
    page.reload()
    expect(log.state).to_contain_text("Removed")


# --- Download, and the phone


def test_the_download_has_everything(page: Page, stage: Stage, run: Run, tmp_path: Path) -> None:
    pk, _ = run("for i in $(seq 1 1500); do echo count $i; done; sleep 1000")
    log = Log(page, stage, pk, "?tail=100")
    expect(log.row("count 1500")).to_be_visible()
    log.do("times").click()
    with page.expect_download() as waiting:
        page.get_by_label("Download the whole log").click()
    waiting.value.save_as(tmp_path / "log")
    assert numbers((tmp_path / "log").read_text().splitlines()) == list(range(1, 1501))


def test_on_a_phone_lines_are_wrapped_and_nothing_sticks_out(
    browser: Browser, cookie: dict[str, Any], stage: Stage, run: Run
) -> None:
    text = "of lines that are longer than a phone is wide, by far"
    pk, _ = run(f"for i in $(seq 1 100); do echo count $i {text}; done; sleep 1000")
    context = browser.new_context(viewport={"width": 390, "height": 780}, has_touch=True)
    context.add_cookies([cookie])  # type: ignore[list-item]
    log = Log(context.new_page(), stage, pk)
    expect(log.row("count 100")).to_be_in_viewport()
    assert log.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert log.row("count 100").evaluate("row => row.scrollWidth <= row.clientWidth && row.offsetHeight > 40")
    context.close()
