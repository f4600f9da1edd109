"""Reading a Dockerfile for its stages and lines, and what lint says of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.builds.dockerfile import instructions, read
from images.builds.lint import lint

MULTI = """\
# syntax=docker/dockerfile:1
ARG V=1.2
FROM --platform=linux/amd64 busybox:$V AS build
RUN make \\
  # a remark
  all

FROM alpine AS tools
RUN <<EOF
FROM here
EOF
FROM build as test
RUN --mount=type=bind,from=tools,target=/t true
FROM scratch
COPY --from=build /x /x
COPY --from=1 /y /y
COPY --from=example.com/other /z /z
"""


def test_stages_know_their_base_their_lines_and_whom_they_wait_for() -> None:
    file = read(MULTI)
    assert [(s.name, s.base, s.needs) for s in file.stages] == [
        ("build", "busybox:1.2", []),
        ("tools", "alpine", []),
        ("test", "build", [0, 1]),
        ("", "scratch", [0, 1]),
    ]
    assert [(each.word, each.line, each.end) for each in file.instructions] == [
        ("ARG", 2, 2),
        ("FROM", 3, 3),
        ("RUN", 4, 6),
        ("FROM", 8, 8),
        ("RUN", 9, 11),
        ("FROM", 12, 12),
        ("RUN", 13, 13),
        ("FROM", 14, 14),
        ("COPY", 15, 15),
        ("COPY", 16, 16),
        ("COPY", 17, 17),
    ]
    assert file.stages[0].steps[1].text == "RUN make all"
    assert file.bases == ["busybox:1.2", "alpine"]


def test_only_what_the_target_needs_is_built() -> None:
    file = read(MULTI)
    assert [stage.position for stage in file.needed()] == [0, 1, 3]
    assert [stage.position for stage in file.needed("test")] == [0, 1, 2]
    assert [stage.position for stage in file.needed("tools")] == [1]
    assert file.needed("nowhere") == []


def test_another_escape_joins_lines() -> None:
    found = list(instructions("# escape=`\nFROM a\nRUN x `\n  y\\\nCMD z"))
    assert [each.text for each in found] == ["FROM a", "RUN x y\\", "CMD z"]


@given(st.text(max_size=300))
def test_any_text_is_read_and_linted(text: str) -> None:
    file = read(text)
    lines = len(text.splitlines()) or 1
    assert all(1 <= each.line <= each.end <= lines for each in file.instructions)
    assert all(need < stage.position for stage in file.stages for need in stage.needs)
    lint(text)


@pytest.mark.parametrize(
    ("text", "line", "severity", "words"),
    [
        ("", 1, "error", "found no instruction"),
        ("RUN x", 1, "error", "Expected FROM or ARG first"),
        ("FROM a\nCPY x y", 2, "error", "Did you mean COPY?"),
        ("FROM a\nRUN", 2, "error", "needs at least one argument"),
        ("FROM a b", 1, "error", "Expected FROM IMAGE"),
        ("FROM a:latest", 1, "info", "another image tomorrow"),
        ("FROM a\nARG DB_PASSWORD", 2, "warning", "ARG DB_PASSWORD stays readable"),
        ("FROM a\nENV API_KEY=x", 2, "warning", "ENV API_KEY stays readable"),
        ("FROM a\nENV API_KEY x", 2, "warning", "ENV API_KEY stays readable"),
        ("FROM a\nENV X", 2, "error", "Expected ENV NAME=VALUE"),
        ("FROM a\nCOPY x", 2, "error", "Expected COPY SOURCE… TARGET"),
        ("FROM a\nCOPY x y z", 2, "error", "must be a folder"),
        ("FROM a\nCOPY ../x z", 2, "error", "outside the build’s files"),
        ("FROM a\nCMD x\nCMD y", 2, "warning", "Only the last CMD"),
        ("FROM a\nRUN apt-get install curl", 2, "warning", "add -y"),
        ("FROM a AS build\nFROM b\nCOPY --from=biuld x y", 3, "warning", "Did you mean build?"),
        ("FROM a AS one\nCOPY --from=two x y\nFROM b AS two", 2, "error", "earlier ones only"),
        ("FROM a AS x\nFROM b AS X", 2, "error", "taken by line 1"),
        ("FROM a\nMAINTAINER me", 2, "info", "out of use"),
    ],
)
def test_a_slip_is_told_with_its_line(text: str, line: int, severity: str, words: str) -> None:
    found = [each for each in lint(text) if words in each.message]
    assert [(each.line, each.severity) for each in found] == [(line, severity)], lint(text)


@pytest.mark.parametrize(
    "text",
    [
        "FROM a\nRUN apt-get update && apt-get install -y curl",
        "FROM a\nRUN apt-get -qqy install curl",
        "FROM a\nARG TOKEN_FILE=/run/secrets/token",
        'FROM a\nCOPY ["a b", "c"]',
        "FROM a AS x\nFROM x\nCOPY --from=x a b\nCOPY --from=docker.io/y a b\nHEALTHCHECK NONE",
        "FROM a\nCOPY <<one <<two /x/\n1\none\n2\ntwo\nRUN true",
    ],
)
def test_what_is_right_is_left_in_peace(text: str) -> None:
    assert lint(text) == []


def test_an_argument_that_is_given_and_secret_is_told() -> None:
    assert [each.severity for each in lint("FROM a", args=("GITHUB_TOKEN", "VERSION"))] == ["warning"]
