"""Which stages a target needs, and which of them wait for which.

Rules: Dockerfile reference, "FROM", "COPY --from" and "RUN --mount=type=bind"; BuildKit's dockerfile2llb. A name that
is no stage's is an image's.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .errors import DockerfileError, Place, did_you_mean, quoted
from .expand import expand
from .instructions import Copy, From, Instruction, Onbuild, Run, Stage
from .parse import Dockerfile

SCRATCH = "scratch"
_NO_SOURCE = ("tmpfs", "secret", "ssh")  # mounts that come from nowhere


@dataclass(frozen=True, slots=True)
class Need:
    """What a stage takes from elsewhere: the stage `stage`, or the image `image`, "scratch" for nothing."""

    instruction: Instruction
    stage: int | None = None
    image: str = ""


@dataclass(frozen=True)
class Linked:
    """A stage whose names are resolved. `start` is its FROM with variables filled in."""

    stage: Stage
    start: From
    base: Need
    needs: tuple[Need, ...]  # of COPY --from and RUN --mount=from=, also in triggers of its base as far as known

    @property
    def stages(self) -> frozenset[int]:
        """The indexes of the stages it needs, its base among them."""
        return frozenset(each.stage for each in (self.base, *self.needs) if each.stage is not None)

    @property
    def images(self) -> frozenset[str]:
        """The images it needs."""
        return frozenset(
            each.image for each in (self.base, *self.needs) if each.stage is None and each.image != SCRATCH
        )


Triggers = Callable[[Linked], Iterable[Instruction]]
"""The triggers (ONBUILD) of the image that a stage's FROM names, as far as they are known."""


@dataclass(frozen=True)
class Plan:
    """The stages to build, each behind all that it waits for; stages that do not wait for each other may run together.

    `waits` has the same keys as `order`.
    """

    target: int
    order: tuple[int, ...]
    waits: Mapping[int, frozenset[int]]
    linked: Mapping[int, Linked] = field(repr=False)


class Names:
    """What a name in COPY --from, --mount=from= and FROM stands for."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = stages
        self._indexes: dict[str, list[int]] = {}
        for stage in stages:
            if stage.start.stage:
                self._indexes.setdefault(stage.start.stage, []).append(stage.index)

    def stage(self, name: str, here: int) -> int | None:
        """The last stage of that name before `here`; failing that a later one, which is then refused; or None."""
        indexes = self._indexes.get(name.lower())
        return indexes[max(bisect_left(indexes, here) - 1, 0)] if indexes else None

    def base(self, start: From, here: int) -> Need:
        """FROM only knows the stages above it."""
        index = self.stage(start.image, here)
        return Need(start, index) if index is not None and index < here else Need(start, image=start.image)

    def needs(self, instructions: Iterable[Instruction], here: int) -> list[Need]:
        """What a stage's instructions, or the triggers of its base image, take from elsewhere.

        Raises DockerfileError for the index of no stage.
        """
        found = []
        for instruction in instructions:
            if isinstance(instruction, Copy) and instruction.from_:
                found.append(self.copied(instruction, here))
            elif isinstance(instruction, Run):
                for mount in instruction.mounts:
                    if mount.from_ and not (mount.ready and mount.type in _NO_SOURCE):
                        found.append(self._named(instruction, mount.from_, here))
        return found

    def copied(self, instruction: Copy, here: int) -> Need:
        """What COPY --from takes: of a stage the index will do. Raises DockerfileError for the index of none."""
        if not _is_index(instruction.from_):
            return self._named(instruction, instruction.from_, here)
        if int(instruction.from_) >= len(self._stages):
            raise DockerfileError(
                f"invalid stage index {instruction.from_}: the last one is {len(self._stages) - 1}",
                instruction.place,
                instruction.name,
            )
        return Need(instruction, int(instruction.from_))

    def target(self, name: str) -> int:
        """The stage to build: by name, by index, the last one for "". Raises DockerfileError."""
        if not name:
            return len(self._stages) - 1
        index = self.stage(name, len(self._stages))
        if index is None and _is_index(name) and int(name) < len(self._stages):
            index = int(name)
        if index is None:
            guess = did_you_mean(name.lower(), self._indexes)
            place = Place(self._stages[0].start.place.file)
            raise DockerfileError(f"target stage {quoted(name)} could not be found{guess}", place)
        return index

    def _named(self, instruction: Instruction, name: str, here: int) -> Need:
        index = self.stage(name, here)
        return Need(instruction, image=name) if index is None else Need(instruction, index)


def link(dockerfile: Dockerfile, args: Mapping[str, str]) -> tuple[Linked, ...]:
    """Every stage with its names resolved. `args` are the global ARGs (`expand.global_args`).

    Raises DockerfileError for a FROM that cannot be expanded, an index of no stage, a circle.
    """
    names = Names(dockerfile.stages)
    linked = []
    for stage in dockerfile.stages:
        start = expand(stage.start, args, dockerfile.escape)
        needs = tuple(names.needs(stage.instructions, stage.index))
        linked.append(Linked(stage, start, names.base(start, stage.index), needs))
    _refuse_circles(linked)
    return tuple(linked)


def plan(dockerfile: Dockerfile, args: Mapping[str, str], target: str = "", triggers: Triggers = lambda _: ()) -> Plan:
    """What to build for a target; stages it does not need are left out, whatever is wrong with them.

    What the triggers of a base take is needed as well. Raises DockerfileError as `link` does, for an unknown target,
    and for a stage used above its FROM or by its own base's triggers.
    """
    linked = list(link(dockerfile, args))
    names = Names(dockerfile.stages)
    goal = names.target(target)
    needed: set[int] = set()
    waiting = [goal]
    while waiting:
        index = waiting.pop()
        if index in needed:
            continue
        needed.add(index)
        found = names.needs(_triggers(linked[index], linked, triggers), index)
        linked[index] = replace(linked[index], needs=(*found, *linked[index].needs))
        _refuse_later(linked[index], linked)
        waiting.extend(linked[index].stages)
    order = tuple(sorted(needed))  # needs only point upwards
    return Plan(
        goal,
        order,
        {index: linked[index].stages for index in order},
        {index: linked[index] for index in order},
    )


def _is_index(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= 9


def _triggers(linked: Linked, all_linked: Sequence[Linked], triggers: Triggers) -> Iterable[Instruction]:
    """Those of its base: of a stage, they stand in the file."""
    if linked.base.stage is None:
        return triggers(linked)
    base = all_linked[linked.base.stage].stage
    return [each.trigger for each in base.instructions if isinstance(each, Onbuild)]


def _refuse_later(linked: Linked, all_linked: Sequence[Linked]) -> None:
    here = linked.stage
    for need in linked.needs:
        if need.stage == here.index:
            raise _circular(here, need)
        if need.stage is not None and need.stage > here.index:
            name = all_linked[need.stage].stage.name
            raise DockerfileError(
                f"cannot copy from stage {quoted(name)}, it needs to be defined before current stage "
                f"{quoted(here.name)}",
                need.instruction.place,
                need.instruction.name,
            )


def _refuse_circles(linked: Sequence[Linked]) -> None:
    """A walk with its own stack: a chain of stages may be longer than Python's."""
    done: set[int] = set()
    for start in range(len(linked)):
        path: dict[int, list[int]] = {}  # the stages walked through, each with those not yet looked at
        if start not in done:
            path[start] = sorted(linked[start].stages)
        while path:
            here, rest = next(reversed(path.items()))
            if not rest:
                done.add(here)
                del path[here]
                continue
            following = rest.pop()
            if following in path:
                circle = list(path)
                raise _circle(linked, circle[circle.index(following) :])
            if following not in done:
                path[following] = sorted(linked[following].stages)


def _circle(linked: Sequence[Linked], circle: list[int]) -> DockerfileError:
    """Told of the topmost stage: its FROM only leads upwards, so one of its instructions closes the circle."""
    place = circle.index(min(circle))
    stage, following = linked[circle[place]], circle[(place + 1) % len(circle)]
    return _circular(stage.stage, next(each for each in stage.needs if each.stage == following))


def _circular(stage: Stage, need: Need) -> DockerfileError:
    return DockerfileError(
        f"circular dependency detected on stage: {stage.name}", need.instruction.place, need.instruction.name
    )
