"""Which containers a list shows: Docker's filters (daemon/list.go)."""

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from gantry_agent.engine.errors import EngineError, InvalidArgument, NotFound
from gantry_agent.engine.images.moments import moment_of

from .model import Container, Status

if TYPE_CHECKING:
    from gantry_agent.engine.core import Engine

# fmt: off
KNOWN = (
    "ancestor", "before", "exited", "expose", "health", "id", "isolation", "is-task", "label", "name", "network",
    "publish", "since", "status", "volume",
)
# fmt: on
HEALTH = ("starting", "healthy", "unhealthy", "none")
MAX_PATTERN = 256  # characters
# The parts of a regular expression: `.*`, one character or edge, repeats, "maybe", group begins and ends, "or".
TOKEN = re.compile(
    r"(?P<s>\.\*)(?![?+])|(?P<a>[^][\\(){}*+?|]|\\(?:\W|[bBdDsSwW])|\[(?:[^][\\]|\\.)+\])"
    r"|(?P<q>[*+]\??|\{\d{1,3}(?:,\d{0,3})?\}\??)|(?P<m>\?\??)|(?P<o>\((?:\?:)?)|(?P<g>\))|(?P<b>\|)"
)
Filters = Mapping[str, Sequence[str]]
Test = Callable[[Container, str], bool]


def chosen(engine: "Engine", filters: Filters, *, everything: bool, limit: int) -> list[Container]:
    """The containers a list shows, newest first. `limit` 0 for no limit; a limit shows stopped ones too.

    Raises InvalidArgument, NotFound for a container named by before or since.
    """
    _check(filters)
    found = sorted(engine.containers.all(), key=lambda each: each.created_at, reverse=True)
    if not everything and limit <= 0 and "status" not in filters:  # of all filters this one alone asks for the others
        found = [each for each in found if each.is_running or each.state.status is Status.RESTARTING]
    for name in ("before", "since"):
        for wanted in filters.get(name, ()):
            at = _one(engine, wanted).created_at
            found = [each for each in found if (each.created_at < at if name == "before" else each.created_at > at)]
    images = _ancestors(engine, filters.get("ancestor", ()))
    found = [each for each in found if fits(engine, each, filters, images)]
    return found[:limit] if limit > 0 else found


def fits(engine: "Engine", container: Container, filters: Filters, images: set[str] | None = None) -> bool:
    """Whether one container passes all filters; several values of one filter are alternatives, of labels all count."""
    if images is not None and container.image_id not in images:
        return False
    if not all(_has_label(container, each) for each in filters.get("label", ())):
        return False
    if any(_has_label(container, each) for each in filters.get("label!", ())):
        return False
    for name, test in _tests(engine).items():
        values = filters.get(name, ())
        if values and not any(test(container, value) for value in values):
            return False
    return True


def pruned(engine: "Engine", filters: Filters) -> list[Container]:
    """What a prune would remove: everything that does not run. Raises InvalidArgument."""
    until = min((moment_of(each) for each in filters.get("until", ())), default=None)
    return [
        each
        for each in engine.containers.all()
        if not each.is_running
        and each.state.status not in (Status.RESTARTING, Status.REMOVING)
        and (until is None or each.created_at < until)
        and fits(engine, each, {name: filters[name] for name in ("label", "label!") if name in filters})
    ]


def _tests(engine: "Engine") -> dict[str, Test]:
    return {
        "id": lambda one, value: one.id.startswith(value) or bool(_search(value, one.id)),
        "name": lambda one, value: bool(_search(value, one.name) or _search(value, f"/{one.name}")),
        "status": lambda one, value: str(one.state.status) == value,
        "exited": lambda one, value: (
            not one.is_running and one.state.status is Status.EXITED and one.state.exit_code == int(value)
        ),
        "health": lambda one, value: (one.state.health or "none") == value,
        "network": lambda one, value: _in_network(one, value),
        "volume": lambda one, value: any(value in (each.name, each.target, each.source) for each in one.mounts),
        "publish": _publishes,
        "expose": _exposes,
        "is-task": lambda one, value: value.lower() not in ("true", "1"),
        "isolation": lambda one, value: value == "default",
    }


def _check(filters: Filters) -> None:
    for value in filters.get("status", ()):
        if value not in set(Status):
            known = ", ".join(f"'{each}'" for each in Status)
            raise InvalidArgument(f"invalid filter 'status={value}': must be one of {known}")
    for value in filters.get("health", ()):
        if value not in HEALTH:
            raise InvalidArgument(f"invalid filter 'health={value}'")
    for value in filters.get("exited", ()):
        if not re.fullmatch(r"-?\d{1,9}", value):
            raise InvalidArgument(f"invalid filter 'exited={value}'")
    for value in filters.get("is-task", ()):
        if value.lower() not in ("true", "false", "1", "0"):
            raise InvalidArgument(f"invalid filter 'is-task={value}'")
    for name in ("publish", "expose"):
        for value in filters.get(name, ()):
            _range(value)


def _one(engine: "Engine", wanted: str) -> Container:
    try:
        return engine.containers.get(wanted)
    except NotFound:
        raise NotFound(f"No such container: {wanted}") from None


def _ancestors(engine: "Engine", names: Sequence[str]) -> set[str] | None:
    """Ids of the images named, and of those whose layers begin with theirs. None without the filter."""
    if not names:
        return None
    found: set[str] = set()
    for name in names:
        try:
            wanted = engine.store.images.get(name)
        except EngineError:
            continue
        chains = wanted.chains
        for image in {each.image_id for each in engine.containers.all()}:
            try:
                others = engine.store.images.by_id(image).chains
            except NotFound:
                continue
            if image == wanted.id or (chains and others[: len(chains)] == chains):
                found.add(image)
    return found


def _has_label(container: Container, wanted: str) -> bool:
    name, equals, value = wanted.partition("=")
    return name in container.labels and (not equals or container.labels[name] == value)


def _in_network(container: Container, wanted: str) -> bool:
    return any(
        wanted == name or (end.network_id and end.network_id.startswith(wanted))
        for name, end in container.endpoints.items()
    )


def _publishes(container: Container, value: str) -> bool:
    """By the host's ports of one that runs."""
    ports = container.ports if container.is_running else {}
    kinds = ((name.partition("/")[2], each["HostPort"]) for name, places in ports.items() for each in places or ())
    return _has_port((f"{number}/{kind}" for kind, number in kinds), value)


def _exposes(container: Container, value: str) -> bool:
    """By its own ports while it runs."""
    return _has_port(container.ports if container.is_running else (), value)


def _has_port(ports: Iterable[str], value: str) -> bool:
    first, last, protocol = _range(value)
    for name in ports:
        port, _, kind = name.partition("/")
        if (kind or "tcp") == protocol and port.isdecimal() and first <= int(port) <= last:
            return True
    return False


def _range(value: str) -> tuple[int, int, str]:
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", value)
    if not match:
        raise InvalidArgument(f"invalid port in filter: {value!r}")
    return int(match[1]), int(match[2] or match[1]), match[3] or "tcp"


def _search(pattern: str, text: str) -> bool:
    """Names are matched as regular expressions, as Docker does; what is none is looked for as it is."""
    expression = _expression(pattern)
    return expression.search(text) is not None if expression else pattern in text


@functools.lru_cache(maxsize=256)
def _expression(pattern: str) -> re.Pattern[str] | None:
    """The expression, when no text can make it take long on the event loop; None for others and for what is none.

    Docker's own never go back, Python's do. Here are any number of `.*` between parts of fixed width, which need
    not be gone back into, or else one quantifier and one group that is not repeated; two behind a `^`, which
    spares the search all other places to begin at.
    """
    if len(pattern) > MAX_PATTERN:
        return None
    shape = TOKEN.sub(lambda found: str(found.lastgroup), pattern)
    if not set(shape) <= set("asqmogb"):
        return None
    try:
        if set(shape) <= set("as"):
            parts = _between_stars(pattern)
            return re.compile(parts[0] + "".join(f"(?>.*?{part})" for part in parts[1:]))
        most = 2 if pattern.startswith("^") and not set(shape) & set("ob") else 1
        if sum(map(shape.count, "sqm")) > most or shape.count("o") > 1 or "gq" in shape:
            return None
        return re.compile(pattern)
    except re.error:
        return None


def _between_stars(pattern: str) -> list[str]:
    parts = [""]
    for found in TOKEN.finditer(pattern):
        if found.lastgroup == "s":
            parts.append("")
        else:
            parts[-1] += found[0]
    return parts
