"""How fast things may go under `--limits aws`: token buckets. Pure; `now` is an argument, in seconds.

Rate       events: new environments, requests. One that finds the bucket empty is refused.
Bandwidth  bytes of a streamed response. They are never refused: whoever sends them has to pause.
"""

from dataclasses import dataclass, field

from penstock.protocol import limits


@dataclass(slots=True)
class Rate:
    """At most `capacity` events at once, and `per_second` on average; full at first.

    Unused ones do not accrue above `capacity`.
    """

    capacity: float
    per_second: float
    _level: float = field(init=False)
    _at: float = field(init=False, default=float("-inf"))  # when `_level` was right

    def __post_init__(self) -> None:
        self._level = self.capacity

    def take(self, now: float) -> bool:
        """Count one event in; False, and nothing counted, when it has to be refused."""
        self._fill(now)
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def full(self, now: float) -> bool:
        """Whether it is as good as new."""
        self._fill(now)
        return self._level >= self.capacity

    def _fill(self, now: float) -> None:
        if now > self._at:
            self._level = min(self.capacity, self._level + (now - self._at) * self.per_second)
            self._at = now


@dataclass(frozen=True, slots=True)
class Scaling:
    """How fast functions may grow, and be called. The defaults are AWS's; see protocol/limits.py."""

    burst: int = limits.SCALING_BURST  # new environments of a function at once
    per_second: float = limits.SCALING_RATE
    requests_per_concurrency: float = limits.REQUESTS_PER_CONCURRENCY  # per second


class Bandwidth:
    """The first 6 MB of a stream as fast as they come, then 2 MB/s.

    Filled every 125 ms, as AWS's own emulator does it (its `core/bandwidthlimiter`).
    """

    __slots__ = ("_at", "_level")

    def __init__(self, now: float) -> None:
        self._level = float(limits.STREAM_BURST)
        self._at = now  # of the last filling

    def spend(self, size: int, now: float) -> float:
        """Count in `size` bytes that were sent; for how many seconds no more may be taken."""
        # A timer may come a hair before its time; it counts as on time.
        fillings = int((now - self._at) / _FILL_EVERY + 1e-6)
        if fillings > 0:
            self._level = min(float(limits.STREAM_BURST), self._level + fillings * _FILL)
            self._at += fillings * _FILL_EVERY
        self._level -= size
        if self._level > 0:
            return 0.0
        return max(0.0, self._at + (int(-self._level // _FILL) + 1) * _FILL_EVERY - now)


_FILL_EVERY = 0.125  # seconds
_FILL = limits.STREAM_BANDWIDTH * _FILL_EVERY  # bytes
