"""A registry that lies, stutters, redirects or asks for tokens, in the test's own event loop.

async with FakeRegistry() as fake:
    fake.add(busybox(), "gantry/busybox", "1")
    fake.blobs[digest] = b"something else"
    fake.on("GET", "/v2/x/blobs/", handler)        # instead of the usual answer; None falls through to it
    fake.seen                                      # every request, in order
"""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web
from gantry_agent.engine.oci.documents import DOCKER_MANIFEST

from tests.support.images import TestImage, digest

Handler = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class FakeRegistry:
    """Answers GET and HEAD of manifests, blobs and tags from its dictionaries; takes uploads of any form."""

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.host = host
        self.tls = tls
        self.manifests: dict[str, tuple[bytes, str]] = {}
        """repository:reference → content, Content-Type."""
        self.blobs: dict[str, bytes] = {}
        self.seen: list[web.Request] = []
        self._special: list[tuple[str, str, Handler]] = []

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, 0, ssl_context=self.tls)
        await site.start()
        assert site._server
        self.address = f"{self.host}:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def add(self, image: TestImage, repository: str, *tags: str) -> str:
        """Serve an image; the reference of its first tag."""
        self.blobs.update({digest(blob): blob for blob in (*image.blobs, image.configuration)})
        for tag in (*tags, digest(image.manifest)):
            self.put(repository, tag, image.manifest, DOCKER_MANIFEST)
        return f"{self.address}/{repository}:{tags[0]}"

    def put(self, repository: str, reference: str, content: bytes | dict[str, Any], kind: str) -> str:
        """Serve a document under a tag or digest; its digest."""
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.manifests[f"{repository}:{reference}"] = raw, kind
        return digest(raw)

    def on(self, method: str, path: str, handler: Handler) -> None:
        """Ask `handler` first for paths that begin so."""
        self._special.insert(0, (method, path, handler))

    def paths(self, method: str = "GET") -> list[str]:
        """What was asked for."""
        return [request.path for request in self.seen if request.method == method]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        for method, path, handler in self._special:
            if request.method == method and request.path.startswith(path):
                answer = await handler(request)
                if answer is not None:
                    return answer
        if request.path == "/v2/":
            return web.json_response({})
        repository, _, rest = request.path.removeprefix("/v2/").rpartition("/")
        repository, _, kind = repository.rpartition("/")
        if kind == "manifests" and request.method in ("GET", "HEAD"):
            if found := self.manifests.get(f"{repository}:{rest}"):
                headers = {"Content-Type": found[1], "Docker-Content-Digest": digest(found[0])}
                return web.Response(body=found[0], headers=headers)
            return refusal(404, "MANIFEST_UNKNOWN", "manifest unknown")
        if kind == "blobs" and rest in self.blobs:
            return await ranged(request, self.blobs[rest])
        return refusal(404, "BLOB_UNKNOWN", "blob unknown to registry")


def refusal(status: int, code: str, message: str, **headers: str) -> web.Response:
    """An error as registries word it."""
    return web.json_response({"errors": [{"code": code, "message": message}]}, status=status, headers=headers)


async def ranged(request: web.Request, content: bytes) -> web.Response:
    """The content, or what `Range: bytes=N-` asks of it."""
    asked = request.headers.get("Range", "")
    if not asked:
        return web.Response(body=content, content_type="application/octet-stream")
    start = int(asked.removeprefix("bytes=").rstrip("-"))
    headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
    return web.Response(body=content[start:], status=206, headers=headers)


def cut_after(content: bytes, count: int) -> Handler:
    """A handler that closes the connection `count` bytes after where it was asked to begin."""

    async def answer(request: web.Request) -> web.StreamResponse:
        whole = await ranged(request, content)
        body = bytes(whole.body)  # type: ignore[arg-type]
        response = web.StreamResponse(status=whole.status, headers={"Content-Length": str(len(body))})
        if "Content-Range" in whole.headers:
            response.headers["Content-Range"] = whole.headers["Content-Range"]
        await response.prepare(request)
        await response.write(body[:count])
        if count < len(body):
            await asyncio.sleep(0)
            assert request.transport
            request.transport.close()
        else:
            await response.write_eof()
        return response

    return answer
