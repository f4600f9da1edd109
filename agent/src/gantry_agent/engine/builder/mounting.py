"""RUN --mount: what a step sees beside the image so far, and what of it stays for the next build."""

import asyncio
import errno
import os
import posixpath
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from gantry_agent.engine.containers.running import Hidden
from gantry_agent.engine.errors import InvalidArgument, Unsupported
from gantry_agent.engine.layers import overlay
from gantry_agent.engine.runtime.rootfs import open_inside
from gantry_agent.engine.store import Image

from .dockerfile import Mount
from .dockerfile.instructions import Run
from .filling import Files, fill_folder, workspace
from .work import Work

SCRIPTS = "/dev/pipes"  # where BuildKit puts a heredoc that is a script
Find = Callable[[str], Awaitable[Image | None]]
"""The image of `from=`: a stage's or another's; None for one that holds nothing."""


@asynccontextmanager
async def mounted(work: Work, run: Run, find: Find, folder: str) -> AsyncIterator[list[dict[str, Any]]]:
    """The step's mounts as HostConfig.Mounts has them; targets count from the working `folder`.

    Raises InvalidArgument, Unsupported.
    """
    async with AsyncExitStack() as stack:
        found = []
        for mount in run.mounts:
            if made := await _made(work, mount, find, stack):
                found.append({**made, "Target": posixpath.join(folder or "/", made["Target"])})
        if script := run.script:
            path = work.new_folder("script") / script.name
            path.write_text(script.content)
            path.chmod(0o755)
            found.append(_bind(path, f"{SCRIPTS}/{script.name}", read_only=True))
        yield found


async def _made(work: Work, mount: Mount, find: Find, stack: AsyncExitStack) -> dict[str, Any] | None:
    if mount.type == "tmpfs":
        return {"Type": "tmpfs", "Target": mount.target, "TmpfsOptions": {"SizeBytes": mount.size}}
    if mount.type == "secret":
        return await _secret(work, mount)
    if mount.type == "cache":
        return await _cache(work, mount, find, stack)
    if mount.type == "ssh":
        raise Unsupported("ssh mounts are not supported by this engine: use a secret")
    source = await _source(work, mount, find, stack)
    if not mount.read_only:
        source = await _scratch_copy(work, source, stack)
    return _bind(source, mount.target, read_only=mount.read_only)


async def _source(work: Work, mount: Mount, find: Find, stack: AsyncExitStack) -> Path:
    """The file or folder of the host a bind shows; links on the way stay inside the stage or the context."""
    if not mount.from_:
        base = await work.unpacked_context()
    else:
        base = work.new_folder("bind")
        image = await find(mount.from_)
        links = work.engine.store.images.stack(image.id) if image else []
        stack.push_async_callback(overlay.unmount, base)  # before: a mount that is given up is made to its end
        await overlay.view(links, work.engine.layout.links, base)
    return await asyncio.to_thread(_inside, base, mount.source or "/")


def _inside(base: Path, path: str) -> Path:
    try:
        descriptor = open_inside(base, path, os.O_PATH)
    except OSError as exc:
        raise InvalidArgument(f"mount source {path}: {os.strerror(exc.errno or 0).lower()}") from exc
    try:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    finally:
        os.close(descriptor)


async def _scratch_copy(work: Work, source: Path, stack: AsyncExitStack) -> Path:
    """`rw`: what is written is seen by the step alone."""
    folder = work.new_folder("rw")
    if not source.is_dir():
        copied = folder / source.name
        await asyncio.to_thread(shutil.copy2, source, copied)
        return copied
    merged = folder / "merged"
    stack.push_async_callback(overlay.unmount, merged)
    await overlay.mount_on(source, folder / "upper", folder / "work", merged)
    return merged


async def _cache(work: Work, mount: Mount, find: Find, stack: AsyncExitStack) -> dict[str, Any]:
    caches = work.engine.caches
    name = mount.id or mount.target
    folder = await stack.enter_async_context(caches.use(work.options.tenant, name, mount.sharing))
    if not folder.exists():
        async with workspace(work.engine, "cache") as made:
            new = made / "content"
            await asyncio.to_thread(new.mkdir)
            if mount.from_:
                image = await find(mount.from_)
                await fill_folder(work.engine, new, Files(work.stack(image), (mount.source or "/",)))
            mode = 0o755 if mount.mode is None else mount.mode
            await asyncio.to_thread(_place, new, folder, mode, mount.uid or 0, mount.gid or 0)
    return _bind(folder, mount.target, read_only=mount.read_only)


def _place(new: Path, folder: Path, mode: int, uid: int, gid: int) -> None:
    folder.parent.mkdir(mode=0o711, exist_ok=True)
    new.chmod(mode)
    os.chown(new, uid, gid)
    try:
        new.rename(folder)
    except OSError as exc:
        if exc.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another step of another build was quicker
            raise


async def _secret(work: Work, mount: Mount) -> dict[str, Any] | None:
    """A file in memory, gone with the build; none where the secret is wanted as a variable alone."""
    content = _secret_of(work, mount)
    if content is None or (mount.env is not None and not mount.target):
        return None
    mode = 0o400 if mount.mode is None else mount.mode
    path = await asyncio.to_thread(work.secret_file, content, mode, mount.uid or 0, mount.gid or 0)
    return _bind(path, mount.target or f"/run/secrets/{_secret_name(mount)}", read_only=True)


def secret_env(work: Work, run: Run) -> Hidden | None:
    """The secrets that a step gets as variables. Raises InvalidArgument."""
    found = []
    for mount in run.mounts:
        if mount.env is None or (content := _secret_of(work, mount)) is None:
            continue
        try:
            name, value = mount.env or _secret_name(mount), content.decode()
        except UnicodeDecodeError as exc:
            raise InvalidArgument(f"secret {_secret_name(mount)} is no text: mount it as a file") from exc
        if not name or "=" in name or "\0" in name + value:
            raise InvalidArgument(f"secret {_secret_name(mount)} cannot be the variable {name!r}")
        found.append(f"{name}={value}")
    return Hidden(found, work.secrets) if found else None


def _secret_of(work: Work, mount: Mount) -> bytes | None:
    content = work.options.secrets.get(_secret_name(mount))
    if content is None and mount.required:
        raise InvalidArgument(f"secret {_secret_name(mount)}: not found; give it with the build")
    return content


def _secret_name(mount: Mount) -> str:
    return mount.id or mount.source or mount.target.rpartition("/")[2]


def _bind(source: Path, target: str, *, read_only: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": read_only}
