"""The results as JSON, which holds every round, and as Markdown, which is made from it."""

import textwrap
from dataclasses import asdict
from typing import Any

from figures import Summary, ratio, summary
from memory import by_role
from workloads.base import Check, Compared, Metric, Round, Workload

Rounds = dict[str, list[Round]]  # by the system's name


def workload_result(workload: Workload, rounds: Rounds) -> dict[str, Any]:
    """One workload's part of the JSON."""
    compared = {metric.key: compare(metric, rounds) for metric in workload.metrics} if rounds else {}
    memory = {name: by_role(each.memory for each in measured) for name, measured in rounds.items()}
    return {
        "key": workload.key,
        "title": workload.title,
        "about": workload.about,
        "metrics": [
            {
                **asdict(metric),
                "systems": {name: asdict(each) for name, each in compared[metric.key].systems.items()},
                "ratios": {name: asdict(each) for name, each in compared[metric.key].ratios.items()},
            }
            for metric in workload.metrics
            if rounds
        ],
        "memory": memory,
        "checks": [asdict(check) for check in workload.checks(compared, memory)]
        if "Penstock" in rounds
        else [],
        "rounds": {
            name: [
                {
                    "values": each.values,
                    "samples": each.samples,
                    **({"series": each.series} if each.series else {}),
                }
                for each in measured
            ]
            for name, measured in rounds.items()
        },
    }


def compare(metric: Metric, rounds: Rounds) -> Compared:
    values = {name: [each.values[metric.key] for each in measured] for name, measured in rounds.items()}
    ratios = {}
    if metric.compared and "Penstock" in values:
        for name, theirs in values.items():
            if name != "Penstock" and (both := ratio(values["Penstock"], theirs)):
                ratios[name] = both
    return Compared({name: summary(each) for name, each in values.items()}, ratios)


def markdown(results: dict[str, Any]) -> str:
    parts = [f"# Benchmarks, {results['date']}, commit {results['commit']}"]
    if results["changed"]:
        parts.append("The sources differed from that commit.")
    if results["quick"]:
        parts.append("**A quick run**: short and noisy, to see that everything works. Not for the record.")
    machine = "\n".join(f"| {key} | {value} |" for key, value in results["machine"].items())
    parts.append(f"| machine | |\n| --- | --- |\n{machine}")
    parts.append(
        "Median of the rounds [lowest – highest]. Rounds of the systems take turns, each in a fresh "
        "process. How many times Penstock's figure is of another's stands in a table of its own: by the "
        "medians, [range over the pairs of rounds]. How each workload is measured is said below its name; "
        "`benchmarks/README.md` says the rest."
    )
    parts.append("\n".join(f"- **{name}**: {about}" for name, about in results["rivals"].items()))
    parts.append("\n".join(f"- Without **{name}**: {why}." for name, why in results["absent"].items()))
    parts.append(_promises(results["workloads"]))
    parts += [_workload(each) for each in results["workloads"]]
    return "\n\n".join(part for part in parts if part) + "\n"


def _promises(workloads: list[dict[str, Any]]) -> str:
    rows = []
    for workload in workloads:
        for check in workload["checks"]:
            each = Check(**check)
            verdict = "not measured" if each.met is None else "met" if each.met else "**not met**"
            rows.append(f"| {workload['key']} | {each.kind}: {each.text} | {each.measured} | {verdict} |")
        if "Penstock" in workload["failed"]:
            rows.append(f"| {workload['key']} | | | **failed** |")
    if not rows:
        return "## Floors and goals\n\nNone of the workloads run has any."
    return "\n".join(
        ["## Floors and goals\n", "| | promised | measured | |", "| --- | --- | --- | --- |", *rows]
    )


def _workload(workload: dict[str, Any]) -> str:
    first, _, rest = workload["about"].partition("\n\n")
    parts = [f"## {workload['key']}: {workload['title']}", textwrap.dedent(first).strip(), rest.strip()]
    parts += [
        f"**{name} failed**: `{' '.join(why.split())[:300]}`" for name, why in workload["failed"].items()
    ]
    if not workload["rounds"]:
        return "\n\n".join(parts)
    metrics = workload["metrics"]
    names = list(workload["rounds"])
    parts.append(
        _table(
            ["", *(_title(metric) for metric in metrics)],
            [
                [name, *(_cell(metric["systems"], name, metric["digits"]) for metric in metrics)]
                for name in names
            ],
        )
    )
    compared = [metric for metric in metrics if metric["ratios"]]
    if compared:
        header = ["Penstock's, in multiples of"]
        for metric in compared:
            header.append(f"{metric['text']} ({'more' if metric['higher_is_better'] else 'less'} is better)")
        rows = [[name, *(_cell(metric["ratios"], name, 2) for metric in compared)] for name in names]
        parts.append(_table(header, [row for row in rows if set(row[1:]) != {"–"}]))
    samples = ", ".join(
        f"{name} {len(rounds)} x {rounds[0]['samples']:,}" for name, rounds in workload["rounds"].items()
    )
    parts.append(f"Rounds and samples in the first of them: {samples}.")
    parts.append(_memory(workload["memory"]))
    return "\n\n".join(parts)


def _memory(memory: dict[str, Any]) -> str:
    rows = []
    for name, roles in memory.items():
        for role, kib in roles.items():
            mib = [f"{kib[key] / 1024:.1f}" for key in ("pss_sum", "pss_largest", "hwm_largest")]
            rows.append([f"{name}: {role}", str(kib["processes"]), *mib])
    return _table(["memory, MiB", "processes", "PSS, all", "PSS, largest", "VmHWM, largest"], rows)


def _title(metric: dict[str, Any]) -> str:
    return f"{metric['text']}, {metric['unit']}" if metric["unit"] else metric["text"]


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(figures: dict[str, Any], name: str, digits: int) -> str:
    if name not in figures:
        return "–"
    each = Summary(**figures[name])
    middle = f"{each.median:,.{digits}f}"
    return middle if each.n == 1 else f"{middle} [{each.min:,.{digits}f} – {each.max:,.{digits}f}]"
