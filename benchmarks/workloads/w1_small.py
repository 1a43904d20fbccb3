"""Small buffered invokes: `{"statusCode": 200, "body": "ok"}`, on 1 and on 32 keep-alive connections.

A closed loop: each connection sends its next request when it has its response. A warm-up is not counted.
Latency is from the sending of a request to its whole response, as the client sees it. CPU is that of all
processes of the system, the client's not among them. Starlette, granian and the socket loop answer in the
process that listens; the others' way is as Penstock's: client, service, another process, and back.
"""

from systems import System

from .base import SERVERS, Check, Figures, Metric, Roles, Round, Workload, bound, closed_loop


def measure(system: System, quick: bool) -> Round:
    values: dict[str, float] = {}
    samples = 0
    for connections in (1, 32):
        result = closed_loop(system, connections, 1.0 if quick else 2.0)
        samples += int(result.pop("count"))
        values |= {f"{key}_{connections}": value for key, value in result.items()}
    return Round(values, system.memory(), samples)


def checks(figures: Figures, memory: Roles) -> list[Check]:
    one, many = figures["rate_1"], figures["rate_32"]
    return [
        bound("goal", "1 connection: at least 2 x cargo-lambda's rate", one.ratio("cargo-lambda"), least=2),
        bound("goal", "32: at least 2 x cargo-lambda's rate", many.ratio("cargo-lambda"), least=2),
        bound(
            "goal", "32: at least 0.5 x nginx's before a socket loop", many.ratio("nginx → loop"), least=0.5
        ),
    ]


WORKLOAD = Workload(
    key="W1",
    title="small buffered invoke",
    about=__doc__,
    metrics=(
        Metric("rate_1", "1 connection", "req/s", higher_is_better=True, digits=0),
        Metric("p50_1", "1: p50", "ms", digits=3),
        Metric("p99_1", "1: p99", "ms", digits=3),
        Metric("cpu_1", "1: CPU a request", "µs", digits=0),
        Metric("rate_32", "32 connections", "req/s", higher_is_better=True, digits=0),
        Metric("p50_32", "32: p50", "ms"),
        Metric("p99_32", "32: p99", "ms"),
        Metric("cpu_32", "32: CPU a request", "µs", digits=0),
    ),
    work="small",
    measure=measure,
    rivals=(*SERVERS, "serverless-offline"),
    checks=checks,
)
