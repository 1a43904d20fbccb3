"""One invocation: joins the function's response to its caller's sink, and ends exactly once.

    WAITING ──assigned──▶ RUNNING ──head──▶ RESPONDING ──▶ ENDED
       │                     └── caller left ──▶ CANCELLING ──let go──▶ ENDED
       └── rejected, caller left, init failed ──▶ ENDED

Rule 1: every way to end goes through `finish`, and the first one counts.
Rule 2: no I/O here. Bytes pass through; who moves them is the source (seat.py) and the sink.

Its clocks: the total one runs from the delivery of the event until the environment is free again, as AWS
counts work after the response as well. The idle one runs only while we wait for the function, never while the
reader or the bandwidth holds us back.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Protocol

from penstock.protocol import limits
from penstock.protocol.call import Call, Head, Outcome, Sink, Slice

from . import outcomes
from .backends import Exit
from .functions import Function
from .logs import Tail
from .pacing import Bandwidth


class State(Enum):
    WAITING = auto()
    RUNNING = auto()
    RESPONDING = auto()
    CANCELLING = auto()
    ENDED = auto()


class Owner(Protocol):
    """Who holds the invocation while it has no environment, and must know of its end."""

    loop: asyncio.AbstractEventLoop

    def withdraw(self, invocation: "Invocation") -> None: ...

    def over(self, invocation: "Invocation") -> None: ...


class Source(Protocol):
    """Where the response comes from: the environment that runs the invocation."""

    def pause(self) -> None:
        """Take nothing more from the function; its next write will wait."""

    def resume(self) -> None: ...

    def cancel(self) -> None:
        """Make it let go: `let_go` or `exited` will follow."""

    def timed_out(self, invocation: "Invocation", verdict: Outcome) -> None:
        """Its time is over: it ends with this verdict, and the function lets go or is ended."""

    def overran(self, invocation: "Invocation") -> None:
        """Say that it did not let go in time, though it has answered, and end its process."""

    def report(self, invocation: "Invocation", outcome: Outcome) -> None:
        """Write what the log says at the end of an invocation."""


class Invocation:
    """One call of a function, from its arrival to its end. The caller's handle on it as well."""

    def __init__(
        self,
        call: Call,
        function: Function,
        request_id: str,
        sink: Sink,
        owner: Owner,
        *,
        aws_limits: bool = False,
    ) -> None:
        """With `aws_limits`, a streamed response has AWS's size and bandwidth at most."""
        self.call = call
        self.function = function
        self.request_id = request_id
        self.state = State.WAITING
        self.tail = Tail() if call.log_tail else None
        self.too_large = False  # what the runtime answered was over the limit: it gets 413
        self.started = 0.0
        self.slot: int | None = None  # of the environment that runs it
        self._loop = owner.loop
        self._sink = sink
        self._owner = owner
        self._source: Source | None = None
        self._paused = False
        self._aws_limits = aws_limits
        self._bandwidth: Bandwidth | None = None
        self._counted = False  # whether what passes has to be counted
        self._held: asyncio.TimerHandle | None = None  # until when the bandwidth is used up
        self._size = 0
        self._verdict: Outcome | None = None  # decided, but the process still has to end
        self._cancelled_at = 0.0
        self._last_data = 0.0
        self._total_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Invocation {self.request_id} {self.function.name} {self.state.name}>"

    @property
    def executed_version(self) -> str:
        return self.function.version

    @property
    def ended(self) -> bool:
        return self.state is State.ENDED

    @property
    def abandoned(self) -> bool:
        """Whether what the function still makes goes nowhere."""
        return self.state in (State.CANCELLING, State.ENDED) or self._verdict is not None

    # What the caller does.

    def pause(self) -> None:
        self._paused = True
        if self._source is not None:
            self._source.pause()

    def resume(self) -> None:
        self._paused = False
        self._last_data = self._loop.time()
        if self._source is not None and self._held is None:
            self._source.resume()

    def cancel(self) -> None:
        if self.state is State.WAITING:
            self._owner.withdraw(self)
            self.finish(outcomes.cancelled("before the function was called"))
        elif self.state in (State.RUNNING, State.RESPONDING):
            self.state = State.CANCELLING
            self._cancelled_at = time.monotonic()
            self._stop_clocks()
            assert self._source is not None
            self._source.cancel()

    # What the environment tells.

    def assigned(self, source: Source) -> None:
        """The event is on its way to the runtime: the function's time begins."""
        self.state = State.RUNNING
        self._source = source
        self.started = time.monotonic()  # uvloop's own clock counts whole milliseconds
        self._last_data = self._loop.time()
        self._total_timer = self._loop.call_later(self.function.timeout, self._timed_out)
        if self.function.idle_timeout is not None:
            self._idle_timer = self._loop.call_later(self.function.idle_timeout, self._look_idle)

    def head(self, head: Head, length: int | None) -> None:
        """The response begins; `length` is its size where the runtime said it."""
        if self.state is not State.RUNNING or self._verdict is not None:
            return
        self.state = State.RESPONDING
        if not head.streamed and length is not None and length > limits.RESPONSE_PAYLOAD:
            self.too_large = True
            self.finish(outcomes.too_large(length))
            return
        if self._paused:
            self.pause()
        self._last_data = self._loop.time()
        if head.streamed and self._aws_limits:
            self._bandwidth = Bandwidth(self._last_data)
        self._counted = not head.streamed or self._aws_limits
        self._sink.head(head)

    def data(self, slices: Sequence[Slice]) -> None:
        if self.state is not State.RESPONDING:
            return
        if self._counted and not self._count(slices):
            return
        if self._idle_timer is not None:
            self._last_data = self._loop.time()
        self._sink.data(slices)

    def _count(self, slices: Sequence[Slice]) -> bool:
        """Count what has come; False when it was over the limit, and the invocation has ended."""
        size = sum(map(len, slices))
        self._size += size
        if self._bandwidth is None:
            if self._size > limits.RESPONSE_PAYLOAD:
                self.too_large = True
                self.finish(outcomes.too_large())
        elif self._size <= limits.STREAMED_RESPONSE:
            self._hold(self._bandwidth.spend(size, self._loop.time()))
        else:
            room = limits.STREAMED_RESPONSE - (self._size - size)
            self._sink.data(_first(slices, room))
            self.finish(outcomes.stream_too_large())
            assert self._source is not None
            self._source.cancel()
        return not self.ended

    def _hold(self, seconds: float) -> None:
        """Take nothing for so long: the bandwidth is used up."""
        if seconds and self._held is None and self._source is not None:
            self._held = self._loop.call_later(seconds, self._let_on)
            self._source.pause()

    def _let_on(self) -> None:
        self._held = None
        self._last_data = self._loop.time()
        if self._source is not None and not self._paused:
            self._source.resume()

    def complete(self) -> None:
        """The response was read to its end."""
        if self.state is State.RESPONDING and self._verdict is None:
            self.finish(outcomes.DONE)

    def failed(self, error_type: str, document: bytes) -> None:
        """The runtime reported an error, instead of a response or in its trailers."""
        if self.state in (State.RUNNING, State.RESPONDING) and self._verdict is None:
            self.finish(outcomes.function_error(error_type, document))

    def let_go(self, how: str) -> bool:
        """The environment is done with this invocation; it says how, if it was cancelled.

        Whether that was to be expected: False when it has not answered.
        """
        self._stop_clocks()
        if self.state is State.CANCELLING:
            took = (time.monotonic() - self._cancelled_at) * 1000
            self.finish(outcomes.cancelled(f"{how} after {took:.0f} ms"))
        elif self.state in (State.RUNNING, State.RESPONDING):
            message = "the runtime asked for another event before it had answered"
            self.finish(outcomes.sandbox_failure(self.request_id, message))
            return False
        return True

    def exited(self, exit: Exit, how: str) -> None:
        """The process has ended, and everything it sent was read."""
        self._stop_clocks()
        if self.state is State.CANCELLING:
            self.let_go(how)
        else:
            self.finish(self._verdict or outcomes.crashed(exit, self.request_id))

    def condemn(self, verdict: Outcome) -> None:
        """The process is being killed, for this reason; `exited` will follow."""
        self._verdict = verdict
        self._stop_clocks()

    # How it ends.

    def finish(self, outcome: Outcome) -> None:
        """End it: the first call counts. The sink gets the outcome, and nothing after it."""
        if self.state is State.ENDED:
            return
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if self._held is not None:
            self._held.cancel()
            self._let_on()  # the environment goes on without it
        if self._source is not None:
            self._source.report(self, outcome)  # before the end: what was printed is still its own
        self.state = State.ENDED
        self._owner.over(self)
        if self.tail is not None:
            outcome = replace(outcome, log_tail=self.tail.bytes())
        sink = self._sink
        del self._sink  # it holds us: neither is to wait for the garbage collector
        sink.end(outcome)

    def _timed_out(self) -> None:
        """The function's time is over; it may have answered, and have gone on."""
        assert self._source is not None
        if self.state is State.ENDED:
            self._source.overran(self)
            return
        self._source.timed_out(self, outcomes.timed_out(self.request_id, self.function.timeout))

    def _look_idle(self) -> None:
        """The idle clock: looks again when data came meanwhile, or the reader was the one to wait for."""
        limit = self.function.idle_timeout
        assert limit is not None
        assert self._source is not None
        now = self._loop.time()
        if self._paused or self._held is not None:
            self._last_data = now
        left = self._last_data + limit - now
        if left > 0.001:
            self._idle_timer = self._loop.call_later(left, self._look_idle)
            return
        self.finish(outcomes.idle_timed_out(self.request_id, limit))
        self._source.cancel()

    def _stop_clocks(self) -> None:
        for timer in (self._total_timer, self._idle_timer, self._held):
            if timer is not None:
                timer.cancel()
        self._total_timer = self._idle_timer = self._held = None  # uvloop's hold what they were to call


def _first(slices: Sequence[Slice], size: int) -> list[Slice]:
    """As much of them as `size` bytes are."""
    taken: list[Slice] = []
    for piece in slices:
        taken.append(piece[:size])
        size -= len(taken[-1])
    return [piece for piece in taken if len(piece)]
