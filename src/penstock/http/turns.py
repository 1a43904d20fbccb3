"""Whose request begins now: one in each turn of the event loop, in the order they came.

To begin a request takes as long as to pass on twenty chunks. When many come at once, those of the responses
under way wait for one of them, and not for all. Where turns are long, nobody waits longer than `PATIENCE`.
"""

import asyncio
from typing import Protocol

PATIENCE = 0.05  # seconds


class Waiting(Protocol):
    def resume(self) -> None:
        """It is its turn. It need not take it any more."""


class Turns:
    """The turns of one event loop, shared by connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._taken = False
        self._called = False  # `_next` is to be
        self._waiting: dict[Waiting, float] = {}  # since when; who has waited longest is the first

    def take(self, one: Waiting) -> bool:
        """Whether `one` may begin a request now; else it is told to resume."""
        if self._taken:
            self._waiting.setdefault(one, self._loop.time())
            return False
        self._taken = True
        if not self._called:
            self._called = True
            self._loop.call_soon(self._next)
        return True

    def awaited_by(self, one: Waiting) -> bool:
        return one in self._waiting

    def leave(self, one: Waiting) -> bool:
        """`one` is not to be told any more; whether it waited."""
        return self._waiting.pop(one, None) is not None

    def _next(self) -> None:
        self._called = self._taken = False
        late = self._loop.time() - PATIENCE
        while self._waiting:
            one, since = next(iter(self._waiting.items()))
            if self._taken and since > late:
                break
            del self._waiting[one]
            self._taken = False
            one.resume()
