"""What a workload is made of, and how the load is put on a system."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from figures import Summary
from memory import ProcessMemory
from systems import HERE, System


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
    compared: bool = True  # whether a ratio to the rival's says anything


@dataclass
class Round:
    """What one round on one system gave."""

    values: dict[str, float]
    memory: list[ProcessMemory]
    samples: int  # how many requests, lines or chunks the values come from
    series: list[dict[str, float]] = field(default_factory=list)  # what was followed over time


@dataclass(frozen=True)
class Compared:
    """One metric over all rounds: of each system measured, and the ratio of Penstock's to the rival's."""

    systems: Mapping[str, Summary]
    ratio: Summary | None

    @property
    def ours(self) -> Summary:
        return self.systems["Penstock"]


@dataclass(frozen=True)
class Check:
    """A number the project has promised, and whether this run reached it."""

    kind: Literal["floor", "goal"]
    text: str
    measured: str
    met: bool | None  # None: what it needs was not measured


@dataclass(frozen=True)
class Workload:
    key: str
    title: str
    about: str
    metrics: tuple[Metric, ...]
    target: Callable[[Path, bool], Path]  # what Penstock serves; may be made in the folder given
    path: str
    rival_path: str | None  # None: the rival cannot do this work
    measure: Callable[[System, bool], Round]  # one round; the flag: quick
    checks: Callable[[Mapping[str, Compared], Mapping[str, Mapping[str, int]]], list[Check]]
    most_rounds: int = 100  # where more would only take time


def function(name: str) -> Callable[[Path, bool], Path]:
    """The target that is one of our functions, alone: it answers every path."""
    return lambda folder, quick: HERE / "functions" / f"{name}.py"


def start_load(name: str, system: System, **arguments: Any) -> "subprocess.Popen[bytes]":
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
    output, errors = process.communicate(timeout=600)
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines()
        raise LoadFailed(lines[-1] if lines else f"the load generator ended with {process.returncode}")
    result: dict[str, Any] = json.loads(output)
    return result


def load(name: str, system: System, **arguments: Any) -> dict[str, Any]:
    """Run one of load.py's loads to its end."""
    return load_result(start_load(name, system, **arguments))


def bound(
    kind: Literal["floor", "goal"],
    text: str,
    value: float | None,
    *,
    least: float | None = None,
    most: float | None = None,
) -> Check:
    """A check of one number. A value of None was not measured."""
    if value is None:
        return Check(kind, text, "not measured", None)
    met = (least is None or value >= least) and (most is None or value <= most)
    return Check(kind, text, f"{value:,.2f}" if value < 1000 else f"{value:,.0f}", met)


def ratio_of(compared: Compared) -> float | None:
    return compared.ratio.median if compared.ratio else None
