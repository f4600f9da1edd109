"""Pulling one image through an engine, with every layer's progress."""

from __future__ import annotations

import base64
import json
from contextlib import aclosing
from typing import Any

from controlplane.lib.errors import NotFound
from controlplane.lib.references import Reference
from controlplane.lib.seal import unseal
from controlplane.operations.runner import Work
from hosts.engine import Engine, raise_for_message, segment

# What the engine says of a layer when its bytes are all there (Docker and Podman agree on these words).
FETCHED = ("Verifying Checksum", "Download complete", "Extracting", "Pull complete", "Already exists")
# An image has at most 127 layers (overlay2); an engine that speaks of more is not believed.
MOST_LAYERS = 500
LONGEST = 200


async def has_image(engine: Engine, reference: Reference) -> bool:
    """Whether the engine holds `reference` already."""
    try:
        await engine.get(f"/images/{segment(reference.lookup)}/json")
    except NotFound:
        return False
    return True


async def pull(work: Work, engine: Engine, reference: Reference, sealed_login: str = "", *, platform: str = "") -> str:
    """Pull `reference` and return the image's id. Layers go to the progress, everything else to the output.

    `sealed_login`: a sealed JSON {"username", "password"} for the registry, or empty. Cancelling closes the
    connection, upon which the engine stops. Raises EngineError with the engine's reason.
    """
    work.say(f"Pulling {reference.familiar} …")
    headers = _login_header(reference, sealed_login)
    layers = Layers(work)
    messages = engine.messages(
        "POST",
        "/images/create",
        headers=headers,
        fromImage=reference.repository_familiar,
        tag=reference.digest or reference.tag,
        platform=platform or None,
    )
    async with aclosing(messages):
        async for message in messages:
            raise_for_message(message)
            layers.note(message)
    image = await engine.get(f"/images/{segment(reference.lookup)}/json")
    return str(image["Id"])


def _login_header(reference: Reference, sealed_login: str) -> dict[str, str]:
    """The Engine API's X-Registry-Auth: base64url of an AuthConfig."""
    if not sealed_login:
        return {}
    login = json.loads(unseal(sealed_login)) | {"serveraddress": reference.domain}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(login).encode()).decode()}


class Layers:
    """Turns an engine's messages into progress: one bar for each layer, in bytes fetched.

    Docker counts the same bytes a second time while it unpacks them. The bar stays full then, so that it never
    runs backwards, and the share unpacked stands in the words.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._sizes: dict[str, int | None] = {}

    def note(self, message: dict[str, Any]) -> None:
        """Take one message: {"status", "id", "progressDetail": {"current", "total"}}; Podman's may lack any."""
        status, layer = _text(message.get("status")), _text(message.get("id"))
        # Docker names the tag, or the whole reference, as the id of its first message.
        if not layer or status.startswith("Pulling from"):
            if text := status or _text(message.get("stream")):
                self._work.say(text)
            return
        if layer not in self._sizes and len(self._sizes) >= MOST_LAYERS:
            return
        detail = message.get("progressDetail")
        detail = detail if isinstance(detail, dict) else {}
        self._show(layer, status, _number(detail.get("current")), _number(detail.get("total")))

    def _show(self, layer: str, status: str, current: int | None, total: int | None) -> None:
        size = self._sizes.get(layer)
        if status not in FETCHED:
            size = total or size
        self._sizes[layer] = size
        if status == "Extracting" and current and total:
            status = f"Extracting, {min(100, 100 * current // total)} %"
            self._work.progress(layer, status, size or 1, size or 1)
        elif status in FETCHED:
            # A layer that was there already, or came at once, never told its size.
            self._work.progress(layer, status, size or 1, size or 1)
        else:
            self._work.progress(layer, status, current, size)


def _text(value: object) -> str:
    return value.strip()[:LONGEST] if isinstance(value, str) else ""


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None
