"""What patterns cover, one by one, and that comparing them never says too much."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.access import inclusion
from controlplane.access import patterns as language
from controlplane.access.patterns import Scope, parse_repositories, parse_tags
from controlplane.lib.errors import InvalidArgument
from controlplane.lib.references import full_name, name_of

COVERED = [
    ("shop/*", "shop/web", True),
    ("shop/*", "shop/web/admin", False),
    ("shop/*", "shop", False),
    ("shop/*", "bookshop/web", False),
    ("shop/*", "registry.example/shop/web", False),
    ("shop/**", "shop/web/admin", True),
    ("**/shop/*", "registry.example/shop/web", True),
    ("registry.example/**", "registry.example/a/b/c", True),
    ("registry.example/**", "registry.example.evil/a", False),
    ("registry.example/**", "registryXexample/a", False),
    ("*.example/**", "registry.example/a", True),
    ("127.0.0.1:*/shop/*", "127.0.0.1:5000/shop/web", True),
    ("nginx", "nginx", True),
    ("nginx", "docker.io/library/nginx", True),
    ("docker.io/library/*", "nginx", True),
    ("*", "nginx", True),
    ("*", "shop/web", False),
    ("**", "anything.example/at/all", True),
    ("a", "a/b", False),
    ("docker.io/**", "shop/web", True),
    ("docker.io/*", "shop/web", False),
    ("** !**/secret", "shop/secret", False),
    ("** !**/secret", "shop/secrets", True),
    ("!shop/secret shop/*", "shop/secret", False),
    ("shop/w?b", None, None),
    ("shop/w[ae]b", None, None),
    ("shop//web", "shop/web", False),
]


@pytest.mark.parametrize(("patterns", "repository", "expected"), COVERED)
def test_a_repository_is_covered(patterns: str, repository: str | None, expected: bool | None) -> None:
    if repository is None:
        with pytest.raises(InvalidArgument, match="pattern of repositories"):
            parse_repositories(patterns)
        return
    assert Scope(tuple(parse_repositories(patterns)), ("*",)).covers(full_name(repository), "1") is expected


@pytest.mark.parametrize(
    ("patterns", "tag", "expected"),
    [
        ("dev-*", "dev-1", True),
        ("dev-*", "Dev-1", False),
        ("dev-*", "", False),
        ("*", "", True),
        ("v*.*", "v1.2", True),
        ("v1.2", "v1x2", False),
        ("* !latest", "latest", False),
        ("* !latest", "latest-1", True),
    ],
)
def test_a_tag_is_covered(patterns: str, tag: str, expected: bool) -> None:
    assert Scope(("**",), tuple(parse_tags(patterns))).covers("docker.io/shop/web", tag) is expected


@pytest.mark.parametrize(
    "text", ["", "  ", "!shop/*", "a***", "x" * 201, "a b!c", "-x", "a\\b", "\0", " ".join(map(str, range(51)))]
)
def test_what_is_no_list_of_patterns_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_repositories(text)


def test_an_image_without_a_name_takes_everything() -> None:
    assert Scope().covers("", "")
    for scope in (Scope(("**", "!a")), Scope(("**",), ("v*",)), Scope(("**/*",)), Scope(("**",), ("*", "!x"))):
        assert not scope.covers("", "")


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("nginx", ("docker.io/library/nginx", "latest")),
        ("shop/web:dev-1", ("docker.io/shop/web", "dev-1")),
        ("127.0.0.1:5000/shop/web", ("127.0.0.1:5000/shop/web", "latest")),
        ("shop/web:dev-1@sha256:" + "a" * 64, ("docker.io/shop/web", "")),
        ("shop/web@sha256:" + "a" * 64, ("docker.io/shop/web", "")),
        ("sha256:" + "a" * 64, ("", "")),
        ("sha256:abc", ("", "")),
        ("a" * 64, ("", "")),
        ("abcdef012345", ("", "")),
        ("", ("", "")),
    ],
)
def test_the_name_that_an_engine_says(reference: str, name: tuple[str, str]) -> None:
    assert name_of(reference) == name


segments = st.sampled_from(["a", "b", "ab", "*", "**", "a*", "*b", "a**"])
patterns = st.lists(segments, min_size=1, max_size=4).map("/".join)
lists = st.lists(st.tuples(st.booleans(), patterns), min_size=1, max_size=3).map(
    lambda found: tuple(f"{'!' if excepted and n else ''}{each}" for n, (excepted, each) in enumerate(found))
)
NAMES = [full_name("/".join(name)) for n in range(1, 6) for name in product(["a", "ab", "x.y"], repeat=n)]


@settings(max_examples=300)
@given(one=lists)
def test_an_expression_and_an_automaton_say_the_same(one: tuple[str, ...]) -> None:
    """Which of the two is asked depends on the stars."""
    said = []
    for few in (99, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(language, "FEW_STARS", few)
            found = language._List(language._full(one))
        said.append([name for name in NAMES if found.covers(name)])
    assert said[0] == said[1]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("star", ["*", "**"])
def test_a_pattern_of_many_stars_ends(star: str) -> None:
    """An expression that tries each star against each other would take years."""
    many = tuple(f"{star}a" * (196 // len(f"{star}a")) + f"{star}{n}" for n in range(10))
    assert all(len(each) <= 200 for each in many)
    assert not Scope(("**",), many).covers("docker.io/shop/web", "a" * 128)
    assert not Scope((*many, "**", *(f"!{each}" for each in many))).covers("docker.io/library/" + "a" * 230 + "9", "1")
    assert Scope((*many, "**", *(f"!{each}" for each in many))).covers("docker.io/library/" + "a" * 230, "1")


@settings(max_examples=300)
@given(one=lists, other=lists)
def test_what_is_within_covers_no_more(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    inner, outer = Scope(one), Scope(other)
    if inner.is_within(outer):
        assert not [name for name in NAMES if inner.covers(name, "1") and not outer.covers(name, "1")]


def test_what_is_surely_within() -> None:
    for inner, outer in (("shop/*", "shop/**"), ("shop/web", "shop/*"), ("shop/**", "**"), ("shop/w*", "shop/*")):
        assert Scope((inner,)).is_within(Scope((outer,)))
        assert not Scope((outer,)).is_within(Scope((inner,)))
    assert not Scope(("shop/**",)).is_within(Scope(("shop/*",)))
    assert not Scope(("**",)).is_within(Scope(("**", "!shop/secret")))


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ("r.io/**", "r.io/*/**", False),
        ("r.io/**", "r.io/*/*/*", False),
        ("r.io/**", "r.io/* r.io/*/**", True),
        ("shop/web shop/db", "shop/*", True),
        ("shop/* !shop/secret", "shop/* !shop/secret", True),
        ("shop/* !shop/s*", "shop/* !shop/secret", True),
        ("shop/* !shop/secret", "shop/* !shop/s*", False),
        ("shop/web", "shop/* !shop/secret", True),
        ("shop/secret", "shop/* !shop/secret", False),
        ("**", "**/*", False),
        ("nginx", "docker.io/library/*", True),
        ("docker.io/**", "docker.io/library/**", False),
    ],
)
def test_one_list_within_another(inner: str, outer: str, expected: bool) -> None:
    assert Scope(tuple(parse_repositories(inner))).is_within(Scope(tuple(parse_repositories(outer)))) is expected


def test_what_takes_too_long_to_compare_is_not_within(monkeypatch: pytest.MonkeyPatch) -> None:
    inner, outer = [f"{c}{'x' * 30}*" for c in "abc"], [f"{c}{'x' * 30}**" for c in "abc"]
    assert inclusion.within(inner, outer)
    monkeypatch.setattr(inclusion, "MOST_STATES", 50)
    assert not inclusion.within(inner, outer)


def test_a_long_list_is_within_itself() -> None:
    many = tuple(f"registry.example/{'abcdefghij'[n % 10]}{n}{'x' * 150}/*" for n in range(50))
    assert Scope(many).is_within(Scope(many))
    assert Scope(many[5:]).is_within(Scope(many))
    assert not Scope((*many[5:], "r.io/*")).is_within(Scope(many))


def test_nothing_but_everything_contains_everything() -> None:
    """Of what has no name, and of what one does to a host as a whole, only a grant over everything speaks."""
    for outer in (Scope(("*", "*/**", "**/*")), Scope(("**", "!none/none")), Scope(("**",), ("*", "!x"))):
        assert not Scope().is_within(outer)
    assert Scope().is_within(Scope(("shop/*", "**"), ("**",)))


def test_tags_within_tags() -> None:
    for inner, outer, expected in (("dev-1", "dev-*", True), ("dev-*", "dev-1", False), ("*", "dev-*", False)):
        assert Scope(("a",), (inner,)).is_within(Scope(("a",), (outer,))) is expected
