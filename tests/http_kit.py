"""What the tests of penstock.http share: a recording application, a raw client, a wire without a socket."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import uvloop

from penstock.http import Config, Connection, Exchange, Request, Server, Writer
from penstock.http.timers import Timers

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
TIMEOUT = 5
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def run_on(factory: Callable[[], asyncio.AbstractEventLoop], test: Coroutine[Any, Any, None]) -> None:
    """Run `test`; anything the loop complains about fails it."""
    complaints: list[dict[str, Any]] = []

    async def bounded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        async with asyncio.timeout(TIMEOUT):
            await test

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(bounded())
    assert not complaints


class Taped(Exchange):
    """Writes down what it is told."""

    def __init__(self, app: "App", request: Request, writer: Writer) -> None:
        self.app = app
        self.request = request
        self.writer = writer
        self.body = b""
        self.trailers: list[tuple[bytes, bytes]] | None = None
        self.paused = 0
        self.resumed = 0
        self.losses = 0

    def request_data(self, slices: list[memoryview]) -> None:
        self.body += b"".join(slices)
        self.app.told("data", self)

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        assert self.trailers is None
        self.trailers = trailers
        self.app.told("end", self)

    def pause_writing(self) -> None:
        self.paused += 1
        self.app.told("pause", self)

    def resume_writing(self) -> None:
        self.resumed += 1
        self.app.told("resume", self)

    def lost(self) -> None:
        self.losses += 1
        self.app.told("lost", self)


class App:
    """Keeps every exchange; `on_<event>` functions, given by name, act in its callbacks.

    Without any it answers each complete request with 200 and the request's body.
    """

    def __init__(self, **on: Callable[[Taped], None]) -> None:
        self.on = on or {"end": lambda taped: taped.writer.respond(200, [], taped.body)}
        self.exchanges: list[Taped] = []
        self.errors: list[Exception] = []
        self._changed = asyncio.Event()

    def __call__(self, request: Request, writer: Writer) -> Taped:
        taped = Taped(self, request, writer)
        self.exchanges.append(taped)
        self.told("head", taped)
        return taped

    def told(self, event: str, taped: Taped) -> None:
        self._changed.set()
        if event in self.on:
            self.on[event](taped)

    def config(self, **settings: Any) -> Config:
        return Config(on_error=self.errors.append, **settings)

    async def until(self, condition: Callable[["App"], object]) -> None:
        """Until `condition` holds; looked at whenever an exchange was told something."""
        while not condition(self):
            self._changed.clear()
            await self._changed.wait()


class Client:
    """A raw client: bytes out, bytes in."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.loop = asyncio.get_running_loop()
        self.buffer = b""

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.sock, data)

    async def read(self) -> bytes:
        return await self.loop.sock_recv(self.sock, 65536)

    async def read_until(self, end: bytes) -> bytes:
        """Up to and including `end`."""
        while end not in self.buffer:
            data = await self.read()
            assert data, f"end of file before {end!r}: {self.buffer!r}"
            self.buffer += data
        stop = self.buffer.index(end) + len(end)
        found, self.buffer = self.buffer[:stop], self.buffer[stop:]
        return found

    async def read_count(self, count: int) -> bytes:
        while len(self.buffer) < count:
            data = await self.read()
            assert data, f"end of file: {self.buffer!r}"
            self.buffer += data
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    async def response(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """One response with a Content-Length, or without a body."""
        status, fields = parse_head(await self.read_until(b"\r\n\r\n"))
        return status, fields, await self.read_count(int(fields.get(b"content-length", b"0")))

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        while data := await self.read():
            self.buffer += data
        found, self.buffer = self.buffer, b""
        return found

    async def until_reset(self) -> bytes:
        """Everything until the server resets the connection; a clean end fails."""
        while True:
            try:
                data = await self.read()
            except ConnectionResetError:
                return self.buffer
            assert data, "a clean end of file"
            self.buffer += data

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()


def parse_head(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    first, *lines = head[:-4].split(b"\r\n")
    version, status, _ = first.split(b" ", 2)
    assert version == b"HTTP/1.1"
    pairs = [line.split(b": ", 1) for line in lines]
    fields = {name.lower(): value for name, value in pairs}
    assert len(fields) == len(pairs), "a header twice"
    return int(status), fields


@asynccontextmanager
async def serving(app: App, **settings: Any) -> AsyncIterator[tuple[Server, Callable[[], Awaitable[Client]]]]:
    """A server on loopback, and a function that connects a client to it; all gone afterwards."""
    clients: list[Client] = []
    server = await Server.start(app, config=app.config(**settings))

    async def connect() -> Client:
        sock = socket.socket()
        sock.setblocking(False)
        clients.append(Client(sock))
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
        return clients[-1]

    try:
        yield server, connect
    finally:
        for client in clients:
            client.close()
        server.close()
        server.abort_all()
        await server.wait_closed()


class Wire(asyncio.Transport):
    """A transport that keeps what is written: one entry a write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed: str = ""
        self.eof = False
        self.reading = True
        self.buffered = 0
        self.options: list[tuple[Any, ...]] = []

    @property
    def sent(self) -> bytes:
        return b"".join(self.writes)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        assert not self.eof
        self.writes.append(bytes(data))

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def write_eof(self) -> None:
        self.eof = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = self.closed or "close"

    def abort(self) -> None:
        self.closed = "abort"

    def is_closing(self) -> bool:
        return bool(self.closed)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "socket" else default

    def setsockopt(self, *option: Any) -> None:
        self.options.append(option)


class Clock:
    """The part of an event loop that a connection uses, with a time that stands still until moved."""

    def __init__(self) -> None:
        self.now = 100.0
        self.soon: list[Callable[[], None]] = []
        self.later: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., None], *args: Any) -> None:
        self.soon.append(lambda: callback(*args))

    def call_later(self, delay: float, callback: Callable[..., None], *args: Any) -> "Clock":
        self.later.append((self.now + delay, callback, args))
        return self

    def cancel(self) -> None:
        self.later.clear()

    def turn(self) -> None:
        """One iteration of the loop."""
        ready, self.soon = self.soon, []
        for callback in ready:
            callback()

    def move(self, seconds: float) -> None:
        """Let time pass, and what was to be called be called."""
        end = self.now + seconds
        while due := [call for call in self.later if call[0] <= end]:
            call = min(due, key=lambda call: call[0])
            self.later.remove(call)
            self.now = call[0]
            call[1](*call[2])
        self.now = end


def wired(app: App, **settings: Any) -> tuple[Connection, Wire, Clock]:
    """A connection on a Wire."""
    clock, wire = Clock(), Wire()
    config = app.config(**settings)
    connection = Connection(app, config, Timers(clock, config.tick))  # type: ignore[arg-type]
    connection.connection_made(wire)
    return connection, wire, clock
