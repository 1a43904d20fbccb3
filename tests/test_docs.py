"""What the documentation says is true: its examples are run, its tables compared, its links followed.

How a page is read, from top to bottom:

    ```sh with `penstock dev TARGET` or `scripts/run`   from here on, TARGET is served
    ```python that defines a handler                    from here on, it is served, as app.py
    ```console                                          each line after `$ ` is run, and gives what follows it
    ```python, ```javascript                            any other program is run; the ```text behind it is
                                                        what it prints
    ```toml                                             settings that exist

In what is printed, `…` stands for any text, and on a line of its own for any lines. At the very end it also
says that there is more to come: the program must still be running then, and is stopped.
"""

import dataclasses
import http.server
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.cli import main as cli
from penstock.cli import settings
from penstock.cli.project import Project
from penstock.protocol.call import Ending
from penstock.runtime.context import LambdaContext
from penstock.service.functions import Function
from penstock.service.variables import variables
from platform_process import Platform, wait_until

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
SEED = ROOT / "examples/seed.py"

GATEWAY, LAMBDA_API = "http://127.0.0.1:3000", "http://127.0.0.1:3001"
MORE = "…"
SERVED = re.compile(r"penstock dev (\S+)(.*)|scripts/run")
HANDLER = re.compile(r"^(async )?def (lambda_)?handler\(", re.MULTILINE)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)  # and what it prints


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclasses.dataclass(frozen=True)
class Run:
    """A command, and what it prints; None: it only has to end well."""

    block: Block
    command: list[str]
    prints: str | None


@dataclasses.dataclass
class Scene:
    """Runs against one and the same functions."""

    block: Block
    functions: dict[str, str]
    flags: list[str]
    runs: list[Run] = dataclasses.field(default_factory=list)


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def scenes(page: Path) -> list[Scene]:
    found: list[Scene] = []
    here = blocks(page)
    for block, following in itertools.zip_longest(here, here[1:]):
        prints = following.text if following and following.language == "text" else None
        match block.language:
            case "sh":
                if served := SERVED.search(block.text):
                    target = ROOT / (served[1] or SEED)
                    if target.is_file():
                        functions = {target.stem: target.read_text()}
                        found.append(Scene(block, functions, (served[2] or "").split()))
            case "python" if HANDLER.search(block.text):
                found.append(Scene(block, {"app": block.text}, []))
            case "python":
                found[-1].runs.append(Run(block, [sys.executable, "-c", block.text], prints))
            case "javascript":
                found[-1].runs.append(Run(block, ["node", "--input-type=module", "-e", block.text], prints))
            case "console":
                for command, prints in COMMAND.findall(block.text):
                    found[-1].runs.append(Run(block, ["sh", "-c", command], prints))
    return found


def run(step: Run, platform: Platform) -> None:
    """Run it as a reader would, and compare."""
    if program := missing(step):
        pytest.skip(f"needs {program}")
    process = start(step, platform)
    assert process.stdout is not None
    expected = step.prints
    watchdog = threading.Timer(30, os.killpg, (process.pid, signal.SIGKILL))
    watchdog.start()
    try:
        if expected is not None and expected.endswith(f"\n{MORE}\n"):
            expected = expected[: -len(MORE) - 1]
            got = "".join(process.stdout.readline() for _ in expected.splitlines())
            assert process.poll() is None, f"{step.block}: it ended, after {got!r}"
        else:
            got = process.stdout.read()
            if expected is None:
                assert process.wait() == 0, f"{step.block}: {got}"
        assert expected is None or re.fullmatch(pattern(expected), got), f"{step.block} printed:\n{got}"
    finally:
        watchdog.cancel()
        end(process)


def missing(step: Run) -> str:
    """The program a run needs and this machine has not; "" when it can be run."""
    *program, text = step.command
    needed = [name for name in ("curl", "node") if name == program[0] or re.search(rf"\b{name} ", text)]
    return next((name for name in needed if not shutil.which(name)), "")


def start(step: Run, platform: Platform) -> "subprocess.Popen[str]":
    *program, text = step.command
    text = text.replace(GATEWAY, platform.gateway).replace(LAMBDA_API, platform.lambda_api)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
        "PENSTOCK_ENDPOINT_URL": platform.lambda_api,
    }
    return subprocess.Popen(
        [*program, text],
        cwd=platform.folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    process.stdout.close()


def pattern(expected: str) -> str:
    """What a page shows, as a regular expression. curl ends its headers' lines in CRLF."""
    lines = []
    for line in expected.splitlines():
        if line == MORE:
            lines.append("(?:.*\n)*?")
        else:
            lines.append(re.escape(line).replace(MORE, ".*") + "\r?\n")
    return "".join(lines).removesuffix("\n") + "\n?"


# Examples.


@pytest.fixture(scope="module", autouse=True)
def as_at_a_terminal(tmp_path_factory):
    """curl draws no progress meter where it prints the body."""
    folder = tmp_path_factory.mktemp("curl")
    (folder / ".curlrc").write_text("no-progress-meter\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CURL_HOME", str(folder))
        yield


SCENES = [scene for page in PAGES for scene in scenes(page) if scene.runs]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: str(scene.block))
def test_an_example_gives_what_the_page_says(scene, tmp_path):
    with Platform(tmp_path, scene.functions, *scene.flags) as platform:
        for step in scene.runs:
            run(step, platform)


def test_every_handler_of_a_page_is_called():
    unused = [str(scene.block) for page in PAGES for scene in scenes(page) if not scene.runs]
    # A page may say what to start and leave it at that, but a handler is shown for what it gives.
    unused = [where for where in unused if not where.startswith(("README", "CONTRIBUTING"))]
    assert unused == []


@pytest.mark.parametrize(
    "block", [b for page in PAGES for b in blocks(page) if b.language == "toml"], ids=str
)
def test_settings_exist(block):
    settings.resolve({}, {}, Project(block.page, tomllib.loads(block.text)["tool"]["penstock"]))


def test_every_client_reads_the_seed_example_to_its_end(tmp_path):
    """All at once, since each takes its ten seconds."""
    steps = [step for scene in scenes(DOCS / "clients.md") for step in scene.runs]
    readers = [step for step in steps if step.prints and step.prints.endswith(f"\n{MORE}\n")]
    assert len(readers) >= 5
    readers = [step for step in readers if not missing(step)]

    with Platform(tmp_path, {"seed": SEED.read_text()}) as platform:

        def read(step: Run) -> tuple[int, str]:
            process = start(step, platform)
            try:
                return len(process.communicate(timeout=60)[0].splitlines()), str(step.block)
            finally:
                end(process)

        with ThreadPoolExecutor(len(readers)) as pool:
            counts = list(pool.map(read, readers))
    # `penstock invoke` and boto3's example say status and headers first.
    assert [counted for counted in counts if not 1000 <= counted[0] <= 1004] == []


# Links and names.


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_resolve(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    broken = []
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    for path in re.findall(r"`((?:src|tests|examples|docs|scripts)/[\w./-]*)`", text):
        if not (ROOT / path).exists():
            broken.append(path)
    assert broken == []


def test_every_page_is_in_the_index():
    index = (DOCS / "README.md").read_text()
    pages = {page.name for page in DOCS.glob("*.md")} - {"README.md"}
    assert {name for name in pages if f"({name})" not in index} == set()
    assert "(docs/README.md)" in (ROOT / "README.md").read_text()


def test_the_way_of_a_chunk_names_what_there_is():
    """Each row: a file, and what happens there, in names that are in the file."""
    rows = re.findall(
        r"^\| \[[^]]*\]\(\.\./([^)]*)\) \| (.*) \|$", (DOCS / "a-chunks-way.md").read_text(), re.M
    )
    assert len(rows) > 10
    missing = []
    for path, told in rows:
        source = (ROOT / path).read_text()
        for name in re.findall(r"`([A-Za-z_.]+)`", told):
            if any(part not in source for part in name.split(".")):
                missing.append((path, name))
    assert missing == []


# Tables.


def options_table(command: str) -> str:
    """The options of a command, as command-line.md has them."""
    parser = cli.Parser(prog="penstock")
    *_, add = cli.COMMANDS[command]
    add(parser)
    rows = []
    for action in parser._actions:
        if not action.option_strings or "--help" in action.option_strings:
            continue
        metavar = action.metavar or ("{" + ",".join(action.choices) + "}" if action.choices else "")
        shown = f"{action.option_strings[-1]} {metavar}".strip().replace("|", r"\|")
        told = (action.help or "").replace("%%", "%").replace("|", r"\|")
        rows.append(f"| `{shown}` | {told} |\n")
    return "".join(rows)


@pytest.mark.parametrize("command", ["dev", "invoke", "logs", "backup"])
def test_every_option_is_documented(command):
    table = options_table(command)
    assert table
    if table not in (DOCS / "command-line.md").read_text():
        raise AssertionError(f"docs/command-line.md: the options of `penstock {command}` are now\n{table}")


def test_no_option_is_documented_that_does_not_exist():
    known = set(re.findall(r"--[a-z-]+", "".join(map(options_table, cli.COMMANDS)))) | {
        "--help",
        "--version",
    }
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        named = set(re.findall(r"`(--[a-z][a-z-]+)", text))
        assert named <= known, page.name


def test_every_ending_is_documented():
    page = (DOCS / "failures.md").read_text()
    words = [ending.word for ending in Ending]
    words += ["invalid response", "broken off", "refused", "not found", "client left, the function finished"]
    words += ["integration timeout"]
    assert [word for word in words if f"`{word}`" not in page] == []


def test_the_status_of_every_ending_is_documented():
    page = (DOCS / "failures.md").read_text()
    for ending in Ending:
        if ending not in (Ending.DONE, Ending.CANCELLED):
            assert re.search(rf"^\| `{ending.word}` \|.*\b{ending.status}\b", page, re.MULTILINE), ending.word


def test_every_variable_and_context_attribute_is_documented():
    page = (DOCS / "environment.md").read_text()
    function = Function("app", "app.lambda_handler", "/", sys.executable)
    names = [*variables(function, "", "", ""), *LambdaContext.__annotations__]
    assert [name for name in names if f"`{name}`" not in page and f"`{name}()`" not in page] == []


# The runtime, started as aws.md says.


class RuntimeApi(http.server.BaseHTTPRequestHandler):
    """As much of AWS's Runtime API as one invocation takes, over TCP."""

    protocol_version = "HTTP/1.1"
    served: "list[tuple[dict[str, str], bytes]]"

    def do_GET(self) -> None:
        if self.served:
            self.server.over.wait(20)  # the long poll of a service that has nothing to do
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Lambda-Runtime-Aws-Request-Id", "one")
        self.send_header("Lambda-Runtime-Deadline-Ms", str(int((time.time() + 10) * 1000)))
        self.send_header(
            "Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:app"
        )
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_POST(self) -> None:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        self.served.append((dict(self.headers), body))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def test_the_bootstrap_streams_over_tcp(tmp_path):
    """Not AWS, but its protocol: what aws.md's bootstrap sends to a Runtime API at host:port."""
    (bootstrap,) = (b.text for b in blocks(DOCS / "aws.md") if b.text.startswith("#!/bin/sh"))
    (tmp_path / "bootstrap").write_text(bootstrap)
    (tmp_path / "app.py").write_text(SEED.read_text().replace("1000", "3"))
    (tmp_path / "penstock").symlink_to(ROOT / "src/penstock")
    served: list[tuple[dict[str, str], bytes]] = []
    RuntimeApi.served = served
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), RuntimeApi) as server:
        server.over = threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
            "_HANDLER": "app.lambda_handler",
            "LAMBDA_TASK_ROOT": str(tmp_path),
        }
        process = subprocess.Popen(["sh", tmp_path / "bootstrap"], env=environment, cwd="/")
        try:
            wait_until(lambda: served, "the response")
        finally:
            process.kill()
            process.wait()
            server.over.set()
            server.shutdown()
            thread.join()
    headers, body = served[0]
    assert headers["Lambda-Runtime-Function-Response-Mode"] == "streaming"
    assert headers["Content-Type"] == "application/vnd.awslambda.http-integration-response"
    assert headers["Transfer-Encoding"] == "chunked"
    assert headers["Trailer"] == "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"
    assert headers["Connection"] == "close"
    prelude, _, payload = body.partition(bytes(8))
    assert prelude == b'{"statusCode":200,"headers":{"Content-Type":"application/json"}}'
    assert payload.count(b"streamed") == 3
