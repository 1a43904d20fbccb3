"""First byte, warm: clients that request one stream after the other, 1 and 32 of them. The first chunk is
yielded at once, then the generator rests (1 client: 5 ms; 32: 100 ms), so there are always streams under way.

From the sending of the request to the first byte of the body at the client. Each client keeps its connection,
and pauses for a random time of up to 20 ms between two requests. As many responses at once before the first
of them have warmed the environments; the first request on each connection is not counted.
"""

from figures import percentile
from systems import System

from .base import SERVERS, Check, Figures, Metric, Roles, Round, Workload, bound, load

PAUSE = 0.02


def measure(system: System, quick: bool) -> Round:
    values = {}
    samples = 0
    for clients, rest, count in ((1, 0.005, 100), (32, 0.1, 600)):
        path = f"{system.path}?seconds={rest}"
        count = count // 3 if quick else count
        latencies = load("first_byte", system, path=path, clients=clients, count=count, pause=PAUSE)[
            "latencies"
        ]
        values[f"p50_{clients}"] = percentile(latencies, 50) * 1000
        values[f"p99_{clients}"] = percentile(latencies, 99) * 1000
        samples += len(latencies)
    return Round(values, system.memory(), samples)


def checks(figures: Figures, memory: Roles) -> list[Check]:
    found = []
    for key, text, most in (
        ("p50_1", "1 client: p50 at most 1 ms", 1),
        ("p99_1", "1 client: p99 at most 4 ms", 4),
        ("p50_32", "32 clients: p50 at most 1 ms", 1),
        ("p99_32", "32 clients: p99 at most 4 ms", 4),
    ):
        compared = figures[key]
        limit = compared.of("socket loop")
        found.append(bound("goal", text, compared.ours.median, most=most, limit=limit))
    return found


WORKLOAD = Workload(
    key="W4",
    title="first byte, warm",
    about=__doc__,
    metrics=(
        Metric("p50_1", "1 client, p50", "ms"),
        Metric("p99_1", "1 client, p99", "ms"),
        Metric("p50_32", "32 clients, p50", "ms"),
        Metric("p99_32", "32 clients, p99", "ms"),
    ),
    work="rest",
    measure=measure,
    rivals=SERVERS,
    checks=checks,
)
