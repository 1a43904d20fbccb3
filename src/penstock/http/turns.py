"""Whose request begins now: one in each turn of the event loop, in the order they came.

To begin a request takes as long as to pass on ten chunks. When many come at once, those of the responses
under way wait for one of them, and not for all.
"""

import asyncio
from typing import Protocol


class Waiting(Protocol):
    def resume(self) -> None:
        """It is its turn. It need not take it any more."""


class Turns:
    """The turns of one event loop, shared by connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._taken = False
        self._waiting: dict[Waiting, None] = {}

    def take(self, one: Waiting) -> bool:
        """Whether `one` may begin a request now; else it is told to resume."""
        if self._taken:
            self._waiting[one] = None
            return False
        self._taken = True
        self._loop.call_soon(self._next)
        return True

    def awaited_by(self, one: Waiting) -> bool:
        return one in self._waiting

    def leave(self, one: Waiting) -> None:
        """`one` begins nothing any more."""
        self._waiting.pop(one, None)

    def _next(self) -> None:
        self._taken = False
        while self._waiting and not self._taken:
            one = next(iter(self._waiting))
            del self._waiting[one]
            one.resume()
