"""How often a race is run or a process killed: enough to notice in every run, and all there is with GANTRY_FULL=1."""

import os

IS_FULL = bool(os.environ.get("GANTRY_FULL"))


def count(usual: int, full: int) -> int:
    """The number for this run."""
    return full if IS_FULL else usual
