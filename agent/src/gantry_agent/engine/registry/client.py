"""All registries, for the engine: which repositories to ask for an image, logging in, searching."""

import json
from typing import Any
from urllib.parse import urlsplit

from gantry_agent.engine.config import Config
from gantry_agent.engine.errors import Unavailable
from gantry_agent.engine.oci import Reference

from .auth import Site, read_limited
from .credentials import ANONYMOUS, Credentials
from .endpoints import HUB, HUB_HOSTS, Endpoint, endpoints
from .repository import Repository
from .transport import Call, Transport

MAX_SITES = 64
SEARCH_HOST = "index.docker.io"


class Registry:
    """The engine's one registry client; `close` at the end."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._transport = Transport(config)
        self._sites: dict[tuple[Endpoint, Credentials], Site] = {}

    async def close(self) -> None:
        """Close every connection."""
        self._sites.clear()
        await self._transport.close()

    def repositories(
        self, reference: Reference, credentials: Credentials = ANONYMOUS, *, mirrors: bool = True
    ) -> list[Repository]:
        """Where the image may be, in the order to ask: mirrors, which never see the credentials, then its registry."""
        found = []
        for endpoint in endpoints(reference.registry, self._config, mirrors=mirrors):
            who = ANONYMOUS if endpoint.is_mirror else credentials
            found.append(Repository(self._site(endpoint, who), reference.repository))
        return found

    async def login(self, credentials: Credentials) -> str:
        """Check credentials with the registry they name; its identity token, if any. Raises Unauthorized."""
        endpoint = endpoints(_host_of(credentials.server), self._config, mirrors=False)[-1]
        return await Site(self._transport, endpoint, credentials).login()

    async def search(self, term: str, limit: int, credentials: Credentials = ANONYMOUS) -> list[dict[str, Any]]:
        """What Docker Hub, or `HOST/term` at another registry, finds by its first API. Raises Unavailable."""
        host, slash, rest = term.partition("/")
        if not slash or not ("." in host or ":" in host or host == "localhost"):
            host, rest = SEARCH_HOST, term
        endpoint = Endpoint(SEARCH_HOST) if host in HUB_HOSTS else endpoints(host, self._config, mirrors=False)[-1]
        site = self._site(endpoint, credentials)
        url = (await site.base()) / "v1/search"
        response = await site.send(Call("GET", url.with_query(q=rest, n=limit)), ())
        content = await read_limited(response)
        if response.status != 200:
            raise Unavailable(f"{host} cannot be searched: it answers {response.status}")
        try:
            results = json.loads(content)["results"]
            return [each for each in results if isinstance(each, dict)]
        except (ValueError, KeyError, TypeError, RecursionError) as exc:
            raise Unavailable(f"{host} cannot be searched: its answer is not understood") from exc

    def _site(self, endpoint: Endpoint, credentials: Credentials) -> Site:
        key = endpoint, credentials
        site = self._sites.pop(key, None) or Site(self._transport, endpoint, credentials)
        while len(self._sites) >= MAX_SITES:
            del self._sites[next(iter(self._sites))]
        self._sites[key] = site
        return site


def _host_of(server: str) -> str:
    """HOST[:PORT] of a serveraddress as clients send it: with or without scheme and path; "" is Docker Hub."""
    host = urlsplit(server if "://" in server else f"//{server}").netloc
    return HUB if not host or host in HUB_HOSTS else host
