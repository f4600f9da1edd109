"""A developer with `shop/*:dev-*` in Staging, on a real engine: sees, enters and runs just that, until it ends."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_terminal import enter, notice, shows, type_line
from tests.support.engines import EngineProcess, unique
from tests.support.home import ROOT
from tests.support.images import busybox
from tests.support.netns import NetworkNamespace
from tests.support.stage import Stage
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.redis_server, pytest.mark.browser]

GRANT = """
from controlplane.access.models import Grant, Role, User
from controlplane.access.naming import cover_again
from hosts.models import Environment, Host
staging, _ = Environment.objects.get_or_create(slug="staging", defaults={"name": "Staging"})
Host.objects.update(environment=staging)
dev, _ = User.objects.get_or_create(username="dev")
Grant.objects.all().delete()
role = Role.objects.get(slug="developer")
grant = Grant.objects.create(user=dev, role=role, repositories=["shop/*"], tags=["dev-*"])
grant.environments.add(staging)
cover_again(grant)
"""
REVOKE = "from controlplane.access.models import Grant; Grant.objects.all().delete()"
MIRRORED = "from containers.models import Container as C; print(*C.objects.filter(state='running').values_list('name'))"
WORKER = ["-W", "ignore", "-m", "celery", "--quiet", "-A", "controlplane", "worker", "--pool", "threads"]


@pytest.fixture(scope="module")
def stage(docker_engine: EngineProcess, desk: NetworkNamespace) -> Iterator[Stage]:
    """With a worker and a watcher beside the rest."""
    # An image of its own: one that had a name in another repository would take the right to that, too.
    docker_engine.load(busybox(extra=b"developer").archive("shop/web:dev-1", "shop/web:v1"))
    with Stage(docker_engine, desk) as stage, ExitStack() as stack:
        stage.django(GRANT)
        for command in (["manage.py", "watch"], WORKER):
            process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=stage.home.environment())
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
        yield stage
    for tag in ("dev-1", "v1"):
        docker_engine.request("DELETE", f"/images/shop/web:{tag}", force="true")


@pytest.fixture
def names(stage: Stage, docker_engine: EngineProcess) -> Iterator[tuple[str, str]]:
    """Of a container the developer may see, and of one they may not; both run, and the mirror has them."""
    stage.django(GRANT)
    found = {"dev-1": unique("own"), "v1": unique("live")}
    made = []
    for tag, name in found.items():
        script = "while true; do echo tick; sleep 0.3; done"
        made.append(docker_engine.run(f"shop/web:{tag}", "sh", "-c", script, name=name))
    eventually(lambda: all(name in stage.django(MIRRORED) for name in found.values()), timeout=30)
    yield found["dev-1"], found["v1"]
    for engine_id in made:
        docker_engine.request("DELETE", f"/containers/{engine_id}", force="true")


@pytest.fixture
def page(browser: Browser, stage: Stage) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1200, "height": 800}, base_url=stage.url)
    cookie: Any = {"name": "gantry_session", "value": stage.cookie("dev"), "url": stage.url}
    context.add_cookies([cookie])
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


def test_they_see_follow_and_enter_just_theirs(page: Page, names: tuple[str, str]) -> None:
    own, live = names
    page.goto("/containers/")
    expect(page.locator("tbody tr", has_text=own)).to_contain_text("running")
    expect(page.locator("main")).not_to_contain_text(live)
    page.goto(f"/containers/?q={live}")
    expect(page.locator("main")).to_contain_text("No container matches")
    page.goto("/images/")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("dev-1")
    page.goto(f"/containers/?q={own}")
    page.get_by_label(f"Logs of {own}").click()
    expect(page.locator("[data-logs]")).to_contain_text("tick")
    page.get_by_role("link", name="Terminal").click()
    expect(page.locator("[data-part=status] .word")).to_have_text("Connected", timeout=20_000)
    shows(page, "/ #")
    type_line(page, "echo $((6*7))-done")
    shows(page, "\n42-done")


def test_what_others_do_is_nothing_to_them(page: Page, stage: Stage, names: tuple[str, str]) -> None:
    pk = stage.django(f"from containers.models import Container as C; print(C.objects.get(name={names[1]!r}).pk)")
    for path in ("", "logs/", "terminal/", "inspect/"):
        answer = page.goto(f"/containers/{pk.splitlines()[-1]}/{path}")
        assert answer is not None
        assert answer.status == 404
        expect(page.locator("main")).to_contain_text("There is nothing here")
        expect(page.locator("main")).not_to_contain_text(names[1])


def test_they_run_a_tag_of_theirs_and_are_told_why_not_another(
    page: Page, stage: Stage, names: tuple[str, str], docker_engine: EngineProcess
) -> None:
    name = unique("run")
    _fill_in(page, "shop/web:dev-1", name)
    expect(page.locator("#operation")).to_contain_text("succeeded", timeout=30_000)
    page.goto(f"/containers/?q={name}")
    expect(page.locator("tbody tr", has_text=name)).to_be_visible(timeout=15_000)
    docker_engine.request("DELETE", f"/containers/{name}", force="true")
    for image in ("shop/web:v1", "nginx:1", "registry.example/shop/web:dev-1"):
        _fill_in(page, image, unique("refused"))
        expect(page.get_by_role("heading", level=1)).to_have_text("You may not do that")
        expect(page.locator("main")).to_contain_text(re.compile(r"container\.create|image\.run"))
        expect(page.locator("main")).to_contain_text(image)
    refused = stage.django(
        "from controlplane.operations.models import AuditEntry as A; print(A.objects.filter(outcome='refused').count())"
    )
    assert int(refused.splitlines()[-1]) >= 3


def _fill_in(page: Page, image: str, name: str) -> None:
    page.goto(f"/containers/run/?image={image}")
    page.locator("[name=host]").select_option(label="host-1")
    page.locator("[name=name]").fill(name)
    page.locator("[name=command]").fill("sleep 1000")
    page.get_by_role("button", name="Run", exact=True).click()


def test_a_terminal_closes_and_says_why_when_the_grant_is_revoked(
    page: Page, stage: Stage, names: tuple[str, str]
) -> None:
    pk = stage.django(f"from containers.models import Container as C; print(C.objects.get(name={names[0]!r}).pk)")
    enter(page, f"/containers/{pk.splitlines()[-1]}/terminal/")
    type_line(page, "echo $((6*7))-done")
    shows(page, "\n42-done")
    assert any(not held["ended"] for held in stage.terminals())
    stage.django(REVOKE)
    expect(notice(page)).to_contain_text("Your right to this shell has ended", timeout=10_000)
    expect(notice(page)).to_contain_text("container.exec")
    eventually(lambda: not any(not held["ended"] for held in stage.terminals()), what="the shell is gone from its host")
    page.goto(f"/containers/{pk.splitlines()[-1]}/")
    expect(page.locator("main")).to_contain_text("There is nothing here")
