"""Broken transfers, as clients on real sockets see them."""

import asyncio
import http.client
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from http_kit import App, Taped, serving

Run = Callable[[Coroutine[Any, Any, None]], None]
PAYLOAD = b"x" * 12_000_000  # more than the sockets take at once


def breaking(length: int | None = None) -> Callable[[Taped], None]:
    def answer(taped: Taped) -> None:
        taped.writer.start(200, [], length=length)
        taped.writer.data([PAYLOAD])
        taped.writer.abort()

    return answer


def read_whole(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


@pytest.mark.parametrize("length", [None, 10**8], ids=["chunked", "counted"])
def test_broken_body_is_incomplete_and_what_was_written_arrives(run: Run, length: int | None) -> None:
    async def test() -> None:
        async with serving(App(end=breaking(length))) as (server, _):
            with pytest.raises(http.client.IncompleteRead) as incomplete:
                await asyncio.to_thread(read_whole, server.port)
            assert incomplete.value.partial == PAYLOAD

    run(test())


def test_broken_body_without_framing_is_reset_after_all_of_it_arrived(run: Run) -> None:
    async def test() -> None:
        async with serving(App(end=breaking())) as (_, connect):
            client = await connect()
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            received = await client.until_reset()
            assert received.partition(b"\r\n\r\n")[2] == PAYLOAD

    run(test())


def test_whole_body_without_framing_ends_cleanly(run: Run) -> None:
    def answer(taped: Taped) -> None:
        taped.writer.start(200, [])
        taped.writer.data([PAYLOAD])
        taped.writer.end()

    async def test() -> None:
        async with serving(App(end=answer)) as (_, connect):
            client = await connect()
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.rest()).partition(b"\r\n\r\n")[2] == PAYLOAD

    run(test())


def test_a_broken_connection_takes_no_further_request(run: Run) -> None:
    async def test() -> None:
        app = App(end=breaking())
        async with serving(app) as (_, connect):
            client = await connect()
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
            await client.rest()
        assert len(app.exchanges) == 1

    run(test())


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_client_that_reads_nothing_is_reset_in_the_end(run: Run, version: str) -> None:
    def answer(taped: Taped) -> None:
        taped.writer.start(200, [])
        for _ in range(3):
            taped.writer.data([PAYLOAD])
        taped.writer.abort()

    async def test() -> None:
        app = App(end=answer)
        async with serving(app, flush_timeout=0.05, tick=0.01) as (server, connect):
            client = await connect()
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await client.send(f"GET / HTTP/{version}\r\nHost: a\r\n\r\n".encode())
            await app.until(lambda app: app.exchanges)
            await server.wait_closed()
            await client.until_reset()

    run(test())
