"""What a Dockerfile says, as values: no disk, no network.

errors ← words ← globs, variables ← heredocs ← lines; flags, durations, mounts ← instructions ← readers ← parse
← ports
"""

from .errors import DockerfileError, Place
from .instructions import Command, InlineFile, Instruction, Stage
from .lines import Remark
from .mounts import Mount
from .parse import Dockerfile, parse, parse_trigger
from .ports import exposed_ports

__all__ = [
    "Command",
    "Dockerfile",
    "DockerfileError",
    "InlineFile",
    "Instruction",
    "Mount",
    "Place",
    "Remark",
    "Stage",
    "exposed_ports",
    "parse",
    "parse_trigger",
]
