"""What starts builds without a person: a webhook, a schedule, a new base image; with the rights of their owner."""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser
from django.core.cache import cache
from django.db.models import Q
from django.utils import timezone
from redis.exceptions import RedisError

from controlplane.access.decide import visible
from controlplane.lib.errors import Conflict, Forbidden, GantryError, InvalidArgument, RightMissing, Unavailable
from controlplane.lib.references import parse
from controlplane.lib.seal import seal, unseal
from controlplane.operations import refusals
from controlplane.operations.models import Operation, Outcome
from hosts.engine import engine_for, segment
from hosts.models import Host, HostState
from images.builds import actions, credentials, schedules
from images.builds.asked import GIT, Options, Source
from images.builds.dockerfile import read
from images.builds.models import Build, Definition, Trigger

log = logging.getLogger(__name__)

REMEMBERED_SECONDS = 24 * 3600
_COMMIT = re.compile(r"(?!0+\Z)([0-9a-f]{40}|[0-9a-f]{64})")


def start(
    definition: Definition, trigger: str, *, commit: str = "", branch: str = "", ip: str | None = None
) -> Operation:
    """Start a build in the owner's name; when it cannot be, write down why and raise GantryError."""
    try:
        owner = definition.owner
        if owner is None or not owner.is_active:
            raise Conflict(
                f"Whoever saved {definition} last may not sign in any more.", "Save it again, in your own name."
            )
        operation = actions.start_defined(owner, definition, trigger=trigger, commit=commit, branch=branch, ip=ip)
    except GantryError as exc:
        # Whoever sees the definition by one of its names is not told the others.
        why = f"Its owner lacks the right “{exc.verb}”." if isinstance(exc, RightMissing) else exc.message
        refused(definition, f"{Trigger(trigger).label}: {why}")
        refusals.note(definition.owner or AnonymousUser(), exc, f"{Trigger(trigger).label} of {definition}")
        raise
    Definition.objects.filter(pk=definition.pk).update(refused_at=None, refused_why="")
    return operation


def refused(definition: Definition, why: str) -> None:
    Definition.objects.filter(pk=definition.pk).update(refused_at=timezone.now(), refused_why=why[:500])


@dataclass(frozen=True)
class Push:
    """What a git server says of a push; `branch` without refs/heads/, "" for a tag; `default` is HEAD's."""

    branch: str
    commit: str
    default: str = ""


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> None:
    """Raise Forbidden unless `body` was signed with `secret`, in GitHub's, Gitea's or GitLab's manner.

    X-Hub-Signature-256 (also Gitea's and Forgejo's), X-Gitea-Signature: HMAC-SHA256 of the body in hex. GitLab signs
    nothing and sends the secret itself, in X-Gitlab-Token.
    """
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    signature = headers.get("X-Hub-Signature-256", "").removeprefix("sha256=") or headers.get("X-Gitea-Signature", "")
    if signature:
        good = hmac.compare_digest(signature.lower().encode(), expected.encode())
    else:
        good = hmac.compare_digest(headers.get("X-Gitlab-Token", "").encode(), secret.encode())
    if not good:
        raise Forbidden("The signature is missing or wrong.", "Give the git server the secret shown at this webhook.")


def refuse_twice(definition: Definition, body: bytes, headers: Mapping[str, str]) -> str:
    """The key it is remembered by. Raises Conflict for one taken before: servers repeat what they think lost."""
    ident = headers.get("X-GitHub-Delivery") or headers.get("X-Gitea-Delivery") or headers.get("X-Gitlab-Event-UUID")
    digest = hashlib.sha256((ident or "").encode() + b"\0" + body).hexdigest()
    key = f"builds:hook:{definition.pk}:{digest}"
    try:
        fresh = cache.add(key, 1, REMEMBERED_SECONDS)
    except (RedisError, OSError) as exc:
        raise Unavailable("Redis is away, where deliveries are remembered.", "Deliver it again.") from exc
    if not fresh:
        raise Conflict("This very delivery was taken before.")
    return key


def pushed(body: bytes) -> Push | None:
    """The push a delivery tells of; None for one that tells of something else (a ping, a deleted branch).

    Raises InvalidArgument.
    """
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise InvalidArgument(
            "Expected JSON, found something else.", "Choose the content type application/json."
        ) from exc
    if not isinstance(said, dict) or not isinstance(ref := said.get("ref"), str):
        return None
    commit = said.get("checkout_sha") or said.get("after")
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        return None
    about = said.get("repository") if isinstance(said.get("repository"), dict) else said.get("project")
    default = about.get("default_branch") if isinstance(about, dict) else ""
    branch = ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else ""
    return Push(branch, commit, default if isinstance(default, str) else "")


@functools.cache
def _nobodys() -> str:
    """A sealed secret that nobody knows: a name without a webhook is refused by the same steps, in the same time."""
    return seal(secrets.token_hex(32))


def hooked(slug: str, headers: Mapping[str, str], body: bytes, ip: str | None) -> Operation | str:
    """The build a delivery starts, or why it starts none. Raises Forbidden, Conflict, InvalidArgument …

    Whether there is such a webhook at all is not told: a wrong signature and a wrong name look alike.
    """
    definition = Definition.objects.filter(slug=slug).exclude(hook_secret="").select_related("owner").first()
    try:
        verify(unseal(definition.hook_secret if definition else _nobodys()), headers, body)
        if definition is None:  # nobody can have signed with a secret made here
            raise Forbidden("The signature is missing or wrong.")
    except Forbidden as exc:
        outcome = Outcome.REFUSED if definition else Outcome.MISSING
        said: dict[str, Any] = {"target_kind": "definition", "target_id": slug, "target_name": str(definition or "")}
        refusals.refused(AnonymousUser(), "image.build", outcome=outcome, detail=exc.message, ip=ip, **said)
        raise
    push = pushed(body)
    if push is None:
        return "nothing was pushed"
    source = Source.of_json(definition.source)
    wanted = source.ref.removeprefix("refs/heads/") or push.default
    if source.kind == GIT and (not push.branch or push.branch != wanted):
        return f"{definition} builds {wanted or 'the default branch, which the delivery does not name'}"
    key = refuse_twice(definition, body, headers)
    try:
        return start(definition, Trigger.WEBHOOK, commit=push.commit, branch=push.branch, ip=ip)
    except BaseException:
        cache.delete(key)  # delivered again, it may go well
        raise


def start_due() -> None:
    """Start what its schedule says. The next time is written first, and only one worker can write it."""
    now = timezone.now()
    for definition in Definition.objects.filter(next_run_at__lte=now).select_related("owner"):
        due = Definition.objects.filter(pk=definition.pk, next_run_at=definition.next_run_at)
        try:
            following = schedules.next_time(definition.schedule, now)
        except InvalidArgument as exc:
            refused(definition, exc.message)
            following = None
        if due.update(next_run_at=following) == 1 and following:
            _quietly(definition, Trigger.SCHEDULE)


def _quietly(definition: Definition, trigger: str) -> bool:
    """Whether it was started."""
    try:
        start(definition, trigger)
    except GantryError as exc:
        log.warning("%s was not built (%s): %s", definition, trigger, exc)
        return False
    return True


def look_at_bases() -> None:
    """Ask the registries what the base images' names mean now; build again what stands on another one."""
    for definition in Definition.objects.filter(follows_base=True).select_related("owner"):
        before = dict(definition.base_digests)
        try:
            found = async_to_sync(_digests)(*_asking(definition))
        except GantryError as exc:
            row = {"base_looked_at": timezone.now(), "base_trouble": exc.message[:500]}
            Definition.objects.filter(pk=definition.pk).update(**row)
            continue
        same = Definition.objects.filter(pk=definition.pk, base_digests=before)
        if same.update(base_digests=found, base_looked_at=timezone.now(), base_trouble="") != 1:
            continue
        changed = any(name in before and before[name] != digest for name, digest in found.items())
        if changed and not _quietly(definition, Trigger.BASE):
            Definition.objects.filter(pk=definition.pk).update(base_digests=before)  # seen again at the next look


def _asking(definition: Definition) -> tuple[Host, list[str], dict[str, dict[str, str]]]:
    """A host to ask through, the bases' references, and registries' logins. Raises GantryError.

    It is asked in the owner's name, so through a host on which they build, and by what those hold.
    """
    source, options = Source.of_json(definition.source), Options.of_json(definition.options)
    last = Build.objects.filter(definition=definition).exclude(dockerfile="").first()
    text = last.dockerfile if last else source.dockerfile
    if not text:
        raise Conflict("It has not been built yet, so its base images are not known.")
    if definition.owner is None:
        raise Conflict(f"Whoever saved {definition} last has been removed.", "Save it again, in your own name.")
    connected = Host.objects.filter(state=HostState.CONNECTED).exclude(engine_kind="podman")
    able = visible(definition.owner, "image.build", connected)
    wanted = Q(pk=last.operation.host_id) if last else Q(pk=options.host)
    host = able.filter(wanted).first() or able.first()
    if host is None:
        raise Unavailable("No host is connected that can ask a registry (Podman’s API cannot).")
    return host, read(text).bases, credentials.logins(options, host)


async def _digests(host: Host, bases: list[str], logins: dict[str, dict[str, str]]) -> dict[str, str]:
    """{familiar reference: digest}; a base pinned by its digest cannot change and is not asked for."""
    found = {}
    async with engine_for(host) as engine:
        for text in bases:
            reference = parse(text)
            if not reference.digest:
                login = logins.get(reference.domain)
                headers = {"X-Registry-Auth": credentials.header(login)} if login else None
                path = f"/distribution/{segment(reference.familiar)}/json"
                answer = await engine.request("GET", path, headers=headers)
                found[reference.familiar] = _digest(answer)
    return found


def _digest(answer: object) -> str:
    """Of GET /distribution/NAME/json. Raises Unavailable for anything else."""
    described = answer.get("Descriptor") if isinstance(answer, dict) else None
    if not isinstance(described, dict) or not isinstance(digest := described.get("digest"), str):
        raise Unavailable("The host’s engine does not say which digest a name stands for.")
    return digest
