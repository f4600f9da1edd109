"""The filters of lists: what people look for is found, and no pattern keeps the engine from answering others."""

import multiprocessing
from typing import Any

import pytest
from gantry_agent.engine.containers import listing
from gantry_agent.engine.images.filters import NamePattern

ID = "0123456789abcdef" * 4
PATIENCE = 60  # seconds; each of these would take years


def _ends(work: Any, *arguments: Any) -> bool:
    """Whether it comes to an end: in a process of its own, which can be stopped."""
    child = multiprocessing.get_context("fork").Process(target=work, args=arguments, daemon=True)
    child.start()
    child.join(PATIENCE)
    if child.exitcode is None:
        child.kill()
        child.join()
    return child.exitcode == 0


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        ("web", "shop-web-1", True),
        ("^/web$", "web", True),
        ("^web$", "web", True),
        ("^web$", "web-1", False),
        ("^/?web$", "web", True),
        ("web-[0-9]+$", "web-12", True),
        ("web-[^0-9]$", "web-1", False),
        (r"web\.1", "web.1", True),
        (r"web\.1", "web-1", False),
        (r"web-\d{2}$", "web-12", True),
        ("w.b", "wxb", True),
        ("^/(web|db)$", "db", True),
        ("^/(?:web|db)-.$", "cache-1", False),
        ("^web|^db", "db-1", True),
        ("^/shop.*web.*1$", "shop-a-web-b-1", True),
        ("^/shop.*web.*1$", "shop-web-12", False),
        (".*web.*", "a-web-b", True),
        (r"a\.*b", "a..b", True),
        ("[.*]+", "a.b", True),
        ("a.*?b", "axxb", True),
        ("^/shop-[a-z]+-[0-9]+$", "shop-web-12", True),
        ("^/shop-[a-z]+-[0-9]+$", "shop-web-x", False),
        ("we(b", "web", False),
        ("a+b+", "aabb", False),
        ("(a|b)+c", "abc", False),
    ],
)
def test_names_are_matched_as_expressions(pattern: str, name: str, found: bool) -> None:
    assert (listing._search(pattern, name) or listing._search(pattern, f"/{name}")) is found


@pytest.mark.parametrize(
    "pattern",
    [
        "[0-9a-f]*" * 12 + "z",
        "[0-9a-f]*[^z]" * 12 + "z",
        "[0-9a-f]?" * 64 + "[0-9a-f]" * 10 + "z",
        "([0-9a-f]|.)" * 21 + "z",
        "([0-9a-f]|.)*z",
        "^z|" + "[0-9a-f]*" * 12 + "z",
        "^" + "[0-9a-f]*" * 12 + "z",
        "([0-9a-f]{1,2}.?)*z",
        ".*[0-9a-f]" * 20 + "z",
        ".*" * 120 + "z",
        ".+" * 120 + "z",
    ],
)
def test_no_expression_keeps_the_engine_busy(pattern: str) -> None:
    assert _ends(listing._search, pattern, ID)


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("busybox", "busybox", True),
        ("busy*", "busybox", True),
        ("*:1.?", "busybox:1.3", True),
        ("*", "team/busybox", False),
        ("*/*", "team/busybox", True),
        ("te*/b*x:*", "team/busybox:1", True),
        ("b[a-u]sybox", "busybox", True),
        ("b[^a-u]sybox", "busybox", False),
        ("bus?", "bus/", False),
        (r"b\*x", "b*x", True),
        (r"b\*x", "busybox", False),
        ("busybox**", "busybox", True),
        ("*box", "boxbox", True),
        ("*a*b", "xa/b", False),
        ("busybox?", "busybox", False),
        ("", "busybox", False),
    ],
)
def test_references_are_matched_as_go_does(pattern: str, name: str, fits: bool) -> None:
    assert NamePattern.parse(pattern).matches(name) is fits


def _match_reference(pattern: str) -> None:
    assert not NamePattern.parse(pattern).matches("a" * 120)


@pytest.mark.parametrize("pattern", ["*?" * 20 + "!", "*a" * 60 + "!", "*[a-z]" * 60 + "!"])
def test_no_reference_keeps_the_engine_busy(pattern: str) -> None:
    assert _ends(_match_reference, pattern)
