"""Sending a streamed response: framing, and the flush rule.

**The flush rule.** In any window of 1 ms the first nine chunks leave at once, so single chunks and short
bursts never wait. Chunks beyond are gathered until the window ends or 64 KiB are full, and leave as one
frame; so do those of the windows after it, until one begins with nothing held, or after a quiet one. A timer
sends what is left when the generator goes quiet. Errors and the end flush first.

Back-pressure is the socket: when it is full the send blocks, and with it the generator. Nothing else holds
bytes. A long burst followed by pure computing may wait for the interpreter lock, at most about the switch
interval, before the timer can send its tail; one followed by code that blocks the event loop, for that code.
"""

from __future__ import annotations

import _thread
from _socket import MSG_DONTWAIT  # `socket` is dear to import
from collections.abc import Generator, Sequence
from time import monotonic, sleep
from types import coroutine

from penstock.protocol.chunked import CRLF, chunk_head

TYPE_CHECKING = False  # as in `typing`, which is dear to import
if TYPE_CHECKING:
    import asyncio
    from _socket import socket

WINDOW = 0.001  # seconds
AT_ONCE = 9  # chunks in a window that are not gathered
FLUSH_SIZE = 64 * 1024  # bytes gathered at most; larger chunks are sent without a copy

_CUT = "a frame was cut short"  # set while one is sent: nothing may follow if that ends by an exception

Buffer = bytes | memoryview


class Disconnected(Exception):
    """The other side of the connection is gone: nobody will read this response."""


def frame(data: Buffer) -> list[Buffer]:
    """One chunk of a chunked body, in pieces: large data is not copied."""
    return [chunk_head(len(data)), data, CRLF]


class Gather:
    """What leaves when: the head with the first chunk, chunks by the flush rule. Pure.

    Times are seconds on any one clock. One thread adds; another may `take` meanwhile, under a lock that is
    held for `add` too. `hold` needs none: it only appends, and `take` only takes what was there.
    """

    def __init__(self, head: Sequence[Buffer] = ()) -> None:
        self.held: list[Buffer] = []
        self.ends = float("-inf")  # when the window does
        self._room = 0  # bytes that can be held yet, or less
        self._head = list(head)
        self._count = 0

    def hold(self, data: Buffer, now: float) -> bool:
        """Hold `data` back if that is clear without `add`: most of a burst. Fast."""
        held = self.held
        room = self._room - len(data)
        if not held or room <= 0 or now >= self.ends or not data:
            return False
        self._room = room
        held.append(data)
        if len(held) == 1:  # what had been held was taken just now
            self.begins_to_hold()
        return True

    def add(self, data: Buffer, now: float) -> list[Buffer]:
        """What to send now that `data` has come; nothing when it is held back for a moment.

        Empty data sends the head, and writes no frame.
        """
        if self.hold(data, now):
            return []
        if self._head or not data:
            head, self._head = self._head, []
            return head + frame(data) if data else head
        over = now >= self.ends
        if over:
            if now >= self.ends + WINDOW:  # quiet since; what is held could not be sent meanwhile
                self._count = 0
            self.ends = now + WINDOW
        if self.held:  # in the middle of a burst, which goes on in the next window: `_count` stays
            if len(data) >= FLUSH_SIZE:
                return self.take() + frame(data)
            self.held.append(data)
            return self.take()
        if over:
            self._count = 0
        elif self._count >= AT_ONCE:
            if len(data) >= FLUSH_SIZE:
                return frame(data)
            self._room = FLUSH_SIZE - len(data)
            self.held.append(data)
            self.begins_to_hold()
            return []
        self._count += 1
        return frame(data)

    def begins_to_hold(self) -> None:
        """Data is held back where none was: here, a writer sees to it that it leaves with the window."""

    def take(self) -> list[Buffer]:
        """All that is left: the head, and what is held back as one chunk."""
        pieces = self._head
        held = self.held[:]
        if held:  # joined first: should that raise MemoryError, all is still there
            pieces = [*pieces, b"".join([chunk_head(sum(map(len, held))), *held, CRLF])]
            del self.held[: len(held)]
        self._head = []
        return pieces


def send_all(connection: socket, pieces: Sequence[Buffer]) -> None:
    """Send the pieces in as few system calls as the socket allows. Raises Disconnected.

    While this waits, a signal handler of the function's may raise anything: then part of them may have left.
    """
    total = sum(map(len, pieces))
    try:
        sent = connection.sendmsg(pieces)
        if sent != total:
            # Cut short: the rest is sent in one piece, there is nothing to win by being clever here.
            connection.sendall(memoryview(b"".join(pieces))[sent:])
    except OSError as error:
        if error.errno is None:
            raise  # not the system's: a handler's own TimeoutError, by SIGALRM
        raise Disconnected(str(error)) from None


class _Writer(Gather):
    """What the writers share: they may have broken off."""

    broken: str | None = None  # why nothing can be sent any more

    def check(self) -> None:
        """Raises Disconnected when nothing can be sent any more."""
        if self.broken is not None:
            raise Disconnected(self.broken)


class StreamWriter(_Writer):
    """Writes one streamed response, blocking.

    One lock is held over deciding and sending: it keeps the order, and whoever finds it taken waits, which
    is the back-pressure. It is a bare `_thread.lock`, since an asynchronous exception can leave Python's
    own lock classes held.
    """

    def __init__(self, connection: socket, head: Sequence[Buffer], timer: FlushTimer) -> None:
        super().__init__(head)
        self._connection = connection
        self._lock = _thread.allocate_lock()
        self._timer = timer

    def write(self, data: Buffer) -> None:
        """Send a chunk. An empty one sends the head and writes no frame. Raises Disconnected."""
        with self._lock:
            self.check()
            due = self.add(data, monotonic())
            if due:
                self._send(due)

    def end(self, tail: Buffer) -> None:
        """Send what is left, then `tail` (the last chunk, and what follows it). Raises Disconnected."""
        with self._lock:
            self.check()
            self._send([*self.take(), tail])

    def flush_held(self) -> None:
        """Send what was held back. A failure is kept for the next `write`.

        In words only: the error itself would hold the frames it went through, and the timer holds us.
        """
        with self._lock:
            self._flush()

    def flush_when_over(self) -> None:
        """The timer's call: send what is held if its window is over."""
        # It does not wait for the lock: who has it is sending.
        if monotonic() >= self.ends and self._lock.acquire(False):
            try:
                self._flush()
            finally:
                self._lock.release()

    def _flush(self) -> None:
        pieces = self.take()
        if pieces and self.broken is None:
            try:
                self._send(pieces)
            except Disconnected as error:
                self.broken = str(error)

    def _send(self, pieces: Sequence[Buffer]) -> None:
        self.broken = _CUT
        send_all(self._connection, pieces)
        self.broken = None

    def begins_to_hold(self) -> None:
        self._timer.start(self)


class FlushTimer:
    """The one thread of a process that flushes what a quiet generator left held back.

    Born at the first chunk held back; asleep on a lock whenever nothing is held.
    """

    def __init__(self) -> None:
        self._wake = _thread.allocate_lock()
        self._wake.acquire()
        self._writer: StreamWriter | None = None
        self._running = False

    def start(self, writer: StreamWriter) -> None:
        """Flush `writer` at the end of the window. Called by its one thread."""
        self._writer = writer
        if not self._running:
            try:
                _thread.start_new_thread(self._run, ())
            except RuntimeError:
                return  # no thread to be had now: what is held leaves with the next window's first chunk
            self._running = True
        try:
            self._wake.release()
        except RuntimeError:
            pass  # already awake

    def _run(self) -> None:
        while True:
            self._wake.acquire()
            # While a burst lasts, its writer sends at the end of each window, a little earlier than this.
            while (writer := self._writer) is not None and writer.held:
                sleep(max(writer.ends - monotonic(), 0) + WINDOW / 10)
                try:
                    writer.flush_when_over()
                except Exception:  # a MemoryError: it is still held, and the function may give memory back
                    sleep(WINDOW * 100)


@coroutine
def _turn() -> Generator[None, None, None]:
    """Let the event loop do what else there is: `asyncio.sleep(0)`, without importing asyncio."""
    yield


class AsyncStreamWriter(_Writer):
    """Writes one streamed response from a coroutine: never a blocking send on the event loop.

    What the socket does not take waits here, and `write` with it: at most one flush.
    """

    def __init__(self, connection: socket, head: Sequence[Buffer], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(head)
        self._connection = connection
        self._loop = loop
        self._unsent: Buffer = b""
        self._drained: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._turned = monotonic()  # when the loop last had its turn

    async def write(self, data: Buffer) -> None:
        """Send a chunk; as `StreamWriter.write`."""
        self.check()
        now = monotonic()  # uvloop's clock stands still until its next turn
        due = self.add(data, now)
        if due:
            await self.send(due)
            if now - self._turned >= WINDOW:
                self._turned = now
                await _turn()  # a body that never has to wait must not keep the loop from all others

    def begins_to_hold(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(WINDOW, self._flush_held)

    def release(self) -> None:
        """Let go of the event loop; `end` may still follow, outside of it."""
        if self._timer is not None:
            self._timer.cancel()
        if self._drained is not None:
            self._loop.remove_writer(self._connection)
            self._drained = None

    def break_off(self, why: str) -> None:
        """Nobody reads on: the next `write` raises Disconnected."""
        self.broken = why

    async def finish(self, tail: Buffer) -> None:
        """Send what is left, then `tail`, without blocking; after `release`. Raises Disconnected."""
        unsent, self._unsent = self._unsent, b""
        await self.send([unsent, *self.take(), tail])

    def end(self, tail: Buffer) -> None:
        """Send what is left, then `tail`; blocking, after `release`. Raises Disconnected."""
        self.check()
        send_all(self._connection, [self._unsent, *self.take(), tail])

    async def send(self, pieces: Sequence[Buffer]) -> None:
        """Send pieces as they are. Raises Disconnected."""
        if self.broken is None:
            self._push(pieces)
        while self._drained is not None:
            await self._drained
        self.check()

    def _flush_held(self) -> None:
        self._timer = None
        if self.broken is None:
            self._push(self.take())

    def _push(self, pieces: Sequence[Buffer]) -> None:
        """Hand pieces to the socket, without waiting."""
        if not pieces:
            return
        if self._drained is not None:
            self._unsent = b"".join([self._unsent, *pieces])
            return
        total = sum(map(len, pieces))
        try:
            sent = self._connection.sendmsg(pieces, [], MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.broken = str(error)
            return
        if sent != total:
            self.broken = _CUT
            self._unsent = memoryview(b"".join(pieces))[sent:]
            self.broken = None
            self._drained = self._loop.create_future()
            self._loop.add_writer(self._connection, self._drain)

    def _drain(self) -> None:
        try:
            sent = self._connection.send(self._unsent, MSG_DONTWAIT)
            self._unsent = self._unsent[sent:]
        except BlockingIOError:
            return
        except OSError as error:
            self.broken = str(error)
            self._unsent = b""
        if not self._unsent:
            self._unsent = b""  # not a view of nothing of something large
            self._loop.remove_writer(self._connection)
            drained, self._drained = self._drained, None
            if drained is not None and not drained.done():
                drained.set_result(None)
