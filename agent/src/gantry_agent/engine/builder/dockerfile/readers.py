"""One reader for each instruction: from its line to its value."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .durations import parse_duration
from .errors import DockerfileError, Fault, did_you_mean, quoted
from .flags import Flags, Kind, Kinds
from .heredocs import mark_words, read_mark
from .instructions import (
    Add,
    Arg,
    Cmd,
    Command,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    InlineFile,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from .lines import Line
from .mounts import parse_mount
from .variables import Expander
from .words import SPACES, json_strings, split_blanks, split_once, split_words, take_flags

_STAGE = re.compile(r"[a-z][a-z0-9_.-]*\Z")
_SHORTEST = 10**6  # nanoseconds of a health check's durations (Docker: container.MinimumDuration)
_NO_FLAGS: Kinds = {}
_TRANSFER: Kinds = {"chown": Kind.TEXT, "chmod": Kind.TEXT, "link": Kind.SWITCH, "exclude": Kind.TEXTS}
_HEALTH: Kinds = dict.fromkeys(("interval", "timeout", "start-period", "start-interval", "retries"), Kind.TEXT)


@dataclass(frozen=True, slots=True)
class Statement:
    """A line taken apart: the instruction's word, its flags, the rest."""

    line: Line
    escape: str
    word: str
    flags: Flags
    rest: str

    @property
    def common(self) -> dict[str, Any]:
        """The fields every instruction has."""
        return {"place": self.line.place, "original": self.line.text.strip(SPACES), "heredocs": self.line.heredocs}

    def listed(self) -> tuple[list[str], bool]:
        """The arguments of `["a", "b"]` or `a b`, and whether it was JSON."""
        found = json_strings(self.rest)
        return (split_blanks(self.rest), False) if found is None else (found, True)

    def command(self) -> Command:
        return _command(self.rest)

    def one(self) -> str:
        """All of it as one argument. Raises Fault when there is none."""
        if not self.rest:
            raise Fault(f"{self.word} requires exactly one argument")
        return self.rest

    def some(self, arguments: list[str]) -> tuple[str, ...]:
        """The arguments. Raises Fault when there are none."""
        if not arguments:
            raise Fault(f"{self.word} requires at least one argument")
        return tuple(arguments)


def read_instruction(line: Line, escape: str) -> Instruction:
    """Raises DockerfileError with the line."""
    word, rest = split_once(line.text.strip(SPACES))
    name = word.upper()
    try:
        if name not in _READERS:
            raise Fault(_unknown(word, line.place.line, escape))
        reader, kinds = _READERS[name]
        flags, rest = take_flags(rest, escape)
        return reader(Statement(line, escape, name, Flags.read(flags, kinds), rest.strip(SPACES)))
    except Fault as fault:
        raise DockerfileError(str(fault), line.place, name[:100]) from fault


def _unknown(word: str, number: int, escape: str) -> str:
    if not word:
        return f"nothing follows the {escape} at the end of the line"
    lower = word == word.lower()
    guess = did_you_mean(word if lower else word.upper(), (each.lower() if lower else each for each in _READERS))
    if not guess and number > 1 and word.isascii() and not word[0].isalnum():
        guess = f" (is a {escape} missing at the end of the line before it?)"
    return f"unknown instruction: {word[:100]}{guess}"


def _command(text: str) -> Command:
    found = json_strings(text)
    if found is not None:
        return Command(tuple(found), shell=False)
    return Command((text,) if text else (), shell=True)


def _from(given: Statement) -> From:
    words = split_blanks(given.rest)
    stage = ""
    if len(words) == 3 and words[1].upper() == "AS":
        stage = words[2].lower()
        if not _STAGE.match(stage):
            raise Fault(
                f"invalid name for build stage: {quoted(words[2])}, name can't start with a number or contain symbols"
            )
    elif len(words) != 1:
        raise Fault("FROM requires either one or three arguments")
    return From(image=words[0], stage=stage, platform=given.flags.text("platform"), **given.common)


def _run(given: Statement) -> Run:
    command = given.command()
    if not command.shell and not command.arguments:
        raise Fault("RUN requires at least one argument")
    network = given.flags.text("network", "default")
    if network not in ("default", "none", "host"):
        raise Fault(f"invalid network mode {quoted(network)}{did_you_mean(network, ('default', 'none', 'host'))}")
    security = given.flags.text("security", "sandbox")
    if security not in ("sandbox", "insecure"):
        raise Fault(f"security {quoted(security)} is not valid{did_you_mean(security, ('sandbox', 'insecure'))}")
    mounts = tuple(parse_mount(each) for each in given.flags.texts("mount"))
    return Run(command=command, mounts=mounts, network=network, security=security, **given.common)


def _cmd(given: Statement) -> Cmd:
    return Cmd(command=given.command(), **given.common)


def _entrypoint(given: Statement) -> Entrypoint:
    return Entrypoint(command=given.command(), **given.common)


def _shell(given: Statement) -> Shell:
    command = given.command()
    if not command.arguments:
        raise Fault("SHELL requires at least one argument")
    if command.shell:
        raise Fault("SHELL requires the arguments to be in JSON form")
    return Shell(shell=command.arguments, **given.common)


def _pairs(given: Statement) -> tuple[tuple[str, str], ...]:
    words = given.some(split_words(given.rest, given.escape))
    if "=" not in words[0]:
        name, value = split_once(given.rest)
        if not value:
            raise Fault(f"{given.word} must have two arguments")
        return ((name, value),)
    pairs = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise Fault(f"Syntax error - can't find = in {quoted(word)}. Must be of the form: name=value")
        if not name:
            raise Fault(f"{given.word} names can not be blank")
        pairs.append((name, value))
    return tuple(pairs)


def _env(given: Statement) -> Env:
    return Env(pairs=_pairs(given), **given.common)


def _label(given: Statement) -> Label:
    return Label(pairs=_pairs(given), **given.common)


def _arg(given: Statement) -> Arg:
    pairs = []
    for word in given.some(split_words(given.rest, given.escape)):
        name, equals, value = word.partition("=")
        if not name:
            raise Fault("ARG names can not be blank")
        pairs.append((name, value if equals else None))
    return Arg(pairs=tuple(pairs), **given.common)


def _transfer(given: Statement) -> dict[str, Any]:
    arguments, is_json = given.listed()
    heredocs = {} if is_json else {each.name: each for each in given.line.heredocs}
    if heredocs:
        arguments = mark_words(given.rest)
    if len(arguments) < 2:
        count = "only one" if arguments else "none"
        raise Fault(
            f"{given.word} requires at least two arguments, but {count} was provided. "
            "Destination could not be determined."
        )
    *given_sources, destination = arguments
    if not is_json and read_mark(destination):
        raise Fault(f"{given.word} cannot accept a heredoc as a destination")
    sources, files = [], []
    for source in given_sources:
        mark = None if is_json else read_mark(source)
        if not mark:
            sources.append(source)
        elif mark.name in heredocs:
            files.append(InlineFile(mark.name, heredocs[mark.name].content, mark.expand))
        else:
            raise Fault(f"{source[:100]} has no body: a quote in the line has no end")
    return {
        "sources": tuple(sources),
        "files": tuple(files),
        "destination": destination,
        "chown": given.flags.text("chown"),
        "chmod": given.flags.text("chmod"),
        "link": bool(given.flags.switch("link")),
        "exclude": given.flags.texts("exclude"),
        **given.common,
    }


def _add(given: Statement) -> Add:
    return Add(
        checksum=given.flags.text("checksum"),
        keep_git_dir=given.flags.switch("keep-git-dir"),
        unpack=given.flags.switch("unpack"),
        **_transfer(given),
    )


def _copy(given: Statement) -> Copy:
    origin = given.flags.text("from")
    if Expander({}, given.escape).word(origin) != origin:
        raise Fault(
            "variable expansion is not supported for --from, "
            "define a new stage with FROM using ARG from global scope as a workaround"
        )
    return Copy(from_=origin, parents=bool(given.flags.switch("parents")), **_transfer(given))


def _maintainer(given: Statement) -> Maintainer:
    return Maintainer(author=given.one(), **given.common)


def _user(given: Statement) -> User:
    return User(user=given.one(), **given.common)


def _workdir(given: Statement) -> Workdir:
    return Workdir(path=given.one(), **given.common)


def _stopsignal(given: Statement) -> Stopsignal:
    return Stopsignal(signal=given.one(), **given.common)


def _expose(given: Statement) -> Expose:
    return Expose(ports=given.some(split_blanks(given.rest)), **given.common)


def _volume(given: Statement) -> Volume:
    paths = tuple(each.strip(SPACES) for each in given.some(given.listed()[0]))
    if not all(paths):
        raise Fault("VOLUME specified can not be an empty string")
    return Volume(paths=paths, **given.common)


def _healthcheck(given: Statement) -> Healthcheck:
    word, rest = split_once(given.rest)
    kind = word.upper()
    if not kind:
        raise Fault("HEALTHCHECK requires at least one argument")
    if kind == "NONE":
        if rest:
            raise Fault("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(test=("NONE",), **given.common)
    if kind != "CMD":
        raise Fault(f"Unknown type {quoted(kind)} in HEALTHCHECK (try CMD)")
    command = _command(rest)
    if not command.arguments:
        raise Fault("Missing command after HEALTHCHECK CMD")
    return Healthcheck(
        test=("CMD-SHELL" if command.shell else "CMD", *command.arguments),
        interval=_interval(given.flags, "interval"),
        timeout=_interval(given.flags, "timeout"),
        start_period=_interval(given.flags, "start-period"),
        start_interval=_interval(given.flags, "start-interval"),
        retries=_retries(given.flags.text("retries")),
        **given.common,
    )


def _interval(flags: Flags, name: str) -> int:
    length = parse_duration(flags.text(name)) if flags.text(name) else 0
    if length and length < _SHORTEST:
        raise Fault(f"Interval {quoted(name)} cannot be less than 1ms")
    return length


def _retries(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,20}|", text) or int(text or 0) >= 1 << 31:
        raise Fault(f"--retries has to be a number, not {quoted(text)}")
    if int(text or 0) < 0:
        raise Fault(f"--retries cannot be negative ({int(text)})")
    return int(text or 0)


def _onbuild(given: Statement) -> Onbuild:
    word, _ = split_once(given.rest)
    if not word:
        raise Fault("ONBUILD requires at least one argument")
    if word.upper() == "ONBUILD":
        raise Fault("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if word.upper() in ("MAINTAINER", "FROM"):
        raise Fault(f"{word.upper()} isn't allowed as an ONBUILD trigger")
    line = Line(given.rest, given.line.place, given.line.heredocs)
    trigger = read_instruction(line, given.escape)
    return Onbuild(expression=trigger.text, trigger=trigger, **given.common)


_Reader = Callable[[Statement], Instruction]
_READERS: dict[str, tuple[_Reader, Kinds]] = {
    "ADD": (
        _add,
        {**_TRANSFER, "checksum": Kind.TEXT, "keep-git-dir": Kind.SWITCH, "unpack": Kind.SWITCH},
    ),
    "ARG": (_arg, _NO_FLAGS),
    "CMD": (_cmd, _NO_FLAGS),
    "COPY": (_copy, {**_TRANSFER, "from": Kind.TEXT, "parents": Kind.SWITCH}),
    "ENTRYPOINT": (_entrypoint, _NO_FLAGS),
    "ENV": (_env, _NO_FLAGS),
    "EXPOSE": (_expose, _NO_FLAGS),
    "FROM": (_from, {"platform": Kind.TEXT}),
    "HEALTHCHECK": (_healthcheck, _HEALTH),
    "LABEL": (_label, _NO_FLAGS),
    "MAINTAINER": (_maintainer, _NO_FLAGS),
    "ONBUILD": (_onbuild, _NO_FLAGS),
    "RUN": (_run, {"mount": Kind.TEXTS, "network": Kind.TEXT, "security": Kind.TEXT}),
    "SHELL": (_shell, _NO_FLAGS),
    "STOPSIGNAL": (_stopsignal, _NO_FLAGS),
    "USER": (_user, _NO_FLAGS),
    "VOLUME": (_volume, _NO_FLAGS),
    "WORKDIR": (_workdir, _NO_FLAGS),
}
