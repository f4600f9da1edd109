"""The registry client alone, against registries that ask for tokens, break off, redirect or lie."""

import asyncio
import base64
import contextlib
import dataclasses
import json
import os
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from gantry_agent.engine.config import Config
from gantry_agent.engine.errors import (
    Corrupt,
    Forbidden,
    InvalidArgument,
    NotFound,
    Unauthorized,
    Unavailable,
)
from gantry_agent.engine.oci import Digest, Reference
from gantry_agent.engine.registry import ANONYMOUS, Credentials, Registry, Repository
from gantry_agent.engine.registry import repository as repository_module
from gantry_agent.engine.registry.answers import Misled, Unreachable
from gantry_agent.engine.registry.auth import parse_challenges
from gantry_agent.engine.registry.endpoints import endpoints, is_insecure
from gantry_agent.engine.registry.sources import Sources
from gantry_agent.engine.registry.transport import Reach, _reach_of

from tests.engine.fake_registry import FakeRegistry, cut_after, ranged, refusal
from tests.support.images import digest

ADA = Credentials("ada", "secret")


@pytest.fixture
async def fake() -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry() as registry:
        yield registry


@pytest.fixture
async def client() -> AsyncIterator[Registry]:
    registry = Registry(Config())
    yield registry
    await registry.close()


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository_module, "FIRST_PAUSE", 0.01)


def at(client: Registry, fake: FakeRegistry, name: str = "a/b", who: Credentials = ANONYMOUS) -> Repository:
    return client.repositories(Reference.parse(f"{fake.address}/{name}:1"), who)[-1]


async def read(repository: Repository, content: bytes, *, size: int | None = None) -> bytes:
    name, length = Digest(digest(content)), len(content) if size is None else size
    return b"".join([chunk async for chunk in repository.blob(name, length)])


def test_credentials_are_read_in_every_form_clients_send() -> None:
    document = {"username": "ada", "password": "sécret?>", "serveraddress": "x:5000"}
    for encode in (base64.urlsafe_b64encode, base64.b64encode):
        found = Credentials.of_header(encode(json.dumps(document).encode()).decode().rstrip("="))
        assert (found.username, found.password, found.server) == ("ada", "sécret?>", "x:5000")
    assert not Credentials.of_header("")
    assert not Credentials.of_header("e30=")
    assert Credentials.of_json({"auth": base64.b64encode(b"ada:a:b").decode()}).password == "a:b"
    assert "sécret" not in repr(found)
    for wrong in ("%%%", "bm8=", base64.b64encode(b"[]").decode()):
        with pytest.raises(InvalidArgument):
            Credentials.of_header(wrong)


def test_challenges_are_parsed() -> None:
    found = parse_challenges(['Bearer realm="https://a/t",service="s, x",scope="a:b:pull,push" , Basic realm="r"'])
    assert found == {
        "bearer": {"realm": "https://a/t", "service": "s, x", "scope": "a:b:pull,push"},
        "basic": {"realm": "r"},
    }
    assert parse_challenges(["Negotiate", 'Basic realm="a \\"b\\""']) == {"negotiate": {}, "basic": {"realm": 'a "b"'}}


def test_where_to_ask_follows_the_configuration() -> None:
    config = Config(
        registry_mirrors=("https://mirror.example/cache/",),
        insecure_registries=("10.0.0.0/8", "shop:5000"),
        registries={"shop:5000": {"ca": "/ca.pem", "mirrors": ["http://10.0.0.2:5000"]}},
    )
    mirror, hub = endpoints("docker.io", config, mirrors=True)
    assert (mirror.host, mirror.path, mirror.schemes, mirror.is_mirror) == (
        "mirror.example",
        "/cache",
        ("https",),
        True,
    )
    assert (hub.host, hub.verify) == ("registry-1.docker.io", True)
    plain, shop = endpoints("shop:5000", config, mirrors=True)
    assert (plain.host, plain.schemes) == ("10.0.0.2:5000", ("http",))
    assert (shop.schemes, shop.verify, shop.ca) == (("https", "http"), False, "/ca.pem")
    assert endpoints("shop:5000", config, mirrors=False) == [shop]
    for host, expected in {
        "localhost:1": True, "127.3.2.1": True, "[::1]:5": True, "10.9.9.9:80": True, "11.0.0.1": False,
        "shop": False, "example.org": False,
    }.items():  # fmt: skip
        assert is_insecure(host, config) is expected, host
    with pytest.raises(InvalidArgument):
        endpoints("docker.io", Config(registry_mirrors=("ftp://x",)), mirrors=True)
    for wrong in ("/ca.pem", {"CA": "/ca.pem"}, {"mirrors": "https://x"}):
        with pytest.raises(InvalidArgument, match="registries"):
            endpoints("shop", Config(registries={"shop": wrong}), mirrors=True)  # type: ignore[dict-item]


async def test_a_token_is_fetched_once_for_each_scope(client: Registry, fake: FakeRegistry) -> None:
    asked = []

    async def token(request: web.Request) -> web.Response:
        asked.append(request)
        return web.json_response({"token": f"t{len(asked)}", "expires_in": 300})

    async def guard(request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization", "").startswith("Bearer t"):
            return None
        challenge = f'Bearer realm="http://{fake.address}/token",service="shop",scope="repository:other:pull"'
        return refusal(401, "UNAUTHORIZED", "authentication required", **{"WWW-Authenticate": challenge})

    fake.on("GET", "/v2/", guard)
    fake.on("GET", "/token", token)
    contents = [os.urandom(100) for _ in range(5)]
    fake.blobs = {digest(content): content for content in contents}
    repository = at(client, fake, who=ADA)
    assert await asyncio.gather(*(read(repository, content) for content in contents)) == contents
    assert len(asked) == 1
    assert asked[0].query.getall("scope") == ["repository:a/b:pull"]
    assert asked[0].query["service"] == "shop"
    assert asked[0].query["account"] == "ada"
    assert asked[0].headers["Authorization"] == ADA.basic
    assert await read(at(client, fake, who=ADA), contents[0]) == contents[0]
    assert len(asked) == 1, "the next pull uses the same token"


async def test_an_identity_token_is_exchanged(client: Registry, fake: FakeRegistry) -> None:
    async def guard(request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") == "Bearer good":
            return None
        return refusal(401, "UNAUTHORIZED", "x", **{"WWW-Authenticate": f'Bearer realm="http://{fake.address}/token"'})

    async def token(request: web.Request) -> web.Response:
        form = await request.post()
        assert (form["grant_type"], form["refresh_token"]) == ("refresh_token", "id&=token")
        return web.json_response({"access_token": "good"})

    fake.on("GET", "/v2/", guard)
    fake.on("POST", "/token", token)
    fake.blobs[digest(b"x")] = b"x"
    who = Credentials(identity_token="id&=token")
    assert await read(at(client, fake, who=who), b"x") == b"x"


async def test_refusals_keep_their_kind(client: Registry, fake: FakeRegistry) -> None:
    answers = {
        "denied": (refusal(403, "DENIED", "no"), Forbidden, "denied: no"),
        "unauthorized": (refusal(401, "UNAUTHORIZED", "who?"), Unauthorized, "unauthorized: who?"),
        "unknown": (refusal(404, "MANIFEST_UNKNOWN", "gone"), NotFound, "manifest unknown: gone"),
        "busy": (refusal(429, "TOOMANYREQUESTS", "slow down"), Unavailable, "toomanyrequests: slow down"),
        "broken": (web.Response(status=502, text="<html>"), Unavailable, "502 <html>"),
    }

    async def answer(request: web.Request) -> web.StreamResponse:
        return await _copy(answers[request.path.rpartition("/")[2]][0])

    fake.on("GET", "/v2/a/b/manifests/", answer)
    for name, (_, kind, words) in answers.items():
        with pytest.raises(kind) as caught:
            await at(client, fake).manifest(name)
        assert words in caught.value.message


async def _copy(response: web.Response) -> web.Response:
    return web.Response(body=response.body, status=response.status, headers=response.headers)


async def test_a_passing_fault_is_tried_again_as_late_as_asked(client: Registry, fake: FakeRegistry) -> None:
    failures = [503, 429, 500]
    fake.put("a/b", "1", b"{}", "application/json")

    async def answer(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=failures.pop(), headers={"Retry-After": "0"}) if failures else None

    fake.on("GET", "/v2/a/b/manifests/", answer)
    assert (await at(client, fake).manifest("1")).content == b"{}"
    assert not failures


async def test_a_registry_that_is_busy_for_long_is_told_at_once(client: Registry, fake: FakeRegistry) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return refusal(429, "TOOMANYREQUESTS", "come back tomorrow", **{"Retry-After": "86400"})

    fake.on("GET", "/v2/a/b/manifests/", answer)
    with pytest.raises(Unavailable, match="come back tomorrow"):
        await at(client, fake).manifest("1")
    assert len(fake.paths()) == 2


async def test_a_cut_blob_goes_on_where_it_broke(client: Registry, fake: FakeRegistry) -> None:
    content = os.urandom(1_000_000)
    fake.on("GET", "/v2/a/b/blobs/", cut_after(content, 300_000))
    assert await read(at(client, fake), content) == content
    ranges = [request.headers.get("Range", "") for request in fake.seen if "/blobs/" in request.path]
    assert len(ranges) >= 4
    assert ranges[0] == ""
    assert all(each.startswith("bytes=") for each in ranges[1:])


async def test_a_registry_without_ranges_is_read_from_the_start_again(client: Registry, fake: FakeRegistry) -> None:
    content = os.urandom(500_000)
    cuts = [400_000]

    async def answer(request: web.Request) -> web.StreamResponse:
        fresh = request.clone(headers={key: value for key, value in request.headers.items() if key != "Range"})
        if cuts:
            return await cut_after(content, cuts.pop())(_same_transport(fresh, request))
        return await ranged(fresh, content)

    fake.on("GET", "/v2/a/b/blobs/", answer)
    assert await read(at(client, fake), content) == content


def _same_transport(clone: web.BaseRequest, request: web.Request) -> web.Request:
    clone.__class__ = request.__class__
    clone._match_info = request._match_info  # type: ignore[attr-defined]
    return clone  # type: ignore[return-value]


async def test_a_registry_that_only_ever_cuts_is_given_up(client: Registry, fake: FakeRegistry) -> None:
    content = os.urandom(100_000)
    fake.on("GET", "/v2/a/b/blobs/", cut_after(content, 10))
    with pytest.raises(Unreachable):
        await read(at(client, fake), content)
    assert len(fake.paths()) < 10


async def test_another_length_than_announced_is_refused(client: Registry, fake: FakeRegistry) -> None:
    content = os.urandom(1000)
    fake.blobs[digest(content)] = content
    for size in (999, 1001, 0):
        with pytest.raises(Corrupt):
            await read(at(client, fake), content, size=size)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)  # chunked: no length is announced
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(content)
        return response

    fake.on("GET", "/v2/a/b/blobs/", endless)
    with pytest.raises(Corrupt):
        await read(at(client, fake), content)


async def test_a_redirect_does_not_take_credentials_along(client: Registry, fake: FakeRegistry) -> None:
    async with FakeRegistry("127.0.0.2") as storage:
        fake.blobs[digest(b"x")] = b"x"
        storage.on("GET", "/stored", lambda request: ranged(request, b"x"))  # type: ignore[arg-type]

        async def guard(request: web.Request) -> web.StreamResponse | None:
            if request.headers.get("Authorization") != ADA.basic:
                return refusal(401, "UNAUTHORIZED", "x", **{"WWW-Authenticate": 'Basic realm="x"'})
            if "/blobs/" in request.path:
                return web.Response(status=307, headers={"Location": f"http://{storage.address}/stored?sig=1"})
            return None

        fake.on("GET", "/v2/", guard)
        assert await read(at(client, fake, who=ADA), b"x") == b"x"
        assert [request.headers.get("Authorization") for request in storage.seen] == [None]
        assert storage.seen[0].query["sig"] == "1"


def test_how_private_an_address_is() -> None:
    expected = {
        "8.8.8.8": Reach.PUBLIC, "10.1.2.3": Reach.PRIVATE, "192.168.0.1": Reach.PRIVATE, "127.0.0.1": Reach.LOOPBACK,
        "::1": Reach.LOOPBACK, "::ffff:127.0.0.1": Reach.LOOPBACK, "::ffff:10.0.0.1": Reach.PRIVATE,
        "169.254.169.254": Reach.ANY, "fe80::1%eth0": Reach.ANY, "0.0.0.0": Reach.ANY, "fd00::1": Reach.PRIVATE,
        "2001:4860:4860::8888": Reach.PUBLIC,
    }  # fmt: skip
    assert {address: _reach_of(address) for address in expected} == expected


@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/latest/", "http://[fe80::1]/", "file:///etc/passwd", "http://0.0.0.0/", "gopher://x/"],
)
async def test_no_registry_leads_to_link_local_addresses(client: Registry, fake: FakeRegistry, target: str) -> None:
    async def elsewhere(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": target})

    fake.on("GET", "/v2/a/b/manifests/", elsewhere)
    with pytest.raises(Misled, match="leads to"):
        await at(client, fake).manifest("1")


async def test_a_public_registry_does_not_lead_to_private_addresses(client: Registry, fake: FakeRegistry) -> None:
    """By number, and by a name that resolves to one; the token server as well as a redirect."""
    repository = at(client, fake)
    async with FakeRegistry() as inside:
        inside.on("GET", "/", lambda request: ranged(request, b"secret"))  # type: ignore[arg-type]
        port = inside.address.rpartition(":")[2]
        targets = [f"http://127.0.0.1:{port}/x", f"http://localhost:{port}/x"]

        async def elsewhere(request: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": targets[0]})

        async def challenge(request: web.Request) -> web.Response:
            return refusal(401, "UNAUTHORIZED", "x", **{"WWW-Authenticate": f'Bearer realm="{targets[0]}"'})

        for handler in (elsewhere, challenge):
            fake.on("GET", "/v2/a/b/manifests/", handler)
            for _ in range(2):
                await repository.site.base()
                origin = repository.site._origin
                assert origin
                repository.site._origin = dataclasses.replace(origin, reach=Reach.PUBLIC)
                with pytest.raises(Misled, match="private address"):
                    await repository.manifest("1")
                targets.reverse()
        assert inside.seen == []


async def test_a_mirror_is_asked_first_and_never_sees_credentials(fake: FakeRegistry) -> None:
    async with FakeRegistry("127.0.0.3") as mirror:
        config = Config(registries={fake.address: {"mirrors": [f"http://{mirror.address}"]}})
        client = Registry(config)
        content = os.urandom(400_000)
        fake.blobs[digest(content)] = content
        mirror.put("a/b", "1", b"{}", "application/json")
        mirror.on("GET", "/v2/a/b/blobs/", cut_after(content, 100_000))
        fake.put("a/b", "2", b"[]", "application/json")
        try:
            sources = Sources(client.repositories(Reference.parse(f"{fake.address}/a/b:1"), ADA))
            assert (await sources.manifest("1")).content == b"{}"
            assert fake.seen == []
            assert (await sources.manifest("2")).content == b"[]"
            with pytest.raises(NotFound):
                await sources.manifest("3")
            chunks = [chunk async for chunk in sources.blob(Digest(digest(content)), len(content))]
            assert b"".join(chunks) == content
        finally:
            await client.close()
        assert {request.headers.get("Authorization") for request in mirror.seen} == {None}


async def test_a_mirror_that_announces_another_length_is_passed_over(fake: FakeRegistry) -> None:
    content = os.urandom(1000)

    async def lying(request: web.Request) -> web.Response:
        return web.Response(body=content + b"more")

    async with FakeRegistry("127.0.0.3") as mirror:
        client = Registry(Config(registries={fake.address: {"mirrors": [f"http://{mirror.address}"]}}))
        fake.blobs[digest(content)] = content
        mirror.on("GET", "/v2/a/b/blobs/", lying)
        try:
            sources = Sources(client.repositories(Reference.parse(f"{fake.address}/a/b:1"), ADA))
            chunks = [chunk async for chunk in sources.blob(Digest(digest(content)), len(content))]
            assert b"".join(chunks) == content
            fake.on("GET", "/v2/a/b/blobs/", lying)
            with pytest.raises(Corrupt, match="announces 1004 bytes"):
                [chunk async for chunk in sources.blob(Digest(digest(content)), len(content))]
        finally:
            await client.close()
        assert mirror.seen


async def test_the_digest_of_a_manifest_is_checked(client: Registry, fake: FakeRegistry) -> None:
    real, other = digest(b"{}"), digest(b"{ }")
    fake.put("a/b", real, b"{}", "application/json")
    fake.put("a/b", other, b"{}", "application/json")
    assert (await at(client, fake).manifest(real)).digest == real
    with pytest.raises(Corrupt):
        await at(client, fake).manifest(other)

    async def lying(request: web.Request) -> web.Response:
        return web.Response(body=b"{}", headers={"Docker-Content-Digest": other})

    fake.on("GET", "/v2/a/b/manifests/1", lying)
    with pytest.raises(Corrupt):
        await at(client, fake).manifest("1")


async def test_tags_are_read_page_by_page(client: Registry, fake: FakeRegistry) -> None:
    async def tags(request: web.Request) -> web.Response:
        if request.query.get("last"):
            return web.json_response({"tags": ["c"]})
        link = '</v2/a/b/tags/list?last=b&n=2>; rel="next"'
        return web.json_response({"tags": ["a", "b"]}, headers={"Link": link})

    fake.on("GET", "/v2/a/b/tags/list", tags)
    assert await at(client, fake).tags() == ["a", "b", "c"]


async def test_an_upload_that_was_cut_begins_again(client: Registry, fake: FakeRegistry) -> None:
    content, received = os.urandom(3_000_000), []

    async def begin(request: web.Request) -> web.Response:
        return web.Response(status=202, headers={"Location": "/v2/a/b/blobs/uploads/7?state=x%2Fy"})

    async def patch(request: web.Request) -> web.Response:
        assert request.query["state"] == "x/y"
        if not received:
            received.append(await request.content.read(1000))
            assert request.transport
            request.transport.abort()
            return web.Response()
        received.append(await request.read())
        return web.Response(status=202, headers={"Location": "/v2/a/b/blobs/uploads/8?state=z"})

    async def put(request: web.Request) -> web.Response:
        assert (request.query["digest"], request.query["state"]) == (digest(content), "z")
        return web.Response(status=201)

    fake.on("POST", "/v2/a/b/blobs/uploads/", begin)
    fake.on("PATCH", "/v2/a/b/blobs/uploads/7", patch)
    fake.on("PUT", "/v2/a/b/blobs/uploads/8", put)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 1 << 20):
            yield content[start : start + (1 << 20)]

    assert await at(client, fake).upload(Digest(digest(content)), len(content), chunks) is False
    assert received[-1] == content


async def test_plain_http_is_for_insecure_registries_only(fake: FakeRegistry) -> None:
    client = Registry(Config())
    port = fake.address.rpartition(":")[2]
    try:
        assert await at(client, fake).site.base()
        secure = client.repositories(Reference.parse(f"ip6-localhost.example:{port}/a:1"))[0]
        assert secure.site.endpoint.schemes == ("https",)
    finally:
        await client.close()


async def test_an_unreachable_registry_is_told_at_once(client: Registry) -> None:
    repository = client.repositories(Reference.parse("127.0.0.1:1/a:1"))[0]
    with pytest.raises(Unreachable, match="connection refused"):
        await repository.manifest("1")
