"""Requests on a connection: order, bodies, early answers, leaving clients, failing applications, times."""

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from http_kit import GET, App, Client, Taped, serving, wired

Run = Callable[[Coroutine[Any, Any, None]], None]

POST = b"POST /p HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
COUNTED = POST + b"Content-Length: 5\r\n\r\n"

# Bytes sent, and the statuses they are answered with; the application answers with the body it got.
EXCHANGES = {
    "get": (GET, [200]),
    "empty lines before": (b"\r\n\r\n" + GET, [200]),
    "three pipelined": (GET * 3, [200, 200, 200]),
    "counted": (COUNTED + b"hello", [200]),
    "counted, then get": (COUNTED + b"hello" + GET, [200, 200]),
    "chunked": (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", [200]),
    "chunked with trailers": (CHUNKED + b"5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n" + GET, [200, 200]),
    "empty chunked": (CHUNKED + b"0\r\n\r\n" + GET, [200, 200]),
    "1.0": (b"GET / HTTP/1.0\r\n\r\n", [200]),
    "1.0 kept": (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2, [200, 200]),
    "close": (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET, [200]),
    "proxy close": (b"GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n\r\n" + GET, [200, 200]),
    "head": (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + GET, [200, 200]),
    "expecting": (POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", [200]),
    "upgrade is ignored": (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", [200]),
    "upgrade, then get": (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" + GET,
        [200, 200],
    ),
    "refused": (b"GET / HTTP/1.1\r\n\r\n" + GET, [400]),
    "good, then refused": (GET + b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n" + GET, [200, 501]),
    "2.0": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505]),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", [400]),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", [400]),
    "bad chunk size": (CHUNKED + b"xyz\r\n", [400]),
    "bad chunk end": (CHUNKED + b"5\r\nhelloXX0\r\n\r\n", [400]),
    "signed chunk size": (CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n", [400]),
    "smuggled by both framings": (
        POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET,
        [400],
    ),
    "target too long": (b"GET /" + b"a" * 20000, [414]),
    "headers too large": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20000, [431]),
    "headers too large, complete": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 17000 + b"\r\n\r\n", [431]),
    "many empty lines": (b"\r\n" * 9000 + GET, [200]),
    "carriage returns": (b"\r\r", [400]),
}
HEADS = re.compile(rb"HTTP/1\.1 (\d+) ")


def statuses(sent: bytes) -> list[int]:
    return [int(status) for status in HEADS.findall(sent)]


@pytest.mark.parametrize(("sent", "expected"), EXCHANGES.values(), ids=EXCHANGES)
def test_exchange_over_a_socket(run: Run, sent: bytes, expected: list[int]) -> None:
    async def test() -> None:
        app = App()
        async with serving(app) as (_, connect):
            client = await connect()
            await client.send(sent)
            answered = b""
            while len(statuses(answered)) < len(expected) or not answered.rpartition(b"\r\n\r\n")[1]:
                data = await client.read()
                assert data
                answered += data
            assert statuses(answered) == expected
            assert not app.errors

    run(test())


@pytest.mark.parametrize(("sent", "expected"), EXCHANGES.values(), ids=EXCHANGES)
def test_exchange_byte_by_byte(sent: bytes, expected: list[int]) -> None:
    app = App()
    whole, wire, _ = wired(app, stamp=False)
    whole.data_received(sent)
    assert statuses(wire.sent) == expected

    app = App()
    cut, cut_wire, _ = wired(app, stamp=False)
    for index in range(len(sent)):
        cut.data_received(sent[index : index + 1])
    # Cut, the continuation has to be asked for.
    answer = cut_wire.sent.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    if expected[-1] == 400:  # the reason may name what was read so far
        assert statuses(answer) == expected
    else:
        assert answer == wire.sent
    assert not app.errors


def test_request_reaches_the_application_as_it_was_sent(run: Run) -> None:
    async def test() -> None:
        app = App()
        async with serving(app) as (server, connect):
            client = await connect()
            await client.send(CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-T:  v \r\n\r\n")
            assert (await client.response())[2] == b"abcde"
            [taped] = app.exchanges
            assert taped.trailers == [(b"x-t", b"v")]
            assert taped.request.peer == client.sock.getsockname()
            assert taped.request.local == ("127.0.0.1", server.port)

    run(test())


# -- order and keep-alive --


def test_pipelined_requests_wait_for_the_response_before_them(run: Run) -> None:
    async def test() -> None:
        app = App(head=lambda taped: None)
        async with serving(app) as (_, connect):
            client = await connect()
            await client.send(GET.replace(b"/ ", b"/1 ") + GET.replace(b"/ ", b"/2 "))
            await app.until(lambda app: app.exchanges)
            assert len(app.exchanges) == 1
            app.exchanges[0].writer.start(200, [])
            app.exchanges[0].writer.data([b"one"])
            app.exchanges[0].writer.end()
            assert len(app.exchanges) == 1  # not from within the application's own callback
            await app.until(lambda app: len(app.exchanges) == 2)
            assert app.exchanges[1].request.target == b"/2"
            app.exchanges[1].writer.respond(200, [], b"two")
            assert b"3\r\none\r\n0\r\n\r\n" in await client.read_until(b"0\r\n\r\n")
            assert (await client.response())[2] == b"two"

    run(test())


def test_what_is_pipelined_within_the_limit_waits() -> None:
    app = App(head=lambda taped: None)
    connection, wire, clock = wired(app)
    connection.data_received(GET + b"a" * 60_000)
    app.exchanges[0].writer.respond(200, [], b"")
    clock.turn()
    assert statuses(wire.sent) == [200, 414]


@pytest.mark.parametrize("begun", [False, True])
def test_when_too_much_is_pipelined_none_of_it_is_served(begun: bool) -> None:
    app = App(head=lambda taped: None)
    connection, wire, clock = wired(app)
    connection.data_received(GET + GET * 2000)
    writer = app.exchanges[0].writer
    if begun:
        writer.start(200, [])
    for _ in range(100):
        connection.data_received(GET * 2000)
        assert wire.reading
    assert not connection._buffer
    if begun:
        writer.data([b"x"])
        writer.end()
    else:
        writer.respond(200, [], b"x")
    clock.turn()
    connection.data_received(GET)
    assert statuses(wire.sent) == [200]
    assert (b"\r\nConnection: close\r\n" in wire.sent) is not begun
    assert wire.eof  # and reads on for a while: a reset would take the answer away
    assert len(app.exchanges) == 1


def test_a_client_that_reads_nothing_is_read_no_further_between_its_requests() -> None:
    app = App()
    connection, wire, _ = wired(app)
    connection.pause_writing()
    connection.data_received(GET * 3000)
    assert not wire.reading
    connection.resume_writing()
    assert wire.reading
    assert len(app.exchanges) == 3000


def test_pipelined_answers_leave_in_one_write() -> None:
    connection, wire, _ = wired(App())
    connection.data_received(COUNTED + b"hello" + GET * 3)
    assert len(wire.writes) == 1
    assert statuses(wire.sent) == [200] * 4


def test_a_client_that_reads_nothing_has_no_further_request_served() -> None:
    app = App()
    connection, wire, _ = wired(app)
    connection.pause_writing()
    connection.data_received(GET + GET)
    assert not app.exchanges
    connection.resume_writing()
    assert len(app.exchanges) == 2
    assert statuses(wire.sent) == [200, 200]


def test_unbounded_answers_to_pipelined_requests_stop_at_the_high_water_mark() -> None:
    app = App(head=lambda taped: taped.writer.respond(200, [], b"x" * 40_000))
    connection, wire, _ = wired(app)
    write = wire.write

    def filling(data: Any) -> None:
        write(data)
        connection.pause_writing()

    wire.write = filling  # type: ignore[method-assign]
    connection.data_received(GET * 50)
    assert len(app.exchanges) == 2


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_connection_is_used_again_after_a_complete_stream(run: Run, version: str) -> None:
    async def test() -> None:
        def stream(taped: Taped) -> None:
            taped.writer.start(200, [])
            taped.writer.data([b"x"])
            taped.writer.end()

        async with serving(App(end=stream)) as (_, connect):
            client = await connect()
            for _ in range(3 if version == "1.1" else 1):
                await client.send(f"GET / HTTP/{version}\r\nHost: a\r\n\r\n".encode())
                await client.read_until(b"x" if version == "1.0" else b"0\r\n\r\n")
            if version == "1.0":
                assert await client.rest() == b""

    run(test())


# -- request bodies --


def test_continue_is_sent_once_the_application_wants_the_body(run: Run) -> None:
    async def test() -> None:
        async with serving(App()) as (_, connect):
            client = await connect()
            await client.send(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            assert await client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send(b"hello")
            assert (await client.response())[2] == b"hello"

    run(test())


def test_no_continue_when_the_response_has_begun(run: Run) -> None:
    async def test() -> None:
        app = App(head=lambda taped: taped.writer.respond(413, [], b"no"))
        async with serving(app) as (_, connect):
            client = await connect()
            await client.send(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            status, fields, _ = await client.response()
            # The client may send the body or not, so what follows could not be told from it.
            assert (status, fields[b"connection"]) == (413, b"close")
            assert await client.rest() == b""

    run(test())


def test_no_continue_into_a_stream_that_has_begun() -> None:
    connection, wire, clock = wired(App(head=lambda taped: taped.writer.start(200, [])))
    connection.data_received(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    clock.turn()
    assert statuses(wire.sent) == [200]


def test_early_answer_to_a_small_body_keeps_the_connection() -> None:
    app = App(head=lambda taped: taped.writer.respond(404, [], b""))
    connection, wire, _ = wired(app)
    connection.data_received(COUNTED + b"he")
    connection.data_received(b"llo" + GET)
    assert statuses(wire.sent) == [404, 404]
    assert b"close" not in wire.sent
    assert [taped.body for taped in app.exchanges] == [b"", b""]
    assert [taped.losses for taped in app.exchanges] == [0, 0]


def test_early_answer_to_a_large_body_reaches_the_client(run: Run) -> None:
    async def test() -> None:
        app = App(head=lambda taped: taped.writer.respond(413, [], b"too large"))
        async with serving(app, linger_limit=10**9) as (server, connect):
            client = await connect()
            await client.send(CHUNKED)
            # The client reads only after it has sent what it has: with a RST the answer would be lost.
            for _ in range(50):
                await client.send(b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n")
            status, fields, body = await client.response()
            assert (status, fields[b"connection"], body) == (413, b"close", b"too large")
            assert await client.rest() == b""
            client.close()
            await server.wait_closed()
        assert app.exchanges[0].losses == 0

    run(test())


def test_answer_within_the_last_piece_of_the_body_keeps_the_connection() -> None:
    app = App(data=lambda taped: taped.writer.respond(200, [], taped.body))
    connection, wire, _ = wired(app)
    connection.data_received(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + GET)
    assert statuses(wire.sent) == [200]
    assert b"close" not in wire.sent
    assert app.exchanges[0].trailers is None  # nothing is called after the response has ended


def test_echo_starts_before_the_body_is_complete_and_the_connection_lives_on() -> None:
    app = App(
        head=lambda taped: taped.writer.start(200, []),
        data=lambda taped: taped.writer.data([taped.body]),
        end=lambda taped: taped.writer.end(),
    )
    connection, wire, clock = wired(app, stamp=False)
    connection.data_received(COUNTED)
    clock.turn()
    connection.data_received(b"hello" + GET)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert wire.sent == head + b"5\r\nhello\r\n0\r\n\r\n" + head + b"0\r\n\r\n"


def test_broken_body_after_the_response_began_breaks_it() -> None:
    app = App(head=lambda taped: taped.writer.start(200, []))
    connection, wire, _ = wired(app)
    connection.data_received(CHUNKED + b"zz\r\n")
    assert statuses(wire.sent) == [200]
    assert not wire.sent.endswith(b"0\r\n\r\n")
    assert wire.eof
    assert app.exchanges[0].losses == 1


def test_application_holds_the_body_back(run: Run) -> None:
    async def test() -> None:
        app = App(head=lambda taped: taped.writer.pause_reading())
        async with serving(app) as (_, connect):
            client = await connect()
            await client.send(CHUNKED)
            await app.until(lambda app: app.exchanges)
            taped = app.exchanges[0]
            size = 8 << 20  # more than the sockets hold
            sending = asyncio.ensure_future(client.send(b"%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n"))
            done, _ = await asyncio.wait([sending], timeout=0.05)
            assert not done
            assert len(taped.body) < size
            app.on["end"] = lambda taped: taped.writer.respond(200, [], b"%d" % len(taped.body))
            taped.writer.resume_reading()
            assert (await client.response())[2] == b"%d" % size
            await sending

    run(test())


def test_slow_reader_pauses_the_application(run: Run) -> None:
    async def test() -> None:
        app = App(end=lambda taped: taped.writer.start(200, []))
        async with serving(app) as (_, connect):
            client = await connect()
            await client.send(GET)
            await app.until(lambda app: app.exchanges and app.exchanges[0].trailers is not None)
            taped = app.exchanges[0]
            sent = 0
            while not taped.paused:
                taped.writer.data([b"x" * 65536])
                sent += 65536
                await asyncio.sleep(0)
            assert taped.writer.bytes_sent == sent
            assert not taped.resumed
            reading = asyncio.ensure_future(client.read_until(b"0\r\n\r\n"))
            await app.until(lambda app: taped.resumed)
            taped.writer.end()
            assert (await reading).count(b"x") == sent
            assert (taped.paused, taped.resumed) == (1, 1)

    run(test())


def test_an_application_is_told_of_pressure_that_came_before_it_returned() -> None:
    def much(taped: Taped) -> None:
        taped.writer.start(200, [])
        taped.writer.data([b"x" * 100_000])

    app = App(head=much)
    connection, wire, _ = wired(app)
    write = wire.write

    def filling(data: Any) -> None:
        write(data)
        connection.pause_writing()

    wire.write = filling  # type: ignore[method-assign]
    connection.data_received(GET)
    assert (app.exchanges[0].paused, app.exchanges[0].resumed) == (1, 0)
    connection.resume_writing()
    assert (app.exchanges[0].paused, app.exchanges[0].resumed) == (1, 1)


# -- clients that leave --


@pytest.mark.parametrize(
    ("sent", "event"),
    [(GET, "end"), (COUNTED + b"he", "data"), (CHUNKED, "head")],
    ids=["waiting", "counted", "chunked"],
)
@pytest.mark.parametrize("leave", [Client.close, Client.half_close], ids=["close", "half-close"])
def test_a_client_that_leaves_is_lost_once(
    run: Run, sent: bytes, event: str, leave: Callable[[Client], None]
) -> None:
    async def test() -> None:
        reached = asyncio.Event()
        app = App(**{event: lambda taped: reached.set()})
        async with serving(app) as (server, connect):
            client = await connect()
            await client.send(sent)
            await reached.wait()
            leave(client)
            await app.until(lambda app: app.exchanges[0].losses)
            await server.wait_closed()
            writer = app.exchanges[0].writer
            assert writer.ended
            writer.start(200, [])  # and everything else does nothing
            writer.data([b"x"])
            writer.end()
            writer.respond(200, [], b"")
            writer.abort()
            writer.pause_reading()
            writer.resume_reading()
        assert app.exchanges[0].losses == 1

    run(test())


def test_a_client_that_leaves_a_stream_is_lost_once(run: Run) -> None:
    async def test() -> None:
        app = App(end=lambda taped: taped.writer.start(200, []))
        async with serving(app) as (server, connect):
            client = await connect()
            await client.send(GET)
            await client.read_until(b"\r\n\r\n")
            client.close()
            await app.until(lambda app: app.exchanges[0].losses)
            for _ in range(20):
                app.exchanges[0].writer.data([b"x" * 65536])
            await server.wait_closed()
        assert app.exchanges[0].losses == 1

    run(test())


def test_the_application_learns_of_an_end_of_file_at_once() -> None:
    app = App(head=lambda taped: None)
    connection, wire, _ = wired(app)
    connection.data_received(GET)
    connection.eof_received()
    assert app.exchanges[0].losses == 1
    assert wire.closed == "close"


@pytest.mark.parametrize("leave", [Client.close, Client.half_close], ids=["close", "half-close"])
def test_a_client_that_leaves_is_noticed_behind_all_it_pipelined(
    run: Run, leave: Callable[[Client], None]
) -> None:
    async def test() -> None:
        app = App(head=lambda taped: None)
        async with serving(app) as (server, connect):
            client = await connect()
            await client.send(GET * 100_000)
            leave(client)
            await app.until(lambda app: app.exchanges and app.exchanges[0].losses)
            await server.wait_closed()
        assert len(app.exchanges) == 1

    run(test())


def test_what_came_before_the_end_of_file_is_served(run: Run) -> None:
    async def test() -> None:
        async with serving(App()) as (_, connect):
            client = await connect()
            await client.send(COUNTED + b"hello")
            client.half_close()
            assert (await client.rest()).endswith(b"\r\n\r\nhello")

    run(test())


@pytest.mark.parametrize("sent", [b"", b"GET / HT", GET], ids=["nothing", "a piece", "a request"])
def test_end_of_file_between_requests_closes_quietly(run: Run, sent: bytes) -> None:
    async def test() -> None:
        app = App()
        async with serving(app) as (server, connect):
            client = await connect()
            await client.send(sent)
            if sent == GET:
                await client.response()
            client.half_close()
            assert await client.rest() == b""
            await server.wait_closed()
        assert all(taped.losses == 0 for taped in app.exchanges)

    run(test())


# -- applications that fail --


def failing(taped: Taped) -> None:
    raise LookupError("oops")


@pytest.mark.parametrize("event", ["head", "data", "end"])
def test_an_exception_is_500_and_reported(run: Run, event: str) -> None:
    async def test() -> None:
        app = App(**{event: failing})
        async with serving(app) as (_, connect):
            client = await connect()
            await client.send(COUNTED + b"hello")
            status, fields, body = await client.response()
            assert (status, body) == (500, b'{"message": "Internal server error."}')
            assert fields[b"connection"] == b"close"
            assert await client.rest() == b""
        assert [str(error) for error in app.errors] == ["oops"]
        assert app.exchanges[0].losses == (event != "head")  # there is no exchange before it is returned

    run(test())


@pytest.mark.parametrize("event", ["pause", "resume"])
def test_an_exception_in_flow_control_breaks_the_response(event: str) -> None:
    app = App(**{"head": lambda taped: taped.writer.start(200, []), event: failing})
    connection, wire, _ = wired(app)
    connection.data_received(GET)
    connection.pause_writing()
    connection.resume_writing()
    assert len(app.errors) == 1
    assert wire.closed == "close"
    assert app.exchanges[0].losses == 1


def test_an_exception_after_the_response_began_breaks_it() -> None:
    def half(taped: Taped) -> None:
        taped.writer.start(200, [])
        taped.writer.data([b"x"])
        failing(taped)

    app = App(end=half)
    connection, wire, _ = wired(app)
    connection.data_received(GET)
    assert wire.sent.endswith(b"1\r\nx\r\n")
    assert wire.closed == "close"
    assert len(app.errors) == 1


def test_an_exception_after_the_response_ended_closes_the_connection() -> None:
    def late(taped: Taped) -> None:
        taped.writer.respond(200, [], b"")
        failing(taped)

    app = App(end=late)
    connection, wire, _ = wired(app)
    connection.data_received(GET * 2)
    assert statuses(wire.sent) == [200]
    assert wire.eof


def test_an_exception_in_lost_is_reported() -> None:
    app = App(lost=failing)
    connection, _, _ = wired(app)
    connection.data_received(GET)
    connection.connection_lost(None)
    assert len(app.errors) == 1
    assert app.exchanges[0].losses == 1


# -- times --


def test_a_head_has_ten_seconds_from_its_first_byte() -> None:
    connection, wire, clock = wired(App())
    clock.move(9)
    connection.data_received(b"GET / HTTP")
    clock.move(9)
    connection.data_received(b"/1.1\r\n")
    assert not wire.sent
    clock.move(2.5)
    assert statuses(wire.sent) == [408]
    assert wire.eof


def test_a_connection_without_a_byte_closes_quietly() -> None:
    _, wire, clock = wired(App())
    clock.move(9)
    assert not wire.closed
    clock.move(2.5)
    assert (wire.closed, wire.sent) == ("close", b"")


def test_an_idle_connection_closes_quietly() -> None:
    connection, wire, clock = wired(App())
    connection.data_received(GET)
    clock.move(70)
    connection.data_received(GET)
    clock.move(74)
    assert not wire.closed
    clock.move(2.5)
    assert statuses(wire.sent) == [200, 200]
    assert wire.closed == "close"


def test_a_body_that_stops_coming_is_408_and_lost() -> None:
    app = App()
    connection, wire, clock = wired(app)
    connection.data_received(CHUNKED)
    clock.move(29)
    connection.data_received(b"5\r\nhe")
    clock.move(29)
    assert not wire.sent
    clock.move(2.5)
    assert statuses(wire.sent) == [408]
    assert app.exchanges[0].losses == 1


def test_a_drained_body_that_stops_coming_closes_without_a_second_answer() -> None:
    connection, wire, clock = wired(App(head=lambda taped: taped.writer.respond(404, [], b"")))
    connection.data_received(COUNTED)
    clock.move(32)
    assert statuses(wire.sent) == [404]
    assert wire.closed == "close"


def test_the_body_has_all_time_while_the_application_holds_it_back() -> None:
    app = App(head=lambda taped: taped.writer.pause_reading())
    connection, wire, clock = wired(app)
    connection.data_received(CHUNKED + b"5\r\nhe")
    assert not wire.reading
    clock.move(1000)
    app.exchanges[0].writer.resume_reading()
    assert wire.reading
    clock.move(29)
    assert not wire.sent
    clock.move(2.5)
    assert statuses(wire.sent) == [408]


def test_the_application_has_all_time_for_its_response() -> None:
    app = App(head=lambda taped: None)
    connection, wire, clock = wired(app)
    for sent in (GET, COUNTED + b"hello", CHUNKED + b"0\r\n\r\n"):
        connection.data_received(sent)
        clock.move(10_000)
        assert not wire.closed
        app.exchanges[-1].writer.respond(200, [], b"")
    assert statuses(wire.sent) == [200] * 3


def test_no_times() -> None:
    connection, wire, clock = wired(App(), head_timeout=None, idle_timeout=None, body_timeout=None)
    clock.move(1000)
    connection.data_received(COUNTED)
    clock.move(1000)
    connection.data_received(b"hello")
    clock.move(1000)
    assert statuses(wire.sent) == [200]
    assert not wire.closed


# -- anything at all --

PIECES = st.sampled_from(
    [
        GET,
        COUNTED,
        CHUNKED,
        b"hello",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"GET / HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: close\r\n",
        b"HTTP/1.0\r\n",
        b"\r\n",
        b"\n",
        b"\x00",
        b": ",
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    pieces=st.lists(PIECES | st.binary(max_size=8), max_size=12),
    cut=st.integers(1, 40),
    mode=st.integers(0, 3),
)
def test_random_bytes_never_raise_and_always_end(pieces: list[bytes], cut: int, mode: int) -> None:
    def early(taped: Taped) -> None:
        taped.writer.respond(200, [], b"early")

    def stream(taped: Taped) -> None:
        taped.writer.start(200, [])

    def echo(taped: Taped) -> None:
        taped.writer.data([taped.body])

    def finish(taped: Taped) -> None:
        taped.writer.end()

    def broken(taped: Taped) -> None:
        taped.writer.abort()

    modes: list[dict[str, Callable[[Taped], None]]] = [
        {},
        {"head": early},
        {"head": stream, "data": echo, "end": finish},
        {"head": stream, "data": broken, "end": finish},
    ]
    app = App(**modes[mode])
    connection, wire, clock = wired(app)
    data = b"".join(pieces)
    for index in range(0, len(data), cut):
        connection.data_received(data[index : index + cut])
        clock.turn()
    connection.eof_received()
    clock.move(40)  # flushes and lingers
    assert wire.closed
    connection.connection_lost(None)
    clock.turn()
    assert not app.errors
    assert all(taped.losses <= 1 for taped in app.exchanges)
    assert all(taped.writer.ended for taped in app.exchanges)
    assert all(100 <= status < 600 and status != 500 for status in statuses(wire.sent))


def test_random_bytes_over_a_socket_always_end(run: Run) -> None:
    @settings(max_examples=25, deadline=None)
    @given(st.lists(PIECES | st.binary(max_size=40), max_size=8))
    def collected(pieces: list[bytes]) -> None:
        samples.append(b"".join(pieces))

    samples: list[bytes] = []
    collected()

    async def test() -> None:
        app = App()
        async with serving(app) as (server, connect):
            for sample in samples:
                client = await connect()
                await client.send(sample)
                client.half_close()
                await client.rest()
            await server.wait_closed()
        assert not app.errors

    run(test())


def test_what_is_refused_without_the_application_is_told():
    told = []
    connection, wire, _ = wired(App(), on_refused=lambda status, message: told.append((status, message)))
    connection.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert wire.sent.startswith(b"HTTP/1.1 400 ")
    (refused,) = told
    assert refused[0] == 400
    assert "Host" in refused[1]


class Cut(Taped):
    """Is told when a request body breaks off; answers that if it is to."""

    def request_cut(self) -> None:
        self.app.told("cut", self)


class CutApp(App):
    def __call__(self, request: Any, writer: Any) -> Taped:
        cut = Cut(self, request, writer)
        self.exchanges.append(cut)
        return cut


BREAKS = {
    "chunks end": (CHUNKED + b"5\r\nhel", True),
    "counted ends": (COUNTED + b"hel", True),
    "malformed": (CHUNKED + b"5\r\nhelloXX", False),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_body_that_breaks_off_can_be_answered(how: str) -> None:
    app = CutApp(cut=lambda taped: taped.writer.respond(400, [], b"cut"))
    connection, wire, _ = wired(app)
    data, ends = BREAKS[how]
    connection.data_received(data)
    if ends:
        connection.eof_received()
    assert wire.sent.startswith(b"HTTP/1.1 400 ")
    assert wire.sent.endswith(b"\r\n\r\ncut")
    assert b"Connection: close\r\n" in wire.sent
    connection.connection_lost(None)
    (taped,) = app.exchanges
    assert (taped.losses, taped.trailers, app.errors) == (0, None, [])


@pytest.mark.parametrize("how", BREAKS)
def test_a_body_that_breaks_off_and_is_not_answered(how: str) -> None:
    told: list[str] = []
    app = CutApp(cut=lambda taped: told.append("cut"), lost=lambda taped: told.append("lost"))
    connection, wire, _ = wired(app)
    data, ends = BREAKS[how]
    connection.data_received(data)
    if ends:
        connection.eof_received()
    assert told == ["cut", "lost"]
    assert (wire.sent == b"") is ends  # what is malformed is refused by the server itself


def test_a_body_that_breaks_off_when_its_answer_has_begun() -> None:
    app = CutApp(
        data=lambda taped: taped.writer.started or taped.writer.start(200, []),
        cut=lambda taped: pytest.fail("it can be answered no more"),
    )
    connection, _, _ = wired(app)
    connection.data_received(CHUNKED + b"5\r\nhello\r\n")
    connection.eof_received()
    assert [taped.losses for taped in app.exchanges] == [1]
    assert app.errors == []


def test_an_answer_leaves_with_the_next_one_where_that_is_wanted() -> None:
    app = App(
        head=lambda taped: taped.writer.respond(200, [], b"1") if taped.request.target == b"/1" else None
    )
    connection, wire, _ = wired(app, answer_with_next=True)
    first = GET.replace(b"/ ", b"/1 ")
    connection.data_received(first)
    assert len(wire.writes) == 1  # nothing else was asked for
    connection.data_received(first + GET)
    assert len(wire.writes) == 1
    app.exchanges[-1].writer.respond(200, [], b"2")
    assert len(wire.writes) == 2
    assert statuses(wire.sent) == [200, 200, 200]


def test_an_answer_that_waits_for_the_next_is_not_lost_with_it() -> None:
    app = App(
        head=lambda taped: taped.writer.respond(200, [], b"1") if taped.request.target == b"/1" else None
    )
    connection, wire, _ = wired(app, answer_with_next=True)
    connection.data_received(GET.replace(b"/ ", b"/1 ") + GET)
    assert not wire.writes
    connection.eof_received()
    assert statuses(wire.sent) == [200]
