"""Requests of the Lambda API as they come in."""

import asyncio

import pytest

from api_kit import INVOKE, Counter
from penstock.protocol import limits
from penstock.service.api.collect import PATIENCE


def test_a_body_in_pieces() -> None:
    counter = Counter()
    counter.connection.data_received(
        f"POST {INVOKE} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    for piece in (b"1\r\n[\r\n", b"2\r\n1,\r\n", b"2\r\n2]\r\n", b"0\r\n\r\n"):
        assert not counter.invoker.invocations
        counter.connection.data_received(piece)
    (invocation,) = counter.invoker.invocations
    assert invocation.call.payload == b"[1,2]"


@pytest.mark.parametrize("over", [0, 1])
def test_the_limit_counts_what_comes(over: int) -> None:
    counter = Counter()
    body = b'"' + b"x" * (limits.REQUEST_PAYLOAD - 2 + over) + b'"'
    counter.send("POST", INVOKE, body)
    assert len(counter.invoker.invocations) == 1 - over
    if over:
        assert (counter.status, counter.document["Message"]) == (
            413,
            "6291457 byte payload is too large for the RequestResponse invocation type (limit 6291456 bytes)",
        )


@pytest.mark.parametrize(("path", "status"), [(INVOKE, 413), ("/x", 404)])
def test_a_body_without_an_end_is_not_read_for_ever(path: str, status: int) -> None:
    counter = Counter()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    counter.connection.data_received(head.encode())
    piece = b"400000\r\n" + bytes(4 * limits.MIB) + b"\r\n"
    for _ in range((limits.REQUEST_PAYLOAD + PATIENCE) // (4 * limits.MIB) - 2):
        counter.connection.data_received(piece)
    assert not counter.wire.sent
    for _ in range(4):
        counter.connection.data_received(piece)
    assert counter.status == status
    assert counter.headers["Connection"] == "close"
    assert counter.record.status == status


def test_who_leaves_within_the_request_is_logged_and_nothing_is_done() -> None:
    counter = Counter()
    counter.connection.data_received(
        f"POST {INVOKE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n[".encode()
    )
    counter.leave()
    assert not counter.invoker.invocations
    assert (counter.record.status, counter.record.detail) == (499, "before the request was complete")


def test_who_leaves_within_a_refused_request_is_logged_too() -> None:
    counter = Counter()
    counter.connection.data_received(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n[")
    counter.leave()
    assert counter.record.status == 499


def test_a_connection_serves_one_request_after_the_other() -> None:
    counter = Counter()
    assert asyncio.run(counter.ask("POST", INVOKE, b"{"))[0] == 400
    assert asyncio.run(counter.ask("POST", "/x", b"{}"))[0] == 404
    counter.send("POST", INVOKE, b"{}")
    assert len(counter.invoker.invocations) == 1
