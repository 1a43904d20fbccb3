"""Listening sockets and their connections; and single connections without a listener."""

import asyncio
import socket
from collections.abc import Callable

from .config import Config
from .connection import Connection
from .exchange import Application
from .timers import Timers
from .turns import Turns

BACKLOG = 2048


class Server:
    """Serves an application on one address. Made by `Server.start`."""

    def __init__(self, application: Application, config: Config, timers: Timers) -> None:
        self.connections: set[Connection] = set()
        self._application = application
        self._config = config
        self._timers = timers
        self._turns = Turns(timers.loop)
        self._listener: asyncio.Server  # kept: uvloop drops a server that nobody references
        self._emptied: asyncio.Event = asyncio.Event()
        self._stopping = False
        self.port = 0  # 0 on a Unix socket

    @classmethod
    async def start(
        cls,
        application: Application,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        config: Config | None = None,
    ) -> "Server":
        """Listen on `host` and `port` (0: any free one), or on `sock`, which may be a Unix socket.

        Raises OSError when the address cannot be had.
        """
        config = config or Config()
        loop = asyncio.get_running_loop()
        self = cls(application, config, Timers(loop, config.tick))
        if sock is None:
            self._listener = await loop.create_server(self._connection, host, port, backlog=BACKLOG)
        elif sock.family == socket.AF_UNIX:
            self._listener = await loop.create_unix_server(self._connection, sock=sock, backlog=BACKLOG)
        else:
            self._listener = await loop.create_server(self._connection, sock=sock, backlog=BACKLOG)
        address = self._listener.sockets[0].getsockname()
        if isinstance(address, tuple):
            self.port = address[1]
        return self

    def close(self) -> None:
        """Accept nothing more; connections go on."""
        self._listener.close()

    def shutdown(self) -> None:
        """Accept nothing more, close idle connections, and each other one after its response."""
        self.close()
        self._stopping = True
        for connection in list(self.connections):
            connection.finish()

    def abort_all(self) -> None:
        """Break off every response, visibly; their exchanges are told `lost`."""
        for connection in list(self.connections):
            connection.abort()

    async def wait_closed(self) -> None:
        """Until the last connection is gone."""
        while self.connections:
            self._emptied.clear()
            await self._emptied.wait()

    def _connection(self) -> Connection:
        connection = Connection(
            self._application,
            self._config,
            self._timers,
            turns=self._turns,
            opened=self.connections,
            on_close=self._closed,
        )
        connection.last = self._stopping  # accepted just before the listener closed
        return connection

    def _closed(self, connection: Connection) -> None:
        if not self.connections:
            self._emptied.set()


async def connect(
    application: Application,
    sock: socket.socket,
    *,
    config: Config | None = None,
    on_close: Callable[[Connection], None] | None = None,
) -> Connection:
    """Serve `application` on one connected socket, TCP or Unix, which the connection then owns."""
    config = config or Config()
    loop = asyncio.get_running_loop()
    connection = Connection(application, config, Timers(loop, config.tick), on_close=on_close)
    sock.setblocking(False)
    if sock.family == socket.AF_UNIX:
        await loop.create_unix_connection(lambda: connection, sock=sock)
    else:
        await loop.create_connection(lambda: connection, sock=sock)
    return connection
