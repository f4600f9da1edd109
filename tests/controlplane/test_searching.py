"""What a list's search finds."""

from __future__ import annotations

import pytest

from controlplane.lib.searching import MOST_WORDS
from hosts.filters import HostFilter
from hosts.models import Host

pytestmark = pytest.mark.django_db


def found(text: str) -> list[str]:
    return [host.name for host in HostFilter({"q": text}, queryset=Host.objects.order_by("name")).qs]


@pytest.fixture(autouse=True)
def hosts() -> None:
    Host.objects.create(name="web-1", labels={"rack": "b2"}, os="Debian")
    Host.objects.create(name="web-2", labels={"rack": "c3"}, os="Debian")
    Host.objects.create(name="rack-b2", os="Fedora")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["rack-b2", "web-1", "web-2"]),
        ("WEB", ["web-1", "web-2"]),
        ("b2", ["rack-b2", "web-1"]),
        ("  debian   b2 ", ["web-1"]),
        ("b2 debian", ["web-1"]),
        ("web fedora", []),
        ("%", []),
        ("web_1", []),
    ],
)
def test_each_word_is_a_part_of_something(text: str, names: list[str]) -> None:
    assert found(text) == names


def test_of_a_long_text_the_first_words_count() -> None:
    assert found("web " * MOST_WORDS + "fedora") == ["web-1", "web-2"]
