"""One repository at one endpoint: manifests, blobs, tags, uploads (OCI distribution-spec)."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from gantry_agent.engine.errors import Corrupt, EngineError, Forbidden, Internal, InvalidArgument, NotFound, Unavailable
from gantry_agent.engine.oci import Digest
from gantry_agent.engine.oci.documents import INDEXES, MANIFESTS, MAX_DOCUMENT

from .answers import RETRIED, Unreachable, error_of
from .auth import MAX_ANSWER, Scopes, Site, lacks_scope, read_limited
from .transport import Call, joined, reason, shown

ATTEMPTS = 5
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0  # seconds
LONGEST_WISH = 30.0  # seconds of Retry-After we wait for; of more, people are told instead
PROGRESS = 64 << 10  # bytes a resumed download must bring to count as one that works
MAX_TAGS = 10_000
ACCEPT = ", ".join((*MANIFESTS, *INDEXES))

Content = Callable[[], AsyncIterator[bytes]]
"""Starts over the bytes of a blob: an upload that was cut begins again."""


@dataclass(frozen=True)
class Fetched:
    """A manifest or index as it was sent; the digest is that of `content`."""

    content: bytes
    media_type: str
    digest: Digest


class Repository:
    """Requests for one repository. `name` is the path below the registry: library/busybox."""

    def __init__(self, site: Site, name: str) -> None:
        self.site = site
        self.name = name
        self._pull: Scopes = (f"repository:{name}:pull",)
        self._push: Scopes = (f"repository:{name}:pull,push",)

    async def manifest(self, reference: str, *, most: int = MAX_DOCUMENT) -> Fetched:
        """The manifest of a tag or digest; of a digest it is checked. Raises NotFound, Corrupt, InvalidArgument."""
        response = await self._send(Call("GET", await self._url("manifests", reference), {"Accept": ACCEPT}))
        content = await read_limited(response, most + 1)
        if len(content) > most:
            raise InvalidArgument(f"the manifest of {self.name} has more than {most} bytes")
        digest = Digest.of(content)
        wanted = reference if reference.startswith("sha256:") else response.headers.get("Docker-Content-Digest", "")
        if wanted.startswith("sha256:") and wanted != digest:
            raise Corrupt(f"manifest verification failed for digest {wanted}: got {digest}")
        return Fetched(content, response.headers.get("Content-Type", ""), digest)

    async def digest_of(self, reference: str) -> str:
        """The digest a tag points at now, "" when the tag is not there."""
        url = await self._url("manifests", reference)
        try:
            response = await self._send(Call("HEAD", url, {"Accept": ACCEPT}))
        except NotFound:
            return ""
        response.release()
        return response.headers.get("Docker-Content-Digest", "")

    async def small_blob(self, digest: Digest, size: int, *, most: int = MAX_DOCUMENT) -> bytes:
        """A whole blob of at most `most` bytes, checked. Raises InvalidArgument, Corrupt."""
        if size > most:
            raise InvalidArgument(f"the blob {digest} has {size} bytes; at most {most} are read here")
        async with aclosing(self.blob(digest, size)) as chunks:
            content = b"".join([chunk async for chunk in chunks])
        if Digest.of(content) != digest:
            raise Corrupt(f"blob verification failed for digest {digest}: got {Digest.of(content)}")
        return content

    async def blob(self, digest: Digest, size: int, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob from `offset` on, in chunks of up to a megabyte; exactly `size` in all.

        A cut connection is taken up where it broke. The digest is for the caller to check. Raises NotFound,
        Corrupt for another length, Unreachable after several cuts without progress.
        """
        failures = 0
        while offset < size or size == 0:
            began = offset
            try:
                response = await self._open(digest, size, offset)
                try:
                    async for chunk in _read(response, offset):
                        offset += len(chunk)
                        if offset > size:
                            raise Corrupt(f"blob {digest}: the registry sends more than the {size} bytes announced")
                        yield chunk
                finally:
                    response.close() if offset < size else response.release()
                if offset == size:
                    return
                raise Unreachable(f"blob {digest}: the answer ended after {offset} of {size} bytes")
            except Unreachable:
                failures = 0 if offset - began >= PROGRESS else failures + 1
                if failures >= ATTEMPTS:
                    raise
            await asyncio.sleep(pause(failures))

    async def has_blob(self, digest: Digest) -> bool:
        """Whether the registry has it, in this repository."""
        try:
            response = await self._send(Call("HEAD", await self._url("blobs", digest)), self._push)
        except NotFound:
            return False
        response.release()
        return True

    async def upload(self, digest: Digest, size: int, content: Content, source: str = "") -> bool:
        """Store a blob here; True when it was mounted from the repository `source` instead of sent."""
        for number in range(ATTEMPTS):
            try:
                place = await self._begin(digest, source)
                if place is None:
                    return True
                await self._fill(place, digest, size, content)
                return False
            except Unavailable:
                if number == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(pause(number))
        raise AssertionError("unreachable")

    async def put_manifest(self, reference: str, content: bytes, media_type: str) -> Digest:
        """Store a manifest under a tag or its digest."""
        url = await self._url("manifests", reference)
        response = await self._send(
            Call("PUT", url, {"Content-Type": media_type}, content), self._push, accept=(200, 201, 202)
        )
        response.release()
        return Digest.of(content)

    async def tags(self) -> list[str]:
        """Every tag, in the registry's order, at most MAX_TAGS."""
        found: list[str] = []
        url: URL | None = (await self._url("tags", "list")).with_query(n=1000)
        while url and len(found) < MAX_TAGS:
            response = await self._send(Call("GET", url))
            try:
                listed = json.loads(await read_limited(response)).get("tags") or []
            except (ValueError, AttributeError, RecursionError) as exc:
                raise Internal(f"the list of tags of {self.name} is not understood") from exc
            found += [tag for tag in listed if isinstance(tag, str)] if isinstance(listed, list) else []
            links: Any = response.links  # typed by aiohttp as a map without keys
            following = links.get("next", {}).get("url")
            url = following if isinstance(following, URL) and following.origin() == url.origin() and listed else None
        return found[:MAX_TAGS]

    async def _url(self, kind: str, rest: str) -> URL:
        return await self.site.base() / f"v2/{self.name}/{kind}/{rest}"

    async def _open(self, digest: Digest, size: int, offset: int) -> aiohttp.ClientResponse:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        response = await self._send(Call("GET", await self._url("blobs", digest), headers), accept=(200, 206))
        begins = 0
        if response.status == 206:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
                response.close()
                raise Corrupt(f"blob {digest}: the registry answers another range than asked for")
            begins = offset
        length = response.content_length
        if length is not None and length != size - begins:
            response.close()
            raise Corrupt(f"blob {digest}: the registry announces {length + begins} bytes, the manifest {size}")
        return response

    async def _begin(self, digest: Digest, source: str) -> URL | None:
        """Where to upload to; None when the blob was mounted."""
        uploads = await self._url("blobs", "uploads/")
        if source:
            scopes = (*self._push, f"repository:{source}:pull")
            mounting = Call("POST", uploads.with_query({"mount": str(digest), "from": source}))
            try:
                response = await self._send(mounting, scopes, accept=(201, 202))
            except Unavailable:
                raise
            except EngineError:
                return await self._begin(digest, "")  # no right to read there: then it is sent
        else:
            response = await self._send(Call("POST", uploads), self._push, accept=(202,))
        response.release()
        return None if response.status == 201 else self._place(uploads, response)

    async def _fill(self, place: URL, digest: Digest, size: int, content: Content) -> None:
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        sending = Call("PATCH", place, headers, content())
        response = await self._send(sending, self._push, accept=(202, 204), attempts=1)
        response.release()
        place = self._place(place, response)
        closing = Call("PUT", place.extend_query({"digest": str(digest)}), {"Content-Length": "0"})
        response = await self._send(closing, self._push, accept=(201, 204), attempts=1)
        response.release()

    def _place(self, url: URL, response: aiohttp.ClientResponse) -> URL:
        target = response.headers.get("Location")
        if not target:
            raise Internal(f"{shown(url)}: the registry names no place to upload to")
        return joined(url, target)

    async def _send(
        self, call: Call, scopes: Scopes = (), *, accept: tuple[int, ...] = (200,), attempts: int = ATTEMPTS
    ) -> aiohttp.ClientResponse:
        """The answer with a status in `accept`; others are raised. What may pass by itself is tried again."""
        what = f"{call.method} {shown(call.url)}"
        for number in range(attempts):
            try:
                response = await self.site.send(call, scopes or self._pull)
            except Unreachable:
                if number == attempts - 1:
                    raise
                await asyncio.sleep(pause(number))
                continue
            if response.status in accept:
                return response
            if lacks_scope(response):
                response.release()
                raise Forbidden("denied: requested access to the resource is denied")
            wish = _wish(response)
            content = await read_limited(response, MAX_ANSWER)
            if response.status not in RETRIED or number == attempts - 1 or wish > LONGEST_WISH:
                raise error_of(response.status, content, what)
            await asyncio.sleep(max(pause(number), wish))
        raise AssertionError("unreachable")


async def _read(response: aiohttp.ClientResponse, offset: int) -> AsyncIterator[bytes]:
    """The body, without what was read before when the registry begins from the start. Raises Unreachable."""
    skip = offset if response.status == 200 else 0
    try:
        while chunk := await response.content.readany():
            if skip:
                skip, chunk = max(0, skip - len(chunk)), chunk[skip:]
            if chunk:
                yield chunk
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        raise Unreachable(f"{response.method} {shown(response.url)}: {reason(exc)}") from exc


def pause(number: int) -> float:
    """Seconds before attempt `number` + 2: doubling, with jitter so that many clients do not come back at once."""
    return min(FIRST_PAUSE * 2.0**number, LONGEST_PAUSE) * random.uniform(0.5, 1)


def _wish(response: aiohttp.ClientResponse) -> float:
    """Seconds the registry asks us to wait; a date instead of a number is not read."""
    text = response.headers.get("Retry-After", "")
    return float(text[:9]) if text.isascii() and text.isdigit() else 0.0
