"""An administrator makes a team, grants it a role, sees beforehand what that covers, and asks why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect

from tests.conftest import need
from tests.support.netns import NetworkNamespace
from tests.support.redis import RedisServer
from tests.support.stage import SIGN_IN
from tests.support.web import Web

pytestmark = [pytest.mark.root, pytest.mark.redis_server, pytest.mark.browser]

SEED = """
from containers.models import Container
from controlplane.access.models import Team, User
from controlplane.access.naming import intern_one
from hosts.models import Environment, Host, HostState
from images.models import Image, ImageTag
User.objects.create_user("ada", password="a long enough word", standing="administrator")
User.objects.create_user("grace", password="a long enough word", first_name="Grace")
for slug in ("staging", "production"):
    environment = Environment.objects.get(slug=slug)
    host = Host.objects.create(name=f"{slug}-1", environment=environment, state=HostState.CONNECTED, public_key="k")
    for n, reference in enumerate(["shop/web:dev-1", "shop/web:v1", "shop/db:dev-1", "nginx:1"]):
        name = intern_one(reference)
        image = Image.objects.create(host=host, engine_id=f"sha256:{n}")
        ImageTag.objects.create(image=image, host=host, reference=reference, image_name_id=name)
        fields = {"engine_id": str(n), "name": f"box-{n}", "image_ref": reference, "state": "running"}
        Container.objects.create(host=host, image_name_id=name, **fields)
"""


@pytest.fixture
def site(desk: NetworkNamespace) -> Iterator[Web]:
    need(RedisServer.why_not())
    with Web(desk) as site:
        site.django(SEED)
        yield site


def is_complaint(message: ConsoleMessage) -> bool:
    """htmx calls it an error when a request is given up for the next one, as the preview does while one types."""
    return message.type == "error" and "htmx:" not in message.text


@pytest.fixture
def page(browser: Browser, site: Web) -> Iterator[Page]:
    context = browser.new_context(base_url=site.url, viewport={"width": 1280, "height": 900})
    session = site.django(SIGN_IN.format(name="ada")).splitlines()[-1]
    context.add_cookies([{"name": "gantry_session", "value": session, "url": site.url}])
    page = context.new_page()
    complaints: list[Any] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
    yield page
    context.close()
    assert complaints == []


def test_from_a_new_team_to_the_reason_why(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Access").click()
    page.get_by_role("link", name="Teams").click()
    page.get_by_label("Name").fill("Shop")
    page.get_by_role("button", name="Make the team").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Shop")
    page.get_by_label("Add", exact=True).select_option(label="Grace (grace)")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("[data-key^=member-]")).to_contain_text("Grace")

    page.get_by_role("link", name="New grant").click()
    expect(page.get_by_label("To", exact=True)).to_have_value("team:1")
    page.wait_for_load_state()  # a script follows what is chosen
    preview = page.locator("#preview")
    expect(preview).to_contain_text("Choose environments")
    page.get_by_label("Role", exact=True).select_option(label="Developer")
    page.get_by_label("Staging").check()
    expect(preview).to_contain_text("4 images")
    repositories = page.get_by_label("Repositories")
    repositories.press("Control+a")
    repositories.press_sequentially("shop/[")
    expect(page.locator("#said-repositories")).to_contain_text("Expected a pattern of repositories")
    repositories.press("Backspace")
    repositories.press_sequentially("*")
    expect(page.locator("#said-repositories")).to_be_empty()
    expect(repositories).to_have_value("shop/*")
    page.get_by_label("Tags").fill("dev-*")
    expect(preview).to_contain_text("2 images")
    expect(preview).to_contain_text("Repositories directly below shop on Docker Hub; tags that begin with dev-.")
    expect(preview).to_contain_text("box-0 on staging-1")
    page.get_by_role("button", name="Grant").click()
    expect(page.locator("#listing")).to_contain_text("Shop")
    expect(page.locator("#listing")).to_contain_text("dev-*")

    page.get_by_role("link", name="Why?").click()
    page.wait_for_load_state()  # the list is narrowed by a script
    page.get_by_label("Who").fill("grace")
    expect(page.locator("#people .thing")).to_have_count(1)
    page.locator("#people").get_by_label("Grace").check()
    page.get_by_label("Does what").select_option("container.exec")
    page.get_by_label("Find it").fill("staging web")
    expect(page.locator("#things .thing")).to_have_count(2)
    page.get_by_label("box-0").check()
    answer = page.locator("#answer")
    expect(answer).to_contain_text("Grace may open terminals in containers")
    expect(answer).to_contain_text("the grant of Developer to the team Shop gives it")
    page.get_by_label("box-1").check()
    expect(answer).to_contain_text("the tag v1 is not covered by dev-*")
    page.reload()
    expect(answer).to_contain_text("the tag v1 is not covered by dev-*")

    page.get_by_role("link", name="Grants").click()
    page.locator("#listing").get_by_role("link", name="Shop").click()
    page.get_by_role("button", name="Remove the grant").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("It takes Developer from 1 person")
    expect(dialog).to_contain_text("Grace")
    dialog.get_by_role("button", name="Remove").click()
    expect(page.locator("#listing")).to_contain_text("Nothing is granted yet")


def test_a_button_that_is_pressed_before_the_scripts_have_come_asks_all_the_same(page: Page, site: Web) -> None:
    made = "from controlplane.access.models import Team; print(Team.objects.create(name='Shop', slug='shop').pk)"
    path = f"/access/teams/{site.django(made).splitlines()[-1]}/"
    late: list[Route] = []
    page.route("**/js/ui.js", lambda route: late.append(route))
    page.goto(path, wait_until="commit")
    page.get_by_role("button", name="Remove the team").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    late[0].continue_()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert page.url.endswith(path)
    dialog.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Access")
    expect(page.locator("main")).not_to_contain_text("Shop")
