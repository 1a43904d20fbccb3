"""Async handlers and async bodies. Imported only for functions that have one.

One event loop serves all invocations of an environment, so that clients made in one (an aiohttp session, an
async database pool) still work in the next. When the caller leaves, the task is cancelled: `CancelledError`
is raised at its `await`, an `await` in `finally` completes, and the environment stays in use. A handler that
blocks the loop is not interrupted; it is killed when the grace is over.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from . import chunks
from .result import Buffered, Streamed, classify
from .stream import AsyncStreamWriter, Buffer, Disconnected

if TYPE_CHECKING:
    from .api import Connection
    from .loop import Reply

_runner: asyncio.Runner | None = None


def answer(reply: "Reply", returned: Any) -> Buffered | None:
    """Await what the handler returned, or stream the async body it gave; to the end.

    Raises Disconnected when the caller has left.
    """
    global _runner
    if _runner is None:
        _runner = asyncio.Runner()
    leaving = Leaving()
    try:
        return _runner.run(_answer(reply, returned, leaving))
    except asyncio.CancelledError:
        if leaving.seen:
            raise Disconnected("the caller has left") from None
        raise RuntimeError("the handler cancelled its own task") from None


async def _answer(reply: "Reply", returned: Any, leaving: "Leaving") -> Buffered | None:
    reply.guard.arm(reply.api.connection.socket, leaving.of_current_task())
    if isinstance(returned, Streamed):
        response: Buffered | Streamed = returned
    else:
        response = classify(await returned)
    if isinstance(response, Buffered):
        return response
    await drive(reply, response, leaving)
    return None


class Leaving:
    """The caller's leaving: nothing is raised where the code stands, the loop cancels the task.

    Not when the body is being closed already: clean-up that has begun is not interrupted.
    """

    def __init__(self) -> None:
        self.seen = False  # the task was cancelled for it
        self.closing = False

    def of_current_task(self) -> Callable[[], object]:
        """What the signal handler calls."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        return lambda: loop.call_soon_threadsafe(self.cancel, task)

    def cancel(self, task: "asyncio.Task[Any]") -> None:
        """The caller has left: cancel what runs for it."""
        if not self.closing:
            self.seen = True
            task.cancel()


class Streaming(Protocol):
    """Whose response is streamed."""

    def begin(self, response: Streamed) -> None: ...

    def writer_for(self, first: object, make: "Make") -> Any: ...


Make = Callable[["Connection", list[Buffer]], AsyncStreamWriter]


async def drive(reply: Streaming, response: Streamed, leaving: Leaving) -> None:
    """Write the chunks of a body, as they are made. The writer is released, and not ended."""
    reply.begin(response)
    loop = asyncio.get_running_loop()
    encode = chunks.Encoder(response.base64)
    body = chunks.aiterate(response.body) if response.is_async else _threadless(response.body)
    writer: AsyncStreamWriter | None = None

    def make(connection: "Connection", head: list[Buffer]) -> AsyncStreamWriter:
        return AsyncStreamWriter(connection.socket, head, loop)

    index = 0
    try:
        async for chunk in body:
            data = encode.encode(chunk, index)
            if writer is None:
                writer = reply.writer_for(chunk, make)
            if not writer.hold(data, monotonic()):
                await writer.write(data)
            index += 1
        if writer is not None:
            await writer.write(encode.finish())
    finally:
        leaving.closing = True
        try:
            await body.aclose()
        finally:
            if writer is not None:
                writer.release()


async def _threadless(body: Any) -> Any:
    """A plain generator returned by an async handler: run on the loop, as the author wrote it."""
    iterator = chunks.iterate(body)
    try:
        for chunk in iterator:
            yield chunk
    finally:
        iterator.close()
