"""Deadlines by one timer."""

from http_kit import Clock
from penstock.http.timers import NEVER, Timers


class Item:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.expired: list[float] = []

    def expire(self, now: float) -> None:
        self.expired.append(now)
        self.deadline = NEVER


def test_expires_within_a_tick_and_then_rests() -> None:
    clock = Clock()
    timers = Timers(clock, 1.0)  # type: ignore[arg-type]
    early, late = Item(clock.now + 0.5), Item(clock.now + 2.5)
    timers.watch(early)
    timers.watch(late)
    assert len(clock.later) == 1
    clock.move(10)
    assert (early.expired, late.expired) == ([101.0], [103.0])
    assert not clock.later  # nothing is watched: no timer


def test_a_deadline_moved_or_taken_back_costs_nothing_but_the_assignment() -> None:
    clock = Clock()
    timers = Timers(clock, 1.0)  # type: ignore[arg-type]
    item = Item(clock.now + 1.5)
    timers.watch(item)
    clock.move(1)
    item.deadline += 1
    clock.move(1)
    assert not item.expired
    item.deadline = NEVER
    clock.move(5)
    assert not item.expired
    assert not clock.later
    item.deadline = clock.now + 0.5
    timers.watch(item)
    clock.move(1)
    assert len(item.expired) == 1


def test_forgotten() -> None:
    clock = Clock()
    timers = Timers(clock, 1.0)  # type: ignore[arg-type]
    item = Item(clock.now + 0.5)
    timers.watch(item)
    timers.forget(item)
    timers.forget(item)
    assert not clock.later
    clock.move(5)
    assert not item.expired
