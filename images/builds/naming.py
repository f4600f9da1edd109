"""Names of images by template: `shop/web:{branch}-{sha}`.

{branch}  the branch or tag built from, with what no tag may hold made "-"
{sha}     the first 12 digits of the commit
{date}    the day it was asked for, in UTC: 20261129
{n}       the number of the build
"""

from __future__ import annotations

import re
from datetime import datetime

from controlplane.lib.errors import InvalidArgument
from images.reference import parse

FIELDS = ("branch", "sha", "date", "n")
LONGEST_PIECE = 100
_FIELD = re.compile(r"\{([^{}]*)\}")
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


def check(template: str, *, git: bool) -> None:
    """Raise InvalidArgument unless `fill` can succeed, whatever the branch."""
    sample = {"branch": "main", "sha": "0" * 40} if git else {}
    fill(template, asked=datetime(2026, 1, 1), number=1, **sample)  # noqa: DTZ001  a sample


def piece(branch: str) -> str:
    """A branch as part of a tag: `feature/x` becomes `feature-x`. Always a valid beginning of one."""
    return _NOT_IN_A_TAG.sub("-", branch).lstrip(".-")[:LONGEST_PIECE]
