"""Here-documents: `RUN <<EOF`, `COPY <<-"EOF" /file`, `RUN 3<<A cat <<B`.

Rules: Dockerfile reference, "Here-Documents"; BuildKit's frontend/dockerfile/parser (heredocsFromLine). Unlike
BuildKit, which overlooks a heredoc behind a `${…}` its own lexer does not know, a `$` is a character like others here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import Fault
from .variables import Expander
from .words import SPACES, closing_quote, json_strings, split_once, take_flags

TAKERS = ("ADD", "COPY", "RUN")
_MARK = re.compile(r"\d*<<(-?)([^<]*)\Z")
_SPECIAL = re.compile(rf"[{SPACES}'\"\\]|<(?:<[\t\r ]*)?")
_TABS = re.compile("^\t+", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A body and how it was announced. `body` is as in the file, line ends included."""

    name: str
    body: str = ""
    expand: bool = True  # no quote in the name
    strip_tabs: bool = False  # <<-

    @property
    def content(self) -> str:
        """The body, without the tabs its lines begin with when `<<-` announced it."""
        return _TABS.sub("", self.body) if self.strip_tabs else self.body

    def ends_with(self, line: str) -> bool:
        """Whether the line, without its end, closes it."""
        return (line.lstrip("\t") if self.strip_tabs else line) == self.name


def announced(line: str, escape: str) -> list[Heredoc]:
    """The heredocs, bodies still empty, whose bodies follow an instruction's line.

    ADD, COPY and RUN take them, also behind ONBUILD, but not in JSON form.
    """
    if "<<" not in line:
        return []
    name, rest = split_once(line.strip(SPACES))
    flags, rest = _without_flags(rest, escape)
    if name.upper() == "ONBUILD" and not flags:
        name, rest = split_once(rest)
        _, rest = _without_flags(rest, escape)
    if name.upper() not in TAKERS or _is_json(rest):
        return []
    return [heredoc for word in mark_words(line) if (heredoc := read_mark(word))]


def read_mark(word: str) -> Heredoc | None:
    """What `<<EOF` announces; None for a word that is no such mark."""
    if "<<" not in word or not (match := _MARK.match(word)) or not match[2]:
        return None
    if match[2].isalnum():
        return Heredoc(match[2], strip_tabs=bool(match[1]))
    try:
        names = Expander({}, variables=False).words(match[2])
    except Fault:
        return None
    if len(names) != 1:
        return None
    quotes = sum(map(match[2].count, "'\""))
    return Heredoc(names[0], expand=quotes == sum(map(names[0].count, "'\"")), strip_tabs=bool(match[1]))


def mark_words(line: str) -> list[str]:
    """The words of a shell's line, quotes and escapes kept; `<< EOF` is one. None at all when a quote has no end."""
    words, start, pos = [], 0, 0
    while match := _SPECIAL.search(line, pos):
        mark, pos = match[0], match.end()
        if mark in ("'", '"'):
            pos = closing_quote(line, pos, mark, "\\") + 1
            if pos > len(line):
                return []
        elif mark == "\\":
            pos += 1
        elif mark[0] != "<":
            words.append(line[start : match.start()])
            start = pos
    return [each for each in [*words, line[start:]] if each]


def shell_text(command: str, heredocs: Sequence[Heredoc]) -> str:
    """What the shell gets to read: the body alone when the command is but a heredoc, else all of it as written.

    BuildKit does so that a heredoc works with shells that have none (dispatchRun).
    """
    if heredocs and read_mark(command):
        return heredocs[0].content
    return "".join([command, *(f"\n{each.body}{each.name}" for each in heredocs)])


def _without_flags(text: str, escape: str) -> tuple[list[str], str]:
    try:
        return take_flags(text, escape)
    except Fault:
        return [], text


def _is_json(text: str) -> bool:
    try:
        return json_strings(text) is not None
    except Fault:
        return False
