"""What our processes write to their log: a record is a line, whatever hosts and people have put into its words."""

from __future__ import annotations

import logging
from typing import Any


def printable(text: str) -> str:
    """`text` with control and line-breaking characters written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class OneLine(logging.Formatter):
    """No text makes a second record out of one, or speaks to the terminal that shows it. A traceback is indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        return _indented(super().formatStack(stack_info))


def _indented(text: str) -> str:
    return "\n".join(f"  {printable(line)}" for line in text.splitlines())
