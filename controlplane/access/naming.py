"""The names of images that grants speak of, and which of them each grant covers.

Patterns are slow to ask in SQL, and lists must be filtered there. So every repository and tag there is has a row,
`ImageName`, which mirrors, operations and builds refer to; and each grant keeps which names its patterns cover, made
when a name or a grant is. A list then joins two indexed tables. The rows are written in the transaction that makes
the name or changes the grant; one that were missing would show too little, never too much.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection, transaction

from controlplane.access.models import Grant, ImageName
from controlplane.access.models.grants import LONGEST_REPOSITORY, LONGEST_TAG
from controlplane.lib.references import name_of


def intern(pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The row of each (full repository, tag), made where it is missing, with the grants that cover it."""
    wanted = {(repository[:LONGEST_REPOSITORY], tag[:LONGEST_TAG]) for repository, tag in pairs if repository}
    found = _known(wanted)
    missing = wanted - found.keys()
    if missing:
        with transaction.atomic():
            _one_at_a_time()
            ImageName.objects.bulk_create((ImageName(repository=r, tag=t) for r, t in missing), ignore_conflicts=True)
            made = _known(missing)
            _cover(Grant.objects.all(), made)
        found |= made
    return found


def intern_one(reference: str) -> int | None:
    """The row of what an engine calls `reference`; None for an image's id."""
    return next(iter(intern([name_of(reference)]).values()), None)


def _known(pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    wanted = set(pairs)
    repositories = sorted({repository for repository, _ in wanted})
    for start in range(0, len(repositories), 500):
        rows = ImageName.objects.filter(repository__in=repositories[start : start + 500])
        if len(wanted) < 500:
            rows = rows.filter(tag__in={tag for _, tag in wanted})
        found |= {(r, t): pk for r, t, pk in rows.values_list("repository", "tag", "pk") if (r, t) in wanted}
    return found


def cover_again(grant: Grant) -> None:
    """Make `grant.names` what its patterns cover. In the transaction that has changed them."""
    with transaction.atomic():
        _one_at_a_time()
        grant.names.clear()
        every = ImageName.objects.order_by("pk").values_list("repository", "tag", "pk")
        _cover([grant], {(r, t): pk for r, t, pk in every.iterator(chunk_size=5000)})


def _cover(grants: Iterable[Grant], names: dict[tuple[str, str], int]) -> None:
    through = Grant.names.through
    rows = []
    for grant in grants:
        scope = grant.scope
        if not scope.is_whole:  # that is asked without its names
            rows += [through(grant_id=grant.pk, imagename_id=pk) for (r, t), pk in names.items() if scope.covers(r, t)]
    through.objects.bulk_create(rows, ignore_conflicts=True, batch_size=5000)


def _one_at_a_time() -> None:
    """Until the end of the transaction: of a new name and a new grant, made at once, one must see the other.
    SQLite has one writer anyway."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [0x67616E747279])
