"""Responses: framing, headers of the server's own, misuse."""

import re
import time

import pytest

from http_kit import GET, App, Taped, parse_head, wired
from penstock.http import Writer
from penstock.http import writer as writer_module

OLD = b"GET / HTTP/1.0\r\n\r\n"
OLD_KEPT = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"


def answering(sent: bytes, answer, **settings) -> tuple[bytes, str, Writer]:  # type: ignore[no-untyped-def]
    """What the client gets, how the connection ended, and the writer."""
    app = App(end=answer)
    connection, wire, clock = wired(app, **{"stamp": False, **settings})
    connection.data_received(sent)
    clock.turn()
    assert not app.errors, app.errors
    return wire.sent, wire.closed, app.exchanges[0].writer


def test_chunked_one_frame_for_each_piece() -> None:
    def answer(taped: Taped) -> None:
        writer = taped.writer
        writer.start(200, [(b"Content-Type", b"text/plain")])
        writer.data([b"hello"])
        writer.data([])
        writer.data([b"", memoryview(b"")])
        writer.data([b"a" * 10, memoryview(b"xbbbbbx")[1:6], bytearray(b"c")])
        writer.end()

    sent, closed, writer = answering(GET, answer)
    assert sent == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n10\r\naaaaaaaaaabbbbbc\r\n0\r\n\r\n"
    )
    assert not closed
    assert (writer.bytes_sent, writer.started, writer.ended) == (21, True, True)


def test_counted() -> None:
    def answer(taped: Taped) -> None:
        taped.writer.start(201, [], length=5)
        taped.writer.data([b"he"])
        taped.writer.data([b"l", b"lo"])
        taped.writer.end()

    sent, closed, writer = answering(GET, answer)
    assert sent == b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello"
    assert (closed, writer.bytes_sent, writer.overrun) == ("", 5, False)


def test_counted_drops_what_is_too_much() -> None:
    def answer(taped: Taped) -> None:
        taped.writer.start(200, [], length=5)
        taped.writer.data([b"hell", b"o, wor", b"ld"])
        taped.writer.data([b"!"])
        taped.writer.end()

    sent, closed, writer = answering(GET, answer)
    assert sent == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    assert (closed, writer.bytes_sent, writer.overrun) == ("", 5, True)


def test_counted_and_short_is_broken() -> None:
    def answer(taped: Taped) -> None:
        taped.writer.start(200, [], length=5)
        taped.writer.data([b"hell"])
        taped.writer.end()

    sent, closed, _ = answering(GET, answer)
    assert sent.endswith(b"\r\n\r\nhell")
    assert closed == "close"


@pytest.mark.parametrize("request_head", [OLD, OLD_KEPT])
def test_until_close_in_http_1_0(request_head: bytes) -> None:
    def answer(taped: Taped) -> None:
        taped.writer.start(200, [])
        taped.writer.data([b"he", b"llo"])
        taped.writer.end()

    sent, closed, writer = answering(request_head, answer)
    assert sent == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"
    assert (closed, writer.bytes_sent) == ("close", 5)


@pytest.mark.parametrize(
    ("request_head", "option", "closed"), [(OLD, b"close", "close"), (OLD_KEPT, b"keep-alive", "")]
)
def test_counted_in_http_1_0(request_head: bytes, option: bytes, closed: str) -> None:
    sent, how, _ = answering(request_head, lambda taped: taped.writer.respond(200, [], b"x"))
    assert sent == b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: %b\r\n\r\nx" % option
    assert how == closed


@pytest.mark.parametrize(
    ("request_head", "status", "length", "line"),
    [
        (HEAD, 200, None, b""),
        (HEAD, 200, 5, b"Content-Length: 5\r\n"),
        (HEAD, 204, 5, b""),
        (GET, 204, None, b""),
        (GET, 204, 5, b""),
        (GET, 304, None, b""),
        (GET, 304, 5, b"Content-Length: 5\r\n"),
    ],
)
def test_without_body(request_head: bytes, status: int, length: int | None, line: bytes) -> None:
    def answer(taped: Taped) -> None:
        taped.writer.start(status, [(b"X", b"y")], length=length)
        taped.writer.data([b"hello"])
        taped.writer.end()

    sent, closed, writer = answering(request_head, answer)
    assert sent.partition(b"\r\n")[2] == b"X: y\r\n" + line + b"\r\n"
    assert (closed, writer.bytes_sent) == ("", 0)


@pytest.mark.parametrize(
    ("request_head", "status", "expected"),
    [
        (GET, 200, b"Content-Length: 5\r\n\r\nhello"),
        (HEAD, 200, b"Content-Length: 5\r\n\r\n"),
        (GET, 204, b"\r\n"),
        (GET, 304, b"Content-Length: 5\r\n\r\n"),
        (GET, 599, b"Content-Length: 5\r\n\r\nhello"),
    ],
)
def test_respond(request_head: bytes, status: int, expected: bytes) -> None:
    sent, closed, writer = answering(request_head, lambda taped: taped.writer.respond(status, [], b"hello"))
    assert sent.partition(b"\r\n")[2] == expected
    assert sent.startswith(b"HTTP/1.1 %d " % status)
    assert not closed
    assert writer.ended


def test_a_large_body_is_not_copied_and_arrives() -> None:
    body = b"x" * 100_000
    sent, _, writer = answering(GET, lambda taped: taped.writer.respond(200, [], body))
    assert sent.endswith(b"Content-Length: 100000\r\n\r\n" + body)
    assert writer.bytes_sent == 100_000


def test_the_head_leaves_with_the_first_data_of_the_same_callback() -> None:
    app = App(head=lambda taped: None)
    connection, wire, clock = wired(app)
    connection.data_received(GET)
    writer = app.exchanges[0].writer
    writer.start(200, [])
    assert not wire.writes
    writer.data([b"hello"])
    assert len(wire.writes) == 1
    assert wire.sent.endswith(b"\r\n\r\n5\r\nhello\r\n")
    writer.end()
    clock.turn()
    assert wire.sent.endswith(b"hello\r\n0\r\n\r\n")


def test_the_head_does_not_wait_for_data() -> None:
    app = App(head=lambda taped: None)
    connection, wire, clock = wired(app)
    connection.data_received(GET)
    app.exchanges[0].writer.start(200, [])
    clock.turn()
    assert wire.sent.endswith(b"\r\n\r\n")


def test_date_and_server_are_added_and_never_doubled() -> None:
    date = re.compile(rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")

    def fields(*headers: tuple[bytes, bytes]) -> dict[bytes, bytes]:
        sent, _, _ = answering(GET, lambda taped: taped.writer.respond(200, headers, b""), stamp=True)
        return parse_head(sent)[1]

    plain = fields()
    assert date.fullmatch(plain[b"date"])
    assert plain[b"server"] == b"penstock"
    assert fields((b"DATE", b"now"))[b"date"] == b"now"
    assert fields((b"DATE", b"now"))[b"server"] == b"penstock"
    assert fields((b"server", b"mine"))[b"server"] == b"mine"
    assert date.fullmatch(fields((b"server", b"mine"))[b"date"])
    assert fields((b"server", b"mine"), (b"Date", b"now")) == {
        b"server": b"mine",
        b"date": b"now",
        b"content-length": b"0",
    }


def test_the_date_is_made_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [784111777.2]
    monkeypatch.setattr(time, "time", lambda: now[0])
    first = writer_module.stamp()
    assert first == b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: penstock\r\n"
    now[0] += 0.7
    assert writer_module.stamp() is first
    now[0] += 0.2
    assert writer_module.stamp().startswith(b"Date: Sun, 06 Nov 1994 08:49:38 GMT")


def test_framing_headers_of_the_application_are_not_sent() -> None:
    given = [
        (b"Content-Length", b"7"),
        (b"transfer-encoding", b"gzip"),
        (b"Connection", b"keep-alive"),
        (b"X", b"y"),
    ]
    sent, closed, _ = answering(GET, lambda taped: taped.writer.respond(200, given, b"hello"))
    assert sent == b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 5\r\n\r\nhello"
    assert not closed


def test_the_application_may_close_the_connection() -> None:
    def answer(taped: Taped) -> None:
        taped.writer.respond(200, [(b"connection", b"Close")], b"")

    sent, closed, _ = answering(GET, answer)
    assert sent.endswith(b"Connection: close\r\n\r\n")
    assert closed == "close"


@pytest.mark.parametrize(
    ("status", "header"),
    [
        (200, (b"X", b"a\r\nSet-Cookie: b")),
        (200, (b"X", b"a\nb")),
        (200, (b"X", b"a\rb")),
        (200, (b"X", b"a\0b")),
        (200, (b"X\r\nY", b"a")),
        (101, (b"X", b"a")),
        (199, (b"X", b"a")),
        (600, (b"X", b"a")),
    ],
)
def test_a_head_that_cannot_be_sent_is_a_value_error(status: int, header: tuple[bytes, bytes]) -> None:
    app = App(head=lambda taped: None)
    connection, wire, _ = wired(app)
    connection.data_received(GET)
    writer = app.exchanges[0].writer
    with pytest.raises(ValueError, match=r"status|header"):
        writer.start(status, [header])
    with pytest.raises(ValueError, match=r"status|header"):
        writer.respond(status, [header], b"")
    assert not writer.started
    assert not wire.sent
    writer.respond(500, [], b"")  # still possible
    assert wire.sent.startswith(b"HTTP/1.1 500 ")


def test_misuse() -> None:
    app = App(head=lambda taped: None)
    connection, _, _ = wired(app)
    connection.data_received(GET)
    writer = app.exchanges[0].writer
    for too_early in (lambda: writer.data([b"x"]), writer.end):
        with pytest.raises(RuntimeError, match="before start"):
            too_early()
    writer.start(200, [])
    for again in (lambda: writer.start(200, []), lambda: writer.respond(200, [], b"")):
        with pytest.raises(RuntimeError, match="starts once"):
            again()


@pytest.mark.parametrize("request_head", [GET, HEAD, OLD])
def test_abort_before_start_closes_without_an_answer(request_head: bytes) -> None:
    sent, closed, writer = answering(request_head, lambda taped: taped.writer.abort())
    assert (sent, closed, writer.ended) == (b"", "close", True)


def test_abort_ends_a_chunked_body_without_its_last_chunk() -> None:
    def answer(taped: Taped) -> None:
        taped.writer.start(200, [])
        taped.writer.data([b"hello"])
        taped.writer.abort()
        taped.writer.data([b"more"])
        taped.writer.end()

    sent, closed, _ = answering(GET, answer)
    assert sent.endswith(b"5\r\nhello\r\n")
    assert closed == "close"
