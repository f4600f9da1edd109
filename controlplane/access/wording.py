"""Patterns and verbs in words, for whoever reads a grant. Pure: no Django, no database."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.access.patterns import full_pattern
from controlplane.access.roles import VERBS

HUB, OFFICIAL = "docker.io/", "docker.io/library/"


def lower(words: str) -> str:
    return words[:1].lower() + words[1:]


def verb_in_words(verb: str) -> str:
    """`container.exec` → open terminals in containers"""
    return lower(VERBS.get(verb, verb))


def in_words(patterns: Sequence[str], one: str) -> str:
    """What a list of patterns covers, as part of a sentence. `one`: "repository" or "tag"."""
    say = _tag if one == "tag" else _repository
    plain = [say(each) for each in patterns if not each.startswith("!")]
    excepted = [say(each[1:]) for each in patterns if each.startswith("!")]
    return _listed(plain) + (f", except {_listed(excepted)}" if excepted else "")


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _repository(pattern: str) -> str:
    full = full_pattern(pattern)
    name = full.removeprefix(OFFICIAL) if full.startswith(OFFICIAL) else full.removeprefix(HUB)
    hub = " on Docker Hub" if full.startswith(HUB) else ""
    folder, _, last = name.rpartition("/")
    if full == "**":
        return "every repository"
    if full == f"{HUB}**":
        return "every repository on Docker Hub"
    if "*" not in name:
        return f"the repository {name}{hub}"
    if folder == "**" and "*" not in last:
        return f"every repository named {last}, in any registry and at any depth"
    if "*" in folder:
        return f"repositories like {name}{hub}"
    where = f"directly below {folder}" if folder else "official images"
    if last == "**" and folder:
        return f"everything below {folder}, at any depth{hub}"
    if last == "*":
        return f"repositories {where}{hub}" if folder else f"{where}{hub}"
    ends = _affix(last)
    return f"repositories {where}{hub} {ends}" if ends and folder else f"repositories like {name}{hub}"


def _tag(pattern: str) -> str:
    if pattern.strip("*") == "":
        return "every tag"
    if "*" not in pattern:
        return f"the tag {pattern}"
    ends = _affix(pattern)
    return f"tags {ends}" if ends else f"tags like {pattern}"


def _affix(pattern: str) -> str:
    """For a pattern with one star at its end or its beginning, the rest of the sentence."""
    bare = pattern.strip("*")
    if "*" in bare:
        return ""
    if pattern in (f"{bare}*", f"{bare}**"):
        return f"that begin with {bare}"
    if pattern in (f"*{bare}", f"**{bare}"):
        return f"that end with {bare}"
    return f"that have {bare} in them" if pattern == f"*{bare}*" else ""
