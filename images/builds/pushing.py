"""Pushing images that a host has to their registries."""

from __future__ import annotations

from contextlib import aclosing

from controlplane.lib.errors import Conflict, GantryError
from controlplane.lib.references import Reference, parse
from controlplane.lib.threads import in_thread
from controlplane.operations.runner import Work
from hosts.engine import Engine, raise_for_message, segment
from hosts.working import engine_of
from images.builds import credentials
from images.builds.asked import Options
from images.builds.masking import Mask
from images.pulling import Layers


async def push(work: Work) -> None:
    """params: references (familiar, each with a tag), logins (Credentials' names), image_id (what they must name)."""
    options = Options(logins=list(work.params.get("logins", [])))
    logins = await in_thread(credentials.logins, options, work.host)
    mask = Mask(credentials.hidden(logins))
    try:
        async with engine_of(work) as engine:
            for text in work.params["references"]:
                await _check(engine, text, work.params.get("image_id", ""))
                await _push_one(work, engine, parse(text), logins)
    except GantryError as exc:
        exc.message, exc.hint = mask(exc.message), mask(exc.hint)
        raise
    work.result["pushed"] = work.params["references"]


async def _check(engine: Engine, text: str, image_id: str) -> None:
    """Raise Conflict when the name stands for another image by now: a later build has it."""
    image = await engine.get(f"/images/{segment(parse(text).lookup)}/json")
    if image_id and str(image["Id"]).removeprefix("sha256:") != image_id.removeprefix("sha256:"):
        raise Conflict(f"{text} stands for another image on this host now.", "Push the build that made that one.")


async def _push_one(work: Work, engine: Engine, reference: Reference, logins: dict[str, dict[str, str]]) -> None:
    work.say(f"Pushing {reference.familiar} …")
    layers = Layers(work)
    messages = engine.messages(
        "POST",
        f"/images/{segment(reference.repository_familiar)}/push",
        # Docker refuses a push without the header, even where nobody has to log in.
        headers={"X-Registry-Auth": credentials.header(logins.get(reference.domain, {}))},
        tag=reference.tag,
    )
    async with aclosing(messages):
        async for message in messages:
            raise_for_message(message)
            layers.note(message)
    work.say(f"{reference.domain} has {reference.familiar}.")
