"""A cast read as its format says (docs.asciinema.org/manual/asciicast/v2), line by line, and one to be played."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from containers.recordings import files
from containers.recordings.cast import Event, header
from containers.recordings.files import CastFile


def lay_folder(within: Path, settings: Any) -> Path:
    """A folder of a test's own for the recordings; no space is kept free."""
    place = within / "recordings"
    place.mkdir(mode=0o700)
    settings.RECORDINGS_DIR = place
    settings.RECORDINGS_RESERVE = 0
    return place


@dataclass
class Read:
    """A valid cast."""

    header: dict[str, Any]
    events: list[tuple[float, str, str]]

    def of(self, code: str) -> list[str]:
        return [data for _, found, data in self.events if found == code]

    @property
    def output(self) -> str:
        return "".join(self.of("o"))


def read(data: bytes) -> Read:
    """The cast in `data`. Fails on the first thing that is not as the format says."""
    assert data.endswith(b"\n"), "the last line is whole"
    first, *rest = data.decode("utf-8").split("\n")[:-1]
    about = json.loads(first)
    assert about["version"] == 2
    assert isinstance(about["width"], int)
    assert isinstance(about["height"], int)
    assert isinstance(about["timestamp"], int)
    assert all(isinstance(value, str) for value in about["env"].values())
    events, last = [], 0.0
    for line in rest:
        time, code, text = json.loads(line)
        assert isinstance(time, (int, float))
        assert time >= last, "time runs forwards"
        last = time
        assert code in ("o", "i", "m", "r")
        assert isinstance(text, str)
        if code == "r":
            assert re.fullmatch(r"\d+x\d+", text)
        events.append((time, code, text))
    return Read(about, events)


def make(path: str, events: list[tuple[float, str, bytes | str]], columns: int = 80, rows: int = 24) -> int:
    """Write a closed cast below the folder of recordings; its size."""
    cast = files.folder() / path
    first = header(columns=columns, rows=rows, started=1000.0, shell="sh", title="a title", about={"host": "h"})
    file = CastFile.create(cast, first, 1000.0, 0)
    file.append([Event(1000.0 + at, code, data) for at, code, data in events], 0)
    file.seal()
    return cast.stat().st_size
