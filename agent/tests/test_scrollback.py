"""The last bytes of a terminal, by offset."""

from gantry_agent.scrollback import Scrollback
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=60), st.integers(0, 2000), st.integers(1, 50))
def test_reading_gives_what_was_written(chunks: list[bytes], offset: int, most: int) -> None:
    kept, whole = Scrollback(limit=200), b"".join(chunks)
    for chunk in chunks:
        kept.append(chunk)
    assert kept.end == len(whole)
    assert kept.end - kept.start <= 200 + 40
    position = kept.replay_from(offset)
    assert kept.start <= position <= kept.end
    found = b""
    while part := kept.read(position + len(found), most):
        assert len(part) <= most
        found += part
    assert found == whole[position:]


def test_a_replay_after_a_gap_begins_at_a_line() -> None:
    kept = Scrollback(limit=20)
    for chunk in (b"\x1b[3", b"1mred\n", b"second line\n", b"third\n"):
        kept.append(chunk)
    assert kept.start > 0
    begin = kept.replay_from(0)
    assert kept.read(begin, 100).startswith((b"second", b"third"))


def test_without_a_gap_it_begins_at_the_start_even_when_more_is_asked() -> None:
    kept = Scrollback()
    kept.append(b"hello")
    assert kept.replay_from(99) == 0
