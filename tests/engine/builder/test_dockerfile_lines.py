"""How a Dockerfile's text falls into instructions: continuations, comments, directives, heredocs, limits."""

from itertools import pairwise

import pytest
from gantry_agent.engine.builder.dockerfile import DockerfileError, Place, parse
from gantry_agent.engine.builder.dockerfile.heredocs import Heredoc, mark_words, read_mark
from gantry_agent.engine.builder.dockerfile.lines import MAX_BYTES, MAX_LINE, Lines
from gantry_agent.engine.builder.dockerfile.parse import MAX_INSTRUCTIONS
from hypothesis import given
from hypothesis import strategies as st

FRAGMENT = st.sampled_from(
    ["FROM a", "RUN x", "RUN <<A", "COPY <<-'A' b /c", "A", "\tA", "# c", "# escape=`", "\\", "`", " ", "", "x \\",
     "y `", "ENV a=b", "\ufeff", "\r", "ONBUILD RUN <<B <<A", "B", '"', "'", "$x",
     "LABEL a", "EXPOSE", "\u2028", "\x1c", "\0"]
)  # fmt: skip
FILE = st.lists(FRAGMENT, max_size=12).map("\n".join) | st.lists(FRAGMENT, max_size=12).map("".join)


def texts(source: str) -> list[tuple[int, int, str]]:
    return [(line.place.line, line.place.end_line, line.text) for line in Lines(source)]


def heredocs(source: str) -> list[tuple[str, str]]:
    return [(each.name, each.content) for line in Lines(source) for each in line.heredocs]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", []),
        ("\n \n\t\n", []),
        ("FROM a", [(1, 1, "FROM a")]),
        ("\n\n  FROM a\n", [(3, 3, "FROM a")]),
        ("FROM a  \nRUN b\t", [(1, 1, "FROM a  "), (2, 2, "RUN b\t")]),
        ("# x\n  # y\nFROM a # no comment", [(3, 3, "FROM a # no comment")]),
        ("RUN a \\\nb", [(1, 2, "RUN a b")]),
        ("RUN a\\\n  b", [(1, 2, "RUN a  b")]),
        ("RUN a \\ \t\nb", [(1, 2, "RUN a b")]),
        ("RUN a \\\\\nRUN b", [(1, 1, "RUN a \\\\"), (2, 2, "RUN b")]),
        ("RUN a \\\\\\\nRUN b", [(1, 1, "RUN a \\\\\\"), (2, 2, "RUN b")]),
        ("RUN a \\\n# c\n  # d\nb", [(1, 4, "RUN a b")]),
        ("RUN a \\\n# c \\\nb", [(1, 3, "RUN a b")]),
        ("RUN a \\\n\n \t\nb\nUSER c", [(1, 4, "RUN a b"), (5, 5, "USER c")]),
        ("RUN a \\", [(1, 1, "RUN a ")]),
        ("RUN a \\\n\n\n", [(1, 3, "RUN a ")]),
        ("\\\nRUN a", [(1, 2, "RUN a")]),
        ("RUN a \\\n\\\nb", [(1, 3, "RUN a b")]),
        ("\ufeffFROM a", [(1, 1, "FROM a")]),
        ("FROM a\r\nRUN b \\\r\n c\r\n", [(1, 1, "FROM a"), (2, 3, "RUN b  c")]),
        ("FROM a\rRUN b", [(1, 1, "FROM a\rRUN b")]),
        ("FROM a\u2028RUN b\x0bc", [(1, 1, "FROM a\u2028RUN b\x0bc")]),
        ("\u00a0\u2003FROM a", [(1, 1, "FROM a")]),
    ],
)
def test_lines_are_joined_and_numbered(source: str, expected: list[tuple[int, int, str]]) -> None:
    assert texts(source) == expected


def test_an_empty_continuation_line_is_remarked() -> None:
    assert [(each.line, "empty continuation" in each.text) for each in parse("FROM a\nRUN b \\\n\n c").remarks] == [
        (2, True)
    ]
    assert parse("FROM a\nRUN b \\\n # c\n d").remarks == ()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("# escape=`\nRUN a `\nb \\", {"escape": "`"}),
        ("#escape = ` \nRUN", {"escape": "`"}),
        ("#\tESCAPE=\\\nRUN", {"escape": "\\"}),
        ("  # syntax=a/b:1 x\n# check=skip=all;error=true\n# escape=`\n", {
            "syntax": "a/b:1 x", "check": "skip=all;error=true", "escape": "`",
        }),
        ("\ufeff# escape=`\r\n", {"escape": "`"}),
        ("# a comment\n# escape=`", {}),
        ("\n# escape=`", {}),
        ("# unknown=x\n# escape=`", {}),
        ("FROM a\n# escape=`", {}),
        ("# escape=\nRUN", {}),
        ("# es cape=`", {}),
        ("#!/bin/sh\n# escape=`", {}),
        ("# syntax=a\n\n# escape=`", {"syntax": "a"}),
    ],
)  # fmt: skip
def test_directives_stand_at_the_top(source: str, expected: dict[str, str]) -> None:
    lines = Lines(source)
    list(lines)
    assert lines.directives == expected


def test_a_backtick_continues_lines_when_it_escapes() -> None:
    assert texts("# escape=`\nRUN a `\n b\nRUN c\\\nRUN d ``\n") == [
        (2, 3, "RUN a  b"),
        (4, 4, "RUN c\\"),
        (5, 5, "RUN d ``"),
    ]


@pytest.mark.parametrize(
    ("source", "line", "text"),
    [
        ("# escape=`\n# escape=`\nFROM a", 2, "only one escape parser directive can be used"),
        ("# syntax=a\n# Syntax=b", 2, "only one syntax parser directive can be used"),
        ("# escape=x\nFROM a", 1, "invalid escape token 'x' does not match ` or \\"),
        ("FROM a\nRUN <<E\nx", 2, "unterminated heredoc: no line is 'E'"),
        ("FROM a\nCOPY <<A <<B /c\nA\nA\n", 2, "unterminated heredoc: no line is 'B'"),
        ("FROM a\nRUN " + "x" * MAX_LINE, 2, "dockerfile line greater than max allowed size of 65535"),
        ("FROM a\nRUN " + "ä" * (MAX_LINE // 2), 2, "dockerfile line greater than max allowed size of 65535"),
        ("FROM a\nRUN <<E\n" + "x" * (MAX_LINE + 1), 3, "dockerfile line greater than max allowed size of 65535"),
        ("FROM a\n\\\n\n# only a comment\n", 2, "nothing follows the \\ at the end of the line"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(source: str, line: int, text: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(source)
    assert (caught.value.place.line, caught.value.text) == (line, text)
    assert caught.value.message == f"dockerfile parse error on line {line}: {text}"


def test_a_line_of_just_the_longest_length_is_read() -> None:
    line = "RUN " + "x" * (MAX_LINE - 4)
    assert [text for _, _, text in texts(f"FROM a\n{line}\n{line}")] == ["FROM a", line, line]


def test_a_file_too_large_or_of_too_many_instructions_is_refused() -> None:
    with pytest.raises(DockerfileError, match=r"^Dockerfile exceeds maximum allowed size of 4194304 bytes$"):
        parse(b"#" + b"\n" * MAX_BYTES)
    with pytest.raises(DockerfileError, match=f"on line {MAX_INSTRUCTIONS + 1}: more than {MAX_INSTRUCTIONS}"):
        parse("FROM a\n" + "ARG b\n" * MAX_INSTRUCTIONS)


def test_a_file_in_utf_16_is_recognised() -> None:
    with pytest.raises(DockerfileError, match="UTF-16"):
        parse("FROM a".encode("utf-16"))


def test_bytes_that_are_not_utf_8_survive() -> None:
    stage = parse(b"FROM a\n# M\xfcller\nCOPY <<E /\xe4\n\xff\nE\n").stages[0]
    copy = stage.instructions[0]
    assert copy.original.encode("utf-8", "surrogateescape") == b"COPY <<E /\xe4"
    assert copy.heredocs[0].body.encode("utf-8", "surrogateescape") == b"\xff\n"
    with pytest.raises(DockerfileError) as caught:
        parse(b"FROM a\nB\xd6GUS a")
    assert caught.value.message.encode() == b"dockerfile parse error on line 2: unknown instruction: B?GUS"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("RUN <<E\nE", [("E", "")]),
        ("RUN <<E\na\nE\nRUN b", [("E", "a\n")]),
        ("RUN <<E\n E\nE \nEE\nE", [("E", " E\nE \nEE\n")]),
        ("RUN <<E\n\ta\n\tE\nE", [("E", "\ta\n\tE\n")]),
        ("RUN <<-E\n\ta\n\t\tE", [("E", "a\n")]),
        ("RUN <<-E\n\t\ta\t\n b\nE", [("E", "a\t\n b\n")]),
        ("RUN 3<<E 4<<-F cmd\n1\nE\n\t2\nF", [("E", "1\n"), ("F", "2\n")]),
        ("RUN cat <<E > x && cat <<F\nF\nE\nE\nF", [("E", "F\n"), ("F", "E\n")]),
        ("RUN <<E\n# no comment\n\\\nb \\\nE", [("E", "# no comment\n\\\nb \\\n")]),
        ("RUN << E\na\nE", [("E", "a\n")]),
        ("RUN <<'a b'\nx\na b", [("a b", "x\n")]),
        ('RUN <<"$E"\nx\n$E', [("$E", "x\n")]),
        ("RUN <<${E}\nx\n${E}", [("${E}", "x\n")]),
        ("RUN <<E\r\na\r\nE\r\n", [("E", "a\r\n")]),
        ("RUN a \\\n <<E\nb\nE", [("E", "b\n")]),
        ("RUN --mount=target=/x <<E\nE", [("E", "")]),
        ("run <<E\nE", [("E", "")]),
        ("ADD <<E /x\nE", [("E", "")]),
        ("ONBUILD RUN <<E\na\nE", [("E", "a\n")]),
        ("onbuild copy <<E /x\nE", [("E", "")]),
        ("RUN '<<E'", []),
        ('RUN "<<E"', []),
        ("RUN \\<<E", []),
        ("RUN <<<E", []),
        ("RUN a<<E", []),
        ("RUN echo $((1<<2))", []),
        ('RUN ["<<E"]', []),
        ('COPY ["<<E", "/x"]', []),
        ("USER <<E", []),
        ("CMD <<E", []),
        ("ONBUILD CMD <<E", []),
        ("RUN echo it's <<E", []),
        ("RUN <<", []),
        ("RUN <<''", []),
    ],
)
def test_heredocs_follow_their_instruction(source: str, expected: list[tuple[str, str]]) -> None:
    assert heredocs(source) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("<<E", Heredoc("E")),
        ("<<-E", Heredoc("E", strip_tabs=True)),
        ("12<<E.txt", Heredoc("E.txt")),
        ("<<'E'", Heredoc("E", expand=False)),
        ('<<-"E"', Heredoc("E", expand=False, strip_tabs=True)),
        ("<<E'F'", Heredoc("EF", expand=False)),
        ("<<E\\'F", Heredoc("E'F")),
        ("<<'E'\\'F", Heredoc("E'F", expand=False)),
        ("<<  E", Heredoc("E")),
        ("<<E F", None),
        ("<<'E", None),
        ("<<", None),
        ("<<-", None),
        ("<E", None),
        ("x<<E", None),
    ],
)
def test_a_mark_names_its_end(word: str, expected: Heredoc | None) -> None:
    assert read_mark(word) == expected


def test_marks_keep_their_quotes_and_spaces() -> None:
    assert mark_words('a  <<-\'E F\' << G "h\\" i" j\\ k') == ["a", "<<-'E F'", "<< G", '"h\\" i"', "j\\ k"]


@given(FILE | st.text(max_size=200))
def test_any_text_is_read_or_refused_with_a_line_of_the_file(text: str) -> None:
    count = text.count("\n") + 1
    places, error = read(text)
    assert error is None or 0 <= error.place.line <= count
    assert all(1 <= place.line <= place.end_line <= count for place in places)
    assert all(one.end_line < other.line for one, other in pairwise(places))


@given(st.binary(max_size=200) | FILE.map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    _, error = read(data)
    assert error is None or error.message.encode()


def read(data: str | bytes) -> tuple[list[Place], DockerfileError | None]:
    """The places of a file's instructions in order, or what is wrong with it."""
    try:
        dockerfile = parse(data)
    except DockerfileError as error:
        return [], error
    places = [each.place for each in dockerfile.args]
    for stage in dockerfile.stages:
        places += [stage.start.place, *(each.place for each in stage.instructions)]
    return places, None
