"""The benchmarks still run, and their arithmetic is right."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def load_module(name: str) -> ModuleType:
    """A module of the benchmarks, which are scripts and no package."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    assert spec
    assert spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


figures = load_module("figures")
load = load_module("load")
publish = load_module("publish")
where = load_module("where")


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 50), (99, 99), (100, 100), (0, 1), (99.5, 100), (0.1, 1)]
)
def test_a_percentile_is_one_of_the_samples(percent, expected):
    assert figures.percentile(list(range(100, 0, -1)), percent) == expected


def test_percentiles_of_nothing_are_an_error():
    with pytest.raises(ValueError, match="no samples"):
        figures.percentile([], 50)


def test_a_summary_is_the_median_between_its_extremes():
    assert figures.summary([3, 1, 10]) == figures.Summary(n=3, min=1, median=3, max=10)


def test_a_ratio_is_of_the_medians_and_its_range_of_the_pairs():
    assert figures.ratio([10, 20, 60], [10, 5, 20]) == figures.Summary(n=3, min=1, median=2, max=4)


def test_there_is_no_ratio_to_zero():
    assert figures.ratio([1, 2], [1, 0]) is None


WRK = """\
  Latency Distribution
     50%  831.00us
     75%    1.02ms
     90%    1.90ms
     99%    1.20s
  3356 requests in 1.01s, 373.54KB read
Requests/sec:   3313.75
"""


def test_wrks_figures_are_read():
    assert figures.wrk(WRK) == {"count": 3356, "rate": 3313.75, "p50": pytest.approx(0.831), "p99": 1200}


@pytest.mark.parametrize(
    "said",
    [
        "",
        WRK.replace("3356", "0"),
        WRK + "  Non-2xx or 3xx responses: 1\n",
        WRK + "  Socket errors: connect 0\n",
    ],
)
def test_wrks_failures_are_no_figures(said):
    with pytest.raises(ValueError, match=r"requests|nothing"):
        figures.wrk(said)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
def test_chunks_are_counted_however_reads_cut_them(step):
    body = b"5\r\nhello\r\n10\r\n0123456789abcde\n\r\n0\r\n\r\n"
    counter = load.ChunkCounter()
    for start in range(0, len(body), step):
        read = body[start : start + step]
        counter.feed(read, 0, len(read))
    assert (counter.payload, counter.chunks, counter.done) == (21, 2, True)


def test_a_head_that_is_not_200_is_an_error():
    assert load.check_head(b"HTTP/1.1 200 OK\r\nA: b\r\n") == 0
    assert load.check_head(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody") == 25
    with pytest.raises(load.LoadError, match="502"):
        load.check_head(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")


# A run, in which one rival does not start and another is not installed.
RUN = """
import sys, run
from systems import RIVALS, Rival, StartError

def fail(job):
    raise StartError("it did not start")

RIVALS["granian"] = Rival("granian", "", fail, str)
RIVALS["nginx → loop"] = Rival("nginx → loop", "", fail, lambda: "not installed: nginx")
sys.exit(run.main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_one_workload_from_start_to_report(tmp_path):
    out = tmp_path / "out.json"
    systems = "Penstock,granian,nginx → loop,socket loop"
    command = [sys.executable, "-c", RUN, "--quick", "--only", "W4", "--rounds", "1", "--systems", systems]
    done = subprocess.run(
        [*command, "--out", str(out)], capture_output=True, text=True, timeout=60, cwd=BENCHMARKS
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text())
    (workload,) = results["workloads"]
    assert list(workload["rounds"]) == ["Penstock", "socket loop"]
    (measured,) = workload["rounds"]["Penstock"]
    assert measured["samples"] == 33 + 200
    assert 0 < measured["values"]["p50_1"] <= measured["values"]["p99_1"]
    assert set(workload["memory"]["Penstock"]) == {"service", "spawner", "environment"}
    assert workload["metrics"][0]["ratios"].keys() == {"socket loop"}
    assert workload["failed"] == {"granian": "it did not start"}
    assert results["absent"] == {"nginx → loop": "not installed: nginx"}
    report = out.with_suffix(".md").read_text()
    assert "## W4: first byte, warm" in report
    assert "**granian failed**: `it did not start`" in report
    assert "- Without **nginx → loop**: not installed: nginx." in report
    assert results["machine"]["CPU"] in report


def test_the_documentation_has_the_figures_of_the_results_it_names():
    page = (BENCHMARKS.parent / "docs/performance.md").read_text()
    source = publish.SOURCE.search(page)[1]
    if source == "none":
        results = {"workloads": []}
    else:
        results = json.loads((BENCHMARKS / "results" / source).read_text())
    assert publish.fill(page, results, source) == page


def test_measured_parts_of_a_page_are_replaced():
    metric = {"key": "cpu", "text": "CPU a GB", "unit": "ms", "digits": 0}
    rate = {"key": "rate", "text": "payload", "unit": "MB/s", "digits": 0}
    summary = {"n": 3, "min": 1, "median": 1234.5, "max": 2}
    workload = {
        "key": "W3",
        "title": "bulk",
        "metrics": [{**each, "systems": {"Penstock": summary}} for each in (metric, rate)],
        "rounds": {"Penstock": [{}]},
    }
    page = "<!-- results: none -->\n<!-- measured: machine -->\n<!-- end -->\n"
    page += "<!-- measured: W3 -->\nold\n<!-- end -->\n"
    page += "<!-- measured: W1 -->\n<!-- end -->\n"
    machine = {"cores": "2", "CPU": "Z80", "Python": "CPython 3.11.7"}
    filled = publish.fill(page, {"workloads": [workload], "machine": machine}, "a.json")
    assert filled.splitlines() == [
        "<!-- results: a.json -->",
        "<!-- measured: machine -->",
        "They were measured on 2 cores (Z80), client and server on the same machine,",
        "with Python 3.11.7. A figure is the median of some rounds: "
        "[all of them](../benchmarks/results/a.md).",
        "<!-- end -->",
        "<!-- measured: W3 -->",
        "![bulk](../benchmarks/results/plots/W3.svg)",
        "",
        "|  | payload, MB/s | CPU a GB, ms |",
        "| --- | ---: | ---: |",
        "| Penstock | 1,234 | 1,234 |",
        "<!-- end -->",
        "<!-- measured: W1 -->",
        "<!-- end -->",
    ]


def test_an_unknown_workload_is_one_clear_line():
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--only", "W99"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert "--only: expected some of W1,W2," in last
    assert last.endswith(", got 'W99'")


def test_what_the_start_has_cost_is_not_a_requests():
    link, loop = ("/x/penstock/http/link.py", 1, "f"), ("/lib/asyncio/runners.py", 1, "run")
    once = ("/lib/re/_parser.py", 1, "parse")
    few = {link: (0, 30, 3e-5, 0, None), loop: (0, 1, 1.0, 0, None), once: (0, 5, 1.0, 0, None)}
    many = {link: (0, 60, 6e-5, 0, None), loop: (0, 1, 2.0, 0, None), once: (0, 5, 1.1, 0, None)}
    shown = where.table("request", few, many, 10, 5).splitlines()
    assert shown[0].startswith("| per request: 3 calls, 3 µs")
    assert shown[2:] == ["| http/link.py | 3.0 | 3.0 |"]
