"""One timer for many connections: deadlines are looked at once a tick, and cost an assignment to set."""

import asyncio
import math
from typing import Protocol

NEVER = math.inf


class Watched(Protocol):
    deadline: float  # in the loop's time; NEVER when there is none

    def expire(self, now: float) -> None:
        """The deadline has passed; set another, or NEVER."""


class Timers:
    """Calls `expire` on what is watched, at most a tick after its deadline.

    Runs only while something has a deadline.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tick: float) -> None:
        self.now = loop.time
        self.loop = loop
        self._tick = tick
        self._watched: set[Watched] = set()
        self._handle: asyncio.TimerHandle | None = None

    def watch(self, item: Watched) -> None:
        self._watched.add(item)
        if self._handle is None:
            self._handle = self.loop.call_later(self._tick, self._look)

    def forget(self, item: Watched) -> None:
        self._watched.discard(item)
        if not self._watched and self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self) -> None:
        self._handle = None
        now = self.now()
        for item in list(self._watched):
            if item.deadline <= now:
                item.expire(now)
            if item.deadline == NEVER:
                self._watched.discard(item)
        if self._watched and self._handle is None:
            self._handle = self.loop.call_later(self._tick, self._look)
