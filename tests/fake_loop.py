"""The part of an event loop that our timers use, with a time that stands still until it is moved."""

import heapq
import itertools
from collections.abc import Callable
from typing import Any


class Timer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    def __init__(self, now: float = 100.0) -> None:
        self.now = now
        self._order = itertools.count()
        self._due: list[tuple[float, int, Timer, Callable[..., object], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        return self.call_at(self.now + delay, callback, *args)

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> Timer:
        timer = Timer()
        heapq.heappush(self._due, (when, next(self._order), timer, callback, args))
        return timer

    def call_soon(self, callback: Callable[..., object], *args: Any) -> Timer:
        return self.call_at(self.now, callback, *args)

    @property
    def timers(self) -> int:
        """How many are set."""
        return sum(not timer.cancelled for _, _, timer, _, _ in self._due)

    def advance(self, seconds: float) -> None:
        """Let time pass, and everything that falls due be called in its order."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            when, _, timer, callback, args = heapq.heappop(self._due)
            self.now = max(self.now, when)
            if not timer.cancelled:
                timer.cancelled = True
                callback(*args)
        self.now = end
