"""The Runtime API's exchanges: what a runtime may send when, its answers, what the invocation is told."""

import base64
import json
import tracemalloc
from typing import Any

import pytest

from http_kit import Clock, Wire
from penstock.http import Config, Connection
from penstock.http.timers import Timers
from penstock.http.writer import Writer
from penstock.protocol.call import Head
from penstock.service.runtime_api import RuntimeApi
from penstock.service.runtime_states import State

BASE = "/2018-06-01/runtime"
TOO_LARGE = "Exceeded maximum allowed payload size (6291556 bytes)."
TRUNCATED = "HTTP request detected as truncated"
RESPONSE = f"{BASE}/invocation/id-1/response"
ERROR = f"{BASE}/invocation/id-1/error"
STREAMING = "Lambda-Runtime-Function-Response-Mode: streaming"


class World:
    """An environment running invocation id-1, all of it writing down, with a runtime connected to it."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.errors: list[Exception] = []
        # As the environment.
        self.invocation: World | None = self
        self.state = State.RUNNING
        self.attempt = "try-1"
        self.given_up = False
        # As the invocation.
        self.request_id = "id-1"
        self.too_large = False
        self.body = b""
        clock, self.wire = Clock(), Wire()
        config = Config(stamp=False, on_error=self.errors.append)
        self.connection = Connection(RuntimeApi(self), config, Timers(clock, 1))  # type: ignore[arg-type]
        self.connection.connection_made(self.wire)

    def asked(self, writer: Writer) -> None:
        self.told.append("asked")

    def hung_up(self, writer: Writer) -> None:
        self.told.append("hung up")

    def answered(self) -> None:
        self.state = State.RESPONSE_SENT
        self.told.append("answered")

    def cut_off(self, invocation: "World") -> None:
        assert invocation is self
        self.state = State.RESPONSE_SENT
        self.told.append("cut off")

    def responding(self, writer: Writer) -> None:
        self.told.append("responding")

    def init_failed(self, error_type: str, document: bytes) -> None:
        self.told.append(("init failed", error_type, document))

    def head(self, head: Head, length: int | None) -> None:
        self.told.append((head.content_type, head.streamed, length))

    def data(self, slices: list[memoryview]) -> None:
        self.body += b"".join(slices)

    def complete(self) -> None:
        self.told.append("complete")

    def failed(self, error_type: str, document: bytes) -> None:
        self.told.append(("failed", error_type, document))

    def send(self, method: str, path: str, *headers: str, body: bytes | None = None) -> tuple[int, Any]:
        """Status and JSON of the answer."""
        lines = [f"{method} {path} HTTP/1.1", "Host: a", *headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.wire.writes.clear()
        self.connection.data_received("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))
        assert not self.errors, self.errors
        return self.answer()

    def answer(self) -> tuple[int, Any]:
        head, _, body = self.wire.sent.partition(b"\r\n\r\n")
        if not head:
            return 0, None
        return int(head.split(b" ")[1]), json.loads(body) if b"/json" in head and body else body

    def refused(self, status: int, error_type: str, message: str) -> bool:
        """Whether that was the answer, in the emulator's bytes."""
        document = {"errorMessage": message, "errorType": error_type}
        body = json.dumps(document, separators=(",", ":")).encode() + b"\n"
        return self.answer() == (status, document) and self.wire.sent.endswith(b"\r\n\r\n" + body)


ACCEPTED = (202, {"status": "OK"})


def out_of_turn(state: str, wanted: str) -> tuple[str, str]:
    """Type and message of AWS's answer."""
    message = (
        f"State transition from {state} to {wanted} failed for runtime."
        " Error: State transition is not allowed"
    )
    return "InvalidStateTransition", message


def test_next_waits_for_an_event() -> None:
    world = World()
    assert world.send("GET", f"{BASE}/invocation/next") == (0, None)
    assert world.told == ["asked"]


def test_a_buffered_response() -> None:
    world = World()
    assert world.send("POST", RESPONSE, "Content-Type: application/json", body=b'{"a":1}') == ACCEPTED
    assert world.told == ["responding", ("application/json", False, 7), "complete", "answered"]
    assert world.body == b'{"a":1}'
    assert world.state is State.RESPONSE_SENT


@pytest.mark.parametrize(
    ("headers", "content_type"),
    [
        ([STREAMING, "Content-Type: text/plain"], "text/plain"),
        (["lambda-runtime-function-response-mode: streaming", "content-type: text/plain"], "text/plain"),
        ([STREAMING], "application/octet-stream"),
        (
            ["Content-Type: application/vnd.awslambda.http-integration-response"],
            "application/vnd.awslambda.http-integration-response",
        ),
        (
            ["Content-Type: Application/vnd.awslambda.http-integration-response; x=y"],
            "Application/vnd.awslambda.http-integration-response; x=y",
        ),
    ],
)
def test_a_streamed_response_is_known_by_its_own_headers(headers: list[str], content_type: str) -> None:
    world = World()
    assert world.send("POST", RESPONSE, *headers, "Transfer-Encoding: chunked") == (0, None)
    assert world.told == ["responding", (content_type, True, None)]
    world.connection.data_received(b"3\r\none\r\n")
    assert (world.body, world.answer()) == (b"one", (0, None))
    world.connection.data_received(b"3\r\ntwo\r\n0\r\n")
    assert world.answer() == (0, None)  # not before its end was read
    world.connection.data_received(b"\r\n")
    assert (world.body, world.told[-2:]) == (b"onetwo", ["complete", "answered"])
    assert world.answer() == ACCEPTED


@pytest.mark.parametrize(
    ("trailer", "document"),
    [
        (base64.b64encode(b'{"errorMessage":"late"}').decode(), b'{"errorMessage":"late"}'),
        (base64.b64encode(b"not JSON").decode(), b"not JSON"),
        ("no base64!", b""),
        ("e30", b""),  # its padding is missing
        ("", b""),
    ],
)
def test_an_error_in_the_trailers_comes_before_the_end(trailer: str, document: bytes) -> None:
    world = World()
    world.send("POST", RESPONSE, STREAMING, "Transfer-Encoding: chunked")
    world.connection.data_received(
        b"1\r\nx\r\n0\r\nLambda-Runtime-Function-Error-Type: ValueError\r\n"
        b"Lambda-Runtime-Function-Error-Body: " + trailer.encode() + b"\r\n\r\n"
    )
    assert world.told[-3:] == [("failed", "ValueError", document), "complete", "answered"]
    assert world.answer() == ACCEPTED


@pytest.mark.parametrize(
    "trailer",
    [b"X-Checksum: 1", b"Lambda-Runtime-Function-Error-Body: e30=", b"Lambda-Runtime-Function-Error-Type:"],
)
def test_other_trailers_mean_nothing_and_a_body_without_a_type_neither(trailer: bytes) -> None:
    world = World()
    world.send("POST", RESPONSE, STREAMING, "Transfer-Encoding: chunked")
    world.connection.data_received(b"0\r\n" + trailer + b"\r\n\r\n")
    assert world.told[-2:] == ["complete", "answered"]
    assert not any(isinstance(entry, tuple) and entry[0] == "failed" for entry in world.told)


def test_an_error() -> None:
    world = World()
    answer = world.send("POST", ERROR, "Lambda-Runtime-Function-Error-Type: ValueError", body=b'{"a":1}')
    assert answer == ACCEPTED
    assert world.told == [("failed", "ValueError", b'{"a":1}'), "answered"]


def test_an_error_in_single_bytes_takes_no_more_room_than_its_bytes() -> None:
    world = World()
    world.send("POST", ERROR, "Transfer-Encoding: chunked")
    tracemalloc.start()
    try:
        for _ in range(10):
            world.connection.data_received(b"2\r\n12\r\n" * 5_000)
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()
    world.connection.data_received(b"0\r\n\r\n")
    assert world.told == [("failed", "Runtime.Unknown", b"12" * 50_000), "answered"]


def test_an_error_without_a_type() -> None:
    world = World()
    world.send("POST", ERROR, body=b"{}")
    assert world.told == [("failed", "Runtime.Unknown", b"{}"), "answered"]


@pytest.mark.parametrize("body", [b"", b"not JSON", b"\xff\x00"])
def test_the_body_of_an_error_is_passed_on_as_it_is(body: bytes) -> None:
    world = World()
    assert world.send("POST", ERROR, "Lambda-Runtime-Function-Error-Type: Function.No", body=body) == ACCEPTED
    assert world.told == [("failed", "Function.No", body), "answered"]


def test_an_xray_cause_is_taken_whether_it_is_in_a_header_or_in_the_body() -> None:
    world = World()
    cause = "Lambda-Runtime-Function-XRay-Error-Cause: " + "x" * 10_000
    assert world.send("POST", ERROR, cause, body=b"{}") == ACCEPTED
    world = World()
    kind = "Content-Type: application/vnd.aws.lambda.error.cause+json"
    document = b'{"errorMessage":"m","errorType":"T","errorCause":{"exceptions":[]}}'
    assert world.send("POST", ERROR, kind, body=document) == ACCEPTED
    assert world.told[0] == ("failed", "Runtime.Unknown", b'{"errorMessage":"m","errorType":"T"}')


def test_an_error_report_over_the_limit() -> None:
    world = World()
    world.send("POST", ERROR, "Transfer-Encoding: chunked")
    world.connection.data_received(b"600065\r\n" + bytes(0x600065) + b"\r\n")
    assert world.refused(413, "RequestEntityTooLarge", TOO_LARGE)
    assert world.told[0][:2] == ("failed", "Function.ResponseSizeTooLarge")
    assert world.told[1:] == ["answered"]


def test_a_response_over_the_limit_is_answered_so() -> None:
    world = World()
    world.too_large = True
    world.send("POST", RESPONSE, body=b"{}")
    assert world.refused(413, "RequestEntityTooLarge", TOO_LARGE)


def test_the_end_of_a_response_far_over_the_limit_is_not_waited_for() -> None:
    world = World()
    world.too_large = True
    world.send("POST", RESPONSE, "Transfer-Encoding: chunked")
    mebibyte = b"100000\r\n" + bytes(0x100000) + b"\r\n"
    for _ in range(12):
        world.connection.data_received(mebibyte)
    assert world.answer() == (0, None)
    world.connection.data_received(mebibyte)
    assert world.refused(413, "RequestEntityTooLarge", TOO_LARGE)
    assert world.state is State.RESPONSE_SENT


@pytest.mark.parametrize("mode", ["buffered", "Streaming", "streaming, streaming", "streaming;q=1"])
def test_a_response_mode_that_is_none(mode: str) -> None:
    world = World()
    world.send("POST", RESPONSE, f"Lambda-Runtime-Function-Response-Mode: {mode}", body=b"{}")
    assert world.refused(400, "InvalidFunctionResponseMode", "Invalid function response mode")
    (verb, error_type, _), answered = world.told
    assert (verb, error_type, answered) == ("failed", "Runtime.InvalidResponseModeHeader", "answered")


def test_an_empty_response_mode_is_none_at_all() -> None:
    world = World()
    assert world.send("POST", RESPONSE, "Lambda-Runtime-Function-Response-Mode:", body=b"{}") == ACCEPTED
    assert world.told[1] == ("application/octet-stream", False, 2)


@pytest.mark.parametrize("verb", ["response", "error"])
@pytest.mark.parametrize("case", ["another id", "answered already", "idle"])
def test_an_answer_nobody_waits_for(verb: str, case: str) -> None:
    world = World()
    id = "id-1"
    if case == "another id":
        id = "id-2"
    elif case == "idle":
        world.invocation = None
        world.state = State.READY
    else:
        world.send("POST", RESPONSE, body=b"1")
        world.told.clear()
    world.send("POST", f"{BASE}/invocation/{id}/{verb}", body=b"{}")
    assert world.refused(400, "InvalidRequestID", "Invalid request ID")
    assert world.told == []


@pytest.mark.parametrize("path", [RESPONSE, ERROR])
def test_the_attempt_an_answer_is_for(path: str) -> None:
    world = World()
    world.send("POST", path, "Lambda-Runtime-Invocation-Id: try-0", body=b"{}")
    assert world.refused(410, "InvokeTimeout", "Invoke timeout")
    assert (world.told, world.state) == ([], State.RUNNING)
    assert world.send("POST", path, "lambda-runtime-invocation-id: try-1", body=b"{}") == ACCEPTED
    world.send("POST", path, "Lambda-Runtime-Invocation-Id: try-1", body=b"{}")
    assert world.refused(400, "InvalidRequestID", "Invalid request ID")


@pytest.mark.parametrize("path", [RESPONSE, ERROR])
def test_an_answer_after_the_end_of_its_attempt(path: str) -> None:
    world = World()
    world.given_up = True
    world.send("POST", path, "Lambda-Runtime-Invocation-Id: try-1", body=b"{}")
    assert world.refused(410, "InvokeTimeout", "Invoke timeout")
    # A runtime that does not know the header is let do its work; the invocation takes no notice.
    assert world.send("POST", path, body=b"{}") == ACCEPTED


def test_a_refused_body_without_an_end_is_not_waited_for() -> None:
    world = World()
    world.send("POST", f"{BASE}/invocation/id-2/response", "Transfer-Encoding: chunked")
    for _ in range(7):
        assert world.answer() == (0, None)
        world.connection.data_received(b"100000\r\n" + bytes(0x100000) + b"\r\n")
    assert world.refused(400, "InvalidRequestID", "Invalid request ID")


def test_the_connection_stays_usable_after_a_refusal() -> None:
    world = World()
    world.send("POST", f"{BASE}/invocation/id-2/response", body=b"x" * 100_000)
    assert world.send("POST", RESPONSE, body=b"1") == ACCEPTED


def test_an_init_error() -> None:
    world = World()
    world.state = State.STARTED
    header = "Lambda-Runtime-Function-Error-Type: Runtime.ImportModuleError"
    assert world.send("POST", f"{BASE}/init/error", header, body=b"{}") == ACCEPTED
    assert world.told == [("init failed", "Runtime.ImportModuleError", b"{}")]
    world.send("POST", f"{BASE}/init/error", header, body=b"{}")
    assert world.refused(403, *out_of_turn("InitError", "InitError"))
    assert len(world.told) == 1


@pytest.mark.parametrize("state", [State.READY, State.RUNNING, State.RESPONSE_SENT])
def test_an_init_error_too_late(state: State) -> None:
    world = World()
    world.state = state
    world.send("POST", f"{BASE}/init/error", body=b"{}")
    assert world.refused(403, *out_of_turn(state.value, "InitError"))
    assert world.told == []


def test_a_restore_is_over_at_once() -> None:
    world = World()
    world.state = State.STARTED
    assert world.send("GET", f"{BASE}/restore/next") == (200, b"")
    assert world.state is State.RESTORING
    world.send("GET", f"{BASE}/restore/next")
    assert world.refused(403, *out_of_turn("Restoring", "Ready"))
    world.send("GET", f"{BASE}/invocation/next")
    assert world.told == ["asked"]


def test_a_restore_that_fails() -> None:
    world = World()
    world.state = State.RESTORING
    header = "Lambda-Runtime-Function-Error-Type: Runtime.AfterRestoreError"
    assert world.send("POST", f"{BASE}/restore/error", header, body=b"{}") == ACCEPTED
    assert world.told == [("init failed", "Runtime.AfterRestoreError", b"{}")]
    world.send("GET", f"{BASE}/invocation/next")
    assert world.refused(403, *out_of_turn("RuntimeRestoreErrorState", "Ready"))


@pytest.mark.parametrize("state", [State.STARTED, State.READY, State.RUNNING])
def test_restore_errors_out_of_turn(state: State) -> None:
    world = World()
    world.state = state
    world.send("POST", f"{BASE}/restore/error", body=b"{}")
    assert world.refused(403, *out_of_turn(state.value, "RuntimeRestoreErrorState"))
    assert (world.told, world.state) == ([], state)


@pytest.mark.parametrize("state", [State.RESPONSE, State.ERROR, State.INIT_ERROR])
def test_next_out_of_turn(state: State) -> None:
    world = World()
    world.state = state
    world.send("GET", f"{BASE}/invocation/next")
    assert world.refused(403, *out_of_turn(state.value, "Ready"))
    assert world.told == []


def test_next_that_is_given_up() -> None:
    world = World()
    world.send("GET", f"{BASE}/invocation/next")
    world.connection.connection_lost(None)
    assert world.told == ["asked", "hung up"]


def test_ping() -> None:
    assert World().send("GET", "/2018-06-01/ping") == (200, b"pong")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/ping"),
        ("GET", "/2021-04-23/credentials"),
        ("POST", f"{BASE}/invocation/id-1/nope"),
        ("POST", f"{BASE}/invocation/id-1"),
        ("GET", "/2015-03-31/runtime/invocation/next"),
    ],
)
def test_what_is_not_there(method: str, path: str) -> None:
    world = World()
    answer = world.send(method, path, body=b"{}" if method == "POST" else None)
    assert answer == (404, b"404 page not found\n")
    assert world.told == []


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", f"{BASE}/invocation/next", b"GET"),
        ("HEAD", f"{BASE}/invocation/next", b"GET"),
        ("GET", RESPONSE, b"POST"),
        ("PUT", ERROR, b"POST"),
        ("GET", f"{BASE}/init/error", b"POST"),
        ("POST", f"{BASE}/restore/next", b"GET"),
        ("GET", f"{BASE}/restore/error", b"POST"),
    ],
)
def test_another_method(method: str, path: str, allowed: bytes) -> None:
    world = World()
    assert world.send(method, path)[0] == 405
    assert b"\r\nAllow: " + allowed + b"\r\n" in world.wire.sent
    assert world.told == []


def test_a_query_is_no_part_of_the_path() -> None:
    world = World()
    world.send("GET", f"{BASE}/invocation/next?x=1")
    assert world.told == ["asked"]


@pytest.mark.parametrize("path", [RESPONSE, ERROR])
@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("end", ["eof", "lost"])
def test_an_answer_that_breaks_off(path: str, framing: str, end: str) -> None:
    world = World()
    world.send("POST", path, STREAMING, framing)
    world.connection.data_received(b"5\r\nhal")
    world.told.clear()
    if end == "eof":
        world.connection.eof_received()
        assert world.refused(400, "TruncatedHTTPRequest", TRUNCATED)
        assert b"Connection: close\r\n" in world.wire.sent
    world.connection.connection_lost(None)
    assert world.told == ["cut off"]


@pytest.mark.parametrize("rest", [b"xyz\r\n", b"0\r\nA: " + b"b" * 70_000, b"0\r\nno trailer\r\n\r\n"])
def test_a_malformed_body_counts_as_broken_off(rest: bytes) -> None:
    world = World()
    world.send("POST", RESPONSE, STREAMING, "Transfer-Encoding: chunked")
    world.told.clear()
    world.connection.data_received(b"1\r\na\r\n" + rest)
    assert world.refused(400, "TruncatedHTTPRequest", TRUNCATED)
    world.connection.connection_lost(None)
    assert world.told == ["cut off"]


def test_an_init_error_that_breaks_off_is_told_by_the_exit_alone() -> None:
    world = World()
    world.state = State.STARTED
    world.send("POST", f"{BASE}/init/error", "Content-Length: 10")
    world.connection.eof_received()
    assert world.refused(400, "TruncatedHTTPRequest", TRUNCATED)
    assert world.told == []


def test_a_body_is_asked_for_where_the_client_waits_to_be_asked() -> None:
    world = World()
    world.send("POST", RESPONSE, "Expect: 100-continue", "Content-Length: 2")
    assert world.wire.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    world.wire.writes.clear()
    world.connection.data_received(b"{}")
    assert world.answer() == ACCEPTED


def test_a_client_of_the_old_http() -> None:
    world = World()
    world.connection.data_received(f"POST {RESPONSE} HTTP/1.0\r\nContent-Length: 2\r\n\r\n".encode() + b"{}")
    assert world.answer() == ACCEPTED
    assert world.wire.closed
