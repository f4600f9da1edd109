"""Content by its digest: blobs/sha256/HEX. A file that has its final name is whole, verified and on the disk."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gantry_agent.engine.errors import Corrupt, NotFound
from gantry_agent.engine.layout import Layout
from gantry_agent.engine.oci import Digest

from . import files
from .lease import Leases

STORING = "storing a blob"
FLUSH = 1 << 20  # bytes gathered before they go to a thread


class Blobs:
    """The blobs of one store."""

    def __init__(self, layout: Layout, leases: Leases) -> None:
        self._layout = layout
        self._leases = leases

    def path(self, digest: Digest) -> Path:
        """Where it is, or would be."""
        return self._layout.blobs / Digest.parse(digest).hex

    def has(self, digest: Digest) -> bool:
        """Whether it is here. Inside a lease it then stays."""
        self._leases.pin(digest)
        return self.path(digest).exists()

    def size(self, digest: Digest) -> int:
        """Its length in bytes. Raises NotFound."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError as exc:
            raise NotFound(f"blob {digest} is not in the store") from exc

    def read(self, digest: Digest) -> bytes:
        """A small blob (a config, a manifest). Raises NotFound, or Corrupt when it is not what its name says."""
        try:
            content = self.path(digest).read_bytes()
        except FileNotFoundError as exc:
            raise NotFound(f"blob {digest} is not in the store") from exc
        if Digest.of(content) != digest:
            raise Corrupt(f"blob {digest} is damaged: its content has digest {Digest.of(content)}")
        return content

    async def put(self, content: bytes) -> Digest:
        """Store `content`."""
        async with self.writer() as writer:
            await writer.write(content)
            return await writer.commit()

    @asynccontextmanager
    async def writer(self, expected: Digest | None = None, size: int | None = None) -> AsyncIterator["BlobWriter"]:
        """Receive a blob; what is not committed leaves no trace.

        Raises Corrupt as soon as it is longer than `size`, and at commit when size or digest differ.
        """
        writer = BlobWriter(self, expected, size)
        try:
            yield writer
        finally:
            await asyncio.shield(writer.discard())

    async def adopt_file(self, path: Path, digest: Digest) -> None:
        """A file below tmp/ whose content was found to be `digest` becomes that blob too; the file stays."""
        if not self.has(digest):
            await asyncio.shield(asyncio.to_thread(self._link, path, digest))

    def _link(self, path: Path, digest: Digest) -> None:
        temporary = self.stage()
        with files.explained(STORING):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fchmod(descriptor, 0o400)
                files.sync_file(descriptor)
            finally:
                os.close(descriptor)
            os.link(path, temporary)
            self.adopt(temporary, digest)

    def stage(self) -> Path:
        """The name of a new temporary file."""
        return files.temporary(self._layout.tmp, "blob")

    def adopt(self, temporary: Path, digest: Digest) -> None:
        """A durable file becomes the blob `digest`. Blocks; called in threads."""
        self._leases.pin(digest, is_new=True)
        files.move(temporary, self.path(digest))
        files.sync_folder(self._layout.blobs)


class BlobWriter:
    """A blob that is being received. Made by `Blobs.writer`."""

    def __init__(self, blobs: Blobs, expected: Digest | None, size: int | None) -> None:
        self._blobs = blobs
        self._expected = expected
        self._size = size
        self._hash = hashlib.sha256()
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._working: asyncio.Future[Any] | None = None
        self.received = 0
        """Bytes so far."""
        self.temporary = blobs.stage()
        with files.explained(STORING):
            self._file: int | None = os.open(self.temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)

    async def write(self, chunk: bytes) -> None:
        """Add to the end. Hashing and writing happen in a thread, one flush behind."""
        self.received += len(chunk)
        if self._size is not None and self.received > self._size:
            raise Corrupt(f"{self._expected or 'the blob'} is longer than the {self._size} bytes it should have")
        self._pending.append(bytes(chunk))
        self._pending_size += len(chunk)
        if self._pending_size >= FLUSH:
            await self._settle()
            self._working = asyncio.ensure_future(asyncio.to_thread(self._flush, self._take()))

    async def commit(self) -> Digest:
        """Verify, make durable, give it its name. Raises Corrupt with what was got and wanted."""
        await self._settle()
        finishing = asyncio.ensure_future(asyncio.to_thread(self._finish, self._take()))
        self._working = finishing
        return await asyncio.shield(finishing)

    async def discard(self) -> None:
        """Forget what was not committed. A thread that is at work on the file ends first."""
        if self._working is not None:
            await asyncio.wait([self._working])
        if self._file is not None:
            await asyncio.to_thread(self._close)

    def _take(self) -> list[bytes]:
        taken, self._pending, self._pending_size = self._pending, [], 0
        return taken

    async def _settle(self) -> None:
        """The flush under way has ended; its error is raised here."""
        if self._working is not None:
            await asyncio.shield(self._working)
            self._working = None

    def _flush(self, chunks: list[bytes]) -> None:
        assert self._file is not None
        data = b"".join(chunks)
        self._hash.update(data)
        view = memoryview(data)
        with files.explained(STORING):
            while view:
                view = view[os.write(self._file, view) :]

    def _finish(self, chunks: list[bytes]) -> Digest:
        assert self._file is not None
        self._flush(chunks)
        got = Digest("sha256:" + self._hash.hexdigest())
        if self._size is not None and self.received != self._size:
            raise Corrupt(f"{self._expected or got}: got {self.received} bytes, want {self._size}")
        if self._expected is not None and got != self._expected:
            raise Corrupt(f"content does not match its digest: got {got}, want {self._expected}")
        with files.explained(STORING):
            os.fchmod(self._file, 0o400)
            files.sync_file(self._file)
            self._blobs.adopt(self.temporary, got)
        os.close(self._file)
        self._file = None
        return got

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
            files.remove(self.temporary)
