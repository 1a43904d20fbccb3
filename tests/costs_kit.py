"""Counting what a process does, in numbers that do not depend on how fast the machine is, or how busy.

Instructions, by callgrind: a program runs in it from the start, and counts when it is told to.
System calls, by strace: it is attached to processes that run.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from platform_process import wait_until

# Waiting for a lock, or for time to pass, is done as often as the machine has other work.
_TIMING = ("futex", "restart_syscall", "sched_yield", "clock_nanosleep")


def why_no_callgrind() -> str:
    """Why instructions cannot be counted here; "" if they can."""
    return "" if shutil.which("valgrind") else "valgrind is not installed"


def why_no_strace() -> str:
    """Why system calls cannot be counted here; "" if they can."""
    if not shutil.which("strace"):
        return "strace is not installed"
    done = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True)
    return "" if done.returncode == 0 else f"strace cannot trace: {done.stderr.strip()}"


def callgrind(folder: Path, *, from_start: bool = False) -> list[str]:
    """What is put before a command, so that `Instructions` can count what it does."""
    return [
        "valgrind",
        "--tool=callgrind",
        f"--instr-atstart={'yes' if from_start else 'no'}",
        f"--callgrind-out-file={folder / 'callgrind.out'}",
        f"--log-file={folder / 'callgrind.log'}",
    ]


class Instructions:
    """Counts the instructions of process `pid`, which was started by `callgrind(folder)`."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._pid = pid
        self._folder = folder
        self._dumps = 0

    def count(self) -> None:
        """Count from here on."""
        self._control("--instr=on")
        self._control("--zero")

    def counted(self) -> int:
        """How many there were since `count`, or since they were last counted."""
        self._control("--dump")
        self._dumps += 1
        dump = self._folder / f"callgrind.out.{self._dumps}"
        wait_until(lambda: dump.exists() and "totals:" in dump.read_text(), "callgrind's dump")
        _, _, total = dump.read_text().rpartition("totals:")
        return int(total)

    def _control(self, command: str) -> None:
        control = ["callgrind_control", command, str(self._pid)]
        said = subprocess.run(control, capture_output=True, text=True, timeout=30)
        assert "OK" in said.stdout, said.stdout + said.stderr


@contextmanager
def system_calls(pids: Iterable[int], besides: Collection[int], folder: Path) -> Iterator[list[int]]:
    """Count the system calls of processes, and of what they start meanwhile, into the list that is given.

    Not those of the threads `besides`.
    """
    out, said = folder / "strace.out", folder / "strace.log"
    followed = [part for pid in pids for part in ("-p", str(pid))]
    with said.open("wb") as log:
        tracer = subprocess.Popen(["strace", "-f", "-s", "0", "-o", str(out), *followed], stderr=log)
    counted: list[int] = []
    try:
        wait_until(lambda: said.read_text().count("attached") >= len(followed) // 2, "strace to attach")
        yield counted
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
    # The thread, and what it called; a call in two lines has its arguments in the first.
    calls = re.findall(r"^(\d+) +(\w+)\(", out.read_text(), re.MULTILINE)
    counted.append(sum(int(thread) not in besides and name not in _TIMING for thread, name in calls))


def other_threads(pid: int) -> set[int]:
    """The threads of a process that are not its first."""
    return {int(thread) for thread in os.listdir(f"/proc/{pid}/task")} - {pid}
