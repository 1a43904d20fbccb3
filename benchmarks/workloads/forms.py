"""W10 and W11: what it costs a handler to yield the same in other forms, Penstock alone."""

from systems import System

from .base import Metric, Round, Workload, load
from .w2_lines import METRICS, figures_of

LINES = {
    "bytes": "bytes",
    "str": "str",
    "dicts (JSON lines)": "dict",
    "io.StringIO(generator)": "StringIO",
    "asynchronous generator": "async",
    "bytes, and a print for each": "printed",
    "100 lines a chunk": "joined",
}
SIZES = {
    "64 KiB": "64K",
    "1 KiB": "1K",
    "8 KiB": "8K",
    "1 MiB": "1M",
    "64 KiB, str": "64K-str",
    "64 KiB, asynchronous generator": "64K-async",
    "open file": "file",
}
COUNT = 100_000
TOTAL = 256 * 1024 * 1024


def lines(system: System, quick: bool) -> Round:
    path = f"{system.path}?form={LINES[system.name]}"
    before = system.cpu()
    runs = load("lines", system, path=path, count=COUNT, runs=3)["runs"]
    values = figures_of(runs, COUNT, system.cpu() - before)
    return Round(values, system.memory(), COUNT * len(runs))


def sizes(system: System, quick: bool) -> Round:
    path = f"{system.path}?form={SIZES[system.name]}"
    load("bulk", system, path=path, size=TOTAL)
    before = system.cpu()
    seconds = load("bulk", system, path=path, size=TOTAL)["seconds"]
    values = {"rate": TOTAL / seconds / 1e6, "cpu": (system.cpu() - before) * 1000 / (TOTAL / 1e9)}
    return Round(values, system.memory(), 1)


WORKLOADS = (
    Workload(
        key="W10",
        title="100,000 lines, by what is yielded",
        about="Lines as in W2, yielded in other forms. Dicts become JSON lines of about the same size.",
        metrics=METRICS,
        work="forms",
        ours=dict.fromkeys(LINES, ()),
        measure=lines,
        most_rounds=2,
    ),
    Workload(
        key="W11",
        title="256 MiB, by what is yielded",
        about="Bulk as in W3: 256 MiB in chunks of other sizes and kinds. One run before is not counted.",
        metrics=(
            Metric("rate", "payload", "MB/s", higher_is_better=True, digits=0),
            Metric("cpu", "CPU a GB", "ms", digits=0),
        ),
        work="sizes",
        ours=dict.fromkeys(SIZES, ()),
        measure=sizes,
        most_rounds=2,
    ),
)
