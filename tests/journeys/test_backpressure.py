"""A slow reader pauses the generator; no process keeps what is not read."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from journey_kit import Raw, memory, tree
from platform_process import Platform, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")

MIB = 1024 * 1024
GIB = 1024 * MIB
PEAK_KIB = 80 * 1024  # of each process
GROWTH_KIB = 2 * 1024  # of each process, in steady state
_SCRATCH = bytearray(MIB)

# Counts its chunks of 64 KiB in the file ?count=, and makes ?closed= when its generator is closed.
COUNTED = """
    import os

    CHUNK = bytes(range(256)) * 256

    def chunks(asked):
        file = os.open(asked["count"], os.O_RDWR | os.O_CREAT)
        try:
            for number in range(1, 2 * 1024**3 // len(CHUNK) + 1):
                os.pwrite(file, b"%09d" % number, 0)
                yield CHUNK
        finally:
            open(asked["count"] + "-closed", "x").close()

    def lambda_handler(event, context):
        asked = event["queryStringParameters"]
        headers = {"Content-Length": str(2 * 1024**3)} if asked.get("counted") else {}
        return {"statusCode": 200, "headers": headers, "body": chunks(asked)}
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("app"), {"app": COUNTED}) as running:
        yield running


@pytest.fixture(scope="module")
def export(tmp_path_factory) -> Iterator[Platform]:
    """The example of a 2 GiB export."""
    source = (Path(__file__).parents[2] / "examples" / "export_2gib.py").read_text()
    with Platform(tmp_path_factory.mktemp("export"), {"export_2gib": source}) as running:
        yield running


def made(app: Platform, count: str) -> int:
    """Bytes the generator has made so far."""
    try:
        return int((app.folder / count).read_bytes() or b"0") * 65536
    except FileNotFoundError:
        return 0


def standstill(app: Platform, count: str) -> int:
    """Wait until the generator makes nothing for half a second; the bytes it has made."""
    last, since = -1, time.monotonic()

    def still() -> bool:
        nonlocal last, since
        now = made(app, count)
        if now != last:
            last, since = now, time.monotonic()
        return last > 0 and time.monotonic() - since > 0.5

    wait_until(still, "the generator to stand still", 10)
    return last


def read(raw: Raw, size: int) -> int:
    """Read `size` bytes and throw them away."""
    got = 0
    while got < size:
        count = raw.sock.recv_into(_SCRATCH, min(MIB, size - got))
        assert count, f"end of file after {got} of {size} bytes"
        got += count
    return got


def left_and_paused(app: Platform, count: str) -> int:
    """Start a stream, read 1 MiB, and leave when the generator stands still; what it had made."""
    with Raw(app.gateway_address, receive_buffer=65536) as raw:
        raw.request(f"/?count={count}")
        read(raw, MIB)
        return standstill(app, count)


STREAMS = {
    "chunked": "GET /?count=chunked HTTP/1.1",
    "counted": "GET /?count=counted&counted=1 HTTP/1.1",
    "until the close": "GET /?count=close HTTP/1.0",
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_reader_that_stops_pauses_the_generator(app, name):
    count = STREAMS[name].partition("count=")[2].split()[0].partition("&")[0]
    with Raw(app.gateway_address, receive_buffer=65536) as raw:
        raw.send(f"{STREAMS[name]}\r\nHost: a\r\n\r\n".encode())
        taken = read(raw, MIB)
        paused = standstill(app, count)
        # What is under way: the two kernel queues of each socket, and 64 KiB here and there.
        assert paused - taken < 12 * MIB
        taken += read(raw, 32 * MIB)
        wait_until(lambda: made(app, count) > paused, "the generator to go on", 5)
        assert standstill(app, count) - taken < 12 * MIB
    wait_until((app.folder / f"{count}-closed").exists, "the generator's close", 5)


def test_a_reader_of_the_lambda_api_pauses_the_generator(app):
    host, port = app.lambda_api.removeprefix("http://").split(":")
    event = json.dumps({"queryStringParameters": {"count": "events"}}).encode()
    with Raw((host, int(port)), receive_buffer=65536) as raw:
        raw.request("/2021-11-15/functions/app/response-streaming-invocations", method="POST", body=event)
        taken = read(raw, MIB)
        paused = standstill(app, "events")
        assert paused - taken < 12 * MIB
        read(raw, 32 * MIB)
        wait_until(lambda: made(app, "events") > paused, "the generator to go on", 5)
    wait_until((app.folder / "events-closed").exists, "the generator's close", 5)


def test_a_paused_stream_holds_up_no_other(app):
    with Raw(app.gateway_address, receive_buffer=65536) as slow, Raw(app.gateway_address) as fast:
        slow.request("/?count=held")
        read(slow, MIB)
        standstill(app, "held")
        fast.request("/?count=fast")
        read(fast, 64 * MIB)


def test_a_function_killed_while_its_reader_pauses(app):
    """What it made arrives, then the transfer is visibly broken; the wait was the reader's."""
    with Raw(app.gateway_address, receive_buffer=65536) as raw:
        raw.request("/?count=killed")
        raw.head()
        read(raw, MIB)
        made_before = standstill(app, "killed")
        for pid in tree(app.process.pid)[2:]:
            os.kill(pid, signal.SIGKILL)
        time.sleep(1.5)  # longer than an ended process is waited for
        got = MIB
        while data := raw.sock.recv(MIB):
            got += len(data)
            tail = data[-16:]
    assert not tail.endswith(b"\r\n0\r\n\r\n")
    assert got > made_before - 2 * 65536  # frames beside the payload; the last chunk may be cut
    line = app.wait_for(event="request", path="/?count=killed")
    assert (line["ending"], line["ok"]) == ("crashed", False)


def test_a_function_that_gives_up_while_its_reader_pauses(tmp_path):
    """By an alarm of its own, raised within a send: the transfer is visibly broken, and soon."""
    source = """
        import signal

        def give_up(number, frame):
            raise TimeoutError("given up")

        signal.signal(signal.SIGALRM, give_up)

        def chunks():
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            while True:
                yield "x" * 65536

        def lambda_handler(event, context):
            return {"statusCode": 200, "body": chunks() if event["path"] == "/chunks" else "next"}
        """
    with Platform(tmp_path, {"app": source}) as running:
        with Raw(running.gateway_address, receive_buffer=65536) as raw:
            raw.request("/chunks")
            wait_until(
                lambda: any("given up" in line["message"] for line in running.find(event="log")), "its end"
            )
            assert raw.response().ending in ("broken", "reset")
        line = running.wait_for(event="request", path="/chunks")
        assert line["ok"] is False
        with Raw(running.gateway_address) as raw:
            assert raw.get("/").body == b"next"


def test_the_idle_clock_stands_still_while_the_reader_pauses(tmp_path):
    with Platform(tmp_path, {"app": COUNTED}, "--idle-timeout", "0.4") as running:
        with Raw(running.gateway_address, receive_buffer=65536) as raw:
            raw.request("/?count=idle")
            read(raw, MIB)
            paused = standstill(running, "idle")
            time.sleep(1)
            read(raw, 32 * MIB)
            wait_until(lambda: made(running, "idle") > paused, "the generator to go on", 5)
        assert running.wait_for(event="request")["ending"] == "client left"


def test_a_reader_that_leaves_while_it_pauses(app):
    left_and_paused(app, "left")
    wait_until((app.folder / "left-closed").exists, "the generator's close", 5)
    assert app.wait_for(event="request", path="/?count=left")["ending"] == "client left"


def test_a_function_that_is_to_finish_runs_on_without_a_reader(tmp_path):
    with Platform(tmp_path, {"app": COUNTED}, "--on-disconnect", "finish") as running:
        left_and_paused(running, "finish")
        wait_until((tmp_path / "finish-closed").exists, "the function's end")
        assert made(running, "finish") == 2 * GIB
        line = running.wait_for(event="request")
        assert "client left" in line["ending"]
        assert "finished" in line["ending"]
        assert max(peak for _, peak in memory(running.process.pid).values()) < PEAK_KIB


@pytest.mark.parametrize("seconds", [4, pytest.param(30, marks=pytest.mark.slow)])
def test_a_reader_of_1_mb_a_second_grows_no_process(export, seconds):
    with Raw(export.gateway_address, receive_buffer=65536) as raw:
        raw.request("/")
        read(raw, MIB)
        wait_until(lambda: len(memory(export.process.pid)) >= 3, "service, spawner and an environment")
        begin = time.monotonic()
        first = {}
        samples = 0
        while (elapsed := time.monotonic() - begin) < seconds:
            read(raw, 100_000)
            samples += 1
            time.sleep(max(0.0, begin + samples * 0.1 - time.monotonic()))
            if not first and elapsed > 1:
                first = memory(export.process.pid)
        last = memory(export.process.pid)
    assert len(first.keys() & last.keys()) >= 3
    for pid in first.keys() & last.keys():
        assert last[pid][0] - first[pid][0] < GROWTH_KIB
    assert max(peak for _, peak in last.values()) < PEAK_KIB


def test_a_fast_reader_gets_all_2_gib(export):
    with Raw(export.gateway_address) as raw:
        raw.request("/", version="1.0")
        assert raw.head().status == 200
        got = len(raw.buffer) + read(raw, 2 * GIB - len(raw.buffer))
        sizes = memory(export.process.pid)
        assert raw.sock.recv(1) == b""
    assert got == 2 * GIB
    assert len(sizes) >= 3
    assert max(peak for _, peak in sizes.values()) < PEAK_KIB


def test_many_fast_readers_grow_no_process(export):
    """One after the other, so that memory kept by mistake would add up."""
    before = {}
    for turn in range(6):
        with Raw(export.gateway_address) as raw:
            raw.request("/?bytes=100000000", version="1.0")
            raw.head()
            read(raw, 100_000_000 - len(raw.buffer))
        if turn == 1:
            before = memory(export.process.pid)
    after = memory(export.process.pid)
    service = export.process.pid
    assert after[service][0] - before[service][0] < GROWTH_KIB
    assert max(peak for _, peak in after.values()) < PEAK_KIB
