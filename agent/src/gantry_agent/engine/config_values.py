"""What the values of the configuration file must be inside, key by key: told at start, not at their first use."""

import ipaddress
from collections.abc import Callable
from typing import Any

from .errors import InvalidArgument
from .runtime.spec.process import RLIMITS

LONGEST_PREFIX = 30  # of a subnet: below, there is no room for a gateway and a container


def check(key: str, value: Any) -> None:
    """Raises InvalidArgument saying which part of `key` is not what it should be. The type of `value` is right."""
    if found := CHECKS.get(key):
        found(key, value)


def _texts(key: str, value: list[Any]) -> None:
    for number, each in enumerate(value):
        if not isinstance(each, str) or not each:
            raise InvalidArgument(f"{key}[{number}] must be a text, not {each!r}")


def _servers(key: str, value: list[Any]) -> None:
    for number, each in enumerate(value):
        try:
            ipaddress.ip_address(each if isinstance(each, str) else "")
        except ValueError:
            raise InvalidArgument(f"{key}[{number}] must be an IP address, not {each!r}") from None


def _place(key: str, value: str) -> None:
    try:
        ipaddress.IPv4Interface(value)
    except ValueError as exc:
        raise InvalidArgument(f"{key} must be an IPv4 address with its prefix length, as 10.88.0.1/16: {exc}") from exc


def _pools(key: str, value: list[Any]) -> None:
    for number, pool in enumerate(value):
        where = f"{key}[{number}]"
        if not isinstance(pool, dict) or pool.keys() != {"base", "size"}:
            raise InvalidArgument(f'{where} must be an object with "base" and "size", not {pool!r}')
        try:
            base = ipaddress.IPv4Network(pool["base"] if isinstance(pool["base"], str) else "")
        except ValueError as exc:
            raise InvalidArgument(f"{where}.base must be an IPv4 network, as 10.89.0.0/16: {exc}") from exc
        size = pool["size"]
        if not _is_number(size) or not base.prefixlen <= size <= LONGEST_PREFIX:
            raise InvalidArgument(
                f"{where}.size must be the prefix length of its subnets, {base.prefixlen} to {LONGEST_PREFIX},"
                f" not {size!r}"
            )


def _ulimits(key: str, value: dict[str, Any]) -> None:
    for name, pair in value.items():
        if name not in RLIMITS:
            raise InvalidArgument(f"{key}: unknown limit {name!r}. Known limits: {', '.join(RLIMITS)}")
        if not isinstance(pair, list) or len(pair) != 2 or not all(_is_number(each) and each >= -1 for each in pair):
            raise InvalidArgument(f"{key}.{name} must be [soft, hard], numbers or -1 for no limit, not {pair!r}")
        soft, hard = pair
        if hard != -1 and (soft == -1 or soft > hard):
            raise InvalidArgument(f"{key}.{name}: the soft limit {soft} is above the hard one {hard}")


def _registries(key: str, value: dict[str, Any]) -> None:
    for name, found in value.items():
        where = f"{key}.{name}"
        if not isinstance(found, dict) or not found.keys() <= {"ca", "mirrors"}:
            raise InvalidArgument(f'{where} must be an object with "ca" and "mirrors", not {found!r}')
        if not isinstance(found.get("ca", ""), str):
            raise InvalidArgument(f"{where}.ca must be the path of a PEM file, not {found['ca']!r}")
        mirrors = found.get("mirrors", [])
        if not isinstance(mirrors, list):
            raise InvalidArgument(f"{where}.mirrors must be a list of addresses, not {mirrors!r}")
        _texts(f"{where}.mirrors", mirrors)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


CHECKS: dict[str, Callable[[str, Any], None]] = {
    "registry-mirrors": _texts,
    "insecure-registries": _texts,
    "registries": _registries,
    "bip": _place,
    "default-address-pools": _pools,
    "dns": _servers,
    "default-ulimits": _ulimits,
}
