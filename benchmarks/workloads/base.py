"""What a workload is made of, and how the load is put on a system."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from figures import Summary, percentile, wrk
from memory import ProcessMemory
from systems import HERE, System

SERVERS = ("Starlette", "granian", "cargo-lambda", "nginx → loop", "socket loop")


class LoadFailed(Exception):
    """The load generator met a response that was wrong, or none."""


@dataclass(frozen=True)
class Metric:
    """A figure every round gives."""

    key: str
    text: str
    unit: str
    higher_is_better: bool = False
    digits: int = 2
    compared: bool = True  # whether a ratio to a rival's says anything


@dataclass
class Round:
    """What one round on one system gave."""

    values: dict[str, float]
    memory: list[ProcessMemory]
    samples: int  # how many requests, lines or chunks the values come from
    series: list[dict[str, float]] = field(default_factory=list)  # what was followed over time


@dataclass(frozen=True)
class Compared:
    """One metric over all rounds: of each system measured, and of Penstock's to each other's."""

    systems: Mapping[str, Summary]
    ratios: Mapping[str, Summary]

    @property
    def ours(self) -> Summary:
        return self.systems["Penstock"]

    def ratio(self, rival: str) -> float | None:
        return self.ratios[rival].median if rival in self.ratios else None

    def of(self, system: str) -> float | None:
        return self.systems[system].median if system in self.systems else None


@dataclass(frozen=True)
class Check:
    """A number the project has promised, and whether this run reached it."""

    kind: Literal["floor", "goal"]
    text: str
    measured: str
    met: bool | None  # None: what it needs was not measured


Figures = Mapping[str, Compared]  # by the metric's key
Roles = Mapping[str, Mapping[str, Mapping[str, int]]]  # memory, by system and role


@dataclass(frozen=True)
class Workload:
    key: str
    title: str
    about: str
    metrics: tuple[Metric, ...]
    work: str = ""  # the function in functions/, and where the rivals have the same
    measure: Callable[[System, bool], Round] | None = None  # one round; the flag: quick
    # One round of what is no server, by the system's name; instead of `measure`.
    run: Callable[[str, Path, bool], Round] | None = None
    rivals: tuple[str, ...] = ()
    # What is measured of ours: name → flags of `serve`. "Penstock" is what is compared with the others.
    ours: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"Penstock": ()})
    target: Callable[[Path, bool], Path] | None = None  # what Penstock serves, if not that function alone
    path: str = "/"  # where Penstock has it
    at_once: int = 32  # the most requests at a time
    checks: Callable[[Figures, Roles], list[Check]] = lambda figures, memory: []
    most_rounds: int = 5  # where more would only take time

    @property
    def systems(self) -> tuple[str, ...]:
        return (*self.ours, *self.rivals)


def function(name: str) -> Path:
    """The target that is one of our functions, alone: it answers every path."""
    return HERE / "functions" / f"{name}.py"


def start_load(name: str, system: System, **arguments: Any) -> "subprocess.Popen[bytes]":
    if name != "one_by_one":
        arguments.setdefault("path", system.path)
    said = json.dumps({"address": system.address, **arguments})
    return subprocess.Popen(
        [sys.executable, "-I", str(HERE / "load.py"), name, said],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def load_result(process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """Wait for a load to end; what it measured. Raises LoadFailed."""
    try:
        output, errors = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise LoadFailed("the load did not end") from None
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines()
        raise LoadFailed(lines[-1] if lines else f"the load generator ended with {process.returncode}")
    result: dict[str, Any] = json.loads(output)
    return result


def load(name: str, system: System, **arguments: Any) -> dict[str, Any]:
    """Run one of load.py's loads to its end."""
    return load_result(start_load(name, system, **arguments))


def closed_loop(system: System, connections: int, seconds: float) -> dict[str, float]:
    """Keep connections busy, one request at a time each: rate, p50 and p99 in ms, CPU in us a request.

    By wrk where there is one: it leaves the processor to the server. The warm-up, which also checks the
    responses, is always load.py's.
    """
    load("closed_loop", system, connections=connections, seconds=0.1, warm_up=0.3 + connections / 100)
    before = system.cpu()
    if shutil.which("wrk"):
        measured = _wrk(system, connections, seconds)
    else:
        result = load("closed_loop", system, connections=connections, seconds=seconds, warm_up=0)
        latencies = result["latencies"]
        p50, p99 = (percentile(latencies, percent) * 1000 for percent in (50, 99))
        measured = {"count": len(latencies), "rate": len(latencies) / seconds, "p50": p50, "p99": p99}
    measured["cpu"] = (system.cpu() - before) * 1e6 / measured["count"]
    return measured


def _wrk(system: System, connections: int, seconds: float) -> dict[str, float]:
    url = f"http://{system.address[0]}:{system.address[1]}{system.path}"
    length = max(round(seconds), 1)  # it takes whole seconds
    command = ["wrk", "-t1", f"-c{connections}", f"-d{length}s", "--latency", url]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60 + length).stdout
    try:
        return wrk(said)
    except ValueError as error:
        raise LoadFailed(f"wrk: {error}") from None


def bound(
    kind: Literal["floor", "goal"],
    text: str,
    value: float | None,
    *,
    least: float | None = None,
    most: float | None = None,
    limit: float | None = None,
) -> Check:
    """A check of one number. A value of None was not measured. `limit`: the same number of a bare program."""
    if value is None:
        return Check(kind, text, "not measured", None)
    met = (least is None or value >= least) and (most is None or value <= most)
    measured = _written(value) if limit is None else f"{_written(value)}; a bare program: {_written(limit)}"
    return Check(kind, text, measured, met)


def _written(value: float) -> str:
    return f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"
