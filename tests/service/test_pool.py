"""Environments: who gets which, by table, by rule and by chance. Time is an argument."""

from collections.abc import Hashable
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.service.ledger import Reason
from penstock.service.pacing import Scaling
from penstock.service.pool import Action, Assign, Pool, Reject, Start, Stop


def submit(pool: Pool, function: str, ticket: Hashable, now: float = 0.0) -> None:
    """A call of a function that has just one key: its name."""
    pool.submit(function, function, ticket, now)


def started(pool: Pool, function: str, now: float = 0.0, key: str = "") -> int:
    """An idle environment of `function`; its number."""
    pool.submit(function, key or function, ticket := object(), now)
    (start,) = pool.step(now)
    assert start == Start(start.number, key or function, ticket)  # type: ignore[union-attr]
    assert isinstance(start, Start)
    pool.ready(start.number, now)
    (assign,) = pool.step(now)
    assert isinstance(assign, Assign)
    pool.done(start.number, now)
    pool.ready(start.number, now)
    assert pool.step(now) == []
    return start.number


def running(pool: Pool, function: str, now: float = 0.0, key: str = "") -> int:
    """An environment of `function` that is busy; its number."""
    number = started(pool, function, now, key)
    pool.submit(function, key or function, ticket := object(), now)
    assert pool.step(now) == [Assign(number, ticket)]
    return number


def test_a_first_call_starts_an_environment_and_gets_it() -> None:
    pool = Pool(limit=2, starts=2, idle_expiry=60)
    submit(pool, "f", "a")
    assert pool.step(0) == [Start(1, "f", "a")]
    assert pool.step(0) == []
    pool.ready(1, 1)
    assert pool.step(1) == [Assign(1, "a")]
    assert pool.step(1) == []
    assert repr(pool) == "<Pool 0 starting, 0 idle, 1 busy, 0 returning, 0 stopping of 2; 0 waiting>"


def test_an_idle_environment_is_used_again_the_last_used_first() -> None:
    pool = Pool(limit=3, starts=3, idle_expiry=60)
    for ticket in ("a", "b"):
        submit(pool, "f", ticket)
    assert pool.step(0) == [Start(1, "f", "a"), Start(2, "f", "a")]
    pool.ready(1, 0)
    pool.ready(2, 0)
    assert pool.step(0) == [Assign(2, "a"), Assign(1, "b")]
    pool.ready(2, 1)
    pool.ready(1, 2)
    submit(pool, "f", "c")
    assert pool.step(3) == [Assign(1, "c")]


def test_functions_do_not_share_environments() -> None:
    pool = Pool(limit=3, starts=3, idle_expiry=60)
    started(pool, "f")
    submit(pool, "g", "a")
    assert pool.step(0) == [Start(2, "g", "a")]


def test_nor_do_the_keys_of_a_function() -> None:
    pool = Pool(limit=3, starts=3, idle_expiry=60)
    started(pool, "f", key="f:1")
    pool.submit("f", "f:2", "a", 0)
    assert pool.step(0) == [Start(2, "f:2", "a")]
    assert pool.keys("f") == ["f:1", "f:2"]
    assert pool.keys("g") == []


def test_the_longest_waiting_is_served_first_by_a_freed_or_a_new_one() -> None:
    pool = Pool(limit=2, starts=2, idle_expiry=60)
    submit(pool, "f", "a")
    pool.step(0)
    pool.ready(1, 0)
    pool.step(0)
    submit(pool, "f", "b")
    assert pool.step(0) == [Start(2, "f", "b")]
    pool.ready(1, 1)  # freed before the new one is there
    assert pool.step(1) == [Assign(1, "b")]
    pool.ready(2, 2)
    assert pool.step(2) == []
    submit(pool, "f", "c")
    assert pool.step(3) == [Assign(2, "c")]


def test_no_more_start_at_once_than_allowed() -> None:
    pool = Pool(limit=10, starts=2, idle_expiry=60)
    for ticket in range(4):
        submit(pool, "f", ticket)
    assert pool.step(0) == [Start(1, "f", 0), Start(2, "f", 0)]
    pool.ready(1, 0)
    assert pool.step(0) == [Assign(1, 0), Start(3, "f", 1)]
    pool.gone(2)  # it failed to start
    assert pool.step(0) == [Start(4, "f", 1)]


def test_a_function_that_is_slow_to_start_holds_up_no_other() -> None:
    pool = Pool(limit=10, starts=2, idle_expiry=60)
    for ticket in range(5):
        submit(pool, "slow", ticket)
    submit(pool, "quick", "q")
    assert pool.step(0) == [Start(1, "slow", 0), Start(2, "quick", "q")]
    submit(pool, "third", "t")
    assert pool.step(1) == [Start(3, "third", "t")]  # above the cap: it has none that is starting
    pool.ready(2, 1)
    assert pool.step(1) == [Assign(2, "q")]
    pool.gone(1)
    assert pool.step(2) == [Start(4, "slow", 0)]


def test_only_the_first_key_of_a_function_may_start_above_the_cap() -> None:
    pool = Pool(limit=10, starts=1, idle_expiry=60)
    for key in ("f:1", "f:2", "f:3"):
        pool.submit("f", key, key, 0)
    assert pool.step(0) == [Start(1, "f:1", "f:1")]
    pool.ready(1, 0)
    assert pool.step(0) == [Assign(1, "f:1"), Start(2, "f:2", "f:2")]


# What is limited.


def test_a_call_is_rejected_when_every_slot_is_busy() -> None:
    pool = Pool(limit=1, starts=1, idle_expiry=60)
    started(pool, "f")
    submit(pool, "f", "a")
    assert pool.step(0) == [Assign(1, "a")]
    submit(pool, "f", "b")
    assert pool.step(0) == [Reject("b", Reason.ACCOUNT)]
    submit(pool, "g", "c")
    assert pool.step(0) == [Reject("c", Reason.ACCOUNT)]
    pool.ready(1, 1)
    submit(pool, "f", "d")
    assert pool.step(1) == [Assign(1, "d")]


def test_a_call_whose_environment_is_on_its_way_back_runs_no_more() -> None:
    """A runtime may take a moment between its answer and its next question, or do work there."""
    pool = Pool(limit=1, starts=1, idle_expiry=60)
    running(pool, "f")
    pool.done(1, 1)
    submit(pool, "f", "a", 1)
    assert pool.step(1) == []
    pool.done(1, 1)  # it changes nothing
    pool.ready(1, 2)
    assert pool.step(2) == [Assign(1, "a")]


def test_reserved_concurrency_is_a_function_s_most() -> None:
    pool = Pool(limit=10, starts=10, idle_expiry=60)
    pool.reserve("f", 2)
    for ticket in "abc":
        submit(pool, "f", ticket)
    assert pool.step(0) == [Reject("c", Reason.RESERVED), Start(1, "f", "a"), Start(2, "f", "a")]
    pool.ready(1, 0)
    pool.ready(2, 0)
    pool.step(0)
    submit(pool, "f", "d")
    assert pool.step(0) == [Reject("d", Reason.RESERVED)]
    pool.done(1, 0)  # it has ended, though its environment is not free
    submit(pool, "f", "e")
    assert pool.step(0) == [Start(3, "f", "e")]


def test_it_counts_all_versions_of_the_function() -> None:
    pool = Pool(limit=10, starts=10, idle_expiry=60)
    pool.reserve("f", 1)
    pool.submit("f", "f:1", "a", 0)
    pool.submit("f", "f:2", "b", 0)
    assert pool.step(0) == [Reject("b", Reason.RESERVED), Start(1, "f:1", "a")]


def test_none_reserved_is_none_at_all() -> None:
    pool = Pool(limit=10, starts=10, idle_expiry=60)
    started(pool, "f")
    pool.reserve("f", 0)
    submit(pool, "f", "a")
    assert pool.step(0) == [Reject("a", Reason.RESERVED)]
    pool.reserve("f", None)
    submit(pool, "f", "b")
    assert pool.step(0) == [Assign(1, "b")]


def test_what_is_reserved_is_not_there_for_others() -> None:
    pool = Pool(limit=3, starts=3, idle_expiry=60)
    pool.reserve("f", 2)
    for ticket in "abc":
        submit(pool, "g", ticket)
    assert pool.step(0) == [Reject("c"), Reject("b"), Start(1, "g", "a")]
    for ticket in "de":
        submit(pool, "f", ticket)
    assert pool.step(0) == [Start(2, "f", "d"), Start(3, "f", "d")]
    pool.withdraw("e")
    submit(pool, "g", "h")
    assert pool.step(0) == [Reject("h")]
    pool.reserve("f", None)
    submit(pool, "g", "i")
    assert pool.step(0) == []  # it waits for the next that is free
    pool.ready(2, 0)
    assert pool.step(0) == [Assign(2, "d"), Stop(3)]


def test_what_runs_when_it_is_reserved_runs_on() -> None:
    pool = Pool(limit=2, starts=2, idle_expiry=60)
    for number, ticket in ((1, "a"), (2, "b")):
        submit(pool, "g", ticket)
        assert pool.step(0) == [Start(number, "g", ticket)]
        pool.ready(number, 0)
        assert pool.step(0) == [Assign(number, ticket)]
    pool.reserve("f", 1)
    submit(pool, "f", "c")
    assert pool.step(0) == [Reject("c", Reason.ACCOUNT)]
    pool.ready(1, 0)
    submit(pool, "g", "d")
    assert pool.step(0) == [Reject("d", Reason.ACCOUNT)]
    submit(pool, "f", "e")
    assert pool.step(0) == [Stop(1)]


def test_a_limit_that_is_lowered_rejects_what_waits_and_lets_run_what_runs() -> None:
    pool = Pool(limit=10, starts=10, idle_expiry=60)
    pool.reserve("f", 3)
    running(pool, "f")
    for ticket in "ab":
        submit(pool, "f", ticket)
    pool.step(0)
    pool.reserve("f", 1)
    assert pool.step(0) == [Reject("b", Reason.RESERVED), Reject("a", Reason.RESERVED)]
    pool.reserve("f", 1)
    assert pool.step(0) == []


def test_more_may_be_reserved_than_there_is() -> None:
    pool = Pool(limit=1, starts=1, idle_expiry=60)
    pool.reserve("f", 5)
    submit(pool, "g", "a")
    assert pool.step(0) == [Reject("a", Reason.ACCOUNT)]
    submit(pool, "f", "b")
    submit(pool, "f", "c")
    assert pool.step(0) == [Reject("c", Reason.ACCOUNT), Start(1, "f", "b")]


def test_one_busy_function_does_not_push_out_the_others() -> None:
    pool = Pool(limit=3, starts=3, idle_expiry=60)
    for ticket in ("f1", "f2", "f3"):
        submit(pool, "f", ticket)
    submit(pool, "g", "g1")
    assert pool.step(0) == [Reject("f3"), Start(1, "f", "f1"), Start(2, "g", "g1"), Start(3, "f", "f1")]


def test_nor_does_one_of_many_versions() -> None:
    pool = Pool(limit=3, starts=3, idle_expiry=60)
    pool.submit("f", "f:1", "f1", 0)
    submit(pool, "g", "g1")
    pool.submit("f", "f:2", "f2", 0)
    pool.submit("f", "f:1", "f3", 0)
    assert pool.step(0)[0] == Reject("f3")
    pool.withdraw("f1")
    pool.submit("f", "f:1", "f4", 0)
    pool.submit("g", "g", "g2", 0)
    assert pool.step(0)[0] == Reject("g2")


def test_among_equals_the_newcomer_is_rejected() -> None:
    pool = Pool(limit=1, starts=1, idle_expiry=60)
    submit(pool, "g", "first")
    assert pool.step(0) == [Start(1, "g", "first")]
    submit(pool, "f", "second")
    assert pool.step(0) == [Reject("second")]


def test_what_waits_in_the_background_gives_way_to_other_calls() -> None:
    pool = Pool(limit=3, starts=3, idle_expiry=60)
    pool.reserve("f", 2)
    for ticket in ("event 1", "event 2"):
        pool.submit("f", "f", ticket, 0, background=True)
    pool.step(0)
    submit(pool, "f", "a")
    assert pool.step(0) == [Reject("event 2", Reason.RESERVED)]
    pool.ready(1, 0)
    assert pool.step(0) == [Assign(1, "event 1")]
    submit(pool, "f", "b")
    assert pool.step(0) == [Reject("b", Reason.RESERVED)]  # no event waits that could

    pool = Pool(limit=3, starts=3, idle_expiry=60)
    for ticket in "ab":
        submit(pool, "f", ticket)
    pool.submit("g", "g", "event", 0, background=True)
    submit(pool, "h", "c")
    assert pool.step(0)[0] == Reject("event")


def test_a_function_with_all_that_starts_gives_one_up_for_another() -> None:
    """Its own imports may take a minute, and the other's call is answered meanwhile."""
    pool = Pool(limit=4, starts=2, idle_expiry=60)
    for ticket in range(4):
        submit(pool, "slow", ticket)
    pool.step(0)
    submit(pool, "quick", "q")
    assert pool.step(1) == [Reject(3), Start(3, "quick", "q")]

    pool = Pool(limit=2, starts=2, idle_expiry=60)
    for ticket in range(2):
        submit(pool, "slow", ticket)
    assert pool.step(0) == [Start(1, "slow", 0), Start(2, "slow", 0)]
    submit(pool, "quick", "q")
    assert pool.step(1) == [Reject(1), Stop(2)]
    pool.gone(2)
    assert pool.step(1) == [Start(3, "quick", "q")]


def test_starts_whose_callers_have_left_hold_up_nobody() -> None:
    pool = Pool(limit=2, starts=2, idle_expiry=60)
    for ticket in range(2):
        submit(pool, "slow", ticket)
    pool.step(0)
    for ticket in range(2):
        pool.withdraw(ticket)
    assert pool.step(0) == []  # the next call may take them
    submit(pool, "quick", "q")
    assert pool.step(1) == [Stop(2)]
    pool.gone(2)
    assert pool.step(1) == [Start(3, "quick", "q")]


@pytest.mark.parametrize("limit", [2, 10])
def test_what_another_function_has_running_is_all_that_can_refuse_a_call(limit: int) -> None:
    """A holds everything, as streams of minutes; each that ends can be B's at once."""
    pool = Pool(limit, starts=2, idle_expiry=60)
    numbers = [running(pool, "a") for _ in range(limit)]
    for ticket in range(5):
        submit(pool, "a", ticket)
        assert pool.step(0) == [Reject(ticket)]
    submit(pool, "b", "refused")
    assert pool.step(0) == [Reject("refused")]
    pool.done(numbers[0], 1)
    submit(pool, "b", "b")
    assert pool.step(1) == []
    pool.ready(numbers[0], 2)
    assert pool.step(2) == [Stop(numbers[0])]
    pool.gone(numbers[0])
    assert pool.step(2) == [Start(limit + 1, "b", "b")]


# Environments that end, and those that make room.


def test_an_idle_environment_of_another_function_makes_room() -> None:
    pool = Pool(limit=2, starts=2, idle_expiry=60)
    started(pool, "f", 1)
    started(pool, "g", 2)
    submit(pool, "h", "a")
    assert pool.step(3) == [Stop(1)]  # the longest unused
    assert pool.step(3) == []
    pool.gone(1)
    assert pool.step(3) == [Start(3, "h", "a")]


def test_as_many_are_stopped_as_wait() -> None:
    pool = Pool(limit=4, starts=4, idle_expiry=60)
    for name in "abcd":
        started(pool, name)
    for ticket in range(3):
        submit(pool, "h", ticket)
    assert pool.step(1) == [Stop(1), Stop(2), Stop(3)]
    pool.gone(2)
    assert pool.step(1) == [Start(5, "h", 0)]


def test_the_unused_are_stopped_and_a_stopped_one_is_not_handed_out() -> None:
    pool = Pool(limit=2, starts=2, idle_expiry=60)
    assert pool.due() is None
    started(pool, "f", 0)
    started(pool, "g", 10)
    assert pool.due() == 60
    assert pool.step(59.9) == []
    assert pool.step(60) == [Stop(1)]
    assert pool.due() == 70
    pool.ready(1, 61)  # it asked once more before it was killed
    submit(pool, "f", "a")
    assert pool.step(61) == []  # the slot will be free soon
    pool.gone(1)
    assert Start(3, "f", "a") in pool.step(62)


def test_a_call_takes_the_environment_that_would_expire_now() -> None:
    pool = Pool(limit=2, starts=2, idle_expiry=60)
    started(pool, "f", 0)
    submit(pool, "f", "a")
    assert pool.step(100) == [Assign(1, "a")]


def test_a_withdrawn_call_is_neither_started_for_nor_served() -> None:
    pool = Pool(limit=2, starts=2, idle_expiry=60)
    submit(pool, "f", "a")
    submit(pool, "f", "b")
    pool.withdraw("a")
    assert pool.step(0) == [Start(1, "f", "b")]
    pool.withdraw("b")
    pool.ready(1, 0)
    assert pool.step(0) == []
    assert repr(pool) == "<Pool 0 starting, 1 idle, 0 busy, 0 returning, 0 stopping of 2; 0 waiting>"


def test_the_first_waiting_is_taken_when_a_start_has_failed() -> None:
    pool = Pool(limit=2, starts=1, idle_expiry=60)
    submit(pool, "f", "a")
    submit(pool, "f", "b")
    assert pool.step(0) == [Start(1, "f", "a")]
    assert pool.take_waiting(1) == ["a"]
    pool.gone(1)
    assert pool.step(0) == [Start(2, "f", "b")]
    assert pool.take_waiting(2) == ["b"]
    assert pool.take_waiting(2) == []
    pool.gone(2)
    assert pool.step(0) == []


@pytest.mark.parametrize("state", ["starting", "busy", "returning", "idle"])
def test_an_environment_may_end_in_any_state(state: str) -> None:
    pool = Pool(limit=1, starts=1, idle_expiry=60)
    submit(pool, "f", "a")
    pool.step(0)
    if state == "starting":
        pool.withdraw("a")
    else:
        pool.ready(1, 0)
        pool.step(0)
    if state in ("returning", "idle"):
        pool.done(1, 0)
    if state == "idle":
        pool.ready(1, 0)
    pool.stopping(1)
    pool.stopping(1)
    pool.ready(1, 0)
    pool.done(1, 0)
    assert not any(isinstance(action, Assign) for action in pool.step(0))
    pool.gone(1)
    submit(pool, "f", "b")
    assert pool.step(0)[0] == Start(2, "f", "b")


# Environments that run several calls at once.


def shared(pool: Pool, tickets: str, seats: int = 3, now: float = 0.0) -> int:
    """An environment of function f with its seats open, and these calls in it; its number."""
    for ticket in tickets:
        pool.submit("f", "f", ticket, now, seats=seats)
    (start,) = pool.step(now)
    assert isinstance(start, Start)
    for _ in range(seats):
        pool.ready(start.number, now)
    assert pool.step(now) == [Assign(start.number, ticket) for ticket in tickets]
    return start.number


def test_an_environment_runs_as_many_calls_as_it_has_seats() -> None:
    pool = Pool(limit=3, starts=3, idle_expiry=60, concurrency=9)
    number = shared(pool, "ab")
    assert repr(pool) == "<Pool 0 starting, 1 idle, 0 busy, 0 returning, 0 stopping of 3; 0 waiting>"
    pool.submit("f", "f", "c", 0, seats=3)
    assert pool.step(0) == [Assign(number, "c")]
    assert repr(pool) == "<Pool 0 starting, 0 idle, 1 busy, 0 returning, 0 stopping of 3; 0 waiting>"


def test_waiting_calls_count_against_the_seats_that_start() -> None:
    pool = Pool(limit=10, starts=10, idle_expiry=60)
    for ticket in range(7):
        pool.submit("f", "f", ticket, 0, seats=3)
    assert pool.step(0) == [Start(number, "f", 0) for number in (1, 2, 3)]
    pool.ready(2, 0)
    assert pool.step(0) == [Assign(2, 0)]  # its others are about to open
    pool.ready(2, 0)
    pool.ready(2, 0)
    assert pool.step(0) == [Assign(2, 1), Assign(2, 2)]


def test_seats_that_do_not_open_are_not_waited_for() -> None:
    """A runtime that knows nothing of several calls has one."""
    pool = Pool(limit=10, starts=10, idle_expiry=60)
    for ticket in "ab":
        pool.submit("f", "f", ticket, 0, seats=3)
    assert pool.step(0) == [Start(1, "f", "a")]
    pool.ready(1, 1)
    assert pool.step(1) == [Assign(1, "a")]
    assert pool.due() == 2
    assert pool.step(1.9) == []
    assert pool.step(2) == [Start(2, "f", "b")]
    pool.ready(1, 3)  # better late
    assert pool.step(3) == [Assign(1, "b")]


def test_the_fullest_is_filled_first_so_that_others_fall_out_of_use() -> None:
    pool = Pool(limit=3, starts=3, idle_expiry=60, concurrency=9)
    for ticket in "abcd":
        pool.submit("f", "f", ticket, 0, seats=3)
    assert pool.step(0) == [Start(1, "f", "a"), Start(2, "f", "a")]
    for number in (1, 1, 1, 2, 2, 2):
        pool.ready(number, 0)
    assert pool.step(0) == [Assign(2, "a"), Assign(2, "b"), Assign(2, "c"), Assign(1, "d")]
    pool.done(2, 1)
    pool.ready(2, 1)
    pool.submit("f", "f", "e", 2, seats=3)
    assert pool.step(2) == [Assign(2, "e")]
    pool.done(1, 2)
    assert pool.due() is None  # its seat has not come back
    pool.ready(1, 3)
    assert pool.due() == 63
    assert pool.step(63) == [Stop(1)]


def test_an_environment_that_runs_something_is_not_stopped_for_another() -> None:
    pool = Pool(limit=1, starts=1, idle_expiry=60, concurrency=3)
    number = shared(pool, "ab")
    pool.done(number, 0)
    submit(pool, "g", "g")
    assert pool.step(0) == [Reject("g")]
    pool.done(number, 1)
    submit(pool, "g", "h")
    assert pool.step(1) == []  # it runs nothing: it is soon free
    pool.ready(number, 2)
    assert pool.step(2) == []
    pool.ready(number, 2)
    assert pool.step(2) == [Stop(number)]


def test_calls_are_limited_by_concurrency_and_by_environments() -> None:
    pool = Pool(limit=2, starts=2, idle_expiry=60, concurrency=4)
    number = shared(pool, "abc")
    submit(pool, "g", "g")
    assert pool.step(0) == [Start(2, "g", "g")]
    pool.submit("f", "f", "d", 0, seats=3)
    assert pool.step(0) == [Reject("d")]  # the fifth
    pool.done(number, 0)
    pool.ready(number, 0)
    submit(pool, "g", "h")
    assert pool.step(0) == [Reject("h")]  # the fourth, and each environment has something to do
    pool.submit("f", "f", "e", 0, seats=3)
    assert pool.step(0) == [Assign(number, "e")]


def test_one_that_is_drained_has_no_more_calls_and_is_stopped_after_the_last() -> None:
    pool = Pool(limit=3, starts=3, idle_expiry=60, concurrency=9)
    number = shared(pool, "ab")
    pool.drain(number)
    pool.drain(number)
    pool.submit("f", "f", "c", 0, seats=3)
    assert pool.step(0) == [Start(2, "f", "c")]
    pool.done(number, 0)
    pool.ready(number, 0)
    assert pool.step(0) == []
    pool.done(number, 0)
    assert pool.step(0) == [Stop(number)]
    pool.withdraw("c")
    pool.drain(2)  # it only starts
    assert pool.step(0) == [Stop(2)]


def test_as_many_calls_as_it_has_seats_are_told_that_it_failed_to_start() -> None:
    pool = Pool(limit=3, starts=3, idle_expiry=60, concurrency=9)
    for ticket in "abcd":
        pool.submit("f", "f", ticket, 0, seats=3)
    assert pool.step(0) == [Start(1, "f", "a"), Start(2, "f", "a")]
    assert pool.take_waiting(1) == ["a", "b", "c"]
    pool.gone(1)
    assert pool.step(0) == []
    assert pool.take_waiting(2) == ["d"]


def test_of_a_changed_function_an_environment_runs_its_calls_to_the_end() -> None:
    pool = Pool(limit=3, starts=3, idle_expiry=60, concurrency=9)
    number = shared(pool, "ab")
    pool.retire("f", set(), 0)
    assert pool.step(0) == []
    for left in (1, 0):
        pool.done(number, 0)
        pool.ready(number, 0)
        assert pool.step(0) == ([] if left else [Stop(number)])


def test_the_rate_of_growth_counts_calls_for_which_no_seat_is_free() -> None:
    pool = Pool(10, starts=10, idle_expiry=60, scaling=Scaling(burst=1, per_second=0.1))
    number = shared(pool, "a")
    for ticket in "bc":
        pool.submit("f", "f", ticket, 0, seats=3)
    assert pool.step(0) == [Assign(number, "b"), Assign(number, "c")]
    pool.submit("f", "f", "d", 0, seats=3)
    assert pool.step(0) == [Reject("d", Reason.RATE)]


# Environments that start before they are needed.


def test_where_calls_come_more_and_more_environments_start_before_them() -> None:
    pool = Pool(limit=100, starts=10, idle_expiry=60, ahead=3)
    running(pool, "f")
    ahead = []
    for ticket in range(10):
        submit(pool, "f", ticket)
        for action in pool.step(0):
            if isinstance(action, Start) and action.ticket is None:
                ahead.append(ticket)
            if isinstance(action, Start):
                pool.ready(action.number, 0)
                pool.step(0)
    assert ahead[0] == 2
    assert repr(pool).startswith("<Pool 0 starting, 3 idle, 11 busy")  # as many as may be ahead


def test_none_start_ahead_where_calls_come_one_after_the_other() -> None:
    pool = Pool(limit=100, starts=10, idle_expiry=60, ahead=3)
    number = started(pool, "f")
    for ticket in range(50):
        submit(pool, "f", ticket)
        assert pool.step(0) == [Assign(number, ticket)]
        pool.done(number, 0)
        pool.ready(number, 0)
        assert pool.step(0) == []


def test_none_start_ahead_of_a_function_that_did_not_come_up() -> None:
    pool = Pool(limit=100, starts=100, idle_expiry=60, ahead=10)
    for ticket in range(2):
        submit(pool, "f", ticket)
    assert len(pool.step(0)) == 2
    assert pool.take_waiting(1) == [0]
    pool.gone(1)
    for ticket in range(2, 6):
        submit(pool, "f", ticket)
    assert pool.step(0) == [Start(number, "f", 1) for number in (3, 4, 5, 6)]
    pool.ready(3, 0)  # this one did
    submit(pool, "f", 6)
    assert any(isinstance(action, Start) and action.ticket is None for action in pool.step(0))


def test_what_has_started_ahead_goes_when_it_is_not_used() -> None:
    pool = Pool(limit=100, starts=10, idle_expiry=60, ahead=1)
    for ticket in range(4):
        submit(pool, "f", ticket)
    starts = [action for action in pool.step(0) if isinstance(action, Start)]
    assert [start.ticket for start in starts] == [0, 0, 0, 0, None]
    for start in starts:
        pool.ready(start.number, 1)
    pool.step(1)
    assert pool.due() == 61
    assert pool.step(61) == [Stop(starts[0].number)]


# Provisioned concurrency.


def test_provisioned_environments_are_ready_and_stay() -> None:
    pool = Pool(limit=10, starts=10, idle_expiry=60)
    pool.provision("f", "f", 2, 0, about="f's")
    starts = [Start(number, "f", None, "f's", provisioned=True) for number in (1, 2)]
    assert pool.step(0) == starts
    assert pool.provisioned("f", "f") == (0, False)
    pool.ready(1, 1)
    pool.ready(2, 1)
    assert pool.step(1) == []
    assert pool.provisioned("f", "f") == (2, False)
    assert pool.due() is None
    assert pool.step(1000) == []
    for ticket in "abc":
        submit(pool, "f", ticket, 1000)
    assert pool.step(1000) == [Assign(2, "a"), Assign(1, "b"), Start(3, "f", "c", "f's")]
    pool.ready(3, 1001)
    assert pool.step(1001) == [Assign(3, "c")]
    for number in (1, 2, 3):
        pool.done(number, 1001)
        pool.ready(number, 1000 + number)
    assert pool.step(1061) == [Stop(1)]  # more than are provisioned; the longest unused
    assert pool.due() is None
    pool.stopping(2)  # it has crashed
    pool.gone(2)
    assert pool.step(1100) == []
    assert pool.due() == 1101  # or it would be started, and crash, again and again
    assert pool.step(1101) == [Start(4, "f", None, "f's", provisioned=True)]
    pool.ready(4, 1101)
    pool.provision("f", "f", 0, 1200)
    pool.provision("g", "g", 0, 1200)
    assert pool.step(1200) == []
    assert pool.step(1260) == [Stop(3), Stop(4)]
    assert pool.provisioned("g", "g") == (0, False)


def test_what_is_provisioned_is_not_there_for_others() -> None:
    pool = Pool(limit=3, starts=3, idle_expiry=60)
    pool.provision("f", "f:1", 2, 0)
    pool.step(0)
    for ticket in "ab":
        submit(pool, "g", ticket)
    assert pool.step(0) == [Reject("b"), Start(3, "g", "a")]
    pool.submit("f", "f:1", "c", 0)
    pool.submit("f", "f:2", "d", 0)
    assert pool.step(0) == [Reject("d")]
    pool.ready(1, 0)
    assert pool.step(0) == [Assign(1, "c")]
    pool.provision("f", "f:1", 1, 0)
    pool.submit("f", "f:2", "e", 0)
    assert pool.step(0) == [Stop(2)]
    pool.gone(2)
    assert pool.step(0) == [Start(4, "f:2", "e")]


def test_it_counts_as_the_function_s_own() -> None:
    pool = Pool(limit=10, starts=3, idle_expiry=60)
    pool.provision("f", "f:1", 2, 0)
    pool.reserve("f", 2)
    pool.step(0)
    pool.submit("f", "f:2", "a", 0)
    assert pool.step(0) == [Reject("a", Reason.RESERVED)]
    pool.reserve("f", None)
    for ticket in range(9):
        submit(pool, "g", ticket)
    assert pool.step(0)[0] == Reject(8)


def test_provisioned_environments_that_do_not_come_up_are_tried_now_and_then() -> None:
    pool = Pool(limit=10, starts=10, idle_expiry=60)
    pool.provision("f", "f", 3, 0)
    assert len(pool.step(0)) == 3
    for number in (1, 2, 3):
        assert pool.take_waiting(number) == []
        pool.gone(number)
    assert pool.step(0) == []
    assert pool.provisioned("f", "f") == (0, True)
    assert pool.due() == 1
    assert pool.step(1) == [Start(4, "f", None, provisioned=True)]
    pool.take_waiting(4)
    pool.gone(4)
    assert pool.step(1) == []
    assert pool.due() == 3
    assert pool.step(3) == [Start(5, "f", None, provisioned=True)]
    pool.ready(5, 3)
    assert len(pool.step(3)) == 2
    assert pool.provisioned("f", "f") == (1, False)


def test_a_provisioned_environment_that_ends_while_it_runs_something_is_replaced_at_once() -> None:
    pool = Pool(limit=10, starts=10, idle_expiry=60)
    pool.provision("f", "f", 1, 0, seats=2)
    pool.step(0)
    pool.ready(1, 0)
    pool.ready(1, 0)
    pool.submit("f", "f", "call", 0, seats=2)
    assert pool.step(0) == [Assign(1, "call")]
    pool.stopping(1)  # with a seat free
    assert pool.step(0) == [Start(2, "f", None, provisioned=True)]
    assert pool.provisioned("f", "f") == (0, False)


def test_more_may_be_provisioned_than_there_is() -> None:
    """As when a service is started anew with fewer environments: no call waits for what cannot be."""
    pool = Pool(limit=1, starts=1, idle_expiry=60)
    for function in "fg":
        pool.provision(function, function, 1, 0)
    assert pool.step(0) == [Start(1, "f", None, provisioned=True)]
    pool.ready(1, 0)
    submit(pool, "g", "a")
    submit(pool, "f", "b")
    assert pool.step(0) == [Assign(1, "b"), Reject("a")]


def test_a_version_that_is_gone_has_none_provisioned() -> None:
    pool = Pool(limit=10, starts=10, idle_expiry=60)
    pool.provision("f", "f", 1, 0)
    pool.step(0)
    pool.ready(1, 0)
    pool.retire("f", set(), 0)
    assert pool.step(0) == [Stop(1)]
    pool.gone(1)
    assert pool.step(0) == []
    assert kept(pool) == 0


# Functions that are changed.


def test_environments_of_another_generation_are_given_up() -> None:
    pool = Pool(limit=10, starts=10, idle_expiry=60)
    busy, returning, idle = (running(pool, "f", key="old") for _ in range(3))
    pool.done(returning, 0)
    pool.ready(idle, 0)
    pool.submit("f", "kept", "k", 0)
    pool.step(0)
    pool.retire("f", {"kept", "new"}, 0)
    assert pool.step(0) == [Stop(idle)]
    pool.submit("f", "new", "n", 0)
    assert pool.step(0) == [Start(5, "new", "n")]
    pool.ready(returning, 0)
    assert pool.step(0) == [Stop(returning)]
    pool.ready(busy, 0)
    assert pool.step(0) == [Stop(busy)]
    pool.retire("nobody", set(), 0)


def test_calls_that_were_accepted_for_it_still_run_on_it() -> None:
    pool = Pool(limit=10, starts=2, idle_expiry=60)
    for ticket in "abcd":
        pool.submit("f", "old", ticket, 0)
    assert pool.step(0) == [Start(1, "old", "a"), Start(2, "old", "a")]
    pool.retire("f", set(), 0)
    assert pool.step(0) == []
    pool.ready(1, 0)
    assert pool.step(0) == [Assign(1, "a"), Start(3, "old", "b")]  # for those that wait still
    pool.ready(1, 1)
    assert pool.step(1) == [Assign(1, "b")]
    pool.withdraw("c")
    pool.withdraw("d")
    assert pool.step(1) == [Stop(3), Stop(2)]
    pool.ready(1, 2)
    assert pool.step(2) == [Stop(1)]


def test_a_key_that_comes_back_shares_nothing_with_what_it_was() -> None:
    """A change that is taken back: what was given up stays so."""
    pool = Pool(limit=10, starts=2, idle_expiry=60)
    number = running(pool, "f", key="one")
    pool.retire("f", {"two"}, 0)
    pool.submit("f", "one", "a", 0)
    assert pool.step(0) == [Start(2, "one", "a")]
    pool.ready(number, 0)
    assert pool.step(0) == [Stop(number)]
    pool.retire("f", {"one"}, 0)
    pool.ready(2, 0)
    assert pool.step(0) == [Assign(2, "a")]


def test_nothing_is_kept_of_what_is_gone() -> None:
    pool = Pool(limit=10, starts=2, idle_expiry=60)
    for generation in range(100):
        number = started(pool, "f", key=f"f:{generation}")
        pool.retire("f", set(), 0)
        assert pool.step(0) == [Stop(number)]
        pool.gone(number)
        assert pool.step(0) == []
    pool.submit("g", "g", "a", 0)
    pool.withdraw("a")
    pool.reserve("h", 1)
    pool.reserve("h", None)
    pool.reserve("i", None)
    assert pool.step(0) == []
    assert kept(pool) == 0


def kept(pool: Pool) -> int:
    """How many things a pool holds."""
    return sum(
        len(value) for name, value in vars(pool).items() if hasattr(value, "__len__") and name != "_count"
    )


# How fast they may grow.


def test_a_function_grows_no_faster_than_it_may() -> None:
    pool = Pool(100, starts=100, idle_expiry=60, scaling=Scaling(burst=3, per_second=2))
    for ticket in range(5):
        submit(pool, "f", ticket, 10)
    refused = [Reject(ticket, Reason.RATE) for ticket in (3, 4)]
    assert pool.step(10) == [*refused, *(Start(number, "f", 0) for number in (1, 2, 3))]
    submit(pool, "g", "g", 10)  # each function has its own
    assert pool.step(10) == [Start(4, "g", "g")]
    pool.ready(1, 10)
    pool.step(10)
    pool.ready(1, 10)
    assert pool.step(10) == [Assign(1, 1)]
    pool.ready(1, 10)
    assert pool.step(10) == [Assign(1, 2)]
    pool.ready(1, 10)
    submit(pool, "f", "warm", 10)  # there is a free one: nothing has to grow
    assert pool.step(10) == [Assign(1, "warm")]
    for number in (2, 3):
        pool.stopping(number)
        pool.gone(number)
    submit(pool, "f", "a", 10.4)
    assert pool.step(10.4) == [Reject("a", Reason.RATE)]
    submit(pool, "f", "b", 10.5)
    assert pool.step(10.5) == [Start(5, "f", "b")]


def test_requests_are_counted_against_the_concurrency() -> None:
    pool = Pool(2, starts=2, idle_expiry=60, scaling=Scaling(requests_per_concurrency=2))
    pool.reserve("f", 1)
    for function, most, reason in (("f", 2, Reason.RESERVED_RATE), ("g", 4, Reason.RATE)):
        number = started(pool, function, 10)
        for ticket in range(most - 1):
            submit(pool, function, ticket, 10)
            assert pool.step(10) == [Assign(number, ticket)]
            pool.ready(number, 10)
        submit(pool, function, "a", 10)
        assert pool.step(10) == [Reject("a", reason)]
        submit(pool, function, "b", 11)
        assert pool.step(11) == [Assign(number, "b")]
        pool.ready(number, 11)
        pool.step(11)


def test_a_call_that_is_one_too_many_is_told_so_and_not_that_it_is_too_fast() -> None:
    pool = Pool(10, starts=2, idle_expiry=60, scaling=Scaling())
    pool.reserve("f", 0)
    submit(pool, "f", "a")
    assert pool.step(0) == [Reject("a", Reason.RESERVED)]


def test_a_function_that_is_gone_is_remembered_until_its_rates_are_full() -> None:
    """Or one that fails to start could be started as often as it is called."""
    pool = Pool(10, starts=2, idle_expiry=60, scaling=Scaling(burst=1, per_second=1))
    for at, refused in ((0.0, False), (0.5, True), (1.0, False)):
        submit(pool, "f", "a", at)
        (action,) = pool.step(at)
        assert isinstance(action, Reject) == refused
        if isinstance(action, Start):
            assert pool.take_waiting(action.number) == ["a"]
            pool.gone(action.number)
            assert pool.step(at) == []
    assert kept(pool) == 2
    assert pool.step(1.9) == []
    assert kept(pool) == 2
    assert pool.step(2.0) == []
    assert kept(pool) == 0


def test_what_is_reserved_is_remembered_all_the_while() -> None:
    pool = Pool(10, starts=2, idle_expiry=60, scaling=Scaling(burst=1, per_second=1))
    submit(pool, "f", "a")
    pool.withdraw("a")
    pool.step(0)
    pool.reserve("f", 0)
    pool.step(100)
    submit(pool, "f", "b", 100)
    assert pool.step(100) == [Reject("b", Reason.RESERVED)]


def test_what_a_step_looks_at_does_not_grow_with_functions_and_generations() -> None:
    pool = Pool(limit=1000, starts=1000, idle_expiry=1e9)
    for number in range(300):
        started(pool, f"f{number}")
        running(pool, f"f{number}", key=f"f{number}:old")
        submit(pool, f"w{number}", f"w{number}")  # waits for its environment
        pool.step(0)
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

    for name in ("_functions", "_slots", "_tickets", "_wanting", "_hungry", "_fresh"):
        setattr(pool, name, Counting(getattr(pool, name)))
    submit(pool, "f7", "a", 1)
    (assign,) = pool.step(1)
    assert isinstance(assign, Assign)
    pool.done(assign.number, 2)
    pool.ready(assign.number, 2)
    assert pool.step(2) == []
    assert looked == 0


Line = tuple[str, str, int]  # function, key, and how often the key was retired before


@dataclass
class Alive:
    """An environment, as the model sees it: what its seats do."""

    line: Line
    opening: int
    free: int = 0
    busy: int = 0
    returning: int = 0
    asked_at: float | None = None  # when its first seat opened
    draining: bool = False
    stopping: bool = False

    @property
    def state(self) -> str:
        if self.stopping:
            return "stopping"
        if self.asked_at is None and not self.draining:
            return "starting"
        return "idle" if self.free else "busy" if self.busy else "returning"

    def end(self) -> None:
        self.stopping = True
        self.opening = self.free = self.busy = self.returning = 0


class Model(RuleBasedStateMachine):
    """A pool among calls and environments that come and go as they like, and what must hold at all times."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.next_ticket = 0
        self.waiting: dict[Hashable, Line] = {}  # the first to come first
        self.background: set[Hashable] = set()
        self.refused: dict[Hashable, Reason] = {}  # by their rate; not told yet
        self.alive: dict[int, Alive] = {}  # by number
        self.reserved: dict[str, int] = {}
        self.provisioned: dict[Line, int] = {}
        self.failed: set[Line] = set()  # their last start came to nothing
        self.retired: dict[tuple[str, str], int] = {}  # how often
        self.grown: dict[str, list[float]] = {name: [] for name in "fgh"}  # when
        self.asked: dict[str, list[float]] = {name: [] for name in "fgh"}

    @initialize(
        limit=st.integers(1, 5),
        starts=st.integers(1, 3),
        scaled=st.booleans(),
        seats=st.just((1, 1, 1)) | st.tuples(*[st.integers(1, 4)] * 3),
        more=st.integers(0, 8),
        ahead=st.integers(0, 2),
    )
    def make(
        self, limit: int, starts: int, scaled: bool, seats: tuple[int, ...], more: int, ahead: int
    ) -> None:
        self.limit, self.starts, self.ahead = limit, starts, ahead
        self.seats = dict(zip("fgh", seats, strict=True))
        self.concurrency = limit + more if max(seats) > 1 else limit
        self.scaling = Scaling(burst=3, per_second=0.5, requests_per_concurrency=1) if scaled else None
        self.pool = Pool(limit, starts, 10, self.scaling, self.concurrency, ahead)

    # What there is.

    def of(self, *states: str) -> list[int]:
        return [number for number, environment in self.alive.items() if environment.state in states]

    def on(self, line: Line) -> list[Alive]:
        return [environment for environment in self.alive.values() if environment.line == line]

    def waits(self, line: Line) -> int:
        return list(self.waiting.values()).count(line)

    def opening(self, line: Line) -> int:
        return sum(environment.opening for environment in self.on(line))

    def line(self, function: str, generation: str) -> Line:
        key = f"{function}:{generation}"
        return (function, key, self.retired.get((function, key), 0))

    def line_of(self, key: str) -> Line:
        return self.line(*key.split(":"))  # type: ignore[arg-type]

    def is_retired(self, line: Line) -> bool:
        return line[2] < self.retired.get(line[:2], 0)

    def calls(self, functions: list[str]) -> list[Hashable]:
        """Those that wait, the first to come first."""
        return [ticket for ticket, (function, _, _) in self.waiting.items() if function in functions]

    def length(self, function: str) -> tuple[int, int]:
        """Of its line; the longest gives a call."""
        calls = self.calls([function])
        return (sum(ticket in self.background for ticket in calls), len(calls))

    def load(self, functions: list[str]) -> int:
        """How many run or wait."""
        lines = {*self.waiting.values(), *self.provisioned, *(each.line for each in self.alive.values())}
        return sum(max(self.running(line), self.promised(line)) for line in lines if line[0] in functions)

    def running(self, line: Line) -> int:
        """How many of its calls run or wait."""
        return self.waits(line) + sum(environment.busy for environment in self.on(line))

    def promised(self, line: Line) -> int:
        return self.provisioned.get(line, 0) * self.seats[line[0]]

    def living(self, line: Line) -> int:
        return sum(not environment.stopping and not environment.draining for environment in self.on(line))

    def pinned(self, line: Line) -> bool:
        """Whether it has no more environments than are provisioned."""
        return bool(self.provisioned.get(line)) and self.living(line) <= self.provisioned[line]

    def shares(self) -> list[tuple[Reason, list[str], int]]:
        """Every limit: its name, whom it is for, and how many may run."""
        rest = max(0, self.concurrency - sum(self.reserved.values()))
        return [
            *((Reason.RESERVED, [name], most) for name, most in self.reserved.items()),
            (Reason.ACCOUNT, [name for name in "fgh" if name not in self.reserved], rest),
            (Reason.ACCOUNT, list("fgh"), self.concurrency),
        ]

    def missing(self) -> dict[Line, int]:
        """By line, how many calls there are for which none of its own environments is going to be free."""
        missing = {}
        for line in set(self.waiting.values()):
            own = 0
            for environment in self.on(line):
                if environment.busy or environment.state == "starting" or self.pins(environment):
                    own += environment.opening + environment.returning * (not environment.draining)
            missing[line] = max(0, self.waits(line) - own)
        return missing

    def pins(self, environment: Alive) -> bool:
        return not environment.stopping and not environment.draining and self.pinned(environment.line)

    def crowded(self) -> bool:
        """Whether more calls wait than environments are going to be free for, when no call ends."""
        needed = sum(-(-lacking // self.seats[line[0]]) for line, lacking in self.missing().items())
        occupied = len(self.of("starting"))
        occupied += sum(
            bool(each.busy or self.pins(each)) for each in self.alive.values() if each.state != "starting"
        )
        for line in {environment.line for environment in self.alive.values()}:
            if self.pinned(line):
                continue
            starting = sum(environment.state == "starting" for environment in self.on(line))
            spare = (self.opening(line) - self.waits(line)) // self.seats[line[0]]
            occupied -= max(0, min(starting, spare))
        return needed > self.limit - occupied

    def over_rate(self, times: list[float], burst: float, per_second: float) -> bool:
        """Whether one more would be too many, in any stretch of time that ends now."""
        return any(
            len(times) - first + 1 > burst + per_second * (self.now - time) + 1e-9
            for first, time in enumerate([*times, self.now])
        )

    # What is done, and whether it may be.

    def step(self) -> list[Action]:
        actions = self.pool.step(self.now)
        for environment in self.alive.values():
            if environment.asked_at is not None and environment.asked_at + 1 <= self.now:
                environment.opening = 0  # they are not expected any more
        for action in actions:
            match action:
                case Start(number, key, None, line, provisioned):
                    assert line == self.line_of(key)
                    assert provisioned == (self.living(line) < self.provisioned.get(line, 0))
                    if provisioned:
                        self.started_provisioned(number, line)
                    else:
                        self.started_ahead(number, line)
                case Start(number, key, ticket, about, provisioned):
                    assert about == self.waiting[ticket]
                    assert provisioned == (self.living(about) < self.provisioned.get(about, 0))
                    self.started(number, key, ticket)
                case Assign(number, ticket):
                    self.assigned(number, ticket)
                case Stop(number):
                    self.stopped(number)
                case Reject(ticket, reason) if ticket in self.refused:
                    assert self.refused.pop(ticket) is reason
                case Reject(ticket, reason):
                    self.rejected(ticket, reason)
        assert not self.refused
        for _, functions, most in self.shares():
            assert self.load(functions) <= most or not any(map(self.is_more, self.calls(functions)))
        assert not self.crowded()
        for environment in self.alive.values():
            line, state = environment.line, environment.state
            assert not (state == "idle" and self.waits(line))
            assert not (state == "returning" and environment.draining)
            assert not (self.is_retired(line) and self.provisioned.get(line))
            if self.is_retired(line) and state == "idle":
                assert environment.busy or environment.returning
            if self.is_retired(line) and state == "starting":
                assert self.opening(line) - self.seats[line[0]] < self.waits(line)
        for line, count in self.provisioned.items():
            if self.living(line) < count and line not in self.failed:
                assert len(self.of("starting")) >= self.starts or len(self.alive) == self.limit
        return actions

    def started(self, number: int, key: str, ticket: Hashable) -> None:
        line = self.waiting[ticket]
        assert number not in self.alive
        assert line[1] == key
        assert self.opening(line) < self.waits(line)
        self.alive[number] = Alive(line, opening=self.seats[line[0]])
        assert len(self.alive) <= self.limit
        # Above the cap only as the first of its function.
        own = [n for n in self.of("starting") if self.alive[n].line[0] == line[0]]
        assert len(self.of("starting")) <= self.starts or own == [number]

    def started_provisioned(self, number: int, line: Line) -> None:
        assert number not in self.alive
        self.alive[number] = Alive(line, opening=self.seats[line[0]])
        assert len(self.alive) <= self.limit
        own = [n for n in self.of("starting") if self.alive[n].line[0] == line[0]]
        assert len(self.of("starting")) <= self.starts or own == [number]

    def started_ahead(self, number: int, line: Line) -> None:
        """For no call that has come: it must be in nobody's way."""
        assert number not in self.alive
        assert all(self.waits(each) <= self.opening(each) for each in set(self.waiting.values()))
        within = [most - self.load(names) for _, names, most in self.shares() if line[0] in names]
        more = sum(each.free for each in self.on(line)) + self.opening(line) - self.waits(line)
        assert more < min(self.ahead * self.seats[line[0]], *within)
        assert len(self.of("starting")) < max(1, self.starts // 2)
        self.alive[number] = Alive(line, opening=self.seats[line[0]])
        assert len(self.alive) <= self.limit

    def assigned(self, number: int, ticket: Hashable) -> None:
        environment = self.alive[number]
        assert environment.state == "idle"
        assert environment.busy == max(other.busy for other in self.on(environment.line) if other.free)
        assert ticket == next(t for t, of in self.waiting.items() if of == environment.line)
        del self.waiting[ticket]
        environment.free -= 1
        environment.busy += 1

    def stopped(self, number: int) -> None:
        environment = self.alive[number]
        if environment.state == "starting":
            line = environment.line
            assert self.opening(line) - self.seats[line[0]] >= self.waits(line)
            assert not self.pinned(line)
        elif environment.draining:
            assert not environment.busy
        else:
            assert environment.state == "idle"
            assert not environment.busy
            assert not environment.returning
            assert not self.pinned(environment.line)
        environment.end()

    def rejected(self, ticket: Hashable, reason: Reason) -> None:
        line = self.waiting[ticket]
        over = [
            functions
            for name, functions, most in self.shares()
            if name is reason and line[0] in functions and self.load(functions) > most
        ]
        longest = [
            self.length(line[0])
            == max(self.length(name) for name in functions if any(map(self.is_more, self.calls([name]))))
            for functions in over
            if self.is_more(ticket)
        ]
        if any(longest):
            more = [ticket for ticket in self.calls([line[0]]) if self.is_more(ticket)]
            calls = more
        else:
            assert reason is Reason.ACCOUNT
            assert self.crowded()
            lengths = {line: self.length(line[0]) for line, missing in self.missing().items() if missing}
            assert lengths[line] == max(lengths.values())
            calls = [ticket for ticket, of in self.waiting.items() if of == line]
        behind = [other for other in calls if other in self.background]
        assert ticket == (behind or calls)[-1]
        del self.waiting[ticket]

    def is_more(self, ticket: Hashable) -> bool:
        """Whether it is a call beyond those that what is provisioned can run."""
        line = self.waiting[ticket]
        return self.running(line) > self.promised(line)

    # What may happen.

    @rule(
        function=st.sampled_from("fgh"),
        generation=st.sampled_from("12"),
        background=st.booleans(),
        at_once=st.booleans(),
    )
    def call(self, function: str, generation: str, background: bool, at_once: bool) -> None:
        self.next_ticket += 1
        ticket, line = self.next_ticket, self.line(function, generation)
        if (reason := self.too_fast(line)) is None:
            self.waiting[ticket] = line
        else:
            self.refused[ticket] = reason
        if background:
            self.background.add(ticket)
        seats = self.seats[function]
        self.pool.submit(function, line[1], ticket, self.now, about=line, seats=seats, background=background)
        if at_once:
            self.step()

    def too_fast(self, line: Line) -> Reason | None:
        function = line[0]
        _, functions, most = next(share for share in self.shares() if function in share[1])
        if self.scaling is None or self.load(functions) >= most:
            return None
        concurrency = self.reserved.get(function, self.concurrency)
        if self.over_rate(self.asked[function], concurrency, concurrency):
            return Reason.RESERVED_RATE if function in self.reserved else Reason.RATE
        self.asked[function].append(self.now)
        if sum(environment.free for environment in self.on(line)) > self.waits(line):
            return None
        if self.over_rate(self.grown[function], self.scaling.burst, self.scaling.per_second):
            return Reason.RATE
        self.grown[function].append(self.now)
        return None

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(list(self.waiting)))
        del self.waiting[ticket]
        self.pool.withdraw(ticket)

    @rule(function=st.sampled_from("fgh"), generation=st.sampled_from("12"), count=st.integers(0, 2))
    def provision(self, function: str, generation: str, count: int) -> None:
        line = self.line(function, generation)
        before = dict(self.provisioned)
        self.provisioned[line] = count
        if not self.can_be_kept():
            self.provisioned = before
            return
        if not count:
            del self.provisioned[line]
        self.failed.discard(line)
        seats = self.seats[function]
        self.pool.provision(function, line[1], count, self.now, about=line, seats=seats)
        self.step()

    def can_be_kept(self) -> bool:
        """Whether what is provisioned is within every limit; the API refuses to set what is not."""
        for _, functions, most in self.shares():
            if sum(self.promised(line) for line in self.provisioned if line[0] in functions) > most:
                return False
        return sum(self.provisioned.values()) <= self.limit

    @rule(function=st.sampled_from("fgh"), reserved=st.none() | st.integers(0, 3))
    def reserve(self, function: str, reserved: int | None) -> None:
        before = dict(self.reserved)
        if reserved is not None:
            self.reserved[function] = reserved
        else:
            self.reserved.pop(function, None)
        possible, self.reserved = self.can_be_kept(), before
        if not possible:
            return
        if self.reserved.get(function) != reserved:
            self.asked[function].clear()  # the rate is another
        if reserved is None:
            self.reserved.pop(function, None)
        else:
            self.reserved[function] = reserved
        self.pool.reserve(function, reserved)
        self.step()

    @rule(function=st.sampled_from("fgh"), keep=st.sets(st.sampled_from("12")), at_once=st.booleans())
    def change(self, function: str, keep: set[str], at_once: bool) -> None:
        self.pool.retire(function, {f"{function}:{generation}" for generation in keep}, self.now)
        for generation in {"1", "2"} - keep:
            key = (function, f"{function}:{generation}")
            self.provisioned.pop(self.line(*key[1].split(":")), None)
            self.retired[key] = self.retired.get(key, 0) + 1
        if at_once:
            self.step()

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def ready(self, data: st.DataObject) -> None:
        """A seat asks: also out of turn, and of one that is being ended."""
        self._ready(data.draw(st.sampled_from(list(self.alive))))

    def _ready(self, number: int) -> None:
        environment = self.alive[number]
        seats = self.seats[environment.line[0]]
        self.pool.ready(number, self.now)
        if environment.stopping or environment.free == seats:
            pass
        elif environment.returning:
            environment.returning -= 1
            environment.free += not environment.draining
        elif environment.draining:
            environment.busy -= environment.busy == seats
        else:
            if environment.opening:
                environment.opening -= 1
            elif environment.busy + environment.free == seats:
                environment.busy -= 1  # its call has ended, and nobody has said so
            environment.free += 1
            if environment.asked_at is None:
                environment.asked_at = self.now
                self.failed.discard(environment.line)
        self.step()

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        self._done(data.draw(st.sampled_from(list(self.alive))))

    def _done(self, number: int) -> None:
        environment = self.alive[number]
        if environment.busy:
            environment.busy -= 1
            environment.returning += 1
        self.pool.done(number, self.now)

    @precondition(lambda self: self.of("starting", "idle", "busy", "returning"))
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.of("starting", "idle", "busy", "returning")))
        environment = self.alive[number]
        environment.draining = True
        environment.free = environment.opening = 0
        self.pool.drain(number)
        self.step()

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(list(self.alive)))
        if self.alive[number].state == "idle":
            self.failed.add(self.alive[number].line)
        self.alive[number].end()
        self.pool.stopping(number)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self._end(data.draw(st.sampled_from(list(self.alive))))

    def _end(self, number: int) -> None:
        environment = self.alive.pop(number)
        if environment.state == "starting":
            self.failed.add(environment.line)
            calls = [ticket for ticket, of in self.waiting.items() if of == environment.line]
            calls = calls[: self.seats[environment.line[0]]]
            assert self.pool.take_waiting(number) == calls
            for ticket in calls:
                del self.waiting[ticket]
        self.pool.gone(number)
        self.step()

    @rule(quarters=st.integers(0, 80))
    def pass_time(self, quarters: int) -> None:
        self.now += quarters / 4  # without rounding
        self.step()
        due = self.pool.due()
        idle = [self.alive[number] for number in self.of("idle")]
        unused = [each for each in idle if not each.busy and not each.returning and not self.pins(each)]
        opening = [each for each in self.alive.values() if each.opening and each.asked_at is not None]
        if all(self.living(line) >= count for line, count in self.provisioned.items()):
            assert (due is not None) == bool(unused or opening)
        assert due is None or due > self.now

    @invariant()
    def counted(self) -> None:
        if not hasattr(self, "pool"):
            return
        states = ("starting", "idle", "busy", "returning", "stopping")
        counts = ", ".join(f"{len(self.of(state))} {state}" for state in states)
        assert repr(self.pool) == f"<Pool {counts} of {self.limit}; {len(self.waiting)} waiting>"

    def teardown(self) -> None:
        """Let every environment do its work: each call is then served, none waits for ever, none is kept."""
        if not hasattr(self, "pool"):
            return
        self.step()
        for _ in range(500):
            if not self.waiting:
                break
            moving = [
                n for n, each in self.alive.items() if each.state != "idle" or each.busy + each.returning
            ]
            assert moving, f"{self.waiting} wait for nothing: {self.pool}"
            if (number := moving[0]) in self.of("stopping"):
                self._end(number)
            else:
                self._done(number)
                self._ready(number)
        assert not self.waiting, f"they still wait: {self.pool}"
        for number in list(self.alive):
            self.pool.gone(number)
        for function, key, _ in self.provisioned:
            self.pool.provision(function, key, 0, self.now)
        for function in "fgh":
            self.pool.reserve(function, None)
        for _ in "fgh":
            self.pool.step(self.now + 1000)
        assert kept(self.pool) == 0


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
