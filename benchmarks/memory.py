"""Processes, from /proc: which there are, their memory in KiB, their processor time."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessMemory:
    """One process: what it is for, its share of memory now, and the most it ever had resident.

    pss: pages shared with other processes count in parts. hwm: kept by the kernel, misses no peak, and counts
    shared pages in full.
    """

    role: str
    pid: int
    pss: int
    hwm: int


def read(role: str, pid: int) -> ProcessMemory | None:
    """None if the process has ended."""
    process = Path("/proc", str(pid))
    try:
        pss = _field(process / "smaps_rollup", "Pss:")
        hwm = _field(process / "status", "VmHWM:")
    except (OSError, LookupError):
        return None
    return ProcessMemory(role, pid, pss, hwm)


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path("/proc", str(pid), "task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:
            pass
    return found


def tree(pid: int) -> list[int]:
    """A process and all that come from it."""
    found = [pid]
    for each in found:
        found += children(each)
    return found


def command(pid: int) -> str:
    """What the process is called."""
    try:
        return Path("/proc", str(pid), "comm").read_text().strip()
    except OSError:
        return "gone"


def cpu(pid: int) -> float:
    """Seconds of processor time of a process, and of those of its children that it has waited for."""
    try:
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def cpu_ns(pid: int) -> int:
    """Nanoseconds of processor time of the threads a process has now."""
    tasks = Path("/proc", str(pid), "task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in tasks)


def by_role(rounds: Iterable[list[ProcessMemory]]) -> dict[str, dict[str, int]]:
    """Of each role the most of any round: processes, the sum of their pss, the largest pss and hwm of one."""
    worst: dict[str, dict[str, int]] = {}
    for processes in rounds:
        for role in dict.fromkeys(process.role for process in processes):
            alike = [process for process in processes if process.role == role]
            now = {
                "processes": len(alike),
                "pss_sum": sum(process.pss for process in alike),
                "pss_largest": max(process.pss for process in alike),
                "hwm_largest": max(process.hwm for process in alike),
            }
            before = worst.setdefault(role, now)
            worst[role] = {key: max(value, before[key]) for key, value in now.items()}
    return worst


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise LookupError(name)
