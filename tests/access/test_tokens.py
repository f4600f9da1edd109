"""Tokens: their shape, who makes them, where and how long they are good, and that none holds more than its owner."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from datetime import timedelta
from itertools import product

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from containers.models import Container
from controlplane.access import tokens
from controlplane.access.actions import set_active
from controlplane.access.decide import allows, visible
from controlplane.access.models import Grant, Role, Standing, Team, Token, User, hash_token
from controlplane.access.naming import cover_again, intern_one
from controlplane.access.rights import forget
from controlplane.access.roles import ALL_VERBS, OWNER_VERBS
from controlplane.access.tokens import Narrowing, Refused, Wanted
from controlplane.lib.errors import Conflict, Forbidden, InvalidArgument
from controlplane.operations.models import Operation
from hosts.models import Environment, Host

pytestmark = pytest.mark.django_db
SOON = timedelta(hours=1)


def make(owner: User, name: str = "t", *, by: User | None = None, **said: object) -> tuple[Token, str]:
    wanted = Wanted(name, said.pop("expires_at", timezone.now() + SOON), **said)  # type: ignore[arg-type]
    return tokens.issue(by or owner, owner, wanted)


def narrowed(owner: User, role: str = "developer", **over: object) -> User:
    """The owner, speaking by a token that is narrowed."""
    narrowing = Narrowing(Role.objects.get(slug=role), **over)  # type: ignore[arg-type]
    _, secret = make(owner, f"narrow {Token.objects.count()}", narrowing=narrowing)
    return tokens.user_of(secret, None)


def why(secret: str, ip: str | None = None) -> str:
    with pytest.raises(Refused) as caught:
        tokens.user_of(secret, ip)
    return caught.value.why


def test_a_scanner_can_know_it_and_only_the_hash_is_kept(ada: User) -> None:
    token, secret = make(ada)
    assert tokens.TOKEN.fullmatch(secret)
    number = sum(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".index(c) * 62**n
        for n, c in enumerate(secret[:-7:-1])
    )
    assert number == zlib.crc32(secret[:-6].encode())
    assert secret.startswith("gantry_pat_")
    kept = Token.objects.filter(pk=token.pk).values().get()
    assert kept["token_hash"] == hash_token(secret)
    assert secret not in str(kept)
    assert len({tokens.fresh(tokens.PERSON) for _ in range(100)}) == 100


def test_what_merely_looks_like_one_costs_no_query(ada: User) -> None:
    _, secret = make(ada)
    swapped = secret[:20] + ("A" if secret[20] != "A" else "B") + secret[21:]
    with CaptureQueriesContext(connection) as found:
        for text in (swapped, secret[:-1], secret + "0", "gantry_pat_", "", "é" * 60, secret.replace("pat", "svc")):
            assert why(text) == "unknown token"
    assert not found


def test_it_speaks_for_its_owner(ada: User) -> None:
    token, secret = make(ada)
    user = tokens.user_of(secret, "192.0.2.1")
    assert (user, user.token) == (ada, token)
    assert allows(user, "access.manage")


def test_it_ends(ada: User, vic: User) -> None:
    token, secret = make(vic)
    assert tokens.revoke(token)
    assert not tokens.revoke(token)
    assert why(secret) == "revoked token"
    expired, second = make(vic)
    Token.objects.filter(pk=expired.pk).update(expires_at=timezone.now())
    assert why(second) == "expired token"
    _, third = make(vic, "third")
    set_active(vic, False)
    assert why(third) == "token of a deactivated account"


def test_a_token_that_ended_leaves_its_owner_nothing(ada: User) -> None:
    """Whoever kept it in memory, as a long operation does."""
    user = tokens.user_of(make(ada)[1], None)
    assert user.token is not None
    user.token.revoked_at = timezone.now()
    forget(user)
    assert not any(allows(user, verb) for verb in ALL_VERBS)


@pytest.mark.parametrize(
    ("ip", "good"),
    [("192.0.2.7", True), ("192.0.3.7", False), ("::ffff:192.0.2.7", True), ("2001:db8::5", True), (None, False)],
)
def test_it_comes_from_where_it_may(ada: User, ip: str | None, good: bool) -> None:
    _, secret = make(ada, addresses=["192.0.2.0/24", "2001:db8::/64"])
    if good:
        assert tokens.user_of(secret, ip) == ada
    else:
        assert why(secret, ip) == "token from an address that it is not for"


def test_addresses_are_read() -> None:
    assert tokens.parse_addresses("10.0.0.0/8, 192.0.2.7\n::1") == ["10.0.0.0/8", "192.0.2.7/32", "::1/128"]
    for text in ("10.0.0.1/8", "x", "10.0.0.0/33"):
        with pytest.raises(InvalidArgument, match="Expected an address"):
            tokens.parse_addresses(text)


def test_its_end_lies_within_a_year(ada: User) -> None:
    for days in (0, -1, 367):
        with pytest.raises(InvalidArgument, match="366 days"):
            make(ada, expires_at=timezone.now() + timedelta(days=days))


def test_one_name_is_given_once(ada: User) -> None:
    token, _ = make(ada)
    with pytest.raises(Conflict, match="already"):
        make(ada)
    tokens.revoke(token)
    make(ada)


def test_its_last_use_is_written_once_a_minute(ada: User) -> None:
    token, _ = make(ada)
    tokens.note_use(token, "192.0.2.1")
    tokens.note_use(token, "192.0.2.2")  # as a second process, which has read the row before
    token.refresh_from_db()
    assert token.last_used_from == "192.0.2.1"
    with CaptureQueriesContext(connection) as found:
        tokens.note_use(token, "192.0.2.3")
    assert not found
    Token.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
    token.refresh_from_db()
    tokens.note_use(token, "192.0.2.3")
    token.refresh_from_db()
    assert token.last_used_from == "192.0.2.3"


# --- Narrower than its owner ---


@pytest.fixture
def mia(db: None) -> User:
    """A developer of shop/* in one environment."""
    user = User.objects.create(username="mia", standing=Standing.MEMBER)
    environment = Environment.objects.create(name="East", slug="east")
    Environment.objects.create(name="West", slug="west")
    for slug, reference in product(("east", "west"), ("shop/web:dev-1", "shop/db:v1", "other:dev-1")):
        place = Environment.objects.get(slug=slug)
        host, _ = Host.objects.get_or_create(name=slug, defaults={"environment": place})
        name = intern_one(reference)
        Container.objects.create(host=host, engine_id=reference, name="c", image_ref=reference, image_name_id=name)
    grant = Grant.objects.create(user=user, role=Role.objects.get(slug="developer"), repositories=["shop/*"])
    grant.environments.set([environment])
    cover_again(grant)
    return user


SCOPES: list[dict[str, object]] = [
    {},
    {"repositories": ["shop/web"]},
    {"repositories": ["**"], "tags": ["dev-*"]},
    {"repositories": ["other"]},
]


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("role", ["viewer", "developer", "administrator"])
def test_a_token_never_gives_what_its_owner_lacks(mia: User, role: str, scope: dict[str, object]) -> None:
    by_token = narrowed(mia, role, **scope)
    for verb in ALL_VERBS:
        own = set(visible(mia, verb, Container.objects.all()))
        found = set(visible(by_token, verb, Container.objects.all()))
        assert found <= own
        assert found == {each for each in Container.objects.all() if allows(by_token, verb, each)}


def test_it_gives_what_both_give(mia: User) -> None:
    def seen(user: User) -> list[str]:
        return sorted(each.image_ref for each in visible(user, "container.exec", Container.objects.all()))

    assert seen(mia) == ["shop/db:v1", "shop/web:dev-1"]
    assert seen(narrowed(mia, tags=["dev-*"])) == ["shop/web:dev-1"]
    assert seen(narrowed(mia, "viewer")) == []
    assert seen(narrowed(mia, environments=[Environment.objects.get(slug="west").pk])) == []
    assert seen(tokens.user_of(make(mia)[1], None)) == seen(mia)


def test_a_narrowed_token_whose_grant_is_gone_gives_nothing(mia: User) -> None:
    by_token = narrowed(mia)
    Grant.objects.filter(token=by_token.token).delete()
    forget(by_token)
    assert not visible(by_token, "container.see", Container.objects.all()).exists()


def test_its_own_operations_are_seen_and_not_its_owners_others(mia: User) -> None:
    by_token = narrowed(mia, repositories=["shop/web"])
    asked = {"kind": "bulk", "title": "t", "actor": mia}
    by_it = Operation.objects.create(token=by_token.token, **asked)
    by_hand = Operation.objects.create(**asked)
    assert set(visible(by_token, "operation.see", Operation.objects.all())) == {by_it}
    assert allows(by_token, "operation.see", by_it)
    assert not allows(by_token, "operation.see", by_hand)
    assert {by_it, by_hand} <= set(visible(mia, "operation.see", Operation.objects.all()))
    assert "operation.see" in OWNER_VERBS


def test_what_runs_later_runs_with_no_more(mia: User) -> None:
    by_token = narrowed(mia, repositories=["shop/web"])
    operation = Operation.objects.create(kind="image.build", title="t", actor=mia, token=by_token.token)
    asker = Operation.objects.get(pk=operation.pk).asker
    assert asker is not None
    db = Container.objects.get(image_ref="shop/db:v1", host__name="east")
    assert not allows(asker, "container.see", db)
    assert allows(mia, "container.see", db)


def test_what_runs_ends_with_the_token(mia: User) -> None:
    """The operation was read before: what is asked again is asked of the token as it is then."""
    by_token = narrowed(mia, repositories=["shop/web"])
    operation = Operation.objects.create(kind="container.run", title="t", actor=mia, token=by_token.token)
    web = Container.objects.filter(image_ref="shop/web:dev-1").first()

    def may() -> bool:
        asker = operation.asker
        return asker is not None and allows(asker, "container.see", web)

    assert may()
    tokens.revoke(Token.objects.get(pk=operation.token_id))
    assert not may()


def test_what_runs_by_a_token_that_is_removed_is_nobodys(mia: User) -> None:
    token, _ = make(mia)
    operation = Operation.objects.create(kind="container.run", title="t", actor=mia, token=token)
    Token.objects.filter(pk=token.pk).delete()
    assert operation.asker is None, "not its owner's, who may do more"


def test_a_grant_has_one_holder(mia: User) -> None:
    token, _ = make(mia)
    with pytest.raises(IntegrityError):
        Grant.objects.create(user=mia, token=token, role=Role.objects.get(slug="viewer"))


# --- Who makes them ---


@pytest.fixture
def service(db: None) -> User:
    return User.objects.create(username="deployer", is_service=True)


Sees = Callable[[User, User], None]


def _by_person(service: User, user: User) -> None:
    service.responsible = user


def _by_team(service: User, user: User) -> None:
    team = Team.objects.create(name="t", slug="t")
    team.members.add(user)
    service.responsible_team = team


@pytest.mark.parametrize("sees", [_by_person, _by_team])
def test_who_sees_to_a_service_account_makes_its_tokens(service: User, vic: User, mia: User, sees: Sees) -> None:
    sees(service, vic)
    service.save()
    token, secret = make(service, by=vic)
    assert secret.startswith("gantry_svc_")
    assert tokens.user_of(secret, None) == service
    assert list(tokens.seen_by(vic)) == [token]
    with pytest.raises(Forbidden):
        make(service, "other", by=mia)
    assert not tokens.seen_by(mia).exists()
    assert not tokens.may_end(mia, token)


def test_nobody_makes_a_token_of_somebody_else(ada: User, vic: User) -> None:
    with pytest.raises(Forbidden):
        make(vic, by=ada)


def test_a_token_makes_no_token_for_a_person(ada: User) -> None:
    for by_token in (tokens.user_of(make(ada, "whole")[1], None), narrowed(ada, "administrator")):
        with pytest.raises(Forbidden):
            make(ada, "longer", by=by_token)


def test_a_narrowed_token_sees_itself_and_none_of_its_owners_services(service: User, mia: User) -> None:
    service.responsible = mia
    service.save()
    make(service, by=mia)
    by_token = narrowed(mia)
    assert list(tokens.seen_by(by_token)) == [by_token.token]
    with pytest.raises(Forbidden):
        make(service, "more", by=by_token)


def test_an_administrator_sees_and_ends_all(ada: User, vic: User) -> None:
    token, _ = make(vic)
    assert tokens.may_end(ada, token)
    assert token in tokens.seen_by(ada)


def test_a_service_account_is_no_administrator(service: User) -> None:
    service.standing = Standing.ADMINISTRATOR
    with pytest.raises(IntegrityError):
        service.save()
