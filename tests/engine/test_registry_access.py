"""Reaching registries over TLS with a CA of one's own, logging in, searching: the parts people configure."""

import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from gantry_agent.engine.config import Config
from gantry_agent.engine.errors import InvalidArgument, Unauthorized, Unavailable
from gantry_agent.engine.oci import Reference
from gantry_agent.engine.registry import Credentials, Registry
from gantry_agent.engine.registry import endpoints as endpoints_module
from gantry_agent.engine.registry.answers import Misled, Unreachable
from gantry_agent.engine.registry.endpoints import Endpoint
from gantry_agent.engine.registry.transport import Call, Origin, Reach, _proxy
from yarl import URL

from tests.engine.fake_registry import FakeRegistry, refusal
from tests.support.certificate import self_signed

NAME = "127.0.0.1"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file with a key and a certificate for 127.0.0.1 that is its own CA."""
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def secure(certificate: Path) -> AsyncIterator[FakeRegistry]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with FakeRegistry(NAME, context) as registry:
        registry.put("a/b", "1", b"{}", "application/json")
        yield registry


async def manifest(config: Config, address: str) -> bytes:
    client = Registry(config)
    try:
        return (await client.repositories(Reference.parse(f"{address}/a/b:1"))[-1].manifest("1")).content
    finally:
        await client.close()


async def test_a_configured_ca_is_trusted_and_an_unknown_one_is_not(
    secure: FakeRegistry, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await manifest(Config(), secure.address) == b"{}", "loopback is not verified"
    monkeypatch.setattr(endpoints_module, "is_insecure", lambda host, config: False)
    with pytest.raises(Unreachable, match="insecure-registries"):
        await manifest(Config(), secure.address)
    trusting = Config(registries={secure.address: {"ca": str(certificate)}})
    assert await manifest(trusting, secure.address) == b"{}"
    mirrored = Config(
        registries={"shop.example": {"mirrors": [f"https://{secure.address}"]}, **trusting.registries},
    )
    client = Registry(mirrored)
    try:
        mirror = client.repositories(Reference.parse("shop.example/a/b:1"))[0]
        assert (await mirror.manifest("1")).content == b"{}"
    finally:
        await client.close()
    with pytest.raises(InvalidArgument, match=r"CA file /nonexistent\.pem"):
        await manifest(Config(registries={secure.address: {"ca": "/nonexistent.pem"}}), secure.address)


async def test_https_does_not_lead_to_http(secure: FakeRegistry, certificate: Path) -> None:
    endpoint = Endpoint(secure.address, ca=str(certificate))
    async with FakeRegistry("127.0.0.9") as plain:
        secure.on("GET", "/v2/a", lambda request: _redirect(f"http://{plain.address}/x"))  # type: ignore[arg-type]
        client = Registry(Config())
        try:
            origin = await client._transport.origin(endpoint)
            call = Call("GET", URL(f"https://{secure.address}/v2/a"))
            response = await client._transport.send(origin, call)
            assert response.status == 404, "127.0.0.9 is loopback, so plain HTTP to it is allowed"
            for target in ("http://plain.example/x", "http://plain.example:5000/x"):
                secure.on("GET", "/v2/a", lambda request, to=target: _redirect(to))  # type: ignore[misc]
                with pytest.raises(Misled, match="from HTTPS to plain HTTP"):
                    await client._transport.send(origin, call)
        finally:
            await client.close()


async def test_https_does_not_lead_to_http_on_its_own_port(secure: FakeRegistry, certificate: Path) -> None:
    """The host is the same, and an eavesdropper would be glad."""
    name = f"shop.example:{secure.address.rpartition(':')[2]}"
    client = Registry(Config())
    try:
        origin = Origin(Endpoint(name, ca=str(certificate)), Reach.LOOPBACK)
        with pytest.raises(Misled, match="from HTTPS to plain HTTP"):
            await client._transport.send(origin, Call("GET", URL(f"http://{name}/v2/")))
    finally:
        await client.close()


def test_proxies_of_the_environment_are_used_but_not_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", ".corp.example")
    found = {host: _proxy("https", host) for host in ("quay.io", "shop.corp.example", "localhost", "127.0.0.1", "::1")}
    assert [host for host, proxy in found.items() if proxy == "http://proxy:3128"] == ["quay.io"]
    assert _proxy("http", "quay.io") is None


async def _redirect(target: str) -> web.Response:
    return web.Response(status=307, headers={"Location": target})


async def test_login_gives_an_identity_token_where_the_registry_has_them() -> None:
    async with FakeRegistry() as fake:

        async def guard(request: web.Request) -> web.Response | None:
            if request.headers.get("Authorization") == "Bearer good":
                return None
            challenge = f'Bearer realm="http://{fake.address}/token",service="shop"'
            return refusal(401, "UNAUTHORIZED", "who?", **{"WWW-Authenticate": challenge})

        async def token(request: web.Request) -> web.Response:
            if request.headers["Authorization"] != Credentials("ada", "secret").basic:
                return web.json_response({"details": "incorrect username or password"}, status=401)
            assert request.query["offline_token"] == "true"
            return web.json_response({"token": "good", "refresh_token": "identity"})

        fake.on("GET", "/v2/", guard)
        fake.on("GET", "/token", token)
        client = Registry(Config())
        try:
            for server in (fake.address, f"http://{fake.address}", f"https://{fake.address}/v1/"):
                assert await client.login(Credentials("ada", "secret", server=server)) == "identity"
            with pytest.raises(Unauthorized, match="incorrect username or password"):
                await client.login(Credentials("ada", "guess", server=fake.address))
        finally:
            await client.close()


async def test_a_registry_with_a_search_is_searched() -> None:
    async with FakeRegistry() as fake:
        asked = []

        async def results(request: web.Request) -> web.Response:
            asked.append(dict(request.query))
            return web.json_response({"results": [{"name": "shop/app", "star_count": 3}, "no object"]})

        fake.on("GET", "/v1/search", results)
        client = Registry(Config())
        try:
            found = await client.search(f"{fake.address}/app", 5)
            assert found == [{"name": "shop/app", "star_count": 3}]
            assert asked == [{"q": "app", "n": "5"}]
            fake.on("GET", "/v1/search", lambda request: _text(json.dumps([1])))  # type: ignore[arg-type]
            with pytest.raises(Unavailable, match="cannot be searched"):
                await client.search(f"{fake.address}/app", 5)
        finally:
            await client.close()


async def _text(content: str) -> web.Response:
    return web.Response(text=content)
