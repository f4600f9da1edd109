"""Filters that lists of networks, volumes and others have in common."""

from collections.abc import Mapping, Sequence

from gantry_agent.engine.errors import InvalidArgument


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """Whether `key` or `key=value` is among the labels."""
    name, equals, value = wanted.partition("=")
    return name in labels and (not equals or labels[name] == value)


def fit_labels(labels: Mapping[str, str], filters: Mapping[str, Sequence[str]]) -> bool:
    """Whether all of `label` are there and none of `label!`."""
    return all(has_label(labels, each) for each in filters.get("label", ())) and not any(
        has_label(labels, each) for each in filters.get("label!", ())
    )


def fits_name(name: str, patterns: Sequence[str]) -> bool:
    """Whether the name holds one of the texts; ^ and $ mean its ends, as in Docker's expressions."""
    return not patterns or any(_fits(name, pattern) for pattern in patterns)


def boolean(name: str, values: Sequence[str]) -> bool | None:
    """One boolean filter; None when it is not given. Raises InvalidArgument."""
    words = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
    found = {words.get(value.lower()) for value in values}
    if None in found or len(found) > 1:
        raise InvalidArgument(f"invalid filter '{name}={list(values)}'")
    return found.pop() if found else None


def _fits(name: str, pattern: str) -> bool:
    starts, ends = pattern.startswith("^"), pattern.endswith("$")
    text = pattern.removeprefix("^").removesuffix("$")
    if starts and ends:
        return name == text
    if starts:
        return name.startswith(text)
    return name.endswith(text) if ends else text in name
