"""How runtimes reach the Runtime API: handed-out connections, and a port of one's own."""

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from http_kit import Client
from penstock.http.exchange import Exchange
from penstock.http.request import Request
from penstock.http.writer import Writer
from penstock.service import connections as module
from penstock.service.connections import Dialled, Listening

Run = Callable[[Coroutine[Any, Any, None]], None]
GET = b"GET /a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
UPLOAD = b"POST /b HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"


class Api:
    """An application that keeps what it was asked, and answers it."""

    def __init__(self) -> None:
        self.writers: list[Writer] = []
        self.body = b""
        self.losses = 0
        self.changed = asyncio.Event()

    def __call__(self, request: Request, writer: Writer) -> Exchange:
        api = self

        class Asked(Exchange):
            def request_data(self, slices: list[memoryview]) -> None:
                api.body += b"".join(slices)
                api.changed.set()

            def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
                writer.respond(200, [], request.target)

        self.writers.append(writer)
        return Asked()

    def lost(self) -> None:
        self.losses += 1
        self.changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()


def taken(dialled: Dialled) -> Client:
    """The connection that the runtime finds at its dial."""
    assert dialled.theirs is not None
    _, fds, _, _ = socket.recv_fds(dialled.theirs, 1, 1)
    sock = socket.socket(fileno=fds[0])
    sock.setblocking(False)
    return Client(sock)


async def connected(listening: Listening) -> Client:
    host, port = listening.address.split(":")
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    return Client(sock)


# Dialled.


def test_a_connection_is_handed_out_at_once(run: Run) -> None:
    async def test() -> None:
        api = Api()
        dialled = Dialled(api, api.lost)
        client = taken(dialled)
        await client.send(GET)
        assert (await client.response())[2] == b"/a"
        assert (dialled.open, dialled.address) == (True, "fd:3")
        client.close()
        await api.until(lambda: api.losses)
        assert not dialled.open
        dialled.close()

    run(test())


def test_hanging_up_shuts_it_and_hands_out_another(run: Run) -> None:
    async def test() -> None:
        api = Api()
        dialled = Dialled(api, api.lost)
        first = taken(dialled)
        await first.send(UPLOAD)
        await api.until(lambda: api.body)
        dialled.hang_up(api.writers[0])
        assert await first.rest() == b""
        with pytest.raises(BrokenPipeError):
            await first.send(b"3\r\nabc\r\n")
        second = taken(dialled)
        await second.send(GET)
        assert (await second.response())[0] == 200
        assert api.losses == 0
        first.close()
        second.close()
        await api.until(lambda: api.losses)
        dialled.close()

    run(test())


def test_hanging_up_before_it_was_served(run: Run) -> None:
    async def test() -> None:
        api = Api()
        dialled = Dialled(api, api.lost)
        dialled.hang_up(None)
        first, second = taken(dialled), taken(dialled)
        assert await first.rest() == b""
        await second.send(GET)
        assert (await second.response())[0] == 200
        first.close()
        second.close()
        dialled.close()

    run(test())


def test_without_descriptors_nothing_is_held(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        api = Api()
        real, made = socket.socketpair, 0

        def few() -> Any:
            nonlocal made
            made += 1
            if made == 2:
                raise OSError(errno.EMFILE, "Too many open files")
            return real()

        monkeypatch.setattr(module.socket, "socketpair", few)
        with pytest.raises(OSError, match="Too many open files"):
            Dialled(api, api.lost)

    run(test())  # a socket left open is a warning, and warnings are errors


# Listening.


def test_several_connections_at_once(run: Run) -> None:
    async def test() -> None:
        api = Api()
        listening = Listening(api, api.lost)
        assert listening.address.startswith("127.0.0.1:")
        clients = [await connected(listening) for _ in range(3)]
        for client in clients:
            await client.send(GET)
        assert [(await client.response())[0] for client in clients] == [200] * 3
        clients[0].close()
        await api.until(lambda: api.losses)
        assert listening.open
        for client in clients:
            client.close()
        await api.until(lambda: api.losses == 3)
        assert not listening.open
        listening.close()

    run(test())


def test_dropping_one_that_the_runtime_has_reset(run: Run) -> None:
    async def test() -> None:
        api = Api()
        listening = Listening(api, api.lost)
        reset, other = await connected(listening), await connected(listening)
        for client in (reset, other):
            await client.send(UPLOAD)
        await api.until(lambda: len(api.writers) == 2)
        reset.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reset.close()
        listening.drop()  # before the event loop has noticed
        assert await other.rest() == b""
        other.close()
        listening.close()

    run(test())


def test_a_runtime_has_so_many_connections_at_most(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr(module, "_MOST", 2)
        api = Api()
        listening = Listening(api, api.lost)
        clients = [await connected(listening) for _ in range(2)]
        refused = await connected(listening)
        assert await refused.rest() == b""
        clients.pop().close()
        await api.until(lambda: api.losses)
        clients.append(await connected(listening))
        for client in clients:
            await client.send(GET)
            assert (await client.response())[0] == 200
        for client in (*clients, refused):
            client.close()
        await api.until(lambda: not listening.open)
        listening.close()

    run(test())


def test_hanging_up_breaks_off_the_response_alone(run: Run) -> None:
    async def test() -> None:
        api = Api()
        listening = Listening(api, api.lost)
        answering, other = await connected(listening), await connected(listening)
        await answering.send(UPLOAD)
        await api.until(lambda: api.body)
        listening.hang_up(api.writers[0])
        assert await answering.rest() == b""
        with pytest.raises(ConnectionError):
            await write_forever(answering)
        await other.send(GET)
        assert (await other.response())[0] == 200
        listening.hang_up(None)  # it has not begun to answer: nothing to break off
        answering.close()
        other.close()
        await api.until(lambda: not listening.open)
        listening.close()

    async def write_forever(client: Client) -> None:
        while True:
            await client.send(b"3\r\nabc\r\n")
            await asyncio.sleep(0)

    run(test())


def test_what_an_ended_process_had_connected_is_still_read(run: Run) -> None:
    async def test() -> None:
        api = Api()
        listening = Listening(api, api.lost)
        host, port = listening.address.split(":")
        with socket.create_connection((host, int(port))) as sock:  # the loop has not turned since
            sock.sendall(UPLOAD)
        listening.ended()
        assert listening.open
        await api.until(lambda: not listening.open)
        assert api.body == b"abc"
        with pytest.raises(ConnectionRefusedError):
            await connected(listening)
        listening.close()

    run(test())


def test_closing_ends_all_of_it(run: Run) -> None:
    async def test() -> None:
        api = Api()
        listening = Listening(api, api.lost)
        client = await connected(listening)
        await client.send(GET)
        await client.response()
        listening.close()
        assert await client.rest() == b""
        assert api.losses == 0
        assert not listening.open
        client.close()

    run(test())


def test_it_goes_on_when_there_are_descriptors_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        api = Api()
        monkeypatch.setattr(module, "_PAUSE", 0.01)
        listening = Listening(api, api.lost)
        real, refused = socket.socket.accept, 0

        def accept(self: socket.socket) -> Any:
            nonlocal refused
            refused += 1
            if refused == 1:
                raise OSError(errno.EMFILE, "Too many open files")
            return real(self)

        monkeypatch.setattr(socket.socket, "accept", accept)
        client = await connected(listening)
        await client.send(GET)
        assert (await client.response())[0] == 200
        assert refused > 1
        client.close()
        await api.until(lambda: not listening.open)
        listening.close()

    run(test())


@pytest.mark.parametrize(
    "header", [b"Origin: http://evil.example", b"Sec-Fetch-Site: cross-site", b"Host: evil.example"]
)
def test_no_web_page_gets_at_it(run: Run, header: bytes) -> None:
    async def test() -> None:
        api = Api()
        listening = Listening(api, api.lost)
        client = await connected(listening)
        host = b"" if header.startswith(b"Host") else b"Host: 127.0.0.1\r\n"
        await client.send(b"GET /a HTTP/1.1\r\n" + host + header + b"\r\n\r\n")
        status, _, body = await client.response()
        assert status == 403
        assert b'"errorType": "Forbidden"' in body
        assert api.writers == []
        client.close()
        await api.until(lambda: not listening.open)
        listening.close()

    run(test())
