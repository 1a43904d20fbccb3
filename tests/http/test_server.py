"""Listening, stopping, and single connections without a listener."""

import asyncio
import gc
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from http_kit import GET, App, Client, serving
from penstock.http import Connection, Server, connect

Run = Callable[[Coroutine[Any, Any, None]], None]


async def raw_client(family: int, address: Any) -> Client:
    sock = socket.socket(family)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, address)
    return Client(sock)


def test_a_server_that_nobody_else_references_lives(run: Run) -> None:
    async def test() -> None:
        async with serving(App()) as (server, connect_client):
            gc.collect()
            client = await connect_client()
            await client.send(GET)
            assert (await client.response())[0] == 200
            assert len(server.connections) == 1
            assert server.port == client.sock.getpeername()[1]

    run(test())


def test_many_connections_at_once(run: Run) -> None:
    async def test() -> None:
        async with serving(App()) as (server, connect_client):
            clients = [await connect_client() for _ in range(200)]
            await asyncio.gather(*(client.send(GET) for client in clients))
            answers = await asyncio.gather(*(client.response() for client in clients))
            assert {status for status, _, _ in answers} == {200}
            assert len(server.connections) == 200

    run(test())


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_listens_on_a_given_socket(run: Run, tmp_path: Path, family: int) -> None:
    async def test() -> None:
        listening = socket.socket(family)
        listening.bind(("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "s"))
        address = listening.getsockname()
        app = App()
        server = await Server.start(app, sock=listening)
        client = await raw_client(family, address)
        await client.send(GET)
        assert (await client.response())[0] == 200
        request = app.exchanges[0].request
        if family == socket.AF_UNIX:
            assert (server.port, request.peer, request.local) == (0, None, None)
        else:
            assert (server.port, request.local) == (address[1], address)
        client.close()
        server.shutdown()
        await server.wait_closed()

    run(test())


def test_an_address_in_use_is_an_os_error(run: Run) -> None:
    async def test() -> None:
        async with serving(App()) as (server, _):
            with pytest.raises(OSError, match="in use"):
                await Server.start(App(), "127.0.0.1", server.port)

    run(test())


def test_close_accepts_nothing_more_and_connections_go_on(run: Run) -> None:
    async def test() -> None:
        async with serving(App()) as (server, connect_client):
            client = await connect_client()
            await client.send(GET)
            await client.response()
            server.close()
            with pytest.raises(OSError):  # noqa: PT011 - refused, or reset
                await (await connect_client()).response()
            await client.send(GET)
            assert (await client.response())[0] == 200

    run(test())


def test_shutdown_closes_the_idle_and_lets_the_busy_finish(run: Run) -> None:
    async def test() -> None:
        app = App(head=lambda taped: None)
        async with serving(app) as (server, connect_client):
            idle, waiting, streaming = [await connect_client() for _ in range(3)]
            await waiting.send(GET)
            await app.until(lambda app: len(app.exchanges) == 1)
            await streaming.send(GET)
            await app.until(lambda app: len(app.exchanges) == 2)
            first, second = app.exchanges
            second.writer.start(200, [])
            await streaming.read_until(b"\r\n\r\n")
            server.shutdown()
            assert await idle.rest() == b""

            first.writer.respond(200, [], b"done")
            status, fields, body = await waiting.response()
            assert (status, fields[b"connection"], body) == (200, b"close", b"done")
            assert await waiting.rest() == b""
            second.writer.data([b"x"])
            second.writer.end()
            assert await streaming.rest() == b"1\r\nx\r\n0\r\n\r\n"
            waiting.close()
            streaming.close()
            await server.wait_closed()
            assert (first.losses, second.losses) == (0, 0)

    run(test())


def test_shutdown_while_a_body_comes_answers_it(run: Run) -> None:
    async def test() -> None:
        app = App()
        async with serving(app) as (server, connect_client):
            client = await connect_client()
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
            await app.until(lambda app: app.exchanges)
            server.shutdown()
            await client.send(b"llo")
            status, fields, body = await client.response()
            assert (status, fields[b"connection"], body) == (200, b"close", b"hello")

    run(test())


def test_abort_all_breaks_responses_and_tells_their_exchanges(run: Run) -> None:
    async def test() -> None:
        app = App(end=lambda taped: taped.writer.start(200, []))
        async with serving(app) as (server, connect_client):
            idle, busy = await connect_client(), await connect_client()
            await busy.send(GET)
            await busy.read_until(b"\r\n\r\n")
            server.close()
            server.abort_all()
            assert await busy.rest() == b""  # no last chunk
            assert await idle.rest() == b""
            await server.wait_closed()
            assert app.exchanges[0].losses == 1

    run(test())


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_one_connected_socket(run: Run, family: int) -> None:
    async def test() -> None:
        ours, theirs = socket.socketpair() if family == socket.AF_UNIX else _tcp_pair()
        theirs.setblocking(False)
        closed: list[Connection] = []
        gone = asyncio.Event()

        def on_close(connection: Connection) -> None:
            closed.append(connection)
            gone.set()

        app = App()
        connection = await connect(app, ours, config=app.config(stamp=False), on_close=on_close)
        client = Client(theirs)
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + GET)
        assert await client.response() == (200, {b"content-length": b"5"}, b"hello")
        assert await client.response() == (200, {b"content-length": b"0"}, b"")
        client.close()
        await gone.wait()
        assert closed == [connection]

    run(test())


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = socket.create_connection(listening.getsockname())
        return one, listening.accept()[0]
