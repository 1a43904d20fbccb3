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

BASE = "/2018-06-01/runtime"
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
        self.answered = False
        self.initialised = True
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
        return (int(head.split(b" ")[1]), json.loads(body)) if head else (0, None)


ACCEPTED = (202, {"status": "OK"})


def test_next_waits_for_an_event() -> None:
    world = World()
    assert world.send("GET", f"{BASE}/invocation/next") == (0, None)
    assert world.told == ["asked"]


def test_a_buffered_response() -> None:
    world = World()
    assert world.send("POST", RESPONSE, "Content-Type: application/json", body=b'{"a":1}') == ACCEPTED
    assert world.told == ["responding", ("application/json", False, 7), "complete"]
    assert world.body == b'{"a":1}'
    assert world.answered


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
    assert world.body == b"one"
    world.connection.data_received(b"3\r\ntwo\r\n0\r\n\r\n")
    assert (world.body, world.told[-1]) == (b"onetwo", "complete")
    assert world.answer() == ACCEPTED


@pytest.mark.parametrize(
    ("trailer", "document"),
    [
        (base64.b64encode(b'{"errorMessage":"late"}').decode(), b'{"errorMessage":"late"}'),
        ("no base64!", b""),
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
    assert world.told[-2:] == [("failed", "ValueError", document), "complete"]
    assert world.answer() == ACCEPTED


def test_other_trailers_mean_nothing() -> None:
    world = World()
    world.send("POST", RESPONSE, STREAMING, "Transfer-Encoding: chunked")
    world.connection.data_received(b"0\r\nX-Checksum: 1\r\n\r\n")
    assert world.told[-1] == "complete"
    assert not any(isinstance(entry, tuple) and entry[0] == "failed" for entry in world.told)


def test_an_error() -> None:
    world = World()
    answer = world.send("POST", ERROR, "Lambda-Runtime-Function-Error-Type: ValueError", body=b'{"a":1}')
    assert answer == ACCEPTED
    assert world.told == [("failed", "ValueError", b'{"a":1}')]


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
    assert world.told == [("failed", "Runtime.Unknown", b"12" * 50_000)]


def test_an_error_without_a_type() -> None:
    world = World()
    world.send("POST", ERROR, body=b"{}")
    assert world.told == [("failed", "Runtime.Unknown", b"{}")]


def test_a_response_over_the_limit_is_answered_so() -> None:
    world = World()
    world.too_large = True
    status, document = world.send("POST", RESPONSE, body=b"{}")
    assert (status, document["errorType"]) == (413, "RequestEntityTooLarge")
    assert document["errorMessage"] == "Exceeded maximum allowed payload size (6291556 bytes)."


def test_a_response_mode_that_is_none() -> None:
    world = World()
    status, document = world.send(
        "POST", RESPONSE, "Lambda-Runtime-Function-Response-Mode: buffered", body=b"{}"
    )
    assert (status, document["errorType"]) == (400, "InvalidFunctionResponseMode")
    ((verb, error_type, _),) = world.told
    assert (verb, error_type) == ("failed", "Runtime.InvalidResponseModeHeader")


@pytest.mark.parametrize("verb", ["response", "error"])
@pytest.mark.parametrize("case", ["another id", "answered already", "idle"])
def test_an_answer_nobody_waits_for(verb: str, case: str) -> None:
    world = World()
    id = "id-1"
    if case == "another id":
        id = "id-2"
    elif case == "idle":
        world.invocation = None
    else:
        world.send("POST", RESPONSE, body=b"1")
        world.told.clear()
    status, document = world.send("POST", f"{BASE}/invocation/{id}/{verb}", body=b"{}")
    assert (status, document) == (
        400,
        {"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"},
    )
    assert world.told == []


def test_the_connection_stays_usable_after_a_refusal() -> None:
    world = World()
    world.send("POST", f"{BASE}/invocation/id-2/response", body=b"x" * 100_000)
    assert world.send("POST", RESPONSE, body=b"1") == ACCEPTED


def test_an_init_error() -> None:
    world = World()
    world.initialised = False
    header = "Lambda-Runtime-Function-Error-Type: Runtime.ImportModuleError"
    assert world.send("POST", f"{BASE}/init/error", header, body=b"{}") == ACCEPTED
    assert world.told == [("init failed", "Runtime.ImportModuleError", b"{}")]


def test_an_init_error_too_late() -> None:
    world = World()
    status, document = world.send("POST", f"{BASE}/init/error", body=b"{}")
    assert (status, document["errorType"]) == (403, "InvalidStateTransition")
    assert world.told == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("POST", f"{BASE}/invocation/next"),
        ("GET", RESPONSE),
        ("POST", f"{BASE}/invocation/id-1/nope"),
        ("POST", f"{BASE}/invocation/id-1"),
        ("GET", "/2015-03-31/runtime/invocation/next"),
    ],
)
def test_what_is_not_there(method: str, path: str) -> None:
    world = World()
    status, document = world.send(method, path, body=b"{}" if method == "POST" else None)
    assert (status, document["errorType"]) == (404, "NotFound")
    assert world.told == []


def test_a_response_that_breaks_off_is_told_by_the_exit_alone() -> None:
    world = World()
    world.send("POST", RESPONSE, STREAMING, "Transfer-Encoding: chunked")
    world.connection.data_received(b"5\r\nhal")
    world.connection.connection_lost(None)
    assert "complete" not in world.told
