"""How an environment's runtime reaches its Runtime API: the two ways, and the connections that came of them.

`Dialled`    Penstock's own runtime has a socket (`dial`) on which connections are handed out to it. Nobody
             else can reach it. With one seat there is one at a time: to hang up is to shut it, and to hand
             out another. With several seats each has its own: to leave is to half-close it, which the runtime
             answers by closing it, when it has let go.
`Listening`  any other runtime is told an address on loopback. It may have several connections: one for a
             streamed response, another for its next event. To hang up is to break off the one that
             carries the response.
"""

import asyncio
import errno
import json
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from penstock.http.config import Config as HttpConfig
from penstock.http.connection import Connection
from penstock.http.exchange import Application, Exchange
from penstock.http.request import Request
from penstock.http.server import connect
from penstock.http.writer import Writer
from penstock.protocol import limits

from .guard import refuse

_HEAD = 1088 * limits.KIB  # an X-Ray error cause travels in a header: of awslambdaric up to 1 MiB
_HTTP = HttpConfig(
    head_limit=_HEAD,
    pipeline_limit=_HEAD,  # less would stop the reading of a head halfway
    head_timeout=None,
    idle_timeout=None,
    body_timeout=None,
    stamp=False,
)
_HTTP_DIALLED = replace(_HTTP, answer_with_next=True)  # the own runtime reads both when an event comes
_HTTP_LISTENING = replace(_HTTP, linger_limit=0)  # hung up on: what it still sends is answered by a reset
_BACKLOG = 64
_MOST = limits.OPEN_FILES  # connections of a runtime with all that it started: descriptors are everybody's
_PAUSE = 0.1  # seconds, when a connection cannot be taken


class _Connections:
    """What both have in common. `lost` is called when a connection has ended that was not hung up on."""

    address: str  # AWS_LAMBDA_RUNTIME_API

    def __init__(self, application: Application, config: HttpConfig, lost: Callable[[], None]) -> None:
        self._application = application
        self._config = config
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._open: dict[socket.socket, Connection | None] = {}  # None: about to be served
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> bool:
        """Whether there is a connection: something may still come."""
        return bool(self._open)

    def _serve(self, sock: socket.socket, application: Application, lost: Callable[[], None]) -> None:
        sock.setblocking(False)
        self._open[sock] = None
        task = self._loop.create_task(self._connect(sock, application, lost))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, sock: socket.socket, application: Application, lost: Callable[[], None]) -> None:
        try:
            connection = await connect(
                application, sock, config=self._config, on_close=lambda _: self._closed(sock, lost)
            )
        except OSError:  # no descriptors left
            sock.close()
            self._closed(sock, lost)
            return
        if sock in self._open:
            self._open[sock] = connection
        else:
            connection.abort()  # dropped before it was made

    def _closed(self, sock: socket.socket, lost: Callable[[], None]) -> None:
        """It has ended, and everything that came over it was read."""
        if sock in self._open:
            del self._open[sock]
            lost()

    def drop(self) -> None:
        """Break off every connection. `lost` is not called."""
        opened, self._open = self._open, {}
        for sock, connection in opened.items():
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # its process has ended
            if connection is not None:
                connection.abort()


class Dialled(_Connections):
    """Connections that are handed out. Raises OSError when there are no descriptors left."""

    address = "fd:3"

    def __init__(self, application: Application, lost: Callable[[], None]) -> None:
        super().__init__(application, _HTTP_DIALLED, lost)
        self._dial, theirs = socket.socketpair()
        self._dial.setblocking(False)
        self._waiting: deque[socket.socket] = deque()  # connections for which the dial has no room yet
        self.theirs: socket.socket | None = theirs  # to be given to the process, then closed
        try:
            self.first = self.hand_out(application, lost)
        except OSError:
            self._dial.close()
            theirs.close()
            raise

    def hand_out(self, application: Application, lost: Callable[[], None]) -> socket.socket:
        """Another connection, by which it is known here. Raises OSError as the constructor does."""
        ours, theirs = socket.socketpair()
        self._waiting.append(theirs)
        if len(self._waiting) == 1:
            self._give()
        self._serve(ours, application, lost)
        return ours

    def _give(self) -> None:
        """Give the process the connections that wait, as far as there is room."""
        while self._waiting:
            try:
                socket.send_fds(self._dial, [b"."], [self._waiting[0].fileno()])
            except BlockingIOError:
                self._loop.add_writer(self._dial, self._give)
                return
            except OSError:
                pass  # the process is gone; its exit says so
            self._waiting.popleft().close()
        self._loop.remove_writer(self._dial)

    def leave(self, sock: socket.socket) -> None:
        """Half-close a connection: to the runtime its caller has left. `lost` says when it has let go."""
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was quicker

    def started(self) -> None:
        """The process has its end of the dial, or will never have it."""
        if self.theirs is not None:
            self.theirs.close()

    def hang_up(self, response: Writer | None) -> None:
        """Shut the connection: to the runtime its caller has left. Raises OSError as the constructor does."""
        self.drop()
        self.hand_out(self._application, self._lost)

    def ended(self) -> None:
        """The process has ended: nothing comes but what was sent."""

    def close(self) -> None:
        self.drop()
        self.started()
        if self._dial.fileno() >= 0:
            self._loop.remove_writer(self._dial)
            self._dial.close()
        while self._waiting:
            self._waiting.pop().close()


class Listening(_Connections):
    """Connections to a port of its own on loopback. Raises OSError when it cannot be had."""

    theirs = None

    def __init__(self, application: Application, lost: Callable[[], None]) -> None:
        super().__init__(_for_programs(application), _HTTP_LISTENING, lost)
        self._listener = socket.socket()
        try:
            self._listener.setblocking(False)
            self._listener.bind(("127.0.0.1", 0))
            self._listener.listen(_BACKLOG)
        except OSError:
            self._listener.close()
            raise
        host, port = self._listener.getsockname()
        self.address = f"{host}:{port}"
        self._again: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        """Take every connection that was made."""
        for _ in range(_BACKLOG):
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._loop.remove_reader(self._listener)
                    self._again = self._loop.call_later(_PAUSE, self._accept_again)
                    return
                if isinstance(error, BlockingIOError):
                    return
            else:
                if len(self._open) < _MOST:
                    self._serve(sock, self._application, self._lost)
                else:
                    sock.close()

    def _accept_again(self) -> None:
        self._loop.add_reader(self._listener, self._accept)

    def started(self) -> None:
        """The process is on its way."""

    def hang_up(self, response: Writer | None) -> None:
        """Break off the response: writing it on fails."""
        if response is not None:
            response.abort()

    def ended(self) -> None:
        """The process has ended: what it had connected is still read, and nobody else is listened to."""
        self._accept()
        self._stop_listening()

    def _stop_listening(self) -> None:
        if self._listener.fileno() >= 0:
            if self._again is not None:
                self._again.cancel()
            self._loop.remove_reader(self._listener)
            self._listener.close()

    def close(self) -> None:
        self.drop()
        self._stop_listening()


def _for_programs(application: Application) -> Application:
    """`application`, but not for web pages: a browser on this machine reaches loopback too."""

    def serve(request: Request, writer: Writer) -> Exchange:
        if why := refuse(request):
            return _Refused(writer, why)
        return application(request, writer)

    return serve


class _Refused(Exchange):
    def __init__(self, writer: Writer, why: str) -> None:
        self._writer = writer
        self._why = why

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        body = json.dumps({"errorMessage": self._why, "errorType": "Forbidden"}).encode()
        self._writer.respond(403, [(b"Content-Type", b"application/json")], body)
