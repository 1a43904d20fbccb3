"""Many small chunks: 100,000 JSON lines of 57 bytes, one `yield` each.

Lines a second are counted from the sending of the request to the end of the response; the first line from
the sending; the longest gap is between two reads that brought lines. The client counts lines as it reads
and parses the framing when the clock has stopped. A round is the median of its runs, on one connection,
after one that is not counted. Penstock may join lines that are made within a millisecond into one chunk;
see "chunks at the client".
"""

import statistics
from collections.abc import Mapping

from systems import System

from .base import Check, Compared, LoadFailed, Metric, Round, Workload, bound, function, load, ratio_of

COUNT = 100_000
BYTES = 57 * COUNT


def measure(system: System, quick: bool) -> Round:
    runs = load("lines", system, count=COUNT, runs=3 if quick else 5)["runs"]
    if any(run["payload"] != BYTES for run in runs):
        raise LoadFailed(f"expected {BYTES} bytes of lines, got {[run['payload'] for run in runs]}")

    def median(key: str) -> float:
        return statistics.median(run[key] for run in runs)

    values = {
        "rate": COUNT / median("seconds"),
        "first": median("first_line") * 1000,
        "gap": max(run["longest_gap"] for run in runs) * 1000,
        "chunks": median("chunks"),
    }
    return Round(values, system.memory(), COUNT * len(runs))


def checks(compared: Mapping[str, Compared], memory: Mapping[str, Mapping[str, int]]) -> list[Check]:
    rate = compared["rate"]
    return [
        bound("floor", "at least 4 x Starlette's lines/s", ratio_of(rate), least=4),
        bound("goal", "at least 6 x Starlette's lines/s", ratio_of(rate), least=6),
        bound("goal", "more than 1,000,000 lines/s", rate.ours.median, least=1_000_000),
    ]


WORKLOAD = Workload(
    key="W2",
    title="100,000 lines of 57 bytes",
    about=__doc__,
    metrics=(
        Metric("rate", "lines", "lines/s", higher_is_better=True, digits=0),
        Metric("first", "first line", "ms"),
        Metric("gap", "longest gap", "ms"),
        Metric("chunks", "chunks at the client", "", digits=0, compared=False),
    ),
    target=function("lines"),
    path="/",
    rival_path="/lines",
    measure=measure,
    checks=checks,
)
