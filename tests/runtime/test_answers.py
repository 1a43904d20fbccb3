"""Answers of the Runtime API, however the bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocol.chunked import ChunkedError
from penstock.runtime.answers import Answer, Answers

WIRE = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b'HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"status":"OK"}\n'
    b"HTTP/1.1 204 No Content\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: one\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n"
    b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
)
ANSWERS = [
    Answer(202, {"content-type": "application/json", "content-length": "16"}, b'{"status":"OK"}\n'),
    Answer(204, {}, b""),
    Answer(200, {"lambda-runtime-aws-request-id": "one", "transfer-encoding": "chunked"}, b"[1,2]"),
    Answer(413, {"content-length": "0"}, b""),
]


def test_one_after_another() -> None:
    assert Answers().feed(WIRE) == ANSWERS


@given(st.lists(st.integers(0, len(WIRE))))
def test_cut_anywhere(cuts: list[int]) -> None:
    answers, found, start = Answers(), [], 0
    for cut in [*sorted(cuts), len(WIRE)]:
        found += answers.feed(WIRE[start:cut])
        start = cut
    assert found == ANSWERS


def test_a_malformed_body() -> None:
    with pytest.raises(ChunkedError):
        Answers().feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n")
