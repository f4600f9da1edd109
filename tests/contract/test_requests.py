"""Every row of the request table, on every engine, through our own client."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from hosts.engine import Engine, EngineError
from hosts.engine.errors import engine_error
from tests.contract.shapes import mismatch
from tests.contract.table import TABLE, Differs, Row
from tests.support.engines import EngineProcess, unique

STEPS = {
    "created": [],
    "running": ["start"],
    "paused": ["start", "pause"],
    "exited": ["start", "kill"],
}


@contextlib.contextmanager
def container(process: EngineProcess, image: str, state: str) -> Iterator[str]:
    """A container in this state, under a name of its own, removed at the end."""
    name = unique("row")
    body = {"Image": image, "Cmd": ["sleep", "1000"], "Tty": True, "Labels": {"row": name}}
    made = process.expect("POST", "/containers/create", body, name=name)
    try:
        for step in STEPS[state]:
            process.expect("POST", f"/containers/{name}/{step}")
        if state == "exited":
            process.expect("POST", f"/containers/{name}/wait")
        yield name
    finally:
        process.request("DELETE", f"/containers/{made['Id']}", force="true", v="true")


async def ask(engine: Engine, method: str, path: str, body: Any) -> tuple[int, Any]:
    """(status, JSON or bytes, or the EngineError) of a request."""
    try:
        async with engine.stream(method, path, body) as response:
            content = await response.content.read()
    except EngineError as error:
        return error.status, error
    is_json = content[:1] in (b"{", b"[") or content.strip() == b"null"
    return response.status, json.loads(content) if is_json else content


def filled(value: Any, image: str) -> Any:
    """The row's body with its image in place."""
    if isinstance(value, dict):
        return {key: filled(item, image) for key, item in value.items()}
    return image if value == "{image}" else value


@pytest.mark.parametrize("row", TABLE, ids=[row.what.replace(" ", "-") for row in TABLE])
async def test_an_engine_answers_as_the_table_says(
    row: Row, process: EngineProcess, image: str, engine: Engine
) -> None:
    differs = row.differs.get(process.kind, Differs(""))
    expected = differs.status or row.status
    shape = row.shape if differs.status is None else differs.shape
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(container(process, image, row.given)) if row.given else ""
        path = quote(row.path.format(c=name, image=image), safe="/:?&=+,")
        status, answer = await ask(engine, row.method, path, filled(row.body, image))
        if status == 201 and row.path.startswith("/containers/create"):
            process.request("DELETE", f"/containers/{answer['Id']}", force="true", v="true")
    assert status == expected, answer
    if status >= 300:
        assert isinstance(answer, EngineError)
        assert answer.message
        if differs.kind_is_right:
            assert isinstance(answer, type(engine_error(row.status, "")))
    elif shape is not None:
        assert not mismatch(answer, shape)
