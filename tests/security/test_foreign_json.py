"""What a host says in JSON can be stored and shown, or is left out: one odd answer breaks nobody's page."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from containers import mirror
from controlplane.lib.foreign import foreign_json
from hosts.engine.messages import MessageSplitter
from hosts.models import Host
from hosts.watch.facts import agent_facts
from tests.security.fleet import Fleet
from tests.security.routes import NEVER, TABLE, address

HALVES = r"\ud800", r"x\udfffy", r"\udc00\ud800", r"a\u0000b"


@pytest.mark.parametrize("half", HALVES)
def test_every_text_in_it_is_whole(half: str) -> None:
    found = foreign_json(f'{{"a{half}": ["{half}", {{"b": "{half}"}}], "n": 1}}')
    text = json.dumps(found, ensure_ascii=False)
    assert text.encode()
    assert "\\u0000" not in text
    assert found["n"] == 1


def test_a_pair_is_one_character() -> None:
    assert foreign_json(r'"\ud83d\ude00 \u00e9"') == "😀 é"


@pytest.mark.parametrize("content", [b'"\xed\xa0\x80"', '"a"'.encode("utf-16"), '"a"'.encode("utf-32"), b"\xff", b""])
def test_what_is_no_utf8_is_refused(content: bytes) -> None:
    """json.loads would let half characters pass, and guess at other encodings."""
    with pytest.raises(ValueError, match=r".*"):
        foreign_json(content)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner),
        max_leaves=10,
    )
)
def test_honest_json_is_read_as_it_is(value: Any) -> None:
    for plain in (True, False):
        assert foreign_json(json.dumps(value, ensure_ascii=plain).encode()) == value


def test_messages_of_a_stream_are_read_so() -> None:
    (found,) = MessageSplitter().feed(rb'{"status": "\ud800", "id": "\u0000"}')
    assert found == {"status": "?", "id": ""}


@pytest.mark.parametrize("half", HALVES)
def test_a_container_that_is_named_so_is_listed(administrator: Client, fleet: Fleet, half: str) -> None:
    entry = {
        "Id": "d" * 64,
        "Names": ["/HALF"],
        "Image": "HALF",
        "ImageID": "sha256:HALF",
        "Command": "HALF",
        "State": "running",
        "Status": "Up HALF",
        "Labels": {"HALF": "HALF"},
        "Ports": [{"PrivatePort": 80, "PublicPort": 80, "IP": "HALF", "Type": "HALF"}],
        "Mounts": [{"Type": "HALF", "Name": "HALF", "Destination": "HALF"}],
        "NetworkSettings": {"Networks": {"HALF": {}}},
    }
    said = foreign_json(json.dumps([entry]).replace("HALF", half))
    mirror._store(fleet.host, said, None)
    stored = fleet.host.containers.get(engine_id="d" * 64)
    for path in ("/containers/", f"/containers/{stored.pk}/", f"/containers/{stored.pk}/inspect/", "/"):
        assert administrator.get(path).status_code == 200


ODD = ["1e999", "-1e999", "NaN", "1" * 400, "-5", "1e308", '"x"', "null", "[]", "{}", "true", str(2**63)]


@pytest.mark.parametrize("value", ODD)
def test_a_measure_that_is_none_is_left_out(administrator: Client, fleet: Fleet, value: str) -> None:
    names = ("cpu_percent", "memory_used", "memory_total", "disk_used", "disk_total", "uptime", "cpus")
    said = dict.fromkeys(names, "VALUE") | {"load": ["VALUE"] * 3}
    fields = agent_facts(json.loads(json.dumps(said).replace('"VALUE"', value)))
    assert set(fields["metrics"]) == {"at"}
    assert "cpus" not in fields
    assert "memory_total" not in fields
    Host.objects.filter(pk=fleet.host.pk).update(**fields)
    for route, rule in TABLE.items():
        if (rule.get != NEVER and route.startswith("hosts/")) or not route:
            assert administrator.get(address(route, fleet)).status_code == 200
