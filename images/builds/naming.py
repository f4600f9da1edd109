"""Names of images by template: `shop/web:{branch}-{sha}`.

{branch}  the branch or tag built from, with what no tag may hold made "-"
{sha}     the first 12 digits of the commit
{date}    the day it was asked for, in UTC: 20261129
{n}       the number of the build
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from controlplane.access.naming import intern_one
from controlplane.lib.errors import InvalidArgument
from controlplane.lib.references import name_of, parse

FIELDS = ("branch", "sha", "date", "n")
LONGEST_PIECE = 100
_FIELD = re.compile(r"\{([^{}]*)\}")
# Docker and the native engine; Podman, which says COMMIT before.
_TOLD = re.compile(r"(Successfully tagged|COMMIT) (\S+)")
_NOT_IN_A_TAG = re.compile(r"[^a-zA-Z0-9_.-]+")


def fill(template: str, *, branch: str = "", sha: str = "", asked: datetime, number: int) -> str:
    """The familiar reference. Raises InvalidArgument when it is none, or a field has nothing to stand for."""
    values = {"branch": piece(branch), "sha": sha[:12], "date": f"{asked:%Y%m%d}", "n": str(number)}

    def value_of(match: re.Match[str]) -> str:
        if match[1] not in values:
            names = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise InvalidArgument(f"Expected one of {names} in a tag, found {{{match[1]}}}.")
        if not values[match[1]]:
            raise InvalidArgument(
                f"The tag {template} names {{{match[1]}}}, and this build has none.",
                "Only builds from git have a branch and a commit.",
            )
        return values[match[1]]

    reference = parse(_FIELD.sub(value_of, template))
    if reference.digest:
        raise InvalidArgument(f"Expected a name to give, found the digest of something that is there: {template}.")
    return reference.familiar


def is_plain(template: str) -> bool:
    """Whether it is the name itself."""
    return "{" not in template


def filed_under(tags: Sequence[str]) -> int | None:
    """The name by which those find a build who have a right to that: the first it gives.

    None when it gives none, does not know it yet, or gives names of several repositories: whoever has a right to one
    would read of the others. Then those alone find it who have a right to everything there, and whoever asked for it.
    """
    plain = [tag for tag in tags if is_plain(tag)]
    if len({name_of(tag)[0] for tag in plain}) != 1 or len(plain) != len(tags):
        return None
    return intern_one(plain[0])


def first_of(tags: Sequence[str]) -> str:
    """What is said of the names a build has given to everybody who finds it by the first: how many more there are."""
    more = len(tags) - 1
    return f"{tags[0]} and {more} more name{'s' if more > 1 else ''}" if more > 0 else "".join(tags)


def without_further(line: str, tags: Sequence[str]) -> str:
    """A line of an engine that tells of a name it has given; without that name, if it is not the first of `tags`."""
    match = _TOLD.fullmatch(line)
    if match is None or name_of(match[2]) not in {name_of(tag) for tag in tags[1:]}:
        return line
    return f"{match[1]} under a further name"


def check(template: str, *, git: bool) -> None:
    """Raise InvalidArgument unless `fill` can succeed, whatever the branch."""
    sample = {"branch": "main", "sha": "0" * 40} if git else {}
    fill(template, asked=datetime(2026, 1, 1), number=1, **sample)  # noqa: DTZ001  a sample


def piece(branch: str) -> str:
    """A branch as part of a tag: `feature/x` becomes `feature-x`. Always a valid beginning of one."""
    return _NOT_IN_A_TAG.sub("-", branch).lstrip(".-")[:LONGEST_PIECE]
