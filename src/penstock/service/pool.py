"""Which environment runs what: every decision about environments is made here, and reserved as it is made.

Rule 1: no I/O and no clock in this file; `now` is an argument, in seconds.
Rule 2: `step` changes the state it decided on before it returns, so the next step cannot decide it again.

    STARTING ──ready──▶ IDLE ──Assign──▶ BUSY ──done──▶ RETURNING ──ready──▶ IDLE
        └──────────────────┴──── Stop ────┴───────────────┴──▶ STOPPING ──gone──▶ (forgotten)

What is limited is concurrency, the calls that run or wait, and it is limited by function: an account has so
much, and what is reserved for a function is its own and its most. Environments go by key, of which a function
has one for each version and generation of its code: those of one key are alike.

A call waits only while a slot may still become its own; when everything is running it is rejected at once, as
AWS throttles. A waiter takes a freed or a new environment, whichever comes first.
"""

from collections import OrderedDict, deque
from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from .pacing import Rate, Scaling


class State(IntEnum):
    STARTING = 0
    IDLE = 1
    BUSY = 2
    RETURNING = 3  # its call has ended, and it has not yet asked for another
    STOPPING = 4


_STARTING, _IDLE, _BUSY, _RETURNING, _STOPPING = State  # Python 3.11 takes its time to look one up in an Enum


class Reason(Enum):
    """Why a call is rejected, in AWS's words: the Reason of TooManyRequestsException.

    Source: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors.
    """

    ACCOUNT = "ConcurrentInvocationLimitExceeded"
    RESERVED = "ReservedFunctionConcurrentInvocationLimitExceeded"
    RATE = "FunctionInvocationRateLimitExceeded"
    RESERVED_RATE = "ReservedFunctionInvocationRateLimitExceeded"


@dataclass(frozen=True, slots=True)
class Start:
    """Start an environment of `key` in slot `number`: `ticket` is a call of it, and waits."""

    number: int
    key: str
    ticket: Hashable


@dataclass(frozen=True, slots=True)
class Assign:
    """Give the call `ticket` to the environment in slot `number`."""

    number: int
    ticket: Hashable


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the environment in slot `number`: it is idle, or starts for a call that is not there any more."""

    number: int


@dataclass(frozen=True, slots=True)
class Reject:
    """There is no environment to be had for the call `ticket`."""

    ticket: Hashable
    reason: Reason = Reason.ACCOUNT


Action = Start | Assign | Stop | Reject


@dataclass(slots=True, eq=False)
class _Share:
    """An amount of concurrency, and how much of it is taken: by calls that run, and calls that wait."""

    limit: int
    reason: Reason = Reason.ACCOUNT
    load: int = 0


@dataclass(slots=True, eq=False)
class _Function:
    """What the pool holds of one function."""

    name: str
    share: _Share  # its own when it has reserved concurrency, else the one of all others
    lines: dict[str, "_Line"] = field(default_factory=dict)  # by key; not the retired
    alive: int = 0  # lines, the retired too
    waiting: int = 0  # in all its lines
    starting: int = 0
    background: dict[Hashable, None] = field(default_factory=dict)  # waiting calls that nobody waits for
    hungry: dict["_Line", None] = field(default_factory=dict)  # with more that wait than start
    growth: Rate | None = None  # of new environments
    requests: Rate | None = None


@dataclass(slots=True, eq=False)
class _Line:
    """What the pool holds of one key."""

    key: str
    function: _Function
    idle: dict[int, "Slot"] = field(default_factory=dict)  # by number; the most recently used last
    starting: dict[int, "Slot"] = field(default_factory=dict)
    waiting: deque[Hashable] = field(default_factory=deque)  # the longest waiting first
    slots: int = 0
    lacking: int = 0  # how many more wait than start; below zero, how many start for nobody
    changed: bool = False  # the next step has to look at it
    retired: bool = False


@dataclass(slots=True, eq=False)
class Slot:
    """One environment, as the pool sees it."""

    number: int
    line: _Line
    state: State
    since: float  # when it came into this state


class Pool:
    """At most `limit` environments, at most `starts` of them starting at once, and one of each function.

    `limit` is also the concurrency of the account. With `scaling`, functions grow no faster than it says, and
    take no more requests a second.
    """

    def __init__(self, limit: int, starts: int, idle_expiry: float, scaling: Scaling | None = None) -> None:
        self._limit = limit
        self._starts = starts
        self._idle_expiry = idle_expiry
        self._scaling = scaling
        self._slots: dict[int, Slot] = {}
        self._functions: dict[str, _Function] = {}
        self._tickets: dict[Hashable, _Line] = {}  # all waiting calls, the first to come first
        self._account = _Share(limit)
        self._open = _Share(limit)  # of all functions that have none reserved
        self._count = [0] * len(State)
        self._next_number = 1
        # So that a step looks only at what there is to do, however many functions there are:
        self._changed: list[_Line] = []
        self._refused: list[Action] = []  # by their rate, as they came
        self._crowded = False  # a share may have more load than it may
        self._idle: OrderedDict[int, Slot] = OrderedDict()  # of all functions, the longest unused first
        self._wanting: dict[str, _Function] = {}  # functions with waiting calls, the first to wait first
        self._hungry: dict[str, _Function] = {}  # functions with lines that are
        self._fresh: dict[str, _Function] = {}  # of these the ones that have none starting
        self._lacking = 0  # the sum of what lines lack
        self._surplus: dict[_Line, None] = {}  # lines with more that start than wait
        self._fading: dict[str, _Function] = {}  # nothing is left of them but what their rates remember

    def __repr__(self) -> str:
        counts = ", ".join(f"{self._count[state]} {state.name.lower()}" for state in State)
        return f"<Pool {counts} of {self._limit}; {len(self._tickets)} waiting>"

    # What may run.

    def reserve(self, function: str, reserved: int | None) -> None:
        """Set a function's reserved concurrency; None takes it away. Calls that run go on."""
        entry = self._functions.get(function)
        if entry is None:
            if reserved is None:
                return
            entry = self._add_function(function)
        old = entry.share
        if (None if old is self._open else old.limit) == reserved:
            return
        load = entry.waiting
        load += sum(s.state is _BUSY and s.line.function is entry for s in self._slots.values())
        old.load -= load
        if old is not self._open:
            self._open.limit += old.limit
        if reserved is None:
            entry.share = self._open
        else:
            entry.share = _Share(reserved, Reason.RESERVED)
            self._open.limit -= reserved
        entry.share.load += load
        self._crowded = True
        entry.requests = self._request_rate(entry)
        self._fading.pop(function, None)
        if not entry.alive:
            self._forget_function(entry)

    def keys(self, function: str) -> list[str]:
        """The keys of a function that are in use and not retired."""
        entry = self._functions.get(function)
        return [] if entry is None else list(entry.lines)

    def retire(self, function: str, keep: Collection[str]) -> None:
        """A function was changed: its environments of other keys than those of `keep` are given up.

        Calls that were accepted for them still run on them, and environments are started for these calls.
        All else is stopped as soon as it is free. A call that comes later gets another environment, of
        whatever key.
        """
        entry = self._functions.get(function)
        if entry is None:
            return
        for key in [key for key in entry.lines if key not in keep]:
            line = entry.lines.pop(key)
            line.retired = True
            self._note(line)

    # What happens.

    def submit(
        self, function: str, key: str, ticket: Hashable, now: float, *, background: bool = False
    ) -> None:
        """A call has come; one in the background gives way to others while it waits."""
        entry = self._functions.get(function)
        if entry is None:
            entry = self._add_function(function)
        line = entry.lines.get(key)
        if line is None:
            line = self._add_line(entry, key)
        if not line.changed:
            line.changed = True
            self._changed.append(line)
        if self._scaling is not None and (reason := self._too_fast(entry, line, now)) is not None:
            self._refused.append(Reject(ticket, reason))
            return
        line.waiting.append(ticket)
        self._tickets[ticket] = line
        if background:
            entry.background[ticket] = None
        entry.waiting += 1
        self._wanting[function] = entry
        account, share = self._account, entry.share
        account.load += 1
        share.load += 1
        if share.load > share.limit or account.load > account.limit:
            self._crowded = True

    def withdraw(self, ticket: Hashable) -> None:
        """A waiting call's caller has left."""
        self._drop(ticket)

    def done(self, number: int, now: float) -> None:
        """A call has ended; its environment has not yet asked for another, or is being ended."""
        slot = self._slots[number]
        if slot.state is _BUSY:
            self._move(slot, _RETURNING, now)

    def ready(self, number: int, now: float) -> None:
        """An environment asks for its next event."""
        slot = self._slots[number]
        if slot.state is not _IDLE and slot.state is not _STOPPING:
            self._move(slot, _IDLE, now)

    def stopping(self, number: int) -> None:
        """An environment is being ended: it will not be ready again."""
        self._move(self._slots[number], _STOPPING)

    def gone(self, number: int) -> None:
        """An environment's process has ended."""
        slot = self._slots.pop(number)
        self._leave(slot)
        slot.line.slots -= 1
        self._note(slot.line)

    def first_waiting(self, number: int) -> Hashable | None:
        """Take the call that waits longest for one of the kind of slot `number`: it failed to start."""
        line = self._slots[number].line
        if not line.waiting:
            return None
        ticket = line.waiting[0]
        self._drop(ticket)
        return ticket

    # What is to be done.

    def step(self, now: float) -> list[Action]:
        """Everything that is to be done now."""
        actions: list[Action] = []
        if self._refused:
            actions, self._refused = self._refused, actions
        if self._crowded:
            self._reject(actions)
        if changed := self._changed:
            self._changed = []
            for line in changed:
                self._serve(line, now, actions)
        if self._hungry:
            self._start(now, actions)
        while self._idle:
            slot = next(iter(self._idle.values()))
            if slot.since + self._idle_expiry > now:
                break
            self._stop(slot, actions)
        if self._fading:
            self._fade(now)
        return actions

    def next_expiry(self) -> float | None:
        """When the next idle environment is due to be stopped."""
        for slot in self._idle.values():
            return slot.since + self._idle_expiry
        return None

    # What the decisions are made of: each keeps every count and every line true.

    def _add_function(self, name: str) -> _Function:
        entry = self._functions[name] = _Function(name, self._open)
        if self._scaling is not None:
            entry.growth = Rate(self._scaling.burst, self._scaling.per_second)
            entry.requests = self._request_rate(entry)
        return entry

    def _request_rate(self, entry: _Function) -> Rate | None:
        if self._scaling is None:
            return None
        concurrency = self._limit if entry.share is self._open else entry.share.limit
        rate = concurrency * self._scaling.requests_per_concurrency
        return Rate(rate, rate)

    def _add_line(self, entry: _Function, key: str) -> _Line:
        line = entry.lines[key] = _Line(key, entry)
        entry.alive += 1
        self._fading.pop(entry.name, None)
        return line

    def _forget_line(self, line: _Line) -> None:
        """Nothing waits, nothing lives: what was it?"""
        entry = line.function
        if not line.retired:
            del entry.lines[line.key]
        entry.alive -= 1
        if not entry.alive:
            self._forget_function(entry)

    def _forget_function(self, entry: _Function) -> None:
        if entry.share is not self._open:
            return
        if self._scaling is not None:
            self._fading[entry.name] = entry  # or it would be new, and as fast, each time
        else:
            del self._functions[entry.name]

    def _fade(self, now: float) -> None:
        """Forget the rates of one function, when they would be the same without."""
        name, entry = next(iter(self._fading.items()))
        assert entry.growth is not None
        assert entry.requests is not None
        if entry.growth.full(now) and entry.requests.full(now):
            del self._fading[name], self._functions[name]

    def _note(self, line: _Line) -> None:
        """Have the next step look at it."""
        if not line.changed:
            line.changed = True
            self._changed.append(line)

    def _move(self, slot: Slot, state: State, now: float = 0.0) -> None:
        self._leave(slot)
        slot.state, slot.since = state, now
        self._enter(slot)

    def _enter(self, slot: Slot) -> None:
        """Count a slot in where its state belongs. What a busy one runs was counted as it came."""
        state, line = slot.state, slot.line
        self._count[state] += 1
        if state is _IDLE:
            line.idle[slot.number] = self._idle[slot.number] = slot
            self._note(line)
        elif state is _STARTING:
            line.starting[slot.number] = slot
            line.function.starting += 1
            self._weigh(line)

    def _leave(self, slot: Slot) -> None:
        """The opposite; a busy one's call runs no more."""
        state, line = slot.state, slot.line
        self._count[state] -= 1
        if state is _BUSY:
            self._account.load -= 1
            line.function.share.load -= 1
        elif state is _IDLE:
            del line.idle[slot.number], self._idle[slot.number]
        elif state is _STARTING:
            del line.starting[slot.number]
            line.function.starting -= 1
            self._weigh(line)

    def _drop(self, ticket: Hashable) -> None:
        """A call waits no more, and will not run."""
        line = self._tickets.pop(ticket)
        if line.waiting[-1] == ticket:
            line.waiting.pop()
        else:
            line.waiting.remove(ticket)
        self._account.load -= 1
        line.function.share.load -= 1
        self._left(line.function, ticket)
        self._note(line)

    def _left(self, entry: _Function, ticket: Hashable) -> None:
        """One of its calls waits no more."""
        if entry.background:
            entry.background.pop(ticket, None)
        entry.waiting -= 1
        if not entry.waiting:
            del self._wanting[entry.name]

    def _weigh(self, line: _Line) -> None:
        """What a line lacks has changed, or what its function has starting."""
        before, entry = line.lacking, line.function
        line.lacking = lacking = len(line.waiting) - len(line.starting)
        self._lacking += max(lacking, 0) - max(before, 0)
        if lacking > 0:
            entry.hungry[line] = None
        else:
            entry.hungry.pop(line, None)
        if lacking < 0:
            self._surplus[line] = None
        else:
            self._surplus.pop(line, None)
        if entry.hungry:
            self._hungry[entry.name] = entry
        else:
            self._hungry.pop(entry.name, None)
        if entry.hungry and not entry.starting:
            self._fresh[entry.name] = entry
        else:
            self._fresh.pop(entry.name, None)

    def _stop(self, slot: Slot, actions: list[Action]) -> None:
        self._move(slot, _STOPPING)
        actions.append(Stop(slot.number))

    # The decisions.

    def _too_fast(self, entry: _Function, line: _Line, now: float) -> Reason | None:
        """Whether a call comes faster than AWS would take it.

        https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html: a call for which no environment is
        free is one more execution, of which a function may begin so many in ten seconds.
        """
        share = entry.share
        if share.load >= share.limit:
            return None  # it is too many, not too fast
        assert entry.growth is not None
        assert entry.requests is not None
        if not entry.requests.take(now):
            return Reason.RATE if share is self._open else Reason.RESERVED_RATE
        if len(line.idle) <= len(line.waiting) and not entry.growth.take(now):
            return Reason.RATE
        return None

    def _reject(self, actions: list[Action]) -> None:
        """Refuse the calls that are more than may run."""
        self._crowded = False
        for share in [entry.share for entry in self._wanting.values() if entry.share is not self._open]:
            self._relieve(share, actions)
        self._relieve(self._open, actions)
        # More than all shares have in common: only where more is reserved than there is, or others already
        # ran when it was reserved.
        self._relieve(self._account, actions)

    def _relieve(self, share: _Share, actions: list[Action]) -> None:
        while share.load > share.limit:
            # The function with the most waiting gives its newest, so one busy function does not push out the
            # others; among equals the one that began to wait last. Those that wait in the background first.
            entry = max(
                (e for e in reversed(self._wanting.values()) if share is self._account or e.share is share),
                key=lambda entry: (len(entry.background), entry.waiting),
                default=None,
            )
            if entry is None:
                return
            if entry.background:
                ticket = next(reversed(entry.background))
            else:
                ticket = next(t for t, line in reversed(self._tickets.items()) if line.function is entry)
            self._drop(ticket)
            actions.append(Reject(ticket, share.reason))

    def _serve(self, line: _Line, now: float, actions: list[Action]) -> None:
        """Give a line's waiting calls its idle environments, the most recently used first."""
        line.changed = False
        waiting, idle = line.waiting, line.idle
        while waiting and idle:
            slot = idle[next(reversed(idle))]
            self._move(slot, _BUSY, now)
            ticket = waiting.popleft()
            del self._tickets[ticket]
            self._left(line.function, ticket)
            actions.append(Assign(slot.number, ticket))
        if line.lacking != len(waiting) - len(line.starting):
            self._weigh(line)
        if line.retired:
            while idle:
                self._stop(next(iter(idle.values())), actions)
            while line.lacking < 0:
                self._stop(line.starting[next(reversed(line.starting))], actions)
        if not waiting and not line.slots:
            self._forget_line(line)

    def _start(self, now: float, actions: list[Action]) -> None:
        """Start environments for waiting calls; make room by stopping others that nobody waits for.

        The function with the fewest starting is next, and one with none may always begin: a function that is
        slow to start holds up nobody but itself.
        """
        while self._hungry:
            if self._fresh:
                entry = next(iter(self._fresh.values()))
            elif self._count[_STARTING] >= self._starts:
                return
            else:
                entry = min(self._hungry.values(), key=lambda entry: entry.starting)
            if len(self._slots) < self._limit:
                line = next(iter(entry.hungry))
                del entry.hungry[line]  # the last of its function, if it still is
                slot = Slot(self._next_number, line, _STARTING, now)
                self._next_number += 1
                self._slots[slot.number] = slot
                line.slots += 1
                self._enter(slot)
                actions.append(Start(slot.number, line.key, line.waiting[0]))
            # One is enough for each that lacks one: those already stopping will be free soon.
            elif self._count[_STOPPING] >= self._lacking or not self._make_room(actions):
                return

    def _make_room(self, actions: list[Action]) -> bool:
        """Stop the environment that was unused for longest, else one that starts and has lost its call."""
        if self._idle:
            slot = next(iter(self._idle.values()))
        elif self._surplus:
            starting = next(iter(self._surplus)).starting
            slot = starting[next(reversed(starting))]
        else:
            return False
        self._stop(slot, actions)
        return True
