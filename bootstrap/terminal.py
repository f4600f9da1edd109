"""What the bootstrap prints, and the one question it asks."""

from __future__ import annotations

import os
import sys


def say(text: str) -> None:
    print(f"gantry: {text}", file=sys.stderr, flush=True)


def interactive() -> bool:
    """True where a person can be asked: a terminal on both ends, and not a CI run."""
    return sys.stdin.isatty() and sys.stderr.isatty() and not os.environ.get("CI")


def confirm(question: str) -> bool:
    """Ask for yes (the default) or no. End of input and Ctrl-C are no."""
    try:
        print(f"gantry: {question} [Y/n] ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        return answer.endswith("\n") and answer.strip().lower() in ("", "y", "yes")
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return False
