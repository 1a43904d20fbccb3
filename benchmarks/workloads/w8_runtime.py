"""The runtime on AWS's terms: from the start of its process to its first request for an event, 20 times
(quick: 5), and its memory while it waits for the answer. Penstock's imports what only an invocation needs
while the event is on its way: memory and CPU are read when the process has come to rest, with that in them.

What it asks is a stub of the Runtime API over TCP, in the process that measures. The function is hello world,
compiled. "Python" is a limit: the interpreter, isolated, that
opens a socket and asks. PSS counts pages that are shared with other processes in parts, VmHWM in full.
"""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import memory
from systems import HERE, StartError

from .base import Check, Figures, Metric, Roles, Round, Workload, bound

FULL, QUICK = 20, 5
NEXT = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n"
ASK = NEXT + b"Host: a\r\n\r\n"
BARE = f"""
import os, _socket
host, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].partition(":")
connection = _socket.socket()
connection.connect((host, int(port)))
connection.send({ASK!r})
connection.recv(1)
"""
COMMANDS = {
    "Penstock": ["-m", "penstock.runtime"],
    "awslambdaric": ["-m", "awslambdaric", "hello.lambda_handler"],
    "Python": ["-I", "-S", "-c", BARE],
}


def run(name: str, folder: Path, quick: bool) -> Round:
    shutil.copyfile(HERE / "functions" / "hello.py", folder / "hello.py")
    times = []
    used = []
    with socket.create_server(("127.0.0.1", 0)) as stub:
        stub.settimeout(20)
        for _ in range((QUICK if quick else FULL) + 1):  # the first compiles
            seconds, cpu, read = _start(name, folder, stub)
            times.append(seconds)
            used.append(cpu)
    values = {
        "min": min(times[1:]) * 1000,
        "p50": statistics.median(times[1:]) * 1000,
        "cpu": statistics.median(used[1:]) * 1000,
        "hwm": read.hwm / 1024,
        "pss": read.pss / 1024,
    }
    return Round(values, [read], len(times) - 1)


def _start(name: str, folder: Path, stub: socket.socket) -> tuple[float, float, memory.ProcessMemory]:
    """One start: seconds until `next`, processor time until then, and memory."""
    environ = {
        "PATH": os.environ["PATH"],
        "AWS_LAMBDA_RUNTIME_API": "{}:{}".format(*stub.getsockname()),
        "_HANDLER": "hello.lambda_handler",
        "LAMBDA_TASK_ROOT": str(folder),
        "AWS_LAMBDA_FUNCTION_NAME": "hello",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
    }
    with (folder / "runtime.log").open("wb") as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *COMMANDS[name]], env=environ, cwd=folder, stdout=log, stderr=log
        )
        try:
            connection, _ = stub.accept()
            with connection:
                asked = connection.recv(65536)
                seconds = time.perf_counter() - began
                if not asked.startswith(NEXT.partition(b" HTTP")[0]):
                    raise StartError(f"{name} asked {asked[:200]!r} first")
                cpu = _at_rest(process.pid) / 1e9
                read = memory.read("runtime", process.pid)
                process.kill()  # before its connection ends: it would make another
                process.wait()
        except TimeoutError:
            raise StartError(f"{name}: {(folder / 'runtime.log').read_text()[-500:]}") from None
        finally:
            process.kill()
            process.wait()
    if read is None:
        raise StartError(f"{name} ended: {(folder / 'runtime.log').read_text()[-500:]}")
    return seconds, cpu, read


def _at_rest(pid: int) -> int:
    """Wait until a process does nothing any more; the CPU it has used, in ns."""
    before, used = -1, memory.cpu_ns(pid)
    while used != before:
        time.sleep(0.03)
        before, used = used, memory.cpu_ns(pid)
    return used


def checks(figures: Figures, memory: Roles) -> list[Check]:
    found = []
    for key, text in (("p50", "start"), ("hwm", "memory (VmHWM)")):
        least, theirs = figures[key].of("Python"), figures[key].of("awslambdaric")
        limit = least / theirs if least and theirs else None
        ratio = figures[key].ratio("awslambdaric")
        found.append(bound("goal", f"{text} at most 0.6 x awslambdaric's", ratio, most=0.6, limit=limit))
    return found


WORKLOAD = Workload(
    key="W8",
    title="start of the runtime alone",
    about=__doc__,
    metrics=(
        Metric("min", "to the first next, fastest", "ms", digits=1),
        Metric("p50", "to the first next, median", "ms", digits=1),
        Metric("cpu", "CPU until it rests", "ms", digits=1),
        Metric("hwm", "memory (VmHWM)", "MiB", digits=1),
        Metric("pss", "memory (PSS)", "MiB", digits=1),
    ),
    run=run,
    rivals=("awslambdaric", "Python"),
    checks=checks,
)
