"""An engine's words in plain ones, with a next step.

`explain` is for people; nothing decides by it. Every pattern was taken from what Docker Engine or
Podman really answered (tests/contract/test_explain.py provokes them again on both); what matches none
is shown as it came.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from controlplane.lib.errors import GantryError
from hosts.engine.errors import EngineError, EngineProtocolError, EngineUnavailable, EngineUnreachable, plain


@dataclass(frozen=True)
class Rule:
    """When ``pattern`` is found, say ``message`` and ``hint``; ``{1}``, ``{2}`` are its groups."""

    pattern: re.Pattern[str]
    message: str
    hint: str


def _rule(pattern: str, message: str, hint: str) -> Rule:
    return Rule(re.compile(pattern), message, hint)


_OTHER_PORT = "Choose another host port, or stop what uses this one."
_SPELLING = "Check the spelling. Commands are looked up in the image, not on the host."
_REACH = "Check the registry’s address, and that the host (not your browser) can reach it."
_NAME_RULE = "Use letters, digits, “_”, “.” and “-”, beginning with a letter or a digit."
_REFERENCE = "An image is named [HOST[:PORT]/][PATH/]NAME[:TAG][@DIGEST], all lower case but the tag."
_ABSOLUTE = "A path in the container begins with a slash."
_GONE = "It was removed meanwhile, perhaps by somebody else."

_START = [
    _rule(
        r"listen (?:tcp|udp)\d? \S*:(\d+): bind: address already in use",
        "Port {1} is already in use on the host.",
        _OTHER_PORT,
    ),
    _rule(
        r"Bind for \S+?:(\d+) failed: port is already allocated",
        "Port {1} is already taken by another container on the host.",
        _OTHER_PORT,
    ),
    _rule(
        r'exec: "([^"]+)": (?:executable file not found in \$PATH|stat \S+: no such file|no such file)',
        "The command “{1}” was not found in the container.",
        _SPELLING,
    ),
    _rule(
        r"attempted to invoke a command that was not found",
        "The command was not found in the container.",
        _SPELLING,
    ),
    _rule(
        r'exec: "([^"]+)": permission denied',
        "“{1}” may not be executed in the container.",
        "It is not a program, or its mode or the chosen user does not allow it.",
    ),
    _rule(
        r"unable to find user (\S+): no matching entries in passwd file",
        "The image has no user “{1}”.",
        "Choose a user of the image’s /etc/passwd, or a number.",
    ),
    _rule(
        r'(?:Cannot mkdir: (\S+) is not a directory|workdir "([^"]+)" exists on container \w+, but is not)',
        "The working directory “{1}{2}” is a file in the image.",
        "Choose a folder.",
    ),
]

_CREATE = [
    _rule(
        r'(?:[Cc]ontainer name "/?([^"]+)" is already in use|name (\S+) already in use)',
        "The name “{1}{2}” is already in use on this host.",
        "Choose another name, or remove or rename the container that has it.",
    ),
    _rule(
        r'(?:create (.+): ".+" includes invalid characters for a local volume name'
        r'|creating named volume "([^"]+)": .*names must match)',
        "“{1}{2}” is no name for a volume.",
        f"{_NAME_RULE} For a folder of the host, give its whole path, from the first slash on.",
    ),
    _rule(r"Invalid container name \(/?([^)]*)\)", "“{1}” is no name for a container.", _NAME_RULE),
    _rule(r"names must match \[a-zA-Z0-9\]", "This is no name for a container.", _NAME_RULE),
    _rule(
        r'(?:invalid port specification: "([^"]*)"'
        r'|(?:make cli opts\(\)|--expose: \S+): strconv\.\w+: parsing "([^"]*)")',
        "“{1}{2}” is no port.",
        "A port is a number from 1 to 65535; a range goes from the lower to the higher one.",
    ),
    _rule(
        r"container port number must be non-0",
        "The container’s port is no port.",
        "Ports go from 1 to 65535.",
    ),
    _rule(
        r'invalid IP address "([^"]+)" in port mapping',
        "“{1}” is no IP address.",
        "Give an address of the host, or leave it empty for all.",
    ),
    _rule(
        r"Minimum memory limit allowed is (\d+)MB",
        "The memory limit is too small: the engine asks for {1} MB at least.",
        "Give more memory, or leave the limit empty.",
    ),
    _rule(
        r"[Rr]ange of CPUs is from ([\d.]+) to ([\d.]+)",
        "The CPU limit is out of range: this host allows {1} to {2}.",
        "Give a number within that range, or leave the limit empty.",
    ),
    _rule(
        r"(?:invalid restart policy(?:: unknown policy)? '([^']+)'|\"([^\"]+)\" is not a valid restart policy)",
        "“{1}{2}” is no restart policy.",
        "Choose no, always, unless-stopped or on-failure.",
    ),
    _rule(
        r"(?:maximum retry count cannot be negative|retry count as a number greater than 0)",
        "The number of restarts cannot be negative.",
        "Give 0 for no limit.",
    ),
    _rule(
        r"(?:invalid mount path: '([^']+)' mount path must be absolute"
        r'|invalid container path "([^"]+)", must be an absolute path)',
        "“{1}{2}” is no path in a container.",
        _ABSOLUTE,
    ),
    _rule(
        r"(?:bind source path does not exist: (\S+)|statfs (\S+): no such file or directory)",
        "The host has no “{1}{2}” to mount.",
        "Make the folder on the host first, or use a named volume.",
    ),
    _rule(
        r'invalid environment variable: "?([^"]*)"?',
        "“{1}” is no environment variable.",
        "Write NAME=value; the name cannot be empty.",
    ),
    _rule(
        r"(?:network (\S+) not found|unable to find network with name or ID (\S+?): network not found)",
        "The host has no network “{1}{2}”.",
        "Choose one of the host’s networks.",
    ),
    _rule(r"[Ii]nvalid signal: (\S+)", "“{1}” is no signal.", "Give a name such as TERM or HUP, or a number."),
]

_REGISTRY = [
    _rule(
        r"(?:invalid reference format: )?repository name must be lowercase",
        "The image’s name contains capital letters.",
        _REFERENCE,
    ),
    _rule(r"invalid tag format", "This is no tag.", "A tag has letters, digits, “_”, “.” and “-”, at most 128."),
    _rule(r"invalid reference format", "This is no name of an image.", _REFERENCE),
    _rule(
        r"manifest for (\S+) not found: manifest unknown",
        "The registry has no image “{1}”.",
        "Check the name and the tag.",
    ),
    _rule(
        r"reading manifest (\S+) in (\S+): (?:manifest|name) unknown",
        "The registry has no image “{2}” with the tag or digest “{1}”.",
        "Check the name and the tag.",
    ),
    _rule(
        r"pull access denied for (\S+),",
        "The registry has no image “{1}”, or shows it only to some.",
        "Check the name, or give a user and a password for this registry.",
    ),
    _rule(
        r"no basic auth credentials",
        "The registry asks for a user and a password.",
        "Give the credentials of this registry.",
    ),
    _rule(
        r"(?:unauthorized|authentication required)",
        "The registry refused: no credentials, or wrong ones.",
        "Check the user and the password for this registry.",
    ),
    _rule(
        r"toomanyrequests: ",
        "The registry allows no more pulls at the moment.",
        "Wait, or give a user and a password for this registry: its limit is higher then.",
    ),
    _rule(r"denied: ", "The registry refuses this image to us.", "Ask its owner for the right to pull it."),
    _rule(
        r"(?:server gave HTTP response to HTTPS client|first record does not look like a TLS handshake)",
        "The registry speaks plain HTTP, the engine expects TLS.",
        "Give the registry a certificate, or list it as insecure in the engine’s configuration.",
    ),
    _rule(
        r"(?:x509: |tls: )(.+)",
        "The registry’s certificate is not accepted: {1}.",
        "Make the engine trust the authority that signed it.",
    ),
    _rule(
        r"dial tcp:? lookup (\S+?)(?: on \S+)?: ",
        "The host does not find the registry “{1}”: no such name.",
        f"{_REACH} Its name server may be out of order.",
    ),
    _rule(r"dial tcp (\S+): connect: (.+)", "The registry at {1} does not answer: {2}.", _REACH),
    _rule(
        r"(?:i/o timeout|Client\.Timeout exceeded|TLS handshake timeout|context deadline exceeded)",
        "The registry does not answer in time.",
        _REACH,
    ),
]

_STATE = [
    _rule(
        r"(?:cannot remove a running container|cannot remove container \S+: container is running"
        r"|running or paused containers cannot be removed)",
        "The container is running.",
        "Stop it first, or remove it by force.",
    ),
    _rule(
        r"(?:is not running|can only kill running|sessions on running containers)",
        "The container is not running.",
        "Start it first.",
    ),
    _rule(r"is not paused", "The container is not paused.", "There is nothing to resume."),
    _rule(r"is already paused", "The container is already paused.", "Resume it to let it go on."),
    _rule(r"(?:container \S+ is paused|Container \S+ is paused)", "The container is paused.", "Resume it first."),
    _rule(
        r"(?:is being used by running container|is using its referenced image|is being used by stopped"
        r"|image is in use by a container)",
        "A container was made from this image and still exists.",
        "Remove the container first, or remove the image by force.",
    ),
    _rule(
        r"(?:must be forced|more than one tag|referenced in multiple repositories)",
        "The image has several tags.",
        "Remove them one by one, or remove the image by force.",
    ),
    _rule(
        r"(?:[Nn]o such image: (\S+?)(?:: .*)?$|failed to find image (\S+?): )",
        "The host has no image “{1}{2}”.",
        "Pull it first.",
    ),
    _rule(
        r'(?:No such container: (\S+)|no container with name or ID "([^"]+)" found)',
        "There is no container “{1}{2}” on this host.",
        _GONE,
    ),
    _rule(r"(?:No such exec instance|no exec session with ID)", "This terminal has ended.", "Open a new one."),
    _rule(
        r"(?:get (\S+): no such volume|volume with name (\S+) not found)",
        "There is no volume “{1}{2}”.",
        _GONE,
    ),
]

_MACHINE = [
    _rule(
        r"[Nn]o space left on device",
        "The host’s disk is full.",
        "Remove images and containers that nobody needs, or give it more space.",
    ),
    _rule(
        r"unable to set memory limit to \d+ \(current usage",
        "The memory limit is too small for the container’s process to start.",
        "Give more memory, or leave the limit empty.",
    ),
    _rule(
        r"(?:memory\.limit_in_bytes|memory\.max)\S*: (?:invalid argument|device or resource busy)",
        "The host does not accept this memory limit.",
        "Give more memory, or leave the limit empty.",
    ),
    _rule(
        r"cpu\.(?:cfs_quota_us|max)\S*: invalid argument",
        "The host does not accept this CPU limit.",
        "Give a number above 0.01, or leave the limit empty.",
    ),
    _rule(
        r"permission denied while trying to connect|dial unix \S+: connect: permission denied",
        "The agent may not use the engine’s socket.",
        "Let the agent run as root or in the socket’s group.",
    ),
    _rule(
        r"OCI runtime (?:create|exec|start) failed: (?:runc (?:create|exec) failed: )?(.+?)(?:: unknown)?$",
        "The container’s process could not be started: {1}.",
        "The message is the container runtime’s own.",
    ),
]

# The disk comes first, for its message may be the last words of any other; then from the narrow to the wide.
_RULES = [_MACHINE[0], *_START, *_CREATE, *_STATE, *_REGISTRY, *_MACHINE[1:]]


_OWN_WORDS = "These are the engine’s own words; its log on the host may say more."
_AWAY = "The host does not answer at the moment; try again when it is back."
# The same message calls for another step in another operation.
_HINTS = {("image.remove", "Pull it first."): _GONE}


def explain(error: Exception | str, operation: str = "") -> tuple[str, str]:
    """(what happened, what to do next) for an error of an engine, or for its words alone.

    ``operation``: the kind of what was being done (``image.pull``), where the same words mean different things.
    An error of ours that already says what to do is passed on as it is.
    """
    words = error if isinstance(error, str) else str(error)
    if isinstance(error, EngineUnreachable | EngineProtocolError):
        return error.message, error.hint
    for rule in _RULES:
        if match := rule.pattern.search(words):
            groups = ["", *(group or "" for group in match.groups())]
            return plain(rule.message.format(*groups)), _HINTS.get((operation, rule.hint), rule.hint)
    hint = error.hint if isinstance(error, GantryError) else ""
    if not hint and isinstance(error, EngineError):
        hint = _AWAY if isinstance(error, EngineUnavailable) else _OWN_WORDS
    return plain(words) or type(error).__name__, hint


_EXITS = {
    125: ("The engine could not run the container.", "Its own message says why."),
    126: ("The command was found but may not be executed.", "Check its mode and the chosen user."),
    127: ("The command was not found in the container.", _SPELLING),
    137: (
        "The container was killed (SIGKILL).",
        "It used more memory than its limit, or did not stop in time.",
    ),
    139: ("The container’s process crashed (SIGSEGV).", "Look at its log."),
    143: ("The container was asked to stop (SIGTERM) and did.", ""),
}


def explain_exit(code: int) -> tuple[str, str]:
    """(what an exit code means, what to do next); shells' and engines' conventions, else the number alone."""
    if code == 0:
        return "The container ended without an error.", ""
    return _EXITS.get(code, (f"The container ended with exit code {code}.", "Look at its log."))
