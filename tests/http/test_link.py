"""Closing in time, lingering, and what is gathered into one write."""

from http_kit import GET, App, wired

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSING = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
EARLY = {"head": lambda taped: taped.writer.respond(413, [], b"")}


def test_lingering_ends_after_its_bytes() -> None:
    connection, wire, _ = wired(App(**EARLY))
    connection.data_received(CHUNKED)
    assert wire.eof
    for _ in range(16):
        connection.data_received(b"x" * 65536)
        assert not wire.closed
    connection.data_received(b"x")
    assert wire.closed == "close"
    connection.data_received(b"x")  # a transport may still deliver; nothing happens


def test_lingering_ends_after_its_time() -> None:
    connection, wire, clock = wired(App(**EARLY))
    connection.data_received(CHUNKED)
    clock.move(1.5)
    assert not wire.closed
    clock.move(1.5)
    assert wire.closed == "close"


def test_lingering_goes_on_while_the_client_takes_the_answer() -> None:
    connection, wire, clock = wired(App(**EARLY))
    wire.buffered = 1000
    connection.data_received(CHUNKED)
    for _ in range(5):
        wire.buffered -= 100
        clock.move(9)
        assert not wire.closed
    clock.move(12)
    assert wire.closed == "close"


def test_lingering_reads_again_what_the_application_had_paused() -> None:
    def early(taped) -> None:  # type: ignore[no-untyped-def]
        taped.writer.pause_reading()
        taped.writer.respond(413, [], b"")

    connection, wire, _ = wired(App(head=early))
    connection.data_received(CHUNKED)
    assert wire.reading


def test_a_close_is_given_time_while_the_client_takes_what_is_left_then_reset() -> None:
    connection, wire, clock = wired(App())
    wire.buffered = 1000
    connection.data_received(CLOSING)
    assert wire.closed == "close"
    for _ in range(5):
        wire.buffered -= 100
        clock.move(9)
    assert wire.closed == "close"
    clock.move(12)
    assert wire.closed == "abort"
    assert wire.options  # no lingering: RST, so that a cut response is not taken for a whole one


def test_a_broken_response_is_given_ten_seconds_in_all() -> None:
    def broken(taped) -> None:  # type: ignore[no-untyped-def]
        taped.writer.start(200, [])
        taped.writer.abort()

    connection, wire, clock = wired(App(end=broken))
    wire.buffered = 1000
    connection.data_received(GET)
    for _ in range(9):
        wire.buffered -= 10
        clock.move(1)
    assert wire.closed == "close"
    clock.move(2)
    assert wire.closed == "abort"


def test_gathered_writes_are_bounded() -> None:
    connection, wire, _ = wired(App(end=lambda taped: taped.writer.respond(200, [], b"x" * 10_000)))
    connection.data_received(GET * 20)
    assert 3 <= len(wire.writes) <= 5
    assert wire.sent.count(b"HTTP/1.1 200 OK") == 20


def test_nothing_is_written_to_a_closing_transport() -> None:
    app = App(head=lambda taped: None)
    connection, wire, clock = wired(app)
    connection.data_received(GET)
    wire.close()  # it failed; connection_lost comes with the next turn
    writer = app.exchanges[0].writer
    writer.start(200, [])
    writer.data([b"x"])
    writer.data([b"x"])
    writer.end()
    clock.turn()
    assert not wire.sent


def test_an_end_of_file_does_not_turn_a_reset_into_a_clean_end() -> None:
    def broken(taped) -> None:  # type: ignore[no-untyped-def]
        taped.writer.start(200, [])
        taped.writer.abort()

    connection, wire, clock = wired(App(end=broken))
    wire.buffered = 1000
    connection.data_received(b"GET / HTTP/1.0\r\n\r\n")
    assert connection.eof_received()  # the transport stays open
    clock.move(12)
    assert wire.closed == "abort"
