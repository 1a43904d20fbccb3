"""Runtimes that do anything: any calls, in any order, cut anywhere, over several connections.

Whatever they do: no answer of 5xx, nothing the event loop complains about, the caller is told the end once,
and when the process has gone, nothing of its environment is left.
"""

import asyncio
import os
import re
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from http_kit import LOOPS, run_on
from penstock.protocol.call import Ending
from penstock.service.environment import Environment
from service_kit import Bench, FakeEnvironment

BASE = b"/2018-06-01/runtime/"
FOREIGN = {"runtime": "provided.al2023", "timeout": 0.1}
OWN = {"timeout": 0.1}
FUNCTIONS = {
    "own": OWN,
    "foreign": FOREIGN,
    "own shared": OWN | {"concurrency": 3},
    "foreign shared": FOREIGN | {"concurrency": 3},
}
STATUS = re.compile(rb"HTTP/1\.1 (\d+) ")


@dataclass(frozen=True)
class Send:
    """Bytes on one of the connections; `%ID%` and `%TRY%` stand for what the last event said."""

    connection: int
    data: bytes


@dataclass(frozen=True)
class Do:
    """Something else: close or half-close a connection, let things happen, or the caller leaves."""

    what: str
    connection: int = 0


ids = st.sampled_from([b"%ID%", b"%ID%", b"%ID%", b"another", b"", b"../next", b"%00"])
paths = st.one_of(
    st.just(b"invocation/next"),
    ids.map(lambda id: b"invocation/" + id + b"/response"),
    ids.map(lambda id: b"invocation/" + id + b"/error"),
    st.sampled_from(
        [b"init/error", b"restore/next", b"restore/error", b"nowhere", b"../ping", b"invocation/"]
    ),
)
headers = st.lists(
    st.sampled_from(
        [
            b"Lambda-Runtime-Function-Response-Mode: streaming",
            b"Lambda-Runtime-Function-Response-Mode: buffered",
            b"lambda-runtime-function-error-type: Function.Broken",
            b"Lambda-Runtime-Function-Error-Type: \xff\xfe",
            b"Lambda-Runtime-Invocation-Id: %TRY%",
            b"Lambda-Runtime-Invocation-Id: old",
            b"Content-Type: application/vnd.awslambda.http-integration-response",
            b"Content-Type: application/vnd.aws.lambda.error.cause+json",
            b"Content-Type: \xc3\xa9",
            b"Trailer: Lambda-Runtime-Function-Error-Type",
            b"Expect: 100-continue",
            b"Connection: close",
        ]
    ),
    max_size=4,
    unique=True,
)
payloads = st.sampled_from([b"", b"{}", b"[" * 2_000, b"\xff\0", b'{"errorMessage":"m"}', b"x" * 100_000])
trailers = st.sampled_from(
    [
        b"",
        b"Lambda-Runtime-Function-Error-Type: E\r\nLambda-Runtime-Function-Error-Body: e30=\r\n",
        b"Lambda-Runtime-Function-Error-Type: E\r\nLambda-Runtime-Function-Error-Body: ***\r\n",
        b"Lambda-Runtime-Function-Error-Body: e30=\r\n",
        b"nonsense\r\n",
        b"A: " + b"b" * 70_000 + b"\r\n",
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request; mostly whole and of the right method."""
    path = draw(paths)
    gets = path.endswith((b"next", b"ping"))
    method = draw(st.sampled_from([b"GET" if gets else b"POST"] * 8 + [b"PUT", b"POST", b"GET"]))
    version = draw(st.sampled_from([b"1.1"] * 5 + [b"1.0"]))
    lines = [b"Host: localhost", *draw(headers)]
    body = b""
    if method != b"GET":
        payload = draw(payloads)
        framing = draw(st.sampled_from(["counted", "chunked", "chunked", "short", "malformed"]))
        if framing == "counted":
            lines.append(b"Content-Length: %d" % len(payload))
            body = payload
        elif framing == "short":
            lines.append(b"Content-Length: %d" % (len(payload) + 7))
            body = payload
        else:
            lines.append(b"Transfer-Encoding: chunked")
            body = b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""
            body += b"zz\r\n" if framing == "malformed" else b"0\r\n" + draw(trailers) + b"\r\n"
    head = b"%b %b%b HTTP/%b\r\n%b\r\n\r\n" % (method, BASE, path, version, b"\r\n".join(lines))
    whole = head + body
    if draw(st.integers(0, 5)) == 0:
        whole = whole[: draw(st.integers(0, len(whole)))]
    return whole


NEXT = Send(0, b"GET " + BASE + b"invocation/next HTTP/1.1\r\nHost: localhost\r\n\r\n")
steps = st.lists(
    st.one_of(
        st.builds(Send, st.integers(0, 2), requests()),
        st.just(NEXT),
        st.builds(Do, st.sampled_from(["close", "half-close", "wait"]), st.integers(0, 2)),
        st.builds(Do, st.sampled_from(["wait", "wait", "cancel", "call"])),
    ),
    max_size=14,
)


class Runtime:
    """Plays the steps on a started environment, and reads all it is answered."""

    def __init__(self, environment: FakeEnvironment, own: bool, shared: bool) -> None:
        self.environment = environment
        self.own = own
        self.shared = shared
        self.answers = b""
        self.id = self.attempt = b"none"
        self.sockets: dict[int, Any] = {}
        self.loop = asyncio.get_running_loop()

    def socket(self, number: int) -> Any:
        """The connection of this number; the own runtime has one only, unless its environment is shared."""
        number = 0 if self.own and not self.shared else number
        if number not in self.sockets:
            try:
                if self.own:
                    assert self.environment._dial is not None
                    self.environment._dial.setblocking(
                        False
                    )  # it is handed another when it was cancelled only
                    if self.shared:
                        self.sockets[number] = self.environment.handed_out()
                    else:
                        self.environment.connect()
                        self.sockets[number] = self.environment.client.sock
                else:
                    self.sockets[number] = self.environment.dialled()
            except OSError:
                return None  # there is none to be had
        return self.sockets[number]

    def send(self, step: Send) -> None:
        data = step.data.replace(b"%ID%", self.id).replace(b"%TRY%", self.attempt)
        if (sock := self.socket(step.connection)) is not None:
            try:
                sock.send(data)  # what does not fit is cut: that is one more way to be broken
            except OSError:
                pass

    def do(self, step: Do) -> None:
        sock = (
            self.sockets.pop(step.connection, None)
            if step.what == "close"
            else self.sockets.get(step.connection)
        )
        if sock is None:
            return
        try:
            if step.what == "close":
                sock.close()
            else:
                sock.shutdown(1)
        except OSError:
            pass

    async def read(self) -> None:
        """Let the service work, and read what it answers."""
        for _ in range(6):
            await asyncio.sleep(0)
            for sock in self.sockets.values():
                try:
                    self.answers += sock.recv(1_000_000)
                except OSError:
                    pass
        for name, value in re.findall(rb"Lambda-Runtime-(Aws-Request-Id|Invocation-Id): (\S+)", self.answers):
            if name == b"Aws-Request-Id":
                self.id = value
            else:
                self.attempt = value

    def close(self) -> None:
        for sock in self.sockets.values():
            sock.close()


def descriptors() -> set[str]:
    """What this process has open, except what is the event loop's own."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            pass  # the one the folder was listed with
    return {target for target in found if not target.startswith("anon_inode:")}


async def play(function: dict[str, Any], script: list[Send | Do], ends: str) -> None:
    before = descriptors()
    async with Bench(function, init_timeout=0.1, cancel_grace=0.02) as bench:
        called = [bench.call(payload=b'"' + b"e" * 20_000 + b'"')]
        environment = await bench.environment()
        runtime = Runtime(environment, "runtime" not in function, "concurrency" in function)
        for step in script:
            if isinstance(step, Send):
                runtime.send(step)
            elif step.what == "cancel":
                called[-1][0].cancel()
            elif step.what == "call" and len(called) < 3:
                called.append(bench.call())
            elif step.what in ("close", "half-close"):
                runtime.do(step)
            await runtime.read()
        if ends == "exit" and not environment.signals:
            environment.exit(1)
        elif ends == "close":
            runtime.close()
        # The caller is always told, by the function's timeout at the latest; others may need another one.
        outcomes = []
        for _, response in called:
            if response.outcomes or response is called[0][1]:
                outcomes.append(await response.outcome())
        await runtime.read()
        statuses = {int(status) for status in STATUS.findall(runtime.answers)}
        assert not {status for status in statuses if status >= 500 and status != 501}
        assert all(outcome.ending in Ending for outcome in outcomes)
        runtime.close()
        for each in bench.backend.environments:
            each.signal(signal.SIGKILL)
        await bench.service.stop(0)
        await bench.until(lambda: not bench.service._environments)
        assert all(len(response.outcomes) == 1 for _, response in called)
        assert not bench.service._invocations
    while descriptors() - before:  # noqa: ASYNC110  # transports close in a later turn of the loop
        await asyncio.sleep(0)


Play = Callable[[Coroutine[Any, Any, None]], None]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_whatever_a_runtime_does(
    loop: str, function: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Environment, "SETTLE", 0.02)

    @settings(
        max_examples=int(os.environ.get("PENSTOCK_FUZZ", "60")),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(steps, st.sampled_from(["exit", "close", "stay"]))
    def play_all(script: list[Send | Do], ends: str) -> None:
        run_on(LOOPS[loop], play(function, [NEXT, *script], ends))

    play_all()
