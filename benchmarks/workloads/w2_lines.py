"""Many small chunks: 100,000 JSON lines of 57 bytes, one `yield` each.

Lines a second are counted from the sending of the request to the end of the response; the first line from
the sending; the longest gap is between two reads that brought lines. The client counts lines as it reads
and parses the framing when the clock has stopped. A round is the median of its runs, on one connection,
after one that is not counted. Penstock may join lines that are made within a millisecond into one chunk;
see "chunks at the client". CPU is that of all processes of the system.
"""

import statistics

from systems import System

from .base import SERVERS, Check, Figures, LoadFailed, Metric, Roles, Round, Workload, bound, load

COUNT = 100_000
LINE = 57  # bytes


def measure(system: System, quick: bool) -> Round:
    return read(system, COUNT, 3 if quick else 5)


def read(system: System, count: int, runs: int) -> Round:
    """`count` lines in one response, as many times, and once before."""
    path = f"{system.path}?thousands={count // 1000}"
    before = system.cpu()
    done = load("lines", system, path=path, count=count, runs=runs)["runs"]
    used = system.cpu() - before
    if any(run["payload"] != LINE * count for run in done):
        raise LoadFailed(f"expected {LINE * count} bytes of lines, got {[run['payload'] for run in done]}")

    return Round(figures_of(done, count, used), system.memory(), count * len(done))


def figures_of(runs: list[dict[str, float]], count: int, used: float) -> dict[str, float]:
    """What runs of `count` lines say; `used`: processor time of them and of the one that warms."""

    def median(key: str) -> float:
        return statistics.median(run[key] for run in runs)

    return {
        "rate": count / median("seconds"),
        "first": median("first_line") * 1000,
        "gap": max(run["longest_gap"] for run in runs) * 1000,
        "chunks": median("chunks"),
        "cpu": used * 1e6 / (count * (len(runs) + 1)),
    }


def checks(figures: Figures, memory: Roles) -> list[Check]:
    rate = figures["rate"]
    return [
        bound("floor", "at least 4 x Starlette's lines/s", rate.ratio("Starlette"), least=4),
        bound("goal", "at least 6 x Starlette's lines/s", rate.ratio("Starlette"), least=6),
        bound("goal", "at least granian's lines/s", rate.ratio("granian"), least=1),
        bound("goal", "more than 1,000,000 lines/s", rate.ours.median, least=1_000_000),
    ]


METRICS = (
    Metric("rate", "lines", "lines/s", higher_is_better=True, digits=0),
    Metric("first", "first line", "ms"),
    Metric("gap", "longest gap", "ms"),
    Metric("chunks", "chunks at the client", "", digits=0, compared=False),
    Metric("cpu", "CPU a line", "µs"),
)

WORKLOAD = Workload(
    key="W2",
    title="100,000 lines of 57 bytes",
    about=__doc__,
    metrics=METRICS,
    work="lines",
    measure=measure,
    rivals=(*SERVERS, "relay → loop"),
    checks=checks,
)
