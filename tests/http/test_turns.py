"""One request begins in a turn of the loop; the others wait, and nobody is forgotten."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from http_kit import GET, App, Clock, Taped, Wire, serving
from penstock.http import Connection, turns
from penstock.http.timers import Timers
from penstock.http.turns import PATIENCE, Turns

Run = Callable[[Coroutine[Any, Any, None]], None]


class One:
    """Begins what takes 20 ms; or nothing, if it does not want to any more."""

    def __init__(self, loop: Clock, shared: Turns, begun: list[str], name: str) -> None:
        self.loop = loop
        self.turns = shared
        self.begun = begun
        self.name = name
        self.wants = True

    def resume(self) -> None:
        if self.wants and self.turns.take(self):
            self.begun.append(self.name)
            self.loop.now += 0.02


def some_of(names: str) -> tuple[Clock, Turns, list[str], list[One]]:
    loop, begun = Clock(), list[str]()
    shared = Turns(loop)  # type: ignore[arg-type]
    return loop, shared, begun, [One(loop, shared, begun, name) for name in names]


def test_one_in_a_turn_and_in_their_order() -> None:
    loop, _, begun, (a, b, c, d, e) = some_of("abcde")
    for one in (a, b, c):
        one.resume()
    assert begun == ["a"]
    loop.turn()
    d.resume()  # comes after those that wait
    assert begun == ["a", "b"]
    for _ in range(3):
        loop.turn()
    assert begun == ["a", "b", "c", "d"]
    assert loop.soon == []  # nothing turns when nobody waits
    e.resume()
    assert begun == ["a", "b", "c", "d", "e"]


def test_who_has_waited_too_long_begins_in_a_turn_of_another_s() -> None:
    loop, _, begun, (a, b, c, d, e) = some_of("abcde")
    for one in (a, b, c, d):
        one.resume()
    loop.now += PATIENCE - 0.01
    e.resume()
    loop.now += 0.02
    loop.turn()
    assert begun == ["a", "b", "c", "d"]  # and `e` has not
    loop.turn()
    assert begun == ["a", "b", "c", "d", "e"]
    assert loop.soon != []
    loop.turn()
    assert loop.soon == []


def test_who_waits_and_who_has_left() -> None:
    loop, shared, begun, (first, gone, idle, last) = some_of("abcd")
    for one in (first, gone, gone, idle, last):
        one.resume()
    assert [shared.awaited_by(one) for one in (first, gone, idle, last)] == [False, True, True, True]
    assert shared.leave(gone)
    assert not shared.leave(gone)
    idle.wants = False  # costs no turn
    loop.turn()
    assert begun == ["a", "d"]


class Connections:
    """Some, on wires; the first of them begins a request, for the others it is not their turn."""

    def __init__(self, app: App, count: int = 3) -> None:
        self.loop = Clock()
        self.app = app
        timers = Timers(self.loop, 1.0)  # type: ignore[arg-type]
        shared = Turns(self.loop)  # type: ignore[arg-type]
        self.all = [Connection(app, app.config(), timers, turns=shared) for _ in range(count)]
        self.wires = [Wire() for _ in self.all]
        for connection, wire in zip(self.all, self.wires, strict=True):
            connection.connection_made(wire)
            connection.data_received(GET)

    def answered(self) -> list[bool]:
        return [b"".join(wire.writes).startswith(b"HTTP/1.1 200") for wire in self.wires]


def test_requests_that_come_at_once_are_begun_one_after_another() -> None:
    some = Connections(App())
    assert some.answered() == [True, False, False]
    some.loop.turn()
    assert some.answered() == [True, True, False]
    some.loop.turn()
    assert some.answered() == [True, True, True]


def test_a_request_that_waits_is_not_one_that_did_not_come() -> None:
    some = Connections(App())
    some.loop.move(1000)  # far beyond every timeout
    some.loop.turn()
    assert some.answered() == [True, True, True]


def test_what_comes_while_it_waits_is_for_later() -> None:
    app = App()
    some = Connections(app)
    some.all[1].data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nh")
    some.all[1].data_received(b"i")
    for _ in range(3):
        some.loop.turn()
    assert [taped.body for taped in app.exchanges] == [b"", b"", b"", b"hi"]
    assert b"".join(some.wires[1].writes).count(b"HTTP/1.1 200") == 2


def test_with_its_end_a_request_that_waits_is_begun() -> None:
    """What came before the end counts: it may be an asynchronous invocation."""
    app = App()
    some = Connections(app)
    some.all[1].eof_received()
    assert some.answered() == [True, True, False]
    some.all[1].connection_lost(None)
    some.loop.turn()
    assert some.answered() == [True, True, True]
    assert len(app.exchanges) == 3


def test_after_a_reset_nothing_is_begun() -> None:
    app = App()
    some = Connections(app)
    some.all[1].connection_lost(ConnectionResetError())
    some.loop.turn()
    assert some.answered() == [True, False, True]
    assert len(app.exchanges) == 2


@pytest.mark.parametrize("last", [False, True])
def test_a_client_that_sends_and_does_not_read_is_not_kept_for_ever(last: bool) -> None:
    app = App()
    some = Connections(app)
    waiting, wire = some.all[1], some.wires[1]
    waiting.pause_writing()
    if last:
        waiting.finish()
    some.loop.turn()
    assert some.answered() == [True, False, True]
    some.loop.move(1000)  # all its timeouts
    assert wire.closed
    assert len(app.exchanges) == 2


def test_at_the_end_it_is_answered_and_closed() -> None:
    some = Connections(App())
    for connection in some.all:
        connection.finish()
    some.loop.turn()
    some.loop.turn()
    assert some.answered() == [True, True, True]
    assert b"Connection: close" in b"".join(some.wires[2].writes)
    assert all(wire.closed or wire.eof for wire in some.wires)


def test_what_is_under_way_goes_on_between_them(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On sockets: many requests are there at once, and other sockets are looked at between them."""
    monkeypatch.setattr(turns, "PATIENCE", 60.0)  # however slow this machine
    ours, theirs = socket.socketpair()
    begun = 0  # since the other socket was looked at
    most = 0

    def begin(taped: Taped) -> None:
        nonlocal begun, most
        begun += 1
        most = max(most, begun)
        ours.send(b"x")
        taped.writer.respond(200, [], b"")

    def look() -> None:
        nonlocal begun
        theirs.recv(100)
        begun = 0

    async def test() -> None:
        asyncio.get_running_loop().add_reader(theirs, look)
        async with serving(App(end=begin)) as (_, connect):
            clients = [await connect() for _ in range(50)]
            for client in clients:
                client.sock.send(GET)
            for client in clients:
                assert (await client.response())[0] == 200

    with ours, theirs:
        run(test())
    assert most <= 2
