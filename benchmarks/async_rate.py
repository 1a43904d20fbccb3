"""How many asynchronous events are accepted in a second: `python benchmarks/async_rate.py`.

Each 202 is sent after its event is committed and the disk has synced. Raw sockets, each with one Event
invocation at a time, call the Lambda API of `penstock serve`; its queue is below --folder. Measured twice:

  accept   the function sleeps, one event of it runs: what accepting costs
  run      the function returns at once: client, service and functions share the cores

Beside it, what the same file system does without a service: rows of the same size committed one by one,
and as many to a commit as there are connections. The rounds take turns. Writes a Markdown table to stdout.
"""

import argparse
import importlib.util
import json
import select
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import figures
import machine
from load import LoadError, connect, receive
from systems import HERE, Penstock, StartError

CONNECTIONS = (1, 32, 256)
EVENT = json.dumps({"detail": "x" * 1000}).encode()
FUNCTIONS = {
    "accept": "import time\ndef lambda_handler(event, context):\n    time.sleep(600)\n",
    "run": "def lambda_handler(event, context):\n    pass\n",
}
FLAGS = {"accept": ["--event-concurrency", "1"], "run": []}
PATIENCE = 20.0

Address = tuple[str, int]
Measured = dict[str, float]  # rate, p50 and p99 in ms


def service(kind: str, folder: Path) -> Penstock:
    """`penstock serve`, its defaults, durable."""
    target = folder / "app.py"
    target.write_text(FUNCTIONS[kind])
    return Penstock(target, "", folder, FLAGS[kind], listens="lambda")


def accepted(address: Address, connections: int, seconds: float) -> Measured:
    """Keep `connections` busy with one Event invocation at a time. Raises LoadError unless all get 202."""
    head = (
        "POST /2015-03-31/functions/app/invocations HTTP/1.1\r\nHost: localhost\r\n"
        f"X-Amz-Invocation-Type: Event\r\nContent-Length: {len(EVENT)}\r\n\r\n"
    )
    message = head.encode() + EVENT
    sockets = {each.fileno(): each for each in (connect(address) for _ in range(connections))}
    poller = select.epoll()
    clock = time.perf_counter
    latencies: list[float] = []
    began: dict[int, float] = {}
    for number, connection in sockets.items():
        poller.register(number, select.EPOLLIN)
        began[number] = clock()
        connection.sendall(message)
    start = clock() + seconds / 10  # warm
    end = start + seconds
    while began:
        ready = poller.poll(PATIENCE)
        if not ready:
            raise LoadError(f"{len(began)} of {connections} events have no answer")
        for number, _ in ready:
            data = receive(sockets[number])  # an answer is one send
            if not data.startswith(b"HTTP/1.1 202 ") or not data.endswith(b"\r\n\r\n"):
                raise LoadError(f"expected a 202 without a body, got {data[:300]!r}")
            now = clock()
            if now > end:
                del began[number]
                continue
            if now > start:
                latencies.append(now - began[number])
            began[number] = now
            sockets[number].sendall(message)
    poller.close()
    for connection in sockets.values():
        connection.close()
    return _measured(latencies, seconds)


def commits(folder: Path, rows: int, seconds: float) -> Measured:
    """Commit `rows` at a time to a database of the same kind; the rate is that of rows."""
    connection = sqlite3.connect(folder / "plain.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE events (number INTEGER PRIMARY KEY, function TEXT, due REAL, payload BLOB)"
    )
    connection.execute("CREATE INDEX events_due ON events (function, due)")
    latencies: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        connection.execute("BEGIN IMMEDIATE")
        for _ in range(rows):
            connection.execute("INSERT INTO events VALUES (NULL, 'app', ?, ?)", (began, EVENT))
        connection.execute("COMMIT")
        latencies += [time.perf_counter() - began] * rows
    connection.close()
    return _measured(latencies, seconds)


def _measured(latencies: list[float], seconds: float) -> Measured:
    return {
        "rate": len(latencies) / seconds,
        "p50": figures.percentile(latencies, 50) * 1000,
        "p99": figures.percentile(latencies, 99) * 1000,
    }


def one_round(kind: str, connections: int, seconds: float, parent: Path | None) -> Measured:
    with tempfile.TemporaryDirectory(prefix="penstock-benchmark-", dir=parent) as temporary:
        folder = Path(temporary)
        if kind == "commit":
            return commits(folder, connections, seconds)
        with service(kind, folder) as running:
            return accepted(running.address, connections, seconds)


TITLES = {
    "accept": "202s, nothing else to do",
    "run": "202s, events run beside",
    "commit": "plain rows, as many to a commit",
}


def table(measured: dict[tuple[str, int], list[Measured]]) -> str:
    lines = ["| | at once | per second | p50 ms | p99 ms |", "|---|---:|---:|---:|---:|"]
    for (kind, connections), rounds in measured.items():
        rate, p50, p99 = (figures.summary([each[key] for each in rounds]) for key in ("rate", "p50", "p99"))
        lines.append(
            f"| {TITLES[kind]} | {connections} | {rate.median:,.0f} ({rate.min:,.0f}–{rate.max:,.0f})"
            f" | {p50.median:.2f} | {p99.median:.2f} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a round (3)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each (3)")
    parser.add_argument("--folder", type=Path, help="where the queue is (the system's temporary folder)")
    options = parser.parse_args()
    if options.seconds <= 0 or options.rounds < 1:
        parser.error("--seconds and --rounds must be more than nothing")
    if missing := [
        name for name in ("penstock", "uvloop", "httptools") if importlib.util.find_spec(name) is None
    ]:
        parser.error(f"this needs {', '.join(missing)}: pip install -e '.[bench]'")
    described = machine.describe()
    measured: dict[tuple[str, int], list[Measured]] = {(k, n): [] for k in TITLES for n in CONNECTIONS}
    try:
        for _ in range(options.rounds):
            for (kind, connections), rounds in measured.items():
                rounds.append(one_round(kind, connections, options.seconds, options.folder))
                print(f"{kind} {connections}: {rounds[-1]['rate']:,.0f}/s", file=sys.stderr)
    except (StartError, LoadError) as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    commit, changed = machine.commit(HERE.parent)
    print(
        f"Events of {len(EVENT):,} bytes, {options.rounds} rounds of {options.seconds:g} s. Medians,"
        f" of rates with extremes.\nCommit {commit}{', changed' if changed else ''}.\n"
    )
    print(f"{table(measured)}\n")
    print("\n".join(f"- {name}: {value}" for name, value in described.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
