"""Dockerfiles built by the native engine, Docker's classic builder and buildah: the same image, or a reason told.

Each builder works through the rows in threads of its own while tests wait for what they compare.
"""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from fnmatch import fnmatchcase

import pytest

from tests.conftest import need
from tests.engine.builder.corpus import adding, copying, running, settings, stages, syntax
from tests.engine.builder.corpus.opinions import ByBuildah, ByDocker, ByEngine, Opinion
from tests.engine.builder.corpus.outcome import Outcome, differences
from tests.engine.builder.corpus.row import BUILDAH, DOCKER, Row
from tests.support.counts import IS_FULL
from tests.support.engines import Dockerd, Native
from tests.support.images import busybox_why_not

pytestmark = [pytest.mark.root, pytest.mark.docker]

NATIVE = "native"
ROWS = (*syntax.ROWS, *settings.ROWS, *copying.ROWS, *adding.ROWS, *running.ROWS, *stages.ROWS)
OTHERS = (DOCKER, BUILDAH) if IS_FULL else (DOCKER,)
"""buildah takes as long as the other two together."""
BUILDERS: dict[str, Callable[[], ByEngine | ByBuildah]] = {
    NATIVE: lambda: ByEngine(Native()),
    DOCKER: lambda: ByDocker(Dockerd()),
    BUILDAH: ByBuildah,
}
THREADS = {DOCKER: 2}
"""Docker mostly waits, for the disk and for containerd: it takes as long as all else here."""
_STOOD = "what its chroot's mounts stood on stays in the image"
USUAL: dict[str, dict[str, str]] = {
    DOCKER: {},
    BUILDAH: {
        f"file {each}": _STOOD
        for each in ("dev", "etc", "proc", "run", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf")
    },
}
"""Differences that any row may have, and why."""


def why_not(builder: str) -> str:
    """What this machine lacks for a builder."""
    if builder == BUILDAH:
        return "" if shutil.which("buildah") else "buildah: not installed"
    return Native.why_not() if builder == NATIVE else Dockerd.why_not()


class Outcomes:
    """What builders made of rows, each made once."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._made: dict[tuple[str, str], Future[Outcome]] = {}

    def begin(self, builder: str, rows: list[Row]) -> None:
        """Let a builder make these rows, in order."""
        opinion: Opinion = self._stack.enter_context(BUILDERS[builder]())
        threads = ThreadPoolExecutor(THREADS.get(builder, 1))
        self._stack.callback(threads.shutdown, cancel_futures=True)
        for row in rows:
            self._made[builder, row.name] = threads.submit(opinion.outcome, row)

    def of(self, builder: str, row: Row) -> Outcome:
        return self._made[builder, row.name].result()


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    """Every row that is to be tested, under way with every builder it is to be compared with."""
    need(why_not(NATIVE), busybox_why_not())
    wanted: dict[str, dict[str, Row]] = {NATIVE: {}, DOCKER: {}, BUILDAH: {}}
    for item in request.session.items:
        if item.path == request.path and (given := getattr(item, "callspec", None)):
            row, other = given.params["row"], given.params.get("other", NATIVE)
            for builder in (NATIVE, other):
                wanted[builder][row.name] = row
    with ExitStack() as stack:
        found = Outcomes(stack)
        for builder, rows in wanted.items():
            if rows and not why_not(builder):
                found.begin(builder, list(rows.values()))
        yield found


@pytest.mark.parametrize(
    ("row", "other"),
    [pytest.param(row, other, id=f"{row.name}-{other}") for row in ROWS for other in row.builders if other in OTHERS],
)
def test_the_same_image_or_a_reason(outcomes: Outcomes, row: Row, other: str) -> None:
    need(why_not(other))
    ours, theirs = outcomes.of(NATIVE, row), outcomes.of(other, row)
    assert bool(ours.error) == row.fails, ours.error
    found = differences(ours, theirs, history=other == DOCKER)
    told = row.differs.get(other, {})
    unexplained = {name: each for name, each in found.items() if not explained(name, {**USUAL[other], **told})}
    assert not unexplained, "\n".join(f"{name}: {each}" for name, each in unexplained.items()) + f"\n{ours.error}"
    gone = [name for name in told if not any(fnmatchcase(each, name) for each in found)]
    assert not gone, f"no longer differs, though a reason is told: {gone}"


def explained(name: str, reasons: dict[str, str]) -> bool:
    return any(fnmatchcase(name, each) for each in reasons)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS if row.makes])
def test_what_a_row_says_is_made(outcomes: Outcomes, row: Row) -> None:
    made = outcomes.of(NATIVE, row)
    assert not made.error
    assert {path: made.tree[path].shown if path in made.tree else "" for path in row.makes} == row.makes
