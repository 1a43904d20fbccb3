"""What people and log collectors are told, to the letter."""

import contextlib
import fcntl
import io
import json
import os
import time

import pytest

from penstock.cli.output import (
    JsonLines,
    Lines,
    Listening,
    Readable,
    UnhurriedLines,
    duration,
    escape,
    size,
    startup_text,
    wants_colour,
)
from penstock.protocol.record import RequestRecord
from penstock.service.logs import LogLine

NOON = 1_700_049_600.0  # 2023-11-15 12:00 UTC
REQUEST_ID = "8f3c9a52-0b7e-4a31-9f10-5a1a2f4f8d11"

DONE = RequestRecord(
    time=NOON,
    method="GET",
    path="/?n=3",
    function="seed",
    request_id=REQUEST_ID,
    status=200,
    first_byte=0.0012,
    total=10.2345,
    chunks=1000,
    bytes=32_890,
    ending="done",
    ok=True,
)
FAILED = RequestRecord(
    time=NOON,
    method="POST",
    path="/x\x1b[2J",
    function="",
    request_id="",
    status=404,
    first_byte=None,
    total=0.0004,
    chunks=0,
    bytes=57,
    ending="no such function",
    ok=False,
    detail="call one of:\nseed",
)


@pytest.fixture
def told():
    """What a Readable, made with these options, writes of one record or line."""

    def told(item, **options):
        stream = io.StringIO()
        output = Readable(Lines(stream), local_time=time.gmtime, **options)
        (output.request if isinstance(item, RequestRecord) else output.log)(item)
        return stream.getvalue()

    return told


def test_a_request_that_ended_well(told):
    assert told(DONE) == (
        "12:00:00  GET /?n=3  → seed 8f3c9a52  200  "
        "first byte 1.2 ms  total 10.23 s  1000 chunks  32.9 kB  done\n"
    )


def test_a_request_that_did_not_has_its_detail_below(told):
    assert told(FAILED) == (
        "12:00:00  POST /x\\x1b[2J  404  total 0.4 ms  57 B  no such function\n"
        "          call one of:\\x0aseed\n"
    )


def test_colours_only_if_asked(told):
    assert "\x1b[32mdone\x1b[0m" in told(DONE, colour=True)
    assert "\x1b[31mno such function\x1b[0m" in told(FAILED, colour=True)
    assert "\x1b" not in told(DONE)


def test_what_a_function_prints_is_beside_its_request(told):
    assert told(LogLine("seed", "env-1", REQUEST_ID, "got 3\t\x1b[31mred\r")) == (
        "seed 8f3c9a52 | got 3\t\\x1b[31mred\\x0d\n"
    )
    assert told(LogLine("seed", "env-1", "", "imported")) == "seed | imported\n"


def test_the_platform_s_lines_only_if_verbose(told):
    line = LogLine("seed", "env-1", REQUEST_ID, "START RequestId: x Version: $LATEST", platform=True)
    assert told(line) == ""
    assert told(line, verbose=True) == "seed 8f3c9a52 | START RequestId: x Version: $LATEST\n"


def test_the_start_of_one_function():
    listening = Listening(
        "http://127.0.0.1:3000",
        "http://127.0.0.1:3001",
        [("seed", "examples/seed.py")],
        "/venv/bin/python",
        "us-east-1",
    )
    assert (
        startup_text(listening)
        == """\
Penstock serves

  seed  http://127.0.0.1:3000/lambda-url/seed/  from examples/seed.py

  Gateway     http://127.0.0.1:3000/
  Lambda API  http://127.0.0.1:3001
  Python      /venv/bin/python

See it stream, with curl:

curl -N http://127.0.0.1:3000/

or with boto3:

import boto3
client = boto3.client("lambda", endpoint_url="http://127.0.0.1:3001", region_name="us-east-1",
                      aws_access_key_id="any", aws_secret_access_key="any")
for event in client.invoke_with_response_stream(FunctionName="seed")["EventStream"]:
    print(event)

Ctrl-C to stop.
"""
    )


def test_settings_that_are_not_on_the_command_line_are_named():
    listening = Listening(
        "http://g", "http://l", [("seed", "seed.py")], "python", "us-east-1", [("port = 80", "PENSTOCK_PORT")]
    )
    assert "\n  Python      python\n  Settings    port = 80, from PENSTOCK_PORT\n\n" in startup_text(
        listening
    )


def test_the_start_of_several_functions_names_one_that_curl_can_reach():
    functions = [("a", "a.py"), ("long", "long.py")]
    text = startup_text(Listening("http://[::1]:1", "http://[::1]:2", functions, "python", "us-east-1"))
    assert "\n  a     http://[::1]:1/lambda-url/a/  from a.py\n" in text
    assert "\ncurl -N http://[::1]:1/lambda-url/a/\n" in text
    assert "\n  Gateway     http://[::1]:1/ (a list of the functions)\n" in text


def test_the_boto3_snippet_is_python():
    text = startup_text(Listening("http://g", "http://l", [("seed", "seed.py")], "python", "us-east-1"))
    snippet = text[text.index("import boto3") : text.index("Ctrl-C")]
    compile(snippet, "snippet", "exec")


@pytest.fixture
def logged():
    def logged(act):
        stream = io.StringIO()
        act(JsonLines(Lines(stream), clock=lambda: NOON + 0.25))
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    return logged


def test_json_of_a_start(logged):
    listening = Listening("http://g", "http://l", [("seed", "seed.py")], "python", "us-east-1")
    (line,) = logged(lambda output: output.listening(listening))
    assert line == {
        "event": "listening",
        "time": "2023-11-15T12:00:00.250Z",
        "gateway": "http://g",
        "lambda": "http://l",
        "functions": ["seed"],
        "python": "python",
        "region": "us-east-1",
    }


def test_json_of_a_request(logged):
    (line,) = logged(lambda output: output.request(DONE))
    assert line == {
        "event": "request",
        "time": "2023-11-15T12:00:00.000Z",
        "method": "GET",
        "path": "/?n=3",
        "function": "seed",
        "requestId": REQUEST_ID,
        "status": 200,
        "firstByte": 0.0012,
        "total": 10.2345,
        "chunks": 1000,
        "bytes": 32890,
        "ending": "done",
        "ok": True,
        "detail": "",
    }


def test_json_of_what_a_function_and_the_platform_print(logged):
    def act(output):
        output.log(LogLine("seed", "env-1", REQUEST_ID, "a\x1b\nb"))
        output.log(LogLine("seed", "env-1", REQUEST_ID, "END RequestId: x", platform=True))
        output.note("stopping")

    when = {"time": "2023-11-15T12:00:00.250Z"}
    of_seed = {"function": "seed", "requestId": REQUEST_ID}
    assert logged(act) == [
        {"event": "log", **when, **of_seed, "message": "a\x1b\nb"},
        {"event": "log", **when, **of_seed, "platform": True, "message": "END RequestId: x"},
        {"event": "note", **when, "message": "stopping"},
    ]


def test_a_log_that_nobody_reads_stops_nothing():
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    Readable(Lines(Gone())).request(DONE)
    JsonLines(Lines(Gone())).request(DONE)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0.0 ms"), (0.00004, "0.0 ms"), (0.0008, "0.8 ms"), (0.00994, "9.9 ms"), (0.00996, "10 ms"),
        (0.0123, "12 ms"), (0.9994, "999 ms"), (0.9996, "1.00 s"), (1.24, "1.24 s"), (59.994, "59.99 s"),
        (59.996, "1 min 0 s"), (125, "2 min 5 s"), (899.7, "15 min 0 s"),
    ],
)  # fmt: skip
def test_durations(seconds, told):
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, "0 B"), (57, "57 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"),
        (999_950, "1.0 MB"), (6_291_556, "6.3 MB"), (2**31, "2.1 GB"), (5 * 10**12, "5.0 TB"),
    ],
)  # fmt: skip
def test_sizes(count, told):
    assert size(count) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("plain", "plain"), ("grün → ☃", "grün → ☃"), ("a\tb", "a\tb"), ("\0\x07\x7f", "\\x00\\x07\\x7f"),
        ("\x9b31m", "\\x9b31m"), ("a\u202eb\u2028c", "a\\u202eb\\u2028c"),
    ],
)  # fmt: skip
def test_escaping(text, told):
    assert escape(text) == told


def test_colour_is_for_terminals_whose_user_wants_it():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert wants_colour(Terminal(), None)
    assert wants_colour(Terminal(), "")
    assert not wants_colour(Terminal(), "1")
    assert not wants_colour(io.StringIO(), None)


@pytest.fixture
def pipe():
    """Both ends of a pipe that holds 4 KiB."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    yield read, write
    for end in (read, write):
        with contextlib.suppress(OSError):
            os.close(end)


def read_until(descriptor, end):
    data = b""
    while not data.endswith(end):
        data += os.read(descriptor, 65536)
    return data.decode()


def started(write, **options):
    lines = UnhurriedLines(write, "utf-8", **options)
    lines.start(lambda text: lines.write(f"note: {text}"))
    return lines


def test_lines_leave_in_order_and_all_of_them_before_the_end(pipe):
    read, write = pipe
    lines = started(write)
    for number in range(100):
        lines.write(f"{number} é \udc80")
    lines.close(5)
    os.close(write)
    with open(read, closefd=False) as log:
        assert log.read() == "".join(f"{number} é \\udc80\n" for number in range(100))


def test_a_reader_that_stalls_holds_nobody_up_and_is_told_what_it_missed(pipe):
    read, write = pipe
    lines = started(write, limit=100_000)
    text = "x" * 1000
    began = time.monotonic()
    for number in range(1000):
        lines.write(f"{number} {text}")
    assert time.monotonic() - began < 1
    *kept, note = read_until(read, b"nobody read them\n").splitlines()
    assert kept == [f"{number} {text}" for number in range(len(kept))]
    assert 70 < len(kept) < 110
    assert note == f"note: {1000 - len(kept)} log lines were dropped: nobody read them"
    lines.write("on it goes")
    assert read_until(read, b"\n") == "on it goes\n"
    lines.close(5)


def test_many_short_lines_are_too_many_as_well(pipe):
    read, write = pipe
    lines = started(write, limit=100_000)
    for _ in range(10_000):
        lines.write("")
    assert read_until(read, b"nobody read them\n").count("\n") < 5000
    lines.close(5)


def test_the_end_does_not_wait_for_a_reader_that_stalls(pipe):
    _, write = pipe
    lines = started(write)
    lines.write("x" * 100_000)
    began = time.monotonic()
    lines.close(0.1)
    assert 0.1 <= time.monotonic() - began < 1


def test_a_pipe_without_a_reader_is_left_alone(pipe):
    read, write = pipe
    os.close(read)
    lines = started(write)
    for _ in range(3):
        lines.write("x" * 10_000)
        time.sleep(0.01)
    began = time.monotonic()
    lines.close(5)
    assert time.monotonic() - began < 1


def test_a_pipe_that_another_made_non_blocking(pipe):
    read, write = pipe
    os.set_blocking(write, False)
    lines = started(write)
    lines.write("x" * 100_000)
    assert len(read_until(read, b"\n")) == 100_001
    lines.close(5)
