"""What a Dockerfile says, as values: no disk, no network.

errors ← words ← globs, variables ← heredocs ← lines; flags, durations, mounts ← instructions ← readers ← parse
← expand, ports, predefined ← stages
"""

from .errors import DockerfileError, Place
from .expand import arg_values, expand, global_args
from .instructions import Command, InlineFile, Instruction, Stage
from .lines import Remark
from .mounts import Mount
from .parse import Dockerfile, parse, parse_trigger
from .ports import exposed_ports
from .predefined import is_kept, platform_args, proxy_env
from .stages import Linked, Names, Need, Plan, link, plan

__all__ = [
    "Command",
    "Dockerfile",
    "DockerfileError",
    "InlineFile",
    "Instruction",
    "Linked",
    "Mount",
    "Names",
    "Need",
    "Place",
    "Plan",
    "Remark",
    "Stage",
    "arg_values",
    "expand",
    "exposed_ports",
    "global_args",
    "is_kept",
    "link",
    "parse",
    "parse_trigger",
    "plan",
    "platform_args",
    "proxy_env",
]
