"""Environments: who gets which, by table, by rule and by chance. Time is an argument."""

from collections import deque
from collections.abc import Hashable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.service.pool import Action, Assign, Pool, Reject, Start, Stop


def started(pool: Pool, function: str, now: float = 0.0) -> int:
    """An idle environment of `function`; its number."""
    pool.submit(function, object())
    (start,) = pool.step(now)
    assert isinstance(start, Start)
    pool.ready(start.number, now)
    (assign,) = pool.step(now)
    assert isinstance(assign, Assign)
    pool.ready(start.number, now)
    assert pool.step(now) == []
    return start.number


def test_a_first_call_starts_an_environment_and_gets_it() -> None:
    pool = Pool(limit=2, starts=2, idle_expiry=60)
    pool.submit("f", "a")
    assert pool.step(0) == [Start(1, "f")]
    assert pool.step(0) == []
    pool.ready(1, 1)
    assert pool.step(1) == [Assign(1, "a")]
    assert pool.step(1) == []
    assert repr(pool) == "<Pool 0 starting, 0 idle, 1 busy, 0 stopping of 2; 0 waiting>"


def test_an_idle_environment_is_used_again_the_last_used_first() -> None:
    pool = Pool(limit=3, starts=3, idle_expiry=60)
    for ticket in ("a", "b"):
        pool.submit("f", ticket)
    assert pool.step(0) == [Start(1, "f"), Start(2, "f")]
    pool.ready(1, 0)
    pool.ready(2, 0)
    assert pool.step(0) == [Assign(2, "a"), Assign(1, "b")]
    pool.ready(2, 1)
    pool.ready(1, 2)
    pool.submit("f", "c")
    assert pool.step(3) == [Assign(1, "c")]


def test_functions_do_not_share_environments() -> None:
    pool = Pool(limit=3, starts=3, idle_expiry=60)
    started(pool, "f")
    pool.submit("g", "a")
    assert pool.step(0) == [Start(2, "g")]


def test_the_longest_waiting_is_served_first_by_a_freed_or_a_new_one() -> None:
    pool = Pool(limit=2, starts=2, idle_expiry=60)
    pool.submit("f", "a")
    pool.step(0)
    pool.ready(1, 0)
    pool.step(0)
    pool.submit("f", "b")
    assert pool.step(0) == [Start(2, "f")]
    pool.ready(1, 1)  # freed before the new one is there
    assert pool.step(1) == [Assign(1, "b")]
    pool.ready(2, 2)
    assert pool.step(2) == []
    pool.submit("f", "c")
    assert pool.step(3) == [Assign(2, "c")]


def test_no_more_start_at_once_than_allowed() -> None:
    pool = Pool(limit=10, starts=2, idle_expiry=60)
    for ticket in range(4):
        pool.submit("f", ticket)
    assert pool.step(0) == [Start(1, "f"), Start(2, "f")]
    pool.ready(1, 0)
    assert pool.step(0) == [Assign(1, 0), Start(3, "f")]
    pool.gone(2)  # it failed to start
    assert pool.step(0) == [Start(4, "f")]


def test_a_function_that_is_slow_to_start_holds_up_no_other() -> None:
    pool = Pool(limit=10, starts=2, idle_expiry=60)
    for ticket in range(5):
        pool.submit("slow", ticket)
    pool.submit("quick", "q")
    assert pool.step(0) == [Start(1, "slow"), Start(2, "quick")]
    pool.submit("third", "t")
    assert pool.step(1) == [Start(3, "third")]  # above the cap: it has none that is starting
    pool.ready(2, 1)
    assert pool.step(1) == [Assign(2, "q")]
    pool.gone(1)
    assert pool.step(2) == [Start(4, "slow")]


def test_a_call_is_rejected_when_every_slot_is_busy() -> None:
    pool = Pool(limit=1, starts=1, idle_expiry=60)
    started(pool, "f")
    pool.submit("f", "a")
    assert pool.step(0) == [Assign(1, "a")]
    pool.submit("f", "b")
    assert pool.step(0) == [Reject("b")]
    pool.submit("g", "c")
    assert pool.step(0) == [Reject("c")]
    pool.ready(1, 1)
    pool.submit("f", "d")
    assert pool.step(1) == [Assign(1, "d")]


def test_one_busy_function_does_not_push_out_the_others() -> None:
    pool = Pool(limit=3, starts=3, idle_expiry=60)
    for ticket in ("f1", "f2", "f3"):
        pool.submit("f", ticket)
    pool.submit("g", "g1")
    assert pool.step(0) == [Reject("f3"), Start(1, "f"), Start(2, "g"), Start(3, "f")]


def test_among_equals_the_newcomer_is_rejected() -> None:
    pool = Pool(limit=1, starts=1, idle_expiry=60)
    pool.submit("g", "first")
    assert pool.step(0) == [Start(1, "g")]
    pool.submit("f", "second")
    assert pool.step(0) == [Reject("second")]


def test_an_idle_environment_of_another_function_makes_room() -> None:
    pool = Pool(limit=2, starts=2, idle_expiry=60)
    started(pool, "f", 1)
    started(pool, "g", 2)
    pool.submit("h", "a")
    assert pool.step(3) == [Stop(1)]  # the longest unused
    assert pool.step(3) == []
    pool.gone(1)
    assert pool.step(3) == [Start(3, "h")]


def test_as_many_are_stopped_as_wait() -> None:
    pool = Pool(limit=4, starts=4, idle_expiry=60)
    for name in "abcd":
        started(pool, name)
    for ticket in range(3):
        pool.submit("h", ticket)
    assert pool.step(1) == [Stop(1), Stop(2), Stop(3)]
    pool.gone(2)
    assert pool.step(1) == [Start(5, "h")]


def test_the_unused_are_stopped_and_a_stopped_one_is_not_handed_out() -> None:
    pool = Pool(limit=2, starts=2, idle_expiry=60)
    assert pool.next_expiry() is None
    started(pool, "f", 0)
    started(pool, "g", 10)
    assert pool.next_expiry() == 60
    assert pool.step(59.9) == []
    assert pool.step(60) == [Stop(1)]
    assert pool.next_expiry() == 70
    pool.ready(1, 61)  # it asked once more before it was killed
    pool.submit("f", "a")
    assert pool.step(61) == []  # the slot will be free soon
    pool.gone(1)
    assert Start(3, "f") in pool.step(62)


def test_a_call_takes_the_environment_that_would_expire_now() -> None:
    pool = Pool(limit=2, starts=2, idle_expiry=60)
    started(pool, "f", 0)
    pool.submit("f", "a")
    assert pool.step(100) == [Assign(1, "a")]


def test_a_withdrawn_call_is_neither_started_for_nor_served() -> None:
    pool = Pool(limit=2, starts=2, idle_expiry=60)
    pool.submit("f", "a")
    pool.submit("f", "b")
    pool.withdraw("f", "a")
    assert pool.step(0) == [Start(1, "f")]
    pool.withdraw("f", "b")
    pool.ready(1, 0)
    assert pool.step(0) == []
    assert repr(pool) == "<Pool 0 starting, 1 idle, 0 busy, 0 stopping of 2; 0 waiting>"


def test_the_first_waiting_is_taken_when_a_start_has_failed() -> None:
    pool = Pool(limit=2, starts=1, idle_expiry=60)
    assert pool.first_waiting("f") is None
    pool.submit("f", "a")
    pool.submit("f", "b")
    assert pool.step(0) == [Start(1, "f")]
    assert pool.first_waiting("f") == "a"
    pool.gone(1)
    assert pool.step(0) == [Start(2, "f")]
    assert pool.first_waiting("f") == "b"
    assert pool.first_waiting("f") is None
    pool.gone(2)
    assert pool.step(0) == []


@pytest.mark.parametrize("state", ["starting", "busy", "idle"])
def test_an_environment_may_end_in_any_state(state: str) -> None:
    pool = Pool(limit=1, starts=1, idle_expiry=60)
    pool.submit("f", "a")
    pool.step(0)
    if state == "starting":
        pool.withdraw("f", "a")
    else:
        pool.ready(1, 0)
        pool.step(0)
    if state == "idle":
        pool.ready(1, 0)
    pool.stopping(1)
    pool.stopping(1)
    pool.ready(1, 0)
    assert not any(isinstance(action, Assign) for action in pool.step(0))
    pool.gone(1)
    pool.submit("f", "b")
    assert pool.step(0)[0] == Start(2, "f")


def test_what_a_step_looks_at_does_not_grow_with_the_functions() -> None:
    pool = Pool(limit=1000, starts=1000, idle_expiry=1e9)
    for number in range(500):
        started(pool, f"f{number}")
    looked = 0

    class Counting(dict[str, object]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            nonlocal looked
            looked += len(self)
            return super().__iter__()

        def items(self):  # type: ignore[no-untyped-def]
            nonlocal looked
            looked += len(self)
            return super().items()

        values = items

    pool._lines = Counting(pool._lines)  # type: ignore[assignment]
    pool.submit("f7", "a")
    (assign,) = pool.step(1)
    assert isinstance(assign, Assign)
    pool.ready(assign.number, 2)
    assert pool.step(2) == []
    assert looked == 0


class Model(RuleBasedStateMachine):
    """A pool among calls and environments that come and go as they like, and what must hold at all times."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.next_ticket = 0
        self.waiting: dict[str, deque[Hashable]] = {name: deque() for name in "fgh"}
        self.alive: dict[int, tuple[str, str]] = {}  # number → function, state

    @initialize(limit=st.integers(1, 4), starts=st.integers(1, 3))
    def make(self, limit: int, starts: int) -> None:
        self.limit, self.starts = limit, starts
        self.pool = Pool(limit, starts, idle_expiry=10)

    def of(self, *states: str) -> list[int]:
        return [number for number, (_, state) in self.alive.items() if state in states]

    def step(self) -> list[Action]:
        actions = self.pool.step(self.now)
        for action in actions:
            match action:
                case Start(number, function):
                    assert number not in self.alive
                    self.alive[number] = (function, "starting")
                    assert len(self.alive) <= self.limit
                    # Above the cap only as the first of its function.
                    assert (
                        len(self.of("starting")) <= self.starts
                        or list(self.alive.values()).count((function, "starting")) == 1
                    )
                case Assign(number, ticket):
                    function, state = self.alive[number]
                    assert state == "idle"
                    assert self.waiting[function].popleft() == ticket
                    self.alive[number] = (function, "busy")
                case Stop(number):
                    function, state = self.alive[number]
                    assert state == "idle"
                    self.alive[number] = (function, "stopping")
                case Reject(ticket):
                    (line,) = (line for line in self.waiting.values() if ticket in line)
                    assert line.pop() == ticket
                    # The slots that are not busy were spoken for by the others.
                    assert sum(map(len, self.waiting.values())) >= self.limit - len(self.of("busy"))
        return actions

    @rule(function=st.sampled_from("fgh"), at_once=st.booleans())
    def call(self, function: str, at_once: bool) -> None:
        self.next_ticket += 1
        self.waiting[function].append(self.next_ticket)
        self.pool.submit(function, self.next_ticket)
        if at_once:
            self.step()

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        function = data.draw(st.sampled_from([name for name, line in self.waiting.items() if line]))
        ticket = data.draw(st.sampled_from(list(self.waiting[function])))
        self.waiting[function].remove(ticket)
        self.pool.withdraw(function, ticket)

    @precondition(lambda self: self.of("starting", "busy"))
    @rule(data=st.data())
    def ready(self, data: st.DataObject) -> None:
        self._ready(data.draw(st.sampled_from(self.of("starting", "busy"))))

    def _ready(self, number: int) -> None:
        self.alive[number] = (self.alive[number][0], "idle")
        self.pool.ready(number, self.now)
        self.step()

    @precondition(lambda self: self.of("idle", "stopping"))
    @rule(data=st.data())
    def ready_out_of_turn(self, data: st.DataObject) -> None:
        self.pool.ready(data.draw(st.sampled_from(self.of("idle", "stopping"))), self.now)
        self.step()

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(list(self.alive)))
        self.alive[number] = (self.alive[number][0], "stopping")
        self.pool.stopping(number)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self._end(data.draw(st.sampled_from(list(self.alive))))

    def _end(self, number: int) -> None:
        function, state = self.alive.pop(number)
        if state == "starting":
            first = self.waiting[function].popleft() if self.waiting[function] else None
            assert self.pool.first_waiting(function) == first
        self.pool.gone(number)
        self.step()

    @rule(seconds=st.floats(0, 30))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.step()
        due = self.pool.next_expiry()
        assert (due is not None) == bool(self.of("idle"))
        assert due is None or due > self.now

    @invariant()
    def counted(self) -> None:
        if not hasattr(self, "pool"):
            return
        counts = ", ".join(
            f"{len(self.of(state))} {state}" for state in ("starting", "idle", "busy", "stopping")
        )
        waiting = sum(map(len, self.waiting.values()))
        assert repr(self.pool) == f"<Pool {counts} of {self.limit}; {waiting} waiting>"

    def teardown(self) -> None:
        """Let every environment do its work: each call is then served, and none waits for ever."""
        if not hasattr(self, "pool"):
            return
        self.step()
        for _ in range(500):
            if not any(self.waiting.values()):
                return
            moving = self.of("starting", "busy", "stopping")
            assert moving, f"{self.waiting} wait for nothing: {self.pool}"
            if (number := moving[0]) in self.of("stopping"):
                self._end(number)
            else:
                self._ready(number)
        raise AssertionError(f"{self.waiting} still wait: {self.pool}")


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
