"""How many calls will run at once by the time another environment could have started. Pure.

A call that finds no environment free waits for a start. So the pool starts some before they are needed, as
many as calls are likely to come on top of those that run. How far their number goes up and down is estimated
as TCP estimates how long an answer takes (RFC 6298): a smoothed mean and a smoothed deviation from it.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Forecast:
    """Of the calls of one kind."""

    mean: float = 1.0  # calls that run or wait, as each call that comes finds them, itself included
    deviation: float = 0.0

    def arrived(self, running: int) -> int:
        """A call has come; with it so many run or wait. How many may soon run at once."""
        off = running - self.mean
        self.deviation += (abs(off) - self.deviation) * _BETA
        self.mean += off * _ALPHA
        return self.likely

    @property
    def likely(self) -> int:
        return int(self.mean + _DEVIATIONS * self.deviation)


_ALPHA = 1 / 8
_BETA = 1 / 4
_DEVIATIONS = 3.0
