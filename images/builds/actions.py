"""Verbs on builds that a person, or a trigger in a person's name, asks for."""

from __future__ import annotations

import secrets
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.text import slugify

from controlplane.access.decide import allows, require
from controlplane.access.models import User
from controlplane.lib.errors import Conflict, InvalidArgument, Withheld
from controlplane.lib.live import publish
from controlplane.lib.seal import seal
from controlplane.operations import actions as operations
from controlplane.operations.actions import Request
from controlplane.operations.audit import about, gathered, record
from controlplane.operations.models import UNFINISHED, Operation
from hosts.models import Host
from images.access import place_at
from images.builds import addresses, cloning, following, naming, pool, schedules
from images.builds.access import name_for, require_every_name, require_name
from images.builds.asked import GIT, TYPED, Options, Source
from images.builds.context import dockerfile_path, refuse_template
from images.builds.models import Build, Concurrency, Credential, Definition, Trigger

SAVED = (
    "name",
    "source",
    "options",
    "concurrency",
    "schedule",
    "follows_base",
    "owner",
    "host",
    "image_name",
    "next_run_at",
)


def check(source: Source, options: Options) -> None:
    """Raise InvalidArgument for what can be told to be wrong without asking a host or a server."""
    if source.kind == GIT:
        addresses.parse(source.url)
        cloning.check_ref(source.ref)
        cloning.check_ref(source.commit)
        cloning.check_folder(source.folder)
    if source.kind != TYPED:
        dockerfile_path(source.dockerfile_path)
    for template in options.tags:
        naming.check(template, git=source.kind == GIT)
    if options.push and not options.tags:
        raise InvalidArgument("Expected a tag to push, found none.", "A push needs a name, with its registry.")


def start(
    actor: User,
    source: Source,
    options: Options,
    *,
    definition: Definition | None = None,
    trigger: str = Trigger.PERSON,
    typed: bool = True,
    ip: str | None = None,
) -> Operation:
    """Start a build in `actor`'s name. Raises RightMissing, InvalidArgument, or Conflict when no host can take it.

    `typed`: the names are the actor's own words; else a refusal tells of them no more than is seen.
    """
    require(actor, "image.build")  # before anything is said of what was asked
    check(source, options)
    host = pool.choose(actor, options)
    require(actor, "image.build", host)
    if source.kind != TYPED:
        refuse_template(source.dockerfile_path, host.engine_kind)
    for tag in filter(naming.is_plain, options.tags):  # the others are asked for once it is known what they are
        require_name(actor, host, tag, push=options.push, label="" if typed else name_for(actor, host, tag))
    with transaction.atomic(), gathered():
        number = _take_number(definition) if definition else 0
        params: dict[str, Any] = {
            "source": source.as_json(),
            "options": options.as_json(),
            "definition": definition.pk if definition else None,
            "number": number,
            "trigger": str(trigger),
        }
        filed = naming.filed_under(options.tags)
        name = next(iter(options.tags), "an image")
        if definition and definition.is_found_with(host, filed):
            name = f"{definition.name} #{number}"
        request = Request(
            kind="image.build",
            title=f"Build {name}",
            host=host,
            target=("build", "", name[:300]),
            params=params,
            lane=f"build:{definition.pk}" if definition else "",
            image=filed,
        )
        if definition and definition.concurrency == Concurrency.CANCEL:
            _cancel_older(actor, definition, ip)
        operation = operations.start(actor, request, ip=ip)
        Build.objects.create(
            operation=operation,
            definition=definition,
            number=number,
            trigger=trigger,
            source=params["source"],
            options=params["options"],
        )
        publish("builds")
    return operation


def _take_number(definition: Definition) -> int:
    Definition.objects.filter(pk=definition.pk).update(next_number=F("next_number") + 1)
    definition.refresh_from_db(fields=["next_number"])
    return definition.next_number - 1


def _cancel_older(actor: User, definition: Definition, ip: str | None) -> None:
    older = Operation.objects.filter(build__definition=definition, state__in=UNFINISHED, cancel_requested_at=None)
    for operation in older:
        try:
            operations.cancel(actor, operation, ip=ip)
        except Conflict:
            continue  # it has ended meanwhile


def start_defined(
    actor: User,
    definition: Definition,
    *,
    trigger: str = Trigger.PERSON,
    commit: str = "",
    branch: str = "",
    ip: str | None = None,
) -> Operation:
    """A build of `definition`; `commit`: of that very commit of `branch` instead of what its branch holds then."""
    source, options = Source.of_json(definition.source), Options.of_json(definition.options)
    if source.kind == GIT and commit:
        source.commit, source.ref = commit, source.ref or branch
    options.pull = options.pull or trigger == Trigger.BASE  # or it would stand on the image that is there
    return start(actor, source, options, definition=definition, trigger=trigger, typed=False, ip=ip)


def rebuild(actor: User, build: Build, *, ip: str | None = None) -> Operation:
    """The same once more: same source, same options, its host chosen anew where it came from a pool.

    It counts among the builds of its definition, and may cancel them, for those alone who see that.
    """
    source, options = Source.of_json(build.source), Options.of_json(build.options)
    definition = build.definition
    if definition is not None and not allows(actor, "image.see", definition):
        definition = None
    return start(actor, source, options, definition=definition, typed=False, ip=ip)


def push(actor: User, build: Build, *, ip: str | None = None) -> Operation:
    """Push what `build` made. Raises Conflict when it made nothing with a name, or its host is gone."""
    host = build.operation.host
    if host is None or not build.tags or not build.image_id:
        raise Conflict("There is nothing to push: the build made no image with a name, or its host was removed.")
    for tag in build.tags:
        require(actor, "image.push", place_at(host, tag, label=name_for(actor, host, tag)))
    return operations.start(actor, following.push_request(build, host, Options.of_json(build.options)), ip=ip)


def save_definition(actor: User, definition: Definition, *, ip: str | None = None) -> Definition:
    """Write a new or changed definition. Its builds run with the rights of whoever saved it last."""
    source, options = Source.of_json(definition.source), Options.of_json(definition.options)
    require(actor, "image.build")
    _refuse_narrowed(actor, "save no definition")
    if stored := Definition.objects.filter(pk=definition.pk).first():
        require_every_name(actor, stored)
    check(source, options)
    if options.push:
        require(actor, "image.push")
    definition.owner = actor
    definition.host = Host.objects.filter(pk=options.host).first()
    if definition.host is not None:  # by its names it is found, and built, by others
        for tag in filter(naming.is_plain, options.tags):
            require_name(actor, definition.host, tag, push=options.push)
    definition.image_name_id = naming.filed_under(options.tags)
    definition.next_run_at = schedules.next_time(definition.schedule, timezone.now()) if definition.schedule else None
    with transaction.atomic():
        is_new = definition.pk is None
        if is_new:
            definition.slug = _free_slug(definition.name)
        # What a webhook or the clock may have changed meanwhile is left alone.
        definition.save(update_fields=None if is_new else SAVED)
        _record(actor, "image.build", definition, f"{'define' if is_new else 'change'} build {definition}", ip)
        publish("builds")
    return definition


def _refuse_narrowed(actor: User, deed: str) -> None:
    if actor.is_narrowed:
        raise Withheld(
            "image.build",
            f"A narrowed token may {deed}: its builds would have all the rights of the token's owner.",
            "Do it on its page, or with a token that is not narrowed.",
        )


def _free_slug(name: str) -> str:
    base = slugify(name)[:70] or "build"
    taken = {"new"} | set(Definition.objects.filter(slug__startswith=base).values_list("slug", flat=True))
    return next(slug for n in range(len(taken) + 1) if (slug := f"{base}-{n + 1}" if n else base) not in taken)


def delete_definition(actor: User, definition: Definition, *, ip: str | None = None) -> None:
    """Forget it; its builds stay. Raises RightMissing, and Conflict while one of them runs."""
    require_every_name(actor, definition)
    if Operation.objects.filter(build__definition=definition, state__in=UNFINISHED).exists():
        raise Conflict(f"A build of {definition} has not ended yet.", "Cancel it first.")
    with transaction.atomic(), gathered():
        _record(actor, "image.build", definition, f"delete build definition {definition}", ip)
        definition.delete()
        publish("builds")


def renew_hook(actor: User, definition: Definition, *, on: bool, ip: str | None = None) -> str:
    """Give the webhook a new secret, which is returned once, or switch it off. The old secret is dead at once.

    Whoever has the secret builds with the rights of the definition's owner.
    """
    require_every_name(actor, definition)
    if on:
        _refuse_narrowed(actor, "have no webhook's secret")
    secret = secrets.token_urlsafe(32) if on else ""
    with transaction.atomic():
        Definition.objects.filter(pk=definition.pk).update(hook_secret=seal(secret) if on else "")
        _record(actor, "image.build", definition, f"{'new webhook secret' if on else 'webhook off'}: {definition}", ip)
    return secret


def save_credential(actor: User, credential: Credential, *, ip: str | None = None) -> Credential:
    require(actor, "registry.manage", credential)
    with transaction.atomic():
        is_new = credential.pk is None
        credential.created_by = credential.created_by or actor.display
        credential.save()
        _record(actor, "registry.manage", credential, f"{'add' if is_new else 'change'} credential {credential}", ip)
    return credential


def delete_credential(actor: User, credential: Credential, *, ip: str | None = None) -> None:
    """Raises Conflict that names those of the definitions which use it that `actor` may see."""
    require(actor, "registry.manage", credential)
    users = users_of(credential)
    if users:
        seen = ", ".join(str(each) for each in users if allows(actor, "image.see", each))
        raise Conflict(
            f"The credential {credential} is used by {seen}." if seen else f"The credential {credential} is in use.",
            "Take it out of there first.",
        )
    with transaction.atomic(), gathered():
        _record(actor, "registry.manage", credential, f"delete credential {credential}", ip)
        credential.delete()


def users_of(credential: Credential) -> list[Definition]:
    """The definitions that name it."""
    return users_by_name().get(credential.name, [])


def users_by_name() -> dict[str, list[Definition]]:
    """Of each credential that a definition names: those definitions."""
    found: dict[str, list[Definition]] = {}
    for each in Definition.objects.select_related("host", "image_name"):
        source, options = Source.of_json(each.source), Options.of_json(each.options)
        for name in {source.credential, *options.secrets, *options.logins}:
            found.setdefault(name, []).append(each)
    return found


def _record(actor: User, verb: str, target: Definition | Credential, detail: str, ip: str | None) -> None:
    record(actor, verb, **about(target), detail=detail, ip=ip)
