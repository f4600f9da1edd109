"""Builds by clicking: typed and served; from git by webhook in two browsers; failing, cancelled, with a secret."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import ssl
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.fleet.conftest import Fleet
from tests.support.engines import EngineProcess, unique
from tests.support.gitserver import GitServer
from tests.support.waiting import eventually

SECONDS = 60_000  # milliseconds; a build on a busy machine


@pytest.fixture
def late(browser: Browser, browser_context_args: dict[str, Any]) -> Iterator[Page]:
    """A second browser, signed in as well."""
    context = browser.new_context(**browser_context_args)
    yield context.new_page()
    context.close()


@pytest.fixture
def git(fleet: Fleet) -> Iterator[GitServer]:
    """On an address that is not this machine's own to Gantry."""
    with GitServer(host=fleet.there.outside) as server:
        yield server


def begin(page: Page, dockerfile: str, host: str, *, tags: str = "") -> None:
    """Type a Dockerfile into the form's editor."""
    page.goto("/builds/new/")
    editor = page.locator(".cm-content")
    editor.click()
    page.keyboard.insert_text(dockerfile)
    page.get_by_label("Host", exact=True).select_option(label=host)
    page.get_by_label(re.compile("^Tags")).fill(tags)


def submit(page: Page) -> str:
    """The build's address."""
    page.locator(".form-foot button[type=submit]").click()
    expect(page).to_have_url(re.compile(r"/builds/\d+/$"), timeout=SECONDS)
    return page.url


def open_all(page: Page, last: str) -> None:
    """Unfold the output once its last step is over, which folds it: the output may come after the state of the page."""
    step = page.locator(".build-output .bo-head", has_text=last)
    expect(step).to_have_attribute("aria-expanded", "false", timeout=SECONDS)
    expect(page.locator(".build-output .bo-step[data-state=running]")).to_have_count(0)
    page.get_by_role("button", name="Open all").click()


def state(page: Page) -> Any:
    return page.locator(".page-head .state").first


@pytest.mark.parametrize("host", ["first", "third"])
def test_a_typed_dockerfile_becomes_a_container_that_answers(page: Page, fleet: Fleet, loaded: str, host: str) -> None:
    word, name = unique("word"), f"gantry/{unique('web')}:1"
    serve = '["httpd", "-f", "-p", "8000", "-h", "/www"]'
    dockerfile = f"FROM {loaded} AS content\nRUN mkdir /www && echo {word} > /www/index.html\n"
    dockerfile += f"FROM {loaded}\nCOPY --from=content /www /www\nEXPOSE 8000\nENTRYPOINT {serve}\n"
    begin(page, dockerfile, host, tags=name)
    submit(page)
    expect(state(page)).to_contain_text("succeeded", ignore_case=True, timeout=SECONDS)
    expect(page.locator("#stages .stage")).to_have_count(2)
    expect(page.locator("#stages")).to_contain_text("content")
    expect(page.locator("main")).to_contain_text(name)
    page.get_by_role("link", name="Run it").click()
    page.locator("[name=name]").fill(unique("served"))
    page.locator("[name=ports]").fill("8000")
    page.locator("main button[value=run]").click()
    expect(page).to_have_url(re.compile(r"/operations/\d+/$|/containers/"))
    engine = fleet.engines[host]
    port = eventually(lambda: published(engine, name), timeout=30, what="the port is published")
    assert word in eventually(lambda: fetched(port), timeout=20, what="it answers")


def published(engine: EngineProcess, image: str) -> int:
    for each in engine.expect("GET", "/containers/json"):
        if each["Image"].endswith(image):
            return next((port["PublicPort"] for port in each["Ports"] if port.get("PublicPort")), 0)
    return 0


def fetched(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=3) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def test_a_failing_build_shows_its_line(page: Page, loaded: str) -> None:
    begin(page, f"FROM {loaded}\nRUN true\nRUN echo before the end && false\nRUN true\n", "first")
    submit(page)
    expect(state(page)).to_contain_text("failed", ignore_case=True, timeout=SECONDS)
    expect(page.locator(".code-line.failed")).to_contain_text("echo before the end")
    expect(page.locator(".notice.bad").first).to_contain_text("Line 3 of the Dockerfile")
    expect(page.locator(".build-output")).to_contain_text("before the end")
    expect(page.locator("#stages .stage.is-failed")).to_have_count(1)


def test_a_slip_is_marked_as_one_types(page: Page) -> None:
    page.goto("/builds/new/")
    page.locator(".cm-content").click()
    page.keyboard.insert_text("FROM busybox\nCPY a b\n")
    expect(page.locator("main")).to_contain_text("Did you mean COPY?")


def test_a_build_is_cancelled(page: Page, fleet: Fleet, loaded: str) -> None:
    mark = unique("sleeper")
    begin(page, f"FROM {loaded}\nRUN echo {mark} && sleep 1000\n", "first")
    submit(page)
    expect(page.locator(".build-output")).to_contain_text(mark, timeout=SECONDS)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the build").click()
    expect(state(page)).to_contain_text("cancelled", ignore_case=True, timeout=SECONDS)
    engine = fleet.engines["first"]
    eventually(lambda: not running_with(engine, mark), timeout=30, what="the step is gone")


def running_with(engine: EngineProcess, mark: str) -> list[str]:
    """Containers, whatever their state, whose command has the mark."""
    listed = engine.expect("GET", "/containers/json", all="true")
    return [each["Id"] for each in listed if mark in each["Command"]]


def test_a_secret_is_used_and_found_nowhere(page: Page, fleet: Fleet, loaded: str) -> None:
    value, credential, name = f"hush-{unique()}-hush", unique("token"), f"gantry/{unique('secret')}:1"
    page.goto("/builds/credentials/new/")
    page.locator("[name=name]").fill(credential)
    page.locator("[name=kind]").select_option("secret")
    page.locator("[name=secret]").fill(value)
    page.locator(".form-foot button[type=submit]").click()
    expect(page.locator("main")).to_contain_text(credential)
    run = f"RUN --mount=type=secret,id={credential} cat /run/secrets/{credential} && echo read it"
    begin(page, f"FROM {loaded}\n{run}\n", "first", tags=name)
    page.get_by_label(credential).check()
    submit(page)
    expect(state(page)).to_contain_text("succeeded", ignore_case=True, timeout=SECONDS)
    open_all(page, "cat /run/secrets")
    expect(page.locator(".build-output")).to_contain_text("read it")
    assert value not in page.content()
    engine = fleet.engines["first"]
    assert value not in json.dumps(engine.expect("GET", f"/images/{name}/history"))
    assert value not in json.dumps(engine.expect("GET", f"/images/{name}/json"))
    for file in fleet.up.home.path.glob("gantry.sqlite3*"):
        assert value.encode() not in file.read_bytes()


def test_a_signed_push_is_built_before_two_browsers_one_late(
    page: Page, late: Page, fleet: Fleet, loaded: str, git: GitServer
) -> None:
    repository = git.create("team/app", {"Dockerfile": f"FROM {loaded}\nRUN echo first\n"})
    name = unique("app")
    page.goto("/builds/definitions/new/")
    page.locator("[name=name]").fill(name)
    page.locator(".source-kinds label", has_text="Git").click()
    page.locator("[name=url]").fill(repository.url)
    page.locator("[name=ref]").fill("main")
    page.get_by_label("Host", exact=True).select_option(label="first")
    page.get_by_label(re.compile("^Tags")).fill(f"gantry/{name}:{{branch}}-{{n}}")
    page.locator(".form-foot button[type=submit]").click()
    page.get_by_role("button", name="Switch on").click()
    address, secret = page.locator(".copyable code").nth(1), page.locator(".copyable code").nth(0)
    hook, key = address.inner_text(), secret.inner_text()

    dockerfile = f"FROM {loaded}\nRUN echo beginning && for n in 1 2 3 4 5 6 7 8; do echo line $n; sleep 2; done\n"
    commit = repository.commit({"Dockerfile": dockerfile})
    body = json.dumps({"ref": "refs/heads/main", "after": commit}).encode()
    assert deliver(hook, body, "0" * 64) == 403
    assert deliver(hook, body, hmac.new(key.encode(), body, hashlib.sha256).hexdigest()) == 202

    row = page.locator("#listing tbody tr").first
    expect(row).to_contain_text("webhook", timeout=SECONDS)
    row.get_by_role("link", name=f"{name} #1").click()
    expect(page.locator(".build-output")).to_contain_text("line 2", timeout=SECONDS)
    late.goto(page.url)
    expect(late.locator(".build-output")).to_contain_text("beginning", timeout=SECONDS)
    for each in (page, late):
        expect(state(each)).to_contain_text("succeeded", ignore_case=True, timeout=SECONDS)
        expect(each.locator("main")).to_contain_text(commit[:12])
        expect(each.locator("main")).to_contain_text(f"gantry/{name}:main-1")


def deliver(url: str, body: bytes, signature: str) -> int:
    """A git server's delivery; the status."""
    headers = {"X-Hub-Signature-256": f"sha256={signature}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=20, context=ssl._create_unverified_context()) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code


def test_a_folder_dropped_beside_a_dockerfile_is_sent_in_pieces(
    page: Page, fleet: Fleet, loaded: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("context")
    (folder / "content.txt").write_text("from the browser\n")
    (folder / "big.bin").write_bytes(b"\0" * 9_000_000)
    begin(page, f"FROM {loaded}\nCOPY content.txt big.bin /\nRUN cat /content.txt && wc -c < /big.bin\n", "first")
    with page.expect_file_chooser() as chooser:
        page.locator(".for-typed").get_by_role("button", name="Choose files").click()
    chooser.value.set_files([folder / "content.txt", folder / "big.bin"])
    expect(page.locator(".for-typed")).to_contain_text("content.txt")
    submit(page)
    expect(state(page)).to_contain_text("succeeded", ignore_case=True, timeout=SECONDS)
    open_all(page, "cat /content.txt")
    expect(page.locator(".build-output")).to_contain_text("from the browser")
    expect(page.locator(".build-output")).to_contain_text("9000000")
