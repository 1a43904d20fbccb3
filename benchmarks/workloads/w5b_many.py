"""A thousand streams of one asynchronous function, in environments of concurrency 100 (quick: 200 streams).

As W5 otherwise: a chunk every 100 ms for 5 s, begun at random moments of one second, delays and memory
likewise. The servers run them in their one process; the socket loop has a thread for each.
"""

from systems import System

from . import w5_streams
from .base import Check, Figures, Roles, Round, Workload, bound, function

STREAMS, QUICK = 1000, 200


def measure(system: System, quick: bool) -> Round:
    return w5_streams.measure(system, quick, QUICK if quick else STREAMS)


def checks(figures: Figures, memory: Roles) -> list[Check]:
    delay = figures["p99"]
    limit = delay.of("socket loop")
    return [
        bound("goal", "all 1,000 complete: streams that were not", figures["incomplete"].ours.max, most=0),
        bound("goal", "delay p99 at most 10 ms", delay.ours.median, most=10, limit=limit),
        bound("goal", "all processes at most 300 MiB (PSS)", figures["memory"].ours.max, most=300),
    ]


WORKLOAD = Workload(
    key="W5b",
    title="1,000 asynchronous streams, 10 chunks a second each",
    about=__doc__,
    metrics=w5_streams.METRICS,
    work="ticks",
    target=lambda folder, quick: function("async_ticks"),
    ours={"Penstock": ("--concurrency", "100")},
    measure=measure,
    rivals=("Starlette", "granian", "socket loop"),
    checks=checks,
    most_rounds=2,
)
