"""Cold start: the first request to each of 100 functions that were never run (quick: 20), 50 ms apart.

From the sending of the request to the first byte of the body: the wait for an environment, the import of
the function's file (hello world, not compiled yet) and the way back are in it. One keep-alive connection;
one more function is called before and not counted. Starlette has no execution environments, so there is
nothing to compare.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from figures import percentile
from systems import HERE, System

from .base import Check, Compared, Metric, Round, Workload, bound, load

FULL, QUICK = 100, 20


def target(folder: Path, quick: bool) -> Path:
    """A folder of as many functions, all alike."""
    functions = folder / "cold"
    functions.mkdir(exist_ok=True)
    for name in _names(quick):
        shutil.copyfile(HERE / "functions" / "hello.py", functions / f"{name}.py")
    shutil.rmtree(functions / "__pycache__", ignore_errors=True)
    return functions


def _names(quick: bool) -> list[str]:
    return [f"f{number}" for number in range((QUICK if quick else FULL) + 1)]


def measure(system: System, quick: bool) -> Round:
    paths = [f"/lambda-url/{name}/" for name in _names(quick)]
    latencies = load("one_by_one", system, path=None, paths=paths, pause=0.05)["latencies"]
    values = {
        "min": min(latencies) * 1000,
        "p50": percentile(latencies, 50) * 1000,
        "p99": percentile(latencies, 99) * 1000,
        "max": max(latencies) * 1000,
    }
    return Round(values, system.memory(), len(latencies))


def checks(compared: Mapping[str, Compared], memory: Mapping[str, Mapping[str, int]]) -> list[Check]:
    return [bound("goal", "p50 at most 6 ms", compared["p50"].ours.median, most=6)]


WORKLOAD = Workload(
    key="W6",
    title="cold start to first byte",
    about=__doc__,
    metrics=(
        Metric("min", "first byte, fastest", "ms"),
        Metric("p50", "first byte, p50", "ms"),
        Metric("p99", "first byte, p99", "ms"),
        Metric("max", "first byte, slowest", "ms"),
    ),
    target=target,
    path="/",
    rival_path=None,
    measure=measure,
    checks=checks,
)
