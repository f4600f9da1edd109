"""JSON from somebody who may say anything: read so that each string can be stored and shown."""

from __future__ import annotations

import json
import re
from typing import Any

# Half a surrogate pair can be stored by no database and sent to no browser, NUL not by PostgreSQL: one such string
# in one row would break every page that lists it.
_SUSPECT = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")


def foreign_json(content: bytes | str) -> Any:
    """Its value; half characters read "?", NULs are left out. Raises ValueError (also for what is no UTF-8) and
    RecursionError."""
    # Decoded here: json.loads would guess at UTF-16 and let half characters of raw bytes pass.
    text = content if isinstance(content, str) else content.decode()
    value = json.loads(text)
    return _whole(value) if _SUSPECT.search(text) else value


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "").encode(errors="replace").decode()
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(each) for key, each in value.items()}
    return value
