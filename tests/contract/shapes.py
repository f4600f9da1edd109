"""The shape of an answer, as far as Gantry relies on it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Shape = Any
"""A type, a predicate, a value, {key: shape} (those keys at least), [shape] (a list of such)."""


@dataclass(frozen=True)
class Maybe:
    """The shape, or null, or nothing at all."""

    shape: Shape


def mismatch(found: Any, shape: Shape, at: str = "answer") -> str:
    """Empty when ``found`` has the shape, else the first place where it has not."""
    if isinstance(shape, Maybe):
        return "" if found is None else mismatch(found, shape.shape, at)
    if isinstance(shape, type):
        fits = isinstance(found, shape) and not (shape is int and isinstance(found, bool))
        return "" if fits else f"{at}: expected {shape.__name__}, found {found!r:.80}"
    if isinstance(shape, dict):
        if not isinstance(found, dict):
            return f"{at}: expected an object, found {found!r:.80}"
        results = (mismatch(found.get(key), inner, f"{at}.{key}") for key, inner in shape.items())
        return next(filter(None, results), "")
    if isinstance(shape, list):
        if not isinstance(found, list):
            return f"{at}: expected a list, found {found!r:.80}"
        results = (mismatch(item, shape[0], f"{at}[{n}]") for n, item in enumerate(found))
        return next(filter(None, results), "")
    if callable(shape):
        return "" if shape(found) else f"{at}: {found!r:.80} is not {shape.__name__}"
    return "" if found == shape else f"{at}: expected {shape!r}, found {found!r:.80}"


def an_id(found: Any) -> bool:
    """64 hexadecimal digits."""
    return isinstance(found, str) and len(found) == 64 and all(c in "0123456789abcdef" for c in found)


def an_image_id(found: Any) -> bool:
    """sha256: and 64 hexadecimal digits."""
    return isinstance(found, str) and found.startswith("sha256:") and an_id(found[7:])


def a_name(found: Any) -> bool:
    """A container's name as engines list it: with a leading slash."""
    return isinstance(found, str) and found.startswith("/") and len(found) > 1


def one_of(*values: Any) -> Callable[[Any], bool]:
    """Any of these values."""

    def fits(found: Any) -> bool:
        return found in values

    fits.__name__ = f"one of {values}"
    return fits
