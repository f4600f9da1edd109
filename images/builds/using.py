"""Before a build is sent: may whoever asks for it use each image that its Dockerfile uses, and do the rules of the
environment allow it?

Who may pull everything there is held to the rules alone; for anybody else what cannot be told is refused, and so it is
for everybody where a rule speaks of it. Base images are fetched here, so that what they bring along (ONBUILD) is known,
and the engine fetches none by itself.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from controlplane.access.decide import allows, require
from controlplane.access.models import User
from controlplane.access.reach import Place
from controlplane.lib.errors import GantryError, InvalidArgument, NotFound, RightMissing
from controlplane.lib.references import Reference, parse
from controlplane.lib.seal import seal
from controlplane.lib.threads import in_thread
from hosts.engine import Engine
from hosts.models import Host
from hosts.rules.errors import RulesBroken, refuse
from hosts.rules.facts import ImageFacts, Violation
from hosts.rules.judge import judge_build, judge_flags, judge_image
from hosts.rules.models import rules_of
from hosts.rules.rules import Rules
from images.access import place_at
from images.builds.asked import GIT, UPLOAD
from images.builds.bases import CACHE, Use, Uses, uses, uses_of_triggers
from images.builds.context import BoundedInfo, forget
from images.builds.onbuild import triggers_of
from images.held import HeldImage, asker, held_image, parent_of, refuse_borrowed
from images.pulling import pull

if TYPE_CHECKING:
    from images.builds.building import Job

VERB = "image.pull"


async def require_uses(job: Job, engine: Engine) -> None:
    """Raise RightMissing or RulesBroken, with the line, for the first image that may not be used."""
    actor, host = await in_thread(asker, job.work.operation)
    rules = await in_thread(rules_of, host.environment_id)
    free = await in_thread(allows, actor, VERB, Place(host.environment_id))
    heredocs = host.engine_kind != "docker"
    found = await in_thread(uses, job.build.dockerfile, job.options.args, heredocs=heredocs)
    broken = judge_build(
        rules, memory=job.options.memory, nano_cpus=int(job.options.cpus * 1_000_000_000), flags=found.flags
    )
    await in_thread(refuse, "image.build", host, broken, "this build")
    job.tenant = await in_thread(_tenant, actor, host)
    _require_own_cache(host, found, free)
    if free and not (rules.on_bases or rules.on_steps):
        return
    await in_thread(_require_plain_files, job)
    waiting = [*found.images, *(Use(0, each, each) for each in job.options.cache_from)]
    if free and not rules.on_bases:
        waiting = [use for use in found.images if use.is_base or use.hides or job.options.pull]
    for use in waiting:
        reference = await in_thread(_require, actor, host, rules, use, free)
        if reference is None:
            continue
        image = await _fetched(job, engine, use, reference)
        await in_thread(_require_held, actor, host, rules, (use, reference), image, await parent_of(engine, image))
        if not use.is_base:
            continue
        triggers = await triggers_of(engine, image.id, job.say, told=host.engine_kind != "podman")
        brought = uses_of_triggers(triggers, use.line, heredocs=heredocs)
        broken = judge_flags(rules, brought.flags)
        await in_thread(refuse, "image.build", host, broken, "what a base image of this build brings along (ONBUILD)")
        _require_own_cache(host, brought, free)
        for more in brought.images:
            await in_thread(_require, actor, host, rules, more, free)
    job.options.pull = False  # they have been, and what was judged is what is used


def _tenant(actor: User, host: Host) -> str:
    """Whose cache it is: all who may use every image of the environment and build each have one together; anybody else,
    and a token that was narrowed, one of their own. What lies in a cache was made from images, and goes into others.
    """
    place = Place(host.environment_id)
    if allows(actor, VERB, place) and allows(actor, "image.build", place):
        return f"environment {host.environment_id or 0}"
    return f"token {actor.token.pk}" if actor.token and actor.is_narrowed else f"person {actor.pk}"


def _require_own_cache(host: Host, found: Uses, free: bool) -> None:
    """Podman knows no tenants: the folder of a cache is that of every build on the host."""
    if CACHE in found.flags and not free and host.engine_kind == "podman":
        line = f"line {found.flags[CACHE]} of the Dockerfile"
        raise RightMissing(VERB, f"every image of {host.name}, whose builds share the cache that is mounted ({line})")


def _where(use: Use) -> str:
    return f"line {use.line} of the Dockerfile" if use.line else "the cache to build from"


def _require(actor: User, host: Host, rules: Rules, use: Use, free: bool) -> Reference | None:
    """The reference of an image that may be used; None for one that cannot be told, by somebody who may use any, where
    no rule asks for it."""
    try:
        reference = None if use.why else parse(use.reference)
        why = use.why
    except InvalidArgument as exc:
        reference, why = None, exc.message
    must_be_known = rules.on_bases or (rules.on_steps and (use.is_base or use.hides))
    if reference is None or (use.is_id and not free):
        if not free:
            what = f"every image of {host.name}, as {_where(use)} does not say which it uses: {use.text}"
            raise RightMissing(VERB, f"{what} ({why})" if why else what)
        if must_be_known:
            allowed = "what all engines read alike" if use.hides else "the name of an image"
            text = f"{use.text} ({why})" if why else use.text
            raise RulesBroken("image.build", host, [Violation(_where(use), text, allowed)])
        return None
    if not free:
        require(actor, VERB, place_at(host, f"{reference.familiar}", label=f"{reference.familiar} ({_where(use)})"))
    if rules.on_bases:
        tag = "" if reference.digest else reference.tag
        _keep_to(host, rules, ImageFacts(reference.repository, tag), use)
    return reference


def _keep_to(host: Host, rules: Rules, image: ImageFacts, use: Use) -> None:
    refuse("image.build", host, judge_image(rules, image, _where(use)), "this build")


async def _fetched(job: Job, engine: Engine, use: Use, reference: Reference) -> HeldImage:
    if not job.options.pull:
        try:
            return await held_image(engine, reference.lookup)
        except NotFound:
            pass
    login = job.logins.get(reference.domain)
    sealed = seal(json.dumps({name: login[name] for name in ("username", "password")})) if login else ""
    try:
        await pull(job.work, engine, reference, sealed, platform=job.options.platform)
    except GantryError as exc:
        exc.message = f"{_where(use)}: {exc.message}"
        raise
    return await held_image(engine, reference.lookup)


def _require_held(
    actor: User,
    host: Host,
    rules: Rules,
    used: tuple[Use, Reference],
    image: HeldImage,
    parent: HeldImage | None,
) -> None:
    use, reference = used
    if allows(actor, VERB, Place(host.environment_id)):
        pass
    elif image.is_called(reference):
        refuse_borrowed(actor, host, reference, image, parent, VERB)
    else:
        raise RightMissing(VERB, f"what {host.name} takes {reference.familiar} for ({_where(use)})")
    if rules.for_bases:
        _keep_to(host, rules, image.facts(reference.familiar), use)


def _require_plain_files(job: Job) -> None:
    """Raise InvalidArgument when the engine could take another file for the Dockerfile than was read."""
    if job.source.kind == GIT or job.context.file is None:
        return
    found = _entries(job.context.file, os.path.normpath(job.dockerfile_path).lstrip("/"))
    if found != (1 if job.source.kind == UPLOAD else 0):
        raise InvalidArgument(
            f"Expected one plain file {job.dockerfile_path} among the files, in folders that are folders.",
            "A link there, or a second of that name, could be another Dockerfile than the one that was read. Send the "
            "files as they are.",
        )


def _entries(archive: Path, wanted: str) -> int:
    """How many plain files of that name there are; -1 when a link is in the way, or something is put below one: that
    may come to lie anywhere."""
    above = {wanted.rsplit("/", n)[0] for n in range(1, wanted.count("/") + 1)}
    links: set[int] = set()
    count = 0
    with tarfile.open(archive, tarinfo=BoundedInfo) as tar:
        for info in tar:
            name = os.path.normpath(f"/{info.name}").lstrip("/")
            *folders, own = _hashes(name)
            if not links.isdisjoint(folders):
                return -1
            if info.issym() or info.islnk():  # one more name of a link is a link
                links.add(own)
            if name == wanted:
                if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                    return -1
                count += 1
            elif name in above and not info.isdir():
                return -1
            forget(tar)
    return count


def _hashes(name: str) -> Iterator[int]:
    """Of each folder that it lies in, from the top, and of itself: names themselves could fill the memory."""
    found = 0
    for part in name.split("/"):
        yield (found := hash((found, part)))
