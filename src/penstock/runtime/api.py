"""The function's side of the Runtime API: ask for the next event, answer it, report errors.

Two ways to reach it, both in AWS_LAMBDA_RUNTIME_API. `host:port` is AWS's: plain HTTP over TCP, a streamed
response on a connection of its own. `fd:N` is Penstock's own: descriptor N is a socket that hands out
connections, each a connected socket nobody else can reach. There, the end of a response and the request for
the next event leave in one send.
"""

from __future__ import annotations

import _socket  # what `socket` is made of, which is dear to import
import os

from penstock.protocol.chunked import ChunkedError, Deframer
from penstock.protocol.runtime_api import InvocationInfo
from penstock.protocol.value import Value

from . import logs
from .answers import Answer, read_head
from .requests import Requests
from .stream import Buffer, Disconnected, send_all

_READ = 64 * 1024


class ServiceGone(Exception):
    """Nobody is there to be asked for events any more."""


class NoDescriptors(ServiceGone):
    """The function has used up its descriptors: the connection that was handed out could not be taken."""


class Retired(Exception):
    """This environment was interrupted in the middle of user code: it must not run another invocation."""


class ApiError(Exception):
    """The Runtime API answered what this runtime cannot go on with."""


class Event(Value):
    """One event to be handled."""

    __slots__ = ("content_type", "info", "payload")

    def __init__(self, info: InvocationInfo, content_type: str, payload: bytes) -> None:
        self.info = info
        self.content_type = content_type
        self.payload = payload

    @classmethod
    def from_answer(cls, answer: Answer) -> Event:
        """The event that an answer to `next` is. Raises ApiError."""
        if answer.status != 200:
            raise ApiError(f"the Runtime API answered {answer.status} to next: {answer.body[:500]!r}")
        info = InvocationInfo.from_headers(answer.headers)
        return cls(info, answer.headers.get("content-type", ""), answer.body)


def _wait_for_ever(sock: _socket.socket) -> None:
    """Undo what a function's `socket.setdefaulttimeout` has made of a new socket of ours."""
    if sock.gettimeout() is not None:
        sock.settimeout(None)


class Connection:
    """One connection to the Runtime API; answers come in the order of the requests."""

    def __init__(self, sock: _socket.socket) -> None:
        _wait_for_ever(sock)
        self.socket = sock
        self.pending = 0  # requests sent whose answers were not read yet
        self.asked = False  # the last of them was for the next event
        self.last = False  # the other side takes no further request
        self._buffer = b""

    def send(self, *pieces: Buffer) -> None:
        self.pending += 1
        send_all(self.socket, pieces)

    def read(self) -> Answer:
        """The answer to the oldest request. Raises Disconnected."""
        self.pending -= 1
        status = 100
        while status < 200:  # 1xx are not the answer yet
            status, headers = self._read_head()
        body = b""
        if status != 204:
            chunked = headers.get("transfer-encoding", "").lower() == "chunked"
            length = int(headers.get("content-length", "0"))
            body = self._read_chunks() if chunked else self._read_count(length)
        self.last = headers.get("connection", "").lower() == "close"
        return Answer(status, headers, body)

    def _read_head(self) -> tuple[int, dict[str, str]]:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._buffer += self._receive()
        head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        return read_head(head)

    def _read_count(self, length: int) -> bytes:
        missing = length - len(self._buffer)
        if missing > 0:
            parts = [self._buffer]
            while missing > 0:
                parts.append(self._receive())
                missing -= len(parts[-1])
            self._buffer = b"".join(parts)
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return body

    def _read_chunks(self) -> bytes:
        """A chunked body: how AWS sends events of more than about 2 KB."""
        deframer = Deframer()
        parts: list[Buffer] = []
        try:
            while not deframer.done:
                parts += deframer.feed(self._buffer or self._receive())
                self._buffer = b""
        except ChunkedError as error:
            raise Disconnected(str(error)) from None
        self._buffer = deframer.rest
        return b"".join(parts)

    def close(self) -> None:
        self.socket.close()

    def _receive(self) -> bytes:
        try:
            data = self.socket.recv(_READ)
        except OSError as error:
            raise Disconnected(str(error)) from None
        if not data:
            raise Disconnected("the Runtime API closed the connection")
        return data


def is_own(address: str) -> bool:
    """Whether a Runtime API is that of Penstock's own service, by its address."""
    return address.startswith("fd:")


class RuntimeApi:
    """Talks to the Runtime API at `address`: `host:port`, or `fd:N`."""

    def __init__(self, address: str) -> None:
        scheme, _, number = address.partition(":")
        self.dial: _socket.socket | None = None
        if scheme == "fd":
            self.dial = _socket.socket(fileno=int(number))
            _wait_for_ever(self.dial)
        self.host = "penstock" if self.own else address
        self.requests = Requests(self.host, self.own)
        self.connection = self.connect()
        # A fork of the function must not keep the connection open: its end would never be seen.
        os.register_at_fork(after_in_child=self.close)

    @property
    def own(self) -> bool:
        """Whether the other side is Penstock's own service."""
        return self.dial is not None

    def close(self) -> None:
        self.connection.close()
        if self.dial is not None:
            self.dial.close()

    def reconnect(self) -> None:
        """Begin again on a fresh connection, after Disconnected. Raises ServiceGone."""
        self.connection.close()
        self.connection = self.connect()

    def ask(self) -> None:
        """Ask for the next event, for which `next` will wait. Raises Disconnected."""
        self.connection.send(self.requests.next)
        self.connection.asked = True

    def next(self) -> Event:
        """Wait for the next event. Raises Disconnected, ApiError."""
        answer = self._ask()
        while answer.status == 204:  # nothing to do: ask again
            answer = self._ask()
        event = Event.from_answer(answer)
        self.requests.begin(event.info.invocation_id)
        return event

    def _ask(self) -> Answer:
        """Ask for the next event, unless that was done with the end of the last answer."""
        connection = self.connection
        if connection.last:
            self.reconnect()
            connection = self.connection
        if not connection.asked:
            connection.send(self.requests.next)
        connection.asked = False
        while connection.pending > 1:
            self._taken(connection.read())
        return connection.read()

    def respond(self, request_id: str, payload: bytes, content_type: str) -> None:
        """Answer with a buffered response. Raises Disconnected."""
        self._post(self.requests.response(request_id, content_type, len(payload)), payload)

    def fail(self, request_id: str, error_type: str, document: bytes) -> None:
        """Report an error instead of a response. Raises Disconnected."""
        self._post(self.requests.error(request_id, error_type, len(document)), document)

    def init_error(self, error_type: str, document: bytes) -> None:
        """Report that the function could not be initialised; the process must end after it."""
        self._post(self.requests.init_error(error_type, len(document)), document, ask=False)
        self.connection.read()

    def restore_next(self) -> None:
        """Wait for this function to be restored from its snapshot. Raises Disconnected, ApiError."""
        self.connection.send(self.requests.restore_next)
        answer = self.connection.read()
        if answer.status != 200:
            raise ApiError(f"the Runtime API answered {answer.status} to restore/next: {answer.body[:500]!r}")
        self.reconnect()  # the connection is as old as the snapshot

    def restore_error(self, error_type: str, document: bytes) -> None:
        """Report that an after-restore hook has failed; the process must end after it."""
        self._post(self.requests.restore_error(error_type, len(document)), document, ask=False)
        self.connection.read()

    def stream_connection(self) -> Connection:
        """The connection a streamed response goes out on: over TCP one of its own, as AWS asks."""
        return self.connection if self.own else self.connect()

    def stream_ended(self, connection: Connection) -> None:
        """Note that a streamed response, `requests.stream_tail` included, was sent."""
        if self.own:
            connection.pending += 2
            connection.asked = True
            return
        try:
            connection.pending += 1
            self._taken(connection.read())
        finally:
            connection.close()

    def _post(self, head: bytes, body: bytes, *, ask: bool = True) -> None:
        connection = self.connection
        if self.own and ask:
            connection.pending += 1
            connection.asked = True
            connection.send(head, body, self.requests.next)
            return
        if connection.last:
            self.reconnect()
            connection = self.connection
        connection.send(head, body)
        if ask:
            self._taken(connection.read())

    def _taken(self, answer: Answer) -> None:
        """How a response was taken changes nothing: after a 413 or a 410 AWS goes on. Raises ApiError.

        Our own service says in the log what was wrong.
        """
        if answer.status != 202 and not self.own:
            said = f"the Runtime API answered {answer.status} to the response: {answer.body[:500]!r}"
            if answer.status == 500:  # "Non-recoverable state. Runtime should exit promptly."
                raise ApiError(said)
            logs.write(f"[WARNING] {said}")

    def connect(self) -> Connection:
        """Another connection; of our own service the next one it hands out. Raises ServiceGone, ApiError."""
        if self.dial is None:
            host, _, port = self.host.rpartition(":")
            sock = _socket.socket()
            try:
                sock.connect((host, int(port)))
            except OSError as error:
                raise ApiError(f"cannot reach the Runtime API at {self.host}: {error.strerror}") from None
            sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            return Connection(sock)
        import socket  # the spawner has it

        try:
            handed, fds, _, _ = socket.recv_fds(self.dial, 1, 1)  # type: ignore[arg-type]  # as good
        except OSError as error:
            raise ServiceGone(str(error)) from None
        if handed and not fds:
            raise NoDescriptors("the function has no descriptors left")
        if not fds:
            raise ServiceGone("the service has ended")
        fd = fds[0]
        if fd <= 2:  # the function closed its output: what it prints must not go here
            import fcntl

            fd = fcntl.fcntl(fds[0], fcntl.F_DUPFD_CLOEXEC, 3)
            os.close(fds[0])
        return Connection(_socket.socket(fileno=fd))
