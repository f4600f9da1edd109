"""`.dockerignore`, as Docker reads it."""

import re
from functools import cache

import pytest
from gantry_agent.engine.builder.ignore import MAX_LINE, MAX_PATTERNS, Ignore, ignore_files
from gantry_agent.engine.builder.patterns import MAX_LENGTH, PathPattern, clean
from gantry_agent.engine.errors import InvalidArgument
from hypothesis import given
from hypothesis import strategies as st

PATTERN = st.lists(st.sampled_from(["a", "b", "a/b", "*", "?", "**", "/", "[ab]", "[^a]", "\\*", "."]), max_size=5)
RULES = st.lists(st.tuples(st.booleans(), PATTERN.map("".join)), max_size=5)
PATH = st.lists(st.sampled_from(["a", "b", "ab", "ba", "a.b", "*", ".a"]), min_size=1, max_size=4).map("/".join)


def patterns(text: str) -> list[str]:
    return [("!" if rule.exception else "") + rule.pattern.text for rule in Ignore.parse(text).rules]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n \t\n", []),
        ("a\nb\r\n  c  \n", ["a", "b", "c"]),
        ("# comment\n #no comment\na # b", ["#no comment", "a # b"]),
        ("\ufeff# comment\na", ["a"]),
        ("\ufeffa", ["a"]),
        ("/a\n//b\n./c\nd/\ne//f/./g/../h", ["a", "b", "c", "d", "e/f/h"]),
        ("!a\n! b\n  !  /c/ \n!./d", ["!a", "!b", "!c", "!d"]),
        ("/!a\n!!b", ["!a", "!!b"]),
        ("../a\n.\n/\na/..", ["../a", ".", "/", "."]),
        ("a b\\ c\n\u00a0d\u3000", ["a b\\ c", "d"]),
    ],
)
def test_lines_become_patterns(text: str, expected: list[str]) -> None:
    assert patterns(text) == expected


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a\n!", 2, "illegal exclusion pattern"),
        ("! \n", 1, "illegal exclusion pattern"),
        ("!/", 1, "illegal exclusion pattern"),
        ("[", 1, "syntax error in pattern"),
        ("a\n\n[]", 3, "syntax error in pattern"),
        ("[]a]", 1, "syntax error in pattern"),
        ("[a-]", 1, "syntax error in pattern"),
        ("[-a]", 1, "syntax error in pattern"),
        ("[^]", 1, "syntax error in pattern"),
        ("[a", 1, "syntax error in pattern"),
        ("[\\", 1, "syntax error in pattern"),
        ("a\\", 1, "syntax error in pattern"),
        ("*[", 1, "syntax error in pattern"),
        ("a" * (MAX_LINE + 1), 1, f"longer than {MAX_LINE} bytes"),
        ("a" * (MAX_LENGTH + 1), 1, f"longer than {MAX_LENGTH} characters"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(text: str, line: int, message: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"^\.dockerignore line {line}: .*{message}"):
        Ignore.parse(text)


def test_too_many_patterns_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=f"more than {MAX_PATTERNS} patterns"):
        Ignore.parse("a\n" * (MAX_PATTERNS + 1))


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("a", ["a"], ["b", "ab", "b/a", "a/b"]),
        ("a/b", ["a/b"], ["b", "a", "x/a/b"]),
        ("*", ["a", ".a"], ["a/b"]),
        ("*/b", ["a/b"], ["b", "a/a/b"]),
        ("a*", ["a", "abc"], ["ba", "a/b"]),
        ("*.txt", [".txt", "a.txt"], ["a.txt.b", "a/b.txt"]),
        ("a?c", ["abc", "aäc"], ["ac", "a/c", "abbc"]),
        ("**", ["a", "a/b", "a/b/c"], []),
        ("**/a", ["a", "b/a", "b/c/a"], ["ba", "b/ba", "a/b"]),
        ("**a", ["a", "ba", "b/ca"], ["ab"]),
        ("**/a*", ["a", "ab", "b/c/ab"], ["ba", "b/ba"]),
        ("**a*", ["a", "ab", "b/ab"], ["ba"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "ab"]),
        ("a**", ["a", "ab", "a/b", "ab/c/d"], ["ba"]),
        ("a/**/b", ["a/b", "a/c/b", "a/c/d/b"], ["ab", "a/cb", "b"]),
        ("**/a/**", ["a/b", "c/a/b/d"], ["a", "c/a", "ca/b"]),
        ("**/*.a", ["x.a", "b/c/x.a"], ["x.ab", "x.a/b"]),
        ("**/**/a", ["a", "b/a", "b/c/a"], ["ba"]),
        ("a***b", ["ab", "acb", "ac/db"], ["a/c"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "x", "abx"]),
        ("[^a-c]x", ["dx", "äx"], ["ax", "x"]),
        ("[ab[]", ["a", "["], ["]"]),
        ("[\\]\\-]", ["]", "-"], ["\\", "a"]),
        ("[*?]", ["*", "?"], ["a"]),
        ("[b-a]", [], ["a", "b"]),
        ("*[]a]", ["x]", "xa"], ["xb"]),
        ("a[^b]c", ["a/c", "axc"], ["abc"]),
        ("\\*\\?\\[", ["*?["], ["a?["]),
        ("\\d", ["d"], ["1"]),
        ("a+(b)|{c}^$.", ["a+(b)|{c}^$."], ["aab"]),
        (".", [], ["a"]),
        ("..", [], ["a"]),
        ("/", [], ["a"]),
    ],
)
def test_a_pattern_matches_a_path(pattern: str, matching: list[str], others: list[str]) -> None:
    found = PathPattern.parse(pattern)
    assert [path for path in [*matching, *others] if found.matches(path)] == matching


@pytest.mark.parametrize(
    ("text", "excluded", "seen"),
    [
        ("a", ["a", "a/b", "a/b/c"], ["b", "b/a"]),
        ("a/", ["a", "a/b"], ["b"]),
        ("*/b", ["a/b", "a/b/c"], ["b", "a/c"]),
        ("a\n!a/b", ["a", "a/c"], ["a/b", "a/b/c"]),
        ("!a/b\na", ["a", "a/b"], []),
        ("a\n!a/b\na/b/c", ["a/b/c", "a/b/c/d"], ["a/b", "a/b/d"]),
        ("*\n!src\n!*.md\nREADME.md", ["x", "x/y", "README.md"], ["src", "src/a", "b.md"]),
        ("**\n!a/b", ["a", "a/c", "b"], ["a/b", "a/b/c"]),
        ("**/node_modules\n!node_modules/keep", ["a/node_modules/b", "node_modules/x"], ["node_modules/keep"]),
        ("a/**\n!a/b", ["a/c", "a/c/d"], ["a", "a/b", "a/b/c"]),
        ("*.log\n!keep.log\n", ["x.log"], ["keep.log", "a/x.log"]),
        ("!a", [], ["a", "b"]),
        ("", [], ["a"]),
        ("**", ["a"], ["", "."]),
    ],
)
def test_the_last_match_of_a_path_or_its_folders_decides(text: str, excluded: list[str], seen: list[str]) -> None:
    ignore = Ignore.parse(text)
    assert [path for path in [*excluded, *seen] if ignore.excludes(path)] == excluded


@pytest.mark.parametrize(
    ("text", "folder", "skipped"),
    [
        ("a", "a", True),
        ("a", "a/b", True),
        ("a", "b", False),
        ("a/*", "a", False),
        ("a\n!b", "a", True),
        ("a\n!a/b/c", "a", False),
        ("a\n!a/b/c", "a/b", False),
        ("a\n!a/b/c", "a/c", True),
        ("!a/b\na", "a", True),
        ("a\n!**/keep", "a", False),
        ("a\n!*.md", "a", True),
        ("a\n!a*.md", "a", True),
        ("a\n!*/x", "a", False),
        ("a\n!*/x", "a/b", True),
        ("a\n!a/b\na/b", "a", False),
        ("a\n!a/b\na/b", "a/b", True),
        ("a\n!a**", "a", False),
    ],
)
def test_a_folder_is_skipped_only_when_nothing_in_it_can_be_wanted(text: str, folder: str, skipped: bool) -> None:
    assert Ignore.parse(text).may_skip_folder(folder) is skipped


def test_what_the_build_reads_is_sent_though_not_seen() -> None:
    ignore = Ignore.parse("*\n!src")
    assert ignore.excludes("Dockerfile")
    assert ignore.excludes(".dockerignore")
    sent = ["Dockerfile", ".dockerignore", "Dockerfile.dockerignore", "src", "src/a"]
    assert [path for path in [*sent, "other", "docker/Dockerfile"] if ignore.sends(path)] == sent
    assert ignore.sends("docker/Dockerfile", "docker/Dockerfile")


def test_a_dockerfile_may_have_its_own_rules() -> None:
    assert ignore_files("docker/app.Dockerfile") == ("docker/app.Dockerfile.dockerignore", ".dockerignore")


def test_file_names_that_are_not_utf_8_match() -> None:
    ignore = Ignore.parse(b"\xff*\n")
    assert ignore.excludes(b"\xffa".decode("utf-8", "surrogateescape"))
    assert not ignore.excludes("a")


@given(RULES, PATH)
def test_the_last_match_wins_as_in_a_naive_translation(rules: list[tuple[bool, str]], path: str) -> None:
    lines = [("!" if exception else "") + pattern for exception, pattern in rules if clean(pattern) not in (".", "/")]
    parts = path.split("/")
    folders = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    excluded = False
    for line in lines:
        pattern = clean(line.removeprefix("!")).removeprefix("/")
        if any(naive(pattern, folder) for folder in folders):
            excluded = not line.startswith("!")
    assert Ignore.parse("\n".join(lines)).excludes(path) is excluded


@given(RULES, st.lists(PATH, max_size=8), PATH)
def test_skipping_a_folder_loses_nothing(rules: list[tuple[bool, str]], paths: list[str], folder: str) -> None:
    lines = [("!" if exception else "") + pattern for exception, pattern in rules if clean(pattern) not in (".", "/")]
    ignore = Ignore.parse("\n".join(lines))
    if ignore.may_skip_folder(folder):
        assert all(ignore.excludes(f"{folder}/{path}") for path in paths)


@given(st.text(max_size=60))
def test_any_text_is_rules_or_refused(text: str) -> None:
    try:
        ignore = Ignore.parse(text)
    except InvalidArgument:
        return
    assert ignore.excludes("a/b/c") or not ignore.may_skip_folder("a/b")


def test_a_path_costs_its_length() -> None:
    ignore = Ignore.parse("*a" * 1000 + "b?\n" + "**/a*b*c*d\n" * 200)
    assert not ignore.excludes("a" * 4000)
    assert not ignore.excludes("/".join("a" * 2000))


@cache
def naive(pattern: str, path: str) -> bool:
    """The pattern as a regular expression, written down the plainest way."""
    if pattern.startswith("**") and re.fullmatch(r"[\w./]*", pattern[2:]):  # ends are compared, no borders kept
        return path.endswith(pattern[2:]) or path == pattern[2:].removeprefix("/")
    tokens = re.findall(r"\*\*/?|\*|\?|\[\^?\w+\]|\\.|.", pattern)
    expression = ""
    for place, token in enumerate(tokens):
        if token.startswith("**"):
            expression += ".*" if place == len(tokens) - 1 else "(.*/)?"
        else:
            expression += {"*": "[^/]*", "?": "[^/]"}.get(token) or (token if token[0] == "[" else re.escape(token[-1]))
    return re.fullmatch(expression, path) is not None
