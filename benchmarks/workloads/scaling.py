"""W1 to W5 at 1, 10 and 100 times the size, Penstock alone: the cost of a unit of the work should stay."""

from collections.abc import Callable, Mapping

from figures import percentile
from systems import System

from . import w2_lines, w3_bulk, w4_first_byte, w5_streams
from .base import Metric, Round, Workload, closed_loop, load

TIMES = {"× 1": 1, "× 10": 10, "× 100": 100}


def connections(system: System, quick: bool, times: int) -> Round:
    values = closed_loop(system, times, 1.0 if quick else 2.0)
    return Round(values, system.memory(), int(values.pop("count")))


def lines(system: System, quick: bool, times: int) -> Round:
    return w2_lines.read(system, 10_000 * times, max(30 // times, 2))


def bulk(system: System, quick: bool, times: int) -> Round:
    count = (400 if quick else 1600) * times
    measured = w3_bulk.read(system, count)
    service = next(process for process in measured.memory if process.role == "service")
    measured.values["service"] = service.hwm / 1024
    return measured


def clients(system: System, quick: bool, times: int) -> Round:
    path = f"{system.path}?seconds=0.1"
    count = (20 if quick else 30) * times
    load("first_byte", system, path=path, clients=times, count=times, pause=w4_first_byte.PAUSE)
    before = system.cpu()
    result = load("first_byte", system, path=path, clients=times, count=count, pause=w4_first_byte.PAUSE)
    latencies = result["latencies"]
    values = {f"p{percent}": percentile(latencies, percent) * 1000 for percent in (50, 99)}
    # Beside those that are counted there are two for each client: one warms up, one is its first.
    values["cpu"] = (system.cpu() - before) * 1e6 / (count + 2 * times)
    return Round(values, system.memory(), count)


def streams(system: System, quick: bool, times: int) -> Round:
    return w5_streams.measure(system, True, 10 * times)


def _scaled(
    key: str,
    title: str,
    about: str,
    work: str,
    measure: Callable[[System, bool, int], Round],
    metrics: Mapping[str, tuple[str, str]],
) -> Workload:
    return Workload(
        key=key,
        title=f"{title}, 1, 10 and 100 times",
        about=about,
        metrics=tuple(Metric(name, *said, compared=False) for name, said in metrics.items()),
        work=work,
        ours=dict.fromkeys(TIMES, ()),
        measure=lambda system, quick: measure(system, quick, TIMES[system.name]),
        most_rounds=1,
    )


WORKLOADS = (
    _scaled(
        "W1x",
        "W1 on 1 connection",
        "Small buffered invokes as in W1, on 1, 10 and 100 connections.",
        "small",
        connections,
        {
            "rate": ("rate", "req/s"),
            "p50": ("p50", "ms"),
            "p99": ("p99", "ms"),
            "cpu": ("CPU a request", "µs"),
        },
    ),
    _scaled(
        "W2x",
        "W2 with 10,000 lines",
        "Lines as in W2: 10,000, 100,000 and 1,000,000 of them in one response.",
        "lines",
        lines,
        {
            "rate": ("lines", "lines/s"),
            "first": ("first line", "ms"),
            "gap": ("longest gap", "ms"),
            "cpu": ("CPU a line", "µs"),
        },
    ),
    _scaled(
        "W3x",
        "W3 with 100 MiB",
        "Bulk as in W3: 100 MiB, 1 GiB and 10 GiB (quick: a quarter).",
        "bulk",
        bulk,
        {
            "rate": ("payload", "MB/s"),
            "cpu": ("CPU a GB", "ms"),
            "service": ("gateway and service, most (VmHWM)", "MiB"),
        },
    ),
    _scaled(
        "W4x",
        "W4 with 1 client",
        "First byte as in W4, with 1, 10 and 100 clients; each stream takes 100 ms.",
        "rest",
        clients,
        {"p50": ("first byte, p50", "ms"), "p99": ("first byte, p99", "ms"), "cpu": ("CPU a stream", "µs")},
    ),
    _scaled(
        "W5x",
        "W5 with 10 streams",
        "Streams as in W5, 10, 100 and 1,000 of them, each in a process of its own, for 2 s.",
        "ticks",
        streams,
        {
            "incomplete": ("streams not complete", ""),
            "p50": ("delay, p50", "ms"),
            "p99": ("delay, p99", "ms"),
            "cpu": ("CPU a chunk", "µs"),
            "stream_memory": ("memory a stream (PSS)", "MiB"),
        },
    ),
)
