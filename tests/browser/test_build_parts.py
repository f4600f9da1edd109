"""`.dockerignore` and tar as the browser does them, held against the builder's own rules and Python's tarfile."""

from __future__ import annotations

import base64
import io
import os
import random
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gantry_agent.engine.builder.ignore import Ignore
from gantry_agent.engine.errors import InvalidArgument
from playwright.sync_api import Browser

from tests.browser.parts import Stage
from tests.engine.builder import test_ignore

pytestmark = [pytest.mark.browser]


@pytest.fixture(scope="module")
def parts(browser: Browser) -> Iterator[Callable[..., Any]]:
    """Runs code with the modules at hand."""
    context = browser.new_context()
    page = context.new_page()
    Stage(page).show("")
    names = ("ignore", "patterns", "tar", "collect", "outline")
    imports = ", ".join(f"import('/static/js/builds/{name}.js')" for name in names)

    def evaluate(code: str, given: Any = None) -> Any:
        head = f"const [{', '.join(names)}] = await Promise.all([{imports}]);"
        return page.evaluate(f"async (given) => {{ {head} {code} }}", given)

    yield evaluate
    context.close()


def table(test: Any) -> Any:
    """The rows of the builder's own test, so that both sides answer to the same."""
    return next(mark.args[1] for mark in test.pytestmark if mark.name == "parametrize")


@pytest.mark.parametrize(("text", "expected"), table(test_ignore.test_lines_become_patterns))
def test_lines_become_patterns(parts: Callable[..., Any], text: str, expected: list[str]) -> None:
    code = "return ignore.Ignore.parse(given).rules.map((rule) => (rule.exception ? '!' : '') + rule.pattern.text)"
    assert parts(code, text) == expected


@pytest.mark.parametrize(("text", "line", "message"), table(test_ignore.test_a_bad_line_is_refused_with_its_number))
def test_a_bad_line_is_refused_with_its_number(parts: Callable[..., Any], text: str, line: int, message: str) -> None:
    said = parts("try { ignore.Ignore.parse(given); } catch (error) { return error.message; }", text)
    assert said.startswith(f".dockerignore line {line}: ")
    assert message in said


def test_too_many_patterns_are_refused(parts: Callable[..., Any]) -> None:
    said = parts("try { ignore.Ignore.parse('a\\n'.repeat(10_001)); } catch (error) { return error.message; }")
    assert "more than 10000 patterns" in said


@pytest.mark.parametrize(("pattern", "matching", "others"), table(test_ignore.test_a_pattern_matches_a_path))
def test_a_pattern_matches_a_path(
    parts: Callable[..., Any], pattern: str, matching: list[str], others: list[str]
) -> None:
    code = "const found = new patterns.PathPattern(given[0]); return given[1].filter((path) => found.matches(path))"
    assert parts(code, [pattern, [*matching, *others]]) == matching


@pytest.mark.parametrize(
    ("text", "excluded", "seen"), table(test_ignore.test_the_last_match_of_a_path_or_its_folders_decides)
)
def test_the_last_match_of_a_path_or_its_folders_decides(
    parts: Callable[..., Any], text: str, excluded: list[str], seen: list[str]
) -> None:
    code = "const found = ignore.Ignore.parse(given[0]); return given[1].filter((path) => found.excludes(path))"
    assert parts(code, [text, [*excluded, *seen]]) == excluded


@pytest.mark.parametrize(
    ("text", "folder", "skipped"), table(test_ignore.test_a_folder_is_skipped_only_when_nothing_in_it_can_be_wanted)
)
def test_a_folder_is_skipped_only_when_nothing_in_it_can_be_wanted(
    parts: Callable[..., Any], text: str, folder: str, skipped: bool
) -> None:
    assert parts("return ignore.Ignore.parse(given[0]).maySkipFolder(given[1])", [text, folder]) is skipped


def test_what_the_build_reads_is_sent_though_not_seen(parts: Callable[..., Any]) -> None:
    sent = ["Dockerfile", ".dockerignore", "Dockerfile.dockerignore", "src", "src/a"]
    code = "const found = ignore.Ignore.parse('*\\n!src'); return given.filter((path) => found.sends(path))"
    assert parts(code, [*sent, "other", "docker/Dockerfile"]) == sent


def test_browser_and_builder_agree_on_files_nobody_thought_of(parts: Callable[..., Any]) -> None:
    chance = random.Random(20261129)
    words = ["a", "b", "ab", "*", "?", "**", "/", "[ab]", "[^a]", "\\*", ".", "..", "!", "ü", "𝄞", "[a-", "x" * 30]
    names = ["a", "b", "ab", "ba", "a.b", "*", ".a", "ü", "𝄞", "x" * 30]
    cases, expected = [], []
    for _ in range(4000):
        lines = ["".join(chance.choices(words, k=chance.randint(1, 5))) for _ in range(chance.randint(1, 4))]
        paths = ["/".join(chance.choices(names, k=chance.randint(1, 4))) for _ in range(5)]
        cases.append(["\n".join(lines), paths])
        try:
            ignore = Ignore.parse("\n".join(lines))
        except InvalidArgument as exc:
            expected.append(exc.message.split(":")[0])
            continue
        expected.append([[ignore.excludes(path), ignore.may_skip_folder(path)] for path in paths])  # type: ignore[arg-type]
    found = parts(
        """return given.map(([text, paths]) => {
            try {
              const rules = ignore.Ignore.parse(text);
              return paths.map((path) => [rules.excludes(path), rules.maySkipFolder(path)]);
            } catch (error) { return error.message.split(":")[0]; }
        });""",
        cases,
    )
    assert [case for case, one, other in zip(cases, found, expected, strict=True) if one != other] == []


FILES = {
    "Dockerfile": "FROM scratch\n",
    "run.sh": "#!/bin/sh\necho hi\n",
    "empty": "",
    "block": "x" * 512,
    "näme/ﬁle 𝄞.txt": "é" * 700,
    "l" * 150: "no slash to part it at",
    "d" * 90 + "/" + "f" * 90: "fits with a prefix",
    "/".join(["deep" * 20] * 5): "does not fit",
    "b": "before b/",
    "b.c/d": "",
}


@pytest.mark.parametrize("step", [1 << 20, 4096, 1000, 77])
def test_python_reads_back_the_tar_however_it_is_cut(parts: Callable[..., Any], step: int) -> None:
    code = """
      const file = (text) => new File([text], "x", { lastModified: 1700000000999 });
      const files = Object.entries(given.files).map(([path, text]) => ({ path, file: file(text) }));
      const archive = new tar.Tar(files, ["hollow/inside"]);
      let text = "";
      for (let at = 0; at < archive.size; at += given.step) {
        for (const byte of await archive.read(at, at + given.step)) text += String.fromCharCode(byte);
      }
      return [btoa(text), archive.size];"""
    encoded, size = parts(code, {"files": FILES, "step": step})
    data = base64.b64decode(encoded)
    assert len(data) == size
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
        files = {each.name: archive.extractfile(each).read().decode() for each in members if each.isfile()}  # type: ignore[union-attr]
    assert files == FILES
    assert [each.name for each in members] == sorted({each.name for each in members}, key=utf16)
    deep = ["/".join(["deep" * 20] * depth) for depth in range(1, 5)]
    folders = ["hollow", "hollow/inside", "näme", "d" * 90, "b.c", *deep]
    assert {each.name: each.mode for each in members if each.isdir()} == dict.fromkeys(folders, 0o755)
    assert {each.name for each in members if each.isfile() and each.mode == 0o755} == {"run.sh"}
    assert {each.mtime for each in members if each.isfile()} == {1700000000}


def utf16(name: str) -> bytes:
    return name.encode("utf-16-be")


@pytest.mark.parametrize("change", [b"quite another length", b"less", b"BEFORE", None])
def test_a_file_that_changed_since_it_was_looked_at_is_named(
    stage: Stage, tmp_path: Path, change: bytes | None
) -> None:
    page = stage.show('<input type="file">')
    file = tmp_path / "data.bin"
    file.write_bytes(b"before")
    page.locator("input").set_input_files(file)
    # The browser looks at a chosen file when its size is first asked for: only what comes after that is a change.
    page.evaluate("""async () => {
      const { Tar } = await import("/static/js/builds/tar.js");
      const [file] = document.querySelector("input").files;
      window.archive = new Tar([{ path: "data.bin", file }]);
    }""")
    if change is None:
        file.unlink()
    else:
        noted = file.stat().st_mtime
        file.write_bytes(change)
        os.utime(file, (noted + 1, noted + 1))
    said = page.evaluate("window.archive.read(0, 4096).then(() => null, (error) => error.message)")
    assert said == "“data.bin” cannot be read: it was changed, moved or removed since it was chosen."
