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
    compared = {metric.key: compare(metric, rounds) for metric in workload.metrics}
    memory = {name: by_role(each.memory for each in measured) for name, measured in rounds.items()}
    return {
        "key": workload.key,
        "title": workload.title,
        "about": workload.about,
        "metrics": [
            {
                **asdict(metric),
                "systems": {name: asdict(each) for name, each in compared[metric.key].systems.items()},
                "ratio": _optional(compared[metric.key].ratio),
            }
            for metric in workload.metrics
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
    both = None
    if metric.compared and len(values) == 2:
        both = ratio(values["Penstock"], values["Starlette"])
    return Compared({name: summary(each) for name, each in values.items()}, both)


def markdown(results: dict[str, Any]) -> str:
    parts = [f"# Benchmarks, {results['date']}, commit {results['commit']}"]
    if results["changed"]:
        parts.append("The sources differed from that commit.")
    if results["quick"]:
        parts.append("**A quick run**: short and noisy, to see that everything works. Not for the record.")
    machine = "\n".join(f"| {key} | {value} |" for key, value in results["machine"].items())
    parts.append(f"| machine | |\n| --- | --- |\n{machine}")
    parts.append(
        "Median of the rounds [lowest – highest]. Rounds of the two systems alternate, each in a fresh "
        "process. Ratio: Penstock's median by Starlette's [range over the pairs of rounds]. How each "
        "workload is measured is said below its name; `benchmarks/README.md` says the rest."
    )
    parts.append(_promises(results["workloads"]))
    parts += [_workload(each) for each in results["workloads"]]
    return "\n\n".join(parts) + "\n"


def _promises(workloads: list[dict[str, Any]]) -> str:
    rows = ["| | promised | measured | |", "| --- | --- | --- | --- |"]
    for workload in workloads:
        for check in workload["checks"]:
            each = Check(**check)
            verdict = "not measured" if each.met is None else "met" if each.met else "**not met**"
            rows.append(f"| {workload['key']} | {each.kind}: {each.text} | {each.measured} | {verdict} |")
    return "## Floors and goals\n\n" + (
        "\n".join(rows) if len(rows) > 2 else "None of the workloads run has any."
    )


def _workload(workload: dict[str, Any]) -> str:
    first, _, rest = workload["about"].partition("\n\n")
    names = list(workload["rounds"])
    samples = ", ".join(
        f"{name} {len(rounds)} x {rounds[0]['samples']:,}" for name, rounds in workload["rounds"].items()
    )
    parts = [f"## {workload['key']}: {workload['title']}", textwrap.dedent(first).strip(), rest.strip()]
    rows = [f"| | {' | '.join(names)} | ratio |", "| --- |" + " ---: |" * (len(names) + 1)]
    rows += [_metric(metric, names) for metric in workload["metrics"]]
    parts.append("\n".join(rows))
    parts.append(f"Rounds and samples in the first of them: {samples}.")
    rows = ["| memory, MiB | processes | PSS, all | PSS, largest | VmHWM, largest |"]
    rows.append("| --- |" + " ---: |" * 4)
    for name, roles in workload["memory"].items():
        for role, kib in roles.items():
            mib = " | ".join(f"{kib[key] / 1024:.1f}" for key in ("pss_sum", "pss_largest", "hwm_largest"))
            rows.append(f"| {name}: {role} | {kib['processes']} | {mib} |")
    parts.append("\n".join(rows))
    return "\n\n".join(parts)


def _metric(metric: dict[str, Any], names: list[str]) -> str:
    digits = metric["digits"]
    unit = f", {metric['unit']}" if metric["unit"] else ""
    cells = [_figures(Summary(**metric["systems"][name]), digits) for name in names]
    return f"| {metric['text']}{unit} | {' | '.join(cells)} | {_ratio(metric)} |"


def _ratio(metric: dict[str, Any]) -> str:
    if metric["ratio"] is None:
        return "–"
    better = "more is better" if metric["higher_is_better"] else "less is better"
    return f"{_figures(Summary(**metric['ratio']), 2)}, {better}"


def _figures(each: Summary, digits: int) -> str:
    middle = f"{each.median:,.{digits}f}"
    return middle if each.n == 1 else f"{middle} [{each.min:,.{digits}f} – {each.max:,.{digits}f}]"


def _optional(each: Summary | None) -> dict[str, Any] | None:
    return None if each is None else asdict(each)
