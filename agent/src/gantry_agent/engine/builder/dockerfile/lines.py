"""A Dockerfile's text as instructions' lines: continuations joined, comments gone, heredocs attached.

Rules: Dockerfile reference, "Format", "Parser directives" and "Here-Documents"; BuildKit's
frontend/dockerfile/parser (Parse). A line that ends with the escape character, white space behind it allowed, goes on
in the next one; two escape characters do not; comments and empty lines in between are skipped.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .errors import DEFAULT_NAME, DockerfileError, Place
from .heredocs import Heredoc, announced
from .words import ESCAPE, SPACES

MAX_BYTES = 4 << 20  # of a file: BuildKit reads up to 16 MiB; the largest generated ones seen have one
MAX_LINE = 65_535  # bytes of a line, as in Docker (Go's bufio.MaxScanTokenSize)
_DIRECTIVES = ("syntax", "escape", "check")
_KEY = re.compile(r"[a-zA-Z][a-zA-Z0-9]*\Z")
_DIRECTIVE_SPACES = "\t\n\f\r "
_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Line:
    """One instruction's text without its continuations, and the bodies that follow it."""

    text: str
    place: Place
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True)
class Remark:
    """What is allowed, but likely a slip."""

    line: int
    text: str


class Lines:
    """Reads a file once. `directives` and `remarks` fill as it is read."""

    def __init__(self, text: str, file: str = DEFAULT_NAME) -> None:
        self.file = file
        self.directives: dict[str, str] = {}
        self.remarks: list[Remark] = []
        self.number = 0  # of the line read last
        self._text = text.removeprefix(_BOM)
        self._pos = 0

    @property
    def escape(self) -> str:
        """The escape character: a backslash, or a backtick after `# escape=`."""
        return self.directives.get("escape", ESCAPE)

    def __iter__(self) -> Iterator[Line]:
        """Raises DockerfileError for a line that is too long, a bad directive, a heredoc without end."""
        heading = True
        while (raw := self._next()) is not None:
            text = raw.rstrip("\r\n").lstrip(SPACES)
            heading = heading and self._directive(text)
            if text and not text.startswith("#"):
                yield self._instruction(text)

    def _next(self) -> str | None:
        """The next line with its end, None behind the last."""
        if self._pos >= len(self._text):
            return None
        end = self._text.find("\n", self._pos)
        end = len(self._text) if end < 0 else end + 1
        line, self._pos = self._text[self._pos : end], end
        self.number += 1
        if len(line) * 4 > MAX_LINE and _size(line.removesuffix("\n")) > MAX_LINE:
            raise self._error(f"dockerfile line greater than max allowed size of {MAX_LINE}", self.number)
        return line

    def _directive(self, text: str) -> bool:
        """Take a parser directive; False for any other line, after which there are none."""
        key, equals, value = text[1:].lstrip(SPACES).partition("=")
        key, value = key.rstrip(_DIRECTIVE_SPACES), value.strip(_DIRECTIVE_SPACES)
        if not text.startswith("#") or not equals or not value or not _KEY.match(key):
            return False
        if (key := key.lower()) not in _DIRECTIVES:
            return False
        if key in self.directives:
            raise self._error(f"only one {key} parser directive can be used", self.number)
        if key == "escape" and value not in ("\\", "`"):
            raise self._error(f"invalid escape token '{value[:20]}' does not match ` or \\", self.number)
        self.directives[key] = value
        return True

    def _instruction(self, text: str) -> Line:
        first = self.number
        text = self._joined(text)
        place = Place(self.file, first, self.number)
        heredocs = tuple(self._filled(each, first) for each in announced(text, self.escape))
        return Line(text, replace(place, end_line=self.number), heredocs)

    def _joined(self, text: str) -> str:
        text, goes_on = self._continued(text)
        parts, first, empty = [text], self.number, False
        while goes_on and (raw := self._next()) is not None:
            bare = raw.lstrip(SPACES)
            if bare.startswith("#"):
                continue
            if not bare:
                empty = True
                continue
            text, goes_on = self._continued(raw.rstrip("\r\n"))
            parts.append(text)
        if empty:
            self.remarks.append(Remark(first, "empty continuation line: the instruction goes on behind it"))
        return "".join(parts)

    def _continued(self, text: str) -> tuple[str, bool]:
        bare = text.rstrip("\t ")
        if bare.endswith(self.escape) and not bare.endswith(self.escape * 2):
            return bare[:-1], True
        return text, False

    def _filled(self, heredoc: Heredoc, first: int) -> Heredoc:
        body: list[str] = []
        while (raw := self._next()) is not None:
            if heredoc.ends_with(raw.rstrip("\r\n")):
                return replace(heredoc, body="".join(body))
            body.append(raw)
        raise self._error(f"unterminated heredoc: no line is {heredoc.name!r}", first)

    def _error(self, text: str, line: int) -> DockerfileError:
        return DockerfileError(text, Place(self.file, line, self.number))


def decoded(data: str | bytes, file: str = DEFAULT_NAME) -> str:
    """The file as text. Bytes that are not UTF-8 survive as in file names (surrogateescape), as Docker lets them.

    Raises DockerfileError for a file that is too large or in UTF-16.
    """
    if len(data) > MAX_BYTES or (isinstance(data, str) and _size(data) > MAX_BYTES):
        raise DockerfileError(f"{file} exceeds maximum allowed size of {MAX_BYTES} bytes", Place(file))
    if isinstance(data, str):
        return data
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DockerfileError(f"{file} is UTF-16; a Dockerfile has to be UTF-8", Place(file))
    return data.decode("utf-8", "surrogateescape")


def _size(text: str) -> int:
    """Bytes of UTF-8; a byte that was none counts as one."""
    try:
        return len(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return len(text.encode("utf-8", "surrogatepass"))
