"""Addresses of git repositories: what is one, and what it means."""

import pytest
from gantry_agent.engine.builder.git import GitSource, is_git, parse
from gantry_agent.engine.errors import InvalidArgument, Unsupported


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("https://h/a/b.git", GitSource("https://h/a/b.git")),
        ("https://h/b.git#v1", GitSource("https://h/b.git", "v1")),
        ("https://h/b.git#feature/x:dir/sub", GitSource("https://h/b.git", "feature/x", "dir/sub")),
        ("https://h/b.git#:dir", GitSource("https://h/b.git", "", "dir")),
        ("https://h/b.git#", GitSource("https://h/b.git")),
        ("https://h/b.git#refs/pull/7/head", GitSource("https://h/b.git", "refs/pull/7/head")),
        ("http://h:8080/b.git", GitSource("http://h:8080/b.git")),
        ("http://[::1]:8080/b.git", GitSource("http://[::1]:8080/b.git")),
        ("https://me:p%40ss@h/b.git", GitSource("https://h/b.git", login="me:p@ss")),
        ("git://h/b", GitSource("git://h/b")),
        ("github.com/a/b", GitSource("https://github.com/a/b")),
        ("github.com/a/b#main:x", GitSource("https://github.com/a/b", "main", "x")),
    ],
)
def test_what_an_address_means(address: str, source: GitSource) -> None:
    assert is_git(address, is_context=True)
    assert parse(address) == source


@pytest.mark.parametrize(
    "address",
    ["https://h/b", "https://h/b.git/x", "https://h/?b.git", "http://h/Dockerfile#.git", "b.git", "./git@h:x", ""],
)
def test_what_is_no_repository(address: str) -> None:
    assert not is_git(address, is_context=True)


def test_to_add_a_github_address_without_a_scheme_is_a_path() -> None:
    assert not is_git("github.com/a/b.git")


@pytest.mark.parametrize(
    "ref",
    ["-x", "--upload-pack=touch /x", "+main", "^main", "a..b", "a b", "a\nb", "a~1", "a^", "a*", "[a", "a\\b", "@{1}",
     "/a", "a/", "a.", "a.lock"],
)  # fmt: skip
def test_names_that_git_could_take_for_more_are_refused(ref: str) -> None:
    with pytest.raises(InvalidArgument, match="no name of a branch"):
        parse(f"https://h/b.git#{ref}")


@pytest.mark.parametrize(
    "address",
    ["https:///b.git", "https://-h/b.git", "https://h:x/b.git", "https://h/a b.git", "https://h/b.git?ref=x", "git://h\\x/b",
     "file:///b.git", "ext::sh -c x", "/etc", "https://h/b\0.git"],
)  # fmt: skip
def test_addresses_that_are_refused(address: str) -> None:
    with pytest.raises(InvalidArgument):
        parse(address)


@pytest.mark.parametrize("address", ["git@h:a/b.git", "me@h:b#main", "ssh://git@h/b.git"])
def test_ssh_is_refused_by_name(address: str) -> None:
    assert is_git(address)
    with pytest.raises(Unsupported, match="ssh needs a key"):
        parse(address)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("../c.git", "https://h/a/c.git"),
        ("./c.git", "https://h/a/b.git/c.git"),
        ("../../c", "https://h/c"),
        ("https://other/c", "https://other/c"),
    ],
)
def test_a_submodule_s_address_counts_from_its_parent(url: str, found: str) -> None:
    source = GitSource("https://h/a/b.git", "main", login="me:secret").submodule(url, "c0ffee")
    assert (source.url, source.ref, source.folder) == (found, "c0ffee", "")
    assert source.login == ("me:secret" if found.startswith("https://h/") else "")


@pytest.mark.parametrize(
    "url",
    ["../../../../c", "file:///c", "/c", "ext::sh -c x", "-u./x", "../../../..//evil", "git@h:c", "ftp://h/c", ""],
)
def test_submodules_from_elsewhere_are_refused(url: str) -> None:
    with pytest.raises((InvalidArgument, Unsupported)):
        GitSource("https://h/a/b.git").submodule(url, "c0ffee")
