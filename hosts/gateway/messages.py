"""Reading the text frames of agents, which may be anything."""

from __future__ import annotations

import json
from typing import Any


def parse(text: str) -> dict[str, Any]:
    """A frame's object, with a text under "type". Raises ValueError for anything else."""
    try:
        found = json.loads(text)
    except RecursionError as exc:  # thousands of opening brackets
        raise ValueError("nested too deeply") from exc
    if not isinstance(found, dict) or not isinstance(found.get("type"), str):
        raise ValueError("expected an object with a type")
    return found
