"""The page that says why: right, and telling nobody of what they may not see."""

from __future__ import annotations

from typing import Any

import pytest

from containers.models import Container
from controlplane.access.models import Role, User
from controlplane.operations.models import AuditEntry, Outcome
from hosts.models import Environment, Host
from images.models import ImageTag
from tests.granting.conftest import Shop
from tests.granting.test_grant_pages import text

pytestmark = pytest.mark.django_db


def ask(shop: Shop, asker: User, who: User, verb: str, kind: str = "container", **more: object) -> str:
    query: dict[str, Any] = {"user": who.pk, "verb": verb, "kind": kind, **more}
    answer = shop.browser(asker).get("/access/why/", query)
    assert answer.status_code == 200
    return text(answer)


def container(shop: Shop, reference: str, environment: Environment) -> Container:
    return Container.objects.get(image_ref=reference, host__environment=environment)


def test_it_names_the_grant_or_what_is_missing(shop: Shop) -> None:
    shop.team.members.add(shop.bob)
    grant = shop.grant(shop.team, "developer", shop.staging, repositories="shop/*", tags="dev-*")
    page = ask(shop, shop.ada, shop.bob, "container.exec", object=container(shop, "shop/web:dev-1", shop.staging).pk)
    assert "the grant of Developer to the team Shop team gives it." in page
    assert f"/access/grants/{grant.pk}/" in page
    page = ask(shop, shop.ada, shop.bob, "container.exec", object=container(shop, "shop/web:v1", shop.staging).pk)
    assert "the tag v1 is not covered by dev-*." in page
    tag = ImageTag.objects.get(reference="nginx:1", host__environment=shop.staging)
    page = ask(shop, shop.ada, shop.bob, "image.pull", "image", object=tag.pk)
    assert "the repository docker.io/library/nginx is not covered by shop/*." in page
    host = Host.objects.get(environment=None)
    assert "it holds in Staging alone." in ask(shop, shop.ada, shop.bob, "host.see", "host", object=host.pk)
    assert "bob may read logs (container.logs)" in ask(shop, shop.ada, shop.bob, "container.logs", "")
    assert "bob may not manage people" in ask(shop, shop.ada, shop.bob, "access.manage", "")
    assert "ada may" in ask(shop, shop.ada, shop.ada, "access.manage", "")


@pytest.mark.parametrize("more", [{}, {"object": 0}, {"object": "9" * 5000}, {"object": "x"}, {"verb": "moon.land"}])
def test_a_question_that_is_not_whole_is_asked_again(shop: Shop, more: dict[str, object]) -> None:
    assert "Ask a question" in ask(shop, shop.ada, shop.bob, **({"verb": "container.exec"} | more))  # type: ignore[arg-type]


def test_a_person_has_a_page_for_whoever_may_ask_of_them(shop: Shop) -> None:
    page = f"/access/people/{shop.bob.pk}/"
    assert shop.browser(shop.ada).get(page).status_code == 200
    assert shop.browser(shop.sue).get(page).status_code == 404
    entry = AuditEntry.objects.latest("seq")
    assert (entry.outcome, entry.actor, entry.target_id) == (Outcome.REFUSED, shop.sue, str(shop.bob.pk))
    shop.grant(shop.bob, "viewer", shop.staging)
    assert shop.browser(shop.sue).get(page).status_code == 200


def test_nothing_is_found_that_the_asker_may_not_see_or_manage(shop: Shop) -> None:
    Role.objects.create(name="Sees", slug="sees", verbs=["container.see", "image.see", "host.see"])
    shop.grant(shop.sue, "sees", shop.live)  # sees it, does not manage it
    shop.grant(shop.bob, "sees", shop.staging)
    for kind, rows in (
        ("container", Container.objects.all()),
        ("image", ImageTag.objects.exclude(reference="")),
        ("host", Host.objects.all()),
    ):
        page = ask(shop, shop.sue, shop.bob, "container.exec", kind)
        for row in rows:
            host = row if isinstance(row, Host) else row.host
            name = row.name if isinstance(row, Host) else row.image_ref if isinstance(row, Container) else row.reference
            mine = host.environment == shop.staging and (kind == "host" or name.startswith("shop/"))
            assert (f'value="{row.pk}"' in page.partition('id="things"')[2].partition("</fieldset>")[0]) == mine
            answered = "Ask a question" not in ask(shop, shop.sue, shop.bob, "container.exec", kind, object=row.pk)
            assert answered == mine
    found = ask(shop, shop.sue, shop.bob, "container.exec", q="host-Production")
    assert "Nothing fits." in found


def test_grants_beyond_what_one_manages_are_not_told(shop: Shop) -> None:
    target = container(shop, "shop/web:dev-1", shop.staging)
    beyond = shop.grant(shop.bob, "developer", repositories="shop/*")
    page = ask(shop, shop.sue, shop.bob, "container.exec", object=target.pk)
    assert "bob may, by a grant that reaches beyond what you manage." in page
    assert f"/access/grants/{beyond.pk}/" not in page
    page = ask(shop, shop.sue, shop.bob, "container.secrets", object=target.pk)
    assert "Developer" not in page.partition('id="answer"')[2]
