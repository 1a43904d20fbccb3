"""The platform is stopped, or something of it is killed: streams end as promised, and no process stays."""

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Iterator

import pytest

from gateway_client import Caller, call, pid
from platform_process import Platform, wait_until

STREAMS = """
    import os, time

    def lambda_handler(event, context):
        what = event["path"].strip("/")
        if what == "pid":
            return str(os.getpid())
        if what == "silent":
            time.sleep(60)
        if what == "short":
            return stream(20)
        if what == "long":
            return stream(10_000)
        if what == "fast":
            return (b"x" * 65536 for _ in range(100_000))

    def stream(count):
        for number in range(count):
            yield f"{number}\\n"
            time.sleep(0.05)
"""

# Every process it makes bears a mark: in its name (which forks inherit) or in its arguments.
LITTER = """
    import os, signal, subprocess, sys, time

    MARK = os.environ["MARK"]
    open("/proc/self/comm", "w").write(MARK)

    def lambda_handler(event, context):
        litter()
        def gen():
            yield "ready"
            time.sleep(600)
        return gen()

    def litter():
        fork(lambda: time.sleep(600))
        fork(lambda: fork(lambda: time.sleep(600)))
        fork(daemon)
        fork(spin)
        fork(deaf)
        fork(closed)
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", MARK], start_new_session=True)

    def fork(action):
        if os.fork() == 0:
            action()
            os._exit(0)

    def daemon():
        os.setsid()
        if os.fork():
            os._exit(0)
        for number in signal.Signals:
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(number, signal.SIG_IGN)
        os.closerange(0, 1024)
        os.chdir("/")
        if os.fork() == 0:
            os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)", MARK])
        time.sleep(600)

    def spin():
        while True:
            pass

    def deaf():
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        time.sleep(600)

    def closed():
        os.closerange(0, 1024)
        time.sleep(600)
"""

LITTERED = 9  # processes, the environment among them


@pytest.fixture
def mark() -> str:
    return "pen" + uuid.uuid4().hex[:10]


@pytest.fixture
def streams(tmp_path) -> Iterator[Platform]:
    with Platform(tmp_path, {"streams": STREAMS}, "--drain", "3") as platform:
        yield platform


def test_a_stream_may_end_while_the_service_drains(streams):
    caller = Caller(streams, "/short")
    assert caller.read()
    streams.process.send_signal(signal.SIGTERM)
    answer = caller.finish()
    assert (answer.status, answer.broken) == (200, False)
    assert answer.text.endswith("18\n19\n")
    assert answer.ending == "done"
    assert streams.process.wait(10) == 0


def test_a_stream_beyond_the_drain_is_broken_and_a_call_without_a_byte_is_a_503(tmp_path):
    with Platform(tmp_path, {"streams": STREAMS}, "--drain", "0.5") as platform:
        stream, silent, fast = (Caller(platform, path) for path in ("/long", "/silent", "/fast"))
        assert stream.read()
        assert fast.read()  # and then holds its function back
        process = pid(platform)
        began = time.monotonic()
        platform.process.send_signal(signal.SIGTERM)
        answer = silent.finish()
        assert (answer.status, answer.body) == (503, b'{"message": "Service Unavailable"}')
        assert answer.ending == "service stopped"
        answer = stream.finish()
        assert answer.broken
        assert answer.ending == "service stopped"
        assert fast.finish().broken
        assert platform.process.wait(10) == 0
        assert time.monotonic() - began < 10
        assert not os.path.exists(f"/proc/{process}")


def test_a_second_signal_stops_at_once(streams):
    caller = Caller(streams, "/long")
    assert caller.read()
    streams.process.send_signal(signal.SIGTERM)
    streams.wait_for(event="note")
    streams.process.send_signal(signal.SIGTERM)
    answer = caller.finish()
    assert answer.broken
    assert answer.ending == "service stopped"
    assert streams.process.wait(10) == 128 + signal.SIGTERM


def test_no_call_is_taken_while_the_service_drains(streams):
    caller = Caller(streams, "/short")
    assert caller.read()
    streams.process.send_signal(signal.SIGTERM)
    streams.wait_for(event="note")
    with pytest.raises(OSError):  # noqa: PT011  refused or reset
        Caller(streams, "/pid").finish()
    assert caller.finish().ending == "done"


def test_a_call_that_waits_for_its_environment_is_served_while_the_service_drains(tmp_path):
    source = "import time\ntime.sleep(0.5)\ndef lambda_handler(event, context): return 'served'\n"
    with Platform(tmp_path, {"starting": source}, "--drain", "3") as platform:
        caller = Caller(platform, "/")
        time.sleep(0.1)
        platform.process.send_signal(signal.SIGTERM)
        answer = caller.finish()
        assert (answer.status, answer.text, answer.ending) == (200, "served", "done")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_a_function_started_survives_the_service(tmp_path, mark, number):
    with Platform(tmp_path, {"litter": LITTER}, "--drain", "0", "--env", f"MARK={mark}") as platform:
        callers = [Caller(platform, "/") for _ in range(3)]
        for caller in callers:
            assert caller.read() == b"ready"
        wait_until(lambda: len(marked(mark)) == 3 * LITTERED, "all of the litter")
        os.kill(platform.process.pid, number)
        platform.process.wait(10)
        wait_until(lambda: not marked(mark), f"the end of {marked(mark)}", 5)
        for caller in callers:
            with contextlib.suppress(OSError):
                caller.leave()


def test_nothing_a_function_started_survives_its_environment(tmp_path, mark):
    with Platform(tmp_path, {"litter": LITTER}, "--env", f"MARK={mark}") as platform:
        first, second = Caller(platform, "/"), Caller(platform, "/")
        assert first.read() == second.read() == b"ready"
        wait_until(lambda: len(marked(mark)) == 2 * LITTERED, "all of the litter")
        first.leave()
        assert first.record()["ending"] == "client left"
        wait_until(lambda: len(marked(mark)) <= LITTERED, "the first one's to end", 5)
        time.sleep(0.1)
        assert len(marked(mark)) == LITTERED  # and the second one's live
        second.leave()
        assert second.record()["ending"] == "client left"
        wait_until(lambda: not marked(mark), "the second one's to end", 5)


def test_a_killed_spawner_takes_its_environments_along_and_is_started_again(tmp_path, mark):
    with Platform(tmp_path, {"litter": LITTER, "streams": STREAMS}, "--env", f"MARK={mark}") as platform:
        stream = Caller(platform, "/lambda-url/litter/")
        assert stream.read() == b"ready"
        wait_until(lambda: len(marked(mark)) == LITTERED, "all of the litter")
        left = set(marked(mark))
        os.kill(spawner_of(platform), signal.SIGKILL)
        answer = stream.finish()
        assert answer.broken
        assert (answer.ending, answer.detail) == ("crashed", "Runtime exited with error: signal: killed")
        # Calls are served at once, those during the restart included.
        for _ in range(3):
            answer = call(platform, "/lambda-url/litter/nothing", method="HEAD")
            assert answer.status == 200
        wait_until(lambda: not left & set(marked(mark)), f"the end of {left}", 5)
        (told,) = (event for event in platform.events if "spawner" in event.get("message", ""))
        assert "was killed" in told["message"]


def test_a_spawner_ends_when_the_service_does_and_not_before(streams):
    caller = Caller(streams, "/short")
    assert caller.read()
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(spawner_of(streams), number)
    assert not caller.finish().broken
    assert call(streams, "/short").ending == "done"


def marked(mark: str) -> list[str]:
    """The living processes that bear the mark."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat") as file:
                comm, _, rest = file.read().partition("(")[2].rpartition(")")
            with open(f"/proc/{name}/cmdline", "rb") as file:
                arguments = file.read().split(b"\0")
        except OSError:
            continue
        if rest.split()[0] != "Z" and (comm == mark or arguments[-2:-1] == [mark.encode()]):
            found.append(f"{name} {comm}")
    return found


def spawner_of(platform: Platform) -> int:
    with open(f"/proc/{platform.process.pid}/task/{platform.process.pid}/children") as file:
        (child,) = file.read().split()
    return int(child)
