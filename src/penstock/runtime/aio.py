"""Async handlers and async bodies. Imported only for functions that have one.

One event loop serves all invocations of an environment, so that clients made in one (an aiohttp session, an
async database pool) still work in the next. When the caller leaves, the task is cancelled: `CancelledError`
is raised at its `await`, an `await` in `finally` completes, and the environment stays in use. A handler that
blocks the loop is not interrupted; it is killed when the grace is over.
"""

import asyncio
from typing import TYPE_CHECKING, Any

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
    try:
        return _runner.run(_answer(reply, returned))
    except asyncio.CancelledError:
        if reply.guard.interrupted:
            reply.guard.interrupted = False  # a clean cancel leaves nothing half-way
            raise Disconnected("the caller has left") from None
        raise RuntimeError("the handler cancelled its own task") from None


async def _answer(reply: "Reply", returned: Any) -> Buffered | None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    # Not raised where the code stands: the loop cancels the task.
    reply.guard.arm(reply.api.connection.socket, lambda: loop.call_soon_threadsafe(task.cancel))
    if isinstance(returned, Streamed):
        response: Buffered | Streamed = returned
    else:
        response = classify(await returned)
    if isinstance(response, Buffered):
        return response
    await _drive(reply, response)
    return None


async def _drive(reply: "Reply", response: Streamed) -> None:
    reply.streamed = response
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
            await writer.write(data)
            index += 1
        if writer is not None:
            await writer.write(encode.finish())
    finally:
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
