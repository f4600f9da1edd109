"""An instruction's flags: `--from=build`, `--link`, `--exclude=*.o --exclude=*.a`.

Rules: the instructions' own sections of the Dockerfile reference; BuildKit's instructions/bflag.go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from .errors import Fault, did_you_mean


class Kind(Enum):
    """What a flag's value is, and how often it may be given."""

    TEXT = "text"
    TEXTS = "texts"  # as often as wanted
    SWITCH = "switch"  # true, false, or nothing for true


Kinds = Mapping[str, Kind]


@dataclass(frozen=True)
class Flags:
    """What was given."""

    values: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, given: Sequence[str], kinds: Kinds) -> "Flags":
        """Raises Fault for an unknown flag, one too many, a value that is missing or no truth."""
        values: dict[str, list[str]] = {}
        for flag in given:
            name, equals, value = flag.partition("=")
            kind = kinds.get(name[2:])
            if kind is None:
                raise Fault(f"unknown flag: {name[:100]}{did_you_mean(name[2:], kinds) or _expected(kinds)}")
            if name[2:] in values and kind is not Kind.TEXTS:
                raise Fault(f"duplicate flag specified: {name}")
            if (equals and not value) if kind is Kind.SWITCH else not equals:
                raise Fault(f"missing a value on flag: {name}")
            if kind is Kind.SWITCH and (value := value.lower() or "true") not in ("true", "false"):
                raise Fault(f"expecting boolean value for flag {name}, not: {value[:100]}")
            values.setdefault(name[2:], []).append(value)
        return cls(values)

    def text(self, name: str, default: str = "") -> str:
        return self.values.get(name, (default,))[0]

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(self.values.get(name, ()))

    def switch(self, name: str) -> bool | None:
        """None when not given."""
        return self.text(name) == "true" if name in self.values else None


def _expected(kinds: Kinds) -> str:
    return f", expected --{', --'.join(sorted(kinds))}" if kinds else ", the instruction takes none"
