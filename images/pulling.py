"""Pulling one image through an engine, with every layer's progress."""

from __future__ import annotations

import base64
import json
from typing import Any

from controlplane.lib.seal import unseal
from controlplane.operations.runner import Work
from hosts.engine import Engine, raise_for_message
from images.reference import Reference

# What the engine says of a layer when no more will come (Docker and Podman agree on these words).
DONE = ("Pull complete", "Already exists", "Download complete")


async def pull(work: Work, engine: Engine, reference: Reference, sealed_login: str = "") -> None:
    """Pull `reference`; layers appear in the operation's progress, everything else in its output.

    `sealed_login`: a sealed JSON {"username", "password"} for the registry, or empty. Cancelling closes the
    connection, upon which the engine stops. Raises EngineError with the engine's reason.
    """
    work.say(f"Pulling {reference.familiar} …")
    headers = _login_header(reference, sealed_login)
    query = {"fromImage": reference.repository_familiar, "tag": reference.digest or reference.tag or "latest"}
    async for message in engine.messages("POST", "/images/create", headers=headers, **query):
        _note(work, message)


def _login_header(reference: Reference, sealed_login: str) -> dict[str, str]:
    if not sealed_login:
        return {}
    login = json.loads(unseal(sealed_login)) | {"serveraddress": reference.domain}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(login).encode()).decode()}


def _note(work: Work, message: dict[str, Any]) -> None:
    raise_for_message(message)
    status, layer = str(message.get("status", "")), str(message.get("id", ""))
    detail = message.get("progressDetail") or {}
    if not layer or status.startswith("Pulling from"):
        if text := status or str(message.get("stream", "")).rstrip():
            work.say(f"{layer}: {text}" if layer else text)
        return
    work.progress(layer, status, *_measure(work, layer, status, detail))


def _measure(work: Work, layer: str, status: str, detail: dict[str, Any]) -> tuple[int | None, int | None]:
    """Bytes done and in all. Downloading and extracting count alike; a layer that is done is full."""
    current, total = _number(detail.get("current")), _number(detail.get("total"))
    total = total or work.total_of(layer)
    if status in DONE:
        return (total, total) if total else (1, 1)
    return current, total


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None
