"""Variables, quotes and escapes in a word: what Docker's builder makes of `"$name"`, `${name:-word}` and the rest.

Rules: Dockerfile reference, "Environment replacement"; where that is silent, BuildKit's frontend/dockerfile/shell
(Lex). Not a shell: no commands, no `~`, no file names; names that are not set are empty.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from .errors import Fault, quoted
from .globs import Glob
from .words import ESCAPE, SPACES

MAX_NESTING = 64  # of ${…${…}…}: deeper is no file of a person, and Python's stack ends
MAX_EXPANDED = 4 << 20  # characters a call may write and search: `ENV A=$A$A` forty times over is a terabyte

_Piece = tuple[str, bool]  # text, and whether white space in it parts words
_SPECIAL_NAMES = frozenset("@*#?-$!0")  # sh's special parameters: names of one character, never set here
_SPLIT = re.compile(f"([{SPACES}]+)")


class Expander:
    """Expands an instruction's words with one environment, one escape character and one allowance."""

    def __init__(
        self,
        env: Mapping[str, str],
        escape: str = ESCAPE,
        *,
        missing: set[str] | None = None,
        variables: bool = True,
    ) -> None:
        """`missing` collects the names asked for that are not set. Without `variables`, a `$` is any character."""
        self.env = env
        self.escape = escape
        self.missing = missing
        self.dollar = "$" if variables else ""
        self.left = MAX_EXPANDED

    def word(self, text: str) -> str:
        """One word of one word, white space and all. Raises Fault."""
        return "".join(part for part, _ in _Scan(self, text, self.escape).all())

    def words(self, text: str) -> list[str]:
        """The words a text falls into: white space from a variable parts them, quoted white space does not."""
        return _into_words(_Scan(self, text, self.escape).all())

    def text(self, text: str) -> str:
        """A heredoc's body: variables and backslashes count, quotes are characters like others. Raises Fault."""
        return "".join(part for part, _ in _Scan(self, text, ESCAPE, quotes=False).all())

    def value(self, name: str) -> str | None:
        """What the name stands for, None when it is not set."""
        value = self.env.get(name)
        if value is None and self.missing is not None:
            self.missing.add(name)
        return value

    def spend(self, amount: int) -> None:
        """Take from the allowance. Raises Fault when it is used up."""
        self.left -= amount
        if self.left < 0:
            raise Fault(f"variables expand to more than {MAX_EXPANDED} characters")


class _Scan:
    """One pass over one text."""

    def __init__(self, expander: Expander, text: str, escape: str, *, quotes: bool = True) -> None:
        self.expander = expander
        self.source = text
        self.escape = escape
        self.quotes = "'\"" if quotes else ""
        self.pos = 0
        self.depth = 0

    def all(self) -> list[_Piece]:
        try:
            return self._until("")
        except Fault as fault:
            raise Fault(f"failed to process {quoted(self.source)}: {fault}") from fault

    def _until(self, stop: str, *, keep: bool = False, pattern: bool = False) -> list[_Piece]:
        """Up to the mark `stop`, over it, or to the end when that is "".

        `keep` leaves escapes where they are, `pattern` doubles them where quotes make them plain characters.
        """
        pieces: list[_Piece] = []
        special = _marks(self.expander.dollar + self.escape + self.quotes + stop)
        while match := special.search(self.source, self.pos):
            self._add(pieces, self.source[self.pos : match.start()], True)
            mark, self.pos = match[0], match.end()
            if mark == stop:
                return pieces
            if mark == "$":
                self._add(pieces, self._variable(), True)
            elif mark == "'":
                self._add(pieces, self._single(pattern=pattern), False)
            elif mark == '"':
                self._add(pieces, self._double(keep=keep), False)
            else:
                self._add(pieces, (self.escape if keep else "") + self._take(), False)
        if stop:
            raise Fault("syntax error: missing '/' in ${}" if stop == "/" else "syntax error: missing '}'")
        self._add(pieces, self.source[self.pos :], True)
        self.pos = len(self.source)
        return pieces

    def _add(self, pieces: list[_Piece], text: str, splits: bool) -> None:
        if text:
            self.expander.spend(len(text))
            pieces.append((text, splits))

    def _take(self) -> str:
        """The next character, "" at the end."""
        self.pos += 1
        return self.source[self.pos - 1 : self.pos]

    def _single(self, *, pattern: bool) -> str:
        end = self.source.find("'", self.pos)
        if end < 0:
            raise Fault("unexpected end of statement while looking for matching single-quote")
        inner, self.pos = self.source[self.pos : end], end + 1
        return inner.replace(self.escape, self.escape * 2) if pattern else inner

    def _double(self, *, keep: bool) -> str:
        """Up to the closing quote: variables count, and escapes before a quote, a `$` or an escape."""
        parts: list[str] = []
        special = _marks('"' + self.expander.dollar + self.escape)
        while match := special.search(self.source, self.pos):
            parts.append(self.source[self.pos : match.start()])
            mark, self.pos = match[0], match.end()
            if mark == '"':
                return "".join(parts)
            if mark == "$":
                parts.append(self._variable())
                self.expander.spend(len(parts[-1]))
            elif self.source[self.pos : self.pos + 1] in ('"', "$", self.escape):
                parts.append((mark if keep else "") + self._take())
            else:
                parts.append(mark * 2 if keep else mark)
        raise Fault("unexpected end of statement while looking for matching double-quote")

    def _variable(self) -> str:
        """What follows a `$`: a name, or {…}; a `$` before neither stays."""
        if self.source[self.pos : self.pos + 1] != "{":
            name = self._name()
            return (self.expander.value(name) or "") if name else "$"
        self.pos += 1
        following = self.source[self.pos : self.pos + 1]
        if not following:
            raise Fault("syntax error: missing '}'")
        if following in "{}:":
            raise Fault("syntax error: bad substitution")
        if self.depth == MAX_NESTING:
            raise Fault(f"variables are nested more than {MAX_NESTING} deep")
        self.depth += 1
        try:
            return self._braced(self._name())
        finally:
            self.depth -= 1

    def _name(self) -> str:
        """Letters, digits and `_`; or digits only, when it begins with one; or one of sh's special names."""
        start = self.pos
        first = self.source[start : start + 1]
        if first in _SPECIAL_NAMES and first != "0":
            self.pos += 1
            return first
        digits = first.isdecimal()
        while self.pos < len(self.source):
            each = self.source[self.pos]
            if not (each.isdecimal() or (not digits and (each.isalpha() or each == "_"))):
                break
            self.pos += 1
        return self.source[start : self.pos]

    def _braced(self, name: str) -> str:
        how = self._take()
        if not how:
            raise Fault("syntax error: missing '}'")
        if how == "}":
            return self.expander.value(name) or ""
        if how == "/":
            return self._replaced(name)
        if how in "#%":
            return self._trimmed(name, how)
        colon = how == ":"
        if colon:
            how += self._take()
        if how[-1] not in "-+?":
            raise Fault(f"unsupported modifier ({how}) in substitution")
        word = self._joined("}")
        value = self.expander.value(name)
        there = bool(value) if colon else value is not None
        if how[-1] == "+":
            return word if there else ""
        if there:
            return value or ""
        if how[-1] == "?":
            lack = "unset" if value is None else "empty"
            raise Fault(f"{name}: {word or f'is not allowed to be {lack}'}")
        return word

    def _trimmed(self, name: str, how: str) -> str:
        longest = self.source[self.pos : self.pos + 1] == how
        self.pos += longest
        glob = Glob.parse(self._joined("}", keep=True, pattern=True))
        value = self.expander.value(name) or ""
        self.expander.spend(len(value))
        return glob.without_start(value, longest=longest) if how == "#" else glob.without_end(value, longest=longest)

    def _replaced(self, name: str) -> str:
        everywhere = self.source[self.pos : self.pos + 1] == "/"
        self.pos += everywhere
        glob = Glob.parse(self._joined("/", keep=True, pattern=True))
        text = self._joined("}", keep=True)
        value = self.expander.value(name) or ""
        self.expander.spend(len(value))
        return glob.replaced(value, text, everywhere=everywhere, limit=self.expander.left)

    def _joined(self, stop: str, *, keep: bool = False, pattern: bool = False) -> str:
        return "".join(text for text, _ in self._until(stop, keep=keep, pattern=pattern))


def _into_words(pieces: list[_Piece]) -> list[str]:
    words, word = [], ""
    for text, splits in pieces:
        if not splits:
            word += text
            continue
        for part in _SPLIT.split(text):
            if part and part[0] in SPACES:
                words.append(word)
                word = ""
            else:
                word += part
    return [each for each in [*words, word] if each]


@lru_cache(maxsize=64)
def _marks(characters: str) -> re.Pattern[str]:
    return re.compile(f"[{re.escape(characters)}]")
