"""Several places that may have the same content: mirrors first, the registry itself last."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from gantry_agent.engine.errors import Corrupt, EngineError, InvalidArgument
from gantry_agent.engine.oci import Digest

from .repository import Fetched, Repository


class Sources:
    """Asks one repository after the other. A mirror that fails, lies or lacks something is passed over."""

    def __init__(self, repositories: Sequence[Repository]) -> None:
        self._repositories = list(repositories)

    async def manifest(self, reference: str) -> Fetched:
        """The manifest from the first that has it. Raises what the last one said."""
        for repository in self._repositories[:-1]:
            try:
                return await repository.manifest(reference)
            except EngineError:
                continue
        return await self._repositories[-1].manifest(reference)

    async def small_blob(self, digest: Digest, size: int) -> bytes:
        """A small blob, checked. Raises what the last one said."""
        for repository in self._repositories[:-1]:
            try:
                return await repository.small_blob(digest, size)
            except InvalidArgument:
                raise
            except EngineError:
                continue
        return await self._repositories[-1].small_blob(digest, size)

    async def blob(self, digest: Digest, size: int) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob; where one place fails in the middle, the next goes on. Its digest is not checked.

        What one has sent that then lies cannot be taken back: Corrupt ends it, unless nothing was sent yet.
        """
        offset = 0
        for number, repository in enumerate(self._repositories, 1):
            try:
                async with aclosing(repository.blob(digest, size, offset)) as chunks:
                    async for chunk in chunks:
                        offset += len(chunk)
                        yield chunk
                return
            except EngineError as exc:
                if number == len(self._repositories) or (offset and isinstance(exc, Corrupt)):
                    raise

    async def tags(self) -> list[str]:
        """Every tag the registry itself lists."""
        return await self._repositories[-1].tags()
