"""Signing in, in a browser: codes of an app, a passkey of a (virtual) authenticator, an identity provider."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.access.factors import code_of
from tests.conftest import need
from tests.support.identity import IdentityProvider
from tests.support.netns import NetworkNamespace
from tests.support.redis import RedisServer
from tests.support.web import Web

PASSWORD = "a long enough word"
SEED = f"""
from controlplane.access.models import User
for name in ("ada", "ann", "ben", "cat", "dan"):
    standing = "administrator" if name == "ada" else "viewer"
    User.objects.create_user(name, password={PASSWORD!r}, standing=standing)
"""


@pytest.fixture(scope="module")
def provider(desk: NetworkNamespace) -> Iterator[IdentityProvider]:
    with IdentityProvider(desk) as provider:
        provider.add("eve", preferred_username="eve", name="Eve Example", groups=["shop"])
        yield provider


@pytest.fixture(scope="module")
def web(desk: NetworkNamespace, provider: IdentityProvider) -> Iterator[Web]:
    need(RedisServer.why_not())
    with Web(desk, **provider.environment()) as web:
        web.django(SEED)
        yield web


@pytest.fixture
def context(browser: Browser, web: Web) -> Iterator[BrowserContext]:
    """By a name: a passkey belongs to one, an IP address has none."""
    context = browser.new_context(base_url=f"http://localhost:{web.home.port}")
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
    yield page
    assert complaints == []


@pytest.fixture
def authenticator(context: BrowserContext, page: Page) -> Any:
    """A device with a finger on its sensor, by the DevTools protocol."""
    devtools = context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return devtools


def password(page: Page, name: str) -> None:
    page.goto("/login/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def open_menu(page: Page) -> None:
    page.wait_for_load_state()  # it is a script that opens it
    page.locator(".me").click()


def sign_out(page: Page) -> None:
    open_menu(page)
    page.locator(".rail-foot").get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def expect_inside(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


def test_an_app_for_codes_is_set_up_and_asked_for(page: Page) -> None:
    password(page, "ann")
    expect_inside(page)
    open_menu(page)
    page.get_by_role("link", name="Your account").click()
    page.get_by_role("link", name="Set up").click()
    expect(page.get_by_role("img", name="A picture for the app to scan")).to_be_visible()
    secret = page.locator(".copyable code").inner_text()
    page.get_by_label("The code it shows now").fill("000000")
    page.get_by_role("button", name="Set up").click()
    expect(page.get_by_role("alert")).to_contain_text("That is not right")
    assert page.locator(".copyable code").inner_text() == secret, "the same, else the app would be of no use"
    page.get_by_label("The code it shows now").fill(code_of(secret))
    page.get_by_role("button", name="Set up").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your recovery codes")
    expect(page.locator(".recovery-codes li")).to_have_count(10)
    codes = page.locator(".recovery-codes li").all_inner_texts()
    assert len(codes) == 10
    page.get_by_role("link", name="I have kept them").click()
    expect(page.locator(".ways")).to_contain_text("10 left")
    sign_out(page)

    password(page, "ann")
    expect(page.get_by_role("heading", level=1)).to_have_text("One more step")
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    password(page, "ann")
    page.get_by_label("Code").fill(code_of(secret, 1))
    page.get_by_role("button", name="Sign in").click()
    expect_inside(page)
    sign_out(page)

    password(page, "ann")
    page.get_by_label("Code").fill(codes[0])
    page.get_by_role("button", name="Sign in").click()
    expect_inside(page)
    page.goto("/account/")
    expect(page.locator(".ways")).to_contain_text("9 left")


def add_passkey(page: Page, name: str) -> None:
    page.goto("/account/")
    page.locator(".ways li", has_text="passkey").get_by_role("link", name="Add").click()
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Make the passkey").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your recovery codes")
    page.get_by_role("link", name="I have kept them").click()
    expect(page.locator(".ways")).to_contain_text(name)


@pytest.mark.usefixtures("authenticator")
def test_a_passkey_is_made_and_signs_in_alone(page: Page, web: Web) -> None:
    password(page, "ben")
    expect_inside(page)
    add_passkey(page, "my finger")
    sign_out(page)
    page.goto("/login/?next=/hosts/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Hosts")
    page.goto("/account/")
    page.locator(".ways li", has_text="my finger").get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.locator(".ways")).not_to_contain_text("my finger")
    sign_out(page)
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.locator("#toasts")).to_contain_text("not known here")


@pytest.mark.usefixtures("authenticator")
def test_a_passkey_is_the_second_factor_after_a_password(page: Page) -> None:
    password(page, "cat")
    expect_inside(page)
    add_passkey(page, "the key")
    sign_out(page)
    password(page, "cat")
    expect(page.get_by_role("heading", level=1)).to_have_text("One more step")
    page.get_by_role("button", name="Use a passkey").click()
    expect_inside(page)


def test_a_passkey_that_is_not_given_says_so(page: Page, authenticator: Any, context: BrowserContext) -> None:
    page.goto("/login/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.locator("[data-passkey-says]")).to_contain_text("Try again")
    expect(page.get_by_role("button", name="Sign in with a passkey")).to_be_enabled()


def test_an_address_without_a_name_says_what_to_do(page: Page, web: Web) -> None:
    page.goto(f"{web.url}/login/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.locator("[data-passkey-says]")).to_contain_text("Passkeys need a name")


def test_the_identity_provider_signs_in_from_the_page(page: Page, provider: IdentityProvider) -> None:
    page.goto("/login/?next=/account/")
    page.get_by_role("link", name="Sign in with Example ID").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Who are you?")
    page.get_by_role("button", name="eve").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your account")
    expect(page.locator(".me")).to_contain_text("Eve Example")
    expect(page.locator(".ways")).to_contain_text("Example ID")
    provider.lie("no signature")
    try:
        sign_out(page)
        page.get_by_role("link", name="Sign in with Example ID").click()
        page.get_by_role("button", name="eve").click()
        expect(page.locator("#toasts")).to_contain_text("did not work")
    finally:
        provider.lie("")


@pytest.mark.usefixtures("authenticator")
def test_a_role_that_asks_leads_to_a_second_factor_before_all(browser: Browser, page: Page) -> None:
    password(page, "dan")
    expect_inside(page)
    page.goto("/hosts/")
    other = browser.new_context(base_url=re.sub(r"/hosts/$", "", page.url))
    administrator = other.new_page()
    password(administrator, "ada")
    expect_inside(administrator)
    ask_viewers(administrator, asked=True)
    # The page that is open is led there by itself, as its socket closes.
    expect(page.get_by_role("heading", level=1)).to_have_text("A second factor, please", timeout=15_000)
    page.get_by_role("link", name="A passkey").click()
    page.get_by_role("button", name="Make the passkey").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your recovery codes")
    page.goto("/hosts/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Hosts")
    ask_viewers(administrator, asked=False)
    other.close()


def ask_viewers(administrator: Page, *, asked: bool) -> None:
    """Whether viewers need a second factor. It is saved when this returns: Chromium may never close a window that is
    just sending a form.
    """
    administrator.goto("/people/")
    card = administrator.locator(".card", has_text="an app for codes or a passkey before")
    card.get_by_label("Viewer").set_checked(asked)
    card.get_by_role("button", name="Save").click()
    expect(administrator.locator("#toasts")).to_contain_text("Saved. Who has to set one up")
