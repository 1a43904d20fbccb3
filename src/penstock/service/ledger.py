"""What the pool knows: environments, calls that wait for them, and what may run at all. It decides nothing.

Each method of the `Ledger` leaves every count, line and order true, so that a step of the pool looks only at
what there is to do, however many functions there are.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from .forecast import Forecast
from .pacing import Rate, Scaling


class State(IntEnum):
    """Of an environment. It has one seat or several: so many calls it runs at once."""

    STARTING = 0  # it has not asked for a call yet
    IDLE = 1  # a seat is free
    BUSY = 2  # none is, and calls run
    RETURNING = 3  # its calls have ended, and it has not yet asked for another
    STOPPING = 4


class Reason(Enum):
    """Why a call is rejected, in AWS's words: the Reason of TooManyRequestsException.

    Source: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors.
    """

    ACCOUNT = "ConcurrentInvocationLimitExceeded"
    RESERVED = "ReservedFunctionConcurrentInvocationLimitExceeded"
    RATE = "FunctionInvocationRateLimitExceeded"
    RESERVED_RATE = "ReservedFunctionInvocationRateLimitExceeded"


@dataclass(slots=True, eq=False)
class Share:
    """An amount of concurrency, and how much of it is taken: by calls that run, and calls that wait."""

    limit: int
    reason: Reason = Reason.ACCOUNT
    load: int = 0


@dataclass(slots=True, eq=False)
class Owner:
    """What a pool holds of one function."""

    name: str
    share: Share  # its own when it has reserved concurrency, else the one of all others
    lines: dict[str, "Line"] = field(default_factory=dict)  # by key; not the retired
    alive: int = 0  # lines, the retired too
    provisioned: int = 0  # lines with provisioned environments
    waiting: int = 0  # in all its lines
    starting: int = 0
    background: dict[Hashable, None] = field(default_factory=dict)  # waiting calls that nobody waits for
    hungry: dict["Line", None] = field(default_factory=dict)  # that lack environments
    growth: Rate | None = None  # of new environments
    requests: Rate | None = None


@dataclass(slots=True, eq=False)
class Line:
    """What a pool holds of one key."""

    key: str
    owner: Owner
    seats: int  # of each of its environments
    idle: dict[int, "Slot"] = field(default_factory=dict)  # by number; the most recently used last
    starting: dict[int, "Slot"] = field(default_factory=dict)
    drained: dict[int, "Slot"] = field(default_factory=dict)  # to be stopped
    waiting: deque[Hashable] = field(default_factory=deque)  # the longest waiting first
    slots: int = 0
    alive: int = 0  # those that are not being ended, and are not to be
    provisioned: int = 0  # so many are always to be alive
    pinned: bool = False  # there are no more than that: none is stopped for want of use
    load: int = 0  # of one with provisioned ones: calls that run or wait, and those that could at once
    busy: int = 0  # calls that run, of those that are counted
    opening: int = 0  # seats that have not asked yet, and are expected to
    lacking: int = 0  # how many more wait than seats open; below zero, how many open for nobody
    changed: bool = False  # the next step has to look at it
    retired: bool = False
    about: object = None  # what a Start tells of it
    forecast: Forecast = field(default_factory=Forecast)
    failed: bool = False  # the last to start did not come up, or ended with nothing to do
    retry_at: float = 0.0  # when the next provisioned one may try, if it failed
    delay: float = 0.0  # seconds, before that

    @property
    def needed(self) -> int:
        """How many environments it lacks."""
        return max(0, -(-self.lacking // self.seats))

    @property
    def wasteful(self) -> bool:
        """Whether one that starts does so for nobody."""
        return self.lacking <= -self.seats and bool(self.starting) and not self.pinned

    @property
    def calls(self) -> int:
        """How many run or wait."""
        return self.busy + len(self.waiting)

    @property
    def promised(self) -> int:
        """How many calls its provisioned environments can run."""
        return self.provisioned * self.seats


@dataclass(slots=True, eq=False)
class Slot:
    """One environment. Of its seats some are free, some run a call, some return from one, some open."""

    number: int
    line: Line
    state: State
    since: float  # when it began, or a seat of it last became free
    opening: int  # seats that have not asked yet, and are expected to
    free: int = 0
    busy: int = 0
    returning: int = 0  # their calls have ended, and they have not yet asked for others
    draining: bool = False  # it takes no more calls, and is stopped when those it runs have ended

    @property
    def unused(self) -> bool:
        """Whether it could be stopped, and nothing were lost."""
        return not self.busy and not self.returning


_STARTING, _IDLE, _BUSY, _RETURNING, _STOPPING = State  # Python 3.11 takes its time to look one up in an Enum
_OPENING = 1.0  # seconds from an environment's first question until its other seats are not expected any more


class Ledger:
    def __init__(
        self,
        limit: int,
        starts: int,
        idle_expiry: float,
        scaling: Scaling | None = None,
        concurrency: int | None = None,
        ahead: int = 0,
    ) -> None:
        self._limit = limit
        self._concurrency = limit if concurrency is None else concurrency
        self._starts = starts
        self._idle_expiry = idle_expiry
        self._scaling = scaling
        self._ahead = ahead
        self._slots: dict[int, Slot] = {}
        self._functions: dict[str, Owner] = {}
        self._tickets: dict[Hashable, Line] = {}  # all waiting calls, the first to come first
        self._account = Share(self._concurrency)
        self._open = Share(self._concurrency)  # of all functions that have none reserved
        self._count = [0] * len(State)
        self._next_number = 1
        # So that a step looks only at what there is to do, however many functions there are:
        self._changed: list[Line] = []
        self._refused: list[tuple[Hashable, Reason]] = []  # by their rate, as they came
        self._crowded = False  # a share may have more load than it may
        self._idle: OrderedDict[int, Slot] = OrderedDict()  # that run nothing, the longest unused first
        self._eager: list[Line] = []  # calls have come: others may follow
        self._opening: dict[int, float] = {}  # when the seats of a slot that still open are given up
        self._wanting: dict[str, Owner] = {}  # functions with waiting calls, the first to wait first
        self._provisions = 0  # lines with any
        self._short: dict[Line, None] = {}  # lines with fewer alive than are provisioned
        self._hungry: dict[str, Owner] = {}  # functions with lines that are
        self._fresh: dict[str, Owner] = {}  # of these the ones that have none starting
        self._lacking = 0  # the sum of what lines lack
        self._surplus: dict[Line, None] = {}  # lines with more that start than wait
        self._fading: dict[str, Owner] = {}  # nothing is left of them but what their rates remember

    def __repr__(self) -> str:
        counts = ", ".join(f"{self._count[state]} {state.name.lower()}" for state in State)
        return f"<Pool {counts} of {self._limit}; {len(self._tickets)} waiting>"

    def _add_function(self, name: str) -> Owner:
        entry = self._functions[name] = Owner(name, self._open)
        if self._scaling is not None:
            entry.growth = Rate(self._scaling.burst, self._scaling.per_second)
            entry.requests = self._request_rate(entry)
        return entry

    def _request_rate(self, entry: Owner) -> Rate | None:
        if self._scaling is None:
            return None
        concurrency = self._concurrency if entry.share is self._open else entry.share.limit
        rate = concurrency * self._scaling.requests_per_concurrency
        return Rate(rate, rate)

    def _add_line(self, entry: Owner, key: str, seats: int, about: object) -> Line:
        line = entry.lines[key] = Line(key, entry, seats, about=about)
        entry.alive += 1
        self._fading.pop(entry.name, None)
        return line

    def _forget_line(self, line: Line) -> None:
        """Nothing waits, nothing lives: what was it?"""
        entry = line.owner
        if not line.retired:
            del entry.lines[line.key]
            line.retired = True  # whoever still has it in a list
        entry.alive -= 1
        if not entry.alive:
            self._forget_function(entry)

    def _forget_function(self, entry: Owner) -> None:
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

    def _note(self, line: Line) -> None:
        """Have the next step look at it."""
        if not line.changed:
            line.changed = True
            self._changed.append(line)

    def _move(self, slot: Slot, state: State) -> None:
        self._leave(slot)
        slot.state = state
        self._enter(slot)

    def _enter(self, slot: Slot) -> None:
        """Count a slot in where its state belongs. What it runs was counted as it came."""
        state, line = slot.state, slot.line
        self._count[state] += 1
        if state is _IDLE:
            line.idle[slot.number] = slot
            if not slot.busy and not slot.returning and not line.pinned:
                self._idle[slot.number] = slot
            if not line.changed:
                line.changed = True
                self._changed.append(line)
        elif state is _STARTING:
            line.starting[slot.number] = slot
            line.owner.starting += 1
            self._weigh(line)

    def _leave(self, slot: Slot) -> None:
        """The opposite."""
        state, line = slot.state, slot.line
        self._count[state] -= 1
        if state is _IDLE:
            del line.idle[slot.number]
            self._idle.pop(slot.number, None)
        elif state is _STARTING:
            del line.starting[slot.number]
            line.owner.starting -= 1
            self._weigh(line)
        elif slot.draining:
            line.drained.pop(slot.number, None)

    def _take_seat(self, slot: Slot) -> None:
        """An idle environment runs one more call."""
        line, number = slot.line, slot.number
        line.busy += 1
        slot.free -= 1
        slot.busy += 1
        del line.idle[number]
        self._idle.pop(number, None)
        if slot.free:
            line.idle[number] = slot  # the last
        else:
            self._count[_IDLE] -= 1
            self._count[_BUSY] += 1
            slot.state = _BUSY

    def _free_seat(self, slot: Slot) -> None:
        """An environment runs one call less."""
        line = slot.line
        line.busy -= 1
        slot.busy -= 1
        slot.returning += 1
        if line.provisioned:
            self._recount(line)
        else:
            self._account.load -= 1
            line.owner.share.load -= 1
        if not slot.busy and slot.state is _BUSY:
            self._count[_BUSY] -= 1
            self._count[_RETURNING] += 1
            slot.state = _RETURNING
            if slot.draining:
                line.drained[slot.number] = slot
                self._note(line)

    def _close(self, slot: Slot) -> None:
        """It has no seats any more: what it runs is not counted, as it is being ended."""
        line = slot.line
        line.busy -= slot.busy
        if line.provisioned:
            self._recount(line)
        else:
            self._account.load -= slot.busy
            line.owner.share.load -= slot.busy
        slot.free = slot.busy = slot.returning = 0
        self._expect(slot, 0)
        if slot.state is not _STOPPING:
            if not slot.draining:
                self._live(line, -1)
            self._move(slot, _STOPPING)

    def _recount(self, line: Line) -> None:
        """What it takes of its share: what is provisioned is taken, whether it is used or not."""
        load = max(line.calls, line.promised)
        self._account.load += load - line.load
        line.owner.share.load += load - line.load
        line.load = load

    def _live(self, line: Line, more: int, since: float | None = None) -> None:
        """So many more environments of it are alive. What is not needed any more was used last at `since`."""
        line.alive += more
        if line.alive < line.provisioned:
            self._short[line] = None
        else:
            self._short.pop(line, None)
        pinned = bool(line.provisioned) and line.alive <= line.provisioned
        if pinned == line.pinned:
            return
        line.pinned = pinned
        for slot in line.idle.values():
            if pinned:
                self._idle.pop(slot.number, None)
            elif slot.unused:
                assert since is not None
                slot.since = since
                self._idle[slot.number] = slot
        self._weigh(line)

    def _opened(self, slot: Slot, now: float) -> None:
        """One more seat asks for its first call."""
        self._expect(slot, slot.opening - 1)
        if slot.state is _STARTING:
            slot.line.failed = False
            slot.line.delay = 0.0
            if slot.opening:
                self._opening[slot.number] = now + _OPENING

    def _expect(self, slot: Slot, opening: int) -> None:
        """So many seats are still to open."""
        if slot.opening != opening:
            slot.line.opening += opening - slot.opening
            slot.opening = opening
            self._weigh(slot.line)
            if not opening:
                self._opening.pop(slot.number, None)

    def _give_up_opening(self, now: float) -> None:
        """Seats that did not open in time are not waited for: a runtime may know of one only."""
        while self._opening:
            number, due = next(iter(self._opening.items()))
            if due > now:
                return
            self._expect(self._slots[number], 0)

    def _drop(self, ticket: Hashable) -> None:
        """A call waits no more, and will not run."""
        line = self._tickets.pop(ticket)
        if line.waiting[-1] == ticket:
            line.waiting.pop()
        else:
            line.waiting.remove(ticket)
        if line.provisioned:
            self._recount(line)
        else:
            self._account.load -= 1
            line.owner.share.load -= 1
        self._left(line.owner, ticket)
        self._note(line)

    def _left(self, entry: Owner, ticket: Hashable) -> None:
        """One of its calls waits no more."""
        if entry.background:
            entry.background.pop(ticket, None)
        entry.waiting -= 1
        if not entry.waiting:
            del self._wanting[entry.name]

    def _weigh(self, line: Line) -> None:
        """What a line lacks has changed, or what its function has starting."""
        before, entry = line.needed, line.owner
        line.lacking = len(line.waiting) - line.opening
        self._lacking += line.needed - before
        if line.lacking > 0:
            entry.hungry[line] = None
        else:
            entry.hungry.pop(line, None)
        if line.wasteful:
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
