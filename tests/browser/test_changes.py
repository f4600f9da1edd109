"""A developer's container by its page: other limits, an image of it, another one like it; and what others are shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_developer import stage as developers_stage
from tests.support.engines import EngineProcess, unique
from tests.support.stage import Stage
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.redis_server, pytest.mark.browser]

stage = developers_stage
MIRRORED = "from containers.models import Container as C; print(*C.objects.values_list('name', 'pk'))"
PK = "from containers.models import Container as C; print(C.objects.get(name={!r}).pk)"


@pytest.fixture
def name(stage: Stage, docker_engine: EngineProcess) -> Iterator[str]:
    """Of a container of the developer's; the mirror has it."""
    found = unique("web") + "x"
    limits = {"Memory": 64 * 1024 * 1024, "NanoCpus": 500_000_000, "CapAdd": ["SYS_TIME"]}
    docker_engine.run("shop/web:dev-1", "top", name=found, Env=["TOKEN=s3cret"], HostConfig=limits)
    eventually(lambda: found in stage.django(MIRRORED), timeout=30)
    yield found
    for each in (found, f"{found}-2"):
        docker_engine.request("DELETE", f"/containers/{each}", force="true")
    docker_engine.request("DELETE", "/images/shop/web:dev-9", force="true")


def open_page(browser: Browser, stage: Stage, who: str) -> Page:
    context = browser.new_context(viewport={"width": 1200, "height": 800}, base_url=stage.url)
    cookie: Any = {"name": "gantry_session", "value": stage.cookie(who), "url": stage.url}
    context.add_cookies([cookie])
    return context.new_page()


def choose(page: Page, path: str, entry: str) -> None:
    """One of the entries under “More”."""
    page.goto(path)
    page.get_by_role("button", name="More", exact=True).click()
    page.get_by_role("link", name=entry).click()


def test_limits_an_image_and_another_one(
    browser: Browser, stage: Stage, name: str, docker_engine: EngineProcess
) -> None:
    page = open_page(browser, stage, "dev")
    path = f"/containers/{stage.django(PK.format(name)).splitlines()[-1]}/"

    choose(page, path, "Limits and restarts")
    expect(page.get_by_label("Memory")).to_have_value("64m")
    page.get_by_label("Memory").fill("96m")
    page.get_by_label("When it ends").select_option("unless-stopped")
    page.get_by_role("button", name="Change").click()
    expect(page.locator("#operation")).to_contain_text("succeeded", timeout=30_000)
    host = docker_engine.expect("GET", f"/containers/{name}/json")["HostConfig"]
    assert (host["Memory"], host["NanoCpus"]) == (96 * 1024 * 1024, 500_000_000)
    assert host["RestartPolicy"]["Name"] == "unless-stopped"

    choose(page, path, "Commit to an image")
    page.get_by_label("Name").fill("shop/web:v9")
    page.get_by_role("button", name="Commit").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You may not do that")
    expect(page.locator("main")).to_contain_text("image.build")
    choose(page, path, "Commit to an image")
    page.get_by_label("Name").fill("shop/web:dev-9")
    page.get_by_role("button", name="Commit").click()
    expect(page.locator("#operation")).to_contain_text("succeeded", timeout=30_000)
    page.get_by_role("link", name="shop/web:dev-9", exact=True).click()
    expect(page.locator("tbody tr")).to_contain_text("dev-9")

    choose(page, path, "Duplicate")
    expect(page.locator("main")).to_contain_text("the variables TOKEN: their values take the right container.secrets")
    expect(page.locator("main")).to_contain_text("added capabilities")
    expect(page.get_by_label("Memory")).to_have_value("96m")
    expect(page.locator("[name=name]")).to_have_value(f"{name}-2")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#operation")).to_contain_text("succeeded", timeout=30_000)
    second = docker_engine.expect("GET", f"/containers/{name}-2/json")
    assert second["State"]["Running"]
    assert (second["HostConfig"]["Memory"], second["HostConfig"]["CapAdd"]) == (96 * 1024 * 1024, None)
    page.context.close()


def test_who_may_not_is_not_offered_it(browser: Browser, stage: Stage, name: str) -> None:
    page = open_page(browser, stage, "viewer")
    page.goto(f"/containers/{stage.django(PK.format(name)).splitlines()[-1]}/")
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)
    expect(page.get_by_role("button", name="More", exact=True)).to_have_count(0)
    page.context.close()
