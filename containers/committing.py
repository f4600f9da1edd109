"""Making an image of a container as it is.

It takes what is in the image: the container's files, which is a right of its own, and its variables, which whoever is
in it can read. It is a use of the image that the container was made from, as a build from it would be, and it gives a
name, as a build does. Whoever uses the new image later must have a right to all that it was made of, whatever becomes
of names meanwhile (`images.held`).
"""

from __future__ import annotations

import json
from typing import Any

from containers.models import Container
from containers.running import OPERATION_LABEL, standing_violations
from controlplane.access.decide import Actor, allows, require
from controlplane.access.models import User
from controlplane.access.reach import Place
from controlplane.lib.errors import Conflict, NotFound
from controlplane.lib.references import Reference, name_of, parse
from controlplane.lib.seal import unseal
from controlplane.lib.threads import in_thread
from controlplane.operations.runner import Work
from hosts.engine import Engine, segment
from hosts.rules.errors import refuse
from hosts.rules.facts import ImageFacts, Violation
from hosts.rules.judge import judge_commit
from hosts.rules.models import rules_of
from hosts.working import engine_of
from images.access import place_at
from images.held import HeldImage, asker, held_image, origins_of, parent_of, refuse_borrowed, remember_origins, whole_id

VERB = "container.files"
TAKES = (VERB, "container.exec", "image.pull")
LONGEST_SECONDS = 3600


def require_commit(actor: User, container: Container, reference: str, *, pause: bool) -> None:
    """Raise RightMissing unless `actor` may make an image of `container` and call it `reference`."""
    for verb in TAKES if not pause else (*TAKES, "container.stop"):
        require(actor, verb, container)
    require(actor, "image.build", place_at(container.host, reference))


def may_commit(actor: Actor, container: Container) -> bool:
    """Whether to offer it: some name or other may be given."""
    return all(allows(actor, verb, container) for verb in TAKES) and allows(actor, "image.build")


async def commit(work: Work) -> None:
    """params: reference, comment, author, changes (sealed JSON list of lines), pause.

    The image gets its name last, once it is known what it was made of: until then it is nobody's to use.
    """
    reference = parse(work.params["reference"])
    async with engine_of(work) as engine:
        found = await engine.get(f"/containers/{work.operation.target_id}/json")
        config = found.get("Config")
        config = config if isinstance(config, dict) else {}
        source = await _source(engine, found)
        parent = await parent_of(engine, source)
        origins = await _judged(work, engine, reference, str(config.get("Image") or ""), (source, parent))
        await work.checkpoint()
        image_id = await _make(work, engine, config)
        await in_thread(remember_origins, image_id, origins)
        await engine.post(
            f"/images/{segment(image_id)}/tag", repo=reference.repository_familiar, tag=reference.tag, timeout=120
        )
    work.result |= {"image_id": image_id, "reference": reference.familiar}
    work.say(f"{work.operation.target_name} as it was is {reference.familiar} ({image_id[:19]}).")


async def _source(engine: Engine, found: dict[str, Any]) -> HeldImage:
    ident = whole_id(str(found.get("Image") or ""))
    try:
        return await held_image(engine, ident)
    except NotFound:  # removed by force under its container
        return HeldImage(ident, (), (), "", "")


async def _judged(
    work: Work, engine: Engine, reference: Reference, named: str, images: tuple[HeldImage, HeldImage | None]
) -> set[tuple[str, str]]:
    """The names of all that will be in the new image, once rights and rules allow it."""
    actor, host = await in_thread(asker, work.operation)
    broken = await standing_violations(host, engine, work.operation.target_id)

    def decide() -> set[tuple[str, str]]:
        row = Container.objects.select_related("host", "image_name")
        container = row.filter(host=host, engine_id=work.operation.target_id).first()
        if container is None:
            raise Conflict("The container has been removed meanwhile.")
        require_commit(actor, container, reference.familiar, pause=bool(work.params["pause"]))
        if name_of(named)[0]:
            refuse_borrowed(actor, host, parse(named), *images, "image.pull")
        else:
            require(actor, "image.pull", Place(host.environment_id, label="an image without a name"))
        rules = rules_of(host.environment_id)
        wanted = judge_commit(rules, ImageFacts(reference.repository, reference.tag))
        refuse(VERB, host, [*broken, *wanted], reference.familiar)
        return origins_of(images[0], named, images[1])

    return await in_thread(decide)


async def _make(work: Work, engine: Engine, config: dict[str, Any]) -> str:
    """The new image's id. It has no name yet."""
    changes: list[str] = json.loads(unseal(work.params["changes"]))
    if OPERATION_LABEL in (config.get("Labels") or {}):
        # Labels are taken over, and by this one Gantry would know containers of the image for this one.
        changes.append(f'LABEL {OPERATION_LABEL}=""')
    work.say(f"Making an image of {work.operation.target_name} …")
    made = await engine.post(
        "/commit",
        {},
        timeout=LONGEST_SECONDS,
        container=work.operation.target_id,
        comment=work.params["comment"] or None,
        author=work.params["author"] or None,
        changes=changes,
        pause=bool(work.params["pause"]),
    )
    return whole_id(str(made["Id"]))


def violations_of(container: Container, reference: str, broken: list[Violation]) -> list[Violation]:
    """What the mirror already knows to be against the rules; `broken`: by the container itself."""
    return [*broken, *judge_commit(rules_of(container.host.environment_id), ImageFacts(*name_of(reference)))]
