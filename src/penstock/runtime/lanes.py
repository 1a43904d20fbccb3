"""Many invocations at once, in one process: the runtime of an environment with a concurrency above 1.

A lane is one connection to the Runtime API. On it one event after another is asked for, handled and
answered, as on the only connection of other environments; all lanes are served by one event loop. To AWS as
many are opened as invocations may run at once (AWS_LAMBDA_MAX_CONCURRENCY); Penstock's service hands them out
as it has need of them.

An async handler is a task, with a context of its own. One that is not async would hold up all others while it
waits or computes: it is refused, unless PENSTOCK_SYNC_HANDLERS=threads has it run in threads.

When the caller leaves, the service half-closes the lane. The invocation's task is cancelled; in a thread, its
next chunk raises `Disconnected`. Having let go, the lane is closed, by which the service knows it. Nothing
else is: the other lanes go on. On AWS nobody leaves.
"""

import asyncio
import base64
import contextvars
import os
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from penstock.protocol.chunked import ChunkedError
from penstock.protocol.limits import TRAILER_DOCUMENT

from . import aio, chunks, errors, logs, marshal, tagged
from .answers import Answer, Answers
from .api import ApiError, Connection, Event, NoDescriptors, RuntimeApi, ServiceGone
from .context import LambdaContext
from .errors import RuntimeFault
from .requests import Requests
from .result import Buffered, Streamed, classify
from .stream import AsyncStreamWriter, Buffer, Disconnected, FlushTimer, StreamWriter, frame

if TYPE_CHECKING:
    from concurrent.futures import Executor

Handler = Callable[[Any, Any], Any]

SYNC_HANDLERS = "PENSTOCK_SYNC_HANDLERS"  # a function's own variable
_THREADS = "threads"

_ASYNC = 0x80 | 0x100 | 0x200  # inspect.CO_COROUTINE, CO_ITERABLE_COROUTINE, CO_ASYNC_GENERATOR
_READ = 64 * 1024


def check(handler: Handler, concurrency: int) -> None:
    """Whether so many invocations can be run at once. Raises RuntimeFault."""
    chosen = os.environ.get(SYNC_HANDLERS, "")
    if chosen not in ("", _THREADS):
        raise RuntimeFault(errors.HANDLER_NOT_ASYNC, f"{SYNC_HANDLERS}: expected {_THREADS}, got {chosen!r}")
    if not chosen and not is_async(handler):
        raise RuntimeFault(
            errors.HANDLER_NOT_ASYNC,
            f"The handler{_named(handler)} is not async, and would hold up the {concurrency} invocations that"
            f" its environment may run at once: write `async def`, or have it run in threads, by the"
            f" function's own variable {SYNC_HANDLERS}={_THREADS} (--env, or in its Environment)",
        )


def _named(handler: Handler) -> str:
    name = getattr(handler, "__qualname__", "")
    return f" {name}" if name else ""


def run(api: RuntimeApi, handler: Handler, concurrency: int) -> None:
    """Handle events until the service is gone (ServiceGone)."""
    threads = os.environ.get(SYNC_HANDLERS) == _THREADS
    asyncio.Runner().run(Lanes(api, handler, concurrency, threads).run())


def is_async(handler: Any) -> bool:
    """Whether calling the handler does no more than make a coroutine or an async generator."""
    while handler is not None:
        handler = getattr(handler, "func", handler)  # of functools.partial
        if not hasattr(handler, "__code__") and not hasattr(handler, "__func__"):
            handler = type(handler).__call__
        code = getattr(getattr(handler, "__func__", handler), "__code__", None)
        if code is not None and code.co_flags & _ASYNC:
            return True
        handler = getattr(handler, "__wrapped__", None)  # what a decorator stands around
    return False


class Lanes:
    """All lanes of the process."""

    def __init__(self, api: RuntimeApi, handler: Handler, concurrency: int, threads: bool) -> None:
        self.api = api
        self.handler = handler
        self.handler_in_thread = threads and not is_async(handler)
        self.timers: list[FlushTimer] = []  # that no thread uses now
        self.executor: Executor | None = None
        self.open: set[Lane] = set()
        self._concurrency = concurrency
        os.register_at_fork(after_in_child=self._forked)
        if threads:
            from concurrent.futures import ThreadPoolExecutor

            self.executor = ThreadPoolExecutor(concurrency, "penstock")

    async def run(self) -> None:
        """Raises ServiceGone, ApiError."""
        self.loop = asyncio.get_running_loop()
        self.context = contextvars.copy_context()  # as it is before any invocation
        self._ended: asyncio.Future[None] = self.loop.create_future()
        Lane(self, self.api.connection)
        if self.api.dial is not None:
            self.loop.add_reader(self.api.dial, self._dialled)
        else:
            for _ in range(self._concurrency - 1):
                Lane(self, self.api.connect())
        await self._ended

    def _dialled(self) -> None:
        """The service hands out another connection."""
        try:
            Lane(self, self.api.connect())
        except NoDescriptors as error:  # the service sees that it was not taken; the others go on
            logs.write(f"[WARNING] an invocation cannot begin: {error}")
        except ServiceGone as gone:
            self.failed(gone)

    def failed(self, error: Exception) -> None:
        """The process cannot go on."""
        if not self._ended.done():
            self._ended.set_exception(error)

    def _forked(self) -> None:
        """A fork of the function must not keep connections open: their end would never be seen."""
        for lane in self.open:
            lane.connection.close()


def _called(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except StopIteration as error:  # which no future can hold
        raise RuntimeError("the handler raised StopIteration") from error


class Lane:
    """One connection, and what is asked and answered on it. Asks for its first event at once."""

    def __init__(self, lanes: Lanes, connection: Connection) -> None:
        self.lanes = lanes
        self.requests = Requests(lanes.api.host, lanes.api.own)
        self.connection = connection
        self._answers = Answers()
        self._awaited: deque[Callable[[Answer], None]] = deque()  # what takes the next answers
        self._turn: Turn | None = None  # the invocation that runs
        self.open = True  # as far as we know: the other side has not closed
        self._closed = False
        lanes.open.add(self)
        lanes.loop.add_reader(connection.socket, self._readable)
        self.ask()

    def ask(self) -> None:
        """Ask for the next event."""
        try:
            if not self.open:
                self._reconnect()
            self.awaits(self._event)
            self.connection.socket.sendall(self.requests.next)  # it fits: nothing else is on its way
        except OSError:
            self._gone()
        except ApiError as error:
            self.lanes.failed(error)

    def awaits(self, *takers: Callable[[Answer], None]) -> None:
        """Answers to come, one after another."""
        self._awaited += takers

    def awaits_next(self) -> None:
        """The end of a response is being sent, and with it the request for the next event."""
        self.awaits(self.taken, self._event)

    def finished(self, turn: "Turn") -> None:
        """It was sent. The next event may be here already."""
        if self._turn is turn:
            self._turn = None

    def taken(self, answer: Answer) -> None:
        """How an answer to an invocation was taken changes nothing, as in AWS's runtime. It is in the log."""
        if answer.status != 202 and not self.requests.own:
            said = f"the Runtime API answered {answer.status} to the response: {answer.body[:500]!r}"
            logs.write(f"[WARNING] {said}")

    def done(self) -> None:
        """The invocation has ended, and nothing is asked for yet."""
        self._turn = None
        self._awaited.clear()
        if self.requests.own:
            self.close()
        else:
            self.ask()

    def close(self) -> None:
        """By which the service knows that it has let go."""
        if not self._closed:
            self._closed = True
            self.lanes.open.discard(self)
            self.lanes.loop.remove_reader(self.connection.socket)
            self.connection.close()

    def _readable(self) -> None:
        try:
            data = self.connection.socket.recv(_READ, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._gone()
            return
        try:
            for answer in self._answers.feed(data):
                if answer.headers.get("connection", "").lower() == "close":
                    self.open = False
                self._awaited.popleft()(answer)
        except ChunkedError as error:
            self.lanes.failed(ApiError(str(error)))
        except ApiError as error:
            self.lanes.failed(error)

    def _event(self, answer: Answer) -> None:
        if answer.status == 204:  # nothing to do: ask again
            self.ask()
            return
        event = Event.from_answer(answer)
        self.requests.begin(event.info.invocation_id)
        self._turn = turn = Turn(self, event)
        # Not in the present context: where the lane was opened again, that is of the invocation before.
        turn.task = self.lanes.loop.create_task(turn.run(), context=self.lanes.context.copy())

    def _gone(self) -> None:
        """The other side has closed the connection."""
        self.lanes.loop.remove_reader(self.connection.socket)
        self.open = False
        if self.requests.own:
            if self._turn is None:
                self.close()
            else:
                self._turn.leave()
        elif self._turn is None or self._turn.sent:
            self.done()

    def _reconnect(self) -> None:
        """Over TCP. Raises ApiError."""
        self.lanes.loop.remove_reader(self.connection.socket)
        self.connection.close()
        self.connection = self.lanes.api.connect()
        self._answers = Answers()
        self.open = True
        self.lanes.loop.add_reader(self.connection.socket, self._readable)

    def ready_to_answer(self) -> Connection:
        """The lane's own connection, made anew if it was closed meanwhile. Raises ApiError."""
        if not self.open and not self.requests.own:
            self._reconnect()
        return self.connection

    def stream_connection(self) -> Connection:
        """The connection for a streamed response: over TCP one of its own, as AWS asks. Raises ApiError."""
        return self.connection if self.requests.own else self.lanes.api.connect()


class Turn:
    """One invocation on a lane, from its event to the last byte of its answer."""

    def __init__(self, lane: Lane, event: Event) -> None:
        self.task: asyncio.Task[None]
        self.sent = False  # over TCP: the answer, and how it was taken is awaited
        self._lane = lane
        self._lanes = lane.lanes
        self._event = event
        self._id = event.info.request_id
        self._streamed: Streamed | None = None
        self._connection: Connection | None = None  # of the stream
        self._writer: AsyncStreamWriter | StreamWriter | None = None
        self._leaving = aio.Leaving()
        self._context: contextvars.Context | None = None  # of what is run in threads
        self._in_thread = False
        self._begun = False
        self._left = False  # the caller has

    async def run(self) -> None:
        """Call the handler and send what it gives."""
        self._begun = True
        if self._left:
            self._let_go()
            return
        tagged.current.set(self._id)
        error: BaseException | None = None
        buffered: Buffered | None = None
        try:
            buffered = await self._call()
        except asyncio.CancelledError as cancelled:
            error = cancelled if self._left else RuntimeError("the handler cancelled its own task")
        except BaseException as raised:  # SystemExit too: the others go on
            error = raised
        try:
            if not self._left and error is not None and not isinstance(error, Disconnected):
                logs.error(error)
            tagged.end(self._id)
            if self._left or isinstance(error, Disconnected):
                self._let_go()
            elif error is not None:
                await self._fail(error)
            elif buffered is not None:
                head = self._lane.requests.response(self._id, buffered.content_type, len(buffered.payload))
                await self._post(head, buffered.payload)
            else:
                await self._end()
        except (Disconnected, asyncio.CancelledError):
            self._let_go()
        except ApiError as failed:
            self._lanes.failed(failed)
        finally:
            error = None  # its traceback holds this frame, and with it all that the function had at hand

    def leave(self) -> None:
        """The caller has left: nobody wants this any more."""
        self._left = True
        if self._begun and not self._in_thread:  # a task that has not begun would never run
            self._leaving.cancel(self.task)
            if isinstance(self._writer, AsyncStreamWriter):
                self._writer.break_off("the caller has left")  # should the function swallow the cancelling

    # For aio.drive.

    def begin(self, response: Streamed) -> None:
        self._streamed = response
        if response.warning:
            logs.write(response.warning)

    def writer_for(self, first: object, make: Callable[[Connection, list[Buffer]], Any]) -> Any:
        """Make the stream's writer, now that its first chunk is known (None: it ended without one)."""
        assert self._streamed is not None
        content_type, prelude = self._streamed.head(first)
        self._connection = self._lane.stream_connection()
        head: list[Buffer] = [self._lane.requests.stream_head(self._id, content_type)]
        if prelude:
            head += frame(prelude)
        self._writer = make(self._connection, head)
        return self._writer

    # User code.

    async def _call(self) -> Buffered | None:
        """Run user code to its end, writing chunks as they are made."""
        lanes = self._lanes
        event = marshal.loads(self._event.payload, self._event.content_type)
        context = LambdaContext.create(self._event.info, os.environ)
        if lanes.handler_in_thread:
            returned = await self._threaded(lanes.handler, event, context)
        else:
            returned = lanes.handler(event, context)
        if hasattr(type(returned), "__await__"):
            returned = await returned
        response = classify(returned)
        if isinstance(response, Buffered):
            return response
        if response.is_async or lanes.executor is None:
            await aio.drive(self, response, self._leaving)
        else:
            await self._threaded(self._drive, response)
        return None

    async def _threaded(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self._in_thread = True
        try:
            context = self._context = self._context or contextvars.copy_context()
            called = partial(context.run, _called, function, *arguments)
            return await self._lanes.loop.run_in_executor(self._lanes.executor, called)
        finally:
            self._in_thread = False
            if self._left:
                raise Disconnected("the caller has left")

    def _drive(self, response: Streamed) -> None:
        """A body that is not async, in a thread: its chunks are sent from there, blocking."""
        self.begin(response)
        body = chunks.iterate(response.body)
        encode = chunks.Encoder(response.base64)
        timers = self._lanes.timers
        timer = timers.pop() if timers else FlushTimer()
        writer: StreamWriter | None = None
        try:
            for index, chunk in enumerate(body):
                data = encode.encode(chunk, index)
                if self._left:
                    raise Disconnected("the caller has left")
                if writer is None:
                    writer = self.writer_for(
                        chunk, lambda connection, head: StreamWriter(connection.socket, head, timer)
                    )
                if not writer.hold(data, monotonic()):
                    writer.write(data)
            encode.finish()
        finally:
            try:
                body.close()
            finally:
                if writer is not None:
                    writer.flush_held()
                timers.append(timer)

    # The answer.

    def _sender(self, connection: Connection, head: list[Buffer]) -> AsyncStreamWriter:
        return AsyncStreamWriter(connection.socket, head, self._lanes.loop)

    async def _post(self, head: bytes, body: bytes) -> None:
        lane = self._lane
        writer = self._sender(lane.ready_to_answer(), [])
        try:
            if lane.requests.own:
                lane.awaits_next()
                await writer.send([head, body, lane.requests.next])
                lane.finished(self)
            else:
                lane.awaits(self._taken)
                await writer.send([head, body])
                if not lane.open:
                    raise Disconnected("the Runtime API closed the connection")
                self.sent = True
        finally:
            writer.release()

    def _taken(self, answer: Answer) -> None:
        self._lane.taken(answer)
        self._lane.done()

    async def _fail(self, error: BaseException) -> None:
        if self._writer is None:
            error_type, document = errors.error_document(error, self._id)
            await self._post(self._lane.requests.error(self._id, error_type, len(document)), document)
        else:
            error_type, document = errors.error_document(error, self._id, TRAILER_DOCUMENT)
            await self._end((error_type, base64.b64encode(document).decode()))

    async def _end(self, error: tuple[str, str] | None = None) -> None:
        """The last chunk of a stream, with the error in its trailers if there is one."""
        lane = self._lane
        if self._writer is None:  # it ended without a chunk: the head is still owed
            self.writer_for(None, self._sender)
        assert self._connection is not None
        writer = self._writer
        if not isinstance(writer, AsyncStreamWriter):
            if writer is not None:
                writer.check()
            writer = self._sender(self._connection, [])
        tail = lane.requests.stream_tail(error)
        try:
            if lane.requests.own:
                lane.awaits_next()
                await writer.finish(tail)
                lane.finished(self)
                return
            await writer.finish(tail)
            lane.taken(await self._answer_to(self._connection))
        finally:
            writer.release()
            if not lane.requests.own:
                self._connection.close()
        lane.done()

    async def _answer_to(self, connection: Connection) -> Answer:
        answers = Answers()
        connection.socket.setblocking(False)
        while True:
            try:
                data = await self._lanes.loop.sock_recv(connection.socket, _READ)  # type: ignore[arg-type]  # what it needs `_socket` has
                found = answers.feed(data)
            except (OSError, ChunkedError) as error:
                raise Disconnected(str(error)) from None
            if found:
                return found[0]
            if not data:
                raise Disconnected("the Runtime API closed the connection")

    def _let_go(self) -> None:
        if self._connection is not None and not self._lane.requests.own:
            self._connection.close()
        self._lane.done()
