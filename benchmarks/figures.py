"""The arithmetic: percentiles of samples, what many rounds say together, and how two systems compare."""

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that at least `percent` of the samples do not exceed (nearest rank)."""
    if not samples:
        raise ValueError("no samples")
    rank = math.ceil(percent / 100 * len(samples))
    return sorted(samples)[max(rank, 1) - 1]


@dataclass(frozen=True)
class Summary:
    """What the rounds of one system gave for one figure."""

    n: int
    min: float
    median: float
    max: float


def summary(values: Sequence[float]) -> Summary:
    return Summary(len(values), min(values), statistics.median(values), max(values))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Summary | None:
    """How many times theirs ours is: the ratio of the medians, and the range of the pairs' own ratios.

    Values of one index were measured one right after the other. None where theirs is 0.
    """
    pairs = [a / b for a, b in zip(ours, theirs, strict=True) if b]
    if not pairs or len(pairs) != len(ours):
        return None
    return Summary(len(pairs), min(pairs), statistics.median(ours) / statistics.median(theirs), max(pairs))


_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def wrk(said: str) -> dict[str, float]:
    """What wrk says at its end: requests, their rate, p50 and p99 in ms. Raises ValueError if one failed."""
    if "Non-2xx" in said or "Socket errors" in said:
        raise ValueError(said)
    count = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec: +([\d.]+)", said)
    latency = {
        percent: float(value) * _UNITS[unit]
        for percent, value, unit in re.findall(r"(\d+)% +([\d.]+)(us|ms|s)\b", said)
    }
    if not count or not rate or not int(count[1]) or not {"50", "99"} <= latency.keys():
        raise ValueError(f"it measured nothing: {said}")
    return {"count": int(count[1]), "rate": float(rate[1]), "p50": latency["50"], "p99": latency["99"]}
