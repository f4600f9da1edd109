"""Who wants to know that other rules hold on hosts. Containers lie above in the order of imports, so they register."""

from __future__ import annotations

from collections.abc import Callable, Iterable

_followers: list[Callable[[list[int]], None]] = []


def register(follower: Callable[[list[int]], None]) -> None:
    """`follower` is called with the ids of hosts, in the transaction that has changed what holds there."""
    _followers.append(follower)


def changed(hosts: Iterable[int]) -> None:
    found = list(hosts)
    for follower in _followers:
        follower(found)
