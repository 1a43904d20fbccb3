"""Bulk: 1 GiB in chunks of 64 KiB (quick: 256 MiB), one response on one connection.

MB/s (10^6 bytes) of payload from the sending of the request to the end of the response. The client reads
into one buffer and hops from chunk to chunk; a run before it with 16 MiB is not counted.
"""

from collections.abc import Mapping

from systems import System

from .base import Check, Compared, Metric, Round, Workload, bound, function, load, ratio_of

CHUNK = 64 * 1024


def measure(system: System, quick: bool) -> Round:
    _read(system, 256)
    count = 4096 if quick else 16384
    seconds = _read(system, count)
    processes = system.memory()
    values = {"rate": count * CHUNK / seconds / 1e6}
    return Round(values, processes, count)


def _read(system: System, count: int) -> float:
    result = load("bulk", system, path=f"{system.path}?chunks={count}", size=count * CHUNK)
    seconds: float = result["seconds"]
    return seconds


def checks(compared: Mapping[str, Compared], memory: Mapping[str, Mapping[str, int]]) -> list[Check]:
    service = memory["Penstock"]["service"]["hwm_largest"] / 1024
    return [
        bound("floor", "at least 0.7 x Starlette's MB/s", ratio_of(compared["rate"]), least=0.7),
        bound("goal", "gateway and service at most 40 MiB (VmHWM)", service, most=40),
    ]


WORKLOAD = Workload(
    key="W3",
    title="bulk in 64 KiB chunks",
    about=__doc__,
    metrics=(Metric("rate", "payload", "MB/s", higher_is_better=True, digits=0),),
    target=function("bulk"),
    path="/",
    rival_path="/bulk",
    measure=measure,
    checks=checks,
)
