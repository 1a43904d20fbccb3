"""The results as pictures: `python benchmarks/plots.py results/X.json` writes SVG files into results/plots.

Bars are medians, their whiskers the lowest and the highest round. The same results give the same files.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

FOLDER = Path(__file__).resolve().parent / "results" / "plots"

OURS, THEIRS, LIMIT = "#1f6feb", "#9aa4b2", "#d0d7de"
LIMITS = ("socket loop", "relay → loop", "Python")  # not rivals: what the machine can do

# What is drawn of a workload: (metric, on a logarithmic scale).
BARS = {
    "W1": (("rate_1", False), ("rate_32", False)),
    "W2": (("rate", False), ("cpu", False)),
    "W3": (("rate", False), ("cpu", False)),
    "W4": (("p50_1", True), ("p99_1", True), ("p50_32", True), ("p99_32", True)),
    "W5": (("p99", True), ("stream_memory", False)),
    "W5b": (("p99", True), ("memory", False)),
    "W6": (("p50", True), ("p99", True)),
    "W6b": (("p50", True), ("p99", True)),
    "W8": (("p50", False), ("hwm", False)),
    "W9": (("p50", True), ("p99", True), ("waited", False)),
    "W10": (("rate", True), ("cpu", False)),
    "W11": (("rate", False), ("cpu", False)),
}
# Of the scaled workloads, what a unit costs and how long it takes.
SCALED = {
    "W1x": ("cpu", "p50"),
    "W2x": ("cpu", "first"),
    "W3x": ("cpu", "service"),
    "W4x": ("cpu", "p50"),
    "W5x": ("cpu", "p99"),
}


def bars(workload: Mapping[str, Any], chosen: Sequence[tuple[str, bool]]) -> Any:
    """A panel for each metric, a bar for each system."""
    metrics = {metric["key"]: metric for metric in workload["metrics"]}
    names = list(workload["rounds"])
    ours = [name for name in names if name == "Penstock"] or names
    height = 0.9 + 0.3 * len(names)
    width = 1.6 + 2.6 * len(chosen)
    figure, panels = pyplot.subplots(1, len(chosen), figsize=(width, height), sharey=True, squeeze=False)
    for panel, (key, logarithmic) in zip(panels[0], chosen, strict=True):
        metric = metrics[key]
        for row, name in enumerate(reversed(names)):
            each = metric["systems"][name]
            colour = OURS if name in ours else LIMIT if name in LIMITS else THEIRS
            spread = [[each["median"] - each["min"]], [each["max"] - each["median"]]]
            panel.barh(row, each["median"], color=colour, xerr=spread, error_kw={"elinewidth": 0.8})
            label = f" {each['median']:,.{metric['digits']}f}"
            panel.text(each["max"], row, label, va="center", fontsize=7)
        if logarithmic:
            panel.set_xscale("log")
        panel.set_yticks(range(len(names)), list(reversed(names)), fontsize=8)
        panel.margins(x=0.3)
        better = "more is better" if metric["higher_is_better"] else "less is better"
        unit = f", {metric['unit']}" if metric["unit"] else ""
        panel.set_title(f"{metric['text']}{unit}\n({better})", fontsize=8)
        panel.tick_params(axis="x", labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{workload['key']}: {workload['title']}", fontsize=9)
    return figure


def scaling(workloads: Mapping[str, Mapping[str, Any]]) -> Any:
    """What a unit of the work costs, and how long it takes, at 1, 10 and 100 times the size."""
    figure, panels = pyplot.subplots(2, len(workloads), figsize=(2.3 * len(workloads), 4.2), squeeze=False)
    for column, (key, workload) in enumerate(workloads.items()):
        for panel, name in zip(panels[:, column], SCALED[key], strict=True):
            metric = next(each for each in workload["metrics"] if each["key"] == name)
            sizes = [int(system.removeprefix("× ")) for system in metric["systems"]]
            medians = [each["median"] for each in metric["systems"].values()]
            panel.plot(sizes, medians, marker="o", color=OURS)
            panel.set_xscale("log")
            panel.set_xticks(sizes, [f"× {size}" for size in sizes], fontsize=7)
            panel.minorticks_off()
            panel.set_ylim(bottom=0, top=max(medians) * 1.25)
            panel.set_title(f"{metric['text']}, {metric['unit']}", fontsize=7)
            panel.tick_params(axis="y", labelsize=7)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0, column].set_title(
            f"{workload['title'].removesuffix(', 1, 10 and 100 times')}\n\n{panels[0, column].get_title()}",
            fontsize=7,
        )
    return figure


def over_time(workload: Mapping[str, Any]) -> Any:
    """W7: memory of all processes of a system."""
    figure, panel = pyplot.subplots(figsize=(5, 2.4))
    for name, rounds in workload["rounds"].items():
        series = rounds[0]["series"]
        colour = OURS if name == "Penstock" else THEIRS
        seconds = [each["second"] for each in series]
        panel.plot(seconds, [each["pss"] / 1024 for each in series], label=name, color=colour)
    panel.set_ylim(bottom=0)
    panel.set_xlabel("seconds", fontsize=8)
    panel.set_ylabel("MiB (PSS)", fontsize=8)
    panel.tick_params(labelsize=7)
    panel.legend(fontsize=7, frameon=False)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_title(f"{workload['key']}: {workload['title']}", fontsize=9)
    return figure


def draw(results: Mapping[str, Any], folder: Path = FOLDER) -> list[Path]:
    """A file for each workload that has something to show, and one for the scaled ones."""
    folder.mkdir(parents=True, exist_ok=True)
    measured = {each["key"]: each for each in results["workloads"] if each["rounds"]}
    figures = {key: bars(measured[key], chosen) for key, chosen in BARS.items() if key in measured}
    if "W7" in measured:
        figures["W7"] = over_time(measured["W7"])
    if scaled := {key: measured[key] for key in SCALED if key in measured}:
        figures["scaling"] = scaling(scaled)
    written = []
    for name, figure in figures.items():
        figure.tight_layout()
        path = folder / f"{name}.svg"
        figure.savefig(path, metadata={"Date": None, "Creator": None}, facecolor="white")
        pyplot.close(figure)
        # matplotlib leaves blanks at the end of lines.
        path.write_text("".join(f"{line.rstrip()}\n" for line in path.read_text().splitlines()))
        written.append(path)
    return written


matplotlib.rcParams |= {
    "svg.hashsalt": "penstock",
    "svg.fonttype": "none",  # text stays text: small files that a search finds
    "font.family": "sans-serif",
}

if __name__ == "__main__":
    for path in draw(json.loads(Path(sys.argv[1]).read_text())):
        print(path)
