"""Where the service's time goes: Python's own profiler around `penstock serve`, per request and per chunk.

    python benchmarks/where.py [--count N] [--top N]

Prints two tables as Markdown: what N more requests, or chunks, have cost. A profiler makes every call
dearer, so its microseconds are for comparing parts of one table with each other; the number of calls is
exact, and the same on any machine.
"""

import argparse
import json
import pstats
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
_PROFILED = """\
import cProfile, sys
from penstock.cli.main import main
profile = cProfile.Profile()
out = sys.argv.pop(1)
profile.enable()
try:
    main()
finally:
    profile.disable()
    profile.dump_stats(out)
"""
WORK = {  # the function, what is asked of it, and what is counted: requests, or the chunks of one
    "request": (HERE / "functions" / "small.py", "/"),
    "chunk": (HERE / "functions" / "where_chunks.py", "/?count={count}"),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=3000, help="requests, and chunks (3000)")
    parser.add_argument("--top", type=int, default=25, help="files to show (25)")
    options = parser.parse_args()
    for what in WORK:
        few, many = (profiled(what, times * options.count) for times in (1, 2))  # the start cancels out
        print(table(what, few, many, options.count, options.top))
    return 0


Functions = dict[tuple[str, int, str], tuple[int, int, float, float, object]]


def profiled(what: str, count: int) -> Functions:
    """Serve under the profiler, do the work, and stop."""
    with tempfile.TemporaryDirectory(prefix="penstock-where-") as folder:
        return _profiled(*WORK[what], what, count, Path(folder))


def _profiled(function: Path, target: str, what: str, count: int, folder: Path) -> Functions:
    out = folder / "profile"
    command = [sys.executable, "-c", _PROFILED, str(out), "serve", str(function)]
    ports = ["--port", "0", "--lambda-port", "0", "--data", str(folder / "data")]
    log = folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen([*command, *ports], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        with socket.create_connection(_address(log, server), timeout=60) as client:
            for _ in range(count if what == "request" else 1):
                client.sendall(
                    f"GET {target.format(count=count)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
                )
                _read_response(client)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
    return pstats.Stats(str(out)).stats  # type: ignore[attr-defined, no-any-return]


def table(what: str, few: Functions, many: Functions, count: int, top: int) -> str:
    """Self time and calls by file."""
    time: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for file, number, own in _rows(few, many):
        time[file] += own / count * 1e6
        calls[file] += number / count
    lines = [
        f"| per {what}: {sum(calls.values()):.0f} calls, {sum(time.values()):.0f} µs under the profiler "
        "| calls | µs |",
        "| --- | ---: | ---: |",
        *(f"| {file} | {calls[file]:.1f} | {own:.1f} |" for file, own in time.most_common(top)),
    ]
    return "\n".join(lines) + "\n"


def _rows(few: Functions, many: Functions) -> Iterator[tuple[str, int, float]]:
    """File, further calls and further time of each function."""
    for key, (_, number, own, _, _) in many.items():
        path, _, name = key
        if path.endswith("asyncio/runners.py"):
            continue  # the loop, which waits most of the time
        _, before, own_before, _, _ = few.get(key, (0, 0, 0.0, 0.0, None))
        parts = Path(path).parts
        if path == "~":
            file = name.strip("<>") if "posix" in name else "built in"
        else:
            file = "/".join(parts[parts.index("penstock") + 1 :] if "penstock" in parts else parts[-2:])
        if number > before:
            yield file, number - before, own - own_before


def _address(log: Path, server: "subprocess.Popen[bytes]") -> tuple[str, int]:
    """Where it listens: the first line of its log says it."""
    while server.poll() is None:
        first, newline, _ = log.read_text().partition("\n")
        if newline:
            host, _, port = json.loads(first)["gateway"].removeprefix("http://").rpartition(":")
            return host, int(port)
    raise SystemExit(f"penstock did not start: {log.read_text()[-2000:]}")


def _read_response(client: socket.socket) -> None:
    """Read to the end of a response that is chunked, or has a body of two bytes."""
    data = b""
    while not data.endswith((b"0\r\n\r\n", b"\r\n\r\nok")):
        piece = client.recv(65536)
        if not piece:
            raise SystemExit("the connection was closed")
        data = data[-64:] + piece


if __name__ == "__main__":
    sys.exit(main())
