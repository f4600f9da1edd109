"""The child process that works inside a tree: `python -I worker.py` by `child.py`, one job, then the end.

Arguments: the job as JSON, and the descriptor the report goes to: one JSON object, {"done": …}, {"refused": message}
for content that is not acceptable, or {"errno": …, "message": …} when the system refuses. Everything needed is
imported before the root changes, and nothing can be imported after: files inside are somebody else's.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from .extract import ExtractError, Extractor, Limits
from .namespaces import drop_capabilities
from .streams import Damaged, Input, Pipeline, prepare
from .tar_reader import Source, TarError, TarReader

Job = dict[str, Any]


def enter(root: str, *, keep_admin: bool = False) -> None:
    """Make `root` this process' root, for good."""
    os.chroot(root)
    os.chdir("/")
    drop_capabilities(keep_admin=keep_admin)
    sys.path.clear()
    sys.path_importer_cache.clear()
    sys.meta_path.clear()


def unpack(job: Job) -> Job:
    """Unpack the layer on standard input into the empty folder `target`."""
    limits = Limits(*job["limits"])
    source = Input(0)
    chunks = prepare(source)
    enter(job["target"], keep_admin=True)  # for trusted.overlay.opaque
    pipeline = Pipeline(source, limits, chunks)
    extractor = Extractor(limits)
    extractor.extract(TarReader(Source(pipeline.more)))
    return {"diff_id": pipeline.digest(), "size": extractor.size, "entries": extractor.entries}


JOBS: dict[str, Callable[[Job], Job]] = {"unpack": unpack}


def main() -> None:
    """Do the job and leave without waiting for threads that may be stuck in a pipe."""
    job = json.loads(sys.argv[1])
    os.umask(0)
    try:
        report: Job = {"done": JOBS[job["do"]](job)}
    except (TarError, ExtractError, Damaged) as exc:
        report = {"refused": str(exc)}
    except OSError as exc:
        name = exc.filename if isinstance(exc.filename, bytes) else os.fsencode(str(exc.filename or ""))
        report = {"errno": exc.errno, "message": exc.strerror, "path": name.decode(errors="backslashreplace")}
    except MemoryError:
        report = {"refused": "the archive needs more memory than there is"}
    os.write(int(sys.argv[2]), json.dumps(report).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
