"""How an instruction's line falls into words: white space, quotes, the escape character.

Rules: Dockerfile reference, "Format" and "escape"; where that is silent, BuildKit's frontend/dockerfile/parser
(parseWords, splitCommand). Values keep their quotes here: `variables` takes them off when it expands.
"""

import json
import re
from functools import lru_cache

from .errors import Fault

ESCAPE = "\\"
SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""White space as Go has it (unicode.IsSpace); Python's str.isspace also counts the separators \\x1c to \\x1f."""

_NO_SPACE = re.compile(f"[^{SPACES}]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_BLANKS = re.compile(r"[\t\v\f\r ]+")  # what parts plain arguments


def split_blanks(text: str) -> list[str]:
    """A line without quotes into words (EXPOSE, FROM, COPY, VOLUME)."""
    return _BLANKS.split(text) if text else []


def split_once(text: str) -> tuple[str, str]:
    """The first word and what follows the white space behind it, each possibly empty."""
    first, *rest = _BLANKS.split(text, maxsplit=1)
    return first, rest[0] if rest else ""


def split_words(text: str, escape: str = ESCAPE) -> list[str]:
    """A line into words that keep their quotes and escapes (ENV, LABEL, ARG).

    A quote that is never closed reaches to the end: expanding that word will say so.
    """
    words, start, pos, end = [], 0, 0, len(text)
    special = _special(escape)
    while match := special.search(text, pos):
        mark, pos = match[0], match.end()
        if mark in SPACES:
            if match.start() > start:
                words.append(text[start : match.start()])
            start = pos
        elif mark != escape:
            pos = closing_quote(text, pos, mark, escape) + 1
        elif pos < end:
            pos += 1
        else:
            end -= 1  # an escape with nothing behind it is dropped
    return [*words, text[start:end]] if end > start else words


def closing_quote(text: str, pos: int, quote: str, escape: str) -> int:
    """Where the quote opened before `pos` closes, the text's length when nowhere. Single quotes know no escape."""
    if quote == "'":
        end = text.find(quote, pos)
        return len(text) if end < 0 else end
    marks = re.compile(f'["{re.escape(escape)}]')
    while match := marks.search(text, pos):
        if match[0] == quote:
            return match.start()
        pos = match.end() + 1
    return len(text)


def take_flags(text: str, escape: str = ESCAPE) -> tuple[list[str], str]:
    """The words with `--` at the front of an instruction's arguments, their quotes off, and what follows them.

    A lone `--` ends them. Raises Fault for a quote without end.
    """
    flags = []
    pos = _past_spaces(text, 0)
    while text.startswith("--", pos):
        flag, pos = _bare_word(text, pos, escape)
        pos = _past_spaces(text, pos)
        if flag == "--":
            break
        flags.append(flag)
    return flags, text[pos:]


def json_strings(text: str) -> list[str] | None:
    """The exec form: a JSON list of strings; None for any text that is not JSON, which is then a shell's line.

    Raises Fault for JSON of another kind, as Docker does.
    """
    if not text.startswith("["):
        return None
    try:
        # Numbers are never wanted: their value, which may be huge, is not worked out.
        found = json.loads(text, parse_int=_nothing, parse_float=_nothing, parse_constant=_no_constant)
    except RecursionError:
        found = None
    except ValueError:
        return None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise Fault("when using JSON array syntax, arrays must be comprised of strings only")
    if "\\u" in text:  # a lone surrogate (\ud800) has no UTF-8; Go reads U+FFFD
        found = [_SURROGATES.sub("\ufffd", each) for each in found]
    return found


def _past_spaces(text: str, pos: int) -> int:
    match = _NO_SPACE.search(text, pos)
    return match.start() if match else len(text)


def _bare_word(text: str, pos: int, escape: str) -> tuple[str, int]:
    """The word that begins at `pos`, quotes and escapes off, and where it ends."""
    parts = []
    special = _special(escape)
    while match := special.search(text, pos):
        parts.append(text[pos : match.start()])
        mark, pos = match[0], match.end()
        if mark in SPACES:
            return "".join(parts), pos
        if mark == escape:
            parts.append(text[pos : pos + 1])
            pos += 1
            continue
        end = _flag_quote(text, pos, mark, escape)
        parts.append(re.sub(re.escape(escape) + "(.)", r"\1", text[pos:end], flags=re.DOTALL))
        pos = end + 1
    return "".join(parts) + text[pos:], len(text)


def _flag_quote(text: str, pos: int, quote: str, escape: str) -> int:
    """As `closing_quote`, but the escape counts in single quotes too, as it does in BuildKit's flags."""
    for match in re.compile(f"[{quote}{re.escape(escape)}]").finditer(text, pos):
        if match.start() < pos:
            continue
        if match[0] == quote:
            return match.start()
        pos = match.end() + 1
    kind = "single" if quote == "'" else "double"
    raise Fault(f"unexpected end of statement while looking for matching {kind}-quote")


@lru_cache(maxsize=4)
def _special(escape: str) -> re.Pattern[str]:
    return re.compile(f"[{re.escape(SPACES)}'\"{re.escape(escape)}]")


def _nothing(_: str) -> None:
    return None


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are Python's, not JSON's
