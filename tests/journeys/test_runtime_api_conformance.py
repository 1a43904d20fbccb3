"""Runtimes and Runtime APIs, each with the other's: what works with one works with all, byte for byte.

Penstock's runtime and AWS's awslambdaric, over TCP, against Penstock's service and against a second Runtime
API that was written from AWS's documentation alone (reference_runtime_api.py), which checks what they send.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from penstock.protocol.call import Call, Head, Outcome, Slice
from penstock.service.backends import Exit, Listener, Spec
from penstock.service.config import Config
from penstock.service.functions import Function
from penstock.service.service import Service
from reference_runtime_api import ReferenceRuntimeApi, Result, Sent
from service_kit import FixedFunctions

PENSTOCK = ("-m", "penstock.runtime")
AWSLAMBDARIC = ("-m", "awslambdaric", "app.handler")
RUNTIMES = {"penstock": PENSTOCK, "awslambdaric": AWSLAMBDARIC}
TIMEOUT = 20


def environment(root: Path, address: str) -> dict[str, str]:
    return {
        **os.environ,
        "_HANDLER": "app.handler",
        "LAMBDA_TASK_ROOT": str(root),
        "AWS_LAMBDA_RUNTIME_API": address,
        "AWS_LAMBDA_FUNCTION_NAME": "app",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
    }


def started(root: Path, runtime: str, address: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *RUNTIMES[runtime]],
        env=environment(root, address),
        cwd=root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class Reference:
    """A runtime at the reference."""

    def __init__(self, root: Path, runtime: str) -> None:
        self.api = ReferenceRuntimeApi()
        self.process = started(root, runtime, self.api.address)

    def invoke(
        self, request_id: str, payload: bytes, *, client_context: str = "", tenant: str = ""
    ) -> Result:
        headers = {}
        if client_context:
            headers["Lambda_Runtime_Client_Context"] = client_context
        if tenant:
            headers["Lambda_Runtime_Aws_Tenant_Id"] = tenant
        return self.api.invoke(request_id, payload, TIMEOUT, **headers)

    def init_error(self) -> Result:
        result = self.api.init_error.get(timeout=TIMEOUT)
        assert self.process.wait(TIMEOUT) != 0, "after an init error the runtime is to exit with a failure"
        return result

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.api.close()


class Process:
    """A runtime's process, as the service knows it."""

    def __init__(self, process: subprocess.Popen[bytes], listener: Listener) -> None:
        self.pid = process.pid
        self._process = process
        loop = asyncio.get_running_loop()

        def wait() -> None:
            status = process.wait()
            loop.call_soon_threadsafe(listener.exited, Exit(status, 0))

        self.waiting = threading.Thread(target=wait)
        self.waiting.start()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)


class Programs:
    """A backend that starts a runtime where the service wants a bootstrap."""

    def __init__(self, root: Path, runtime: str) -> None:
        self._root = root
        self._runtime = runtime
        self._processes: list[Process] = []

    async def start(self, python: str) -> None:
        pass

    def spawn(self, spec: Spec, dial: int | None, log: int, listener: Listener) -> None:
        assert dial is None
        process = started(self._root, self._runtime, spec.environment["AWS_LAMBDA_RUNTIME_API"])
        self._processes.append(Process(process, listener))
        asyncio.get_running_loop().call_soon(listener.spawned, self._processes[-1])

    async def stop(self) -> None:
        for process in self._processes:
            process.signal(signal.SIGKILL)
            await asyncio.to_thread(process.waiting.join)


@dataclass
class Collected:
    """A sink."""

    result: Result = field(default_factory=Result)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def head(self, head: Head) -> None:
        self.result.content_type = head.content_type
        self.result.streamed = head.streamed

    def data(self, slices: Sequence[Slice]) -> None:
        self.result.body += b"".join(slices)

    def end(self, outcome: Outcome) -> None:
        self.result.error_type = outcome.error_type
        self.result.error_document = outcome.error_body
        self.ended.set()


class Ours:
    """A runtime at Penstock's service."""

    def __init__(self, root: Path, runtime: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        function = Function("app", "app.handler", str(root), sys.executable, runtime="provided.al2023")
        functions = FixedFunctions([function])
        self._service = Service(functions, Config(), lambda line: None, Programs(root, runtime))
        self._run(self._service.start())

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, TIMEOUT), self._loop).result()

    def invoke(
        self, request_id: str, payload: bytes, *, client_context: str = "", tenant: str = ""
    ) -> Result:
        async def call() -> Result:
            sink = Collected()
            call = Call(
                "app", payload, client_context=client_context, tenant_id=tenant, request_id=request_id
            )
            self._service.invoke(call, sink)
            await sink.ended.wait()
            return sink.result

        result: Result = self._run(call())
        return result

    def init_error(self) -> Result:
        return self.invoke("id-1", b"{}")

    def close(self) -> None:
        self._run(self._service.stop(0))
        self._run(_turns())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _turns() -> None:
    """Let what was closed be gone."""
    for _ in range(10):
        await asyncio.sleep(0)


def both(
    root: Path, runtime: str, source: str, calls: Sequence[dict[str, Any]]
) -> tuple[list[Result], list[Sent]]:
    """The results of the calls, which are the same at both; and what the runtime sent to the reference."""
    (root / "app.py").write_text(textwrap.dedent(source))
    found = []
    sent: list[Sent] = []
    for make in (Reference, Ours):
        side = make(root, runtime)
        try:
            found.append([side.invoke(**call) for call in calls] if calls else [side.init_error()])
        finally:
            side.close()
        if isinstance(side, Reference):
            assert side.api.violations == []
            sent = side.api.sent
    reference, ours = found
    for one, other in zip(reference, ours, strict=True):
        if one.error_type == "Function.ResponseSizeTooLarge":
            one, other = Result(error_type=one.error_type), Result(error_type=other.error_type)
        assert one == other
    return reference, sent


def calls(*payloads: Any, **more: Any) -> list[dict[str, Any]]:
    """Calls with ids of their own; the payloads are made JSON."""
    return [
        {"request_id": f"id-{number}", "payload": json.dumps(payload).encode(), **more}
        for number, payload in enumerate(payloads)
    ]


BUFFERED = {
    "values": (
        "def handler(event, context): return event",
        [{"a": 1}, None, [1, "two", 3.5], "text", True, {"nested": {"deep": [{}]}}],
    ),
    "none": ("def handler(event, context): pass", [1]),
    "unicode": (
        "def handler(event, context): return {'said': event, 'more': '\\u00e9\\U0001f600'}",
        ["häß\u2028😀"],
    ),
    "a large event": (
        "def handler(event, context): return len(event)",
        ["x" * 3_000_000, "y" * 2_047, "z" * 2_046],
    ),
    "a large result": ("def handler(event, context): return 'x' * event", [100_000, 6_291_554]),
    "too large": ("def handler(event, context): return 'x' * event", [6_291_555, 1, 7_000_000, 2]),
    "an error": (
        """
        def handler(event, context):
            if event == 1:
                raise ValueError("no " + chr(228))
            return event
        """,
        [1, 2, 1],
    ),
    "what cannot be sent": ("def handler(event, context): return object()", [1]),
}


@pytest.fixture(params=["penstock", "awslambdaric"])
def runtime(request: pytest.FixtureRequest) -> str:
    if request.param == "awslambdaric" and find_spec("awslambdaric") is None:
        pytest.skip("awslambdaric is not to be had here")
    return str(request.param)


@pytest.mark.parametrize("case", BUFFERED)
def test_buffered(tmp_path: Path, runtime: str, case: str) -> None:
    source, events = BUFFERED[case]
    if (runtime, case) == ("awslambdaric", "too large"):
        events = events[:1]  # it ends when it is answered 413
    results, sent = both(tmp_path, runtime, source, calls(*events))
    assert not any(result.streamed for result in results)
    answers = [request for request in sent if request.path.endswith(("/response", "/error"))]
    assert len(answers) == len(events)
    if case == "values":
        assert [json.loads(result.body) for result in results] == events
        assert {result.content_type for result in results} == {"application/json"}
    elif case == "too large":
        assert [result.error_type for result in results] == (["Function.ResponseSizeTooLarge", ""] * 2)[
            : len(events)
        ]
    elif case == "an error":
        assert [result.error_type for result in results] == ["Runtime.Unknown", "", "Runtime.Unknown"]
        document = json.loads(results[0].error_document)
        assert (document["errorType"], document["errorMessage"]) == ("ValueError", "no ä")
        assert document["requestId"] == "id-0"
        if runtime == "penstock":  # awslambdaric does not say it
            assert answers[0].headers["lambda-runtime-function-error-type"] == "ValueError"


CONTEXT = """
import os

def handler(event, context):
    client = context.client_context
    return {
        "id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "name": context.function_name,
        "version": context.function_version,
        "memory": context.memory_limit_in_mb,
        "time": 0 < context.get_remaining_time_in_millis() <= 900_000,
        "tenant": context.tenant_id,
        "identity": context.identity.cognito_identity_id,
        "client": client and {"custom": client.custom, "env": client.env, "title": client.client.app_title},
    }
"""


def test_the_context(tmp_path: Path, runtime: str) -> None:
    client = '{"custom":{"k":"\\u00e9"},"env":{"e":1},"client":{"app_title":"title"}}'
    plain = calls(1)
    full = calls(1, client_context=client, tenant="blue")
    (bare, rich), _ = both(tmp_path, runtime, CONTEXT, plain + full)
    expected = {
        "id": "id-0",
        "arn": "arn:aws:lambda:us-east-1:000000000000:function:app",
        "name": "app",
        "version": "$LATEST",
        "memory": "1024",
        "time": True,
        "tenant": None,
        "identity": None,
        "client": None,
    }
    assert json.loads(bare.body) == expected
    custom = {"custom": {"k": "é"}, "env": {"e": 1}, "title": "title"}
    assert json.loads(rich.body) == {**expected, "tenant": "blue", "client": custom}


@pytest.mark.parametrize(
    ("source", "error_type"),
    [
        ("import no_such_module", "Runtime.ImportModuleError"),
        ("def handler(", "Runtime.UserCodeSyntaxError"),
    ],
)
def test_an_init_error(tmp_path: Path, runtime: str, source: str, error_type: str) -> None:
    check_init_error(tmp_path, runtime, source, error_type)


def test_a_handler_that_is_not_there(tmp_path: Path) -> None:
    # Of awslambdaric this is the answer to each event.
    source = "def another(event, context): pass"
    check_init_error(tmp_path, "penstock", source, "Runtime.HandlerNotFound")


def check_init_error(tmp_path: Path, runtime: str, source: str, error_type: str) -> None:
    (result,), sent = both(tmp_path, runtime, source, [])
    assert result.error_type == error_type
    document = json.loads(result.error_document)
    assert (document["errorType"], document["requestId"]) == (error_type, "")
    assert [request.path.rpartition("/runtime/")[2] for request in sent] == ["init/error"]


STREAMED = {
    "raw": (
        "def handler(event, context): yield 'one'; yield b'two'; yield ''; yield '\\u00e9'",
        b"onetwo\xc3\xa9",
    ),
    "bytes": (
        "def handler(event, context): return {'statusCode': 201, 'body': iter([bytes(range(256))])}",
        None,
    ),
    "empty": ("def handler(event, context): return {'statusCode': 204, 'body': iter(())}", None),
    "large": (
        "def handler(event, context):\n    for _ in range(100): yield b'x' * 100_000",
        b"x" * 10_000_000,
    ),
    "many": ("def handler(event, context):\n    for n in range(20_000): yield f'{n}\\n'", None),
    "async": ("async def handler(event, context):\n    for n in range(100): yield f'{n};'", None),
}


@pytest.mark.parametrize("case", STREAMED)
def test_streamed(tmp_path: Path, case: str) -> None:
    source, expected = STREAMED[case]
    results, sent = both(tmp_path, "penstock", source, calls(1, 2))
    assert results[0] == results[1]
    assert results[0].streamed
    assert results[0].error_type == ""
    if expected is not None:
        assert results[0].body == expected
    elif case in ("bytes", "empty"):
        prelude, _, body = results[0].body.partition(b"\0" * 8)
        assert json.loads(prelude)["statusCode"] == (201 if case == "bytes" else 204)
        assert body == (bytes(range(256)) if case == "bytes" else b"")
    streams = [request for request in sent if request.streams]
    assert len(streams) == 2
    assert all(sum(request.chunks) == len(request.body) for request in streams)


FAILING = """
def deep(n):
    if n:
        return deep(n - 1)
    raise ValueError("late " + "\\u00e9" * LENGTH)

def handler(event, context):
    if event:
        yield "one"
    deep(DEPTH)
"""


@pytest.mark.parametrize(("length", "depth"), [(1, 0), (1, 100), (100_000, 0)])
def test_a_stream_that_fails(tmp_path: Path, length: int, depth: int) -> None:
    source = FAILING.replace("LENGTH", str(length)).replace("DEPTH", str(depth))
    (late, early, again), sent = both(tmp_path, "penstock", source, calls(True, False, True))
    assert (late.body, late.streamed, late.error_type) == (b"one", True, "Runtime.Unknown")
    document = json.loads(late.error_document)
    assert document["errorType"] == "ValueError"
    assert document["errorMessage"].startswith("late é")
    assert (early.body, early.streamed, early.error_type) == (b"", False, "Runtime.Unknown")
    assert again.body == b"one"
    verbs = [request.path.rpartition("/")[2] for request in sent]
    assert verbs[:6] == ["next", "response", "next", "error", "next", "response"]
