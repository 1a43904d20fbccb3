"""The life of a runtime: next event, handle, respond; again and again.

User code runs only between `guard.arm` and `guard.disarm`. Bodies are closed outside of it, so that a
`finally` block that already runs is not interrupted.
"""

from __future__ import annotations

import binascii  # `base64` imports more
import os
from collections.abc import Callable
from time import monotonic

from penstock.protocol.limits import TRAILER_DOCUMENT

from . import chunks, errors, logs, marshal
from .api import Connection, Event, Retired, RuntimeApi
from .cancel import Guard
from .context import LambdaContext
from .result import Buffered, Streamed, classify
from .stream import AsyncStreamWriter, Buffer, Disconnected, FlushTimer, StreamWriter, frame

TYPE_CHECKING = False  # as in `typing`, which is dear to import
if TYPE_CHECKING:
    from typing import Any

    Handler = Callable[[Any, Any], Any]


def run(api: RuntimeApi, handler: Handler) -> None:
    """Handle events until the service is gone (ServiceGone) or this environment is used up (Retired)."""
    guard = Guard()
    guard.install()
    timer = FlushTimer()
    environ = dict(os.environ)  # what a context takes from it stays as it is; a look-up there takes 2 µs
    while True:
        try:
            event = api.next()
            Reply(api, event, guard, timer, environ).answer(handler)
        except Disconnected:
            api.reconnect()


class Reply:
    """The answer to one event, from the call of the handler to the last byte."""

    def __init__(
        self, api: RuntimeApi, event: Event, guard: Guard, timer: FlushTimer, environ: dict[str, str]
    ) -> None:
        self.guard = guard
        self.api = api
        self.body: Any = None  # the iterator to be closed, whatever happens
        self.streamed: Streamed | None = None
        self._event = event
        self._id = event.info.request_id
        self._timer = timer
        self._environ = environ
        self._connection: Connection | None = None
        self._writer: StreamWriter | AsyncStreamWriter | None = None

    def answer(self, handler: Handler) -> None:
        """Call the handler and send what it gives.

        Raises Disconnected when the caller has left, Retired when it did and user code was interrupted, and
        SystemExit when the handler wants the process to end.
        """
        logs.begin(self._id)
        os.environ["_X_AMZN_TRACE_ID"] = self._event.info.trace_id
        error, buffered = self._called(handler)
        try:
            error = self._close(error)
            logs.flush()
            if self.guard.interrupted:
                raise Retired
            if isinstance(error, (Disconnected, SystemExit)):
                raise error
            if error is not None:
                self._fail(error)
            elif buffered is not None:
                self.api.respond(self._id, buffered.payload, buffered.content_type)
            else:
                self._end()
        finally:
            # The error's traceback holds this frame. Were it held in turn, all that the function had at hand
            # would stay until the garbage collector came by.
            error = self.body = None

    def begin(self, response: Streamed) -> None:
        """The response is a stream; nothing of it has left yet."""
        self.streamed = response
        if response.warning:
            logs.write(response.warning)

    def writer_for(self, first: object, make: Callable[[Connection, list[Buffer]], Any]) -> Any:
        """Make the stream's writer, now that its first chunk is known (None: it ended without one)."""
        assert self.streamed is not None
        content_type, prelude = self.streamed.head(first)
        self._connection = self.api.stream_connection()
        head: list[Buffer] = [self.api.requests.stream_head(self._id, content_type)]
        if prelude:
            head += frame(prelude)
        self._writer = make(self._connection, head)
        return self._writer

    def _called(self, handler: Handler) -> tuple[BaseException | None, Buffered | None]:
        """How user code ended: with what error, or with what buffered response; neither after a stream."""
        try:
            try:
                self.guard.arm(self.api.connection.socket)
                return None, self._call(handler)
            finally:
                self.guard.disarm()
        except BaseException as error:  # Cancelled too
            return error, None

    def _call(self, handler: Handler) -> Buffered | None:
        """Run user code to its end, writing chunks as they are made."""
        event = marshal.loads(self._event.payload, self._event.content_type)
        returned = handler(event, LambdaContext.create(self._event.info, self._environ))
        if not hasattr(type(returned), "__await__"):
            response = classify(returned)
            if isinstance(response, Buffered):
                return response
            if not response.is_async:
                self._drive(response)
                return None
            returned = response
        from . import aio  # asyncio is only for those who use it

        return aio.answer(self, returned)

    def _drive(self, response: Streamed) -> None:
        self.begin(response)
        self.body = body = chunks.iterate(response.body)
        encode = chunks.Encoder(response.base64)
        writer: StreamWriter | None = None
        for index, chunk in enumerate(body):
            data = encode.encode(chunk, index)
            if writer is None:
                writer = self.writer_for(chunk, self._blocking_writer)
            if not writer.hold(data, monotonic()):
                writer.write(data)
        if writer is not None:
            writer.write(encode.finish())

    def _blocking_writer(self, connection: Connection, head: list[Buffer]) -> StreamWriter:
        return StreamWriter(connection.socket, head, self._timer)

    def _close(self, error: BaseException | None) -> BaseException | None:
        """Close the body; gives the error that counts: the first one, unless the clean-up wants to exit."""
        try:
            if self.body is not None:
                self.body.close()
        except SystemExit as wanted:
            return wanted
        except BaseException as raised:
            if error is None:
                return raised
            logs.error(raised)
        return error

    def _fail(self, error: BaseException) -> None:
        logs.error(error)
        if self._writer is None:
            self.api.fail(self._id, *errors.error_document(error, self._id))
        else:
            error_type, document = errors.error_document(error, self._id, TRAILER_DOCUMENT)
            self._end((error_type, binascii.b2a_base64(document, newline=False).decode()))

    def _end(self, error: tuple[str, str] | None = None) -> None:
        if self._writer is None:  # it ended without a chunk: the head is still owed
            self.writer_for(None, self._blocking_writer)
        assert self._writer is not None
        assert self._connection is not None
        self._writer.end(self.api.requests.stream_tail(error))
        self.api.stream_ended(self._connection)
