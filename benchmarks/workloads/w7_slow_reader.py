"""A slow reader: an endless stream as fast as it is taken, and a client that takes 10,000 bytes a second
for 60 s (quick: 10 s).

Memory of every process is read once a second. The first 3 s are left out: the stream fills the sockets'
buffers then. Growth is the largest sum of all processes' memory (PSS) after that, less the first. It is
called flat below 512 KiB, and only if no process's high-water mark grew by more.
"""

import time

from systems import System

from .base import Check, Figures, LoadFailed, Metric, Roles, Round, Workload, bound, load_result, start_load

RATE = 10_000
SETTLE = 3
FLAT = 512  # KiB


def measure(system: System, quick: bool) -> Round:
    seconds = 10 if quick else 60
    reader = start_load("trickle", system, rate=RATE, seconds=seconds)
    began = time.monotonic()
    series: list[dict[str, float]] = []
    first_peaks: dict[int, int] = {}
    peaks: dict[int, int] = {}
    processes = system.memory()
    for second in range(SETTLE, seconds):
        time.sleep(max(began + second - time.monotonic(), 0))
        if reader.poll() is not None:
            break
        processes = system.memory()
        peaks = {process.pid: process.hwm for process in processes}
        first_peaks = first_peaks or peaks
        series.append({"second": second, "pss": sum(process.pss for process in processes)})
    read = load_result(reader)["bytes"]
    if read < RATE * seconds * 0.8 or len(series) < seconds - SETTLE:
        raise LoadFailed(f"the reader was to read {RATE * seconds} bytes, but read {read}")
    pss = [each["pss"] for each in series]
    values = {
        "growth": max(pss) - pss[0],
        "peak_growth": max(peak - first_peaks.get(pid, 0) for pid, peak in peaks.items()),
        "memory": max(pss) / 1024,
    }
    return Round(values, processes, len(series), series)


def checks(figures: Figures, memory: Roles) -> list[Check]:
    worst = max(figures["growth"].ours.max, figures["peak_growth"].ours.max)
    return [bound("floor", f"flat: no growth above {FLAT} KiB", worst, most=FLAT)]


WORKLOAD = Workload(
    key="W7",
    title="slow reader of an endless stream",
    about=__doc__,
    metrics=(
        Metric("growth", "growth of all processes (PSS)", "KiB", digits=0, compared=False),
        Metric("peak_growth", "largest growth of one peak (VmHWM)", "KiB", digits=0, compared=False),
        Metric("memory", "all processes (PSS), most", "MiB", digits=1),
    ),
    work="endless",
    measure=measure,
    checks=checks,
    most_rounds=1,
)
