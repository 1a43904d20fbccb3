"""Which environment runs what: every decision about environments is made here, and reserved as it is made.

Rule 1: no I/O and no clock in this file; `now` is an argument, in seconds.
Rule 2: `step` changes the state it decided on before it returns, so the next step cannot decide it again.

    STARTING ──ready──▶ IDLE ──Assign──▶ BUSY ──done──▶ RETURNING ──ready──▶ IDLE
        └──────────────────┴──── Stop ────┴───────────────┴──▶ STOPPING ──gone──▶ (forgotten)

What is limited is concurrency, the calls that run or wait, and it is limited by function: an account has so
much, and what is reserved for a function is its own and its most. Environments go by key, of which a function
has one for each version and generation of its code: those of one key are alike.

An environment has one seat or more: so many calls it runs at once, and the picture is true of each seat. It
is idle while a seat is free, and the fullest is filled first, so that others fall out of use. Concurrency
counts calls and `limit` counts environments; where all have one seat that is the same. Where they have more,
calls may run out of environments before concurrency does.

Two kinds of environments start for no call: those that are provisioned, which are taken from the concurrency
there is, and those that calls to come are likely to need (forecast.py), which never stand in a call's way.

A call waits only while a seat may still become its own; when everything is running it is rejected at once, as
AWS throttles. A waiter takes a freed or a new seat, whichever comes first.
"""

from collections import Counter
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from itertools import chain

from .ledger import Ledger, Line, Owner, Reason, Share, Slot, State

_STARTING, _IDLE, _BUSY, _RETURNING, _STOPPING = State  # Python 3.11 takes its time to look one up in an Enum
_RETRY = 1.0  # seconds until a provisioned environment is tried again; twice that each time it fails
_RETRY_AT_MOST = 60.0


@dataclass(frozen=True, slots=True)
class Start:
    """Start an environment of `key` in slot `number`: `ticket` is a call of it, and waits, or None does.

    `about` is what was said of the key when its first call came; `provisioned`: it is one of so many.
    """

    number: int
    key: str
    ticket: Hashable | None
    about: object = None
    provisioned: bool = False


@dataclass(frozen=True, slots=True)
class Assign:
    """Give the call `ticket` to the environment in slot `number`, which has a free seat."""

    number: int
    ticket: Hashable


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the environment in slot `number`: it runs nothing, or starts for a call that has left."""

    number: int


@dataclass(frozen=True, slots=True)
class Reject:
    """There is no environment to be had for the call `ticket`."""

    ticket: Hashable
    reason: Reason = Reason.ACCOUNT


Action = Start | Assign | Stop | Reject


class Pool(Ledger):
    """At most `limit` environments, at most `starts` of them starting at once, and one of each function.

    `concurrency` is the account's, and `limit` where it is not given. With `scaling`, functions grow no
    faster than it says, and take no more requests a second.
    """

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
        load += sum(slot.busy for slot in self._slots.values() if slot.line.owner is entry)
        load += sum(line.load - line.calls for line in entry.lines.values() if line.provisioned)
        old.load -= load
        if old is not self._open:
            self._open.limit += old.limit
        if reserved is None:
            entry.share = self._open
        else:
            entry.share = Share(reserved, Reason.RESERVED)
            self._open.limit -= reserved
        entry.share.load += load
        self._crowded = True
        entry.requests = self._request_rate(entry)
        self._fading.pop(function, None)
        if not entry.alive:
            self._forget_function(entry)

    def provision(
        self, function: str, key: str, count: int, now: float, *, about: object = None, seats: int = 1
    ) -> None:
        """Have `count` environments of `key` alive at all times, 0: as many as calls need.

        They are taken from the concurrency there is: nobody else's calls can have it. `about` and `seats` are
        as `submit` has them.
        """
        entry = self._functions.get(function)
        if entry is None:
            if not count:
                return
            entry = self._add_function(function)
        line = entry.lines.get(key)
        if line is None:
            if not count:
                return
            line = self._add_line(entry, key, seats, about)
        if line.provisioned != count or line.failed:
            self._provision(line, count, now)

    def _provision(self, line: Line, count: int, now: float) -> None:
        if not line.provisioned:
            line.load = line.calls
        more = bool(count) - bool(line.provisioned)
        line.owner.provisioned += more
        self._provisions += more
        line.provisioned = count
        self._recount(line)
        line.failed, line.retry_at, line.delay = False, 0.0, 0.0
        self._live(line, 0, now)
        self._crowded = True
        self._note(line)

    def provisioned(self, function: str, key: str) -> tuple[int, bool]:
        """Of what was provisioned, how many are ready, and whether more fail to start."""
        entry = self._functions.get(function)
        line = entry.lines.get(key) if entry is not None else None
        if line is None:
            return 0, False
        ready = min(line.alive - len(line.starting), line.provisioned)
        return ready, line.failed and ready < line.provisioned

    def keys(self, function: str) -> list[str]:
        """The keys of a function that are in use and not retired."""
        entry = self._functions.get(function)
        return [] if entry is None else list(entry.lines)

    def retire(self, function: str, keep: Collection[str], now: float) -> None:
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
            if line.provisioned:
                self._provision(line, 0, now)
            self._note(line)

    # What happens.

    def submit(
        self,
        function: str,
        key: str,
        ticket: Hashable,
        now: float,
        *,
        about: object = None,
        seats: int = 1,
        background: bool = False,
    ) -> None:
        """A call has come; one in the background gives way to others while it waits.

        An environment of `key` runs `seats` calls at once: this, and `about`, is the same for the same key.
        """
        entry = self._functions.get(function)
        if entry is None:
            entry = self._add_function(function)
        line = entry.lines.get(key)
        if line is None:
            line = self._add_line(entry, key, seats, about)
        if not line.changed:
            line.changed = True
            self._changed.append(line)
        if self._scaling is not None and (reason := self._too_fast(entry, line, now)) is not None:
            self._refused.append((ticket, reason))
            return
        line.waiting.append(ticket)
        self._tickets[ticket] = line
        if background:
            entry.background[ticket] = None
        entry.waiting += 1
        self._wanting[function] = entry
        # Where calls come one after the other there is nothing to foresee.
        if self._ahead and ((running := line.busy + len(line.waiting)) > 1 or line.slots > 1):
            likely = line.forecast.arrived(running)
            if likely > line.slots * line.seats:
                self._eager.append(line)
        account, share = self._account, entry.share
        if line.provisioned:
            self._recount(line)
        else:
            account.load += 1
            share.load += 1
        if share.load > share.limit or account.load > account.limit:
            self._crowded = True

    def withdraw(self, ticket: Hashable) -> None:
        """A waiting call's caller has left."""
        self._drop(ticket)

    def done(self, number: int, now: float) -> None:
        """A call has ended; its seat has not yet asked for another, or its environment is being ended."""
        slot = self._slots[number]
        if slot.busy:
            self._free_seat(slot)

    def ready(self, number: int, now: float) -> None:
        """A seat of an environment asks for its next call."""
        slot = self._slots[number]
        if slot.state is _STOPPING:
            return
        if slot.returning:
            slot.returning -= 1
        elif slot.opening:
            self._opened(slot, now)
        elif slot.busy and slot.busy + slot.free == slot.line.seats:
            self._free_seat(slot)  # nobody has said so
            slot.returning -= 1
        elif slot.free == slot.line.seats:
            return
        if slot.draining:
            return
        slot.free += 1
        slot.since = now
        if slot.state is _RETURNING:
            self._count[_RETURNING] -= 1
            slot.state = _IDLE
            self._enter(slot)
        else:
            self._move(slot, _IDLE)

    def drain(self, number: int) -> None:
        """An environment is to have no more calls; it is stopped when those that run have ended."""
        slot = self._slots[number]
        if slot.state is not _STOPPING and not slot.draining:
            slot.draining = True
            self._live(slot.line, -1)
            self._expect(slot, 0)
            slot.free = 0
            self._move(slot, _BUSY if slot.busy else _RETURNING)
            if not slot.busy:
                slot.line.drained[number] = slot
                self._note(slot.line)

    def stopping(self, number: int) -> None:
        """An environment is being ended: it will not be ready again."""
        slot = self._slots[number]
        if slot.state is _IDLE and slot.unused:
            slot.line.failed = True  # by itself, with nothing to do: it is not made anew again and again
        self._close(slot)

    def gone(self, number: int) -> None:
        """An environment's process has ended."""
        slot = self._slots.pop(number)
        self._close(slot)
        self._leave(slot)
        slot.line.slots -= 1
        self._note(slot.line)

    def take_waiting(self, number: int) -> list[Hashable]:
        """The environment in slot `number` failed to start: take the calls that would have run there.

        Those that wait longest, and no more than it has seats.
        """
        line = self._slots[number].line
        line.failed = True
        tickets = [ticket for ticket, _ in zip(line.waiting, range(line.seats), strict=False)]
        for ticket in tickets:
            self._drop(ticket)
        return tickets

    # What is to be done.

    def step(self, now: float) -> list[Action]:
        """Everything that is to be done now."""
        actions: list[Action] = []
        if self._opening:
            self._give_up_opening(now)
        if self._refused:
            actions += [Reject(ticket, reason) for ticket, reason in self._refused]
            self._refused.clear()
        if self._crowded:
            self._reject(actions)
        if changed := self._changed:
            self._changed = []
            for line in changed:
                self._serve(line, actions)
        if self._hungry:
            self._start(now, actions)
        if self._short:
            self._start_provisioned(now, actions)
        if self._hungry and (self._concurrency > self._limit or self._provisions):
            self._turn_away(actions)
        if self._eager:
            self._start_ahead(now, actions)
        while self._idle:
            slot = next(iter(self._idle.values()))
            if slot.since + self._idle_expiry > now:
                break
            self._stop(slot, actions)
        if self._fading:
            self._fade(now)
        return actions

    def due(self) -> float | None:
        """When there is something to be done though nothing happens."""
        due = min(self._opening.values(), default=None) if self._opening else None
        for line in self._short:
            if line.retry_at:
                due = line.retry_at if due is None else min(line.retry_at, due)
        for slot in self._idle.values():
            at = slot.since + self._idle_expiry
            return at if due is None else min(at, due)
        return due

    # The decisions.

    def _stop(self, slot: Slot, actions: list[Action]) -> None:
        self._close(slot)
        actions.append(Stop(slot.number))

    def _too_fast(self, entry: Owner, line: Line, now: float) -> Reason | None:
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
        free = sum(slot.free for slot in line.idle.values()) if line.seats > 1 else len(line.idle)
        if free <= len(line.waiting) and not entry.growth.take(now):
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

    def _relieve(self, share: Share, actions: list[Action]) -> None:
        while share.load > share.limit:
            # The function with the most waiting gives its newest, so one busy function does not push out the
            # others; among equals the one that began to wait last. Those that wait in the background first.
            entry = max(
                (
                    entry
                    for entry in reversed(self._wanting.values())
                    if (share is self._account or entry.share is share) and self._has_more(entry)
                ),
                key=lambda entry: (len(entry.background), entry.waiting),
                default=None,
            )
            if entry is None:
                return
            tickets = chain(reversed(entry.background), reversed(self._tickets))
            ticket = next(ticket for ticket in tickets if self._is_more(entry, ticket))
            self._drop(ticket)
            actions.append(Reject(ticket, share.reason))

    def _has_more(self, entry: Owner) -> bool:
        """Whether calls of it wait that take more than what is provisioned for them."""
        return not entry.provisioned or any(self._is_more(entry, ticket) for ticket in self._tickets)

    def _is_more(self, entry: Owner, ticket: Hashable) -> bool:
        line = self._tickets[ticket]
        return line.owner is entry and line.calls > line.promised

    def _serve(self, line: Line, actions: list[Action]) -> None:
        """Give a line's waiting calls its free seats: of the fullest first, then the most recently used."""
        line.changed = False
        waiting, idle = line.waiting, line.idle
        while waiting and idle:
            slot = idle[next(reversed(idle))] if line.seats == 1 else max(reversed(idle.values()), key=_busy)
            self._take_seat(slot)
            ticket = waiting.popleft()
            del self._tickets[ticket]
            self._left(line.owner, ticket)
            actions.append(Assign(slot.number, ticket))
        if line.lacking != len(waiting) - line.opening:
            self._weigh(line)
        while line.drained:
            self._stop(next(iter(line.drained.values())), actions)
        if line.retired:
            for slot in [slot for slot in idle.values() if slot.unused]:
                self._stop(slot, actions)
            while line.wasteful:
                self._stop(line.starting[next(reversed(line.starting))], actions)
        if not waiting and not line.slots and not line.provisioned:
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
                self._begin(line, line.waiting[0], now, actions)
            # One is enough for each that lacks one: those already stopping will be free soon.
            elif self._count[_STOPPING] >= self._lacking or not self._make_room(actions):
                return

    def _begin(self, line: Line, ticket: Hashable | None, now: float, actions: list[Action]) -> None:
        slot = Slot(self._next_number, line, _STARTING, now, opening=line.seats)
        self._next_number += 1
        self._slots[slot.number] = slot
        line.slots += 1
        line.opening += line.seats
        provisioned = line.alive < line.provisioned
        self._live(line, +1, now)
        self._enter(slot)
        actions.append(Start(slot.number, line.key, ticket, line.about, provisioned))

    def _start_provisioned(self, now: float, actions: list[Action]) -> None:
        """Start what is provisioned; where an environment has not come up, one is tried now and then."""
        full = False
        for line in list(self._short):
            if line.failed:
                if line.starting:  # this one will tell
                    line.retry_at = 0.0
                    continue
                if not line.retry_at:
                    line.delay = min(2 * line.delay or _RETRY, _RETRY_AT_MOST)
                    line.retry_at = now + line.delay
                if line.retry_at > now:
                    continue
            line.retry_at = 0.0
            while line in self._short and not full:
                if self._count[_STARTING] >= self._starts and line.owner.starting:
                    break
                if len(self._slots) < self._limit:
                    self._begin(line, None, now, actions)
                    if line.failed:
                        break
                elif self._count[_STOPPING] or not self._make_room(actions):
                    full = True

    def _start_ahead(self, now: float, actions: list[Action]) -> None:
        """Start environments for calls that are likely to come soon, where that is in nobody's way.

        That is: no call waits for a start to begin, half of those that may start at once are left to calls,
        no other environment has to go, and the calls would be within every limit.
        """
        lines, self._eager = self._eager, []
        for line in lines:
            if self._hungry:
                return
            if line.retired or line.failed:
                continue
            share = line.owner.share
            room = min(share.limit - share.load, self._account.limit - self._account.load)
            likely = line.forecast.likely - line.busy - len(line.waiting)
            idle = sum(slot.free for slot in line.idle.values()) if line.seats > 1 else len(line.idle)
            wanted = min(likely, room, self._ahead * line.seats) - idle + line.lacking
            while (
                wanted > 0
                and len(self._slots) < self._limit
                and self._count[_STARTING] < max(1, self._starts // 2)
            ):
                self._begin(line, None, now, actions)
                wanted -= line.seats

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

    def _turn_away(self, actions: list[Action]) -> None:
        """Refuse the calls that no environment is going to be free for: each of them runs something.

        Concurrency has seen to that where it is no more than there may be environments, and no more is
        provisioned than there may be: each call that was accepted could then have one of its own.
        """
        occupied = self._count[_STARTING]  # environments that no other line can have
        for line in self._surplus:
            occupied -= min(len(line.starting), -line.lacking // line.seats)
        own = Counter[Line]()  # seats that are going to be free where their line alone may use them
        for slot in self._slots.values():
            pinned = slot.line.pinned and slot.state is not _STOPPING and not slot.draining
            if slot.state is _STARTING:
                own[slot.line] += slot.opening
            elif slot.busy or pinned:
                occupied += 1
                own[slot.line] += slot.returning * (not slot.draining) + slot.opening
        missing = {
            line: lacking
            for line, waiting in Counter(self._tickets.values()).items()
            if (lacking := waiting - own[line]) > 0
        }
        while sum(-(-lacking // line.seats) for line, lacking in missing.items()) > self._limit - occupied:
            # As in `_relieve`.
            line = max(
                (line for line, lacking in reversed(missing.items()) if lacking > 0),
                key=lambda line: (len(line.owner.background), line.owner.waiting),
            )
            behind = line.owner.background
            ticket = next((t for t in reversed(line.waiting) if t in behind), line.waiting[-1])
            self._drop(ticket)
            missing[line] -= 1
            actions.append(Reject(ticket))


def _busy(slot: Slot) -> int:
    return slot.busy
