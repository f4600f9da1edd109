"""The instructions of a Dockerfile as values: what is written, variables and quotes not yet expanded.

Each has its section in the Dockerfile reference, whose words the fields use. `expand` fills in the variables.
"""

from dataclasses import dataclass
from typing import ClassVar

from .errors import Place
from .heredocs import Heredoc, read_mark, shell_text
from .mounts import Mount

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """What all have. `original` is the line without continuations, as history and output show it."""

    name: ClassVar[str] = ""

    place: Place
    original: str
    heredocs: tuple[Heredoc, ...] = ()

    @property
    def text(self) -> str:
        """The line with the heredocs behind it: read again, it is the same instruction."""
        return "".join([self.original, *(f"\n{each.body}{each.name}" for each in self.heredocs)])


@dataclass(frozen=True, slots=True)
class Command:
    """The exec form's arguments, or the shell form's one line."""

    arguments: tuple[str, ...]
    shell: bool

    @property
    def line(self) -> str:
        """The shell form's line."""
        return self.arguments[0] if self.arguments else ""


@dataclass(frozen=True, slots=True)
class InlineFile:
    """A heredoc as a file. `name` is whatever the heredoc is called: whoever writes it takes care of slashes."""

    name: str
    content: str
    expand: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Instruction):
    """`FROM [--platform=…] image [AS stage]`."""

    name = "FROM"
    image: str
    stage: str = ""  # in lower case: names of stages have no case
    platform: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Instruction):
    """`RUN [--mount=…] [--network=…] [--security=…] command`."""

    name = "RUN"
    command: Command
    mounts: tuple[Mount, ...] = ()
    network: str = "default"  # none, host
    security: str = "sandbox"  # insecure

    @property
    def script(self) -> InlineFile | None:
        """The file to be run when the command is but a heredoc that begins with `#!`."""
        if self.heredocs and self.heredocs[0].body.startswith("#!") and read_mark(self.command.line):
            return InlineFile(self.heredocs[0].name, self.heredocs[0].content)
        return None

    @property
    def shell_text(self) -> str:
        """What the shell gets to read, for the shell form without `script`."""
        return shell_text(self.command.line, self.heredocs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(Instruction):
    name = "CMD"
    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(Instruction):
    name = "ENTRYPOINT"
    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Instruction):
    name = "LABEL"
    pairs: Pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Instruction):
    name = "MAINTAINER"
    author: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Instruction):
    """`EXPOSE 80 443/tcp 8000-8010/udp`: words; `ports.exposed_ports` reads them once they are expanded."""

    name = "EXPOSE"
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Instruction):
    """`ENV name=value …`, or the old `ENV name value`."""

    name = "ENV"
    pairs: Pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Instruction):
    """What ADD and COPY share. Paths and patterns come first, heredocs behind them, in the order they are written."""

    sources: tuple[str, ...]
    files: tuple[InlineFile, ...] = ()
    destination: str
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Transfer):
    name = "ADD"
    checksum: str = ""
    keep_git_dir: bool | None = None
    unpack: bool | None = None  # None: local archives are unpacked, remote ones are not


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Transfer):
    name = "COPY"
    from_: str = ""  # a stage's name or index, or an image; "" is the build context
    parents: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Instruction):
    name = "VOLUME"
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Instruction):
    name = "USER"
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Instruction):
    name = "WORKDIR"
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Instruction):
    """`ARG name[=default] …`; None where there is no default."""

    name = "ARG"
    pairs: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Onbuild(Instruction):
    """`ONBUILD instruction`: `expression` is what the image keeps, `trigger` the same, read."""

    name = "ONBUILD"
    expression: str
    trigger: Instruction


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopsignal(Instruction):
    name = "STOPSIGNAL"
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(Instruction):
    """`test` as Docker's Config has it: ("NONE",), ("CMD", …) or ("CMD-SHELL", line). Nanoseconds; 0 inherits."""

    name = "HEALTHCHECK"
    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Instruction):
    name = "SHELL"
    shell: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """A FROM and what follows it up to the next."""

    index: int
    start: From
    instructions: tuple[Instruction, ...]

    @property
    def name(self) -> str:
        """As output shows it: the one it was given, or `stage-0`."""
        return self.start.stage or f"stage-{self.index}"
