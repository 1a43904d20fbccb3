"""Puts results into the documentation: `python benchmarks/publish.py benchmarks/results/X.json`.

Draws the plots, and fills docs/performance.md: what stands there between `<!-- measured: W2 -->` and
`<!-- end -->` is made from that workload's results and is not edited by hand.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"
MEASURED = re.compile(r"<!-- measured: (\w+) -->\n.*?<!-- end -->", re.DOTALL)
SOURCE = re.compile(r"<!-- results: (.*?) -->")

# What is shown of a workload; its plot and its report have the rest.
SHOWN = {
    "W1": ("rate_1", "p50_1", "rate_32", "cpu_32"),
    "W2": ("rate", "first", "cpu"),
    "W3": ("rate", "cpu"),
    "W4": ("p50_1", "p99_1", "p50_32", "p99_32"),
    "W5": ("p50", "p99", "cpu", "stream_memory"),
    "W5b": ("incomplete", "p50", "p99", "memory"),
    "W6": ("p50", "p99"),
    "W6b": ("p50", "p99"),
    "W7": ("growth", "memory"),
    "W8": ("p50", "hwm"),
    "W9": ("p50", "p99", "waited"),
    "W10": ("rate", "cpu", "chunks"),
    "W11": ("rate", "cpu"),
}
TITLES = {"scaling": "W1 to W5 at 1, 10 and 100 times the size: what a unit costs, and how long it takes"}


def fill(page: str, results: dict[str, Any], source: str) -> str:
    """The page with these results; `source`: the name of their file in results/."""
    measured = {each["key"]: each for each in results["workloads"] if each["rounds"]}

    def made(found: "re.Match[str]") -> str:
        body = _machine(results, source) if found[1] == "machine" else _part(found[1], measured)
        body += "\n" if body else ""
        return f"<!-- measured: {found[1]} -->\n{body}<!-- end -->"

    page = MEASURED.sub(made, page)
    return SOURCE.sub(f"<!-- results: {source} -->", page, count=1)


def _machine(results: dict[str, Any], source: str) -> str:
    """What the figures were measured on, and where the rest of them is."""
    if not results["workloads"]:
        return ""
    machine = results["machine"]
    report = f"../benchmarks/results/{Path(source).with_suffix('.md')}"
    cores = f"{machine['cores']} cores ({machine['CPU']})"
    python = machine["Python"].split()[-1]
    return (
        f"They were measured on {cores}, client and server on the same machine,\n"
        f"with Python {python}. A figure is the median of some rounds: [all of them]({report})."
    )


def _part(key: str, measured: dict[str, Any]) -> str:
    if key == "scaling":
        return _picture(key, TITLES[key]) if any(each.endswith("x") for each in measured) else ""
    if key not in measured:
        return ""
    workload = measured[key]
    metrics = {metric["key"]: metric for metric in workload["metrics"]}
    shown = [metrics[name] for name in SHOWN[key]]
    rows = [["", *(f"{each['text']}, {each['unit']}".removesuffix(", ") for each in shown)]]
    rows.append(["---", *["---:"] * len(shown)])
    for name in workload["rounds"]:
        figures = [f"{each['systems'][name]['median']:,.{each['digits']}f}" for each in shown]
        rows.append([name, *figures])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{_picture(key, workload['title'])}\n\n{table}"


def _picture(name: str, text: str) -> str:
    return f"![{text}](../benchmarks/results/plots/{name}.svg)"


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    import plots

    path = Path(sys.argv[1]).resolve()
    results = json.loads(path.read_text())
    if results["quick"] or path.parent != HERE / "results":
        print("the documentation takes whole runs, kept in benchmarks/results", file=sys.stderr)
        return 2
    written = plots.draw(results)
    PAGE.write_text(fill(PAGE.read_text(), results, path.name))
    print(*written, PAGE, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
