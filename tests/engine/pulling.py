"""Pulling into a native engine, for tests: the request, its messages, and what the engine keeps."""

import asyncio
import json
import os
from typing import Any

from tests.support.engines import Native
from tests.support.images import TestImage, make_tar
from tests.support.unixhttp import UnixConnection


def small(*, layers: int = 1, **config: Any) -> TestImage:
    """An image that no other test has: `layers` layers of one random file each."""
    made = tuple(make_tar({f"file-{number}": os.urandom(2000)}) for number in range(layers))
    return TestImage(made, {"Cmd": ["/x"], **config})


def pull(engine: Native, reference: str, *, user: str = "", **query: str) -> tuple[int, list[dict[str, Any]]]:
    """Status, and the messages; an error before the first message is one with `message`."""
    connection = UnixConnection(engine.socket, 60)
    path = "/images/create?" + "&".join(f"{key}={value}" for key, value in {"fromImage": reference, **query}.items())
    try:
        connection.request("POST", path, headers={"X-Registry-Auth": user} if user else {})
        response = connection.getresponse()
        return response.status, [json.loads(line) for line in response.read().splitlines() if line]
    finally:
        connection.close()


async def pulled(engine: Native, reference: str, **query: str) -> tuple[int, list[dict[str, Any]]]:
    """`pull` beside a registry that lives in this loop."""
    return await asyncio.to_thread(pull, engine, reference, **query)


def error_of(found: tuple[int, list[dict[str, Any]]]) -> str:
    """What went wrong, "" when nothing did."""
    status, messages = found
    return str(messages[-1]["message"] if status >= 400 else messages[-1].get("error", ""))


def kept(engine: Native) -> set[str]:
    """Every blob and layer, and what lies in staging."""
    folders = ("blobs/sha256", "layers", "l", "tmp")
    return {str(path) for name in folders for path in (engine.root / name).iterdir()}
