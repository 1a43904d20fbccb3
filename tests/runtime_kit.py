"""The other side of the runtime: a Runtime API whose answers are written before they are asked for."""

import socket
from dataclasses import dataclass, field
from typing import Any

from penstock.protocol import runtime_api
from penstock.protocol.chunked import Deframer
from penstock.protocol.runtime_api import InvocationInfo
from penstock.runtime.api import RuntimeApi


@dataclass
class Sent:
    """A request the runtime has made."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    trailers: dict[str, str] = field(default_factory=dict)

    @property
    def verb(self) -> str:
        return self.path.rpartition("/")[2]


class Side:
    """The service's end of one of the runtime's connections."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(10)
        self._read = b""

    def event(self, payload: bytes = b"{}", request_id: str = "id-1", **info: Any) -> None:
        """Answer a `next`."""
        headers = InvocationInfo(request_id, info.pop("deadline_ms", 2**41), "arn", **info).lines()
        self.answer(200, payload, b"Content-Type: application/json\r\n" + headers)

    def accept(self) -> None:
        """Answer a response or an error."""
        self.answer(202, runtime_api.ACCEPTED)

    def answer(self, status: int, body: bytes, lines: bytes = b"") -> None:
        self.sock.sendall(
            b"HTTP/1.1 %d X\r\n%bContent-Length: %d\r\n\r\n%b" % (status, lines, len(body), body)
        )

    def finish(self) -> None:
        """No answer will follow; what the runtime still sends is taken."""
        self.sock.shutdown(socket.SHUT_WR)

    def read(self) -> Sent:
        """The next request."""
        head = self._until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        if headers.get("transfer-encoding") != "chunked":
            return Sent(method, path, headers, self._count(int(headers.get("content-length", "0"))))
        deframer, body = Deframer(), b""
        while not deframer.done:
            data = self._read or self.sock.recv(65536)
            assert data, "end of file in a chunked body"
            self._read = b""
            body += b"".join(deframer.feed(data))
        self._read = deframer.rest
        trailers = {name.decode(): value.decode() for name, value in deframer.trailers}
        return Sent(method, path, headers, body, trailers)

    def raw(self) -> bytes:
        """Everything until the runtime closes."""
        while data := self.sock.recv(65536):
            self._read += data
        return self._read

    def _until(self, end: bytes) -> bytes:
        while end not in self._read:
            data = self.sock.recv(65536)
            assert data, f"end of file: {self._read!r}"
            self._read += data
        return self._count(self._read.index(end) + len(end))

    def _count(self, count: int) -> bytes:
        while len(self._read) < count:
            data = self.sock.recv(65536)
            assert data, "end of file"
            self._read += data
        found, self._read = self._read[:count], self._read[count:]
        return found


class OwnSocket:
    """The service's end of `fd:N`: hands out connections."""

    def __init__(self) -> None:
        self.dial, theirs = socket.socketpair()
        self._address = f"fd:{theirs.detach()}"
        self.sides: list[Side] = []

    def api(self) -> RuntimeApi:
        """A runtime's client, on a connection handed out now."""
        self.connection()
        return RuntimeApi(self._address)

    def connection(self) -> Side:
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.dial, [b"."], [theirs.fileno()])
        self.sides.append(Side(ours))
        return self.sides[-1]

    def gone(self) -> None:
        """No connection will follow."""
        self.dial.close()

    def close(self) -> None:
        self.dial.close()
        for side in self.sides:
            side.sock.close()


class Tcp:
    """A Runtime API on loopback."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10)
        self.sides: list[Side] = []

    def api(self) -> RuntimeApi:
        host, port = self.listener.getsockname()
        api = RuntimeApi(f"{host}:{port}")
        self.connection()
        return api

    def connection(self) -> Side:
        self.sides.append(Side(self.listener.accept()[0]))
        return self.sides[-1]

    def close(self) -> None:
        self.listener.close()
        for side in self.sides:
            side.sock.close()
