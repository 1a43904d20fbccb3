"""Memory of processes, from /proc. KiB throughout, written kB as the kernel writes it."""

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
    found = []
    for task in Path("/proc", str(pid), "task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:
            pass
    return found


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
