"""Which environment runs what: every decision about environments is made here, and reserved as it is made.

Rule 1: no I/O and no clock in this file; `now` is an argument, in seconds.
Rule 2: `step` changes the state it decided on before it returns, so the next step cannot decide it again.

    STARTING ──ready──▶ IDLE ──Assign──▶ BUSY ──ready──▶ IDLE
        └──────────────────┴──── Stop ────┴──▶ STOPPING ──gone──▶ (forgotten)

A call waits only while a slot may still become its own; when every slot is busy it is rejected at once, as
AWS throttles. A waiter takes a freed or a new environment, whichever comes first.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum, auto


class State(Enum):
    STARTING = auto()
    IDLE = auto()
    BUSY = auto()
    STOPPING = auto()


@dataclass(slots=True)
class Slot:
    """One environment, as the pool sees it."""

    number: int
    function: str
    state: State
    since: float  # when it came into this state


@dataclass(frozen=True, slots=True)
class Start:
    """Start an environment of `function` in slot `number`."""

    number: int
    function: str


@dataclass(frozen=True, slots=True)
class Assign:
    """Give the call `ticket` to the environment in slot `number`."""

    number: int
    ticket: Hashable


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the idle environment in slot `number`."""

    number: int


@dataclass(frozen=True, slots=True)
class Reject:
    """There is no environment to be had for the call `ticket`."""

    ticket: Hashable


Action = Start | Assign | Stop | Reject


@dataclass(slots=True)
class _Line:
    """What the pool holds of one function."""

    idle: dict[int, Slot] = field(default_factory=dict)  # by number; the most recently used last
    waiting: deque[Hashable] = field(default_factory=deque)  # the longest waiting first
    starting: int = 0


class Pool:
    """At most `limit` environments, at most `starts` of them starting at once, and one of each function."""

    def __init__(self, limit: int, starts: int, idle_expiry: float) -> None:
        self._limit = limit
        self._starts = starts
        self._idle_expiry = idle_expiry
        self._slots: dict[int, Slot] = {}
        self._lines: dict[str, _Line] = {}
        # So that a step looks only at what there is to do, however many functions there are:
        self._idle: dict[int, Slot] = {}  # of all functions, the longest unused first
        self._wanting: dict[str, _Line] = {}  # lines with waiting calls, the first to wait first
        self._count = dict.fromkeys(State, 0)
        self._waiting = 0
        self._next_number = 1

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {state.name.lower()}" for state, count in self._count.items())
        return f"<Pool {counts} of {self._limit}; {self._waiting} waiting>"

    def submit(self, function: str, ticket: Hashable) -> None:
        """A call has come."""
        if (line := self._lines.get(function)) is None:
            line = self._lines[function] = _Line()
        line.waiting.append(ticket)
        self._wanting[function] = line
        self._waiting += 1

    def withdraw(self, function: str, ticket: Hashable) -> None:
        """A waiting call's caller has left."""
        line = self._lines[function]
        line.waiting.remove(ticket)
        self._left(function, line)

    def ready(self, number: int, now: float) -> None:
        """An environment asks for its next event."""
        slot = self._slots[number]
        if slot.state in (State.STARTING, State.BUSY):
            self._move(slot, State.IDLE, now)

    def stopping(self, number: int) -> None:
        """An environment is being ended: it will not be ready again."""
        self._move(self._slots[number], State.STOPPING)

    def gone(self, number: int) -> None:
        """An environment's process has ended."""
        self._leave(self._slots.pop(number))

    def first_waiting(self, function: str) -> Hashable | None:
        """Take the longest waiting call of a function out of the line: its environment failed to start."""
        line = self._wanting.get(function)
        return None if line is None else self._take(function, line)

    def step(self, now: float) -> list[Action]:
        """Everything that is to be done now."""
        actions: list[Action] = []
        if self._waiting:
            self._assign(now, actions)
            self._reject(actions)
            self._start(now, actions)
        while (due := self.next_expiry()) is not None and due <= now:
            self._stop(next(iter(self._idle.values())), actions)
        return actions

    def next_expiry(self) -> float | None:
        """When the next idle environment is due to be stopped."""
        for slot in self._idle.values():
            return slot.since + self._idle_expiry
        return None

    # What the decisions are made of: each keeps every count and every line true.

    def _move(self, slot: Slot, state: State, now: float = 0.0) -> None:
        self._leave(slot)
        slot.state, slot.since = state, now
        self._enter(slot)

    def _enter(self, slot: Slot) -> None:
        """Count a slot in where its state belongs."""
        self._count[slot.state] += 1
        line = self._lines[slot.function]
        if slot.state is State.IDLE:
            line.idle[slot.number] = self._idle[slot.number] = slot
        elif slot.state is State.STARTING:
            line.starting += 1

    def _leave(self, slot: Slot) -> None:
        """The opposite."""
        self._count[slot.state] -= 1
        line = self._lines[slot.function]
        if slot.state is State.IDLE:
            del line.idle[slot.number], self._idle[slot.number]
        elif slot.state is State.STARTING:
            line.starting -= 1

    def _take(self, function: str, line: _Line) -> Hashable:
        """The longest waiting call, out of its line."""
        ticket = line.waiting.popleft()
        self._left(function, line)
        return ticket

    def _left(self, function: str, line: _Line) -> None:
        """One call waits no more."""
        self._waiting -= 1
        if not line.waiting:
            del self._wanting[function]

    def _stop(self, slot: Slot, actions: list[Action]) -> None:
        self._move(slot, State.STOPPING)
        actions.append(Stop(slot.number))

    # The decisions.

    def _assign(self, now: float, actions: list[Action]) -> None:
        """Give waiting calls the idle environments of their function, the most recently used first."""
        for function, line in list(self._wanting.items()):
            while line.waiting and line.idle:
                slot = line.idle[next(reversed(line.idle))]
                self._move(slot, State.BUSY, now)
                actions.append(Assign(slot.number, self._take(function, line)))

    def _reject(self, actions: list[Action]) -> None:
        """Refuse the calls no slot can ever be free for: each waiter needs one that is not busy."""
        while self._waiting > self._limit - self._count[State.BUSY]:
            # The line with the most waiting gives its newest, so one busy function does not push out the
            # others; among equals the line that began to wait last.
            function = max(reversed(self._wanting), key=lambda name: len(self._wanting[name].waiting))
            line = self._wanting[function]
            actions.append(Reject(line.waiting.pop()))
            self._left(function, line)

    def _start(self, now: float, actions: list[Action]) -> None:
        """Start environments for waiting calls; make room by stopping other functions' idle ones.

        The function with the fewest starting is next, and one with none may always begin: a function that is
        slow to start holds up nobody but itself.
        """
        while wanting := [line for line in self._wanting.items() if line[1].starting < len(line[1].waiting)]:
            function, line = min(wanting, key=lambda item: item[1].starting)
            if line.starting and self._count[State.STARTING] >= self._starts:
                return
            if len(self._slots) < self._limit:
                slot = Slot(self._next_number, function, State.STARTING, now)
                self._next_number += 1
                self._slots[slot.number] = slot
                self._enter(slot)
                actions.append(Start(slot.number, function))
            # One is enough for each waiter: those already stopping will be free soon.
            elif self._idle and self._count[State.STOPPING] < self._waiting - self._count[State.STARTING]:
                self._stop(next(iter(self._idle.values())), actions)
            else:
                return
