"""`penstock dev`, `serve` and `invoke` as a person at a terminal meets them."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from journey_kit import TIMEOUT, Program, curl, needs_curl, tree
from platform_process import wait_until

PENSTOCK = [sys.executable, "-m", "penstock"]

APP = """
    import json, os, sys, time

    def lambda_handler(event, context):
        query = event.get("queryStringParameters") or {}
        do = event.get("do") or query.get("do") or "stream"
        return globals()[do]({**query, **event})

    def stream(event):
        def gen():
            print("making", "lines", "\\x1b[31m")
            for number in range(3):
                yield json.dumps({"line": number}) + "\\n"
        return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": gen()}

    def gated(event):
        def gen():
            try:
                yield "first\\n"
                while not os.path.exists(event["gate"]):
                    time.sleep(0.005)
                yield "second\\n"
            finally:
                open(event["gate"] + "-closed", "x").close()
        return {"statusCode": 201, "headers": {"X-A": "b"}, "cookies": ["c=1"], "body": gen()}

    def endless(event):
        def gen():
            while True:
                yield "tick\\n"
                time.sleep(0.01)
        return gen()

    def echo(event):
        return event

    def raises(event):
        print("last words")
        raise ValueError("as asked")

    def late(event):
        def gen():
            yield "made\\n"
            raise ValueError("as asked")
        return {"statusCode": 200, "body": gen()}

    def binary(event):
        def gen():
            yield bytes(range(256))
        return {"statusCode": 200, "body": gen()}
"""


def surroundings():
    return {name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "AWS_"))}


class Dev:
    """`penstock dev` and what it says. A context manager."""

    def __init__(self, folder: Path, *arguments: str, command: str = "dev", **options) -> None:
        self.folder = folder
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [*PENSTOCK, command, "--port", "0", "--lambda-port", "0", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=surroundings(),
            **options,
        )
        self.said = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Dev":
        self.wait_for("Ctrl-C to stop." if "dev" in self.process.args else '"listening"')
        return self

    def __exit__(self, *exc: object) -> None:
        for _ in range(2):
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGINT)
                time.sleep(0.02)
        self.end()

    def end(self) -> int:
        """Its exit code, once it has ended; it never writes to stdout, nor a traceback of ours."""
        code = self.process.wait(TIMEOUT)
        self._reader.join(TIMEOUT)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        out = b"" if self.process.stdout.closed else self.process.stdout.read()
        self.process.stdout.close()
        self.process.stderr.close()
        assert out == b""
        assert "penstock/" not in self.said.partition("Traceback")[2]
        return code

    def wait_for(self, pattern: str, seconds: float = 20) -> re.Match[str]:
        """Wait until a line it said matches."""
        try:
            return wait_until(lambda: re.search(pattern, self.said, re.M), pattern, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said:\n{self.said}") from None

    @property
    def url(self) -> str:
        return self.wait_for(r"Gateway +(\S+)")[1].rstrip("/")

    @property
    def lambda_api(self) -> str:
        return self.wait_for(r"Lambda API +(\S+)")[1]

    def _read(self) -> None:
        assert self.process.stderr is not None
        while data := os.read(self.process.stderr.fileno(), 65536):
            self.said += data.decode()


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dev")
    (folder / "app.py").write_text(textwrap.dedent(APP))
    with Dev(folder, "app.py") as running:
        yield running


def penstock(*arguments: str, cwd: Path | None = None, stdin: bytes = b"", env: dict[str, str] | None = None):
    """A command that ends by itself; it shows no traceback of ours."""
    done = subprocess.run(
        [*PENSTOCK, *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        timeout=TIMEOUT,
        env=surroundings() | (env or {}),
    )
    assert b"penstock/" not in done.stderr.partition(b"Traceback")[2]
    return done


def invoke(dev: Dev, *arguments: str, **options):
    return penstock("invoke", "app", "--endpoint-url", dev.lambda_api, *arguments, **options)


# The text at the start.


def test_the_start_takes_less_than_a_second(tmp_path):
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    took = []
    for _ in range(3):  # other work may hold the machine up
        with Dev(tmp_path, "app.py") as running:
            took.append(time.monotonic() - running.began)
        if took[-1] < 1:
            break
    assert min(took) < 1


def test_the_start_says_what_is_served_from_where(dev):
    assert re.search(rf"^  app  {dev.url}/lambda-url/app/  from app\.py:lambda_handler$", dev.said, re.M)
    assert re.search(r"^  Python +/\S+$", dev.said, re.M)
    assert "\x1b" not in dev.said  # no colours where there is no terminal


@needs_curl
def test_the_curl_line_works_as_pasted(dev):
    line = dev.wait_for(r"^curl -N .*$")[0]
    done = subprocess.run(["sh", "-c", line], capture_output=True, timeout=TIMEOUT, env=surroundings())
    assert done.returncode == 0
    assert [json.loads(each) for each in done.stdout.splitlines()] == [{"line": n} for n in range(3)]


@pytest.mark.parametrize("python", [["-"], ["-q", "-i"]], ids=["script", "prompt"])
def test_the_boto3_snippet_works_as_pasted(dev, python):
    snippet = dev.wait_for(r"(?s)^import boto3\n.*?\n\n")[0]
    done = subprocess.run(
        [sys.executable, *python],
        input=snippet,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=surroundings(),
    )
    assert done.returncode == 0
    assert "Error" not in done.stderr
    events = done.stdout.splitlines()
    assert r'\x00{"line": 0}\n' in events[0]
    assert events[-1] == "{'InvokeComplete': {}}"


@needs_curl
def test_a_function_url_line_works_as_pasted(dev):
    url = dev.wait_for(r"http://\S+/lambda-url/app/")[0]
    assert curl(url).stdout.count(b"\n") == 3


@needs_curl
def test_several_functions_each_have_a_line(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(APP))
    with Dev(tmp_path) as running:
        for name in ("one", "two"):
            url = running.wait_for(rf"^  {name}  (http://\S+)  from {name}\.py:lambda_handler$")[1]
            assert curl(url).stdout.count(b"\n") == 3
        line = running.wait_for(r"^curl -N .*$")[0]
        assert (
            subprocess.run(["sh", "-c", line], capture_output=True, timeout=TIMEOUT).stdout.count(b"\n") == 3
        )
        snippet = running.wait_for(r"(?s)^import boto3\n.*?\n\n")[0]
        done = subprocess.run(
            [sys.executable, "-"], input=snippet.encode(), capture_output=True, timeout=TIMEOUT
        )
        assert done.stdout.endswith(b"{'InvokeComplete': {}}\n")


@needs_curl
@pytest.mark.parametrize(
    "target", ["app.py", "app.py:lambda_handler", "app:lambda_handler", ".", None], ids=str
)
def test_every_form_of_a_target(tmp_path, target):
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    with Dev(tmp_path, *([target] if target else [])) as running:
        assert curl(running.url + "/").stdout.count(b"\n") == 3


# The log.


@needs_curl
def test_one_line_a_request_with_all_there_is_to_know(dev):
    curl(f"{dev.url}/a%20path?x=1")
    line = dev.wait_for(r"^.*GET /a%20path\?x=1 .*$")[0]
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d  GET /a%20path\?x=1  → app [0-9a-f]{8}  200  first byte \d+(\.\d)? ms"
        r"  total \d+(\.\d)? ms  \d chunks?  36 B  done",
        line,
    )


@needs_curl
def test_how_it_ended_and_what_to_do_about_it(dev):
    curl(f"{dev.url}/raised?do=raises")
    dev.wait_for(
        r"^.*GET /raised\?do=raises  → app [0-9a-f]{8}  502 .* function error\n +ValueError: as asked$"
    )
    curl(f"{dev.url}/late?do=late")
    dev.wait_for(
        r"^.*GET /late\?do=late  → app [0-9a-f]{8}  200 .*  5 B  function error\n +ValueError: as asked$"
    )
    curl("--max-time", "0.3", f"{dev.url}/left?do=endless")
    dev.wait_for(r"^.*GET /left\?do=endless  → app [0-9a-f]{8}  200 .*  client left")


@needs_curl
def test_what_functions_print_is_beside_it_and_harmless(dev):
    curl(f"{dev.url}/printing")
    request = dev.wait_for(r"GET /printing  → app ([0-9a-f]{8})")[1]
    dev.wait_for(rf"^app {request} \| making lines \\x1b\[31m$")
    curl("--path-as-is", f"{dev.url}/\x1b]0;title\x07")
    assert "\x1b" not in dev.said
    assert "\x07" not in dev.said


def test_serve_logs_json_and_nothing_else(tmp_path):
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    with Dev(tmp_path, "app.py", command="serve") as running:
        first = json.loads(running.said.splitlines()[0])
        assert (first["event"], first["functions"]) == ("listening", ["app"])
        curl(first["gateway"] + "/a?do=raises")
        running.wait_for('"event": "request"')
    events = [json.loads(line) for line in running.said.splitlines()]
    request = next(event for event in events if event["event"] == "request")
    assert request.keys() >= {
        "time", "method", "path", "function", "requestId", "status", "firstByte", "total", "chunks", "bytes",
        "ending", "ok", "detail",
    }  # fmt: skip
    assert any(event.get("message") == "last words" for event in events)


# Invoke.


def test_invoke_shows_a_stream_live(dev):
    arguments = [*PENSTOCK, "invoke", "app", "--payload", '{"do":"gated","gate":"live"}']
    with Program(*arguments, "--endpoint-url", dev.lambda_api, env=surroundings()) as program:
        assert program.line() == "first"
        (dev.folder / "live").touch()
        assert program.line() == "second"
        assert program.line() == ""
        assert program.end() == 0
        assert "".join(program.errors) == "status: 201\nX-A: b\nset-cookie: c=1\n\n"


def test_invoke_finds_the_lambda_api_in_the_environment(dev):
    for name in ("PENSTOCK_ENDPOINT_URL", "AWS_ENDPOINT_URL_LAMBDA"):
        done = penstock("invoke", "app", env={name: dev.lambda_api})
        assert (done.returncode, done.stdout.count(b"\n")) == (0, 3)


def test_payloads(dev, tmp_path):
    event = {"do": "echo", "text": "é😀\n"}
    text = json.dumps(event, ensure_ascii=False)
    (tmp_path / "event.json").write_text(text)
    for done in (
        invoke(dev, "--payload", text),
        invoke(dev, "--payload", "@event.json", cwd=tmp_path),
        invoke(dev, "--payload", f"@{tmp_path}/event.json"),
        invoke(dev, "--payload", "-", stdin=text.encode()),
        invoke(dev, "--payload", text, "--buffered"),
        invoke(dev, "--payload", text, "--raw"),
    ):
        assert done.returncode == 0
        assert json.loads(done.stdout) == event
        assert done.stderr == b""


def test_buffered_and_raw(dev):
    gate = dev.folder / "raw"
    gate.touch()
    asked = ["--payload", '{"do":"gated","gate":"raw"}']
    for flags in ([], ["--buffered"]):
        done = invoke(dev, *asked, *flags)
        assert done.stdout == b"first\nsecond\n"
        assert done.stderr == b"status: 201\nX-A: b\nset-cookie: c=1\n\n"
        (dev.folder / "raw-closed").unlink()
        done = invoke(dev, *asked, *flags, "--raw")
        prelude, body = done.stdout.split(b"\0" * 8)
        assert json.loads(prelude) == {"statusCode": 201, "headers": {"X-A": "b"}, "cookies": ["c=1"]}
        assert (body, done.stderr) == (b"first\nsecond\n", b"")
        (dev.folder / "raw-closed").unlink()


def test_binary_bodies(dev):
    assert invoke(dev, "--payload", '{"do":"binary"}').stdout == bytes(range(256))


@pytest.mark.parametrize("flags", [[], ["--buffered"]], ids=["streamed", "buffered"])
def test_a_function_that_fails(dev, flags):
    done = invoke(dev, "--payload", '{"do":"raises"}', "--log-type", "Tail", *flags)
    assert done.returncode == 1
    assert done.stdout == b""
    told = done.stderr.decode()
    assert re.search(r"^START RequestId: ", told, re.M)
    assert re.search(r"^last words$", told, re.M)
    assert re.search(r"^REPORT RequestId: ", told, re.M)
    assert "penstock: the function failed: " in told
    assert "as asked" in told
    assert "app.py" in told  # the function's own stack trace


def test_a_stream_that_fails_has_shown_what_was_made(dev):
    done = invoke(dev, "--payload", '{"do":"late"}')
    assert (done.returncode, done.stdout) == (1, b"made\n")
    assert b"penstock: the function failed: ValueError\n" in done.stderr


def test_ctrl_c_in_invoke_ends_the_function(dev):
    arguments = [*PENSTOCK, "invoke", "app", "--payload", '{"do":"gated","gate":"interrupted"}']
    with Program(*arguments, "--endpoint-url", dev.lambda_api, env=surroundings()) as program:
        assert program.line() == "first"
        program.process.send_signal(signal.SIGINT)
        assert program.end() == 130
        assert "Traceback" not in "".join(program.errors)
    wait_until((dev.folder / "interrupted-closed").exists, "the generator's close", 5)


def test_invoke_into_a_pipe_that_closes(dev):
    command = " ".join(
        [*PENSTOCK, "invoke", "app", "--payload", """'{"do":"endless"}'""", "--endpoint-url", dev.lambda_api]
    )
    done = subprocess.run(
        ["sh", "-c", f"{command} | head -n 2"], capture_output=True, timeout=TIMEOUT, env=surroundings()
    )
    assert (done.stdout, done.stderr) == (b"tick\ntick\n", b"")


# Bad input: one clear line each, an exit code, and what to do.


def one_line(done, *told: str, code: int = 2) -> None:
    text = done.stderr.decode()
    assert done.returncode == code, text
    assert done.stdout == b""
    assert text.startswith("penstock: ")
    assert text.count("\n") == 1, text
    for each in told:
        assert each in text


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--payload", "{"], 2, "not JSON"),
        (["--payload", ""], 2, "not JSON"),
        (["--payload", "event.json"], 2, "@file"),
        (["--payload", "@no-such-file"], 2, "no-such-file"),
        (["--payload", "@."], 2, "cannot read"),
        (["--payload", '{"a": 1} x'], 2, "not JSON"),
        (["--log-type", "All"], 2, "--log-type"),
        (["--buffred"], 2, "did you mean --buffered?"),
        (["extra"], 2, "extra"),
    ],
)
def test_bad_invocations(dev, tmp_path, arguments, code, told):
    one_line(invoke(dev, *arguments, cwd=tmp_path), told, code=code)


def test_an_unknown_function(dev):
    for flags in ([], ["--buffered"]):
        done = penstock("invoke", "nobody", "--endpoint-url", dev.lambda_api, *flags)
        one_line(done, "ResourceNotFoundException", "Function not found", code=1)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:1", 1),
        ("http://no-such-host.invalid:3001", 1),
        ("127.0.0.1:3001", 2),
        ("http://127.0.0.1:port", 2),
        ("", 2),
        ("ftp://127.0.0.1", 2),
    ],
)
def test_a_bad_endpoint(url, code):
    done = penstock("invoke", "app", "--endpoint-url", url or "http://")
    one_line(done, url, code=code)


def test_an_endpoint_that_is_something_else(dev):
    """The gateway instead of the Lambda API: an HTTP server, but not the one."""
    done = penstock("invoke", "app", "--endpoint-url", dev.url)
    assert done.returncode == 1
    assert done.stderr.startswith(b"penstock: ")
    assert done.stderr.count(b"\n") == 1


SYNTAX = "def lambda_handler(event, context)\n    return {}\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["missing.py"], "no such file"),
        (["app"], "did you mean app.py?"),
        (["app.py:nobody"], "'nobody' is not bound"),
        (["app.py:"], "after the colon"),
        (["module:handler"], "no module 'module'"),
        (["notes.txt"], "ends in .py"),
        (["syntax.py"], "syntax error"),
        (["empty"], "no handler"),
        (["unreadable.py"], "no handler"),
        (["bytes.py"], "bytes.py"),
        (["app.py", "--port", "70000"], "--port"),
        (["app.py", "--port", "-1"], "--port"),
        (["app.py", "--port", "many"], "--port"),
        (["app.py", "--timeout", "0"], "--timeout"),
        (["app.py", "--timeout", "nan"], "--timeout"),
        (["app.py", "--memory", "1"], "--memory"),
        (["app.py", "--max-environments", "0"], "--max-environments"),
        (["app.py", "--event-format", "3.0"], "--event-format"),
        (["app.py", "--on-disconnect", "panic"], "--on-disconnect"),
        (["app.py", "--python", "no-such-python"], "no-such-python"),
        (["app.py", "--env-file", "no-such-file"], "no-such-file"),
        (["app.py", "--host", "0.0.0.0"], "loopback"),
        (["app.py", "--host", "::"], "loopback"),
        (["app.py", "--prot", "1"], "did you mean --port?"),
        (["app.py", "another.py"], "another.py"),
    ],
    ids=str,
)
@pytest.mark.parametrize("command", ["dev", "serve"])
def test_bad_targets_and_flags(tmp_path, command, arguments, told):
    (tmp_path / "app.py").write_text("def lambda_handler(event, context): ...\n")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "syntax.py").write_text(SYNTAX)
    (tmp_path / "unreadable.py").write_text("x = 1\n")
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty").mkdir()
    one_line(penstock(command, *arguments, cwd=tmp_path), told)


def test_a_current_folder_that_is_gone(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    command = f"rmdir {folder}; exec {' '.join(PENSTOCK)} dev"
    done = subprocess.run(
        ["sh", "-c", command], cwd=folder, capture_output=True, timeout=TIMEOUT,
        env=surroundings() | {"PYTHONSAFEPATH": "1"},
    )  # fmt: skip
    one_line(done, "the current folder")


def test_a_command_that_is_none():
    for arguments in ([], ["develop"], ["--prot"]):
        one_line(penstock(*arguments))


@pytest.mark.parametrize("flag", ["--port", "--lambda-port"])
def test_a_port_in_use(tmp_path, flag):
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        other = "--lambda-port" if flag == "--port" else "--port"
        done = penstock("dev", "app.py", flag, port, other, "0", cwd=tmp_path)
    one_line(done, f"port {port} is in use", flag, "ss -ltnp", code=1)


def test_both_ports_the_same(tmp_path):
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    done = penstock("dev", "app.py", "--port", "3031", "--lambda-port", "3031", cwd=tmp_path)
    one_line(done, "cannot both listen on port 3031")


def test_a_python_without_what_it_takes(tmp_path):
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    for broken in ("/bin/false", "/bin/cat", "/bin/sh"):
        one_line(penstock("dev", "app.py", "--python", broken, "--port", "0", cwd=tmp_path), broken, code=1)


def test_what_is_wrong_in_the_handlers_file_is_said_when_it_is_called(tmp_path):
    (tmp_path / "app.py").write_text("import no_such_module\ndef lambda_handler(event, context): ...\n")
    with Dev(tmp_path, "app.py") as running:
        assert b"HTTP/1.1 502" in curl("--include", running.url + "/").stdout
        running.wait_for(r"GET /  → app .*502.*init error\n +Runtime\.ImportModuleError: .*no_such_module")


# Stopping.


def test_ctrl_c_when_idle(tmp_path):
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    with Dev(tmp_path, "app.py") as running:
        curl(running.url + "/")
        processes = tree(running.process.pid)
        assert len(processes) >= 3
        began = time.monotonic()
        running.process.send_signal(signal.SIGINT)
        assert running.end() == 0
        assert time.monotonic() - began < 2
        assert "stopping" not in running.said
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes), "the processes' end")


def test_ctrl_c_lets_a_stream_end(tmp_path):
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    with (
        Dev(tmp_path, "app.py") as running,
        Program("curl", "-qsN", f"{running.url}/?do=gated&gate=g") as reader,
    ):
        assert reader.line() == "first"
        running.process.send_signal(signal.SIGINT)
        running.wait_for("stopping: running responses have 5 s to end; Ctrl-C again stops at once")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((running.url.split(":")[1].strip("/"), int(running.url.split(":")[2])))
        (tmp_path / "g").touch()
        assert reader.line() == "second"
        assert reader.end() == 0
        assert running.end() == 0


def test_ctrl_c_in_a_terminal_reaches_every_process_and_streams_end_all_the_same(tmp_path):
    """A terminal signals the whole foreground group: service, spawner and functions."""
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    with (
        Dev(tmp_path, "app.py", start_new_session=True) as running,
        Program("curl", "-qsN", f"{running.url}/?do=gated&gate=g") as reader,
    ):
        assert reader.line() == "first"
        os.killpg(running.process.pid, signal.SIGINT)
        running.wait_for("stopping")
        (tmp_path / "g").touch()
        assert reader.line() == "second"
        assert reader.end() == 0
        assert running.end() == 0


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    with (
        Dev(tmp_path, "app.py") as running,
        Program("curl", "-qsN", f"{running.url}/?do=gated&gate=g") as reader,
    ):
        assert reader.line() == "first"
        processes = tree(running.process.pid)
        running.process.send_signal(signal.SIGINT)
        running.wait_for("stopping")
        began = time.monotonic()
        running.process.send_signal(signal.SIGINT)
        assert running.end() == 130
        assert time.monotonic() - began < 2
        assert reader.line() == ""
        assert reader.end() == 18  # visibly broken
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes), "the processes' end")


def test_a_stream_longer_than_the_drain_is_broken(tmp_path):
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    with (
        Dev(tmp_path, "app.py", "--drain", "0.3") as running,
        Program("curl", "-qsN", f"{running.url}/?do=gated&gate=g") as reader,
    ):
        assert reader.line() == "first"
        running.process.send_signal(signal.SIGTERM)
        assert reader.line() == ""
        assert reader.end() == 18
        assert running.end() == 0
        running.wait_for(r"GET /\?do=gated&gate=g .* service stopped")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_interpreter_starts(tmp_path, number):
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexec sleep 40\n")
    python.chmod(0o755)
    with subprocess.Popen(
        [*PENSTOCK, "dev", "app.py", "--port", "0", "--lambda-port", "0", "--python", str(python)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        env=surroundings(),
    ) as process:
        assert process.stderr is not None
        wait_until((tmp_path / "started").exists, "the interpreter's start")
        processes = tree(process.pid)
        process.send_signal(number)
        assert process.wait(5) == 128 + number
        assert process.stderr.read() == b""
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes), "the processes' end")


def test_a_limit_of_open_files_that_is_too_low(tmp_path):
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    few = (1024, 1024)
    with Dev(tmp_path, "app.py", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, few)) as dev:
        dev.wait_for("^penstock: the limit of 1,024 open files holds about 109 environments: ")


def test_help_fits_and_names_every_command():
    done = penstock("--help")
    assert done.returncode == 0
    for command in ("dev", "serve", "invoke"):
        assert command.encode() in done.stdout
        told = penstock(command, "--help").stdout.decode()
        assert max(map(len, told.splitlines())) <= 110


@needs_curl
def test_requests_are_served_when_nobody_reads_the_log_any_more(tmp_path):
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    with subprocess.Popen(
        [*PENSTOCK, "serve", "app.py", "--port", "0", "--lambda-port", "0"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        env=without_python_settings(),  # unbuffered streams would hide a failed flush at exit
    ) as process:
        try:
            assert process.stderr is not None
            gateway = json.loads(process.stderr.readline())["gateway"]
            process.stderr.close()
            for _ in range(3):
                assert curl(gateway + "/").stdout.count(b"\n") == 3
        finally:
            process.terminate()
        assert process.wait(TIMEOUT) == 0


LOUD = """
    def lambda_handler(event, context):
        if "loud" in str(event):
            for number in range(60):
                print("x" * 100_000)
        return "answered"
"""


@needs_curl
def test_requests_are_served_while_nobody_reads_the_log(tmp_path):
    (tmp_path / "app.py").write_text(textwrap.dedent(LOUD))
    with subprocess.Popen(
        [*PENSTOCK, "serve", "app.py", "--port", "0", "--lambda-port", "0"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=without_python_settings(),
    ) as process:
        assert process.stderr is not None
        gateway = json.loads(process.stderr.readline())["gateway"]
        for path in ("/loud", "/", "/loud", "/loud", "/"):
            assert curl("--max-time", "10", gateway + path).stdout == b"answered"
        # It is read again: what was kept comes, how much was not, and what happens from now on.
        events = []
        with open(process.stderr.fileno(), closefd=False) as log:
            while not events or "were dropped" not in events[-1].get("message", ""):
                events.append(json.loads(log.readline()))
            curl(gateway + "/again")
            while not events or events[-1].get("path") != "/again":
                events.append(json.loads(log.readline()))
        curl(gateway + "/loud")  # and once more, to the end
        process.terminate()
        assert process.wait(5) == 0
    (note,) = (event for event in events if event["event"] == "note")
    dropped = int(note["message"].split()[0].replace(",", ""))
    assert note["message"].endswith(" log lines were dropped: nobody read them")
    assert 0 < dropped < 180


def without_python_settings():
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.mark.parametrize("name", ["json.py", "logging.py", "types.py"])
def test_a_file_named_like_a_module_of_python_s_does_not_stand_in_for_it(tmp_path, name):
    (tmp_path / name).write_text("raise RuntimeError('imported by Penstock')")
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    with subprocess.Popen(
        [Path(sys.executable).with_name("penstock"), "serve", "app.py", "--port", "0", "--lambda-port", "0"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stderr is not None
            assert json.loads(process.stderr.readline())["event"] == "listening"
        finally:
            process.terminate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_two_signals_in_one_breath_end_it_without_a_fault(tmp_path, number):
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    with subprocess.Popen(
        [*PENSTOCK, "serve", "app.py", "--port", "0", "--lambda-port", "0"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(number)
        process.send_signal(number)
        said = process.stderr.read()
        assert process.wait(TIMEOUT) in (0, 128 + number)
    assert b"fault" not in said
