"""Tokens: how they look, how they are made, judged and ended.

    gantry_pat_ (a person's) or gantry_svc_ (a service account's), 43 letters and digits, 6 more that check them

The whole is `TOKEN`, for secret scanners too. What checks is a CRC32 of all before it: a scanner, and Gantry, can tell
a token from text that merely looks like one without asking anybody. It is no secret; the 256 bits before it are.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from controlplane.access.decide import allows, one_of
from controlplane.access.giving import EVERYTHING, extents_of_person, require_to_give
from controlplane.access.models import Grant, Role, Token, User, hash_token
from controlplane.access.naming import cover_again
from controlplane.access.patterns import EVERY_REPOSITORY, EVERY_TAG
from controlplane.access.second_factor import lacks_second_factor
from controlplane.lib.errors import Conflict, InvalidArgument, Withheld

PERSON, SERVICE = "gantry_pat_", "gantry_svc_"
TOKEN = re.compile(r"gantry_(?:pat|svc)_[0-9A-Za-z]{49}")
SECRET_LENGTH, CHECK_LENGTH = 43, 6  # 62**43 > 2**256; 62**6 > 2**32
LONGEST_LIFE = {PERSON: timedelta(days=366), SERVICE: timedelta(days=3 * 366)}
MOST_LIVE = 50  # tokens of one owner
MOST_ADDRESSES = 32
NOTED_EVERY = timedelta(minutes=1)
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Narrowing:
    """What a token keeps of its owner's rights: a role, over environments (None: every one) and names of images."""

    role: Role
    environments: Sequence[int] | None = None  # ids
    repositories: Sequence[str] = EVERY_REPOSITORY
    tags: Sequence[str] = EVERY_TAG


@dataclass(frozen=True)
class Wanted:
    """A token to be made."""

    name: str
    expires_at: datetime
    addresses: Sequence[str] = field(default_factory=list)
    narrowing: Narrowing | None = None


def fresh(prefix: str) -> str:
    body = prefix + _base62(secrets.randbits(256), SECRET_LENGTH)
    return body + _check(body)


def is_wellformed(text: str) -> bool:
    """Whether it has the shape of a token, its check included."""
    return bool(TOKEN.fullmatch(text)) and _check(text[:-CHECK_LENGTH]) == text[-CHECK_LENGTH:]


def _check(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = ""
    for _ in range(length):
        number, rest = divmod(number, 62)
        digits = _DIGITS[rest] + digits
    return digits


def manages(actor: User) -> bool:
    """Whether `actor` manages access over everything."""
    return allows(actor, "access.manage", EVERYTHING)


def may_see_to(actor: User, owner: User) -> bool:
    """Whether `actor` may make tokens of `owner`: their own, those of a service account they see to, and whoever
    manages access those of any service account."""
    if not owner.is_service:
        return actor.pk == owner.pk and not actor.is_narrowed
    return services_of(actor).filter(pk=owner.pk).exists()


def may_end(actor: User, token: Token) -> bool:
    """Whether `actor` may revoke `token`."""
    return token == actor.token or may_see_to(actor, token.owner) or manages(actor)


def services_of(actor: User) -> QuerySet[User]:
    """The service accounts that `actor` sees to. A narrowed token has none of those of its owner."""
    return User.objects.filter(is_service=True) if manages(actor) else _own_services(actor)


def _own_services(actor: User) -> QuerySet[User]:
    every = User.objects.filter(is_service=True)
    if actor.is_narrowed:
        return every.none()
    return every.filter(Q(responsible=actor.pk) | Q(responsible_team__in=actor.teams.values("pk")))


def seen_by(actor: User) -> QuerySet[Token]:
    """The tokens that `actor` may see: their own, those of their services; who manages access, all."""
    every = Token.objects.select_related("owner")
    if manages(actor):
        return every
    own = Q(pk=actor.token.pk) if actor.token else Q(pk__in=[])
    if not actor.is_narrowed:
        own |= Q(owner=actor.pk) | Q(owner__in=services_of(actor).values("pk"))
    return every.filter(own)


def get_token(actor: User, pk: int) -> Token:
    """One that `actor` may see. Raises NotSeen."""
    return one_of(seen_by(actor), "access.manage", pk=pk)


def get_service(actor: User, pk: int) -> User:
    """A service account that `actor` sees to. Raises NotSeen."""
    rows = services_of(actor).select_related("responsible", "responsible_team")
    return one_of(rows, "access.manage", pk=pk, is_service=True)


@transaction.atomic
def issue(actor: User, owner: User, wanted: Wanted) -> tuple[Token, str]:
    """A new token of `owner`; the secret is returned once. Raises Withheld, RightMissing, InvalidArgument, Conflict.

    A token makes none for a person: it would outlive its own end and its own limits. Who manages access, but does not
    see to the service account, must have what it gives.
    """
    if not may_see_to(actor, owner) or (actor.token is not None and not owner.is_service):
        raise Withheld(
            "access.token",
            f"You may make no token of {owner.display}.",
            "One makes one's own on the page of one's account; those of a service account, whoever sees to it.",
            target=owner,
        )
    if owner.is_service and not _own_services(actor).filter(pk=owner.pk).exists():
        require_to_give(actor, extents_of_person(owner))
    prefix = SERVICE if owner.is_service else PERSON
    now = timezone.now()
    if not now < wanted.expires_at <= now + LONGEST_LIFE[prefix]:
        raise InvalidArgument(f"Expected an end within {LONGEST_LIFE[prefix].days} days, and not in the past.")
    if owner.tokens.live().count() >= MOST_LIVE:
        raise Conflict(f"{owner.display} has {MOST_LIVE} tokens already.", "Revoke those that are not used any more.")
    secret = fresh(prefix)
    try:
        with transaction.atomic():
            token = Token.objects.create(
                owner=owner,
                name=wanted.name,
                token_hash=hash_token(secret),
                hint=secret[: len(prefix) + 4],
                is_narrowed=wanted.narrowing is not None,
                addresses=list(wanted.addresses),
                created_by=actor,
                expires_at=wanted.expires_at,
            )
    except IntegrityError as exc:
        raise Conflict(f"{owner.display} has a token “{wanted.name}” already.", "Choose another name.") from exc
    if wanted.narrowing is not None:
        _narrow(token, wanted.narrowing, actor)
    return token, secret


def _narrow(token: Token, to: Narrowing, actor: User) -> None:
    grant = Grant.objects.create(
        token=token,
        role=to.role,
        every_environment=to.environments is None,
        repositories=list(to.repositories),
        tags=list(to.tags),
        created_by=actor,
    )
    grant.environments.set(to.environments or ())
    cover_again(grant)


@transaction.atomic
def revoke(token: Token) -> bool:
    """End it for good; False when it had been already. What is open by it ends within seconds."""
    return Token.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()) == 1


def parse_addresses(text: str) -> list[str]:
    """Networks, parted by spaces, commas or lines, in their plain form. Raises InvalidArgument with the one that is
    none."""
    found = []
    for each in re.split(r"[\s,]+", text.strip()) if text.strip() else []:
        try:
            found.append(str(ipaddress.ip_network(each)))
        except ValueError as exc:
            raise InvalidArgument(
                f"Expected an address or a network, such as 192.0.2.7 or 10.0.0.0/8, found “{each[:60]}”."
            ) from exc
    if len(found) > MOST_ADDRESSES:
        raise InvalidArgument(f"Expected at most {MOST_ADDRESSES} networks, found {len(found)}.")
    return list(dict.fromkeys(found))


def comes_from(token: Token, ip: str | None) -> bool:
    """Whether it may be used from there."""
    if not token.addresses:
        return True
    try:
        address = ipaddress.ip_address(ip or "")
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in ipaddress.ip_network(each) for each in token.addresses)


class Refused(Exception):
    """A token that is not let in. `why` is for the audit trail: whoever holds it is told the same for all."""

    def __init__(self, why: str, token: Token | None = None) -> None:
        super().__init__(why)
        self.why, self.token = why, token


class SecondFactorMissing(Refused):
    """A good token of somebody whose role asks for a second factor that they have not set up. They are told."""


def user_of(text: str, ip: str | None) -> User:
    """The owner of the token `text`, speaking by it (`user.token`). Raises Refused."""
    hashed = hash_token(text)
    found = Token.objects.select_related("owner").filter(token_hash=hashed).first() if is_wellformed(text) else None
    if found is None or not hmac.compare_digest(found.token_hash, hashed):
        raise Refused("unknown token")
    return _let_in(found, ip)


def still_good(token: Token, ip: str | None) -> User:
    """The owner once more, as things are now. Raises Refused."""
    found = Token.objects.select_related("owner").filter(pk=token.pk).first()
    if found is None:
        raise Refused("the token is gone")
    return _let_in(found, ip)


def _let_in(token: Token, ip: str | None) -> User:
    owner = token.owner
    if not token.is_live:
        raise Refused(f"{token.state} token", token)
    if not owner.is_active:
        raise Refused("token of a deactivated account", token)
    if not comes_from(token, ip):
        raise Refused("token from an address that it is not for", token)
    if lacks_second_factor(owner):
        raise SecondFactorMissing("token of somebody without the second factor that is asked of them", token)
    owner.token = token
    return owner


def note_use(token: Token, ip: str | None) -> None:
    """Write down when and from where it was used; at most once a minute."""
    now = timezone.now()
    if token.last_used_at is not None and token.last_used_at > now - NOTED_EVERY:
        return
    due = Q(last_used_at=None) | Q(last_used_at__lte=now - NOTED_EVERY)
    Token.objects.filter(due, pk=token.pk).update(last_used_at=now, last_used_from=ip)
