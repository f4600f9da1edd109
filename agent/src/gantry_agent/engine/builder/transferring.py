"""COPY and ADD: where their files come from, how history tells of them, and what they become."""

import asyncio
import json
import posixpath
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gantry_agent.engine.errors import InvalidArgument

from . import fetching, settings
from .dockerfile import InlineFile, Mount
from .dockerfile import instructions as the
from .documents import note
from .filling import Files, Placing, fill, fingerprint
from .work import Work

if TYPE_CHECKING:
    from .stage import StageBuild

MODE = re.compile(r"[0-7]{1,5}\Z")
SEVERAL = "When using {} with more than one source file, the destination must be a directory and end with a /"


async def transfer(stage: "StageBuild", it: the.Transfer) -> None:
    """One COPY or ADD, from the cache or done. Raises InvalidArgument."""
    parts = await _parts(stage, it)
    config = stage.config
    place = _destination(config, it.destination)
    if (len(parts) > 1 or len(parts[0].patterns) > 1) and not place.endswith("/"):
        raise InvalidArgument(SEVERAL.format(it.name))
    prints = [await fingerprint(each) for each in parts]
    what = prints[0] if len(prints) == 1 else "multi:" + "+".join(each.partition(":")[2] for each in prints)
    owner = f"--chown={it.chown} " if it.chown else ""
    text = note(settings.shell_of(config), f"{it.name} {owner}{what} in {it.destination} ")
    placing = Placing(
        place=place,
        owner=it.chown,
        mode=_mode(it.chmod),
        keeps_owner=isinstance(it, the.Copy) and bool(it.from_),
        latest=stage.work.epoch,
        is_link=it.link,
    )
    placed = [(each, replace(placing, unpacks=_unpacks(it, each))) for each in parts]
    key = stage.key(text, _flags(it), json.dumps([[how.keeps_owner, how.unpacks] for _, how in placed]))
    if await stage.cached(key, config):
        return
    layer = await fill(stage.work.engine, stage.image, placed)
    await stage.commit(key, config, layer)


async def mounted_fingerprint(stage: "StageBuild", mount: Mount) -> str:
    """A digest of what a bind mount of RUN shows."""
    if mount.from_:
        image = await stage.of(mount.from_)
        return await fingerprint(Files(stage.work.stack(image), (mount.source or "/",)))
    context = stage.work.context
    return await fingerprint(Files(context.view, (mount.source or "/",), hidden=context.ignore))


async def _parts(stage: "StageBuild", it: the.Transfer) -> list[Files]:
    """The files by where they come from: a stage or the context, addresses, and those written in the Dockerfile."""
    work, excludes = stage.work, "\n".join(it.exclude)
    addresses = [each for each in it.sources if isinstance(it, the.Add) and fetching.is_remote(each)]
    paths = [each for each in it.sources if each not in addresses]
    found = []
    if paths:
        keeps_path = isinstance(it, the.Copy) and it.parents
        if isinstance(it, the.Copy) and it.from_:
            view, hidden = work.stack(await stage.copied(it)), ""
        else:
            view, hidden = work.context.view, work.context.ignore
        found.append(Files(view, tuple(paths), hidden, excludes, keeps_path))
    if isinstance(it, the.Add):
        found += [await fetching.fetch(work, it, each) for each in addresses]
    if it.files:
        found.append(await asyncio.to_thread(_written, work, it.files))
    return found


def _written(work: Work, inline: Sequence[InlineFile]) -> Files:
    """Heredocs as files. Blocks."""
    folder = work.new_folder("inline")
    names = []
    for each in inline:
        name = posixpath.basename(each.name)
        if name in ("", ".", ".."):
            raise InvalidArgument(f"a file cannot be called {each.name!r}")
        (folder / name).write_text(each.content, errors="surrogateescape")
        (folder / name).chmod(0o644)
        names.append(re.sub(r"([*?\[\\])", r"\\\1", name))
    return Files({"kind": "folder", "path": str(folder)}, tuple(names))


def _unpacks(it: the.Transfer, part: Files) -> bool:
    """Whether archives of this part are unpacked: by themselves only those that come from no address."""
    return isinstance(it, the.Add) and (not part.is_fetched if it.unpack is None else it.unpack)


def _destination(config: settings.Config, path: str) -> str:
    """Absolute, counted from the working folder; a slash or /. at its end, which means a folder, stays a slash."""
    whole = settings.working_folder(config, path)
    is_folder = path.endswith("/") or posixpath.basename(path) in (".", "..")
    return whole + "/" if is_folder and whole != "/" else whole


def _flags(it: the.Transfer) -> str:
    """What decides the outcome and is not in the line of history."""
    told = {"chmod": it.chmod, "link": it.link, "exclude": it.exclude}
    if isinstance(it, the.Copy):
        told["parents"] = it.parents
    if isinstance(it, the.Add) and it.unpack is not None:
        told["unpack"] = str(it.unpack)
    return " ".join(f"{name}={value}" for name, value in told.items() if value not in ("", False, ()))


def _mode(text: str) -> int | None:
    if not text:
        return None
    if not MODE.match(text):
        raise InvalidArgument(f"invalid chmod parameter: {text!r}: expected an octal number such as 755")
    return int(text, 8) & 0o7777
