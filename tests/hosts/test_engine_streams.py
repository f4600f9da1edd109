"""Frames and messages come out whole, however the bytes are cut; what is neither is refused."""

import asyncio
import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosts.engine import Demultiplexer, EngineError, EngineProtocolError, EngineUnreachable, demultiplex
from hosts.engine.messages import MessageSplitter

frames = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=300)), max_size=20)
cuts = st.lists(st.integers(1, 50), min_size=1, max_size=200)
# NUL is taken out of whatever a host says (tests/security/test_foreign_json.py).
letters = st.characters(codec="utf-8", exclude_characters="\x00")
messages = st.lists(
    st.dictionaries(
        st.text(letters, max_size=8),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(letters, max_size=20),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(letters, max_size=5), inner, max_size=3)
            ),
            max_leaves=8,
        ),
        max_size=4,
    ),
    max_size=8,
)


def framed(stream: int, data: bytes) -> bytes:
    return struct.pack(">B3xL", stream, len(data)) + data


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    while at < len(data):
        for size in sizes:
            pieces.append(data[at : at + size])
            at += size
    return [piece for piece in pieces if piece]


def by_stream(pieces: list[tuple[int, bytes]]) -> dict[int, bytes]:
    return {n: b"".join(data for stream, data in pieces if stream == n) for n in (1, 2)}


@settings(deadline=None)
@given(frames, cuts)
def test_frames_survive_any_cut(written: list[tuple[int, bytes]], sizes: list[int]) -> None:
    demultiplexer = Demultiplexer()
    wire = b"".join(framed(stream, data) for stream, data in written)
    read = [piece for part in cut(wire, sizes) for piece in demultiplexer.feed(part)]
    assert by_stream(read) == by_stream(written)
    assert demultiplexer.complete


@settings(deadline=None)
@given(messages, cuts, st.sampled_from([b"", b"\n", b"\r\n", b"  "]))
def test_messages_survive_any_cut(written: list[dict[str, Any]], sizes: list[int], between: bytes) -> None:
    splitter = MessageSplitter()
    wire = b"".join(json.dumps(message, ensure_ascii=False).encode() + between for message in written)
    read = [message for part in cut(wire, sizes) for message in splitter.feed(part)]
    assert read == written
    splitter.feed(b" \n")
    assert splitter.complete


def test_neighbouring_frames_of_one_stream_come_as_one_piece() -> None:
    wire = framed(1, b"a\n") + framed(1, b"b\n") + framed(2, b"c\n") + framed(1, b"d\n")
    assert Demultiplexer().feed(wire) == [(1, b"a\nb\n"), (2, b"c\n"), (1, b"d\n")]


def test_echoed_input_counts_as_output() -> None:
    assert Demultiplexer().feed(framed(0, b"ls\n")) == [(1, b"ls\n")]


@pytest.mark.parametrize("wire", [b"root@web:/# ls\r\n", b"\x04\0\0\0\0\0\0\1x", b"\1\0\0\1\0\0\0\1x"])
def test_what_is_no_frame_is_refused(wire: bytes) -> None:
    with pytest.raises(EngineProtocolError, match="stream frame"):
        Demultiplexer().feed(wire)


def test_a_message_of_the_engine_in_the_stream_is_an_error() -> None:
    demultiplexer = Demultiplexer()
    wire = framed(3, b"the log is gone")
    assert demultiplexer.feed(wire[:12]) == []
    with pytest.raises(EngineError, match="the log is gone"):
        demultiplexer.feed(wire[12:])
    with pytest.raises(EngineError):
        Demultiplexer().feed(framed(3, b""))


async def test_a_stream_that_ends_within_a_frame_is_broken() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(framed(1, b"hello")[:-2])
    reader.feed_eof()
    pieces = demultiplex(reader)
    assert await anext(pieces) == (1, b"hel")
    with pytest.raises(EngineUnreachable, match="middle of a frame"):
        await anext(pieces)


@pytest.mark.parametrize(
    "wire", [b"No such container: a\r\n", b"[1]", b'"text"', b'{"a": }', b'{"a": 1]', b"}", b"\xff\xff"]
)
def test_what_is_no_message_is_refused(wire: bytes) -> None:
    with pytest.raises(EngineProtocolError, match="JSON object"):
        MessageSplitter().feed(wire)


def test_a_message_over_the_limit_is_refused_whole_or_in_parts() -> None:
    with pytest.raises(EngineProtocolError, match="at most 100 bytes"):
        MessageSplitter(100).feed(json.dumps({"a": "b" * 200}).encode())
    splitter = MessageSplitter(100)
    splitter.feed(b'{"a": "' + b"b" * 80)
    with pytest.raises(EngineProtocolError, match="at most 100 bytes"):
        splitter.feed(b"b" * 80)
