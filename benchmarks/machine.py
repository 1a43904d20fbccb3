"""What the numbers were measured on."""

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

PACKAGES = [
    "penstock",
    "uvloop",
    "httptools",
    "uvicorn",
    "starlette",
    "granian",
    "cargo-lambda",
    "awslambdaric",
]
PROGRAMS = {"nginx": "-v", "wrk": "-v", "node": "--version"}


def describe() -> dict[str, str]:
    """Everything about this machine that moves the numbers."""
    described = {
        "CPU": _cpu(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1024**3:.1f} GiB",
        "virtual machine": _virtual(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "kernel": platform.release(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "load before the run": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }
    described |= {name: version(name) for name in PACKAGES}
    return described | {name: program(name, flag) for name, flag in PROGRAMS.items()}


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def program(name: str, flag: str) -> str:
    """The version of what is no Python package, as it says it."""
    try:
        done = subprocess.run([name, flag], capture_output=True, text=True)
    except OSError:
        return "not installed"
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def commit(folder: Path) -> tuple[str, bool]:
    """The commit checked out, short, and whether the sources of Penstock differ from it."""
    name = _git(folder, "rev-parse", "--short", "HEAD")
    changed = bool(_git(folder, "status", "--porcelain", "--", "src", "benchmarks/functions"))
    return name or "unknown", changed


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip()


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _virtual() -> str:
    flags = Path("/proc/cpuinfo").read_text()
    return "yes" if " hypervisor" in flags else "no"
