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

    idle: list[Slot] = field(default_factory=list)  # the most recently used last
    waiting: deque[Hashable] = field(default_factory=deque)  # the longest waiting first
    starting: int = 0


class Pool:
    """At most `limit` environments, at most `starts` of them starting at once."""

    def __init__(self, limit: int, starts: int, idle_expiry: float) -> None:
        self._limit = limit
        self._starts = starts
        self._idle_expiry = idle_expiry
        self._slots: dict[int, Slot] = {}
        self._lines: dict[str, _Line] = {}
        self._next_number = 1
        self._busy = 0
        self._starting = 0
        self._waiting = 0

    def __repr__(self) -> str:
        stopping = sum(slot.state is State.STOPPING for slot in self._slots.values())
        idle = sum(len(line.idle) for line in self._lines.values())
        return (
            f"<Pool {self._starting} starting, {idle} idle, {self._busy} busy, {stopping} stopping of"
            f" {self._limit}; {self._waiting} waiting>"
        )

    def submit(self, function: str, ticket: Hashable) -> None:
        """A call has come."""
        self._line(function).waiting.append(ticket)
        self._waiting += 1

    def withdraw(self, function: str, ticket: Hashable) -> None:
        """A waiting call's caller has left."""
        self._line(function).waiting.remove(ticket)
        self._waiting -= 1

    def ready(self, number: int, now: float) -> None:
        """An environment asks for its next event."""
        slot = self._slots[number]
        if slot.state in (State.STARTING, State.BUSY):
            self._leave(slot)
            slot.state, slot.since = State.IDLE, now
            self._line(slot.function).idle.append(slot)

    def stopping(self, number: int) -> None:
        """An environment is being ended: it will not be ready again."""
        slot = self._slots[number]
        self._leave(slot)
        slot.state = State.STOPPING

    def gone(self, number: int) -> None:
        """An environment's process has ended."""
        self._leave(self._slots.pop(number))

    def first_waiting(self, function: str) -> Hashable | None:
        """Take the longest waiting call of a function out of the line: its environment failed to start."""
        line = self._line(function)
        if not line.waiting:
            return None
        self._waiting -= 1
        return line.waiting.popleft()

    def step(self, now: float) -> list[Action]:
        """Everything that is to be done now."""
        actions: list[Action] = []
        for line in self._lines.values():
            self._expire(line, now, actions)
            while line.waiting and line.idle:
                slot = line.idle.pop()
                slot.state, slot.since = State.BUSY, now
                self._busy += 1
                self._waiting -= 1
                actions.append(Assign(slot.number, line.waiting.popleft()))
        if self._waiting:
            self._reject(actions)
            self._start(now, actions)
        return actions

    def next_expiry(self) -> float | None:
        """When the next idle environment is due to be stopped."""
        oldest = [line.idle[0].since for line in self._lines.values() if line.idle]
        return min(oldest) + self._idle_expiry if oldest else None

    def _line(self, function: str) -> _Line:
        if (line := self._lines.get(function)) is None:
            line = self._lines[function] = _Line()
        return line

    def _leave(self, slot: Slot) -> None:
        """Take a slot out of whatever its state counts it in."""
        if slot.state is State.BUSY:
            self._busy -= 1
        elif slot.state is State.STARTING:
            self._starting -= 1
            self._line(slot.function).starting -= 1
        elif slot.state is State.IDLE:
            self._line(slot.function).idle.remove(slot)

    def _expire(self, line: _Line, now: float, actions: list[Action]) -> None:
        while line.idle and now - line.idle[0].since >= self._idle_expiry:
            self._stop(line.idle[0], actions)

    def _stop(self, slot: Slot, actions: list[Action]) -> None:
        self.stopping(slot.number)
        actions.append(Stop(slot.number))

    def _reject(self, actions: list[Action]) -> None:
        """Refuse the calls no slot can ever be free for: each waiter needs one that is not busy."""
        while self._waiting > self._limit - self._busy:
            # The line that waits longest in number gives: one busy function must not push out the others.
            line = max(self._lines.values(), key=lambda line: len(line.waiting))
            self._waiting -= 1
            actions.append(Reject(line.waiting.pop()))

    def _start(self, now: float, actions: list[Action]) -> None:
        """Start environments for waiting calls; make room by stopping other functions' idle ones."""
        for function, line in self._lines.items():
            while line.starting < len(line.waiting) and self._starting < self._starts:
                if len(self._slots) >= self._limit:
                    # One is enough at a time for each waiter: those already stopping will be free soon.
                    stopping = sum(slot.state is State.STOPPING for slot in self._slots.values())
                    idle = [line.idle[0] for line in self._lines.values() if line.idle]
                    if idle and stopping < self._waiting - self._starting:
                        self._stop(min(idle, key=lambda slot: slot.since), actions)
                        continue
                    return
                slot = Slot(self._next_number, function, State.STARTING, now)
                self._next_number += 1
                self._slots[slot.number] = slot
                self._starting += 1
                line.starting += 1
                actions.append(Start(slot.number, function))
