"""The images that a Dockerfile uses, each with its line: what it is built on, copies from, mounts.

It is read for somebody who may not use every image, so it errs on the other side than `dockerfile`: what two engines
could read differently is not guessed at but told as unreadable. Rules: docs.docker.com/reference/dockerfile.
Pure: no Django, no network.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from images.builds.dockerfile import MOST_INSTRUCTIONS, MOST_STAGES, Dockerfile, Instruction, Stage, read
from images.builds.dockerfile import heredocs as opened

# Blanks and controls that one of Python and the engines takes for the end of a line or of a word, and the other not.
_ODD = re.compile(r"[^\S \t\r\n]|[\x00-\x08\x0e-\x1f\x7f]|\r(?!\n)")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:(:?[-+])([^${}\"'\\]*))?\})")
_QUOTING = re.compile(r"[\"'\\`]")
_NAME = re.compile(r"[a-zA-Z_]\w*", re.ASCII)
_STAGE = re.compile(r"[a-z][a-z0-9._-]*")
# An engine finds an image by the beginning of its id, where no image has that name.
_PERHAPS_AN_ID = re.compile(r"(sha256:)?[a-f0-9]{1,64}")
_ESCAPE = re.compile(r"\s*#\s*escape\s*=", re.IGNORECASE)
_HEREDOC = re.compile(r"(?:^|\s)\d*<<(-?)([\"']?)([a-zA-Z_]\w*)\2(?=\s|$)", re.ASCII)
_READS = ("COPY", "ADD", "RUN", "ONBUILD")
OPENING = ("--network", "--security", "--device")  # flags of RUN that open the host
CACHE = "--mount=type=cache"
# A flag that names an image, mounts a cache or opens the host, or, by a variable or quotes, may come to be one.
_TELLING = re.compile(r"from|type=cache|--(?:network|security|device)|--\S*[$\"'`\\]")


@dataclass(frozen=True)
class Use:
    """One image that is used. `reference` as an engine takes it; empty: it cannot be told, and `text` is what is there.

    `is_id`: it may be an image's id, whatever its name. `is_base`: FROM names it, so that what it brings along is run.
    `hides`: behind it may be flags that are not told.
    """

    line: int
    text: str
    reference: str = ""
    why: str = ""
    is_base: bool = False
    hides: bool = False

    @property
    def is_id(self) -> bool:
        return bool(_PERHAPS_AN_ID.fullmatch(self.reference))


@dataclass(frozen=True)
class Uses:
    images: tuple[Use, ...]
    flags: dict[str, int]  # those of OPENING, with what they are set to, and CACHE → line


def uses(text: str, args: dict[str, str], *, heredocs: bool) -> Uses:
    """Of every stage, whether the target needs it or not: the classic builder runs all of them up to it.

    `args`: values that are given. `heredocs`: whether the engine knows them.
    """
    if odd := _unreadable(text, heredocs):
        return Uses((replace(odd, hides=True),), {})
    file = read(text)
    given = _global_args(file, args)
    found: list[Use] = []
    flags: dict[str, int] = {}
    if len(file.instructions) >= MOST_INSTRUCTIONS or len(file.stages) >= MOST_STAGES:
        why = f"at most {MOST_INSTRUCTIONS} instructions and {MOST_STAGES} stages are read"
        found.append(Use(1, "its length", why=why, hides=True))
    if not file.stages:
        found.append(Use(1, "no FROM", why="there is no FROM in it", hides=True))
    for stage in file.stages:
        found += _of_stage(file, stage, given, flags)
    return Uses(tuple(found), flags)


def uses_of_triggers(triggers: Iterable[str], line: int, *, heredocs: bool) -> Uses:
    """Of ONBUILD instructions that a base image carries; `line`: of the FROM that names it."""
    found: list[Use] = []
    flags: dict[str, int] = {}
    for trigger in triggers:
        step = read(f"FROM scratch\n{trigger}").stages
        if _unreadable(trigger, heredocs) or len(step) != 1:
            why = "its base carries an instruction that cannot be read"
            found.append(Use(line, trigger[:100], why=why, hides=True))
        else:
            found += (use for each in step[0].steps[1:] for use in _of_step(each, [], flags))
    return Uses(tuple(replace(use, line=line) for use in found), dict.fromkeys(flags, line))


def _unreadable(text: str, heredocs: bool) -> Use | None:
    """The first place that engines, or they and `dockerfile`, may read differently, if there is one.

    A line that would use an image, were it an instruction, may stand neither in a continued one nor in a
    here-document: whoever disagrees about where those end, as Podman before 5, which knows none, would see it.
    """
    if match := _ODD.search(text):
        return Use(text.count("\n", 0, match.start()) + 1, "an odd blank", why="engines differ on where its words end")
    ends: list[tuple[str, bool]] = []  # names of the here-documents that are open, and whether tabs go before them
    goes_on = False
    logical = body = ""  # `body`: the same of a here-document's text, were that instructions
    for number, line in enumerate(text.split("\n"), start=1):
        bare = line.rstrip("\r")
        if ends:
            name, tabs = ends[0]
            is_end = (bare.lstrip("\t") if tabs else bare) == name
            if bare.strip() and not bare.lstrip().startswith("#"):
                shorn = bare.rstrip(" \t")
                body += shorn.removesuffix("\\")
                goes_on = shorn.endswith("\\")
            if (bare.strip() == name and not is_end) or _may_use(bare) or (not goes_on and _may_use(body)):
                return Use(number, bare[:100], why="engines differ on whether it is text of a here-document")
            body = body if goes_on else ""
            if is_end:
                ends.pop(0)
            continue
        if _ESCAPE.match(bare):
            return Use(number, bare[:100], why="it may change how lines are continued")
        if not bare.strip() or bare.lstrip().startswith("#"):
            continue
        if goes_on and _may_use(bare):
            return Use(number, bare[:100], why="engines may differ on whether it continues the line above")
        shorn = bare.rstrip(" \t")
        if shorn.endswith("\\\\"):
            return Use(number, bare[-40:], why="engines differ on whether the next line continues it")
        goes_on = shorn.endswith("\\")
        logical += shorn.removesuffix("\\")
        if not goes_on:
            if why := _heredocs(logical, heredocs, ends):
                return Use(number, bare[:100], why=why)
            logical = ""
    return None


def _may_use(line: str) -> bool:
    """Whether it would use an image, change which one is, or open the host, if it were an instruction."""
    word, *rest = line.split() or [""]
    word = word.upper()
    if word == "FROM":
        rest = [each for each in rest if not each.startswith("--")]
        return len(rest) == 1 or (len(rest) == 3 and rest[1].lower() == "as")
    if word in _READS:
        return "--" in line and bool(_TELLING.search(line.lower()))
    return word == "ARG"


def _heredocs(logical: str, known: bool, ends: list[tuple[str, bool]]) -> str:
    """Put the here-documents that an instruction opens into `ends`; why that cannot be told, or empty."""
    word = (logical.split() or [""])[0].upper()
    if word not in _READS or "<<" not in logical:
        return ""
    found = list(_HEREDOC.finditer(logical))
    if not found and not opened(logical) and not re.search(r"(^|\s)\d*<<", logical.replace("<<<", "")):
        return ""
    if not known or word == "ONBUILD":
        return "this engine may not know here-documents"
    names = [match[3] for match in found]
    rest = _HEREDOC.sub(" ", logical).replace("<<<", "")
    quoted = bool(found) and bool(_QUOTING.search(_HEREDOC.sub(" ", logical[: found[-1].start()])))
    if names != opened(logical) or quoted or re.search(r"(^|\s)\d*<<", rest):
        return "engines differ on whether a here-document begins there"
    ends += [(match[3], bool(match[1])) for match in found]
    return ""


def _global_args(file: Dockerfile, args: dict[str, str]) -> dict[str, str | None]:
    """ARG before the first FROM; None: its value cannot be told."""
    known: dict[str, str | None] = {}
    for each in file.before:
        if each.word != "ARG":
            continue
        for word in each.rest.split():
            name, equals, value = word.partition("=")
            if not _NAME.fullmatch(name):
                # A value with blanks in quotes: nothing after it is sure.
                return {**dict.fromkeys(known), **args}
            if name in args:
                known[name] = args[name]
            elif equals:
                known[name] = expand(_unquoted(value), known)
            else:
                known[name] = ""
    return known


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'" and not _QUOTING.search(value[1:-1]):
        inner = value[1:-1]
        return inner if value[0] == '"' or "$" not in inner else value
    return value


def expand(text: str, known: dict[str, str | None]) -> str | None:
    """`text` with its variables put in; None when one has no value that is known, or it is quoted."""
    if _QUOTING.search(text):
        return None
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        name, way, word = match[1] or match[2], match[3] or "", match[4] or ""
        found = known.get(name)
        if found is None or (not found and way in ("-", "+")):  # not declared, or perhaps not set
            missing = True
            return ""
        if way.endswith("-"):
            return found or word
        if way.endswith("+"):
            return word if found else ""
        return found

    expanded = _VARIABLE.sub(value, text)
    return None if missing or "$" in expanded or _QUOTING.search(expanded) else expanded


def _of_stage(file: Dockerfile, stage: Stage, given: dict[str, str | None], flags: dict[str, int]) -> Iterator[Use]:
    earlier = list(file.stages[: stage.position])
    names = {each.name.lower() for each in earlier if each.name}
    first, *steps = stage.steps
    words = [word for word in first.rest.split() if not word.startswith("--")]
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].lower() != "as"):
        yield Use(first.line, first.text[:100], why="FROM IMAGE [AS NAME] was expected", is_base=True)
    elif len(words) == 3 and not _STAGE.fullmatch(words[2]):
        yield Use(first.line, words[2][:100], why="a stage’s name is small letters, digits and . _ -", is_base=True)
    else:
        base = expand(words[0], given)
        if not base:
            why = "its variables have no value that can be told beforehand"
            yield Use(first.line, words[0], why=why, is_base=True)
        elif base.lower() not in names and base.lower() != "scratch":
            yield Use(first.line, words[0], base, is_base=True)
    for each in steps:
        yield from _of_step(each, earlier, flags)


def _of_step(each: Instruction, earlier: list[Stage], flags: dict[str, int]) -> Iterator[Use]:
    word, rest = each.word, each.rest
    if word == "ONBUILD":
        # Run in another build, where these stages are not.
        word, _, rest = rest.partition(" ")
        word, earlier = word.upper(), []
        if word == "ONBUILD" or word == "FROM":
            yield Use(each.line, each.text[:100], why="it cannot be an instruction of another build", hides=True)
            return
    if word not in ("COPY", "ADD", "RUN"):
        return
    for flag in _flags(rest):
        name, _, value = flag.partition("=")
        name = name.lower()
        if name in OPENING:
            flags.setdefault(flag, each.line)
        if name == "--mount" and "type=cache" in value.lower().split(","):
            flags.setdefault(CACHE, each.line)
        hides = bool(_QUOTING.search(flag)) or "$" in name
        if hides or ("$" in flag and name in ("--mount", "--from")):
            why = "quotes and variables in it are read differently by engines"
            yield Use(each.line, flag[:100], why=why, hides=hides)
        elif "from" not in flag.lower():
            continue
        elif word == "RUN" and name == "--mount":
            yield from _mounted(each, value, earlier)
        elif name == "--from":
            yield from _named(each, value, earlier)
        else:
            yield Use(each.line, flag[:100], why="it is not known")


def _flags(rest: str) -> Iterator[str]:
    for word in rest.split():
        if not word.startswith("--"):
            return
        yield word


def _mounted(each: Instruction, value: str, earlier: list[Stage]) -> Iterator[Use]:
    for part in value.split(","):
        key, _, name = part.partition("=")
        if key.strip().lower() == "from":
            yield from _named(each, name, earlier)


def _named(each: Instruction, name: str, earlier: list[Stage]) -> Iterator[Use]:
    """A stage that comes before, by its name or its number, or an image."""
    if any(stage.name and stage.name.lower() == name.lower() for stage in earlier):
        return
    if name.isascii() and name.isdecimal() and len(name) < 6 and int(name) < len(earlier):
        return
    if name:
        yield Use(each.line, name[:100], name)
