"""A session that was ended takes its sockets with it: real sockets, of a real web process, within ten seconds."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from controlplane.lib.sockets import NOT_SIGNED_IN
from tests.conftest import need
from tests.support.redis import RedisServer
from tests.support.web import Web

PASSWORD = "a long enough word"
LIMIT = 10.0
SEED = f"""
from controlplane.access.models import User
from controlplane.operations.models import Operation
for name in ("ada", "vic"):
    User.objects.create_user(name, password={PASSWORD!r}, standing="administrator" if name == "ada" else "viewer")
operation = Operation.objects.create(kind="container.stop", title="t", state="running")
print(operation.pk, User.objects.get(username="vic").pk)
"""


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    need(RedisServer.why_not())
    with Web() as web:
        web.operation, web.vic = web.django(SEED).splitlines()[-1].split()  # type: ignore[attr-defined]
        yield web


class Browser:
    """Somebody's, signed in by the page."""

    def __init__(self, web: Web) -> None:
        self.web = web
        self.session = aiohttp.ClientSession(
            base_url=web.url, cookie_jar=aiohttp.CookieJar(unsafe=True), headers={"User-Agent": "Firefox/1 Linux"}
        )

    async def get(self, path: str) -> str:
        async with self.session.get(path) as answer:
            return await answer.text()

    async def post(self, path: str, **form: str) -> int:
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', await self.get("/account/"))
        assert found
        form["csrfmiddlewaretoken"] = found[1]
        async with self.session.post(path, data=form, headers={"Origin": self.web.url}) as answer:
            assert answer.status == 200, await answer.text()
            return answer.status

    async def sign_in(self, name: str) -> None:
        await self.post("/login/", username=name, password=PASSWORD)
        assert "Sign out everywhere" in await self.get("/account/")

    async def open(self, path: str) -> aiohttp.ClientWebSocketResponse:
        socket = await self.session.ws_connect(path, headers={"Origin": self.web.url})
        assert (await socket.receive(timeout=LIMIT)).type == aiohttp.WSMsgType.TEXT
        return socket


@pytest.fixture
async def browsers(web: Web) -> AsyncIterator[list[Browser]]:
    """Vic's two, and Ada's."""
    opened = [Browser(web) for _ in range(3)]
    for browser, name in zip(opened, ("vic", "vic", "ada"), strict=True):
        await browser.sign_in(name)
    yield opened
    for browser in opened:
        await browser.session.close()


async def closed_with(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    """The code it is closed with, if that happens in time."""
    async with asyncio.timeout(LIMIT):
        while (await socket.receive()).type not in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
            pass
    return socket.close_code


async def end_from_the_other(browsers: list[Browser], web: Web) -> None:
    here = re.findall(r'name="session" value="(\d+)"', await browsers[1].get("/account/"))
    marked = re.search(r'data-key="session-(\d+)"(?:(?!</tr>).)*this one', await browsers[1].get("/account/"), re.S)
    assert marked
    (other,) = set(here) - {marked[1]}
    await browsers[1].post("/account/sessions/end/", session=other)


async def end_everywhere(browsers: list[Browser], web: Web) -> None:
    await browsers[1].post("/account/sessions/end/", session="all")


async def end_by_an_administrator(browsers: list[Browser], web: Web) -> None:
    await browsers[2].post(f"/people/{web.vic}/sessions/end/")  # type: ignore[attr-defined]


async def deactivate(browsers: list[Browser], web: Web) -> None:
    await browsers[2].post(f"/people/{web.vic}/", standing="viewer")  # type: ignore[attr-defined]


async def ask_for_a_second_factor(browsers: list[Browser], web: Web) -> None:
    await browsers[2].post("/people/second-factor/", roles="viewer")


async def as_before(browsers: list[Browser], web: Web) -> None:
    await browsers[2].post(f"/people/{web.vic}/", standing="viewer", is_active="on")  # type: ignore[attr-defined]
    await browsers[2].post("/people/second-factor/")


@pytest.mark.parametrize(
    "end", [end_from_the_other, end_everywhere, end_by_an_administrator, deactivate, ask_for_a_second_factor]
)
async def test_its_sockets_close(browsers: list[Browser], web: Web, end: object) -> None:
    paths = ["/ws/live?topics=hosts", f"/ws/operations/{web.operation}/output"]  # type: ignore[attr-defined]
    live = await browsers[0].open(paths[0])
    output = await browsers[0].session.ws_connect(paths[1], headers={"Origin": web.url})
    untouched = await browsers[2].open(paths[0])
    await end(browsers, web)  # type: ignore[operator]
    assert await asyncio.gather(closed_with(live), closed_with(output)) == [NOT_SIGNED_IN, NOT_SIGNED_IN]
    assert not untouched.closed
    await as_before(browsers, web)
