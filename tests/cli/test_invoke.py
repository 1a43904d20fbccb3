"""`penstock invoke`, against a Lambda API that answers as it is told."""

import base64
import io
import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from penstock.cli.errors import CommandError, UsageError
from penstock.cli.invoke import Body, invoke, read_payload
from penstock.cli.main import main
from penstock.protocol import eventstream, prelude

PRELUDE = prelude.encode(prelude.Prelude(status=201, headers={"Content-Type": "text/plain"}, cookies=["a=1"]))
TOLD = "status: 201\nContent-Type: text/plain\nset-cookie: a=1\n\n"


@pytest.fixture
def api():
    """A Lambda API: `api.answer(status, headers, pieces)`; then `api.requests` says what came."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.requests.append((self.path, dict(self.headers), body))
            status, headers, pieces = server.answers
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()

        def answer(status, headers, pieces):
            server.answers = status, headers, pieces

        server.answer = answer
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def call(api, capfdbinary):
    """Run `penstock invoke seed …` in this process: exit code, stdout, stderr."""

    def call(*arguments):
        code = main(["invoke", "seed", "--endpoint-url", api.url, *arguments])
        out, err = capfdbinary.readouterr()
        return code, out, err.decode()

    return call


def chunks(*payloads):
    return [piece for payload in payloads for piece in eventstream.payload_chunk([payload])]


def test_a_streamed_response(api, call):
    api.answer(200, {}, [*chunks(PRELUDE + b"one\n", b"two\n"), eventstream.invoke_complete()])
    assert call("--payload", '{"n": 3}') == (0, b"one\ntwo\n", TOLD)
    ((path, headers, body),) = api.requests
    assert path == "/2021-11-15/functions/seed/response-streaming-invocations"
    assert body == b'{"n": 3}'
    assert "X-Amz-Log-Type" not in headers


def test_raw_is_as_it_came(api, call):
    api.answer(200, {}, [*chunks(PRELUDE + b"one\n"), eventstream.invoke_complete()])
    assert call("--raw") == (0, PRELUDE + b"one\n", "")


def test_the_log_tail(api, call):
    log = base64.b64encode(b"START\nhi \x1b[2J\n").decode()
    api.answer(200, {}, [*chunks(b"x"), eventstream.invoke_complete(log_result=log)])
    assert call("--log-type", "Tail") == (0, b"x", "START\nhi \\x1b[2J\n")
    assert api.requests[0][1]["X-Amz-Log-Type"] == "Tail"


def test_a_function_that_failed(api, call):
    document = json.dumps({"errorMessage": "no", "errorType": "ValueError", "stackTrace": ["  File x\n"]})
    api.answer(200, {}, [*chunks(b"one\n"), eventstream.invoke_complete("ValueError", document)])
    assert call() == (
        1,
        b"one\n",
        "penstock: the function failed: ValueError\n"
        '{\n  "errorMessage": "no",\n  "errorType": "ValueError"\n}\n'
        "  File x\n",
    )


def test_a_stream_that_breaks_off(api, call):
    api.answer(200, {}, chunks(b"one\n", b"two\n")[:-1])
    code, out, err = call()
    assert (code, out) == (1, b"one\n")
    assert err.startswith(f"penstock: the response from {api.url} broke off: expected a whole message")
    assert err.count("\n") == 1


def test_a_stream_without_its_last_event(api, call):
    api.answer(200, {}, chunks(b"one\n"))
    code, out, err = call()
    assert (code, out) == (1, b"one\n")
    assert "before InvokeComplete" in err


@pytest.mark.parametrize("data", [b"<html>nothing of ours</html>", b"\0" * 100])
def test_what_is_no_event_stream(api, call, data):
    api.answer(200, {}, [data])
    code, out, err = call()
    assert (code, out) == (1, b"")
    assert err.startswith(f"penstock: the response from {api.url} broke off: expected ")
    assert err.count("\n") == 1


def test_a_reader_of_stdout_that_has_left(api):
    api.answer(200, {}, [*chunks(b"one\n"), eventstream.invoke_complete()])
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "invoke", "seed", "--endpoint-url", api.url],
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=30,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_an_unknown_function(api, call):
    body = b'{"Type":"User","Message":"Function not found: arn:x"}'
    api.answer(404, {"x-amzn-ErrorType": "ResourceNotFoundException:http://x"}, [body])
    assert call() == (
        1,
        b"",
        "penstock: ResourceNotFoundException: Function not found: arn:x; "
        "`aws lambda list-functions` tells what there is, and `penstock dev` does when it starts\n",
    )


def test_a_refusal_that_is_not_aws_s(api, call):
    api.answer(502, {}, [b"bad\ngateway"])
    assert call() == (1, b"", "penstock: HTTP 502: bad\\x0agateway\n")


def test_buffered(api, call):
    log = base64.b64encode(b"END\n").decode()
    api.answer(200, {"X-Amz-Log-Result": log}, [PRELUDE + b"all"])
    assert call("--buffered", "--log-type", "Tail") == (0, b"all", TOLD + "END\n")
    ((path, headers, _),) = api.requests
    assert path == "/2015-03-31/functions/seed/invocations"
    assert headers["X-Amz-Invocation-Type"] == "RequestResponse"
    assert headers["X-Amz-Log-Type"] == "Tail"


def test_buffered_that_failed(api, call):
    api.answer(200, {"X-Amz-Function-Error": "Unhandled"}, [b'{"errorType":"KeyError"}'])
    assert call("--buffered") == (
        1,
        b"",
        'penstock: the function failed: KeyError\n{\n  "errorType": "KeyError"\n}\n',
    )


def test_an_arn_is_one_part_of_the_path(api, capfd):
    api.answer(200, {}, [eventstream.invoke_complete()])
    assert main(["invoke", "arn:aws:lambda:x:1:function:a/b", "--endpoint-url", f"{api.url}/base/"]) == 0
    assert api.requests[0][0].startswith(
        "/base/2021-11-15/functions/arn%3Aaws%3Alambda%3Ax%3A1%3Afunction%3Aa%2Fb/"
    )


def test_nothing_listens(capfd):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert main(["invoke", "seed", "--endpoint-url", f"http://127.0.0.1:{port}"]) == 1
    assert capfd.readouterr().err == (
        f"penstock: nothing listens at http://127.0.0.1:{port}: start it with `penstock dev`, "
        "or say where it is with --endpoint-url\n"
    )


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://", "http://x:y", "http://[x"])
def test_an_endpoint_that_is_no_url(url, capfd):
    assert main(["invoke", "seed", "--endpoint-url", url]) == 2
    err = capfd.readouterr().err
    assert err.startswith(f"penstock: endpoint {url!r}: ")
    assert err.count("\n") == 1


def test_the_endpoint_comes_from_the_environment(api, capfd):
    api.answer(200, {}, [eventstream.invoke_complete()])
    options = {"function": "seed", "payload": "{}", "raw": False, "buffered": False, "log_type": "None"}
    environ = {"PENSTOCK_ENDPOINT_URL": api.url, "AWS_ENDPOINT_URL_LAMBDA": "http://127.0.0.1:1"}
    assert invoke({**options, "endpoint_url": None}, environ) == 0
    assert invoke({**options, "endpoint_url": None}, {"AWS_ENDPOINT_URL_LAMBDA": api.url}) == 0
    assert len(api.requests) == 2


def written(*pieces, raw=False):
    """What is on stdout after each piece and at the end, and what was told on stderr."""
    out, told = io.BytesIO(), io.StringIO()
    body = Body(out, told, raw=raw)
    seen = []
    for piece in pieces:
        body.write(piece)
        seen.append(out.getvalue())
    body.end()
    return [*seen, out.getvalue()], told.getvalue()


def test_a_prelude_cut_anywhere_is_taken_off():
    data = prelude.encode(prelude.Prelude(201, {"x": 'ü"\n'}, {"y": ["1", "2"]})) + b"\0body"
    for cut in range(1, len(data)):
        seen, told = written(data[:cut], data[cut:])
        assert seen[-1] == b"\0body"
        assert told == 'status: 201\nx: ü"\\x0a\ny: 1\ny: 2\n\n'


def test_a_prelude_fed_byte_by_byte_is_taken_off():
    data = b'{"statusCode": null, "headers": {"x": "\\ud83d\\ude00"}, "cookies": []}' + bytes(8) + b"body"
    seen, told = written(*(data[n : n + 1] for n in range(len(data))))
    assert seen[-1] == b"body"
    assert told == "status: 200\nx: 😀\n\n"


@pytest.mark.parametrize(
    "pieces",
    [
        (b"text", b"more"),
        (b"", b"x"),
        (b'{"line": 0}\n', b'{"line": 1}\n'),
        (b'{"line": [true, 1.5, "]"]}\n',),
        (b"{this is not JSON at all}",),
        (b"\0\0\0\0\0\0\0\0",),
        (b"{" * 70_000,),
        (b'{"a":' * 12_000,),
        (b'{"statusCode": "many"}' + bytes(8),),
    ],
)
def test_what_has_no_prelude_is_written_at_once(pieces):
    seen, told = written(*pieces)
    assert seen == [*(b"".join(pieces[: n + 1]) for n in range(len(pieces))), b"".join(pieces)]
    assert told == ""


def test_what_may_still_be_a_prelude_is_written_at_the_end():
    assert written(b'{"statusCode": 200}') == ([b"", b'{"statusCode": 200}'], "")
    assert written(b'{"statusCode": 200}\0\0') == ([b"", b'{"statusCode": 200}\0\0'], "")


def test_a_reader_that_has_left_is_no_fault():
    class Gone(io.BytesIO):
        def flush(self):
            raise BrokenPipeError

    class Full(io.BytesIO):
        def flush(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(BrokenPipeError):
        Body(Gone(), io.StringIO(), raw=True).write(b"x")
    with pytest.raises(CommandError, match=r"^cannot write to stdout: No space left on device$"):
        Body(Full(), io.StringIO(), raw=True).write(b"x")


def test_payloads(tmp_path):
    path = tmp_path / "event.json"
    path.write_bytes('{"ü": 1}'.encode())
    assert read_payload('{"ü": 1}', io.BytesIO()) == '{"ü": 1}'.encode()
    assert read_payload(f"@{path}", io.BytesIO()) == '{"ü": 1}'.encode()
    assert read_payload("-", io.BytesIO(b" [1] ")) == b" [1] "


@pytest.mark.parametrize(
    ("text", "stdin", "said"),
    [
        ("[1", b"", "--payload: not JSON: Expecting ',' delimiter at line 1, column 3; "
         "a file is given as @file"),
        ("x.json", b"", "--payload: not JSON: Expecting value at line 1, column 1; a file is given as @file"),
        ("-", b"", "--payload stdin: not JSON: Expecting value at line 1, column 1"),
        ("-", b"[1,\n2", "--payload stdin: not JSON: Expecting ',' delimiter at line 2, column 2"),
        ("-", b'"\xff"', "--payload stdin: expected JSON in UTF-8, got byte 1 that is not"),
        ("-", b"[" * 100_000, "--payload stdin: nested too deeply"),
        ("@/nope", b"", "--payload: cannot read /nope: No such file or directory"),
        ("@/", b"", "--payload: cannot read /: Is a directory"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_bad_payload(text, stdin, said):
    with pytest.raises(UsageError) as raised:
        read_payload(text, io.BytesIO(stdin))
    assert str(raised.value) == said
