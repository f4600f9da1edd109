"""Taking in a tar that a browser, or a script, sends in pieces, and looking at it once it is whole.

The file grows only at its end, and its length on the disk is the only count of it: a piece that was written and whose
answer was lost is not written twice.
"""

from __future__ import annotations

import os
import tarfile
from typing import IO, Any, cast

from django.db import transaction
from django.utils import timezone

from controlplane.access.decide import one_of
from controlplane.access.models import User
from controlplane.lib.errors import Conflict, InvalidArgument, Unavailable
from controlplane.operations.audit import gathered, record
from images.builds.context import BoundedInfo, forget, shown
from images.builds.models import Upload

LARGEST = 8 << 30  # bytes of one upload
LARGEST_PIECE = 8 << 20
MOST_UNFINISHED = 20  # a person's, at a time
MOST_FILES = 200_000
MOST_UNPACKED = 32 << 30  # bytes a compressed archive may come to
LEAST_FREE = 1 << 30  # bytes of the disk that no upload gets
MOST_DOCKERFILES = 50


def begin(actor: User, name: str) -> Upload:
    """One more; of too many that were never finished, the oldest goes."""
    under_way = Upload.objects.filter(owner=actor, finished_at=None).order_by("used_at")
    if under_way.count() >= MOST_UNFINISHED:
        drop(under_way[0])
    upload = Upload.objects.create(name=name[:200] or "files", owner=actor)
    upload.path.touch(mode=0o600)
    return upload


def find(actor: User, ident: str) -> Upload:
    """The person's own. Raises NotSeen."""
    return one_of(Upload.objects.filter(owner=actor), "image.build", pk=ident)


def received(upload: Upload) -> int:
    """How many bytes of it there are. Raises Unavailable."""
    if upload.is_whole:
        return upload.size
    with _opened(upload, "rb") as file:
        return file.seek(0, os.SEEK_END)


def _opened(upload: Upload, mode: str) -> IO[bytes]:
    try:
        return cast(IO[bytes], upload.path.open(mode))
    except FileNotFoundError as exc:
        raise Unavailable(
            "The file of this upload is not there.",
            "Every process of Gantry has to see the same GANTRY_HOME/uploads: ask whoever looks after it.",
        ) from exc


def append(upload: Upload, offset: int, piece: bytes) -> int:
    """Write one piece; how many bytes there are then. A piece that does not fit on leaves everything as it is.

    Raises Conflict when it is whole already, InvalidArgument when it gets too large, Unavailable.
    """
    if upload.is_whole:
        raise Conflict("This upload is complete already.")
    with _opened(upload, "r+b") as file:
        have = file.seek(0, os.SEEK_END)
        if offset != have:
            return have
        if have + len(piece) > LARGEST:
            raise InvalidArgument(f"Expected at most {LARGEST >> 30} GiB, found more.", "Leave out what is not needed.")
        status = os.fstatvfs(file.fileno())
        if status.f_bavail * status.f_frsize < LEAST_FREE + len(piece):
            raise Conflict("The disk that keeps uploads is nearly full.", "Ask an administrator to free some of it.")
        file.write(piece)
    Upload.objects.filter(pk=upload.pk).update(used_at=timezone.now())
    return have + len(piece)


def finish(upload: Upload, size: int) -> Upload:
    """Look whether it is a tar that can be built from; once. Raises Conflict when bytes are missing, InvalidArgument,
    Unavailable."""
    have = received(upload)
    if have != size:
        raise Conflict(f"Expected {size} bytes, found {have}.", "Send the rest.")
    if upload.is_whole:
        return upload
    upload.files, upload.dockerfiles = _look(upload)
    upload.size = size
    upload.finished_at = upload.used_at = timezone.now()
    with transaction.atomic():
        upload.save()
        _record(upload, f"uploaded {upload.name}: {upload.files} files, {size} bytes")
    return upload


def _record(upload: Upload, detail: str) -> None:
    record(
        upload.owner, "image.build", target_kind="upload", target_id=upload.pk, target_name=upload.name, detail=detail
    )


def _look(upload: Upload) -> tuple[int, list[str]]:
    """How many files, and which of them look like Dockerfiles."""
    count, found = 0, []
    try:
        with tarfile.open(upload.path, tarinfo=BoundedInfo) as tar:
            for info in tar:
                count += 1
                if count > MOST_FILES or tar.offset > MOST_UNPACKED:
                    raise InvalidArgument(f"Expected at most {MOST_FILES:,} files and {MOST_UNPACKED >> 30} GiB.")
                name = info.name.removeprefix("./").lstrip("/")
                name = os.path.normpath(name)
                if "ockerfile" in name.rpartition("/")[2] and len(name) <= 300 and name == shown(name):
                    found.append(name)
                forget(tar)
    except (tarfile.TarError, EOFError, OSError, ValueError, RecursionError) as exc:
        raise InvalidArgument(
            f"Expected a tar archive, plain or compressed with gzip, bzip2 or xz; it cannot be read: {exc}.",
            "Make one with tar -czf files.tar.gz FOLDER.",
        ) from exc
    found.sort(key=lambda name: (name.count("/"), name != "Dockerfile", len(name)))
    return count, found[:MOST_DOCKERFILES]


def drop(upload: Upload) -> None:
    """Forget one that is not used by a build. Quiet when it is."""
    if not upload.is_whole:
        upload.path.unlink(missing_ok=True)
        with transaction.atomic(), gathered():
            _record(upload, f"dropped {upload.name}, which was not finished")
            upload.delete()


def as_json(upload: Upload) -> dict[str, Any]:
    """What the browser is told once it is whole."""
    none = "" if upload.dockerfiles else "No Dockerfile is among these files."
    return {"files": upload.files, "size": upload.size, "dockerfiles": upload.dockerfiles, "message": none}
