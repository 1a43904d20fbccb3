"""When the client leaves, the function is stopped: closed, interrupted, or killed when it will not listen.

A generator that meets its end at a `yield`, and an async one, leave the environment in use. One that was
interrupted elsewhere has its `finally` blocks run and is replaced, as is one that had to be killed.
"""

import http.client
import os
import random
import signal
import time
from collections.abc import Iterator

import pytest

from gateway_client import Caller, log_of, pid
from platform_process import Platform, wait_until

GRACE = 1.0

LEAVING = """
    import asyncio, contextlib, hashlib, os, queue, re, signal, socket, subprocess, sys, threading, time

    import penstock

    def lambda_handler(event, context):
        return globals()[event["path"].strip("/")]()

    def pid():
        return str(os.getpid())

    def stream(wait):
        def gen():
            try:
                yield "first"
                wait()
                yield "second"
                time.sleep(60)
            except BaseException as error:
                print("saw", type(error).__name__)
                raise
            finally:
                print("cleaned up")
        return gen()

    # At a yield.

    def yields():
        def gen():
            try:
                while True:
                    yield "x"
                    time.sleep(0.01)
            except GeneratorExit:
                print("saw GeneratorExit")
                raise
            finally:
                print("cleaned up")
        return gen()

    def full_speed():
        def gen():
            try:
                while True:
                    yield b"x" * 65536
            finally:
                print("cleaned up")
        return gen()

    def slow_clean_up():
        def gen():
            try:
                while True:
                    yield "x"
            finally:
                time.sleep(0.3)
                print("cleaned up", end="")
        return gen()

    def endless_clean_up():
        def gen():
            try:
                while True:
                    yield "x"
            finally:
                time.sleep(60)
        return gen()

    def yields_after_the_end():
        def gen():
            while True:
                try:
                    yield "x"
                except GeneratorExit:
                    yield "more"
        return gen()

    def swallows_the_end():
        def gen():
            try:
                while True:
                    yield "x"
            except GeneratorExit:
                print("cleaned up")
        return gen()

    def swallows_all_at_yields():
        def gen():
            while True:
                try:
                    yield "x"
                except BaseException:
                    pass
        return gen()

    def a_file():
        class File:
            def read(self, size):
                return b"x" * size

            def close(self):
                print("cleaned up")
        return {"statusCode": 200, "body": File()}

    # Blocked.

    def sleeps():
        return stream(lambda: time.sleep(60))

    def sleeps_before_the_first_byte():
        print("started")
        try:
            time.sleep(60)
        except penstock.Cancelled:
            print("saw Cancelled")
            raise
        finally:
            print("cleaned up")

    def waits_for_a_queue():
        return stream(lambda: queue.Queue().get())

    def waits_for_a_thread():
        thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)
        thread.start()
        return stream(thread.join)

    def waits_for_a_process():
        return stream(lambda: subprocess.run(["sleep", "60"]))

    def receives():
        ours, theirs = socket.socketpair()
        return stream(lambda: ours.recv(1) + theirs.recv(1))

    def computes():
        def loop():
            while True:
                pass
        return stream(loop)

    def hashes():
        data = bytes(64_000_000)

        def loop():
            while True:
                hashlib.sha256(data).digest()
        return stream(loop)

    def backtracks():
        return stream(lambda: re.match("(a+)+$", "a" * 40 + "b"))

    def sums():
        return stream(lambda: sum(range(20_000_000)))

    def sums_for_long():
        return stream(lambda: sum(range(10**9)))

    def catches_exception():
        def wait():
            with contextlib.suppress(Exception):
                time.sleep(60)
        return stream(wait)

    def runs_an_event_loop():
        return stream(lambda: asyncio.run(asyncio.sleep(60)))

    def translates():
        def wait():
            try:
                time.sleep(60)
            except BaseException:
                raise RuntimeError("translated") from None
        return stream(wait)

    def swallows_once():
        def wait():
            try:
                time.sleep(60)
            except BaseException:
                print("swallowed")
        return stream(wait)

    def swallows_all():
        def wait():
            while True:
                try:
                    time.sleep(60)
                except BaseException:
                    print("swallowed")
        return stream(wait)

    def resets_the_signal():
        def wait():
            signal.signal(signal.SIGURG, signal.SIG_DFL)
            time.sleep(60)
        return stream(wait)

    def blocks_all_signals():
        def wait():
            signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
            time.sleep(60)
        return stream(wait)

    def exits_when_cancelled():
        def wait():
            try:
                time.sleep(60)
            finally:
                sys.exit(9)
        return stream(wait)

    # Asynchronous.

    def async_stream(wait):
        async def gen():
            try:
                yield "first"
                await wait()
                yield "second"
                await asyncio.sleep(60)
            except BaseException as error:
                print("saw", type(error).__name__)
                raise
            finally:
                await asyncio.sleep(0.1)
                print("cleaned up")
        return gen()

    def async_sleeps():
        return async_stream(lambda: asyncio.sleep(60))

    def async_yields():
        async def gen():
            try:
                while True:
                    yield "x"
                    await asyncio.sleep(0.01)
            finally:
                await asyncio.sleep(0.01)
                print("cleaned up")
        return gen()

    def async_slow_clean_up():
        async def gen():
            try:
                while True:
                    yield "x"
                    await asyncio.sleep(0.001)
            finally:
                await asyncio.sleep(0.3)  # the signal comes meanwhile
                print("cleaned up")
        return gen()

    def async_full_speed():
        async def gen():
            try:
                while True:
                    yield b"x" * 65536
            finally:
                await asyncio.sleep(0.01)
                print("cleaned up")
        return gen()

    async def async_handler_sleeps():
        print("started")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("saw CancelledError")
            raise
        finally:
            await asyncio.sleep(0.01)
            print("cleaned up")

    def async_blocks():
        async def wait():
            time.sleep(60)
        return async_stream(wait)

    def async_swallows_once():
        async def wait():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            print("swallowed")
        return async_stream(wait)

    def async_swallows_all():
        async def wait():
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)
        return async_stream(wait)
"""


@pytest.fixture(scope="module")
def leaving(tmp_path_factory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("leaving")
    with Platform(folder, {"leaving": LEAVING}, "--cancel-grace", str(GRACE)) as platform:
        yield platform


CLOSED = "the generator was closed"
INTERRUPTED = "the function was interrupted"
KILLED = "the function was killed"

# What is said of a generator that goes on, at its close and when it is thrown away.
IGNORED = [
    "[ERROR] RuntimeError: generator ignored GeneratorExit",
    "RuntimeError: generator ignored GeneratorExit",
]

# case → how it let go, and what it printed
CASES = {
    "yields": (CLOSED, ["saw GeneratorExit", "cleaned up"]),
    "full_speed": (CLOSED, ["cleaned up"]),
    "slow_clean_up": (CLOSED, ["cleaned up"]),
    "endless_clean_up": (KILLED, []),
    "yields_after_the_end": (CLOSED, IGNORED[:1]),
    "swallows_the_end": (CLOSED, ["cleaned up"]),
    "swallows_all_at_yields": (CLOSED, IGNORED),
    "a_file": (CLOSED, ["cleaned up"]),
    "sleeps": (INTERRUPTED, ["saw Cancelled", "cleaned up"]),
    "sleeps_before_the_first_byte": (INTERRUPTED, ["started", "saw Cancelled", "cleaned up"]),
    "waits_for_a_queue": (INTERRUPTED, ["saw Cancelled", "cleaned up"]),
    "waits_for_a_thread": (INTERRUPTED, ["saw Cancelled", "cleaned up"]),
    "waits_for_a_process": (INTERRUPTED, ["saw Cancelled", "cleaned up"]),
    "receives": (INTERRUPTED, ["saw Cancelled", "cleaned up"]),
    "computes": (INTERRUPTED, ["saw Cancelled", "cleaned up"]),
    "hashes": (INTERRUPTED, ["saw Cancelled", "cleaned up"]),
    "backtracks": (INTERRUPTED, ["saw Cancelled", "cleaned up"]),
    "sums": (INTERRUPTED, ["saw Cancelled", "cleaned up"]),
    "sums_for_long": (KILLED, []),
    "catches_exception": (INTERRUPTED, ["saw Cancelled", "cleaned up"]),
    "runs_an_event_loop": (INTERRUPTED, ["saw Cancelled", "cleaned up"]),
    "translates": (INTERRUPTED, ["saw RuntimeError", "cleaned up"]),
    "swallows_once": (INTERRUPTED, ["swallowed", "saw GeneratorExit", "cleaned up"]),
    "swallows_all": (KILLED, ["swallowed"]),
    "resets_the_signal": (KILLED, []),
    "blocks_all_signals": (KILLED, []),
    "exits_when_cancelled": (INTERRUPTED, ["saw SystemExit", "cleaned up"]),
    "async_sleeps": (CLOSED, ["saw CancelledError", "cleaned up"]),
    "async_yields": (CLOSED, ["cleaned up"]),
    "async_slow_clean_up": (CLOSED, ["cleaned up"]),
    "async_full_speed": (CLOSED, ["cleaned up"]),
    "async_handler_sleeps": (CLOSED, ["started", "saw CancelledError", "cleaned up"]),
    "async_blocks": (KILLED, []),
    "async_swallows_once": (CLOSED, ["swallowed", "saw GeneratorExit", "cleaned up"]),
    "async_swallows_all": (KILLED, []),
}


@pytest.mark.parametrize("case", CASES)
def test_the_function_is_stopped_when_its_client_leaves(leaving, case):
    how, printed = CASES[case]
    before = pid(leaving)
    starts = len(leaving.find(message="started"))
    caller = Caller(leaving, f"/{case}")
    if "started" in printed:
        wait_until(lambda: len(leaving.find(message="started")) > starts, "the handler to be called")
    else:
        assert caller.read()
    left = time.monotonic()
    caller.leave()
    record = caller.record()
    took = time.monotonic() - left
    assert took < (GRACE + 2 if how is KILLED else 2)
    assert (record["ending"], record["ok"]) == ("client left", False)
    assert record["detail"].startswith(how)
    traces = (" ", "Traceback", "Exception ignored in")
    assert [line for line in log_of(leaving, record) if not line.startswith(traces)] == printed
    after = pid(leaving)
    assert (after == before) is (how is CLOSED)


def test_the_function_is_stopped_when_a_streaming_boto3_caller_leaves(leaving):
    client = leaving.client()
    payload = b'{"path": "yields"}'
    response = client.invoke_with_response_stream(FunctionName="leaving", Payload=payload)
    assert next(iter(response["EventStream"]))
    response["EventStream"].close()
    client.close()
    request_id = response["ResponseMetadata"]["RequestId"]
    leaving.wait_for(event="log", requestId=request_id, message="cleaned up")


def test_leaving_at_any_moment_stops_that_function_and_no_other(leaving):
    choice = random.Random(1)
    steady = Caller(leaving, "/yields")
    assert steady.read()
    paths = ("/yields", "/sleeps", "/async_sleeps", "/full_speed", "/async_yields", "/pid")
    for _ in range(60):
        caller = Caller(leaving, choice.choice(paths))
        time.sleep(choice.random() * 0.02)
        caller.leave()
        record = caller.record()
        assert record["ending"] in ("client left", "done"), record
    assert steady.read()
    steady.leave()
    assert steady.record()["ending"] == "client left"
    assert pid(leaving)


def test_a_signal_is_ignored_while_the_client_is_there(leaving):
    process = pid(leaving)
    caller = Caller(leaving, "/yields")
    assert caller.read()
    for _ in range(20):
        os.kill(process, signal.SIGURG)
        assert caller.read()
    caller.leave()
    record = caller.record()
    assert record["detail"].startswith(CLOSED)
    assert pid(leaving) == process


def test_on_disconnect_finish_lets_the_function_run_on(tmp_path):
    source = """
        import os, time
        def lambda_handler(event, context):
            def gen():
                for number in range(20):
                    yield "x" * 100_000
                    time.sleep(0.01)
                print("finished")
            return gen() if event["path"] == "/" else str(os.getpid())
    """
    with Platform(tmp_path, {"finishing": source}, "--on-disconnect", "finish") as platform:
        before = pid(platform)
        caller = Caller(platform, "/")
        assert caller.read()
        caller.leave()
        record = caller.record()
        assert record["ending"] == "client left, the function finished"
        assert log_of(platform, record) == ["finished"]
        assert pid(platform) == before


def test_a_client_that_only_stops_sending_counts_as_gone(leaving):
    connection = http.client.HTTPConnection(*leaving.gateway_address, timeout=20)
    connection.request("GET", "/yields?half-closed")
    response = connection.getresponse()
    assert response.read1()
    connection.sock.shutdown(1)
    record = leaving.wait_for(event="request", path="/yields?half-closed")
    assert record["ending"] == "client left"
    response.close()
    connection.close()
