"""Bursts: one second of requests, half a second of none, four times, at 20, 40, 80 and 160 a second. Each
stream takes 100 ms, and a new environment 100 ms before it can serve (imports and module code).

Requests come at random moments (the same ones every time), whatever becomes of those before; each burst needs
more environments than there were. `--start-ahead 0` starts none before a call needs it. From the sending of
a request to the first byte of its body. A request that took 50 ms or more is counted as one that waited for
a start. The first request starts the service's first environment and is not counted.
"""

import random

from figures import percentile
from systems import System

from .base import Metric, Round, Workload, load

RATES = (20, 40, 80, 160)  # requests a second
LENGTH, PAUSE = 1.0, 0.5
STREAM = 0.1
WAITED = 0.05


def starts(quick: bool) -> list[float]:
    """When requests are sent."""
    moments = random.Random(9)
    found = []
    begin = 0.0
    for rate in RATES[:2] if quick else RATES:
        found += [begin + moments.random() * LENGTH for _ in range(int(rate * LENGTH))]
        begin += LENGTH + PAUSE
    return sorted(found)


def measure(system: System, quick: bool) -> Round:
    path = f"{system.path}?seconds={STREAM}"
    load("arrivals", system, path=path, starts=[0.0])
    before = system.cpu()
    latencies = load("arrivals", system, path=path, starts=starts(quick))["latencies"]
    values = {
        "p50": percentile(latencies, 50) * 1000,
        "p90": percentile(latencies, 90) * 1000,
        "p99": percentile(latencies, 99) * 1000,
        "waited": sum(latency >= WAITED for latency in latencies),
        "cpu": (system.cpu() - before) * 1e3 / len(latencies),
        "environments": sum(role == "environment" for role in system.processes().values()),
    }
    return Round(values, system.memory(), len(latencies))


WORKLOAD = Workload(
    key="W9",
    title="bursts, with prediction and without",
    about=__doc__,
    metrics=(
        Metric("p50", "first byte, p50", "ms"),
        Metric("p90", "first byte, p90", "ms"),
        Metric("p99", "first byte, p99", "ms"),
        Metric("waited", "waited for a start", "", digits=0),
        Metric("cpu", "CPU a request", "ms"),
        Metric("environments", "environments at the end", "", digits=0),
    ),
    work="bursty",
    ours={"Penstock": (), "Penstock --start-ahead 0": ("--start-ahead", "0")},
    measure=measure,
    most_rounds=2,
)
