"""Bulk: 1 GiB in chunks of 64 KiB (quick: 256 MiB), one response on one connection.

MB/s (10^6 bytes) of payload from the sending of the request to the end of the response. The client reads
into one buffer and hops from chunk to chunk; a run before it with 16 MiB is not counted. CPU is that of all
processes of the system.
"""

from systems import System

from .base import SERVERS, Check, Figures, Metric, Roles, Round, Workload, bound, load

CHUNK = 64 * 1024
COUNT = 16 * 1024


def measure(system: System, quick: bool) -> Round:
    return read(system, COUNT // 4 if quick else COUNT)


def read(system: System, count: int) -> Round:
    """`count` chunks in one response."""
    _read(system, 256)
    before = system.cpu()
    seconds = _read(system, count)
    used = system.cpu() - before
    processes = system.memory()
    values = {"rate": count * CHUNK / seconds / 1e6, "cpu": used * 1000 / (count * CHUNK / 1e9)}
    return Round(values, processes, count)


def _read(system: System, count: int) -> float:
    result = load("bulk", system, path=f"{system.path}?chunks={count}", size=count * CHUNK)
    seconds: float = result["seconds"]
    return seconds


def checks(figures: Figures, memory: Roles) -> list[Check]:
    rate = figures["rate"]
    service = memory["Penstock"]["service"]["hwm_largest"] / 1024
    return [
        bound("floor", "at least 0.7 x Starlette's MB/s", rate.ratio("Starlette"), least=0.7),
        bound("goal", "at least 1.2 x nginx's before a socket loop", rate.ratio("nginx → loop"), least=1.2),
        bound("goal", "at least 0.7 x a bare copying relay's", rate.ratio("relay → loop"), least=0.7),
        bound("goal", "gateway and service at most 40 MiB (VmHWM)", service, most=40),
    ]


WORKLOAD = Workload(
    key="W3",
    title="bulk in 64 KiB chunks",
    about=__doc__,
    metrics=(
        Metric("rate", "payload", "MB/s", higher_is_better=True, digits=0),
        Metric("cpu", "CPU a GB", "ms", digits=0),
    ),
    work="bulk",
    measure=measure,
    rivals=(*SERVERS, "nginx → loop (unix)", "relay → loop"),
    checks=checks,
)
