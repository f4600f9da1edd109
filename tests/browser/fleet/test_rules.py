"""An environment's rules in the browser: made, shown what would break them, and refusing a run with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.fleet.conftest import Fleet
from tests.support.engines import unique

RULE = "shop/** : v*"


@pytest.fixture
def production(fleet: Fleet) -> Iterator[int]:
    """The id of an environment that the first host is in, for this test."""
    name = unique("prod")
    make = (
        "from hosts.models import *; "
        f"e = Environment.objects.create(name={name!r}, slug={name!r}); "
        "Host.objects.filter(name='first').update(environment=e); print(e.pk)"
    )
    found = int(fleet.up.manage("shell", "--no-imports", "-c", make))
    yield found
    leave = f"from hosts.models import *; Environment.objects.get(pk={found}).delete()"
    fleet.up.manage("shell", "--no-imports", "-c", leave)


def test_production_runs_versions_only(fleet: Fleet, page: Page, production: int, running: Callable[..., str]) -> None:
    name = unique("old")
    running("first", name)
    page.goto(f"/containers/?q={name}")
    expect(page.locator("#listing")).to_contain_text("running")

    page.goto("/hosts/environments/")
    page.locator(f'a[href="/hosts/environments/{production}/rules/"]').click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Rules of")
    page.get_by_label("These may run").fill("shop/** : v* @ sha256:short")
    page.get_by_role("button", name="Show what would break them").click()
    expect(page.locator(".field-error")).to_contain_text("64 hexadecimal digits")
    page.get_by_label("These may run").fill(RULE)
    page.get_by_role("button", name="Show what would break them").click()
    expect(page.locator("#breaks")).to_contain_text(name)
    expect(page.locator("#breaks")).to_contain_text(RULE)
    page.get_by_role("button", name="Save").click()
    expect(page.locator("main")).to_contain_text(f"images: any → {RULE}")

    page.goto(f"/containers/?q={name}&rules=broken")
    expect(page.locator("#listing")).to_contain_text("breaks rules")
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.locator("#container")).to_contain_text("It breaks the rules of")
    page.get_by_role("button", name="Restart").click()
    expect(page.locator("#toasts")).to_contain_text("do not allow")

    page.goto("/containers/run/")
    page.get_by_label("Host", exact=True).select_option(label="first")
    page.locator("[name=image]").fill("shop/web:dev-1")
    page.locator("[name=labels]").fill("kept=yes")
    page.locator("main button[value=run]").click()
    expect(page.locator(".notice.bad")).to_contain_text("do not allow it. Nothing was started.")
    expect(page.locator(".violations")).to_contain_text(f"found docker.io/shop/web:dev-1; allowed: {RULE}")
    expect(page.locator("[name=labels]")).to_have_value("kept=yes")
    page.locator("[name=image]").fill("shop/web:v1")
    page.locator("main button[value=run]").click()
    expect(page).to_have_url(re.compile(r"/operations/\d+/$"))  # there is no such image: that is another matter
