"""botocore is the oracle: it reads what we write, and its rules are kept by what we read."""

import json
import struct
import uuid
from typing import Any
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from codec_cases import FEEDS, FUZZ, cuts, decode
from penstock.protocol.eventstream import (
    MAX_PAYLOAD,
    Decoder,
    EventStreamError,
    Message,
    encode_message,
    invoke_complete,
    payload_chunk,
)

PAYLOAD_CHUNK = {
    ":message-type": "event",
    ":event-type": "PayloadChunk",
    ":content-type": "application/octet-stream",
}
INVOKE_COMPLETE = {
    ":message-type": "event",
    ":event-type": "InvokeComplete",
    ":content-type": "application/json",
}

CASES = [
    Message({}, b""),
    Message({}, b"payload"),
    Message(PAYLOAD_CHUNK, b"\0\xff" * 100),
    Message({"n" * 255: "", "é": "ü" * 1000}, b"x"),
]


def botocore_reads(wire: bytes) -> list[Message]:
    buffer = EventStreamBuffer()
    buffer.add_data(wire)
    return [Message(message.headers, message.payload) for message in buffer]


def framed(headers: bytes, payload: bytes = b"") -> bytes:
    """A message by the layout, not by our encoder."""
    lengths = struct.pack(">II", len(headers) + len(payload) + 16, len(headers))
    message = lengths + struct.pack(">I", crc32(lengths)) + headers + payload
    return message + struct.pack(">I", crc32(message))


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
@pytest.mark.parametrize("message", CASES)
def test_messages_go_both_ways(feed: Any, message: Message) -> None:
    wire = encode_message(list(message.headers.items()), message.payload)
    assert botocore_reads(wire) == [message]
    decoder = Decoder()
    assert decode(decoder, feed(wire)) == [message]
    decoder.end()


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_messages_in_a_row_and_half_a_message(feed: Any) -> None:
    wire = b"".join(encode_message(list(message.headers.items()), message.payload) for message in CASES)
    decoder = Decoder()
    assert decode(decoder, feed(wire + wire[:20])) == [*CASES, CASES[0]]
    with pytest.raises(EventStreamError, match="the end after 4 bytes"):
        decoder.end()


@pytest.mark.parametrize(
    ("slices", "payloads"),
    [
        ([], []),
        ([b"", memoryview(b"")], []),
        ([b"x"], [b"x"]),
        ([memoryview(b"ab"), b"cd", bytearray(b"e")], [b"abcde"]),
        ([bytes(MAX_PAYLOAD)], [bytes(MAX_PAYLOAD)]),
        ([b"a", bytes(MAX_PAYLOAD)], [b"a" + bytes(MAX_PAYLOAD - 1), b"\0"]),
        ([bytes(2 * MAX_PAYLOAD), b"", b"z"], [bytes(MAX_PAYLOAD), bytes(MAX_PAYLOAD), b"z"]),
        ([bytes(MAX_PAYLOAD), bytes(MAX_PAYLOAD)], [bytes(MAX_PAYLOAD), bytes(MAX_PAYLOAD)]),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_payload_chunks(slices: list[Any], payloads: list[bytes]) -> None:
    wire = b"".join(payload_chunk(slices))
    expected = [Message(PAYLOAD_CHUNK, payload) for payload in payloads]
    assert botocore_reads(wire) == expected
    assert Decoder().feed(wire) == expected


def test_payload_is_not_copied() -> None:
    view = memoryview(b"payload")
    assert any(piece is view for piece in payload_chunk([view]))
    data = bytes(MAX_PAYLOAD + 1)
    assert sum(isinstance(piece, memoryview) and piece.obj is data for piece in payload_chunk([data])) == 2


@pytest.mark.parametrize(
    ("arguments", "document"),
    [
        ({}, {}),
        ({"error_code": "E", "error_details": "d"}, {"ErrorCode": "E", "ErrorDetails": "d"}),
        ({"log_result": "bG9n"}, {"LogResult": "bG9n"}),
    ],
)
def test_the_last_event_holds_only_what_is_set(arguments: dict[str, str], document: dict[str, str]) -> None:
    (message,) = botocore_reads(invoke_complete(**arguments))
    assert message.headers == INVOKE_COMPLETE
    assert json.loads(message.payload) == document


def test_headers_of_other_types_are_passed_over() -> None:
    values = [b"\0", b"\1", b"\2x", b"\3xx", b"\4xxxx", b"\5" + b"x" * 8, b"\6\0\3abc", b"\x08" + b"x" * 8]
    values.append(b"\x09" + uuid.UUID(int=1).bytes)
    headers = b"".join(b"\1%c%b" % (65 + index, value) for index, value in enumerate(values))
    wire = framed(headers + b"\1z\7\0\2hi", b"payload")
    assert len(botocore_reads(wire)[0].headers) == 10
    assert Decoder().feed(wire) == [Message({"z": "hi"}, b"payload")]


GOOD = encode_message([("a", "b")], b"payload")
INVALID = [
    (b"\1" + GOOD[1:], "checksum .* lengths"),
    (GOOD[:8] + b"\0\0\0\0" + GOOD[12:], "checksum .* lengths"),
    (GOOD[:-6] + b"X" + GOOD[-5:], "checksum .* message"),
    (GOOD[:-1] + b"X", "checksum .* message"),
    (framed(b"\1a\7\0\1b" * 2), "each header once"),
    (framed(b"\1a\7\0\5b"), "value of 5 bytes"),
    (framed(b"\1a\x0a"), "expected headers"),
    (framed(b"\1a"), "expected headers"),
    (framed(b"\5a"), "expected headers"),
    (framed(b"\1a\7\0"), "expected headers"),
    (framed(b"\1\xff\7\0\0"), "expected headers"),
]


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
@pytest.mark.parametrize(("wire", "message"), INVALID)
def test_a_bad_message_is_refused(feed: Any, wire: bytes, message: str) -> None:
    with pytest.raises(EventStreamError, match=message):
        decode(Decoder(), feed(wire))


@pytest.mark.parametrize(("total", "headers"), [(15, 0), (20, 5), (2**31, 0), (2**20, 2**18)])
def test_lengths_are_refused_before_the_bytes_come(total: int, headers: int) -> None:
    lengths = struct.pack(">II", total, headers)
    with pytest.raises(EventStreamError, match="expected headers of at most"):
        Decoder().feed(lengths + struct.pack(">I", crc32(lengths)) + bytes(4))


@pytest.mark.parametrize("header", [("", "x"), ("n" * 256, ""), ("n", "x" * 65_536)])
def test_a_header_that_does_not_fit_is_refused(header: tuple[str, str]) -> None:
    with pytest.raises(EventStreamError, match="expected a header name"):
        encode_message([header], b"")


TEXT = st.text(st.characters(codec="utf-8"), max_size=10)


@FUZZ
@given(
    data=st.data(),
    messages=st.lists(
        st.builds(Message, st.dictionaries(TEXT.filter(bool), TEXT, max_size=3), st.binary(max_size=30)),
        max_size=4,
    ),
)
def test_no_cut_changes_the_result(data: st.DataObject, messages: list[Message]) -> None:
    wire = b"".join(encode_message(list(message.headers.items()), message.payload) for message in messages)
    assert botocore_reads(wire) == messages
    assert decode(Decoder(), data.draw(cuts(wire))) == messages


@FUZZ
@given(place=st.integers(0, len(GOOD) - 1), flip=st.integers(1, 255))
def test_no_changed_byte_goes_unseen(place: int, flip: int) -> None:
    wire = bytearray(GOOD)
    wire[place] ^= flip
    with pytest.raises(EventStreamError):
        Decoder().feed(wire)
