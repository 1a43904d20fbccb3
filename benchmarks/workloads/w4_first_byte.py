"""First byte, warm: 100 requests, one every 30 ms (quick: 30). The first chunk is yielded at once, then the
generator rests for 100 ms, so about four responses are under way at any time.

From the sending of the request to the first byte of the body at the client. Every request has a connection
of its own, made beforehand; eight responses at once before the first of them have warmed the environments.
With 100 samples a round, p99 is the second slowest.
"""

from collections.abc import Mapping

from figures import percentile
from systems import System

from .base import Check, Compared, Metric, Round, Workload, bound, function, load

INTERVAL = 0.03


def measure(system: System, quick: bool) -> Round:
    result = load("first_byte", system, count=30 if quick else 100, interval=INTERVAL)
    latencies = result["latencies"]
    values = {
        "p50": percentile(latencies, 50) * 1000,
        "p99": percentile(latencies, 99) * 1000,
        "max": max(latencies) * 1000,
    }
    return Round(values, system.memory(), len(latencies))


def checks(compared: Mapping[str, Compared], memory: Mapping[str, Mapping[str, int]]) -> list[Check]:
    return [
        bound("goal", "p50 at most 1 ms", compared["p50"].ours.median, most=1),
        bound("goal", "p99 at most 4 ms", compared["p99"].ours.median, most=4),
    ]


WORKLOAD = Workload(
    key="W4",
    title="first byte, warm",
    about=__doc__,
    metrics=(
        Metric("p50", "first byte, p50", "ms"),
        Metric("p99", "first byte, p99", "ms"),
        Metric("max", "first byte, slowest", "ms"),
    ),
    target=function("rest"),
    path="/",
    rival_path="/rest",
    measure=measure,
    checks=checks,
)
