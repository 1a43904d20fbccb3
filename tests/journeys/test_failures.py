"""Every way a function can fail, and what becomes of it.

Before the first byte the client gets a 5xx, after it a transfer that is visibly broken. The log event of the
request tells each failure apart, the environment is reused or replaced, and the service goes on.
"""

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from gateway_client import Caller, call, log_of, pid
from platform_process import Platform

FAILING = """
    import asyncio, ctypes, io, os, sys, time

    def lambda_handler(event, context):
        return globals()[event["path"].strip("/")]()

    def answer(body, **more):
        return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": body, **more}

    def after_three(action):
        def gen():
            for number in range(3):
                yield f"{number}\\n"
            action()
        return answer(gen())

    def pid():
        return answer(str(os.getpid()))

    # Errors of the function: the environment stays in use.

    def fail():
        raise ValueError("no luck")

    def raises():
        fail()

    def raises_before_the_first_chunk():
        def gen():
            fail()
            yield "never"
        return answer(gen())

    def raises_after_three():
        return after_three(fail)

    def raises_in_a_raw_stream():
        def gen():
            yield b"one"
            fail()
        return gen()

    def cannot_be_serialised():
        return {"statusCode": 200, "body": {1, 2}}

    def bad_chunk():
        def gen():
            yield "0"
            yield "1"
            yield 3.14
        return answer(gen())

    def bad_first_chunk():
        return answer(iter([object()]))

    def recursion_error():
        return recursion_error()

    def recursion_error_after_three():
        return after_three(recursion_error)

    def keyboard_interrupt():
        raise KeyboardInterrupt

    def keyboard_interrupt_after_three():
        return after_three(keyboard_interrupt)

    def stop_iteration_inside():
        def gen():
            yield "0"
            next(iter(()))
        return answer(gen())

    def generator_exit():
        raise GeneratorExit("odd")

    def generator_exit_after_three():
        return after_three(generator_exit)

    class Broken(BaseException):
        def __str__(self):
            raise ValueError("no text either")

    def broken_exception():
        raise Broken

    class Falsy(Exception):
        def __len__(self):
            return 0

    def falsy_exception_after_three():
        def raise_it():
            raise Falsy("still an error")
        return after_three(raise_it)

    def line_break_in_the_type_after_three():
        def raise_it():
            raise type("Two\\r\\nLines: 1", (Exception,), {})("odd")
        return after_three(raise_it)

    def line_break_in_the_type():
        raise type("Two\\r\\nLines: 1", (Exception,), {})("odd")

    class Body:
        def __init__(self, fails_too=False):
            self.left = 3
            self.fails_too = fails_too

        def __iter__(self):
            return self

        def __next__(self):
            if not self.left:
                if self.fails_too:
                    fail()
                raise StopIteration
            self.left -= 1
            return "x"

        def close(self):
            raise OSError("close failed")

    def close_raises():
        return answer(Body())

    def close_raises_as_well():
        return answer(Body(fails_too=True))

    def finally_exits():
        def gen():
            try:
                yield "x"
                fail()
            finally:
                sys.exit(5)
        return answer(gen())

    def header_with_line_break():
        return answer(iter(["x"]), headers={"X-Odd": "a\\r\\nSet-Cookie: b"})

    def header_with_line_break_and_no_chunk():
        return answer(iter(()), headers={"X-Odd": "a\\r\\nSet-Cookie: b"})

    def status_99():
        return answer(iter(["x"]), statusCode=99)

    def status_99_buffered():
        return answer("x", statusCode=99)

    def status_of_the_wrong_type():
        return answer(iter(["x"]), statusCode=[200])

    def gigantic_head():
        return answer(iter(["x"]), headers={"X-Odd": "a" * 100_000})

    def gigantic_head_and_no_chunk():
        return answer(iter(()), headers={"X-Odd": "a" * 100_000})

    def longer_than_its_content_length():
        return answer(iter(["abc", "def"]), headers={"Content-Length": "4"})

    def shorter_than_its_content_length():
        return answer(iter(["abc", "def"]), headers={"Content-Length": "8"})

    def gigantic_message():
        raise ValueError("x" * 10_000_000)

    # The same of async functions.

    async def fail_later():
        await asyncio.sleep(0)
        fail()

    async def async_raises():
        await fail_later()

    async def async_raises_before_the_first_chunk():
        async def gen():
            await fail_later()
            yield "never"
        return answer(gen())

    def async_after_three(action):
        async def gen():
            for number in range(3):
                yield f"{number}\\n"
                await asyncio.sleep(0)
            await action()
        return answer(gen())

    def async_raises_after_three():
        return async_after_three(fail_later)

    def async_bad_chunk():
        async def gen():
            yield "0"
            yield "1"
            yield 3.14
        return answer(gen())

    def async_keyboard_interrupt_after_three():
        async def interrupt():
            raise KeyboardInterrupt
        return async_after_three(interrupt)

    def async_yields_in_finally():
        async def gen():
            try:
                yield "0"
                await fail_later()
            finally:
                yield "1"
        return answer(gen())

    async def async_cancels_itself():
        asyncio.current_task().cancel()
        await asyncio.sleep(1)

    def async_sys_exit_after_three():
        async def leave():
            sys.exit(3)
        return async_after_three(leave)

    def lines():
        def gen():
            for number in range(200):
                yield f"{number}\\n"
                time.sleep(0.001)
        return answer(gen())

    # What ends the process: the environment is replaced.

    def sys_exit():
        sys.exit(3)

    def sys_exit_after_three():
        return after_three(sys_exit)

    def sys_exit_zero():
        sys.exit()

    def sys_exit_with_text():
        sys.exit("gave up")

    def os_exit():
        os._exit(4)

    def os_exit_after_three():
        return after_three(os_exit)

    def segfault():
        ctypes.string_at(0)

    def segfault_after_three():
        return after_three(segfault)

    def aborts():
        os.abort()

    def closes_its_descriptors():
        os.closerange(0, 1024)
        return answer("lost")

    def closes_its_descriptors_after_three():
        return after_three(lambda: os.closerange(0, 1024))

    def allocate():
        block = b"x" * 200_000_000
        time.sleep(60)

    def over_memory():
        allocate()

    def over_memory_after_three():
        return after_three(allocate)

    def closes_its_descriptors_and_sleeps():
        os.closerange(0, 1024)
        time.sleep(60)

    def waits():
        def gen():
            yield str(os.getpid())
            time.sleep(60)
        return answer(gen())
"""


@pytest.fixture(scope="module")
def failing(tmp_path_factory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("failing"), {"failing": FAILING}, "--memory", "128") as platform:
        yield platform


# case → ending, and what the detail holds
ERRORS = {
    "raises": ("function error", "ValueError: no luck"),
    "raises_before_the_first_chunk": ("function error", "ValueError: no luck"),
    "cannot_be_serialised": ("function error", "Runtime.MarshalError: Unable to marshal response"),
    "bad_first_chunk": ("function error", "chunk 0 is of type object"),
    "recursion_error": ("function error", "RecursionError"),
    "keyboard_interrupt": ("function error", "KeyboardInterrupt"),
    "generator_exit": ("function error", "GeneratorExit: odd"),
    "broken_exception": ("function error", "Broken: <exception str() failed>"),
    "line_break_in_the_type": ("function error", "Two"),
    "async_raises": ("function error", "ValueError: no luck"),
    "async_raises_before_the_first_chunk": ("function error", "ValueError: no luck"),
    "async_cancels_itself": ("function error", "RuntimeError: the handler cancelled its own task"),
    "header_with_line_break": ("invalid response", "'X-Odd' holds CR, LF or NUL"),
    "header_with_line_break_and_no_chunk": ("invalid response", "'X-Odd' holds CR, LF or NUL"),
    "status_99": ("invalid response", "statusCode is 99"),
    "status_99_buffered": ("invalid response", "statusCode is 99"),
    "status_of_the_wrong_type": ("function error", "statusCode: expected an int, got list"),
    "gigantic_head": ("invalid response", "prelude"),
    "gigantic_head_and_no_chunk": ("invalid response", "prelude"),
    "gigantic_message": ("function error", "ValueError: xxx"),
}
BROKEN = {
    "raises_after_three": ("0\n1\n2\n", "function error", "ValueError: no luck"),
    "raises_in_a_raw_stream": ("one", "function error", "ValueError: no luck"),
    "bad_chunk": ("01", "function error", "chunk 2 is of type float"),
    "recursion_error_after_three": ("0\n1\n2\n", "function error", "RecursionError"),
    "keyboard_interrupt_after_three": ("0\n1\n2\n", "function error", "KeyboardInterrupt"),
    "async_raises_after_three": ("0\n1\n2\n", "function error", "ValueError: no luck"),
    "async_bad_chunk": ("01", "function error", "chunk 2 is of type float"),
    "async_keyboard_interrupt_after_three": ("0\n1\n2\n", "function error", "KeyboardInterrupt"),
    "async_yields_in_finally": ("01", "function error", "ValueError: no luck"),
    "stop_iteration_inside": ("0", "function error", "RuntimeError: generator raised StopIteration"),
    "generator_exit_after_three": ("0\n1\n2\n", "function error", "GeneratorExit: odd"),
    "falsy_exception_after_three": ("0\n1\n2\n", "function error", "Falsy: still an error"),
    "line_break_in_the_type_after_three": ("0\n1\n2\n", "function error", "Two"),
    "close_raises": ("xxx", "function error", "OSError: close failed"),
    "close_raises_as_well": ("xxx", "function error", "ValueError: no luck"),
    "shorter_than_its_content_length": ("abcdef", "broken off", "Content-Length"),
}
CRASHES = {
    "sys_exit": ("crashed", "exit status 3"),
    "sys_exit_zero": ("crashed", "Runtime exited without providing a reason"),
    "sys_exit_with_text": ("crashed", "exit status 1"),
    "os_exit": ("crashed", "exit status 4"),
    "segfault": ("crashed", "signal: segmentation fault"),
    "aborts": ("crashed", "signal: aborted"),
    "closes_its_descriptors": ("crashed", "Runtime"),
    "closes_its_descriptors_and_sleeps": ("crashed", "closed its connection to the Runtime API"),
    "over_memory": ("out of memory", "of the 128 MB"),
}
BREAKING_CRASHES = {
    "sys_exit_after_three": ("crashed", "exit status 3"),
    "async_sys_exit_after_three": ("crashed", "exit status 3"),
    "finally_exits": ("crashed", "exit status 5"),
    "os_exit_after_three": ("crashed", "exit status 4"),
    "segfault_after_three": ("crashed", "signal: segmentation fault"),
    "closes_its_descriptors_after_three": ("crashed", "Runtime"),
    "over_memory_after_three": ("out of memory", "of the 128 MB"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_before_the_first_byte_is_a_502_and_the_environment_stays(failing, case):
    ending, detail = ERRORS[case]
    before = pid(failing)
    answer = call(failing, f"/{case}")
    assert (answer.status, answer.broken) == (502, False)
    assert answer.body == b'{"message": "Internal server error"}'
    assert answer.ending == ending
    assert detail in answer.detail
    assert pid(failing) == before


@pytest.mark.parametrize("case", BROKEN)
def test_an_error_after_the_first_byte_breaks_the_transfer_and_the_environment_stays(failing, case):
    body, ending, detail = BROKEN[case]
    before = pid(failing)
    answer = call(failing, f"/{case}")
    assert (answer.status, answer.broken, answer.text) == (200, True, body)
    assert (answer.ending, answer.record["ok"]) == (ending, False)
    assert detail in answer.detail
    assert pid(failing) == before


@pytest.mark.parametrize("case", CRASHES)
def test_a_crash_before_the_first_byte_is_a_502_and_the_environment_is_replaced(failing, case):
    ending, detail = CRASHES[case]
    before = pid(failing)
    answer = call(failing, f"/{case}")
    assert (answer.status, answer.broken) == (502, False)
    assert answer.ending == ending
    assert detail in answer.detail
    assert pid(failing) != before


@pytest.mark.parametrize("case", BREAKING_CRASHES)
def test_a_crash_after_the_first_byte_breaks_the_transfer_and_the_environment_is_replaced(failing, case):
    ending, detail = BREAKING_CRASHES[case]
    before = pid(failing)
    answer = call(failing, f"/{case}")
    assert (answer.status, answer.broken) == (200, True)
    assert answer.text == ("x" if case == "finally_exits" else "0\n1\n2\n")
    assert answer.ending == ending
    assert detail in answer.detail
    assert pid(failing) != before


def test_a_process_killed_from_outside_breaks_its_own_response_only(failing):
    victim, other = Caller(failing, "/waits"), Caller(failing, "/waits")
    process, other_process = int(victim.read()), int(other.read())
    os.kill(process, signal.SIGKILL)
    answer = victim.finish()
    assert answer.broken
    assert (answer.ending, answer.detail) == ("crashed", "Runtime exited with error: signal: killed")
    os.kill(other_process, 0)
    os.kill(other_process, signal.SIGTERM)
    answer = other.finish()
    assert answer.broken
    assert answer.detail == "Runtime exited with error: signal: terminated"


def test_each_failure_is_the_same_under_load_and_touches_nobody_else(failing):
    stop = threading.Event()
    lines = "".join(f"{number}\n" for number in range(200)).encode()

    def load(path: str) -> list[bytes]:
        """What a client got that asks again and again over one connection."""
        connection = http.client.HTTPConnection(*failing.gateway_address, timeout=30)
        got = []
        while not stop.is_set():
            connection.request("GET", path)
            response = connection.getresponse()
            assert response.status == 200
            got.append(response.read())
        connection.close()
        return got

    def leave(_: int) -> str:
        caller = Caller(failing, "/waits")
        caller.read()
        caller.leave()
        return str(caller.record()["ending"])

    before = {**ERRORS, **CRASHES}
    after = {**{case: row[1:] for case, row in BROKEN.items()}, **BREAKING_CRASHES}
    with ThreadPoolExecutor(12) as loads, ThreadPoolExecutor(8) as pool:
        streams = [loads.submit(load, "/lines") for _ in range(8)]
        calls = [loads.submit(load, "/pid") for _ in range(4)]
        try:
            left = pool.map(leave, range(10))
            answers = dict(
                zip(
                    [*before, *after],
                    pool.map(partial(call, failing), map("/{}".format, [*before, *after])),
                    strict=True,
                )
            )
            assert set(left) == {"client left"}
        finally:
            stop.set()
    for case, (ending, detail) in {**before, **after}.items():
        answer = answers[case]
        assert (case, answer.status, answer.broken) == (case, 502 if case in before else 200, case in after)
        assert (case, answer.ending) == (case, ending)
        assert detail in answer.detail
    for stream in streams:
        assert set(stream.result()) == {lines}
    for each in calls:
        assert all(body.isdigit() for body in each.result())


def test_the_traceback_is_in_the_log(failing):
    answer = call(failing, "/raises_after_three")
    log = log_of(failing, answer.record)
    assert log[0] == "[ERROR] ValueError: no luck"
    assert log[-1].strip() == 'raise ValueError("no luck")'
    assert not any("penstock" in line for line in log)


def test_a_content_length_that_is_too_short_cuts_the_rest(failing):
    answer = call(failing, "/longer_than_its_content_length")
    assert (answer.status, answer.broken, answer.text) == (200, False, "abcd")
    assert "longer than its Content-Length" in answer.detail


def test_callers_of_the_lambda_api_get_the_error_document(failing):
    client = failing.client()

    def invoke(case):
        response = client.invoke(FunctionName="failing", Payload=json.dumps({"path": case}))
        assert response["FunctionError"] == "Unhandled"
        return json.loads(response["Payload"].read())

    document = invoke("raises")
    assert list(document) == ["errorMessage", "errorType", "requestId", "stackTrace"]
    assert document["errorMessage"] == "no luck"
    assert document["errorType"] == "ValueError"
    assert 'raise ValueError("no luck")' in document["stackTrace"][-1]
    assert invoke("raises_after_three")["errorType"] == "ValueError"
    assert invoke("os_exit")["errorMessage"].endswith("Error: Runtime exited with error: exit status 4")
    assert invoke("over_memory")["errorType"] == "Runtime.ExitError"


def test_callers_of_the_streaming_api_get_exactly_one_invoke_complete(failing):
    client = failing.client()

    def invoke(case):
        payload = json.dumps({"path": case})
        stream = client.invoke_with_response_stream(FunctionName="failing", Payload=payload)["EventStream"]
        *chunks, last = stream
        made = b"".join(event["PayloadChunk"]["Payload"] for event in chunks)
        return made.rpartition(b"\0")[2], last["InvokeComplete"]

    made, complete = invoke("raises_after_three")
    assert made == b"0\n1\n2\n"
    assert complete["ErrorCode"] == "Runtime.Unknown"
    assert json.loads(complete["ErrorDetails"])["errorMessage"] == "no luck"
    made, complete = invoke("raises_before_the_first_chunk")
    assert made == b""
    assert complete["ErrorCode"] == "Runtime.Unknown"
    assert json.loads(complete["ErrorDetails"])["errorType"] == "ValueError"
    made, complete = invoke("os_exit_after_three")
    assert made == b"0\n1\n2\n"
    assert complete["ErrorCode"] == "Runtime.ExitError"


# Failures of the init.

BAD_FILES = {
    "importer": "import no_such_module_anywhere\ndef lambda_handler(event, context): pass\n",
    "raiser": "raise RuntimeError('at import')\ndef lambda_handler(event, context): pass\n",
    "exiter": "import sys\ndef lambda_handler(event, context): pass\nsys.exit(7)\n",
    "os_exiter": "import os\ndef lambda_handler(event, context): pass\nos._exit(8)\n",
    "interrupted": "def lambda_handler(event, context): pass\nraise KeyboardInterrupt\n",
    "closer": "import os, time\nos.closerange(0, 1024)\ntime.sleep(60)\ndef lambda_handler(e, c): pass\n",
    "uncallable": "lambda_handler = 'text'\n",
    "vanishing": "def lambda_handler(event, context): pass\ndel lambda_handler\n",
    "hungry": "import time\nx = b'x' * 200_000_000\ntime.sleep(60)\ndef lambda_handler(e, c): pass\n",
    "slow": "import time\ntime.sleep(60)\ndef lambda_handler(event, context): pass\n",
    "good": "def lambda_handler(event, context): return 'good'\n",
}
INIT_ERRORS = {
    "importer": ("Runtime.ImportModuleError", "No module named 'no_such_module_anywhere'"),
    "raiser": ("RuntimeError", "at import"),
    "exiter": ("Runtime.ExitError", "exit status 7"),
    "os_exiter": ("Runtime.ExitError", "exit status 8"),
    "interrupted": ("KeyboardInterrupt", "KeyboardInterrupt"),
    "closer": ("Runtime.ExitError", "closed its connection to the Runtime API"),
    "uncallable": ("Runtime.HandlerNotFound", "cannot be called"),
    "vanishing": ("Runtime.HandlerNotFound", "missing on module 'vanishing'"),
    "hungry": ("Runtime.ExitError", "of the 128 MB"),
    "slow": ("Sandbox.Timedout", "--init-timeout"),
}


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("bad")
    with Platform(folder, BAD_FILES, "--memory", "128", "--init-timeout", "2") as platform:
        yield platform


@pytest.mark.parametrize("name", INIT_ERRORS)
def test_a_function_that_cannot_be_initialised_is_a_502_each_time(bad_files, name):
    error_type, detail = INIT_ERRORS[name]
    for _ in range(2):  # the second call tries anew
        answer = call(bad_files, f"/lambda-url/{name}/")
        assert (answer.status, answer.body) == (502, b"Internal Server Error")
        assert (answer.ending, answer.record["ok"]) == ("init error", False)
        assert detail in answer.detail
    response = bad_files.client().invoke(FunctionName=name)
    assert response["FunctionError"] == "Unhandled"
    assert json.loads(response["Payload"].read())["errorType"] == error_type
    assert call(bad_files, "/lambda-url/good/").text == "good"


def test_a_name_that_is_not_in_the_module_and_a_syntax_error(tmp_path):
    # Both are seen when the platform starts; a file that changes later reaches the function.
    with Platform(tmp_path, {"app": "def lambda_handler(event, context): return 1"}) as platform:
        (tmp_path / "app.py").write_text("def other(event, context): return 1\n")
        answer = call(platform, "/")
        assert answer.status == 502
        assert "Handler 'lambda_handler' missing on module 'app'" in answer.detail
        assert "found: other" in answer.detail
        (tmp_path / "app.py").write_text("def lambda_handler(event, context)\n    return 1\n")
        answer = call(platform, "/")
        assert answer.status == 502
        assert "Runtime.UserCodeSyntaxError: Syntax error in module 'app'" in answer.detail
        log = [line["message"] for line in platform.find(event="log", function="app")]
        assert any("app.py" in line and "Line 1" in line for line in log)
        (tmp_path / "app.py").write_text("def lambda_handler(event, context): return 2\n")
        assert call(platform, "/").text == "2"


# Clocks.

CLOCKS = """
    import os, time

    def lambda_handler(event, context):
        what = event["path"].strip("/")
        if what == "pid":
            return str(os.getpid())
        if what == "silent":
            time.sleep(60)
        if what == "trickles":
            return stream(0.2, 60)
        if what == "long":
            return stream(0.2, 5)
        return stream(60, 2) if what == "one" else endless()

    def stream(pause, count):
        def gen():
            for number in range(count):
                yield f"{number}\\n"
                time.sleep(pause)
        return {"statusCode": 200, "body": gen()}

    def endless():
        def gen():
            while True:
                yield b"x" * 65536
        return {"statusCode": 200, "body": gen()}
"""


@pytest.fixture(scope="module")
def timed(tmp_path_factory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("timed"), {"clocks": CLOCKS}, "--timeout", "1") as platform:
        yield platform


@pytest.fixture(scope="module")
def idle(tmp_path_factory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("idle"), {"clocks": CLOCKS}, "--idle-timeout", "0.6") as platform:
        yield platform


def test_a_timeout_before_the_first_byte_is_a_502(timed):
    before = pid(timed)
    began = time.monotonic()
    answer = call(timed, "/silent")
    assert 1 <= time.monotonic() - began < 10
    assert answer.status == 502
    assert answer.ending == "timed out"
    assert "timeout of 1 s" in answer.detail
    assert pid(timed) != before


@pytest.mark.parametrize("case", ["one", "trickles"])
def test_a_timeout_after_the_first_byte_breaks_the_transfer(timed, case):
    before = pid(timed)
    answer = call(timed, f"/{case}")
    assert answer.broken
    assert answer.text.startswith("0\n")
    assert answer.ending == "timed out"
    assert pid(timed) != before


def test_a_timed_out_function_whose_reader_has_stopped_is_ended_too(timed):
    caller = Caller(timed, "/endless")
    assert caller.read()
    record = caller.record()
    assert record["ending"] == "timed out"
    caller.leave()


def test_the_error_document_of_a_timeout_is_amazons(timed):
    response = timed.client().invoke(FunctionName="clocks", Payload=b'{"path": "silent"}')
    document = json.loads(response["Payload"].read())
    assert document["errorType"] == "Sandbox.Timedout"
    assert document["errorMessage"].endswith("Error: Task timed out after 1.00 seconds")


def test_an_idle_timeout_before_the_first_byte_is_a_504(idle):
    answer = call(idle, "/silent")
    assert answer.status == 504
    assert answer.body == b'{"message": "Endpoint request timed out"}'
    assert answer.ending == "idle timeout"
    assert "--idle-timeout" in answer.detail
    assert pid(idle)


def test_an_idle_timeout_after_the_first_byte_breaks_the_transfer(idle):
    answer = call(idle, "/one")
    assert (answer.status, answer.broken, answer.text) == (200, True, "0\n")
    assert answer.ending == "idle timeout"
    assert pid(idle)


def test_a_function_that_sends_often_enough_is_not_idle(idle):
    answer = call(idle, "/long")
    assert (answer.broken, answer.text, answer.ending) == (False, "0\n1\n2\n3\n4\n", "done")


def test_a_slow_reader_does_not_make_a_function_idle(idle):
    caller = Caller(idle, "/endless")
    assert caller.read()
    time.sleep(1.5)  # more than twice the limit; the function is held back all the while
    assert not idle.find(event="request", path=caller.path)
    assert sum(len(caller.read()) for _ in range(200)) > 1_000_000
    caller.leave()
    assert caller.record()["ending"] == "client left"
