"""The response to one request: its framing, and how it ends.

| response                     | framing                  | a broken one                    |
| HEAD, 204, 304               | none: no body            | the connection closes           |
| length given                 | counted: Content-Length  | FIN before the last byte        |
| HTTP/1.1                     | chunked                  | FIN without the last chunk      |
| HTTP/1.0                     | close: until the close   | RST, since a FIN is a clean end |
"""

import json
import time
from collections.abc import Sequence
from email.utils import formatdate
from enum import Enum
from http import HTTPStatus
from typing import Protocol

from ..protocol import chunked
from .request import Request

Slice = bytes | bytearray | memoryview
Headers = Sequence[tuple[bytes, bytes]] | bytes
"""Of a response: pairs; or whole lines, of an application that answers for what is in them."""

# Small bodies are copied behind their head: one buffer is cheaper to send than two.
_JOIN = 16 * 1024


class Framing(Enum):
    """How the end of a body is known."""

    NONE = "none"
    COUNTED = "counted"
    CHUNKED = "chunked"
    CLOSE = "close"


class Channel(Protocol):
    """What a writer needs of its connection."""

    body_done: bool  # the request body was read to its end
    stamp: bool  # add Date and Server

    def hold(self, head: bytes) -> None:
        """Send `head` with what follows in this callback, or after it."""

    def write(self, parts: list[Slice], size: int) -> None:
        """Send `parts`, `size` bytes in all."""

    def can_reuse(self) -> bool:
        """Whether a response that ends now leaves the connection usable."""

    def response_ended(self, writer: "Writer") -> None: ...

    def response_broken(self, framing: Framing) -> None: ...

    def pause_body(self) -> None: ...

    def resume_body(self) -> None: ...


_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
# The server's own: what an application says of these is not sent, except that `close` is honoured.
_FRAMING_FIELDS = frozenset((b"content-length", b"transfer-encoding", b"connection", b"keep-alive"))
_SPECIAL = _FRAMING_FIELDS | {b"date", b"server"}

_SERVER = b"Server: penstock\r\n"
_stamp = (0, b"")


def stamp() -> bytes:
    """The lines Date and Server, made once a second."""
    global _stamp
    second = int(time.time())
    if second != _stamp[0]:
        _stamp = (second, _date(second) + _SERVER)
    return _stamp[1]


def partial_stamp(dated: bool, signed: bool) -> bytes:
    """The same without what the application gave itself."""
    return (b"" if dated else _date(time.time())) + (b"" if signed else _SERVER)


def _date(second: float) -> bytes:
    return f"Date: {formatdate(second, usegmt=True)}\r\n".encode()


def status_line(status: int) -> bytes:
    line = _STATUS_LINES.get(status)
    return line if line is not None else b"HTTP/1.1 %d \r\n" % status


def error_response(status: int, message: str, stamped: bool) -> bytes:
    """A whole response of the server's own, after which the connection closes."""
    body = json.dumps({"message": message}).encode()
    return b"%bContent-Type: application/json\r\nContent-Length: %d\r\n%bConnection: close\r\n\r\n%b" % (
        status_line(status),
        len(body),
        stamp() if stamped else b"",
        body,
    )


class Writer:
    """Writes one response. After `end`, `abort` or the loss of the client every call does nothing."""

    __slots__ = (
        "_channel",
        "_framing",
        "_left",
        "_request",
        "bytes_sent",
        "ended",
        "keep_alive",
        "overrun",
        "started",
    )

    def __init__(self, channel: Channel, request: Request) -> None:
        self._channel = channel
        self._request = request
        self._framing = Framing.NONE
        self._left = 0  # counted: bytes of the body still to come
        self.keep_alive = request.keep_alive
        self.started = False
        self.ended = False
        self.bytes_sent = 0  # payload: neither head nor framing
        self.overrun = False  # more data than the length announced; what was too much is dropped

    def start(self, status: int, headers: Headers, *, length: int | None = None) -> None:
        """Send the head. The framing is ours: see the table above.

        It leaves with the first data if that comes in the same callback, else right after the callback.
        Raises ValueError for a status outside 200-599 and for a header with a line break.
        """
        if self.ended:
            return
        head = self._head(status, headers, length)
        self.started = True
        self._channel.hold(head)

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole response with its Content-Length, and end it. Raises as `start` does."""
        if self.ended:
            return
        channel = self._channel
        if not channel.body_done and not channel.can_reuse():
            self.keep_alive = False
        size = len(body)
        head = self._head(status, headers, size)
        self.started = True
        if self._framing is Framing.NONE:
            channel.write([head], len(head))
        else:
            self.bytes_sent = size
            parts: list[Slice] = [head + body] if size <= _JOIN else [head, body]
            channel.write(parts, len(head) + size)
        self.ended = True
        channel.response_ended(self)

    def data(self, slices: Sequence[Slice]) -> None:
        """Send a piece of the body: one frame if chunked. An empty piece sends no frame."""
        if self.ended:
            return
        if not self.started:
            raise RuntimeError("data before start")
        size = 0
        for piece in slices:
            size += len(piece)
        if not size:
            return
        framing = self._framing
        if framing is Framing.CHUNKED:
            self.bytes_sent += size
            self._channel.write([chunked.chunk_head(size), *slices, chunked.CRLF], size)
        elif framing is Framing.COUNTED:
            if size > self._left:
                self.overrun = True
                slices = _cut(slices, self._left)
                size = self._left
            self._left -= size
            self.bytes_sent += size
            if size:
                self._channel.write(list(slices), size)
        elif framing is Framing.CLOSE:
            self.bytes_sent += size
            self._channel.write(list(slices), size)

    def end(self) -> None:
        """The response is complete. A counted body that is short is broken, not padded."""
        if self.ended:
            return
        if not self.started:
            raise RuntimeError("end before start")
        if self._framing is Framing.CHUNKED:
            self._channel.write([chunked.LAST_CHUNK], 5)
        elif self._framing is Framing.COUNTED and self._left:
            self.abort()
            return
        self._finish()

    def abort(self) -> None:
        """Break the response off so that the client can tell; close without an answer if none has begun."""
        if self.ended:
            return
        self.ended = True
        self._channel.response_broken(self._framing)

    def pause_reading(self) -> None:
        """Take no more of the request body until `resume_reading`."""
        if not self.ended:
            self._channel.pause_body()

    def resume_reading(self) -> None:
        if not self.ended:
            self._channel.resume_body()

    def _finish(self) -> None:
        self.ended = True
        self._channel.response_ended(self)

    def _head(self, status: int, headers: Headers, length: int | None) -> bytes:
        if self.started:
            raise RuntimeError("a response starts once")
        if not 200 <= status <= 599:
            raise ValueError(f"{status} is not the status of a response")
        request = self._request
        dated = signed = False
        if isinstance(headers, bytes):
            block = headers
        else:
            fields = []
            for name, value in headers:
                key = name.lower()
                if key in _SPECIAL:
                    if key == b"date":
                        dated = True
                    elif key == b"server":
                        signed = True
                    else:
                        if key == b"connection" and b"close" in value.lower():
                            self.keep_alive = False
                        continue
                fields.append(b"%b: %b\r\n" % (name, value))
            block = b"".join(fields)
            # The last guard against response splitting: as many line ends as headers.
            if block.count(b"\n") != len(fields) or block.count(b"\r") != len(fields) or b"\0" in block:
                raise ValueError("a response header has a line break or NUL in it")
        own = b""
        if self._channel.stamp:
            own = stamp() if not (dated or signed) else partial_stamp(dated, signed)
        if length is not None and status != 204:
            own += b"Content-Length: %d\r\n" % length
        if request.method == "HEAD" or status in (204, 304):
            pass
        elif length is not None:
            self._framing = Framing.COUNTED
            self._left = length
        elif request.version == "1.1":
            self._framing = Framing.CHUNKED
            own += b"Transfer-Encoding: chunked\r\n"
        else:
            self._framing = Framing.CLOSE
            self.keep_alive = False
        if not self.keep_alive:
            own += b"Connection: close\r\n"
        elif request.version == "1.0":
            own += b"Connection: keep-alive\r\n"
        return b"%b%b%b\r\n" % (status_line(status), block, own)


def _cut(slices: Sequence[Slice], size: int) -> list[Slice]:
    """The first `size` bytes of `slices`."""
    kept: list[Slice] = []
    for piece in slices:
        if len(piece) > size:
            piece = piece[:size]
        size -= len(piece)
        if piece:
            kept.append(piece)
    return kept
