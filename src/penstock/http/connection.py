"""One connection: bytes come in as callbacks, requests go to the application, one at a time and in order.

    HEAD ──head──▶ BODY ──all of it read──▶ WAIT ──response ended──▶ HEAD
                    │ response ended first: the rest is read if little (HEAD), else LINGER ──▶ CLOSING

Everything happens in callbacks of the event loop: there is no task and no coroutine. Errors are answered,
then LINGER; an end of file, or a broken response, leads to CLOSING.
"""

import asyncio
from collections.abc import Callable

from ..protocol.chunked import ChunkedError, Counted, Deframer
from .config import Config
from .exchange import Application, Exchange
from .link import Link, State
from .request import HeadParser, Refused, Request
from .timers import NEVER, Timers
from .turns import Turns
from .writer import Framing, Writer, error_response


class Connection(Link):
    """HTTP/1.1 on one connected socket, server side."""

    def __init__(
        self,
        application: Application,
        config: Config,
        timers: Timers,
        *,
        turns: Turns | None = None,
        opened: set["Connection"] | None = None,
        on_close: Callable[["Connection"], None] | None = None,
    ) -> None:
        super().__init__(config, timers)
        self.body_done = True
        self.last = False  # close after the next response, or the one under way
        self.stamp = config.stamp
        self.peer: tuple[str, int] | None = None  # None on a Unix socket
        self.local: tuple[str, int] | None = None
        self._application = application
        self._turns = turns  # None: each request begins as it comes
        self._opened = opened
        self._on_close = on_close
        self._heads = HeadParser()
        self._buffer = b""  # read, and not yet worked on
        self._scanned = 0  # so many bytes of it cannot begin the end of a head
        self._request: Request | None = None
        self._writer: Writer | None = None
        self._exchange: Exchange | None = None
        self._body: Deframer | Counted | None = None
        self._body_paused = False

    # -- the transport's callbacks --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = peer[:2]
            self.local = transport.get_extra_info("sockname")[:2]
        if self._opened is not None:
            self._opened.add(self)
        self._arm(self._config.head_timeout)

    def data_received(self, data: bytes) -> None:
        if self._state is State.CLOSING or self._state is State.LINGER:
            self._discard(data)
            return
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        self._corked = True
        try:
            if self._state is State.BODY:
                data = self._feed(data)
                if self._state is State.BODY:
                    return  # most often: a piece of a body, and there is more to come
            self._advance(data)
        except Exception as error:
            self._crashed(error)
        finally:
            self._corked = False
            if self._out and not (self._config.answer_with_next and self._state is State.WAIT):
                self._flush()

    def eof_received(self) -> bool:
        """Half-closed counts as gone: the connection closes, having sent what was written.

        A request that came whole before it is begun, be it without its turn: it may be an asynchronous one.
        """
        if self._turns is not None and self._turns.leave(self):
            self._turns = None
            self.resume()
        if self._state is not State.CLOSING:
            self._cut()
            self._leave()
            self._close()
        return not self._transport.is_closing()  # a reset under way must not become a FIN

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if self._opened is not None:
            self._opened.discard(self)
        self._buffer = b""
        if self._turns is not None:
            self._turns.leave(self)
        self._leave()
        if self._on_close is not None:
            self._on_close(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._exchange is not None:
            self._call(self._exchange.pause_writing)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._exchange is not None:
            self._call(self._exchange.resume_writing)
        else:
            self.resume()

    # -- for the server --

    def finish(self) -> None:
        """Close when idle, else after the response under way, whose head says so if it is not yet sent."""
        self.last = True
        if self._writer is not None:
            self._writer.keep_alive = False
        elif self._state is State.HEAD and (self._turns is None or not self._turns.awaited_by(self)):
            self._close()

    def abort(self) -> None:
        """Break off at once: a response under way is visibly broken."""
        writer, exchange = self._writer, self._exchange
        self._exchange = None
        if writer is not None:
            writer.abort()
            if exchange is not None:
                self._call(exchange.lost)
        elif self._state is not State.CLOSING:
            self._state = State.CLOSING
            self._transport.abort()

    def expire(self, now: float) -> None:
        """A deadline has passed."""
        if self._state is State.HEAD and self._buffer:
            self._refuse(Refused(408, "The request head did not come in time."))
        elif self._state is State.BODY and self._writer is not None:
            self._refuse(Refused(408, "The request body stopped coming."))
        else:
            super().expire(now)

    # -- requests --

    def _advance(self, data: bytes) -> None:
        """Go as far as `data` leads; what is for later goes into the buffer."""
        while True:
            if self._state is State.HEAD:
                if self._write_paused:  # a client that reads nothing has no further request served
                    if self.last:
                        self._close()
                        return
                    if self.deadline == NEVER:  # it has waited for its turn
                        self._arm(self._config.idle_timeout)
                    break
                head, data = self._cut_head(data)
                if head is None:
                    break
                if self._turns is not None and not self._turns.take(self):
                    data = head + data
                    self.deadline = NEVER
                    break
                try:
                    request = self._heads.parse(head)
                except Refused as refused:
                    self._refuse(refused)
                    return
                self._begin(request, data)
            elif self._state is State.BODY:
                if not data:
                    break
                data = self._feed(data)
            else:
                break
        if self._state is State.LINGER or self._state is State.CLOSING:
            return
        if self._state is State.WAIT:
            if len(data) > self._config.pipeline_limit:
                self.finish()  # with reading paused instead, the client's leaving would not be noticed
            if self.last:
                data = b""  # never to be served
        self._buffer = data
        if self._read_paused or self._body_paused or data:
            self._set_reading()

    def _cut_head(self, data: bytes) -> tuple[bytes | None, bytes]:
        """A complete head and the bytes behind it; no head if it is incomplete or was refused."""
        if data.startswith(b"\r\n"):
            data = _without_empty_lines(data)
            self._scanned = 0
        if not data:
            return None, data
        end = data.find(b"\r\n\r\n", self._scanned)
        limit = self._config.head_limit
        if (end + 4 if end >= 0 else len(data)) > limit:
            if data.find(b"\r\n", 0, limit) < 0:
                self._refuse(Refused(414, "The request target is too long."))
            else:
                self._refuse(Refused(431, "The request headers are too large."))
            return None, b""
        if end >= 0:
            self._scanned = 0
            return data[: end + 4], data[end + 4 :]
        if not self._scanned:
            self._arm(self._config.head_timeout)
        self._scanned = max(1, len(data) - 3)
        # Refused now, since its end may never come: something else than HTTP, bare line feeds.
        first = data[:1]
        if not (first.isalpha() or data == b"\r") or data.count(b"\n") != data.count(b"\r\n"):
            self._refuse(Refused(400, "The request is malformed."))
            return None, b""
        return None, data

    def _begin(self, request: Request, data: bytes) -> None:
        """Hand a request to the application; `data` is what has come behind its head."""
        request.peer = self.peer
        request.local = self.local
        self.deadline = NEVER
        writer = self._writer = Writer(self, request)
        if self.last:
            writer.keep_alive = False
        self._request = request
        if request.has_body:
            self.body_done = False
            self._body = Deframer() if request.chunked else Counted(request.content_length or 0)
            self._state = State.BODY
            self._arm(self._config.body_timeout)
        else:
            self.body_done = True
            self._state = State.WAIT
        exchange = self._application(request, writer)
        if writer.ended:
            return
        self._exchange = exchange
        if self._write_paused:
            exchange.pause_writing()  # the application has written that much before it returned
        if self.body_done:
            exchange.request_end([])
        elif request.expect_continue and not writer.started and not data:
            self.write([b"HTTP/1.1 100 Continue\r\n\r\n"], 25)

    def _feed(self, data: bytes) -> bytes:
        """Decode a piece of the body; returns the bytes behind the body."""
        body = self._body
        assert body is not None
        try:
            slices = body.feed(data)
        except ChunkedError as error:
            self._cut()
            if self._writer is None:
                return b""
            self._refuse(Refused(400, f"The request body is malformed: {error}."))
            return b""
        exchange = self._exchange
        if not body.done:
            if not self._body_paused:
                self._arm(self._config.body_timeout)
            if exchange is not None and slices:
                exchange.request_data(slices)
            return b""
        self.deadline = NEVER
        self.body_done = True
        self._body = None
        self._body_paused = False
        self._state = State.WAIT
        if exchange is None:
            self._next()
        else:
            if slices:
                exchange.request_data(slices)
            if self._exchange is exchange:
                exchange.request_end(body.trailers)
        return body.rest

    def _next(self) -> None:
        """Ready for another request."""
        if self.last:
            self._close()
            return
        self._state = State.HEAD
        self._request = None
        if self._config.idle_timeout is not None:
            self._arm(self._config.idle_timeout)
        if not self._corked and self._buffer:
            # Not from here: we may be deep within the application's own callback.
            self._timers.loop.call_soon(self.resume)

    def resume(self) -> None:
        """Work on what was read and left for later."""
        if self._state is State.HEAD and self._buffer:
            self.data_received(b"")

    # -- the writer's side --

    def can_reuse(self) -> bool:
        """The body was read, or so little is left that reading it costs less than a new connection."""
        if self.body_done:
            return True
        request = self._request
        return (
            request is not None
            and not request.expect_continue
            and request.content_length is not None
            and request.content_length <= self._config.drain_limit
        )

    def response_ended(self, writer: Writer) -> None:
        self._writer = None
        self._exchange = None
        if writer.keep_alive and self.body_done:
            self._next()
        elif writer.keep_alive and self.can_reuse():
            self.resume_body()
        elif self.body_done and not self.last:
            self._close()
        else:
            self._linger()

    def response_broken(self, framing: Framing) -> None:
        self._writer = None
        self._exchange = None
        self._break(framing is Framing.CLOSE, lingering=not self.body_done)

    def pause_body(self) -> None:
        if not self.body_done:
            self._body_paused = True
            self.deadline = NEVER
            self._set_reading()

    def resume_body(self) -> None:
        if not self.body_done:
            self._body_paused = False
            self._arm(self._config.body_timeout)
            self._set_reading()

    # -- within --

    def _set_reading(self) -> None:
        """Pause or go on reading, as the application and the buffer say."""
        self._pause_reading(self._body_paused or len(self._buffer) > self._config.pipeline_limit)

    def _refuse(self, refused: Refused) -> None:
        """Answer an error of the client's, or break off the response under way."""
        writer, exchange = self._writer, self._exchange
        self._writer = self._exchange = None
        if writer is not None and writer.started:
            writer.abort()
        else:
            if writer is not None:
                writer.ended = True
            answer = error_response(refused.status, str(refused), self.stamp)
            self.write([answer], len(answer))
            self._linger()
            if writer is None:
                self._config.on_refused(refused.status, str(refused))
        if exchange is not None:
            self._call(exchange.lost)

    def _cut(self) -> None:
        """Let the application answer a request whose body has broken off."""
        writer, exchange = self._writer, self._exchange
        if self._state is State.BODY and exchange is not None and writer is not None and not writer.started:
            writer.keep_alive = False
            self._call(exchange.request_cut)

    def _leave(self) -> None:
        """Tell the application, once, that its response cannot be completed."""
        writer, exchange = self._writer, self._exchange
        self._writer = self._exchange = None
        if writer is not None:
            writer.ended = True
        if exchange is not None:
            self._call(exchange.lost)

    def _crashed(self, error: Exception) -> None:
        """The application raised, so nothing it left behind can be relied on."""
        self._config.on_error(error)
        if self._writer is not None:
            self._refuse(Refused(500, "Internal server error."))
        elif self._state is not State.LINGER and self._state is not State.CLOSING:
            self._linger()

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:
            self._crashed(error)


def _without_empty_lines(data: bytes) -> bytes:
    """RFC 9112, 2.2: empty lines before a request line are ignored."""
    start = 0
    while data.startswith(b"\r\n", start):
        start += 2
    return data[start:]
