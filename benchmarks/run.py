"""Penstock's benchmarks: `python benchmarks/run.py` measures W1 to W7 beside Starlette on uvicorn.

Writes results/<date>-<commit>.json and .md beside this file, and says on the way what it sees. The method
is in README.md; what each workload does, in workloads/.
"""

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import report
from systems import HERE, Penstock, Starlette, StartError, System
from workloads import ALL
from workloads.base import LoadFailed, Round, Workload

NEEDS = {
    "Penstock": ("penstock", "uvloop", "httptools"),
    "Starlette": ("starlette", "uvicorn", "uvloop", "httptools"),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="short and few rounds: does it work at all?")
    parser.add_argument("--only", metavar="W2,W3", help="these workloads (all)")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each system (5; quick: 2)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the JSON file; the Markdown goes beside it")
    parser.add_argument(
        "--systems",
        default="Penstock,Starlette",
        metavar="NAMES",
        help="which to measure (Penstock,Starlette)",
    )
    options = parser.parse_args()
    options.rounds = options.rounds if options.rounds is not None else 2 if options.quick else 5
    if options.rounds < 1:
        parser.error("--rounds: expected at least 1")
    options.workloads = _chosen(parser, "--only", options.only, {each.key: each for each in ALL})
    options.systems = _chosen(parser, "--systems", options.systems, {name: name for name in NEEDS})
    for name in options.systems:
        if missing := [each for each in NEEDS[name] if importlib.util.find_spec(each) is None]:
            parser.error(f"{name} needs {', '.join(missing)}: pip install -e '.[bench]', or choose --systems")
    return options


def _chosen(
    parser: argparse.ArgumentParser, flag: str, asked: str | None, known: dict[str, Any]
) -> list[Any]:
    lower = {key.lower(): value for key, value in known.items()}
    names = list(known) if asked is None else asked.split(",")
    if unknown := [name for name in names if name.strip().lower() not in lower]:
        parser.error(f"{flag}: expected some of {','.join(known)}, got {unknown[0]!r}")
    return [lower[name.strip().lower()] for name in names]


def main() -> int:
    options = arguments()
    commit, changed = machine.commit(HERE.parent)
    date = time.strftime("%Y-%m-%d")
    results: dict[str, Any] = {
        "date": date,
        "commit": commit,
        "changed": changed,
        "quick": options.quick,
        "machine": machine.describe(),
        "workloads": [],
    }
    out: Path = options.out or HERE / "results" / f"{date}-{commit}.json"
    try:
        for workload in options.workloads:
            rounds = measure(workload, options.systems, options.rounds, options.quick)
            if rounds:
                results["workloads"].append(report.workload_result(workload, rounds))
    except (StartError, LoadFailed) as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: nothing was written", file=sys.stderr)
        return 130
    text = report.markdown(results)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    out.with_suffix(".md").write_text(text)
    print(f"\n{text}\nwritten: {out} and {out.with_suffix('.md')}")
    return 0


def measure(workload: Workload, systems: list[str], count: int, quick: bool) -> report.Rounds:
    """All rounds of one workload, the systems in turn: A B A B."""
    able = [name for name in systems if name == "Penstock" or workload.rival_path is not None]
    rounds: report.Rounds = {name: [] for name in able}
    for number in range(min(count, workload.most_rounds)):
        for name in able:
            measured = one_round(workload, name, quick)
            rounds[name].append(measured)
            values = "  ".join(
                f"{metric.text} {measured.values[metric.key]:,.{metric.digits}f} {metric.unit}".rstrip()
                for metric in workload.metrics
            )
            print(f"{workload.key} round {number + 1} {name:9}  {values}", flush=True)
    return rounds


def one_round(workload: Workload, name: str, quick: bool) -> Round:
    """Start a system, measure, end it."""
    with tempfile.TemporaryDirectory(prefix="penstock-benchmark-") as temporary:
        folder = Path(temporary)
        with _start(workload, name, folder, quick) as system:
            try:
                return workload.measure(system, quick)
            except LoadFailed as error:
                raise LoadFailed(f"{workload.key} on {name}: {error}") from error


def _start(workload: Workload, name: str, folder: Path, quick: bool) -> System:
    if name == "Starlette":
        assert workload.rival_path is not None
        return Starlette(workload.rival_path, folder)
    return Penstock(workload.target(folder, quick), workload.path, folder)


if __name__ == "__main__":
    sys.exit(main())
