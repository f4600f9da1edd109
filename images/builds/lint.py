"""What can be said of a Dockerfile before it is built: slips of the pen, and what one will be sorry for.

The engine has the last word; a warning never keeps anybody from building.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from images.builds.dockerfile import KNOWN, MOST_BYTES, Dockerfile, Instruction, read, words_of

MOST_FINDINGS = 100
_SECRET = re.compile(r"(passw(or)?d|passphrase|secret|token|api_?key|private_?key|credential)", re.IGNORECASE)
_NO_SECRET = re.compile(r"(_file|_path|_id|_url|_name)$", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """`severity`: error (it will not build), warning, info."""

    line: int
    severity: str
    message: str

    def as_json(self) -> dict[str, Any]:
        """As the editor takes it: {"line", "from", "to", "severity", "message"}; no columns: the whole line."""
        return {**asdict(self), "from": None, "to": None}


def lint(text: str, *, args: tuple[str, ...] = ()) -> list[Finding]:
    """By line. `args`: the names of build arguments that are given a value."""
    if len(text.encode(errors="replace")) > MOST_BYTES:
        return [Finding(1, "error", f"Expected a Dockerfile of at most {MOST_BYTES >> 20} MiB.")]
    file = read(text)
    found = [*_whole(file), *_stages(file)]
    found += itertools.islice((finding for each in file.instructions for finding in _one(each)), MOST_FINDINGS)
    found += [Finding(1, "warning", _exposed(f"The build argument {name}")) for name in args if is_secret(name)]
    return sorted(found, key=lambda each: each.line)[:MOST_FINDINGS]


def is_secret(name: str) -> bool:
    """Whether a variable's name says that it holds something nobody else should read."""
    return bool(_SECRET.search(name)) and not _NO_SECRET.search(name)


def _exposed(what: str) -> str:
    return (
        f"{what} stays readable in the image’s history. Use a build secret: "
        "RUN --mount=type=secret,id=NAME reads /run/secrets/NAME."
    )


def _whole(file: Dockerfile) -> Iterator[Finding]:
    if not file.instructions:
        yield Finding(1, "error", "Expected at least FROM, found no instruction.")
        return
    for each in file.before:
        if each.word not in ("ARG", "FROM") and each.word in KNOWN:
            yield Finding(each.line, "error", f"Expected FROM or ARG first, found {each.word}.")
    if not file.stages:
        yield Finding(1, "error", "Expected FROM, which names the image to build on, found none.")
    for stage in file.stages:
        for word in ("CMD", "ENTRYPOINT", "HEALTHCHECK"):
            several = [each for each in stage.steps if each.word == word]
            for each in several[:-1]:
                yield Finding(each.line, "warning", f"Only the last {word} of a stage counts: line {several[-1].line}.")


def _one(each: Instruction) -> Iterator[Finding]:
    if each.word not in KNOWN:
        near = difflib.get_close_matches(each.word, KNOWN, 1)
        guess = f" Did you mean {near[0]}?" if near else ""
        yield Finding(each.line, "error", f"Unknown instruction {each.word[:40]}.{guess}")
    elif not each.rest and each.word != "HEALTHCHECK":
        yield Finding(each.line, "error", f"{each.word} needs at least one argument.")
    elif check := _CHECKS.get(each.word):
        yield from check(each)


def _from(each: Instruction) -> Iterator[Finding]:
    base = re.sub(r"^--platform=\S+\s+", "", each.rest).split(" ")
    if len(base) not in (1, 3) or (len(base) == 3 and base[1].lower() != "as"):
        yield Finding(each.line, "error", f"Expected FROM IMAGE [AS NAME], found “{each.text[:80]}”.")
        return
    name = base[0].rpartition("/")[2]
    if name.endswith(":latest"):
        yield Finding(each.line, "info", f"{base[0]} may be another image tomorrow. A version keeps builds alike.")


def _arg(each: Instruction) -> Iterator[Finding]:
    for word in each.rest.split():
        name, equals, value = word.partition("=")
        if is_secret(name) and (each.word == "ARG" or (equals and value)):
            yield Finding(each.line, "warning", _exposed(f"{each.word} {name}"))


def _env(each: Instruction) -> Iterator[Finding]:
    if "=" in each.rest.split(" ")[0]:
        yield from _arg(each)
        return
    name, _, value = each.rest.partition(" ")
    if not value:
        yield Finding(each.line, "error", "Expected ENV NAME=VALUE, found no value.")
    elif is_secret(name):
        yield Finding(each.line, "warning", _exposed(f"ENV {name}"))


def _copy(each: Instruction) -> Iterator[Finding]:
    words = words_of(each.rest)
    if "<<" in each.rest:
        return
    if len(words) < 2:
        yield Finding(each.line, "error", f"Expected {each.word} SOURCE… TARGET, found {len(words)} of them.")
    elif len(words) > 2 and not words[-1].endswith("/"):
        yield Finding(each.line, "error", f"With several sources the target must be a folder: “{words[-1]}/”.")
    for source in words[:-1]:
        if source.startswith("../"):
            yield Finding(each.line, "error", f"“{source}” is outside the build’s files, which cannot be reached.")


def _maintainer(each: Instruction) -> Iterator[Finding]:
    yield Finding(each.line, "info", "MAINTAINER is out of use. LABEL org.opencontainers.image.authors=… says it now.")


def _run(each: Instruction) -> Iterator[Finding]:
    installs = re.search(r"\bapt-get\s+(-\S+\s+)*install\b", each.rest)
    if installs and not re.search(r"\s(--yes|--assume-yes|-qq|-\w*y\w*)(\s|$)", each.rest):
        yield Finding(each.line, "warning", "apt-get install asks before it installs, and nobody answers: add -y.")
    if re.search(r"\bsudo\b", each.rest):
        yield Finding(each.line, "info", "RUN runs as root already, unless USER says otherwise: sudo is not needed.")


_CHECKS: dict[str, Callable[[Instruction], Iterator[Finding]]] = {
    "FROM": _from,
    "ARG": _arg,
    "ENV": _env,
    "COPY": _copy,
    "ADD": _copy,
    "RUN": _run,
    "MAINTAINER": _maintainer,
}


def _stages(file: Dockerfile) -> Iterator[Finding]:
    """COPY --from a stage that comes later, or is spelled nearly as one that is there; a name given twice."""
    names: dict[str, int] = {}
    for stage in file.stages:
        for each in stage.steps:
            for name in re.findall(r"--from=(\S+)", each.rest) if each.word == "COPY" else []:
                yield from _from_stage(file, stage.position, each, name)
        key = stage.name.lower()
        if key and key in names:
            yield Finding(stage.steps[0].line, "error", f"The name {stage.name} is taken by line {names[key]} already.")
        names.setdefault(key, stage.steps[0].line)


def _from_stage(file: Dockerfile, position: int, each: Instruction, name: str) -> Iterator[Finding]:
    stage = file.find(name)
    if stage is not None and stage.position >= position:
        where = "itself" if stage.position == position else f"{stage.label}, which comes later"
        yield Finding(each.line, "error", f"A stage can copy from earlier ones only, not from {where}.")
    elif stage is None and "$" not in name and not set(name) & set("/:@."):
        earlier = [other.name for other in file.stages[:position] if other.name]
        if near := difflib.get_close_matches(name, earlier, 1):
            yield Finding(each.line, "warning", f"There is no stage {name}. Did you mean {near[0]}?")
