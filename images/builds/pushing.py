"""Pushing images that a host has to their registries."""

from __future__ import annotations

from contextlib import aclosing

from controlplane.lib.threads import in_thread
from controlplane.operations.runner import Work
from hosts.engine import Engine, raise_for_message, segment
from hosts.working import engine_of
from images.builds import credentials
from images.builds.asked import Options
from images.pulling import Layers
from images.reference import Reference, parse


async def push(work: Work) -> None:
    """params: references (familiar, each with a tag), logins (Credentials' names)."""
    options = Options(logins=list(work.params.get("logins", [])))
    logins = await in_thread(credentials.logins, options, work.host)
    async with engine_of(work) as engine:
        for text in work.params["references"]:
            await _push_one(work, engine, parse(text), logins)
    work.result["pushed"] = work.params["references"]


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
