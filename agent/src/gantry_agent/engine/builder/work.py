"""What the stages of one build have in common."""

import asyncio
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from gantry_agent.engine.core import Engine
from gantry_agent.engine.images.progress import Progress
from gantry_agent.engine.layers.pack import View, layers_view
from gantry_agent.engine.oci import Platform
from gantry_agent.engine.store import Image

from .bases import image_of
from .cache import Cache
from .contexts import Context
from .filling import Files, fill_folder
from .options import BuildOptions

EPOCH = "SOURCE_DATE_EPOCH"


@dataclass
class Work:
    """One build under way. `folder` is its workspace; it and `secrets` are deleted in the end."""

    engine: Engine
    options: BuildOptions
    context: Context
    cache: Cache
    progress: Progress
    folder: Path
    secrets: Path
    """A folder on a filesystem in memory, made when it is needed."""
    built: dict[int, "asyncio.Future[Image | None]"] = field(default_factory=dict)
    """Stages by index: their images, None for one that holds nothing."""
    args: dict[int, dict[str, str]] = field(default_factory=dict)
    """Stages that are built, by index: the build arguments at their end, which stages on top of them inherit."""
    _folders: int = 0
    _unpacked: Path | None = None
    _unpacking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @cached_property
    def given(self) -> Mapping[str, str]:
        """The build arguments that have a value."""
        return {name: value for name, value in self.options.args.items() if value is not None}

    @cached_property
    def epoch(self) -> int | None:
        """SOURCE_DATE_EPOCH: the time that everything made here has, in seconds."""
        value = self.given.get(EPOCH, "")
        return int(value) if value.isascii() and value.isdigit() and len(value) <= 11 else None

    @cached_property
    def platform(self) -> Platform:
        """What is built for."""
        return self.options.platform or Platform.host()

    async def image(self, name: str, platform: Platform | None = None) -> Image:
        """An image from outside of this build."""
        options = self.options
        wanted = platform or options.platform
        return await image_of(self.engine, name, wanted, options.credentials, self.progress, pulls=options.pulls)

    async def unpacked_context(self) -> Path:
        """The context as a folder, for those who mount it: without what is ignored, the same for all of a build."""
        async with self._unpacking:
            if self._unpacked is None:
                folder = self.new_folder("context")
                await fill_folder(self.engine, folder, Files(self.context.view, ("/",), hidden=self.context.ignore))
                self._unpacked = folder
            return self._unpacked

    def new_folder(self, what: str) -> Path:
        """An empty folder in the workspace."""
        folder = self.new_place(what)
        folder.mkdir()
        return folder

    def new_place(self, what: str) -> Path:
        """Where a folder can be made in the workspace."""
        self._folders += 1
        return self.folder / f"{what}-{self._folders}"

    def secret_file(self, content: bytes, mode: int, uid: int, gid: int) -> Path:
        """A file of that content in memory, and of no name that says more. Blocks."""
        self.secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.secrets / secrets.token_hex(8)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.write(descriptor, content)
            os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
        return path

    def stack(self, image: Image | None) -> View:
        """An image's files, to copy from; nothing at all for None."""
        place = self.folder / "view"
        place.mkdir(exist_ok=True)
        links = self.engine.store.images.stack(image.id) if image else []
        return layers_view(links, self.engine.layout.links, place)
