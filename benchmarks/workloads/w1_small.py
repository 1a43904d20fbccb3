"""Small buffered invokes: `{"statusCode": 200, "body": "ok"}`, on 1 and on 32 keep-alive connections.

A closed loop: each connection sends its next request when it has its response. 0.5 s of warm-up are not
counted. Latency is from the sending of a request to its whole response, as the client sees it. Starlette
calls its view in its own process; Penstock's way is client, service, another process, and back.
"""

from collections.abc import Mapping

from figures import percentile
from systems import System

from .base import Check, Compared, Metric, Round, Workload, function, load


def measure(system: System, quick: bool) -> Round:
    values = {}
    samples = 0
    for connections in (1, 32):
        seconds = 1.0 if quick else 3.0
        result = load("closed_loop", system, connections=connections, seconds=seconds, warm_up=0.5)
        latencies = result["latencies"]
        values[f"rate_{connections}"] = len(latencies) / seconds
        values[f"p50_{connections}"] = percentile(latencies, 50) * 1000
        values[f"p99_{connections}"] = percentile(latencies, 99) * 1000
        samples += len(latencies)
    return Round(values, system.memory(), samples)


def checks(compared: Mapping[str, Compared], memory: Mapping[str, Mapping[str, int]]) -> list[Check]:
    return []  # the goals are in terms of cargo-lambda and nginx, which are not run here


WORKLOAD = Workload(
    key="W1",
    title="small buffered invoke",
    about=__doc__,
    metrics=(
        Metric("rate_1", "1 connection", "req/s", higher_is_better=True, digits=0),
        Metric("p50_1", "1 connection, p50", "ms", digits=3),
        Metric("p99_1", "1 connection, p99", "ms", digits=3),
        Metric("rate_32", "32 connections", "req/s", higher_is_better=True, digits=0),
        Metric("p50_32", "32 connections, p50", "ms"),
        Metric("p99_32", "32 connections, p99", "ms"),
    ),
    target=function("small"),
    path="/",
    rival_path="/small",
    measure=measure,
    checks=checks,
)
