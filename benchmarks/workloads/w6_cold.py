"""Cold start: the first request to each of 100 functions that were never run (quick: 20), 50 ms apart.

From the sending of the request to the first byte of the body: the wait for an environment, the import of
the function's file (hello world, not compiled yet) and the way back are in it. One keep-alive connection;
one more function is called before and not counted. serverless-offline runs 20 such functions, buffered.
Servers and cargo-lambda's Runtime API start no environments, so there is nothing to compare.
"""

import shutil
from pathlib import Path

from figures import percentile
from systems import HERE, System

from .base import Check, Figures, Metric, Roles, Round, Workload, bound, load

FULL, QUICK = 100, 20


def target(folder: Path, quick: bool) -> Path:
    """A folder of as many functions, all alike."""
    return copies(folder, "hello", QUICK if quick else FULL)


def copies(folder: Path, function: str, count: int) -> Path:
    """A folder of functions f0, f1 …: one to warm the way, and `count`."""
    functions = folder / "cold"
    functions.mkdir(exist_ok=True)
    for number in range(count + 1):
        shutil.copyfile(HERE / "functions" / f"{function}.py", functions / f"f{number}.py")
    return functions


def measure(system: System, quick: bool) -> Round:
    return first_requests(system, QUICK if quick or system.name != "Penstock" else FULL)


def first_requests(system: System, count: int) -> Round:
    paths = [system.function_path(f"f{number}") for number in range(count + 1)]
    latencies = load("one_by_one", system, paths=paths, pause=0.05)["latencies"]
    values = {
        "min": min(latencies) * 1000,
        "p50": percentile(latencies, 50) * 1000,
        "p99": percentile(latencies, 99) * 1000,
        "max": max(latencies) * 1000,
    }
    return Round(values, system.memory(), len(latencies))


def checks(figures: Figures, memory: Roles) -> list[Check]:
    return [bound("goal", "p50 at most 6 ms", figures["p50"].ours.median, most=6)]


METRICS = (
    Metric("min", "first byte, fastest", "ms"),
    Metric("p50", "first byte, p50", "ms"),
    Metric("p99", "first byte, p99", "ms"),
    Metric("max", "first byte, slowest", "ms"),
)

WORKLOAD = Workload(
    key="W6",
    title="cold start to first byte",
    about=__doc__,
    metrics=METRICS,
    work="hello",
    target=target,
    measure=measure,
    rivals=("serverless-offline",),
    checks=checks,
    most_rounds=2,
)
