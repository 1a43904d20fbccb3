"""Penstock's benchmarks: `python benchmarks/run.py` runs every workload, beside every rival there is.

Writes results/<date>-<commit>.json and .md beside this file, and says on the way what it sees. The method
is in README.md; what each workload does, in workloads/.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import machine
import report
from systems import HERE, RIVALS, Job, Penstock, StartError, System, missing_modules
from workloads import ALL
from workloads.base import LoadFailed, Round, Workload, function

NAMES = list(dict.fromkeys(["Penstock", *RIVALS, *(name for each in ALL for name in each.rivals)]))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="short and few rounds: does it work at all?")
    parser.add_argument("--only", metavar="W2,W3", help="these workloads (all)")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each system at most (3; quick: 2)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the JSON file; the Markdown goes beside it")
    parser.add_argument("--systems", metavar="NAMES", help=f"which to measure ({','.join(NAMES)})")
    options = parser.parse_args()
    options.rounds = options.rounds if options.rounds is not None else 2 if options.quick else 3
    if options.rounds < 1:
        parser.error("--rounds: expected at least 1")
    options.workloads = _chosen(parser, "--only", options.only, {each.key: each for each in ALL})
    options.systems = _chosen(parser, "--systems", options.systems, {name: name for name in NAMES})
    if "Penstock" in options.systems and (missing := missing_modules("penstock", "uvloop", "httptools")):
        parser.error(f"Penstock: {missing}")
    return options


def _chosen(
    parser: argparse.ArgumentParser, flag: str, asked: str | None, known: Mapping[str, Any]
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
    absent = {name: why for name in options.systems if (why := missing(name))}
    results: dict[str, Any] = {
        "date": date,
        "commit": commit,
        "changed": changed,
        "quick": options.quick,
        "machine": machine.describe(),
        "rivals": {name: RIVALS[name].about for name in options.systems if name in RIVALS},
        "absent": absent,
        "workloads": [],
    }
    for name, why in absent.items():
        print(f"without {name}: {why}", flush=True)
    out: Path = options.out or HERE / "results" / f"{date}-{commit}.json"
    try:
        for workload in options.workloads:
            names = wanted(workload, [name for name in options.systems if name not in absent])
            if names:
                results["workloads"].append(measure(workload, names, options.rounds, options.quick))
    except KeyboardInterrupt:
        print("stopped: nothing was written", file=sys.stderr)
        return 130
    text = report.markdown(results)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    out.with_suffix(".md").write_text(text)
    print(f"\n{text}\nwritten: {out} and {out.with_suffix('.md')}")
    ours = {each.key: each.ours for each in options.workloads}
    return any(name in ours[each["key"]] for each in results["workloads"] for name in each["failed"])


def missing(name: str) -> str:
    """What a system needs and is not there."""
    if name in RIVALS:
        return RIVALS[name].missing()
    return missing_modules("awslambdaric") if name == "awslambdaric" else ""


def wanted(workload: Workload, chosen: list[str]) -> list[str]:
    """What is measured of a workload; Penstock with all that is compared of it."""
    return [name for name in workload.systems if ("Penstock" if name in workload.ours else name) in chosen]


def measure(workload: Workload, names: list[str], count: int, quick: bool) -> dict[str, Any]:
    """All rounds of one workload, the systems in turn: A B C A B C. One that fails is not asked again."""
    began = time.monotonic()
    rounds: report.Rounds = {name: [] for name in names}
    failed: dict[str, str] = {}
    for number in range(min(count, workload.most_rounds)):
        for name in names:
            if name in failed:
                continue
            try:
                rounds[name].append(one_round(workload, name, quick))
            except (StartError, LoadFailed, OSError) as error:
                failed[name] = str(error)[:1000]
                print(f"{workload.key} round {number + 1} {name}  FAILED: {error}", flush=True)
                continue
            print(
                f"{workload.key} round {number + 1} {name:14}  {_shown(workload, rounds[name][-1])}",
                flush=True,
            )
    whole = {name: measured for name, measured in rounds.items() if name not in failed}
    result = report.workload_result(workload, whole)
    return result | {"failed": failed, "took": round(time.monotonic() - began, 1)}


def _shown(workload: Workload, measured: Round) -> str:
    return "  ".join(
        f"{metric.text} {measured.values[metric.key]:,.{metric.digits}f} {metric.unit}".rstrip()
        for metric in workload.metrics
    )


def one_round(workload: Workload, name: str, quick: bool) -> Round:
    """Start a system, measure, end it."""
    with tempfile.TemporaryDirectory(prefix="penstock-benchmark-") as temporary:
        folder = Path(temporary)
        if workload.run:
            return workload.run(name, folder, quick)
        assert workload.measure
        with _start(workload, name, folder, quick) as system:
            return workload.measure(system, quick)


def _start(workload: Workload, name: str, folder: Path, quick: bool) -> System:
    if name in RIVALS:
        return RIVALS[name].start(Job(workload.work, workload.at_once, folder))
    target = workload.target(folder, quick) if workload.target else function(workload.work)
    system = Penstock(target, workload.path, folder, workload.ours[name])
    system.name = name
    return system


if __name__ == "__main__":
    sys.exit(main())
