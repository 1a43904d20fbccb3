"""Many streams: 200 at once, each a chunk every 100 ms for 5 s (quick: 2 s), begun at random moments of
one second.

Every chunk holds the time it was made on the system's monotonic clock; its delay is from then to its
receipt by the client, one process that reads all streams. A shorter run before warms the environments.
Memory is read in the middle of a run after the one that is measured: reading it takes time that would count
as delay. Memory a stream is what all processes hold then, less what they held before the first request,
divided by 200; cargo-lambda's functions are there before, so for it see the memory of all. CPU is that of
all processes of the system.
"""

import time

from figures import percentile
from systems import System

from .base import (
    SERVERS,
    Check,
    Figures,
    Metric,
    Roles,
    Round,
    Workload,
    bound,
    load,
    load_result,
    start_load,
)

STREAMS = 200


def measure(system: System, quick: bool, streams: int = STREAMS) -> Round:
    before = sum(process.pss for process in system.memory())
    load("ticks", system, **_run(system, 11, streams))
    used = system.cpu()
    result = load("ticks", system, **_run(system, 20 if quick else 50, streams))
    used = system.cpu() - used
    again = start_load("ticks", system, **_run(system, 15, streams))
    time.sleep(1.3)  # all have begun, none has ended
    processes = system.memory()
    load_result(again)
    delays = result["delays"]
    total = sum(process.pss for process in processes)
    values = {
        "incomplete": streams - result["complete"],
        "p50": percentile(delays, 50) * 1000,
        "p99": percentile(delays, 99) * 1000,
        "max": max(delays) * 1000,
        "stream_memory": (total - before) / 1024 / streams,
        "memory": total / 1024,
        "cpu": used * 1e6 / len(delays),
    }
    return Round(values, processes, len(delays))


def _run(system: System, ticks: int, streams: int) -> dict[str, object]:
    path = f"{system.path}?count={ticks}"
    return {"path": path, "count": streams, "seconds": 1 + ticks / 10, "per_stream": ticks}


def checks(figures: Figures, memory: Roles) -> list[Check]:
    delay = figures["p99"]
    limit = delay.of("socket loop")
    return [
        bound("goal", "all 200 complete: streams that were not", figures["incomplete"].ours.max, most=0),
        bound("goal", "delay p99 at most 1 ms", delay.ours.median, most=1, limit=limit),
        bound("goal", "at most 2 MiB a stream (PSS)", figures["stream_memory"].ours.median, most=2),
    ]


METRICS = (
    Metric("incomplete", "streams not complete", "", digits=0, compared=False),
    Metric("p50", "delay, p50", "ms"),
    Metric("p99", "delay, p99", "ms"),
    Metric("max", "delay, longest", "ms"),
    Metric("cpu", "CPU a chunk", "µs", digits=0),
    Metric("stream_memory", "memory a stream (PSS)", "MiB"),
    Metric("memory", "memory, all (PSS)", "MiB", digits=0),
)

WORKLOAD = Workload(
    key="W5",
    title="200 streams, 10 chunks a second each",
    about=__doc__,
    metrics=METRICS,
    work="ticks",
    measure=measure,
    rivals=SERVERS,
    at_once=STREAMS + 20,
    checks=checks,
    most_rounds=2,
)
