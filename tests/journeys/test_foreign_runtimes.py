"""Runtimes that are not ours: AWS's for Node and for Python, and a shell script with curl.

They are installed as users install them, once for all runs, and the functions are made by boto3.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from journey_kit import Raw
from platform_process import Platform, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="AWS's runtime client for Node needs Linux")

BUILDING = ("npm", "g++", "make", "cmake", "python3", "xz", "autoconf", "automake", "libtoolize")
PYTHON = f"python3.{sys.version_info[1]}"
DELIMITER = bytes(8)

# Each of these answers 203 with two pieces; before the second it waits for the file that its event names
# between two @, if it does.
NODE = """
import { appendFileSync, existsSync } from "node:fs";
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const named = (event) => (event.body ?? "").split("@")[1];
const head = { statusCode: 203, headers: { "Content-Type": "text/plain", "X-Made": "by hand" } };
const loaded = process.pid;

export const stream = awslambda.streamifyResponse(async (event, stream) => {
  stream = awslambda.HttpResponseStream.from(stream, { ...head, cookies: ["a=b"] });
  stream.write("zuerst: \\u00fc\\n");
  while (named(event) && !existsSync(named(event))) await sleep(5);
  stream.write(Buffer.from([0, 255, 10]));
  stream.end();
});

export const plain = async (event) => ({ ...head, body: "zuerst: \\u00fc\\ndann\\n" });

export const endless = awslambda.streamifyResponse(async (event, stream) => {
  stream = awslambda.HttpResponseStream.from(stream, head);
  const failed = new Promise((done) => stream.on("error", done));
  const note = (text) => appendFileSync(named(event), text + "\\n");
  let gone = false;
  failed.then(() => { gone = true; note("error"); });
  while (!gone) { stream.write(`${loaded} is here\\n`); await sleep(5); }
});

export const fast = awslambda.streamifyResponse(async (event, stream) => {
  const piece = Buffer.alloc(65536);
  let count = 0;
  for (;;) {
    count += 1;
    if (!stream.write(piece)) {
      appendFileSync(named(event), `${count}\\n`);
      await new Promise((done) => stream.once("drain", done));
    }
  }
});

export const late = awslambda.streamifyResponse(async (event, stream) => {
  stream.write("so far\\n");
  while (!existsSync(named(event))) await sleep(5);
  throw new TypeError("too late");
});

export const fails = async () => { throw new RangeError("on purpose"); };
export const exits = async () => process.exit(7);
export const hangs = async () => sleep(60000);
export const environment = async (event, context) => ({
  variables: process.env, cwd: process.cwd(), argv: process.execArgv, version: process.versions.node,
  context: { arn: context.invokedFunctionArn, custom: context.clientContext?.custom },
});
"""

RUBBISH = "throw new Error('not even loaded');\n"

SHELL = """\
#!/bin/sh
# Buffered or streamed, as _HANDLER says.
set -u
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
head=$(mktemp)
trap 'rm -f "$head"' EXIT
while :; do
    event=$(curl --silent --show-error --dump-header "$head" "$api/next") || exit 1
    id=$(tr -d '\\r' <"$head" | sed -n 's/^lambda-runtime-aws-request-id: //ip')
    file=$(printf %s "$event" | sed -n 's/^[^@]*@\\([^@]*\\)@.*/\\1/p')
    if [ "$_HANDLER" = streamed ]; then
        {
            printf '{"statusCode":203,"headers":{"Content-Type":"text/plain"},"cookies":["a=b"]}'
            printf '\\000\\000\\000\\000\\000\\000\\000\\000'
            printf 'zuerst: \\303\\274\\n'
            while [ -n "$file" ] && [ ! -e "$file" ]; do sleep 0.01; done
            printf '\\000\\377\\n'
        } | curl --silent --show-error --output /dev/null --no-buffer -X POST -T - \\
            -H 'Transfer-Encoding: chunked' \\
            -H 'Lambda-Runtime-Function-Response-Mode: streaming' \\
            -H 'Content-Type: application/vnd.awslambda.http-integration-response' "$api/$id/response"
    else
        body='"zuerst: \\303\\274\\\\ndann\\\\n"'
        printf '{"statusCode":203,"headers":{"Content-Type":"text/plain"},"body":'"$body"'}' |
            curl --silent --show-error --output /dev/null -H 'Content-Type: application/json' \\
                --data-binary @- "$api/$id/response"
    fi
done
"""

AWSLAMBDARIC = """
import os, sys
def handler(event, context):
    assert "awslambdaric" in sys.modules
    assert "penstock" not in sys.modules
    headers = {"Content-Type": "text/plain"}
    return {"statusCode": 203, "headers": headers, "body": "zuerst: \\u00fc\\ndann\\n"}
"""

OWN = """
import os, time
def handler(event, context):
    named = (event.get("body") or "").split("@")[1:2]
    def body():
        yield "zuerst: \\u00fc\\n"
        while named and not os.path.exists(named[0]):
            time.sleep(0.005)
        yield bytes([0, 255, 10])
    headers = {"Content-Type": "text/plain"}
    return {"statusCode": 203, "headers": headers, "cookies": ["a=b"], "body": body()}
"""


def install(*names: str) -> None:
    """As a user does, into a folder that later runs find again."""
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "runtimes", "install", *names],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="session")
def runtimes() -> Iterator[Path]:
    """Where runtimes are installed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PENSTOCK_RUNTIMES", str(cache / "penstock-tests/runtimes"))
        yield cache / "penstock-tests/runtimes"


@pytest.fixture(scope="session")
def node(runtimes: Path) -> str:
    """A Node of its own version, with AWS's runtime client for it."""
    if missing := [name for name in BUILDING if shutil.which(name) is None]:
        pytest.skip(f"building AWS's runtime client for Node needs {', '.join(missing)}")
    install("nodejs22.x")
    return "nodejs22.x"


class Bench:
    """A platform whose functions are made by boto3."""

    def __init__(self, folder: Path, runtimes: Path) -> None:
        code = folder / "code"
        code.mkdir()
        flags = ("--cancel-grace", "2", "--data", str(folder / "data"))
        self.platform = Platform(code, {}, *flags, env={"PENSTOCK_RUNTIMES": str(runtimes)})
        self.client = self.platform.client()

    def make(self, name: str, runtime: str, handler: str, files: dict[str, str], **members: Any) -> str:
        """A function with a URL, ready to be called; its path at the gateway."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for path, text in files.items():
                entry = zipfile.ZipInfo(path)
                entry.external_attr = (0o644 if "." in path else 0o755) << 16
                archive.writestr(entry, text)
        self.client.create_function(
            FunctionName=name,
            Runtime=runtime,
            Handler=handler,
            Role="arn:aws:iam::000000000000:role/any",
            Code={"ZipFile": buffer.getvalue()},
            **{"Timeout": 30, **members},
        )
        self.client.get_waiter("function_active_v2").wait(FunctionName=name)
        self.client.create_function_url_config(FunctionName=name, AuthType="NONE")
        return f"/lambda-url/{name}/"

    def invoke(self, name: str, event: object = None, **members: Any) -> tuple[bytes, str]:
        """A buffered call: the payload, and the error, if it was one."""
        reply = self.client.invoke(FunctionName=name, Payload=json.dumps(event or {}), **members)
        return reply["Payload"].read(), reply.get("FunctionError", "")

    def failed(self, name: str, event: object = None) -> dict[str, Any]:
        payload, error = self.invoke(name, event)
        assert error == "Unhandled"
        document: dict[str, Any] = json.loads(payload)
        return document

    def stream(self, name: str, event: object = None) -> Iterator[tuple[str, Any]]:
        """A streamed call: its events as they come."""
        reply = self.client.invoke_with_response_stream(FunctionName=name, Payload=json.dumps(event or {}))
        for event in reply["EventStream"]:
            ((kind, content),) = event.items()
            yield kind, content["Payload"] if kind == "PayloadChunk" else content

    def request(self, path: str, body: str = "") -> Raw:
        raw = Raw(self.platform.gateway_address)
        raw.request(path, "Content-Type: text/plain", method="POST", body=body.encode())
        return raw

    def printed(self, name: str) -> list[str]:
        """What is in the log of a function."""
        return [e["message"] for e in self.platform.find(event="log", function=name)]


@pytest.fixture(scope="module")
def bench(runtimes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("foreign"), runtimes)
    yield bench
    bench.platform.stop()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A function's name that no other test has."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[:64]


def asking(file: Path) -> str:
    return f"@{file}@"


Maker = Callable[[str], str]


@pytest.fixture
def maker(request: pytest.FixtureRequest, bench: Bench) -> Maker:
    """Makes a function of the kind that the test has as its parameter."""
    kind = request.param
    if kind.startswith("node"):
        request.getfixturevalue("node")
    if kind == "awslambdaric":
        install("awslambdaric")
    runtime, handler, files, variables = {
        "node streamed": ("nodejs22.x", "index.stream", {"index.mjs": NODE}, {}),
        "node buffered": ("nodejs22.x", "index.plain", {"index.mjs": NODE}, {}),
        "shell streamed": ("provided.al2023", "streamed", {"bootstrap": SHELL}, {}),
        "shell buffered": ("provided.al2023", "buffered", {"bootstrap": SHELL}, {}),
        "awslambdaric": (PYTHON, "app.handler", {"app.py": AWSLAMBDARIC}, {"PENSTOCK_RUNTIME_CLIENT": kind}),
        "penstock": (PYTHON, "app.handler", {"app.py": OWN}, {}),
    }[kind]
    members = {"Environment": {"Variables": variables}} if variables else {}
    return lambda name: bench.make(name, runtime, handler, files, **members)


STREAMED = ["node streamed", "shell streamed", "penstock"]


@pytest.mark.parametrize("maker", STREAMED, indirect=True)
def test_a_stream_is_live_at_the_gateway(bench: Bench, maker: Maker, name: str, tmp_path: Path) -> None:
    path = maker(name)
    with bench.request(path, asking(tmp_path / "go")) as raw:
        head = raw.head()
        assert (head.status, head.get("content-type"), head.get_all("set-cookie")) == (
            203,
            "text/plain",
            ["a=b"],
        )
        assert raw.frame() == "zuerst: ü\n".encode()
        (tmp_path / "go").touch()
        assert raw.frame() == b"\0\377\n"
        assert raw.frame() == b""


@pytest.mark.parametrize("maker", STREAMED, indirect=True)
def test_a_stream_is_live_for_the_sdk(bench: Bench, maker: Maker, name: str, tmp_path: Path) -> None:
    maker(name)
    events = bench.stream(name, {"body": asking(tmp_path / "go")})
    got = b""
    while not got.endswith("zuerst: ü\n".encode()):
        kind, piece = next(events)
        assert kind == "PayloadChunk"
        got += piece
    prelude, delimiter, _ = got.partition(DELIMITER)
    assert delimiter
    assert json.loads(prelude)["statusCode"] == 203
    (tmp_path / "go").touch()
    assert next(events) == ("PayloadChunk", b"\0\377\n")
    kind, complete = next(events)
    assert (kind, complete.get("ErrorCode")) == ("InvokeComplete", None)


@pytest.mark.parametrize(
    "maker", [*STREAMED, "node buffered", "shell buffered", "awslambdaric"], indirect=True
)
def test_sdk_and_gateway_give_the_same_bytes(bench: Bench, maker: Maker, name: str) -> None:
    path = maker(name)
    for _ in range(2):
        payload, error = bench.invoke(name)
        assert error == ""
        pieces = list(bench.stream(name))
        assert pieces.pop()[0] == "InvokeComplete"
        assert b"".join(piece for _, piece in pieces) == payload
        head, delimiter, body = payload.partition(DELIMITER)
        said = json.loads(head)
        if not delimiter:
            body = said["body"].encode()
        with bench.request(path) as raw:
            response = raw.response()
        assert (response.status, response.ending) == (said["statusCode"], "whole")
        assert response.body == body
        assert {name.lower(): value for name, value in said["headers"].items()}.items() <= {
            (name.lower(), value) for name, value in response.headers
        }

    def six() -> list[str] | None:
        reports = [text for text in bench.printed(name) if text.startswith("REPORT")]
        return reports if len(reports) == 6 else None

    reports = wait_until(six, "the log of all six")
    # A script's environment may not have asked again when the next call comes; but they are used again.
    assert len([text for text in reports if "Init Duration" in text]) < 4


# Node.


def test_what_a_node_function_sees(bench: Bench, node: str, name: str) -> None:
    bench.make(name, node, "index.environment", {"index.mjs": NODE}, MemorySize=200, Timeout=10)
    payload, _ = bench.invoke(name, ClientContext="eyJjdXN0b20iOnsiYSI6MX19")
    said = json.loads(payload)
    variables = said["variables"]
    assert said["version"].startswith("22.")
    assert "--max-old-space-size=180" in said["argv"]
    assert said["context"]["arn"].endswith(f":function:{name}")
    assert said["context"]["custom"] == {"a": 1}
    assert said["cwd"] == variables["LAMBDA_TASK_ROOT"] == variables["PWD"]
    assert variables["AWS_EXECUTION_ENV"] == "AWS_Lambda_nodejs22.x"
    assert variables["_HANDLER"] == "index.environment"
    assert variables["AWS_LAMBDA_RUNTIME_API"].startswith("127.0.0.1:")
    assert variables["PATH"].split(":")[0].endswith("/bin")
    assert not {name for name in variables if name.startswith("PENSTOCK_")}


def test_the_machines_own_node(bench: Bench, runtimes: Path, node: str, name: str) -> None:
    """Of whatever version it is, under the name of another."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    install("nodejs")
    path = bench.make(name, "nodejs20.x", "index.stream", {"index.mjs": NODE})
    with bench.request(path) as raw:
        response = raw.response()
    assert (response.status, response.body, response.ending) == (203, b"zuerst: \xc3\xbc\n\0\xff\n", "whole")


def test_a_client_that_leaves_ends_a_node_stream(bench: Bench, node: str, name: str, tmp_path: Path) -> None:
    path = bench.make(name, node, "index.endless", {"index.mjs": NODE})
    with bench.request(path, asking(tmp_path / "noted")) as raw:
        raw.head()
        pid = int(raw.frame().split()[0])
    over = bench.platform.wait_for(event="request", function=name)
    assert over["ending"] == "client left"
    assert "killed" not in over["detail"]
    assert (tmp_path / "noted").read_text() == "error\n"  # its stream told it
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the environment")
    with bench.request(path, asking(tmp_path / "noted")) as raw:  # and it can be called again
        assert raw.head().status == 203


def test_a_slow_reader_holds_a_node_function_back(bench: Bench, node: str, name: str, tmp_path: Path) -> None:
    path = bench.make(name, node, "index.fast", {"index.mjs": NODE}, MemorySize=256)
    noted = tmp_path / "noted"

    def written() -> int:
        lines = noted.read_text().split() if noted.exists() else []
        return int(lines[-1]) if lines else 0

    raw = Raw(bench.platform.gateway_address, receive_buffer=16384)
    with raw:
        raw.request(path, "Content-Type: text/plain", method="POST", body=asking(noted).encode())
        raw.head()
        wait_until(written, "a write that had to wait")
        before, since = written(), time.monotonic()

        def stopped() -> bool:
            nonlocal before, since
            now = written()
            if now != before:
                before, since = now, time.monotonic()
            return time.monotonic() - since > 0.5

        wait_until(stopped, "its standing still")
        assert before * 65536 < 32 * 1024 * 1024
        raw.frame()
        for _ in range(400):
            raw.frame()
        wait_until(lambda: written() > before, "its going on")


def test_a_node_function_that_fails(bench: Bench, node: str, name: str) -> None:
    path = bench.make(name, node, "index.fails", {"index.mjs": NODE})
    document = bench.failed(name)
    assert (document["errorType"], document["errorMessage"]) == ("RangeError", "on purpose")
    assert document["trace"][0] == "RangeError: on purpose"
    with bench.request(path) as raw:
        assert raw.response().status == 502


def test_a_node_function_that_fails_in_the_middle(bench: Bench, node: str, name: str, tmp_path: Path) -> None:
    path = bench.make(name, node, "index.late", {"index.mjs": NODE})
    events = bench.stream(name, {"body": asking(tmp_path / "go")})
    assert next(events) == ("PayloadChunk", b"so far\n")
    (tmp_path / "go").touch()
    ((kind, complete),) = events
    assert kind == "InvokeComplete"
    assert json.loads(complete["ErrorDetails"])["errorMessage"] == "too late"
    with bench.request(path, asking(tmp_path / "go")) as raw:
        assert raw.response().ending == "broken"


def test_a_node_function_that_exits(bench: Bench, node: str, name: str) -> None:
    bench.make(name, node, "index.exits", {"index.mjs": NODE})
    document = bench.failed(name)
    assert document["errorType"] == "Runtime.ExitError"
    assert document["errorMessage"].endswith(" Error: Runtime exited with error: exit status 7")


def test_a_node_function_that_takes_too_long(bench: Bench, node: str, name: str) -> None:
    bench.make(name, node, "index.hangs", {"index.mjs": NODE}, Timeout=1)
    document = bench.failed(name)
    assert document["errorType"] == "Sandbox.Timedout"
    assert document["errorMessage"].endswith(" Error: Task timed out after 1.00 seconds")


@pytest.mark.parametrize(
    ("handler", "files", "kind"),
    [
        ("index.any", {"index.mjs": RUBBISH}, "Error"),
        ("index.missing", {"index.mjs": NODE}, "Runtime.HandlerNotFound"),
        ("other.any", {"index.mjs": NODE}, "Runtime.ImportModuleError"),
    ],
)
def test_a_node_function_that_cannot_be_loaded(
    bench: Bench, node: str, name: str, handler: str, files: dict[str, str], kind: str
) -> None:
    path = bench.make(name, node, handler, files)
    assert bench.failed(name)["errorType"] == kind
    with bench.request(path) as raw:
        assert raw.response().status == 502


# A bootstrap.


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("bootstrap", "echo no interpreter is named\n", "fork/exec {}: exec format error"),
        ("bootstrap", "#!/nowhere/at/all\n", "fork/exec {}: no such file or directory"),
        ("bootstrap.sh", "#!/bin/sh\n", "Couldn't find valid bootstrap(s): [{}]"),
    ],
)
def test_a_bootstrap_that_cannot_be_executed(bench: Bench, name: str, file: str, text: str, why: str) -> None:
    path = bench.make(name, "provided.al2023", "any", {file: text})
    document = bench.failed(name)
    assert document["errorType"] == "Runtime.InvalidEntrypoint"
    _, _, said = document["errorMessage"].partition(" Error: ")
    found = re.search(r"/[^ \[]*/bootstrap\b", said.removeprefix("fork/exec "))
    assert found
    assert said == why.format(found[0])
    with bench.request(path) as raw:
        assert raw.response().status == 502


def test_a_bootstrap_that_is_not_executable(bench: Bench, name: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o644 << 16
        archive.writestr(entry, SHELL)
    bench.make(name, "provided.al2023", "buffered", {"bootstrap": SHELL})
    bench.client.update_function_code(FunctionName=name, ZipFile=buffer.getvalue())
    bench.client.get_waiter("function_updated_v2").wait(FunctionName=name)
    document = bench.failed(name)
    assert document["errorType"] == "Runtime.InvalidEntrypoint"
    assert document["errorMessage"].endswith("/bootstrap: permission denied")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#!/bin/sh\nexit 0\n", "Runtime exited without providing a reason"),
        ("#!/bin/sh\necho said >&2\nexit 3\n", "Runtime exited with error: exit status 3"),
        ("#!/bin/sh\nkill -KILL $$\n", "Runtime exited with error: signal: killed"),
    ],
)
def test_a_bootstrap_that_ends_before_it_asks(bench: Bench, name: str, text: str, message: str) -> None:
    bench.make(name, "provided.al2023", "any", {"bootstrap": text})
    document = bench.failed(name)
    assert document["errorType"] == "Runtime.ExitError"
    assert document["errorMessage"].endswith(f" Error: {message}")


def test_a_client_that_leaves_ends_a_shell_stream(bench: Bench, name: str, tmp_path: Path) -> None:
    """The shell itself notices nothing: it is killed when the grace is over, with what it started."""
    path = bench.make(name, "provided.al2023", "streamed", {"bootstrap": SHELL})
    with bench.request(path, asking(tmp_path / "never")) as raw:
        assert raw.head().status == 203
    over = bench.platform.wait_for(event="request", function=name)
    assert over["ending"] == "client left"
    assert bench.invoke(name)[1] == ""


def test_many_calls_at_once_have_an_environment_each(bench: Bench, name: str) -> None:
    path = bench.make(name, "provided.al2023", "streamed", {"bootstrap": SHELL})
    bodies: list[bytes] = []

    def call() -> None:
        with bench.request(path) as raw:
            bodies.append(raw.response().body)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == [b"zuerst: \xc3\xbc\n\0\xff\n"] * 8


# Not installed.


def test_a_runtime_that_is_not_installed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tmp_path / "nothing")
    try:
        with pytest.raises(bench.client.exceptions.InvalidParameterValueException) as caught:
            bench.make("app", "nodejs22.x", "index.plain", {"index.mjs": NODE})
        said = "the runtime nodejs22.x is not installed: penstock runtimes install nodejs22.x"
        assert said in str(caught.value)
    finally:
        bench.platform.stop()


def test_a_runtime_that_is_gone_later(tmp_path: Path, runtimes: Path, node: str) -> None:
    (tmp_path / "runtimes").symlink_to(runtimes)
    bench = Bench(tmp_path, tmp_path / "runtimes")
    try:
        bench.make("app", node, "index.plain", {"index.mjs": NODE})
        (tmp_path / "runtimes").unlink()
        document = bench.failed("app")
        assert document["errorType"] == "Sandbox.Failure"
        assert "the runtime nodejs22.x is not installed" in document["errorMessage"]
    finally:
        bench.platform.stop()
