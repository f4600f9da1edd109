"""Every row of the request table, on every engine, through our own client."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest

from hosts.engine import Engine, EngineError
from hosts.engine.errors import engine_error
from tests.contract import rows_containers, rows_create, rows_images, rows_networks
from tests.contract.shapes import mismatch
from tests.contract.table import TABLE as BASE
from tests.contract.table import Differs, Row
from tests.support.engines import EngineProcess, unique

TABLE = [*BASE, *rows_containers.ROWS, *rows_create.ROWS, *rows_images.ROWS, *rows_networks.ROWS]
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
    try:
        return response.status, json.loads(content)
    except ValueError:  # a tar, text, or a stream of several objects
        return response.status, content


def filled(value: Any, names: Mapping[str, str]) -> Any:
    """The row's body with its names in place."""
    if isinstance(value, dict):
        return {filled(key, names): filled(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, names) for item in value]
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace("{" + name + "}", text)
    return value


def filled_path(path: str, names: Mapping[str, str]) -> str:
    """The row's path with its names in place, quoted."""
    return quote(path.format(**names), safe="/:?&=+,")


@contextlib.contextmanager
def surroundings(process: EngineProcess, row: Row, names: Mapping[str, str]) -> Iterator[None]:
    """What the row needs beside its container, made and taken away."""
    try:
        for method, path, body in row.before:
            process.expect(method, filled_path(path, names), filled(body, names))
        yield
    finally:
        for method, path, body in row.after:
            process.request(method, filled_path(path, names), filled(body, names))


@pytest.mark.parametrize("row", TABLE, ids=[row.what.replace(" ", "-") for row in TABLE])
async def test_an_engine_answers_as_the_table_says(
    row: Row, process: EngineProcess, image: str, engine: Engine
) -> None:
    differs = row.differs.get(process.kind, Differs(""))
    expected = differs.status or row.status
    shape = row.shape if differs.status is None else differs.shape
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(container(process, image, row.given)) if row.given else ""
        names = {"c": name, "u": unique("row"), "image": image}
        stack.enter_context(surroundings(process, row, names))
        body = filled(row.body, names)
        status, answer = await ask(engine, row.method, filled_path(row.path, names), body)
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
