"""The child process that works inside a tree: forked by `nursery.py`, one job, then the end.

The job is JSON; the report too, one object: {"done": …}, {"refused": message} for content that is not acceptable, or
{"errno": …, "message": …} when the system refuses. Everything needed is imported before the root changes, and nothing
can be imported after: files inside are somebody else's.
"""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gantry_agent.engine.builder.ignore import Ignore
from gantry_agent.engine.errors import EngineError

from . import changes_walk, copying, placing, stubs
from .content import Files, FolderFiles
from .extract import ExtractError, Extractor, Limits
from .packer import BUFFER, Packer
from .selection import Fingerprint, Tree
from .spool import Spooler, SpoolFiles
from .streams import Damaged, Input, Pipeline, import_all, prepare
from .tar_reader import Source, TarError, TarReader
from .views import enter, enter_view, open_view
from .walk import OPEN_FOLDER

Job = dict[str, Any]
NICER = 15  # several layers at once would leave the engine’s event loop, and containers, a small share of the cores


def unpack(job: Job) -> Job:
    """Unpack the layer on standard input into the empty folder `target`."""
    os.nice(NICER)
    limits = Limits(*job["limits"])
    source = Input()
    chunks = prepare(source)
    enter(job["target"], keep_admin=True)  # for trusted.overlay.opaque
    pipeline = Pipeline(source, limits, chunks)
    extractor = Extractor(limits)
    extractor.extract(TarReader(Source(pipeline.more)))
    return {"diff_id": pipeline.digest(), "size": extractor.size, "entries": extractor.entries}


def pack_tree(job: Job) -> Job:
    """Write everything in the view to standard output."""
    enter_view(job["view"])
    packer = Packer(1)
    packer.tree(os.open("/", OPEN_FOLDER))
    packer.end()
    return {}


def pack_diff(job: Job) -> Job:
    """Write the folder `upper` to standard output as a layer on top of what `lowers` shows."""
    upper = os.open(job["upper"], OPEN_FOLDER)
    lowers = _enter_lowers(job)
    packer = Packer(1, job.get("latest"))
    packer.changes(upper, lowers)
    packer.end()
    return {"size": packer.size, "entries": packer.entries, "is_exact": packer.is_exact}


def clear_stubs(job: Job) -> Job:
    """Take empty places of mounts out of the folder `upper`."""
    upper = os.open(job["upper"], OPEN_FOLDER)
    lowers = _enter_lowers(job)
    for path in sorted(job["paths"], reverse=True):
        stubs.clear(upper, lowers, os.fsencode(path))
    return {}


def changes(job: Job) -> Job:
    """List the changes in the folder `upper` to standard output: JSON lines [kind, path]."""
    upper = os.open(job["upper"], OPEN_FOLDER)
    lowers = _enter_lowers(job)
    with open(1, "w", buffering=BUFFER, encoding="utf-8", errors="surrogateescape") as out:
        for kind, path in changes_walk.changes(upper, lowers):
            out.write(json.dumps([kind, path.decode(errors="replace")]) + "\n")
    return {}


def stat_path(job: Job) -> Job:
    """Docker's ContainerPathStat of `path` in the view."""
    enter_view(job["view"])
    return copying.stat_path(os.fsencode(job["path"]))


def read_path(job: Job) -> Job:
    """Write the tar of `path` in the view to standard output."""
    enter_view(job["view"])
    copying.read_path(os.fsencode(job["path"]), 1)
    return {}


def write_path(job: Job) -> Job:
    """Merge the tar on standard input into the folder `path` of the view."""
    source = Input()
    chunks = prepare(source)
    enter_view(job["view"])
    limits = Limits(*job["limits"])
    owner = copying.owner_of(job["user"]) if job["user"] else None
    copying.open_target(os.fsencode(job["path"]))
    extractor = copying.FolderExtractor(
        limits, keeps_kinds=job["keeps_kinds"], owner=owner, base=os.fsencode(job["path"])
    )
    extractor.extract(TarReader(Source(Pipeline(source, limits, chunks, hashes=False).more)))
    return {"entries": extractor.entries}


def spool(job: Job) -> Job:
    """Keep the tar on standard input in the folder `target`, to be copied from."""
    source = Input()
    chunks = prepare(source)
    limits = Limits(*job["limits"])
    spooler = Spooler(Path(job["target"]), limits)
    enter(job["target"])
    spooler.extract(TarReader(Source(Pipeline(source, limits, chunks, hashes=False).more)))
    return {"entries": spooler.entries}


def fingerprint(job: Job) -> Job:
    """A digest of what the patterns of a COPY or ADD stand for, and whether that is a file, a folder or several."""
    tree = _source_tree(job)
    total = Fingerprint(tree)
    sources = tree.chosen([os.fsencode(each) for each in job["sources"]])
    for source in sources:
        total.add(source, keeps_path=job["keeps_path"])
    kind = "multi" if len(sources) > 1 else "dir" if sources[0].is_folder else "file"
    return {"digest": total.hexdigest(), "kind": kind, "entries": total.count}


def place(job: Job) -> Job:
    """COPY and ADD: copy what the patterns stand for into the tree `target`."""
    tree = _source_tree(job)
    if job["unpacks"]:
        import_all()
    enter(job["target"])
    sources = tree.chosen([os.fsencode(each) for each in job["sources"]])
    order = placing.Order(
        target=os.fsencode(job["place"]),
        owner=placing.new_owner(job["owner"]) if job["owner"] else None,
        mode=job["mode"],
        keeps_owner=job["keeps_owner"],
        keeps_path=job["keeps_path"],
        unpacks=job["unpacks"],
        latest=job["latest"],
    )
    placing.place(tree, sources, order, Limits(*job["limits"]))
    return {}


def make_folder(job: Job) -> Job:
    """WORKDIR: the folder `path`, and those above it, in the tree `target`."""
    enter(job["target"])
    placing.make_folder(os.fsencode(job["path"]), latest=job["latest"])
    return {}


def _source_tree(job: Job) -> Tree:
    """The tree to copy from, a spool or a view; a stack is mounted for this worker alone."""
    hidden, excludes = (Ignore.parse(job[name]) if job.get(name) else None for name in ("hidden", "excludes"))
    view = job["source"]
    files: Files = SpoolFiles(Path(view["path"])) if view["kind"] == "spool" else FolderFiles(open_view(view))
    return Tree(files, hidden, excludes)


def _enter_lowers(job: Job) -> int:
    """A descriptor of the tree below the upper folder, -1 without one; this process' root is that tree, or empty."""
    if not job.get("lowers"):
        enter(job["upper"], keep_admin=True)
        return -1
    enter_view(job["lowers"], keep_admin=True)
    return os.open("/", OPEN_FOLDER)


JOBS: dict[str, Callable[[Job], Job]] = {
    "unpack": unpack,
    "pack-tree": pack_tree,
    "pack-diff": pack_diff,
    "clear-stubs": clear_stubs,
    "changes": changes,
    "stat": stat_path,
    "read": read_path,
    "write": write_path,
    "spool": spool,
    "fingerprint": fingerprint,
    "place": place,
    "make-folder": make_folder,
}


def run(content: bytes, report_to: int) -> None:
    """Do one job and leave, without waiting for threads that may be stuck in a pipe. Never returns."""
    job = json.loads(content)
    os.umask(0)
    try:
        report: Job = {"done": JOBS[job["do"]](job)}
    except (TarError, ExtractError, Damaged) as exc:
        report = {"refused": str(exc)}
    except OSError as exc:
        name = exc.filename if isinstance(exc.filename, bytes) else os.fsencode(str(exc.filename or ""))
        report = {"errno": exc.errno, "message": exc.strerror, "path": name.decode(errors="backslashreplace")}
    except EngineError as exc:
        report = {"errno": 0, "message": exc.message}
    except MemoryError:
        report = {"refused": "the archive needs more memory than there is"}
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(report_to, json.dumps(report).encode())
    os._exit(0)
