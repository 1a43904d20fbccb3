import io
from http.client import HTTPResponse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_cases import FEEDS, FUZZ, cuts
from penstock.protocol import limits
from penstock.protocol.chunked import (
    LAST_CHUNK,
    SIZE_LINE,
    ChunkedError,
    Counted,
    Deframer,
    chunk_head,
    encode_end,
)

# wire, payload, trailers
VALID: list[tuple[bytes, bytes, list[tuple[bytes, bytes]]]] = [
    (LAST_CHUNK, b"", []),
    (b"5\r\nhello\r\n" + LAST_CHUNK, b"hello", []),
    (b"5\r\nhello\r\n1\r\n!\r\n" + LAST_CHUNK, b"hello!", []),
    (b"a\r\n0123456789\r\n" + LAST_CHUNK, b"0123456789", []),
    (b"A\r\n0123456789\r\n" + LAST_CHUNK, b"0123456789", []),
    (b"00000001\r\nx\r\n00000000\r\n\r\n", b"x", []),
    (b"2\r\n\r\n\r\n" + LAST_CHUNK, b"\r\n", []),  # payload that looks like framing
    (b"5\r\n0\r\n\r\n\r\n" + LAST_CHUNK, b"0\r\n\r\n", []),
    (b'1;name="a b;c"\r\nx\r\n0;last\r\n\r\n', b"x", []),
    (b"1;" + b"e" * (SIZE_LINE - 4) + b"\r\nx\r\n" + LAST_CHUNK, b"x", []),
    (b"0\r\nLambda-Error: a\r\nX:\t b:c \r\n\r\n", b"", [(b"lambda-error", b"a"), (b"x", b"b:c")]),
    (b"1\r\nx\r\n0\r\nEmpty:\r\n\r\n", b"x", [(b"empty", b"")]),
    (b"12c\r\n" + b"y" * 300 + b"\r\n" + LAST_CHUNK, b"y" * 300, []),
]

INVALID = [
    (b"\r\n", "chunk size"),
    (b"+5\r\nhello\r\n", "chunk size"),
    (b"-5\r\nhello\r\n", "chunk size"),
    (b"5_0\r\n", "chunk size"),
    (b"0x5\r\nhello\r\n", "chunk size"),
    (b" 5\r\nhello\r\n", "chunk size"),
    (b"5 \r\nhello\r\n", "chunk size"),
    (b"5 ;a\r\nhello\r\n", "chunk size"),
    (b";a\r\n", "chunk size"),
    (b"5\nhello\r\n", "chunk size"),
    (b"5\r\r\nhello\r\n", "chunk size"),
    (b"5;a\nb\r\nhello\r\n", "chunk size"),
    (b"5;a\rb\r\nhello\r\n", "chunk size"),
    (b"5;a\0b\r\nhello\r\n", "chunk size"),
    (b"000000001\r\nx\r\n", "chunk size"),  # nine digits
    (b"g\r\n", "chunk size"),
    ("５\r\n".encode(), "chunk size"),  # a digit to str.isdigit
    (b"5;" + b"e" * (SIZE_LINE - 3) + b"\r\n", "size"),
    (b"5" * 1000, "at most 256 bytes"),
    (b"5\r\nhelloX\r\n", "CRLF after a chunk"),
    (b"5\r\nhello\n0\r\n", "CRLF after a chunk"),
    (b"5\r\nhello\r0\r\n", "CRLF after a chunk"),
    (b"0\r\nno colon\r\n\r\n", "a trailer"),
    (b"0\r\nname : x\r\n\r\n", "a trailer"),
    (b"0\r\n: x\r\n\r\n", "a trailer"),
    (b"0\r\na: x\r\n folded\r\n\r\n", "a trailer"),
    (b"0\r\na: x\n\r\n", "a trailer"),
    (b"0\r\na: x\0\r\n\r\n", "a trailer"),
    (b"0\r\n\n", "a trailer"),
    (b"0\r\na:" + b"x" * limits.TRAILERS, "bytes of trailers"),
]


def read(decoder: Deframer | Counted, reads: list[bytes]) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    payload = b"".join(part for data in reads for part in decoder.feed(data))
    return payload, decoder.trailers, decoder.rest


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
@pytest.mark.parametrize("rest", [b"", b"GET / HTTP/1.1\r\n\r\n"])
@pytest.mark.parametrize(("wire", "payload", "trailers"), VALID)
def test_a_body_is_taken_apart(feed: Any, wire: bytes, payload: bytes, trailers: Any, rest: bytes) -> None:
    decoder = Deframer()
    assert read(decoder, feed(wire + rest)) == (payload, trailers, rest)
    assert decoder.done


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
@pytest.mark.parametrize(("wire", "message"), INVALID, ids=lambda value: repr(value)[:30])
def test_a_bad_body_is_refused(feed: Any, wire: bytes, message: str) -> None:
    with pytest.raises(ChunkedError, match=f"^expected .*{message}.*got "):
        read(Deframer(), feed(wire))


@pytest.mark.parametrize("wire", [case[0] for case in VALID])
def test_a_cut_body_is_not_done(wire: bytes) -> None:
    decoder = Deframer()
    read(decoder, [wire[:-1]])
    assert not decoder.done


def test_payload_is_not_copied() -> None:
    data = b"5\r\nhello\r\n9\r\nhalf"
    assert [part.obj is data for part in Deframer().feed(data)] == [True, True]


def test_trailers_may_take_all_of_their_room() -> None:
    trailer = b"a:" + b"x" * (limits.TRAILERS - 6) + b"\r\n"
    decoder = Deframer()
    decoder.feed(b"0\r\n" + trailer + b"\r\n")
    assert decoder.done
    with pytest.raises(ChunkedError):
        Deframer().feed(b"0\r\nb" + trailer + b"\r\n")


def test_encoding() -> None:
    assert chunk_head(255) == b"ff\r\n"
    assert encode_end() == LAST_CHUNK
    assert encode_end([(b"A", b"1"), (b"B", b"")]) == b"0\r\nA: 1\r\nB: \r\n\r\n"


@pytest.mark.parametrize("trailer", [(b"a b", b""), (b"", b""), (b"a", b"1\r\nb: 2"), (b"a", b"\0")])
def test_a_trailer_that_would_break_the_framing_is_refused(trailer: tuple[bytes, bytes]) -> None:
    with pytest.raises(ChunkedError, match="expected a trailer"):
        encode_end([trailer])


NAMES = st.text("abcXYZ-!1", min_size=1, max_size=8).map(str.encode)
VALUES = st.text("abc =:\té", max_size=8).map(lambda text: text.strip().encode())


@FUZZ
@given(
    data=st.data(),
    chunks=st.lists(st.binary(max_size=40) | st.binary(min_size=250, max_size=300), max_size=8),
    extension=st.sampled_from([b"", b";a", b";a=b;c"]),
    zeros=st.integers(0, 4),
    trailers=st.lists(st.tuples(NAMES, VALUES), max_size=3),
    rest=st.binary(max_size=10),
)
def test_no_cut_changes_the_result(
    data: st.DataObject,
    chunks: list[bytes],
    extension: bytes,
    zeros: int,
    trailers: list[tuple[bytes, bytes]],
    rest: bytes,
) -> None:
    body = [b"0" * zeros + b"%X" % len(c) + extension + b"\r\n" + c + b"\r\n" for c in chunks if c]
    wire = b"".join(body) + encode_end(trailers)
    decoder = Deframer()
    got = read(decoder, data.draw(cuts(wire + rest)))
    assert decoder.done
    assert got == (b"".join(chunks), [(name.lower(), value) for name, value in trailers], rest)
    assert got[0] == read_with_http_client(wire)


@FUZZ
@given(data=st.data(), wire=st.binary(max_size=60) | st.text("05a;\r\n: x", max_size=30).map(str.encode))
def test_what_is_refused_does_not_depend_on_the_cut(data: st.DataObject, wire: bytes) -> None:
    assert outcome([wire]) == outcome(data.draw(cuts(wire)))


def outcome(reads: list[bytes]) -> Any:
    try:
        return read(Deframer(), reads)
    except ChunkedError:
        return ChunkedError


def read_with_http_client(wire: bytes) -> bytes:
    """The standard library's decoder, which shares nothing with ours."""

    class Socket:
        def makefile(self, mode: str) -> io.BytesIO:
            return io.BytesIO(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + wire)

    response = HTTPResponse(Socket())  # type: ignore[arg-type]
    response.begin()
    return response.read()


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
@pytest.mark.parametrize("rest", [b"", b"next"])
@pytest.mark.parametrize("payload", [b"", b"x", b"hello world"])
def test_a_counted_body(feed: Any, payload: bytes, rest: bytes) -> None:
    decoder = Counted(len(payload))
    assert read(decoder, feed(payload + rest)) == (payload, [], rest)
    assert decoder.done


def test_a_short_counted_body_is_not_done() -> None:
    decoder = Counted(3)
    assert read(decoder, [b"ab"]) == (b"ab", [], b"")
    assert not decoder.done
