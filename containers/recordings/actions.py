"""What happens to a recording's row: it begins, ends, is removed by somebody or by age."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from containers.models import Container, Ending, Recording
from containers.recordings import files
from containers.recordings.files import Busy, Mark
from controlplane.access.models import User
from controlplane.lib.errors import Conflict
from controlplane.lib.live import publish
from controlplane.operations.audit import about, record

# The agent ends a shell that was left for ten minutes, and looks every quarter of one: nobody returns after that.
LEFT_FOR = timedelta(minutes=11)
# A row is there a moment before its file; a file that has no row for so long belonged to one that was removed.
YOUNG = timedelta(minutes=2)
ORPHANED_FOR = timedelta(days=1)
PRUNED_AT_ONCE = 1000  # rows; the rest is for the next time
GANTRY = "Gantry"  # who prunes


@dataclass(frozen=True)
class Told:
    """How a recording ended, for its row."""

    ending: Ending
    size: int
    exit_code: int | None = None
    trouble: str = ""
    at: datetime | None = None


def path_of(recording: Recording) -> Path:
    return files.folder() / recording.path


def begin(actor: User, container: Container, terminal: str, shell: str) -> Recording:
    """The row of a recording that is about to be written."""
    now = timezone.now()
    with transaction.atomic():
        # The same session opened another shell: what was of the last one is over.
        for old in Recording.objects.filter(terminal=terminal, is_live=True):
            close_left(old)
        made = Recording.objects.create(
            container=container,
            engine_id=container.engine_id,
            container_name=container.name,
            image_ref=container.image_ref,
            image_name=container.image_name,
            image_id=container.image_id,
            host=container.host,
            host_name=container.host.name,
            environment=container.host.environment,
            actor=actor,
            actor_name=actor.display[:200],
            terminal=terminal,
            shell=shell[:300],
            started_at=now,
            path=f"{now:%Y-%m}/{secrets.token_hex(16)}.cast",
        )
        publish("recordings", f"container.{container.pk}")
    return made


def find(terminal: str) -> Recording | None:
    """The latest recording of a shell."""
    return Recording.objects.filter(terminal=terminal).order_by("-is_live", "-pk").first()


def left(recording: Recording, when: datetime | None) -> None:
    """Its person went, or (None) came back."""
    Recording.objects.filter(pk=recording.pk, is_live=True).update(left_at=when)


def end(recording: Recording, told: Told) -> bool:
    """Write down how it ended; whether it was live until now."""
    with transaction.atomic():
        changed = Recording.objects.filter(pk=recording.pk, is_live=True).update(
            is_live=False,
            ending=told.ending,
            exit_code=told.exit_code,
            trouble=told.trouble[:300],
            size=told.size,
            ended_at=told.at or timezone.now(),
        )
        if changed:
            publish("recordings", f"container.{recording.container_id}")
    return bool(changed)


def close_left(recording: Recording, ending: Ending | None = None, trouble: str = "") -> bool:
    """End a recording that nobody writes any more, as far as it was written. False while somebody writes it.

    `ending`: where it is known; otherwise its person left, or its process died. `trouble`: why it cannot go on; then
    a file that cannot be closed either stays as it is.
    """
    cast = path_of(recording)
    try:
        mark = files.seal_left(cast)
        size = cast.stat().st_size
        at = _time_of(mark, cast)
    except Busy:
        return False
    except FileNotFoundError:  # killed before the file was made
        size, at = 0, recording.started_at
    except OSError:
        if not trouble:
            raise
        size, at = _size_of(cast), timezone.now()
    ending = ending or (Ending.LEFT if recording.left_at else Ending.CUT)
    return end(recording, Told(ending, size, trouble=trouble, at=max(at, recording.started_at)))


def _size_of(cast: Path) -> int:
    try:
        return cast.stat().st_size
    except OSError:
        return 0


def _time_of(mark: Mark | None, cast: Path) -> datetime:
    seconds = mark.started + mark.elapsed if mark is not None else cast.stat().st_mtime
    return datetime.fromtimestamp(seconds, UTC)


def sweep() -> int:
    """Close what killed processes and people who did not come back have left open; how many."""
    closed = 0
    now = timezone.now()
    for recording in Recording.objects.filter(is_live=True, started_at__lt=now - YOUNG).order_by("pk"):
        touched = _touched(path_of(recording))
        if touched is None or now - touched > LEFT_FOR:
            closed += close_left(recording)
    return closed


def _touched(cast: Path) -> datetime | None:
    """When the mark was written or let go of last. None without one: not begun, or its process died while closing."""
    try:
        return datetime.fromtimestamp(files.mark_of(cast).stat().st_mtime, UTC)
    except FileNotFoundError:
        return None


def remove(actor: User, recording: Recording, ip: str | None) -> None:
    """Remove one by hand. Raises Conflict while it is live."""
    if recording.is_live:
        raise Conflict("This recording is still being written.", "Close its shell first, or wait for its end.")
    _remove(recording, actor, f"removed ({recording.size} bytes)", ip)


def prune() -> int:
    """Remove what is too old, then the oldest until the rest fits; how many."""
    ended = Recording.objects.filter(is_live=False)
    too_old = ended.filter(ended_at__lt=timezone.now() - timedelta(days=settings.RECORDINGS_DAYS))
    old = list(too_old.order_by("started_at", "pk")[:PRUNED_AT_ONCE])
    for recording in old:
        _remove(recording, AnonymousUser(), f"removed: older than {settings.RECORDINGS_DAYS} days")
    surplus = list(_beyond(settings.RECORDINGS_BYTES))
    for recording in surplus:
        _remove(recording, AnonymousUser(), f"removed: all together are more than {settings.RECORDINGS_BYTES} bytes")
    _remove_orphans()
    return len(old) + len(surplus)


def _beyond(limit: int) -> Iterator[Recording]:
    """The oldest ones without which the others fit into `limit` bytes."""
    ended = Recording.objects.filter(is_live=False)
    excess = (ended.aggregate(total=Sum("size"))["total"] or 0) - limit
    for recording in ended.order_by("started_at", "pk")[:PRUNED_AT_ONCE]:
        if excess <= 0:
            return
        excess -= recording.size
        yield recording


def _remove(recording: Recording, actor: User | AnonymousUser, detail: str, ip: str | None = None) -> None:
    """Row and audit entry first, whoever's transaction that is: a file that is left behind by a death in between is
    found by `_remove_orphans`."""
    cast = path_of(recording)
    with transaction.atomic():
        if not Recording.objects.filter(pk=recording.pk).delete()[0]:
            return
        record(
            actor,
            "recording.remove",
            **about(recording),
            detail=detail,
            ip=ip,
            stranger=GANTRY,
        )
        publish("recordings")
        transaction.on_commit(lambda: files.remove(cast))


def _remove_orphans() -> None:
    """Files of rows that are gone, and months without any."""
    limit = (timezone.now() - ORPHANED_FOR).timestamp()
    for month in sorted(path for path in files.folder().iterdir() if path.is_dir()):
        kept = set(Recording.objects.filter(path__startswith=f"{month.name}/").values_list("path", flat=True))
        for path in sorted(month.iterdir()):
            cast = path.with_suffix(".cast")
            if f"{month.name}/{cast.name}" not in kept and path.stat().st_mtime < limit:
                files.remove(cast)
        if month.name < f"{timezone.now():%Y-%m}" and not any(month.iterdir()):
            month.rmdir()
