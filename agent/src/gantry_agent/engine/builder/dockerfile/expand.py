"""Filling in variables, when an instruction is carried out.

Where Docker does so (Dockerfile reference, "Environment replacement"): ADD, COPY (also in heredocs whose name has no
quotes), ENV, EXPOSE, FROM, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR, ARG's defaults, RUN's mounts. Nowhere else: a
shell sees the variables of RUN, CMD, ENTRYPOINT and HEALTHCHECK itself, and an ONBUILD is expanded when its trigger is.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from .errors import DockerfileError, Fault
from .instructions import (
    Add,
    Arg,
    Copy,
    Env,
    Expose,
    From,
    Instruction,
    Label,
    Pairs,
    Run,
    Stopsignal,
    Transfer,
    User,
    Volume,
    Workdir,
)
from .mounts import expand_mount
from .variables import Expander
from .words import ESCAPE

Variables = Mapping[str, str]
AnyInstruction = TypeVar("AnyInstruction", bound=Instruction)


def expand(
    instruction: AnyInstruction, env: Variables, escape: str = ESCAPE, missing: set[str] | None = None
) -> AnyInstruction:
    """The instruction with its variables filled in; the same one where Docker fills in none.

    All of it sees the same environment: `ENV a=1 b=$a` takes b from the `a` before. For FROM, `env` is the global
    ARGs. `missing` collects names that are not set. Raises DockerfileError.
    """
    changes = _CHANGES.get(type(instruction))
    if changes is None:
        return instruction
    expander = Expander(env, escape, missing=missing)
    try:
        return replace(instruction, **changes(instruction, expander))
    except Fault as fault:
        raise DockerfileError(str(fault), instruction.place, instruction.name) from fault


def arg_values(
    instruction: Arg, env: Variables, given: Variables, outer: Variables, escape: str = ESCAPE
) -> list[tuple[str, str | None]]:
    """What a stage's ARG declares, in order; None for a name without a value.

    A `given` build argument wins over the default, and the default over the global ARG of that name in `outer`.
    Unlike in ENV, each default sees the ones before it. Raises DockerfileError.
    """
    seen = dict(env)
    values: list[tuple[str, str | None]] = []
    expander = Expander(seen, escape)
    for name, default in instruction.pairs:
        try:
            value = given.get(name)
            if value is None:
                value = outer.get(name) if default is None else expander.word(default)
        except Fault as fault:
            raise DockerfileError(str(fault), instruction.place, instruction.name) from fault
        if value is not None:
            seen[name] = value
        values.append((name, value))
    return values


def global_args(args: Iterable[Arg], given: Variables, predefined: Variables, escape: str = ESCAPE) -> dict[str, str]:
    """The variables FROM lines see: `predefined` (see `predefined.platform_args`) and the ARGs before the first FROM.

    Raises DockerfileError.
    """
    values = dict(predefined)
    for instruction in args:
        found = arg_values(instruction, values, given, {}, escape)
        values.update((name, value) for name, value in found if value is not None)
    return values


def _words(expander: Expander, texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(expander.word(each) for each in texts)


def _pairs(instruction: Env | Label, expander: Expander) -> dict[str, Pairs]:
    pairs = tuple((expander.word(name), expander.word(value)) for name, value in instruction.pairs)
    if not all(name for name, _ in pairs):
        raise Fault(f"{instruction.name} names can not be blank")
    return {"pairs": pairs}


def _transfer(instruction: Transfer, expander: Expander) -> dict[str, Any]:
    changes = {
        "chown": expander.word(instruction.chown),
        "chmod": expander.word(instruction.chmod),
        "sources": _words(expander, instruction.sources),
        "destination": expander.word(instruction.destination),
        "files": tuple(
            replace(each, content=expander.text(each.content), expand=False) if each.expand else each
            for each in instruction.files
        ),
    }
    if isinstance(instruction, Add):
        changes["checksum"] = expander.word(instruction.checksum)
    return changes


def _from(instruction: From, expander: Expander) -> dict[str, str]:
    image, platform = expander.word(instruction.image), expander.word(instruction.platform)
    if not image:
        raise Fault(f"base name ({instruction.image}) should not be blank")
    if instruction.platform and not platform:
        raise Fault(f"empty platform value from expression {instruction.platform}")
    return {"image": image, "platform": platform}


def _volume(instruction: Volume, expander: Expander) -> dict[str, tuple[str, ...]]:
    paths = _words(expander, instruction.paths)
    if not all(paths):
        raise Fault("VOLUME specified can not be an empty string")
    return {"paths": paths}


_CHANGES: dict[type[Instruction], Callable[[Any, Expander], dict[str, Any]]] = {
    Add: _transfer,
    Copy: _transfer,
    Env: _pairs,
    Expose: lambda it, expander: {"ports": tuple(word for each in it.ports for word in expander.words(each))},
    From: _from,
    Label: _pairs,
    Run: lambda it, expander: {"mounts": tuple(expand_mount(each.text, expander.word) for each in it.mounts)},
    Stopsignal: lambda it, expander: {"signal": expander.word(it.signal)},
    User: lambda it, expander: {"user": expander.word(it.user)},
    Volume: _volume,
    Workdir: lambda it, expander: {"path": expander.word(it.path)},
}
