"""Functions that meddle with the process they run in: the response ends, and the platform goes on."""

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from gateway_client import Caller, call, log_of, pid
from platform_process import Platform, alive, wait_until

MEDDLING = """
    import atexit, logging, os, signal, subprocess, sys, threading, time

    def lambda_handler(event, context):
        return globals()[event["path"].strip("/")]()

    def answer(body):
        return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": body}

    def pid():
        return answer(str(os.getpid()))

    def stream():
        yield "one"
        yield "two"

    # Output.

    def prints_a_gigantic_line():
        print("x" * 5_000_000)
        return answer("ok")

    def prints_without_a_newline():
        print("no end", end="")
        return answer("ok")

    def prints_more_than_a_pipe_holds():
        def gen():
            yield "one"
            for number in range(20_000):
                print("line", number)
            yield "two"
        return answer(gen())

    def prints_invalid_utf8():
        os.write(1, b"before \\xff\\xfe after\\n")
        return answer("ok")

    def prints_surrogates():
        print("half \\ud83d")
        return answer("ok")

    def prints_to_stderr():
        print("to stderr", file=sys.stderr)
        os.write(2, b"raw\\n")
        return answer("ok")

    def prints_control_characters():
        print("a\\rb\\x1b[31mc\\0d")
        return answer("ok")

    def logs():
        logging.getLogger().warning("careful")
        return answer("ok")

    def stdout_is_none():
        sys.stdout = None
        raise ValueError("no luck")

    def stdout_is_closed():
        sys.stdout.close()
        sys.stderr.close()
        raise ValueError("no luck")

    def stdout_is_something_else():
        sys.stdout = object()
        raise ValueError("no luck")

    def descriptor_1_is_closed():
        os.close(1)
        os.close(2)
        raise ValueError("no luck")

    # Processes and threads.

    def a_child_keeps_stdout_open():
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        return answer(str(child))

    def a_child_keeps_stdout_open_and_we_exit():
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        def gen():
            yield str(child)
            os._exit(6)
        return answer(gen())

    def a_detached_child_and_we_exit():
        read, write = os.pipe()
        if os.fork() == 0:
            os.setsid()
            child = os.fork()
            if child:
                os.write(write, str(child).encode())
                os._exit(0)
            time.sleep(60)
        child = os.read(read, 100).decode()
        def gen():
            yield child
            os._exit(6)
        return answer(gen())

    def a_child_returns():
        child = os.fork()
        return answer("child" if child == 0 else "parent")

    def a_child_streams():
        os.fork()
        def gen():
            yield str(os.getpid())
        return answer(gen())

    def a_child_forked_while_streaming():
        def gen():
            yield "one"
            if os.fork() == 0:
                yield "child"
            yield "two"
        return answer(gen())

    def a_child_raises():
        if os.fork() == 0:
            raise ValueError("in the child")
        return answer("parent")

    def a_child_exits():
        if os.fork() == 0:
            sys.exit(3)
        return answer("parent")

    def a_subprocess():
        return answer(subprocess.run(["echo", "hello"], capture_output=True, text=True).stdout)

    def a_subprocess_stays():
        child = subprocess.Popen(["sleep", "60"])
        child.returncode = 0  # no warning that it still runs
        return answer(str(child.pid))

    def a_thread_stays():
        def work():
            while True:
                time.sleep(0.01)
        threading.Thread(target=work).start()
        return answer(stream())

    def a_thread_prints_later():
        def work():
            time.sleep(0.2)
            print("from the thread")
        threading.Thread(target=work).start()
        return answer("ok")

    def a_thread_raises():
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        return answer("ok")

    # The process itself.

    def changes_folder_and_mask():
        os.chdir("/")
        os.umask(0o777)
        return answer(stream())

    def takes_signals():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGALRM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)
        return answer(stream())

    def an_alarm_rings():
        signal.signal(signal.SIGALRM, lambda *args: print("ding"))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        def gen():
            yield "one"
            time.sleep(0.2)
            yield "two"
        return answer(gen())

    def clears_the_environment():
        os.environ.clear()
        return answer(stream())

    def registers_atexit():
        atexit.register(lambda: os.write(1, b"at exit\\n"))
        sys.exit(0)

    def raises_in_del():
        class Broken:
            def __del__(self):
                raise ValueError("in __del__")
        Broken()
        return answer("ok")
"""


@pytest.fixture(scope="module")
def meddling(tmp_path_factory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("meddling"), {"meddling": MEDDLING}) as platform:
        yield platform


# case → body, and what it printed
HARMLESS = {
    "prints_without_a_newline": ("ok", ["no end"]),
    "prints_invalid_utf8": ("ok", ["before \ufffd\ufffd after"]),
    "prints_surrogates": ("ok", ["half \\ud83d"]),
    "prints_to_stderr": ("ok", ["to stderr", "raw"]),
    "prints_control_characters": ("ok", ["a\rb\x1b[31mc\0d"]),
    "prints_more_than_a_pipe_holds": ("onetwo", [f"line {number}" for number in range(20_000)]),
    "a_subprocess": ("hello\n", []),
    "a_thread_stays": ("onetwo", []),
    "takes_signals": ("onetwo", []),
    "an_alarm_rings": ("onetwo", ["ding"]),
    "changes_folder_and_mask": ("onetwo", []),
    "clears_the_environment": ("onetwo", []),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_the_response_is_whole_and_the_environment_stays(meddling, case):
    body, printed = HARMLESS[case]
    before = pid(meddling)
    answer = call(meddling, f"/{case}")
    assert (answer.status, answer.broken, answer.text) == (200, False, body)
    assert answer.ending == "done"
    assert log_of(meddling, answer.record) == printed
    assert pid(meddling) == before


def test_a_gigantic_line_is_cut_into_pieces(meddling):
    answer = call(meddling, "/prints_a_gigantic_line")
    assert answer.text == "ok"
    log = log_of(meddling, answer.record)
    assert "".join(log) == "x" * 5_000_000
    assert max(map(len, log)) < 512 * 1024


def test_logging_has_amazons_format(meddling):
    answer = call(meddling, "/logs")
    (line,) = log_of(meddling, answer.record)
    level, when, request_id, message = line.split("\t")
    assert (level, request_id, message) == ("[WARNING]", answer.record["requestId"], "careful")
    assert when.endswith("Z")


@pytest.mark.parametrize(
    "case", ["stdout_is_none", "stdout_is_closed", "stdout_is_something_else", "descriptor_1_is_closed"]
)
def test_a_function_without_output_still_has_its_error_reported(meddling, case):
    answer = call(meddling, f"/{case}")
    assert answer.status == 502
    assert (answer.ending, answer.detail) == ("function error", "ValueError: no luck")
    assert call(meddling, "/a_subprocess").text == "hello\n"
    call(meddling, "/registers_atexit")  # a fresh one for the next test


@pytest.mark.parametrize("case", ["a_child_keeps_stdout_open", "a_subprocess_stays"])
def test_a_child_that_stays_does_not_hold_the_response_back(meddling, case):
    before = pid(meddling)
    answer = call(meddling, f"/{case}")
    assert answer.record["total"] < 10
    assert alive(int(answer.text))
    assert pid(meddling) == before
    call(meddling, "/registers_atexit")
    wait_until(lambda: not alive(int(answer.text)), "the child to end with its environment")


@pytest.mark.parametrize("case", ["a_child_keeps_stdout_open_and_we_exit", "a_detached_child_and_we_exit"])
def test_a_crash_is_told_at_once_and_children_end_with_the_environment(meddling, case):
    answer = call(meddling, f"/{case}")
    assert answer.broken
    assert answer.detail == "Runtime exited with error: exit status 6"
    assert answer.record["total"] < 1  # not after the time an open connection is waited for
    wait_until(lambda: not alive(int(answer.text)), "the child to end with its environment")


def test_a_fork_that_returns_from_the_handler_answers_nothing(meddling):
    for case, body in (
        ("a_child_returns", "parent"),
        ("a_child_raises", "parent"),
        ("a_child_exits", "parent"),
    ):
        before = pid(meddling)
        answer = call(meddling, f"/{case}")
        assert (answer.status, answer.text, answer.ending) == (200, body, "done")
        assert pid(meddling) == before


def test_a_fork_that_goes_on_streaming_writes_nothing(meddling):
    before = pid(meddling)
    answer = call(meddling, "/a_child_streams")
    assert (answer.text, answer.ending) == (str(before), "done")
    answer = call(meddling, "/a_child_forked_while_streaming")
    assert (answer.text, answer.ending) == ("onetwo", "done")
    assert pid(meddling) == before


def test_output_of_a_thread_after_the_response_is_logged(meddling):
    assert call(meddling, "/a_thread_prints_later").text == "ok"
    meddling.wait_for(event="log", message="from the thread")


def test_errors_in_threads_and_finalisers_are_logged(meddling):
    answer = call(meddling, "/a_thread_raises")
    assert "ZeroDivisionError: division by zero" in log_of(meddling, answer.record)
    answer = call(meddling, "/raises_in_del")
    assert "ValueError: in __del__" in log_of(meddling, answer.record)


def test_what_is_registered_with_atexit_runs(meddling):
    answer = call(meddling, "/registers_atexit")
    assert answer.ending == "crashed"
    assert log_of(meddling, answer.record) == ["at exit"]


def test_a_file_descriptor_of_the_function_is_not_ours(tmp_path):
    source = """
        import json, os
        def lambda_handler(event, context):
            names = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
            return {name: os.readlink(name).split(":")[0] for name in names if os.path.islink(name)}
    """
    with Platform(tmp_path, {"lister": source}) as platform:
        held = Caller(platform, "/")
        found = json.loads(held.finish().body)
        # stdin, stdout, stderr, the dial and one connection; no other function's and none of the service's
        assert sorted(found.values()) == ["/dev/null", "pipe", "pipe", "socket", "socket"]


def test_a_process_that_ended_is_not_alive():
    assert alive(os.getpid())
    with subprocess.Popen(["true"]) as ended:
        wait_until(lambda: not alive(ended.pid), "its end")  # though nobody has waited for it yet
    assert not alive(ended.pid)
