"""A whole Dockerfile: global ARGs, then stages."""

from dataclasses import dataclass

from .errors import DEFAULT_NAME, DockerfileError, Place
from .instructions import Arg, Cmd, Entrypoint, From, Instruction, Run, Stage
from .lines import Lines, Remark, decoded
from .readers import read_instruction
from .words import ESCAPE

MAX_INSTRUCTIONS = 100_000


@dataclass(frozen=True)
class Dockerfile:
    """What a file says. `args` are the ARGs before the first FROM; there is at least one stage."""

    name: str
    args: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    escape: str = ESCAPE
    syntax: str = ""  # the frontend `# syntax=` asks for: told, not obeyed
    check: str = ""
    remarks: tuple[Remark, ...] = ()


def parse(text: str | bytes, name: str = DEFAULT_NAME) -> Dockerfile:
    """Raises DockerfileError for the first thing that is wrong, from the top."""
    lines = Lines(decoded(text, name), name)
    args: list[Arg] = []
    stages: list[tuple[From, list[Instruction]]] = []
    remarks = []
    for count, line in enumerate(lines, 1):
        instruction = read_instruction(line, lines.escape)
        if count > MAX_INSTRUCTIONS:
            raise DockerfileError(f"more than {MAX_INSTRUCTIONS} instructions", line.place, instruction.name)
        if isinstance(instruction, From):
            stages.append((instruction, []))
        elif stages:
            stages[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            args.append(instruction)
        else:
            raise DockerfileError(
                f"no build stage in current context: {instruction.name} comes before the first FROM",
                line.place,
                instruction.name,
            )
        remarks.extend(_remarks(instruction))
    if not stages:
        nothing = "dockerfile contains no stages to build: it has no FROM" if args else "file with no instructions"
        raise DockerfileError(nothing, Place(name))
    return Dockerfile(
        name,
        tuple(args),
        tuple(Stage(index, start, tuple(rest)) for index, (start, rest) in enumerate(stages)),
        escape=lines.escape,
        syntax=lines.directives.get("syntax", ""),
        check=lines.directives.get("check", ""),
        remarks=tuple(sorted([*lines.remarks, *remarks], key=lambda remark: remark.line)),
    )


def parse_trigger(text: str, name: str = "ONBUILD") -> Instruction:
    """One instruction of an image's OnBuild list, `Onbuild.expression`. Raises DockerfileError."""
    lines = Lines(decoded(text, name), name)
    found = [read_instruction(line, ESCAPE) for line in lines]
    if len(found) != 1 or found[0].name in ("FROM", "MAINTAINER", "ONBUILD"):
        raise DockerfileError("onbuild trigger should be a single expression", Place(name))
    return found[0]


def _remarks(instruction: Instruction) -> list[Remark]:
    """A line that looks like the exec form, but is none."""
    if isinstance(instruction, Cmd | Entrypoint | Run) and instruction.command.shell:
        line = instruction.command.line
        is_list = line.startswith("[") and line.endswith("]") and not line.startswith(("[ -", "[["))
        if is_list or line.startswith('["'):
            why = "is not JSON (double quotes?)" if is_list else "goes on behind it"
            text = f"{instruction.name} looks like a list, but {why}: it runs in a shell"
            return [Remark(instruction.place.line, text)]
    return []
