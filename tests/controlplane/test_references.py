"""References mean what they mean to Docker. The cases are the rules of distribution/reference, one by one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.lib.errors import InvalidArgument
from controlplane.lib.references import Reference, parse

SHA256 = "sha256:" + "f" * 64
SHA512 = "sha512:" + "0" * 128
HUB = "docker.io"

GOOD = [
    # text, domain, path, tag, digest
    ("redis", HUB, "library/redis", "", ""),
    ("redis:7", HUB, "library/redis", "7", ""),
    ("library/redis", HUB, "library/redis", "", ""),
    ("docker.io/redis", HUB, "library/redis", "", ""),
    ("index.docker.io/redis", HUB, "library/redis", "", ""),
    ("index.docker.io/shop/web", HUB, "shop/web", "", ""),
    ("docker.io/library/a/b", HUB, "library/a/b", "", ""),
    ("shop/web:Upper.Tag_1-x", HUB, "shop/web", "Upper.Tag_1-x", ""),
    ("test_com/foo", HUB, "test_com/foo", "", ""),
    # Without a slash there is no domain, whatever it looks like.
    ("example.com", HUB, "library/example.com", "", ""),
    ("example.com:5000", HUB, "library/example.com", "5000", ""),
    ("localhost", HUB, "library/localhost", "", ""),
    ("192.168.0.1:80", HUB, "library/192.168.0.1", "80", ""),
    # A domain has a dot, a colon or a capital letter, or is localhost.
    ("example.com/web", "example.com", "web", "", ""),
    ("host:5000/web", "host:5000", "web", "", ""),
    ("host:5000/web:7", "host:5000", "web", "7", ""),
    ("localhost/web", "localhost", "web", "", ""),
    ("Shop/web", "Shop", "web", "", ""),
    ("xn--n3h.com:18080/web:xn--n3h.com", "xn--n3h.com:18080", "web", "xn--n3h.com", ""),
    ("[fc00::1]:5000/web", "[fc00::1]:5000", "web", "", ""),
    ("[2001:db8::1]/web", "[2001:db8::1]", "web", "", ""),
    # Separators within a component: one dot, one or two underscores, any number of dashes.
    ("a.b/c_d/e__f/g---h", "a.b", "c_d/e__f/g---h", "", ""),
    ("d/t", HUB, "d/t", "", ""),
    # Digests.
    (f"redis@{SHA256}", HUB, "library/redis", "", SHA256),
    (f"host:5000/web:7@{SHA256}", "host:5000", "web", "7", SHA256),
    (f"host:5000/web@{SHA512}", "host:5000", "web", "", SHA512),
    # 64 hexadecimal digits are an id, but not after a domain; 63 never are.
    (f"docker.io/{'ab' * 32}", HUB, f"library/{'ab' * 32}", "", ""),
    ("a" * 63, HUB, f"library/{'a' * 63}", "", ""),
    # Lengths: 128 of a tag, 255 of a path.
    (f"redis:{'t' * 128}", HUB, "library/redis", "t" * 128, ""),
    ("a.b/" + "a/" * 127 + "a", "a.b", "a/" * 127 + "a", "", ""),
]

BAD = [
    # text, a word the error must contain
    ("", "missing"),
    (":justtag", "NAME"),
    (f"@{SHA256}", "NAME"),
    ("ab" * 32, "id"),
    ("https://example.com/web", "https://"),
    ("Redis", "lower case"),
    ("shop/Web", "lower case"),
    ("docker.io/shop/Web", "lower case"),
    ("host:5000/Upper/web:tag", "lower case"),
    ("-web", "-web"),
    ("web-", "web-"),
    ("_shop/web", "_shop"),
    ("shop/_web", "_web"),
    ("____/web", "____"),
    ("a..b/c/d", "a..b"),
    ("shop/a..b", "a..b"),
    ("shop/a_.b", "a_.b"),
    ("shop/a___b", "a___b"),
    ("shop/", "NAME"),
    ("/web", "NAME"),
    ("shop//web", "NAME"),
    ("shop/we b", "we b"),
    ("shop/web ", "web "),
    (" shop/web", " shop"),
    ("shop/web\n", "web"),
    ("aa/asdf$$^/aa", "asdf$$^"),
    ("shop/wéb", "wéb"),
    ("-host.io/shop/web", "-host.io"),
    ("host_a.io/web", "host_a.io"),
    ("[fc00::1]", "fc00"),
    ("[fc00::1]:5000", "fc00"),
    ("fc00::1:5000/web", "fc00::1:5000"),
    ("[fe80::1%eth0]:5000/web", "%eth0"),
    ("[2001:db8::192.0.2.33]:5000/web", "192.0.2.33"),
    ("host:port/web", "host:port"),
    ("web:", "tag"),
    ("web:-a", "tag"),
    ("web:.a", "tag"),
    ("web:a:b", "tag"),
    ("web:a b", "tag"),
    ("web:a/b", "web:a"),
    (f"web:{'t' * 129}", "tag"),
    ("web@", "digest"),
    ("web@sha256", "64"),
    ("web@sha256:ff", "64"),
    ("web@sha256:" + "g" * 64, "hexadecimal"),
    ("web@sha256:" + "F" * 64, "hexadecimal"),
    ("web@sha256:../../etc/passwd", "64"),
    ("web@md5:" + "f" * 32, "md5"),
    (f"web@{SHA256}@{SHA256}", "64"),
    ("a.b/" + "a/" * 128 + "a", "255"),
    ("a" * 2000, "1024"),
]


@pytest.mark.parametrize(("text", "domain", "path", "tag", "digest"), GOOD, ids=[case[0][:40] for case in GOOD])
def test_it_reads_what_docker_reads(text: str, domain: str, path: str, tag: str, digest: str) -> None:
    assert parse(text, default_tag="") == Reference(domain, path, tag, digest)


@pytest.mark.parametrize(("text", "word"), BAD, ids=[repr(case[0][:40]) for case in BAD])
def test_it_refuses_what_docker_refuses_and_says_why(text: str, word: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text)
    assert word in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("text", "familiar", "canonical"),
    [
        ("docker.io/library/redis", "redis:latest", "docker.io/library/redis:latest"),
        ("library/redis:7", "redis:7", "docker.io/library/redis:7"),
        ("docker.io/library/a/b:1", "library/a/b:1", "docker.io/library/a/b:1"),
        ("index.docker.io/shop/web:1", "shop/web:1", "docker.io/shop/web:1"),
        ("host:5000/library/web", "host:5000/library/web:latest", "host:5000/library/web:latest"),
        # Shortened, these two would mean something else.
        ("docker.io/a.b/web:1", "docker.io/a.b/web:1", "docker.io/a.b/web:1"),
        (f"redis@{SHA256}", f"redis@{SHA256}", f"docker.io/library/redis@{SHA256}"),
    ],
)
def test_its_short_and_its_full_form(text: str, familiar: str, canonical: str) -> None:
    reference = parse(text)
    assert (reference.familiar, reference.canonical) == (familiar, canonical)
    assert str(reference) == familiar


def test_an_engine_is_asked_by_digest_alone() -> None:
    assert parse(f"shop/web:1@{SHA256}").lookup == f"shop/web@{SHA256}"
    assert parse("shop/web:1").lookup == "shop/web:1"


component = st.from_regex(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*", fullmatch=True).filter(lambda s: len(s) < 30)
domain = st.one_of(
    st.just(HUB),
    st.just("localhost"),
    st.from_regex(r"[a-zA-Z0-9]{1,9}\.[a-zA-Z]{2,5}(:[0-9]{1,5})?", fullmatch=True),
    st.from_regex(r"[a-z0-9]{1,9}:[0-9]{1,5}", fullmatch=True),
    st.just("[fc00::1]:5000"),
).filter(lambda name: name != "index.docker.io")
references = st.builds(
    Reference,
    domain,
    st.lists(component, min_size=1, max_size=4).map("/".join),
    st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}", fullmatch=True),
    st.one_of(st.just(""), st.from_regex(r"sha256:[a-f0-9]{64}", fullmatch=True)),
).map(lambda r: r if r.domain != HUB or "/" in r.path else Reference(HUB, f"library/{r.path}", r.tag, r.digest))


@settings(deadline=None)
@given(references)
def test_every_form_of_a_reference_means_the_same(reference: Reference) -> None:
    assert parse(reference.canonical) == reference
    assert parse(reference.familiar) == reference


@settings(deadline=None)
@given(
    st.text(st.characters(codec="utf-8"), max_size=60) | st.from_regex(r"[a-zA-Z0-9./:@_\[\]-]{1,40}", fullmatch=True)
)
def test_anything_is_either_refused_or_stable(text: str) -> None:
    try:
        reference = parse(text)
    except InvalidArgument:
        return
    assert parse(reference.canonical) == reference
    assert parse(reference.familiar) == reference
    assert reference.tag or reference.digest


def test_an_id_does_not_become_the_short_form() -> None:
    reference = parse(f"docker.io/{'ab' * 32}", default_tag="")
    assert parse(reference.familiar, default_tag="") == reference
