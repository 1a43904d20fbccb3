"""Runs the events that were accepted: takes those that are due, calls their functions, and tries again.

    enqueue ──commit──▶ 202        due ──▶ Attempt ──▶ function
       └────── the table ───────────▲          │
                    ▲               └── retry ─┤
                    └─── forgotten, or ◀───────┘── record ──▶ destination

Rule 1: the row of an event leaves the table only when its function has had it, and its record is delivered.
A kill at any moment loses nothing; what was under way then runs once more.
Rule 2: the next attempt at an event begins after the commit of what the last one came to.
Rule 3: what is in memory is bounded: of each function some numbers, and the events that run.

Functions take turns. Each may run one event at any time and `event_concurrency` at most, all together
`_RUNNING`. One that is throttled runs fewer at once, and slowly more again; throttled with none of its
events running, it waits.
"""

import asyncio
import heapq
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol
from uuid import uuid4

from penstock.protocol import limits
from penstock.protocol.call import Call, FunctionNotFound, Head, Invocation, Invoker, Outcome, Slice
from penstock.service import outcomes
from penstock.service.functions import LATEST, Functions
from penstock.service.store import Store, StoreError, Told

from . import destinations, schedule
from .destinations import Answer, ToFile, ToFunction
from .queue import Event, Queue
from .schedule import EventSettings, Over, Verdict

DEEPEST = 16  # destinations that may lead from one event to the next
DELIVERIES = 5  # tries at a destination, with 1, 2, 4 and 8 s between them

_RUNNING = 256  # events that run at once, of all functions
_READY = 256  # numbers of due events that are known of one function
_AT_ONCE = 16  # attempts begun before the loop has a turn
_MORE = 0.1  # by how much a function's concurrency grows with each event it could run
_SHORTEST_TIMER, _LONGEST_TIMER = 0.001, 3600.0  # seconds: the wall clock is not the loop's, and may be set

Settings = Callable[[str, str], EventSettings]
"""The event-invoke configuration of a function and a qualifier, `$LATEST`'s being ""."""


class Config(Protocol):
    """The settings that are needed here."""

    @property
    def event_concurrency(self) -> int:
        """How many events of one function may run at once."""

    @property
    def event_retry_delay(self) -> float:
        """Seconds before the first retry of an event whose function failed; the second waits twice that."""


@dataclass(slots=True, eq=False)
class Line:
    """The events of one function."""

    function: str
    allowed: float  # how many may run at once, rounded down
    ready: deque[int] = field(default_factory=deque)  # due, the longest waiting first
    held: set[int] = field(default_factory=set)  # ready, running, or about to be written
    running: int = 0
    more: bool = True  # the table may have due ones that are not in `ready`
    later: bool = True  # it may have some that are not yet due
    refusals: int = 0  # in a row, each with nothing of it running
    paused: float = 0.0  # until then
    wake: float = math.inf  # when its timer is set for


class Attempt:
    """One attempt at an event: the sink of its invocation."""

    __slots__ = ("_body", "_owner", "_too_large", "event", "invocation", "line", "settings")

    def __init__(self, owner: "Dispatcher", line: Line, event: Event) -> None:
        self._owner = owner
        self.line = line
        self.event = event
        self.settings = EventSettings()
        self.invocation: Invocation | None = None
        self._too_large = False
        self._body = bytearray()  # kept only if there is a destination for it

    def head(self, head: Head) -> None:
        pass

    def data(self, slices: Sequence[Slice]) -> None:
        if not self.settings.on_success or self._too_large:
            return
        for piece in slices:
            self._body += piece
        if len(self._body) > limits.RESPONSE_PAYLOAD:  # a streamed one: the service itself refuses others
            self._too_large = True
            self._body.clear()
            if self.invocation is not None:
                self.invocation.cancel()

    def end(self, outcome: Outcome) -> None:
        self._owner.ended(self, outcomes.too_large() if self._too_large else outcome)

    def answer(self, outcome: Outcome) -> Answer:
        version = self.event.call.qualifier or LATEST
        if self.invocation is not None:
            version = self.invocation.executed_version
        return Answer(outcome, version, bytes(self._body) if outcome.ok else outcome.error_body)


class Dispatcher:
    """Accepts events and runs them.

    Use: `await start()`; `enqueue` from the first moment on; at the end `pause()`, then stop the service,
    then `await stop()`.
    """

    def __init__(
        self,
        store: Store,
        invoker: Invoker,
        functions: Functions,
        settings: Settings,
        config: Config,
        note: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._invoker = invoker
        self._functions = functions
        self._settings = settings
        self._config = config
        self._note = note
        self._clock = clock
        self._queue = Queue(store)
        self._lines: dict[str, Line] = {}
        self._turn: dict[str, Line] = {}  # those that may have something to start; the next one first
        self._wakes: list[tuple[float, str]] = []  # a heap; what its line does not agree with is out of date
        self._running = 0
        self._writing = 0  # of those that run: how many are only to be written
        self._files = ThreadPoolExecutor(1, "penstock-destinations")  # so that lines do not mix
        self._timer: asyncio.TimerHandle | None = None
        self._stepping: asyncio.Handle | None = None
        self._paused = True
        self._stopped = False
        self._written = asyncio.Event()

    def __repr__(self) -> str:
        ready = sum(len(line.ready) for line in self._lines.values())
        state = "paused, " if self._paused else ""
        return f"<Dispatcher {state}{len(self._lines)} functions, {ready} ready, {self._running} running>"

    @property
    def running(self) -> int:
        """How many attempts have not ended."""
        return self._running - self._writing

    def waiting(self) -> int:
        """How many events are in the table, running ones among them; counts them."""
        return self._queue.count()

    async def start(self) -> None:
        """Begin to run events: those that were left from the last time first. Raises StoreError."""
        self._loop = asyncio.get_running_loop()
        self._paused = False
        for function in self._queue.functions():
            self._offer(self._line(function))

    def pause(self) -> None:
        """Start nothing more. What runs may end, and events are still accepted, for the next start."""
        self._paused = True
        for handle in (self._timer, self._stepping):
            if handle is not None:
                handle.cancel()
        self._timer = self._stepping = None

    async def stop(self) -> None:
        """Pause, and wait until all that ended is written. Attempts that go on run again at the next start.

        So do events whose record could not be delivered yet.
        """
        self.pause()
        self._stopped = True
        while self._writing:
            self._written.clear()
            await self._written.wait()
        self._files.shutdown(wait=False)

    def enqueue(self, call: Call) -> "asyncio.Future[None]":
        """Accept an event. Done when it is durable; StoreError if it could not be kept.

        It gets a request id if it has none. Leaving the future does not take the event back.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def kept(failure: StoreError | None) -> None:
            if failure is None:
                self._arrived(call.function, number)
            if not future.done():
                _tell(future, failure)

        if not call.request_id:
            call = replace(call, request_id=str(uuid4()))
        try:
            number = self._queue.add(call, self._clock(), kept)
        except StoreError as failure:
            _tell(future, failure)
        return future

    # What is to be started, and when.

    def _line(self, function: str) -> Line:
        line = self._lines.get(function)
        if line is None:
            line = self._lines[function] = Line(function, self._config.event_concurrency)
        return line

    def _arrived(self, function: str, number: int) -> None:
        """An event is in the table, and due."""
        if self._paused:
            return  # the next start finds it
        line = self._lines.get(function)
        if line is None:
            line = self._line(function)
            line.more = line.later = False  # it is the only one
        if number in line.held:
            return  # it was found in the table before we were told of its commit
        if line.more or len(line.ready) >= _READY:
            line.more = True
        else:
            line.ready.append(number)
            line.held.add(number)
        self._offer(line)

    def _offer(self, line: Line) -> None:
        """Something about a line has changed: it has its turn."""
        if not self._paused:
            self._turn[line.function] = line
            if self._stepping is None:
                self._stepping = self._loop.call_soon(self._step)

    def _step(self) -> None:
        """Start what can be started, one of each function at a time."""
        self._stepping = None
        now = self._clock()
        begun = 0
        blocked: dict[str, Line] = {}
        while self._turn and begun < _AT_ONCE:
            function = next(iter(self._turn))
            line = self._turn.pop(function)
            if now < line.paused:
                self._wake(line, line.paused)
            elif line.running >= int(line.allowed):
                pass  # the end of one of its own offers it again
            elif line.running and self._running >= _RUNNING:
                blocked[function] = line
            elif (number := self._next(line, now)) is not None:
                self._begin(line, number, now)
                begun += 1
                self._turn.setdefault(function, line)
            elif not line.held and not line.later:
                del self._lines[function]
        unseen = bool(self._turn)
        self._turn.update(blocked)
        if unseen:
            self._stepping = self._loop.call_soon(self._step)

    def _next(self, line: Line, now: float) -> int | None:
        """Take the next due event of a line; None when there is none, and its timer is set for the first."""
        try:
            if not line.ready and line.more:
                numbers, line.more = self._queue.due(line.function, now, _READY, line.held)
                line.ready.extend(numbers)
                line.held.update(numbers)
            if line.ready:
                return line.ready.popleft()
            if line.later and line.wake == math.inf:
                due = self._queue.next_due(line.function, now)
                if due is None:
                    line.later = False
                else:
                    self._wake(line, due)
        except StoreError as failure:
            self._refuse(line, now, f"the events of {line.function} cannot be read: {failure}")
        return None

    def _wake(self, line: Line, when: float) -> None:
        """Look at a line again at `when`, if not before."""
        if when < line.wake:
            line.wake = when
            heapq.heappush(self._wakes, (when, line.function))
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._wakes and not self._paused:
            left = self._wakes[0][0] - self._clock()
            self._timer = self._loop.call_later(min(max(left, _SHORTEST_TIMER), _LONGEST_TIMER), self._woken)

    def _woken(self) -> None:
        self._timer = None
        now = self._clock()
        while self._wakes and self._wakes[0][0] <= now:
            when, function = heapq.heappop(self._wakes)
            line = self._lines.get(function)
            if line is not None and line.wake == when:
                line.wake = math.inf
                line.more = True
                self._offer(line)
        self._set_timer()

    def _refuse(self, line: Line, now: float, why: str) -> None:
        """Nothing of a line can run now: it waits, longer each time."""
        line.refusals += 1
        line.paused = now + schedule.back_off(line.refusals)
        self._wake(line, line.paused)
        self._note(f"{why}; next try in {line.paused - now:g} s")

    # An attempt.

    def _begin(self, line: Line, number: int, now: float) -> None:
        """Call the function, or find that there is no more use in it."""
        try:
            event = self._queue.get(number)
        except StoreError as failure:
            line.ready.appendleft(number)
            self._refuse(line, now, f"an event of {line.function} cannot be read: {failure}")
            return
        if event is None:
            line.held.discard(number)
            return
        call = event.call
        attempt = Attempt(self, line, event)
        line.running += 1
        self._running += 1
        try:
            attempt.settings = settings = self._settings(call.function, call.qualifier)
            if schedule.expired(settings, event.accepted, now):
                self._give_up(attempt, schedule.EVENT_AGE_EXCEEDED, event.attempts, None, event.error)
            elif self._functions.reserved(call.function) == 0:
                why = "its reserved concurrency is 0"
                self._give_up(attempt, schedule.ZERO_RESERVED_CONCURRENCY, event.attempts, None, why)
            else:
                attempt.invocation = self._invoker.invoke(call, attempt)
        except FunctionNotFound as error:  # it was deleted since
            self._note(f"event {call.request_id} is discarded: {error}")
            self._settle(attempt)

    def ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """What an attempt came to."""
        event, line, now = attempt.event, attempt.line, self._clock()
        verdict = schedule.verdict(outcome)
        if verdict is Verdict.THROTTLED:
            self._throttled(attempt, outcome, now)
            return
        if verdict is Verdict.KEPT:
            self._kept(attempt, outcome, now)
            return
        line.refusals = 0
        line.allowed = min(line.allowed + _MORE, self._config.event_concurrency)
        attempts = event.attempts + 1
        if verdict is Verdict.SUCCEEDED:
            self._over(attempt, schedule.SUCCESS, attempts, attempt.answer(outcome))
            return
        error = f"{outcome.ending.word}: {outcome.detail or outcome.error_type}"
        delay = self._config.event_retry_delay
        decision = schedule.after_failure(attempt.settings, delay, event.accepted, attempts, now)
        if isinstance(decision, Over):
            self._give_up(attempt, decision.condition, attempts, attempt.answer(outcome), error)
        else:
            self._again(attempt, decision.due, attempts, 0, error, now)

    def _throttled(self, attempt: Attempt, outcome: Outcome, now: float) -> None:
        """Nothing was run, and nothing is to be written: it is the next of its line again."""
        line = attempt.line
        self._release(attempt)
        line.held.add(attempt.event.number)
        line.ready.appendleft(attempt.event.number)
        if line.running:
            line.allowed = line.running
        else:
            why = outcome.error_type or outcome.detail
            self._refuse(line, now, f"the events of {line.function} are throttled ({why})")

    def _kept(self, attempt: Attempt, outcome: Outcome, now: float) -> None:
        """The platform could not run it."""
        event = attempt.event
        if self._paused:
            self._release(attempt)  # it stays as it is, for the next start
            return
        error = f"{outcome.ending.word}: {outcome.detail or outcome.error_type}"
        decision = schedule.after_refusal(attempt.settings, event.accepted, event.refusals + 1, now)
        if isinstance(decision, Over):
            self._give_up(attempt, decision.condition, event.attempts, None, error)
        else:
            self._again(attempt, decision.due, event.attempts, event.refusals + 1, error, now)

    def _again(
        self, attempt: Attempt, due: float, attempts: int, refusals: int, error: str, now: float
    ) -> None:
        event, line = attempt.event, attempt.line
        self._note(
            f"event {event.call.request_id} of {line.function} has failed ({error});"
            f" it is tried again in {due - now:g} s"
        )

        def written() -> None:
            line.later = True
            self._wake(line, due)

        self._write(
            attempt, lambda told: self._queue.postpone(event, due, attempts, refusals, error, told), written
        )

    def _give_up(
        self, attempt: Attempt, condition: str, attempts: int, answer: Answer | None, error: str
    ) -> None:
        if not attempt.settings.on_failure:
            times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
            reason = f" ({error})" if error else ""
            self._note(
                f"event {attempt.event.call.request_id} of {attempt.line.function} is lost"
                f" after {times}: {condition}{reason}"
            )
        self._over(attempt, condition, attempts, answer)

    # The end of an event.

    def _over(self, attempt: Attempt, condition: str, attempts: int, answer: Answer | None) -> None:
        """It is done with: deliver its record if it has a destination, then forget it."""
        settings, event = attempt.settings, attempt.event
        text = settings.on_success if condition == schedule.SUCCESS else settings.on_failure
        if not text:
            self._settle(attempt)
            return
        call = event.call
        arn = self._functions.arn(call.function, call.qualifier or LATEST)
        self._deliver(
            attempt, text, destinations.record(event, arn, condition, attempts, answer, self._clock())
        )

    def _deliver(self, attempt: Attempt, text: str, record: bytes, tries: int = 1) -> None:
        """Deliver a record to the destination `text`; the event is forgotten with that, or after it."""
        if self._stopped:
            self._release(attempt)  # the event runs again at the next start, and its record is made anew
            return
        match destinations.parse_destination(text):
            case ToFile(path):
                self._writing += 1
                appended = self._loop.run_in_executor(self._files, destinations.append, path, record)

                def done(appended: "asyncio.Future[None]") -> None:
                    self._writing -= 1
                    self._written.set()
                    error = appended.exception()
                    if error is None:
                        self._settle(attempt)
                    else:
                        self._undelivered(attempt, text, record, tries, error)

                appended.add_done_callback(done)
            case ToFunction(name, qualifier):
                try:
                    self._pass_on(attempt, name, qualifier, record)
                except FunctionNotFound as error:
                    self._undelivered(attempt, text, record, tries, error)

    def _undelivered(
        self, attempt: Attempt, text: str, record: bytes, tries: int, error: BaseException
    ) -> None:
        what = f"the record of event {attempt.event.call.request_id}"
        if tries < DELIVERIES:
            seconds = schedule.back_off(tries)
            self._note(f"{what} cannot be delivered: {error}; next try in {seconds:g} s")
            self._loop.call_later(seconds, self._deliver, attempt, text, record, tries + 1)
        else:
            self._note(f"{what} is lost: {error}; it was {destinations.shown(record)}")
            self._settle(attempt)

    def _pass_on(self, attempt: Attempt, name: str, qualifier: str, record: bytes) -> None:
        """Replace an event by the one that its record is. Raises FunctionNotFound."""
        event = attempt.event
        self._functions.resolve(name, qualifier)
        if event.depth >= DEEPEST:
            self._note(
                f"event {event.call.request_id} of {event.call.function} has come through {DEEPEST}"
                f" destinations, as a loop would: its record for {name} is lost; it was"
                f" {destinations.shown(record)}"
            )
            self._settle(attempt)
            return
        call = Call(name, record, event.call.trace_id, "", qualifier, "", str(uuid4()))
        number = 0

        def write(told: Told) -> None:
            nonlocal number
            number = self._queue.replace(event, call, self._clock(), told)

        self._write(attempt, write, lambda: self._arrived(name, number))

    def _settle(self, attempt: Attempt) -> None:
        self._write(attempt, lambda told: self._queue.settle(attempt.event, told), lambda: None)

    def _write(
        self, attempt: Attempt, write: Callable[[Told], object], written: Callable[[], None], tries: int = 1
    ) -> None:
        """Write what an attempt came to, until the disk takes it; then its line may go on."""
        self._writing += 1

        def told(failure: StoreError | None) -> None:
            self._writing -= 1
            self._written.set()
            if failure is None:
                self._release(attempt)
                if not self._paused:
                    written()
            elif self._paused:
                self._release(attempt)
            else:
                seconds = schedule.back_off(tries)
                self._note(f"{failure}; events that were run cannot be forgotten: next try in {seconds:g} s")
                self._loop.call_later(seconds, self._write, attempt, write, written, tries + 1)

        try:
            write(told)
        except StoreError as failure:  # closed: the event stays, and runs again at the next start
            self._paused = True
            told(failure)

    def _release(self, attempt: Attempt) -> None:
        """An attempt is over with all that belongs to it."""
        line = attempt.line
        line.running -= 1
        self._running -= 1
        line.held.discard(attempt.event.number)
        self._offer(line)


def _tell(future: "asyncio.Future[None]", failure: StoreError | None) -> None:
    if failure is None:
        future.set_result(None)
    else:
        future.set_exception(failure)
