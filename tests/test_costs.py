"""What requests, chunks and starts cost, in numbers that are the same on a fast machine and on a slow one.

A limit is about a quarter above what was measured (CPython 3.11, x86-64, uvloop). When a test fails:

1. See what is new on that way: run it before the change too, and compare (`pytest -s` prints all numbers).
2. If it need not be there, take it away. `callgrind_annotate`, `strace -f` and docs/a-chunks-way.md help.
3. If it is worth its price, raise the limit here, and say why in the commit.

When a number has become much lower, lower its limit, so that it stays so.
"""

import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import costs_kit
from costs_kit import Instructions, callgrind, other_threads, system_calls
from journey_kit import Raw, tree
from platform_process import Platform
from runtime_kit import Side

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="callgrind and strace are Linux's")

CALLGRIND = costs_kit.why_no_callgrind()
STRACE = costs_kit.why_no_strace()

TIMES = 100

# Chunks come so slowly that each is a write and a read of its own: the count is the same each time.
PACED = """
    import time
    def lambda_handler(event, context):
        if event["rawPath"] == "/small":
            return {"statusCode": 200, "body": "ok"}
        size = int(event["rawPath"][1:])
        def chunks():
            for _ in range(TIMES):
                yield "x" * size
                time.sleep(0.008)
        return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": chunks()}
    """.replace("TIMES", str(TIMES))
HELLO = "def lambda_handler(event, context): return {'statusCode': 200, 'body': iter(['hello'])}"
COLD = [f"cold{number}" for number in range(10)]
FUNCTIONS = {"paced": PACED} | dict.fromkeys(COLD, HELLO)


def ask(raw: Raw, path: str) -> bytes:
    raw.send(f"GET /lambda-url/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    response = raw.response()
    assert response.status == 200
    return response.body


def check(what: str, each: float, limit: float, unit: str) -> None:
    print(f"{what}: {each:,.1f} {unit} (limit {limit:,})")
    assert each <= limit, f"{what}: {each:,.1f} {unit}, at most {limit:,} expected; see the top of {__file__}"


# The service, in callgrind.


class Counted:
    def __init__(self, folder: Path) -> None:
        self.platform = Platform(folder, FUNCTIONS, env={"PYTHONHASHSEED": "0"}, under=callgrind(folder))
        self.raw = Raw(self.platform.gateway_address)
        self.instructions = Instructions(self.platform.process.pid, folder)


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    if CALLGRIND:
        pytest.skip(CALLGRIND)
    counted = Counted(tmp_path_factory.mktemp("counted"))
    with counted.platform, counted.raw:
        for path in ("paced/small", "paced/1") * 3:
            ask(counted.raw, path)
        yield counted


@pytest.mark.parametrize(
    ("what", "paths", "times", "limit"),
    [
        ("a buffered request", ["paced/small"] * TIMES, TIMES, 1_200_000),
        ("a chunk of 57 bytes", ["paced/57"], TIMES, 67_000),
        ("a chunk of 64 KiB", ["paced/65536"], TIMES, 153_000),
        ("a cold start", COLD, len(COLD), 2_700_000),
    ],
)
def test_instructions_of_the_service(
    counted: Counted, what: str, paths: list[str], times: int, limit: int
) -> None:
    counted.instructions.count()
    for path in paths:
        ask(counted.raw, path)
    check(f"service, {what}", counted.instructions.counted() / times, limit, "instructions")


# The runtime, in callgrind: `python -m penstock.runtime`, against a Runtime API that answers at once.

RUNTIME = """
    import time
    from penstock.runtime import loop, stream

    def handler(event, context):
        if not event:
            return {"statusCode": 200, "body": "ok"}
        count, size, pause = event
        if not pause:  # all in one moment: when a flush is due is not for this machine's speed to say
            stream.monotonic = loop.monotonic = lambda: 0.0
            stream.sleep = lambda seconds: time.sleep(1e6)
        def chunks():
            for _ in range(count):
                yield "x" * size
                if pause:
                    time.sleep(pause)
        return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": chunks()}
    """


class CountedRuntime:
    """Asked over TCP, as on AWS."""

    def __init__(self, folder: Path) -> None:
        (folder / "app.py").write_text(textwrap.dedent(RUNTIME))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(30)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environ |= {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._listener.getsockname()[1]}",
            "_HANDLER": "app.handler",
            "LAMBDA_TASK_ROOT": str(folder),
            "PYTHONHASHSEED": "0",
            "PYTHONPYCACHEPREFIX": str(folder / "compiled"),  # by the first start, which is not counted
        }
        command = [sys.executable, "-m", "penstock.runtime"]
        for under in ([], callgrind(folder, from_start=True)):
            self.process = subprocess.Popen([*under, *command], env=environ, stdin=subprocess.DEVNULL)
            try:
                self.side = Side(self._listener.accept()[0])
                self.invoke(b"[]")
            except BaseException:
                self.process.kill()
                self.process.wait()
                raise
            if not under:
                self.side.read()  # `next`: it does not write what it has compiled any more
                self.close()
        self.instructions = Instructions(self.process.pid, folder)

    def invoke(self, payload: bytes) -> None:
        """One event and its response, all of it."""
        assert self.side.read().verb == "next"
        self.side.event(payload)
        if payload == b"[]":
            assert self.side.read().verb == "response"
            self.side.accept()
            return
        stream = Side(self._listener.accept()[0])
        assert stream.read().verb == "response"
        stream.accept()
        stream.sock.close()

    def close(self) -> None:
        self.process.kill()  # before its connection ends: it would take another
        self.process.wait()
        self.side.sock.close()


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountedRuntime]:
    if CALLGRIND:
        pytest.skip(CALLGRIND)
    runtime = CountedRuntime(tmp_path_factory.mktemp("runtime"))
    yield runtime
    runtime.close()


def test_instructions_of_the_runtimes_start(runtime: CountedRuntime) -> None:
    """With the first invocation: what is imported meanwhile is in it."""
    check("runtime, start and first invocation", runtime.instructions.counted(), 112_000_000, "instructions")


@pytest.mark.parametrize(
    ("what", "events", "times", "limit"),
    [
        ("a buffered invocation", [b"[]"] * TIMES, TIMES, 200_000),
        ("a chunk of 57 bytes", [b"[%d, 57, 0.002]" % TIMES], TIMES, 22_500),
        ("a chunk of 64 KiB", [b"[%d, 65536, 0.002]" % TIMES], TIMES, 188_000),
        ("a line of many", [b"[20000, 57, 0]"], 20_000, 6_000),
    ],
)
def test_instructions_of_the_runtime(
    runtime: CountedRuntime, what: str, events: list[bytes], times: int, limit: int
) -> None:
    runtime.invoke(events[0])  # what is done once is not counted
    runtime.instructions.count()
    for payload in events:
        runtime.invoke(payload)
    check(f"runtime, {what}", runtime.instructions.counted() / times, limit, "instructions")


# System calls, of all processes together; not of the threads that write the logs: the slower the machine, the
# fewer lines they find at a time.


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Platform, Raw]]:
    if STRACE:
        pytest.skip(STRACE)
    folder = tmp_path_factory.mktemp("traced")
    with Platform(folder, FUNCTIONS) as platform, Raw(platform.gateway_address) as raw:
        for path in ("paced/small", "paced/1"):
            ask(raw, path)
        yield platform, raw


@pytest.mark.parametrize(
    ("what", "paths", "times", "limit"),
    [
        ("a buffered request", ["paced/small"] * TIMES, TIMES, 16),
        ("a chunk of 57 bytes", ["paced/57"], TIMES, 5.7),
        ("a chunk of 64 KiB", ["paced/65536"], TIMES, 5.7),
        ("a cold start", COLD, len(COLD), 280),
    ],
)
def test_system_calls(
    traced: tuple[Platform, Raw], tmp_path: Path, what: str, paths: list[str], times: int, limit: float
) -> None:
    platform, raw = traced
    pid = platform.process.pid
    with system_calls(tree(pid), other_threads(pid), tmp_path) as counted:
        for path in paths:
            ask(raw, path)
    check(what, counted[0] / times, limit, "system calls")
