"""Requests to functions and back: what the client gets, what the function is told, what the log says."""

import base64
import json
import tracemalloc

import pytest

from gateway_kit import Door, FakeInvoker
from penstock.gateway.routes import Routes
from penstock.http.request import Request
from penstock.protocol import limits, sigv4
from penstock.protocol.call import Ending, Outcome
from penstock.protocol.prelude import DELIMITER
from penstock.protocol.urls import Cors, FunctionUrl
from penstock.service import outcomes

HTTP = "application/vnd.awslambda.http-integration-response"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
FAILED = outcomes.function_error("ValueError", b'{"errorMessage":"no"}')


def prelude(**document: object) -> bytes:
    return json.dumps(document).encode() + DELIMITER


def buffered(door: Door, result: object, request: bytes | None = None) -> None:
    invocation = door.request(request) if request else door.request()
    invocation.head("application/json", streamed=False)
    invocation.data(json.dumps(result).encode() if not isinstance(result, bytes) else result)
    invocation.end(outcomes.DONE)


# The event.


def test_a_request_becomes_an_event() -> None:
    door = Door()
    body = b'{"a":1}'
    call = door.request(
        b"POST /a%2Fb//c?x=1&x=2 HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        b"Content-Length: 7\r\n\r\n" + body
    ).call
    event = json.loads(call.payload)
    assert call.function == "app"
    assert (event["httpMethod"], event["path"], event["body"]) == ("POST", "/a%2Fb//c", '{"a":1}')
    assert event["multiValueQueryStringParameters"] == {"x": ["1", "2"]}
    assert call.trace_id.startswith("Root=1-")
    assert event["headers"]["X-Amzn-Trace-Id"] == call.trace_id


def test_a_callers_trace_goes_on() -> None:
    call = Door().request(b"GET / HTTP/1.1\r\nHost: h\r\nX-Amzn-Trace-Id: Root=1-2-3\r\n\r\n").call
    assert call.trace_id == "Root=1-2-3"


@pytest.mark.parametrize(
    ("settings", "path", "version", "seen"),
    [
        ({}, b"/x", None, "/x"),
        ({"event_format": "2.0"}, b"/x", "2.0", "/x"),
        ({}, b"/lambda-url/app/x", "2.0", "/x"),
        ({"event_format": "2.0"}, b"/lambda-url/app", "2.0", "/"),
    ],
)
def test_the_front_door_chooses_the_format(
    settings: dict[str, str], path: bytes, version: str | None, seen: str
) -> None:
    call = Door(**settings).request(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % path).call
    event = json.loads(call.payload)
    assert event.get("version") == version
    assert event["rawPath" if version else "path"] == seen


def test_a_chunked_binary_body_goes_base64() -> None:
    call = (
        Door()
        .request(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\n\x89P\r\n1\r\n\xff\r\n0\r\n\r\n"
        )
        .call
    )
    event = json.loads(call.payload)
    assert (event["isBase64Encoded"], base64.b64decode(event["body"])) == (True, b"\x89P\xff")


def test_a_body_in_single_bytes_takes_no_more_room_than_its_bytes() -> None:
    door = Door()
    door.connection.data_received(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    tracemalloc.start()
    try:
        for _ in range(10):
            door.connection.data_received(b"1\r\nx\r\n" * 5_000)
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()
    call = door.request(b"0\r\n\r\n").call
    assert json.loads(call.payload)["body"] == "x" * 50_000


@pytest.mark.parametrize(
    ("content_type", "size", "said"),
    [
        (b"text/plain", limits.GATEWAY_BODY + 1, "a request body may have 10,485,760 bytes"),
        (b"text/plain", limits.REQUEST_PAYLOAD, "an event may have 6,291,456 bytes"),
        (b"image/png", 5_000_000, "grow by a third in Base64"),
    ],
)
def test_too_much_is_refused_without_a_call(content_type: bytes, size: int, said: str) -> None:
    door = Door()
    door.connection.data_received(
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (content_type, size)
    )
    piece = b"x" * 100_000 if content_type == b"text/plain" else b"\xff" * 100_000
    for start in range(0, size, len(piece)):
        door.connection.data_received(piece[: size - start])
    assert door.status == 413
    assert json.loads(door.body) == {"message": "Request Entity Too Large"}
    assert not door.invoker.invocations
    assert (door.record.ending, door.record.status, door.record.ok) == ("refused", 413, False)
    assert said in door.record.detail


def test_nothing_at_this_path() -> None:
    door = Door(FakeInvoker(["f", "g"]))
    door.connection.data_received(b"GET /?a=b HTTP/1.1\r\nHost: h\r\n\r\n")
    assert door.status == 404
    assert set(json.loads(door.body)["functions"]) == {"f", "g"}
    record = door.record
    assert (record.status, record.ending, record.path, record.function) == (404, "not found", "/?a=b", "")
    assert record.bytes == len(door.body)


def test_head_of_nothing() -> None:
    door = Door(FakeInvoker(["f", "g"]))
    door.connection.data_received(HEAD)
    assert (door.status, door.body, door.record.bytes) == (404, b"", 0)


def test_a_function_that_has_just_gone_is_a_404() -> None:
    door = Door(FakeInvoker(["other"]), Routes(["app"]))
    door.connection.data_received(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert door.status == 404
    assert not door.errors
    assert door.record.detail == "Function not found: app"


# Buffered.


def test_a_buffered_result() -> None:
    door = Door()
    buffered(door, {"statusCode": 201, "headers": {"X-A": "b"}, "body": "hello"})
    assert door.status == 201
    assert b"\r\nX-A: b\r\n" in door.sent
    assert b"\r\nContent-Length: 5\r\n" in door.sent
    assert door.body == b"hello"
    record = door.record
    assert (record.status, record.ending, record.ok, record.detail) == (201, "done", True, "")
    assert (record.bytes, record.chunks, record.function) == (5, 1, "app")
    assert record.request_id == "request-1"
    assert record.first_byte is not None
    assert 0 <= record.first_byte <= record.total


def test_a_buffered_result_in_pieces() -> None:
    door = Door()
    invocation = door.request()
    invocation.head("application/json", streamed=False)
    read = bytearray(b'{"statusCode": 200, "bo')
    invocation.data(memoryview(read))
    read[:] = bytes(len(read))  # a read buffer may be used again
    invocation.data(b'dy": ', b'"hi"}')
    assert door.sent == b""
    invocation.end(outcomes.DONE)
    assert door.body == b"hi"


def test_a_buffered_result_in_tiny_pieces_takes_no_more_room_than_its_bytes() -> None:
    door = Door()
    invocation = door.request()
    invocation.head("application/json", streamed=False)
    piece = memoryview(bytearray(b"12"))
    tracemalloc.start()
    try:
        for _ in range(50_000):
            invocation.data(piece)
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()


def test_the_connection_serves_another_request_after_each_kind() -> None:
    door = Door()
    buffered(door, {"statusCode": 200, "body": "one"})
    second = door.request()
    second.head("text/plain")
    second.data(b"two")
    second.end(outcomes.DONE)
    third = door.request()
    third.end(FAILED)
    buffered(door, {"statusCode": 200, "body": "four"})
    assert door.sent.count(b"HTTP/1.1 200 ") == 3
    assert door.sent.count(b"HTTP/1.1 502 ") == 1
    assert not door.wire.closed
    assert [record.status for record in door.records] == [200, 200, 502, 200]


def test_what_a_rest_api_would_refuse_is_answered_and_noted() -> None:
    door = Door()
    buffered(door, {"hello": 1})
    assert (door.status, door.body) == (200, b'{"hello":1}')
    assert door.record.ok
    assert "a REST API would answer 502" in door.record.detail


@pytest.mark.parametrize(
    ("path", "body", "content_type"),
    [
        (b"/", b'{"message": "Internal server error"}', b"application/json"),
        (b"/lambda-url/app/", b"Internal Server Error", b"text/plain"),
    ],
)
@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"statusCode": 99}, "99"),
        ({"statusCode": 200, "headers": {"a b": "c"}}, "'a b'"),
        ({"statusCode": 200, "headers": {"A": "b\r\nc"}}, "'A' holds CR"),
        (b"no JSON", "is not JSON"),
    ],
)
def test_a_result_that_cannot_be_sent(
    path: bytes, body: bytes, content_type: bytes, result: object, said: str
) -> None:
    door = Door()
    buffered(door, result, b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % path)
    assert (door.status, door.body) == (502, body)
    assert b"Content-Type: " + content_type in door.sent
    record = door.record
    assert (record.status, record.ending, record.ok) == (502, "invalid response", False)
    assert said in record.detail
    assert door.invoker.invocations[0].verbs == []


def test_head_of_a_buffered_result() -> None:
    door = Door()
    buffered(door, {"statusCode": 200, "body": "hello"}, HEAD)
    assert b"Content-Length: 5\r\n" in door.sent
    assert door.body == b""
    record = door.record
    assert (record.bytes, record.chunks, record.first_byte, record.ok) == (0, 0, None, True)


# Streamed.


def test_a_stream_is_forwarded_as_it_comes() -> None:
    door = Door()
    invocation = door.request()
    invocation.head(HTTP)
    assert door.sent == b""
    invocation.data(prelude(statusCode=201, headers={"Content-Type": "text/csv"}, cookies=["a=1", "b=2"]))
    head = door.sent
    assert head.startswith(b"HTTP/1.1 201 Created\r\n")
    assert b"Content-Type: text/csv\r\n" in head
    assert b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n" in head
    assert head.endswith(b"Transfer-Encoding: chunked\r\n\r\n")
    invocation.data(b"one")
    assert door.sent == head + b"3\r\none\r\n"
    invocation.data(b"tw", b"o!")
    invocation.end(outcomes.DONE)
    assert door.sent == head + b"3\r\none\r\n4\r\ntwo!\r\n0\r\n\r\n"
    record = door.record
    assert (record.status, record.ending, record.ok, record.detail) == (201, "done", True, "")
    assert (record.chunks, record.bytes) == (3, 7)


def test_a_raw_stream_has_the_runtimes_content_type() -> None:
    door = Door()
    invocation = door.request()
    invocation.head("application/x-ndjson")
    assert door.sent.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n")
    invocation.data(b"{}\n")
    invocation.end(outcomes.DONE)
    assert door.body == b"3\r\n{}\n\r\n0\r\n\r\n"


def test_the_prelude_may_be_cut_anywhere() -> None:
    wire = prelude(statusCode=202, headers={"X-A": "b"}) + b"\0payload"
    expected = None
    for cut in range(1, len(wire)):
        door = Door()
        invocation = door.request()
        invocation.head(HTTP)
        invocation.data(wire[:cut])
        invocation.data(wire[cut:])
        invocation.end(outcomes.DONE)
        head, _, body = door.sent.partition(b"\r\n\r\n")
        payload = b"".join(part for part in body.replace(b"0\r\n\r\n", b"").split(b"\r\n")[1::2])
        assert payload == b"\0payload"
        expected = expected or head
        assert head == expected


def test_the_prelude_alone_is_a_response() -> None:
    door = Door()
    invocation = door.request()
    invocation.head(HTTP)
    invocation.data(prelude(statusCode=200))
    invocation.end(outcomes.DONE)
    assert door.body == b"0\r\n\r\n"
    assert (door.record.ok, door.record.chunks, door.record.first_byte) == (True, 0, None)


INVALID = [
    (b"no JSON" + DELIMITER + b"payload", "expected the prelude to be JSON"),
    (prelude(statusCode=99) + b"payload", "99"),
    (prelude(headers={"a b": "c"}) + b"payload", "'a b'"),
    (prelude(headers={"A": "b\nc"}) + b"payload", "'A' holds CR"),
    (prelude(cookies=["a\r\nb"]) + b"payload", "cookie 0 holds CR"),
    (prelude(headers={"Content-Length": "x"}) + b"payload", "Content-Length"),
    (b'{"statusCode":200}', "got the end after"),
    (b"", "got the end after 0 bytes"),
]


@pytest.mark.parametrize(("wire", "said"), INVALID)
def test_an_invalid_prelude_in_every_cut_is_a_502(wire: bytes, said: str) -> None:
    for cut in range(len(wire) + 1):
        door = Door()
        invocation = door.request()
        invocation.head(HTTP)
        invocation.data(wire[:cut])
        invocation.data(wire[cut:])
        if DELIMITER in wire:
            invocation.data(b"and more")
        cancelled = invocation.verbs == ["cancel"]
        assert cancelled is (DELIMITER in wire)  # it need not go on, unless it is over
        invocation.end(outcomes.cancelled("closed") if cancelled else outcomes.DONE)
        assert door.status == 502
        assert json.loads(door.body) == {"message": "Internal server error"}
        record = door.record
        assert (record.status, record.ending, record.ok) == (502, "invalid response", False)
        assert said in record.detail
        assert not door.wire.closed


def test_a_prelude_without_end_is_not_read_for_ever() -> None:
    door = Door()
    invocation = door.request()
    invocation.head(HTTP)
    for _ in range(limits.PRELUDE // 1024 + 1):
        if not invocation.verbs:
            invocation.data(b" " * 1024)
    assert invocation.verbs == ["cancel"]
    assert door.status == 502


@pytest.mark.parametrize("policy", ["cancel", "finish"])
@pytest.mark.parametrize(
    ("request_head", "status"), [(HEAD, 200), (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 204), (HEAD, 304)]
)
def test_without_a_body_the_head_is_all(request_head: bytes, status: int, policy: str) -> None:
    door = Door(on_disconnect=policy)
    invocation = door.request(request_head)
    invocation.head(HTTP)
    invocation.data(prelude(statusCode=status) + b"first")
    assert door.status == status
    assert door.body == b""
    if policy == "cancel":
        assert invocation.verbs == ["cancel"]
        invocation.end(outcomes.cancelled("the generator was closed after 1 ms"))
    else:
        assert "cancel" not in invocation.verbs
        invocation.data(b"second")
        invocation.end(outcomes.DONE)
    record = door.record
    assert (record.status, record.ending, record.ok, record.detail) == (status, "done", True, "")
    assert (record.bytes, record.chunks, record.first_byte) == (0, 0, None)
    buffered(door, {"statusCode": 200, "body": "next"})
    assert door.sent.endswith(b"next")


def test_head_of_a_raw_stream() -> None:
    door = Door()
    invocation = door.request(HEAD)
    invocation.head("text/plain")
    assert invocation.verbs == ["cancel"]
    invocation.data(b"ignored")
    assert door.body == b""


@pytest.mark.parametrize(
    ("sent", "body", "closed", "ok", "word", "said"),
    [
        (b"hello", b"hello", "", True, "done", ""),
        (b"hell", b"hell", "close", False, "broken off", "ended before its Content-Length"),
        (b"hello, world", b"hello", "", True, "done", "longer than its Content-Length"),
    ],
)
def test_a_length_the_function_has_set(
    sent: bytes, body: bytes, closed: str, ok: bool, word: str, said: str
) -> None:
    door = Door()
    invocation = door.request()
    invocation.head(HTTP)
    invocation.data(prelude(headers={"Content-Length": "5"}))
    invocation.data(sent)
    invocation.end(outcomes.DONE)
    assert b"Content-Length: 5\r\n" in door.sent
    assert door.body == body
    assert door.wire.closed == closed
    assert (door.record.ok, door.record.ending) == (ok, word)
    assert said in door.record.detail


@pytest.mark.parametrize("policy", ["cancel", "finish"])
@pytest.mark.parametrize(
    "pieces", [(b"hello, ", b"world"), (b"hello", b", world"), (b"hello", b"", b"!", b"!")]
)
def test_a_function_that_goes_on_past_its_length_is_stopped_as_if_the_client_had_left(
    policy: str, pieces: tuple[bytes, ...]
) -> None:
    door = Door(on_disconnect=policy)
    invocation = door.request()
    invocation.head(HTTP)
    invocation.data(prelude(headers={"Content-Length": "5"}))
    for piece in pieces:
        invocation.data(piece)
    assert door.body == b"hello"
    assert invocation.verbs.count("cancel") == (policy == "cancel")
    assert invocation.verbs[-1] == ("cancel" if policy == "cancel" else "resume")
    invocation.end(outcomes.cancelled("the generator was closed") if policy == "cancel" else outcomes.DONE)
    record = door.record
    assert (record.status, record.ending, record.ok, record.bytes) == (200, "done", True, 5)
    assert record.detail == "the stream is longer than its Content-Length: the rest was dropped"
    buffered(door, {"statusCode": 200, "body": "next"})
    assert door.sent.endswith(b"next")


def test_a_client_that_leaves_before_the_length_is_reached_cancels_once() -> None:
    door = Door()
    invocation = door.request()
    invocation.head(HTTP)
    invocation.data(prelude(headers={"Content-Length": "5"}) + b"hell")
    door.leave()
    invocation.data(b"o, world")
    assert invocation.verbs == ["cancel"]
    invocation.end(outcomes.cancelled("the generator was closed"))
    assert (door.record.ending, door.record.detail) == ("client left", "the generator was closed")


def test_a_client_may_leave_once_it_has_the_length_it_was_promised() -> None:
    door = Door()
    invocation = door.request()
    invocation.head(HTTP)
    invocation.data(prelude(headers={"Content-Length": "5"}) + b"hello")
    door.leave()
    assert "cancel" not in invocation.verbs
    invocation.end(outcomes.DONE)
    assert (door.record.ok, door.record.ending) == (True, "done")


# Failures.


@pytest.mark.parametrize(
    ("outcome", "status", "message"),
    [
        (FAILED, 502, "Internal server error"),
        (outcomes.timed_out("id", 3), 502, "Internal server error"),
        (outcomes.too_large(7_000_000), 502, "Internal server error"),
        (outcomes.idle_timed_out("id", 3), 504, "Endpoint request timed out"),
        (outcomes.STOPPED, 503, "Service Unavailable"),
        (outcomes.throttled("ConcurrentInvocationLimitExceeded"), 429, "Too Many Requests"),
    ],
)
@pytest.mark.parametrize("begun", ["nothing", "streamed head", "half a prelude", "buffered"])
def test_a_failure_before_the_first_byte(outcome: Outcome, status: int, message: str, begun: str) -> None:
    door = Door()
    invocation = door.request()
    if begun == "buffered":
        invocation.head("application/json", streamed=False)
        invocation.data(b'{"statusCode": 200')
    elif begun != "nothing":
        invocation.head(HTTP)
        invocation.data(b'{"statusCode"' if begun == "half a prelude" else b"")
    invocation.end(outcome)
    assert door.status == status
    assert json.loads(door.body) == {"message": message}
    assert not door.wire.closed
    record = door.record
    assert (record.status, record.ending, record.ok) == (status, outcome.ending.word, False)
    assert record.detail == outcome.detail
    assert invocation.verbs == []


@pytest.mark.parametrize("outcome", [FAILED, outcomes.STOPPED, outcomes.idle_timed_out("id", 3)])
def test_a_failure_after_the_first_byte_breaks_the_response(outcome: Outcome) -> None:
    door = Door()
    invocation = door.request()
    invocation.head(HTTP)
    invocation.data(prelude(statusCode=200) + b"one")
    invocation.end(outcome)
    assert door.body == b"3\r\none\r\n"
    assert door.wire.closed == "close"
    record = door.record
    assert (record.status, record.ending, record.ok) == (200, outcome.ending.word, False)
    assert (record.bytes, record.detail) == (3, outcome.detail)


def test_a_call_that_ends_before_invoke_returns() -> None:
    door = Door(FakeInvoker(at_once=outcomes.throttled("ConcurrentInvocationLimitExceeded")))
    door.connection.data_received(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert door.status == 429
    assert (door.record.ending, door.record.request_id) == ("throttled", "")
    assert not door.errors


# The client's pace, and its leaving.


def test_the_clients_pace_is_the_functions() -> None:
    door = Door()
    invocation = door.request()
    invocation.head("text/plain")
    door.connection.pause_writing()
    door.connection.resume_writing()
    assert invocation.verbs == ["pause", "resume"]


@pytest.mark.parametrize("begun", [False, True])
def test_when_the_client_leaves_the_function_is_cancelled(begun: bool) -> None:
    door = Door()
    invocation = door.request()
    if begun:
        invocation.head("text/plain")
        invocation.data(b"one")
    door.leave()
    assert invocation.verbs == ["cancel"]
    assert not door.records
    if begun:
        invocation.data(b"late")
    invocation.end(outcomes.cancelled("the generator was closed after 1 ms"))
    record = door.record
    assert (record.status, record.ending, record.ok) == (200 if begun else 499, "client left", False)
    assert record.detail == "the generator was closed after 1 ms"
    assert record.bytes == (3 if begun else 0)


@pytest.mark.parametrize(
    ("outcome", "word", "ok"),
    [(outcomes.DONE, "client left, the function finished", True), (FAILED, "function error", False)],
)
@pytest.mark.parametrize("kind", ["raw", "prelude", "buffered"])
def test_or_it_may_finish(outcome: Outcome, word: str, ok: bool, kind: str) -> None:
    door = Door(on_disconnect="finish")
    invocation = door.request()
    door.connection.pause_writing()
    door.leave()
    assert invocation.verbs == ["pause", "resume"]  # nobody reads, so nothing holds it back
    if kind == "buffered":
        invocation.head("application/json", streamed=False)
    else:
        invocation.head(HTTP if kind == "prelude" else "text/plain")
    invocation.data(b"anything at all")
    invocation.end(outcome)
    assert "cancel" not in invocation.verbs
    assert (door.record.ending, door.record.ok) == (word, ok)
    assert door.sent == b""


def test_a_client_that_leaves_in_its_request() -> None:
    door = Door()
    door.connection.data_received(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf")
    door.leave()
    assert not door.invoker.invocations
    record = door.record
    assert (record.ending, record.status, record.ok) == ("client left", 499, False)
    assert record.detail == "before the request was complete"


def test_there_is_one_record_for_each_request() -> None:
    for ending in (outcomes.DONE, FAILED):
        for leave in (False, True):
            door = Door(on_disconnect="finish")
            invocation = door.request()
            invocation.head("text/plain")
            if leave:
                door.leave()
            invocation.end(ending)
            assert len(door.records) == 1


def test_every_ending_has_a_status_a_client_can_get() -> None:
    for ending in Ending:
        if ending in (Ending.DONE, Ending.CANCELLED):
            continue
        door = Door()
        door.request().end(Outcome(ending))
        assert door.status == ending.status


@pytest.mark.parametrize(
    "headers", [b"Expect: 100-continue\r\nContent-Length: 20000000", b"Content-Length: 9" + b"0" * 9]
)
def test_a_hopeless_body_is_refused_before_it_is_sent(headers: bytes) -> None:
    door = Door()
    door.connection.data_received(b"POST / HTTP/1.1\r\nHost: h\r\n" + headers + b"\r\n\r\n")
    assert door.status == 413
    assert b"100 Continue" not in door.sent
    assert (door.record.status, door.record.ending) == (413, "refused")


def test_a_body_without_an_end_is_not_read_for_ever() -> None:
    door = Door()
    door.connection.data_received(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"100000\r\n" + bytes(limits.MIB) + b"\r\n"
    for _ in range(100):
        door.connection.data_received(piece)
    assert not door.sent
    door.connection.data_received(piece)
    assert door.status == 413
    assert (door.record.status, door.record.ending) == (413, "refused")


# Function URLs that are configured: an alias, signed requests, CORS.

PAGE = "https://a.example"
FORBIDDEN = {
    "Message": "Forbidden. For troubleshooting Function URL authorization issues, see:"
    " https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
}


def configured(url: FunctionUrl, verify: "Signatures | None" = None) -> Door:
    def lookup(function: str, alias: str) -> FunctionUrl | None:
        return url if (function, alias) == (url.function, url.qualifier) else None

    return Door(routes=Routes([], url=lookup), verify=verify)


def asks(method: str = "GET", *headers: str, path: str = "/lambda-url/app/x", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: h", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def header(door: Door, name: str) -> list[str]:
    lines = door.sent.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return [line.split(": ", 1)[1] for line in lines if line.lower().startswith(name + ":")]


class Signatures:
    """Takes the signature `good`, of the body `signed`."""

    access_key = "AKID"

    def __init__(self, denied: sigv4.Denied | None = None) -> None:
        self.denied = denied
        self.bodies: list[bytes] = []

    def __call__(self, request: Request) -> "Signatures":
        if request.get(b"authorization") is None:
            raise sigv4.missing()
        if request.get(b"authorization") == b"unknown":
            raise sigv4.unrecognized()
        return self

    def check(self, body: bytes) -> None:
        self.bodies.append(body)
        if self.denied is not None:
            raise self.denied


def test_an_alias_is_called_as_such() -> None:
    door = configured(FunctionUrl("app", "live"))
    call = door.request(asks(path="/lambda-url/app:live/x")).call
    assert (call.function, call.qualifier) == ("app", "live")
    assert json.loads(call.payload)["rawPath"] == "/x"


def test_a_signed_request_is_let_in_and_the_function_told_whose_it_is() -> None:
    verify = Signatures()
    door = configured(FunctionUrl("app", auth="AWS_IAM"), verify)
    call = door.request(asks("POST", "Authorization: good", body=b"abc")).call
    assert verify.bodies == [b"abc"]
    context = json.loads(call.payload)["requestContext"]
    assert context["accountId"] == "000000000000"
    assert context["authorizer"] == {
        "iam": {
            "accessKey": "AKID",
            "accountId": "000000000000",
            "callerId": "AKID",
            "cognitoIdentity": None,
            "principalOrgId": None,
            "userArn": "arn:aws:iam::000000000000:user/AKID",
            "userId": "AKID",
        }
    }


def test_whoever_needs_no_signature_is_nobody() -> None:
    door = configured(FunctionUrl("app"), Signatures())
    context = json.loads(door.request(asks("GET", "Authorization: good")).call.payload)["requestContext"]
    assert context["accountId"] == "anonymous"
    assert "authorizer" not in context


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_an_unsigned_request_is_forbidden(method: str) -> None:
    door = configured(FunctionUrl("app", auth="AWS_IAM"), Signatures())
    door.connection.data_received(asks(method))
    assert (door.status, json.loads(door.body)) == (403, FORBIDDEN)
    assert header(door, "x-amzn-errortype") == ["AccessDeniedException"]
    assert door.invoker.invocations == []
    assert (door.record.status, door.record.ending, door.record.ok) == (403, "refused", False)
    assert door.record.detail == "Missing Authentication Token"


@pytest.mark.parametrize(
    ("authorization", "code", "told"),
    [
        ("unknown", "UnrecognizedClientException", "The security token included in the request is invalid."),
        ("good", "InvalidSignatureException", str(sigv4.mismatch())),
    ],
)
def test_one_that_is_badly_signed_is_told_what_is_wrong(authorization: str, code: str, told: str) -> None:
    door = configured(FunctionUrl("app", auth="AWS_IAM"), Signatures(sigv4.mismatch()))
    door.connection.data_received(asks("POST", f"Authorization: {authorization}", body=b"abc"))
    assert (door.status, json.loads(door.body)) == (403, {"message": told})
    assert header(door, "x-amzn-errortype") == [code]
    assert door.invoker.invocations == []
    assert door.record.detail == told


def test_without_keys_nobody_is_let_in_and_the_log_says_why() -> None:
    door = configured(FunctionUrl("app", auth="AWS_IAM"))
    door.connection.data_received(asks("GET", "Authorization: good"))
    assert (door.status, json.loads(door.body)) == (403, FORBIDDEN)
    assert "PENSTOCK_ACCESS_KEYS" in door.record.detail


def test_a_presigned_signature_is_not_logged() -> None:
    door = configured(FunctionUrl("app", auth="AWS_IAM"), Signatures())
    door.connection.data_received(asks(path="/lambda-url/app/?X-Amz-Signature=5d67&a=1"))
    assert door.record.path == "/lambda-url/app/?X-Amz-Signature=…&a=1"
    nowhere = configured(FunctionUrl("app"))
    nowhere.connection.data_received(asks(path="/nowhere?X-Amz-Signature=5d67"))
    assert nowhere.record.path == "/nowhere?X-Amz-Signature=…"


@pytest.mark.parametrize("auth", ["NONE", "AWS_IAM"])
def test_a_preflight_request_is_answered_without_the_function(auth: str) -> None:
    cors = Cors((PAGE,), ("GET",), ("X-A",), max_age=60)
    door = configured(FunctionUrl("app", "", auth, cors), Signatures())  # type: ignore[arg-type]
    door.connection.data_received(asks("OPTIONS", f"Origin: {PAGE}", "Access-Control-Request-Method: GET"))
    assert (door.status, door.body) == (200, b"")
    assert header(door, "access-control-allow-origin") == [PAGE]
    assert header(door, "access-control-allow-methods") == ["GET"]
    assert header(door, "access-control-max-age") == ["60"]
    assert door.invoker.invocations == []
    assert (door.record.method, door.record.status, door.record.ending, door.record.ok) == (
        "OPTIONS",
        200,
        "done",
        True,
    )


def test_other_options_requests_are_the_functions() -> None:
    with_cors = configured(FunctionUrl("app", cors=Cors((PAGE,))))
    assert with_cors.request(asks("OPTIONS", f"Origin: {PAGE}")).call
    without = configured(FunctionUrl("app"))
    assert without.request(asks("OPTIONS", f"Origin: {PAGE}", "Access-Control-Request-Method: GET")).call


@pytest.mark.parametrize("streamed", [True, False])
def test_cors_on_a_response(streamed: bool) -> None:
    door = configured(FunctionUrl("app", cors=Cors((PAGE,), expose_headers=("X-A",))))
    own = {"Access-Control-Allow-Origin": "*", "X-A": "1"}
    invocation = door.request(asks("GET", f"Origin: {PAGE}"))
    if streamed:
        invocation.head(HTTP)
        invocation.data(prelude(statusCode=201, headers=own), b"chunk")
    else:
        invocation.head("application/json", streamed=False)
        invocation.data(json.dumps({"statusCode": 201, "headers": own, "body": "chunk"}).encode())
    invocation.end(outcomes.DONE)
    assert door.status == 201
    assert b"chunk" in door.body
    assert header(door, "access-control-allow-origin") == [PAGE]
    assert header(door, "access-control-expose-headers") == ["X-A"]
    assert header(door, "vary") == ["Origin"]
    assert header(door, "x-a") == ["1"]
    assert (door.record.ok, door.record.ending) == (True, "done")
    assert "browsers refuse" in door.record.detail


def test_cors_on_errors_lest_the_page_never_hears_of_them() -> None:
    door = configured(FunctionUrl("app", cors=Cors(("*",))))
    door.request(asks("GET", f"Origin: {PAGE}")).end(FAILED)
    assert (door.status, header(door, "access-control-allow-origin")) == (502, ["*"])
    refused = configured(FunctionUrl("app", auth="AWS_IAM", cors=Cors(("*",))), Signatures())
    refused.connection.data_received(asks("GET", f"Origin: {PAGE}"))
    assert (refused.status, header(refused, "access-control-allow-origin")) == (403, ["*"])


def test_without_a_configuration_cors_is_the_functions_alone() -> None:
    door = configured(FunctionUrl("app"))
    own = {"statusCode": 200, "headers": {"Access-Control-Allow-Origin": "*"}, "body": ""}
    buffered(door, own, asks("GET", f"Origin: {PAGE}"))
    assert header(door, "access-control-allow-origin") == ["*"]
    assert door.record.detail == ""
