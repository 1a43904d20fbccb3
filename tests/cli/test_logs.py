"""`penstock logs`, against an endpoint that answers as it is told."""

import io
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from penstock.cli.errors import UsageError
from penstock.cli.logs import _Readable, since
from penstock.cli.main import main

NOW = 1_800_000_000.0


def line(message, **members):
    members = {
        "time": "2027-01-15T08:00:00.500Z",
        "environment": "e" * 32,
        "requestId": "12345678-9abc",
        "message": message,
        **members,
    }
    return json.dumps(members).encode() + b"\n"


@pytest.fixture
def endpoint():
    """Set `endpoint.answer` to status and pieces; `endpoint.requests` says what came."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            server.requests.append(self.path)
            status, pieces = server.answer
            self.send_response(status)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in pieces:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            if server.ends:
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = True

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        server.ends = True
        server.answer = 200, [line("hello")]
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def logs(endpoint, capfd, monkeypatch):
    """Run `penstock logs app …` in this process: exit code, stdout, stderr."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()

    def logs(*arguments, function="app"):
        code = main(["logs", function, "--endpoint-url", endpoint.url, *arguments])
        return code, *capfd.readouterr()

    yield logs
    monkeypatch.undo()
    time.tzset()


def test_lines_for_reading(endpoint, logs):
    endpoint.answer = 200, [line("hello"), line("\x1b[31m ü", requestId=""), line("END", platform=True)]
    assert logs() == (
        0,
        "2027-01-15 08:00:00.500 12345678 | hello\n"
        "2027-01-15 08:00:00.500 eeeeeeee | \\x1b[31m ü\n"
        "2027-01-15 08:00:00.500 12345678 | END\n",
        "",
    )
    assert endpoint.requests == ["/_penstock/logs/app"]


def test_lines_cut_anywhere(endpoint, logs):
    data = line("one") + line("zwölf") + line("three")
    endpoint.answer = 200, [data[:5], data[5:150], data[150:151], data[151:]]
    code, out, _ = logs("--json")
    assert (code, out) == (0, data.decode())
    _, out, _ = logs()
    assert [each.partition("| ")[2] for each in out.splitlines()] == ["one", "zwölf", "three"]


def test_what_is_asked_for(endpoint, logs):
    logs("--lines", "5", "--request-id", "1a2b", "--since", "2027-01-15T08:00+00:00", "--follow")
    path, query = urlsplit(endpoint.requests[0]).path, parse_qs(urlsplit(endpoint.requests[0]).query)
    assert path == "/_penstock/logs/app"
    assert query == {"lines": ["5"], "requestId": ["1a2b"], "since": ["1800000000.000"], "follow": ["true"]}


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("app:3", "app"),
        ("arn:aws:lambda:us-east-1:000000000000:function:app:live", "app"),
        ("000000000000:function:app", "app"),
        ("../x y", "..%2Fx%20y"),
    ],
)
def test_names(endpoint, logs, given, asked):
    logs(function=given)
    assert endpoint.requests == [f"/_penstock/logs/{asked}"]


def test_missed_lines_are_told(endpoint, logs):
    endpoint.answer = 200, [b'{"missed":1}\n{"missed":1234}\n']
    assert logs()[1] == (
        "penstock: 1 line is missing here: not read as fast as they came\n"
        "penstock: 1,234 lines are missing here: not read as fast as they came\n"
    )


@pytest.mark.parametrize("data", [b"nonsense \x1b\n", b"[]\n", b"{}\n", b'{"time": 1}\n', b"\xff\n", b"1\n"])
def test_what_is_no_line_is_shown_as_it_is(endpoint, logs, data):
    endpoint.answer = 200, [data]
    code, out, _ = logs()
    assert code == 0
    assert out.encode() == data.replace(b"\x1b", b"\\x1b").replace(b"\xff", "\ufffd".encode())


def test_an_unknown_function(endpoint, logs):
    endpoint.answer = 404, [b'{"Type":"User","Message":"Function not found: ap; did you mean app?"}']
    assert logs() == (1, "", "penstock: HTTP 404: Function not found: ap; did you mean app?\n")


def test_the_service_stops_while_it_is_followed(endpoint, logs):
    code, out, err = logs("--follow", "--json")
    assert (code, out) == (1, line("hello").decode())
    assert err == f"penstock: the service at {endpoint.url} has stopped\n"


def test_the_service_dies_while_it_is_followed(endpoint, logs):
    endpoint.ends = False
    code, out, err = logs("-f", "--json")
    assert (code, out) == (1, line("hello").decode())
    assert err.startswith(f"penstock: the response from {endpoint.url} broke off: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lines", "x"], "--lines: expected a whole number, got 'x'"),
        (["--lines", "-1"], "--lines: expected a whole number, got '-1'"),
        (["--since", "x"], "--since: expected 30s, 10m, 2h, 1d or a time such as 2026-01-31T12:00, got 'x'"),
    ],
)
def test_mistakes(logs, arguments, said):
    assert logs(*arguments) == (2, "", f"penstock: {said}\n")


def test_since():
    assert since("90s", NOW) == NOW - 90
    assert since("1.5m", NOW) == NOW - 90
    assert since("2h", NOW) == NOW - 7200
    assert since("1d", NOW) == NOW - 86_400
    assert since("99999d", NOW) == 0
    assert since("2027-01-15T08:00:00Z", NOW) == NOW
    for wrong in ("", "10", "10 m", "-1h", "1w", "m", "2027-13-01"):
        with pytest.raises(UsageError):
            since(wrong, NOW)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_colours_at_a_terminal_only():
    for no_color, coloured in ((None, True), ("1", False)):
        out = Terminal()
        _Readable(out, no_color)([line("text")[:-1], line("END", platform=True)[:-1]])
        first, second = out.getvalue().splitlines()
        assert first.endswith("text")
        assert first.startswith("\x1b[2m2027-") is coloured
        assert second.endswith("\x1b[2mEND\x1b[0m" if coloured else "END")


def test_a_reader_of_stdout_that_has_left(endpoint):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "logs", "app", "--endpoint-url", endpoint.url],
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=30,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")
