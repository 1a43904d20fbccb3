"""`python -m penstock.runtime` as a process: loading, ending, and what is said of both."""

import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import penstock
from penstock.protocol import runtime_api
from runtime_kit import Side


class Runtime:
    """A runtime on a handler's source, and the Runtime API it asks over TCP."""

    def __init__(self, folder: Path, source: str, handler: str = "app.handler", **environment: str) -> None:
        (folder / "app.py").write_text(textwrap.dedent(source))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10)
        environ = {
            **os.environ,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.listener.getsockname()[1]}",
            "_HANDLER": handler,
            "LAMBDA_TASK_ROOT": str(folder),
            **environment,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "penstock.runtime"],
            env=environ,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.connect()
        if not environment:  # one that is not restored makes no other connection
            self.listener.close()

    def connect(self) -> None:
        """Take the runtime's next connection."""
        self.side = Side(self.listener.accept()[0])

    def end(self) -> tuple[int, str]:
        """Its exit status and what it printed."""
        out, _ = self.process.communicate(timeout=10)
        return self.process.returncode, out

    def close(self) -> None:
        self.listener.close()
        self.side.sock.close()
        self.process.kill()
        assert self.process.stdout is not None
        if not self.process.stdout.closed:
            self.process.communicate()


@pytest.fixture
def started() -> Iterator[list[Runtime]]:
    started: list[Runtime] = []
    yield started
    for each in started:
        each.close()


def test_it_handles_events_until_the_service_goes(started: list[Runtime], tmp_path: Path) -> None:
    source = """
        import atexit
        atexit.register(lambda: print("registered"))
        def handler(event, context):
            print("printed")
            return event["a"]
        """
    started.append(runtime := Runtime(tmp_path, source))
    for number in range(2):
        runtime.side.event(b'{"a": %d}' % number)
        runtime.side.accept()
        assert runtime.side.read().verb == "next"
        assert runtime.side.read().body == b"%d" % number
    assert runtime.side.read().verb == "next"
    runtime.side.sock.close()
    status, out = runtime.end()
    assert out.startswith("printed\nprinted\n")
    assert "registered" in out
    assert "Traceback" not in out
    assert status in (0, 1)


@pytest.mark.parametrize(
    ("source", "handler", "error_type"),
    [
        ("import nope_nope", "app.handler", "Runtime.ImportModuleError"),
        ("def handler(:", "app.handler", "Runtime.UserCodeSyntaxError"),
        ("", "app.handler", "Runtime.HandlerNotFound"),
        ("", "handler", "Runtime.MalformedHandlerName"),
        ("raise ValueError('no')", "app.handler", "ValueError"),
        ("raise KeyboardInterrupt", "app.handler", "KeyboardInterrupt"),
    ],
)
def test_a_handler_that_cannot_be_loaded(
    started: list[Runtime], tmp_path: Path, source: str, handler: str, error_type: str
) -> None:
    started.append(runtime := Runtime(tmp_path, source, handler))
    runtime.side.accept()
    sent = runtime.side.read()
    assert sent.path == runtime_api.INIT_ERROR_PATH
    assert sent.headers[runtime_api.ERROR_TYPE.lower()] == error_type
    assert json.loads(sent.body)["errorType"] == error_type
    status, out = runtime.end()
    assert status == 1
    assert f"[ERROR] {error_type}" in out


@pytest.mark.parametrize(
    ("code", "status"), [("sys.exit()", 0), ("sys.exit(3)", 3), ("sys.exit('words')", 1), ("os._exit(4)", 4)]
)
@pytest.mark.parametrize("when", ["import", "call"])
def test_a_function_that_wants_to_exit(
    started: list[Runtime], tmp_path: Path, code: str, status: int, when: str
) -> None:
    source = f"import os, sys\n{code if when == 'import' else ''}\ndef handler(event, context): {code}\n"
    started.append(runtime := Runtime(tmp_path, source))
    if when == "call":
        runtime.side.event()
    assert runtime.end()[0] == status


def test_without_an_address_it_says_so() -> None:
    environ = {name: value for name, value in os.environ.items() if name != "AWS_LAMBDA_RUNTIME_API"}
    done = subprocess.run(
        [sys.executable, "-m", "penstock.runtime"], env=environ, capture_output=True, text=True, timeout=10
    )
    assert done.returncode == 1
    assert "AWS_LAMBDA_RUNTIME_API" in done.stderr
    assert "Traceback" not in done.stderr


SNAP_START = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
HOOKS = """
from snapshot_restore_py import register_after_restore, register_before_snapshot
seen = []
register_before_snapshot(seen.append, "before")
register_after_restore(seen.append, "after")
def handler(event, context): return seen
"""


def test_on_aws_the_snapshot_is_taken_between_the_hooks(started: list[Runtime], tmp_path: Path) -> None:
    started.append(runtime := Runtime(tmp_path, HOOKS, **SNAP_START))
    sent = runtime.side.read()
    assert (sent.method, sent.path) == ("GET", runtime_api.RESTORE_NEXT_PATH)
    with runtime.side.sock:
        runtime.side.answer(200, b"")
        runtime.connect()  # the old connection may not outlive the snapshot
    assert runtime.side.read().verb == "next"
    runtime.side.event()
    assert json.loads(runtime.side.read().body) == ["before", "after"]


@pytest.mark.parametrize(
    ("hook", "path", "error_type", "status"),
    [
        ("before_snapshot", runtime_api.INIT_ERROR_PATH, "Runtime.BeforeSnapshotError", 64),
        ("after_restore", runtime_api.RESTORE_ERROR_PATH, "Runtime.AfterRestoreError", 65),
    ],
)
def test_on_aws_a_hook_fails(
    started: list[Runtime], tmp_path: Path, hook: str, path: str, error_type: str, status: int
) -> None:
    source = f"import snapshot_restore_py as s\ns.register_{hook}(int, 'x')\ndef handler(event, context): ..."
    started.append(runtime := Runtime(tmp_path, source, **SNAP_START))
    if hook == "after_restore":
        runtime.side.read()
        with runtime.side.sock:
            runtime.side.answer(200, b"")
            runtime.connect()
    runtime.side.accept()
    sent = runtime.side.read()
    assert sent.path == path
    assert sent.headers[runtime_api.ERROR_TYPE.lower()] == error_type
    assert json.loads(sent.body)["errorType"] == "ValueError"
    ended, out = runtime.end()
    assert ended == status
    assert "[ERROR] ValueError" in out


def test_its_start_imports_nothing_dear() -> None:
    """What is imported before the first event is asked for delays it; the rest is while it is on its way."""
    code = "import sys, penstock.runtime.__main__; print(*sys.modules)"
    source = Path(penstock.__file__).parents[1]  # `-S` keeps what is installed beside it from importing more
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(source)}
    )
    dear = "asyncio dataclasses enum inspect json logging re selectors socket threading traceback typing"
    assert not set(dear.split()) & set(done.stdout.split())
    assert "penstock.runtime.api" in done.stdout
