"""The Lambda API, as AWS's own client reads it: a real server on loopback, boto3, functions by script."""

import asyncio
import base64
import http.client
import json
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config as BotoConfig
from botocore.exceptions import ClientError

from api_kit import Counter
from gateway_kit import FakeInvocation, FakeInvoker
from http_kit import Clock, Wire
from penstock.http import Config, Connection, Server
from penstock.http.timers import Timers
from penstock.protocol import limits
from penstock.protocol.call import Call, Outcome, Sink
from penstock.protocol.record import RequestRecord
from penstock.service import outcomes
from penstock.service.api.app import LambdaApi
from penstock.service.functions import Function
from penstock.service.store import StoreError
from platform_process import wait_until
from service_kit import FixedFunctions

HTTP = "application/vnd.awslambda.http-integration-response"
ARN = "arn:aws:lambda:us-east-1:000000000000:function:app"
FAILED = outcomes.function_error("ValueError", b'{"errorMessage":"no","errorType":"ValueError"}')
Script = Callable[[FakeInvocation], None]


class Scripted(FakeInvoker):
    """Answers each call, after `invoke` has returned, as `script` says."""

    def __init__(self) -> None:
        super().__init__()
        self.script: Script = respond(b"null")

    def invoke(self, call: Call, sink: Sink) -> FakeInvocation:
        invocation = super().invoke(call, sink)
        if not invocation.ended:
            asyncio.get_running_loop().call_soon(self.script, invocation)
        return invocation


def respond(*pieces: bytes, outcome: Outcome = outcomes.DONE, streamed: bool = False) -> Script:
    def script(invocation: FakeInvocation) -> None:
        invocation.head("application/json", streamed)
        for piece in pieces:
            if not invocation.verbs:
                invocation.data(piece)
        invocation.end(outcome)

    return script


class Api:
    """A Lambda API in a thread of its own."""

    def __init__(self) -> None:
        self.invoker = Scripted()
        self.errors: list[Exception] = []
        self.records: list[RequestRecord] = []
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve(started)))
        self._thread.start()
        assert started.wait(10)
        self.client = boto3.client(
            "lambda",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id="a",
            aws_secret_access_key="b",
            config=BotoConfig(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=10),
        )

    async def _serve(self, started: threading.Event) -> None:
        functions = FixedFunctions([Function("app", "app.handler", "/", "python")])
        application = LambdaApi(self.invoker, functions, self.records.append, allow_hosts=["my.box"])
        server = await Server.start(application, config=Config(on_error=self.errors.append))
        self.port = server.port
        started.set()
        await self._stop.wait()
        server.close()
        server.abort_all()
        await server.wait_closed()

    def close(self) -> None:
        self.client.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()
        assert not self.errors

    @property
    def called(self) -> FakeInvocation:
        (invocation,) = self.invoker.invocations
        return invocation

    def invoke(self, **options: Any) -> Any:
        return self.client.invoke(FunctionName="app", **options)

    def stream(self, **options: Any) -> tuple[Any, list[dict[str, Any]]]:
        answer = self.client.invoke_with_response_stream(FunctionName="app", **options)
        return answer, list(answer["EventStream"])

    def raw(self, path: str, headers: dict[str, str] | None = None, method: str = "POST") -> Any:
        """Status, headers and JSON of a request that boto3 would not make."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, b"{}" if method == "POST" else None, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), json.loads(answer.read() or b"null")
        finally:
            connection.close()


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    api.invoker.invocations.clear()
    yield api
    api.close()


PATH = "/2015-03-31/functions/app/invocations"
STREAM_PATH = "/2021-11-15/functions/app/response-streaming-invocations"


# Invoke.


def test_invoke(api: Api) -> None:
    api.invoker.script = respond(b'{"a":', b"1}")
    answer = api.invoke(Payload=b'{"in": 1}')
    assert api.called.call.payload == b'{"in": 1}'
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert answer["Payload"].read() == b'{"a":1}'
    assert answer["ResponseMetadata"]["RequestId"] == "request-1"
    assert "FunctionError" not in answer
    assert "LogResult" not in answer


def test_no_payload_is_an_empty_object(api: Api) -> None:
    api.invoke()
    assert api.called.call.payload == b"{}"


@pytest.mark.parametrize("outcome", [FAILED, outcomes.timed_out("id", 3), outcomes.too_large(7_000_000)])
def test_a_function_error_is_a_200(api: Api, outcome: Outcome) -> None:
    api.invoker.script = respond(b"half", outcome=outcome)
    answer = api.invoke()
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert answer["Payload"].read() == outcome.error_body


def test_the_log_tail(api: Api) -> None:
    api.invoker.script = respond(b"1", outcome=Outcome(outcomes.DONE.ending, log_tail=b"START\nEND\n"))
    assert base64.b64decode(api.invoke(LogType="Tail")["LogResult"]) == b"START\nEND\n"
    assert "LogResult" not in api.invoke(LogType="None")


def test_a_streamed_response_is_awss_bytes(api: Api) -> None:
    api.invoker.script = respond(b"{}" + bytes(8), b"body", streamed=True)
    assert api.invoke()["Payload"].read() == b"{}" + bytes(8) + b"body"


def test_a_streamed_response_over_the_limit_is_an_error_and_the_function_is_cancelled(api: Api) -> None:
    def script(invocation: FakeInvocation) -> None:
        invocation.head("text/plain")
        for _ in range(8):
            invocation.data(bytes(limits.MIB))
        invocation.end(Outcome(outcomes.cancelled("").ending, log_tail=b"REPORT\n"))

    api.invoker.script = script
    answer = api.invoke(LogType="Tail")
    assert answer["FunctionError"] == "Unhandled"
    assert json.loads(answer["Payload"].read())["errorType"] == "Function.ResponseSizeTooLarge"
    assert base64.b64decode(answer["LogResult"]) == b"REPORT\n"
    assert api.called.verbs == ["cancel"]


def test_the_largest_response(api: Api) -> None:
    api.invoker.script = respond(bytes(limits.RESPONSE_PAYLOAD), streamed=True)
    assert len(api.invoke()["Payload"].read()) == limits.RESPONSE_PAYLOAD


# InvokeWithResponseStream.


def test_a_stream(api: Api) -> None:
    api.invoker.script = respond(b"{}" + bytes(8), b"one", b"two", streamed=True)
    answer, events = api.stream(Payload=b"[]")
    assert api.called.call.payload == b"[]"
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert answer["ResponseStreamContentType"] == "application/vnd.amazon.eventstream"
    assert answer["ResponseMetadata"]["RequestId"] == "request-1"
    assert events == [
        {"PayloadChunk": {"Payload": b"{}" + bytes(8)}},
        {"PayloadChunk": {"Payload": b"one"}},
        {"PayloadChunk": {"Payload": b"two"}},
        {"InvokeComplete": {}},
    ]


@pytest.mark.parametrize("pieces", [(), (b"one",)])
@pytest.mark.parametrize("outcome", [FAILED, outcomes.crashed(outcomes.Exit(-11, 0), "id")])
def test_an_error_is_in_its_last_event(api: Api, pieces: tuple[bytes, ...], outcome: Outcome) -> None:
    api.invoker.script = respond(*pieces, outcome=outcome, streamed=True)
    _, events = api.stream()
    assert events == [
        *({"PayloadChunk": {"Payload": piece}} for piece in pieces),
        {"InvokeComplete": {"ErrorCode": outcome.error_type, "ErrorDetails": outcome.error_body.decode()}},
    ]


def test_an_error_before_the_head_as_well(api: Api) -> None:
    api.invoker.script = lambda invocation: invocation.end(FAILED)
    answer, events = api.stream()
    assert answer["StatusCode"] == 200
    assert [list(event) for event in events] == [["InvokeComplete"]]
    assert events[0]["InvokeComplete"]["ErrorCode"] == "Runtime.Unknown"
    assert "ValueError" in events[0]["InvokeComplete"]["ErrorDetails"]


def test_the_log_is_in_the_last_event(api: Api) -> None:
    done = Outcome(outcomes.DONE.ending, log_tail=b"END\n")
    api.invoker.script = respond(b"1", outcome=done)
    _, events = api.stream(LogType="Tail")
    assert events[-1] == {"InvokeComplete": {"LogResult": base64.b64encode(b"END\n").decode()}}


def test_a_service_that_stops_in_mid_stream_says_so(api: Api) -> None:
    api.invoker.script = respond(b"one", outcome=outcomes.STOPPED, streamed=True)
    _, events = api.stream()
    assert events[-1]["InvokeComplete"]["ErrorCode"] == "Sandbox.Failure"


def test_a_buffered_response_is_a_stream_as_well(api: Api) -> None:
    api.invoker.script = respond(b"{}", streamed=False)
    assert api.stream()[1] == [{"PayloadChunk": {"Payload": b"{}"}}, {"InvokeComplete": {}}]


def test_a_large_piece_arrives_whole(api: Api) -> None:
    api.invoker.script = respond(b"x" * (3 * limits.MIB + 1), streamed=True)
    _, events = api.stream()
    assert sum(len(event["PayloadChunk"]["Payload"]) for event in events[:-1]) == 3 * limits.MIB + 1
    assert events[-1] == {"InvokeComplete": {}}


def test_a_client_that_leaves_cancels(api: Api) -> None:
    gone = threading.Event()

    def script(invocation: FakeInvocation) -> None:
        invocation.cancel = gone.set  # type: ignore[method-assign]
        invocation.head("text/plain")
        invocation.data(b"one")

    api.invoker.script = script
    answer = api.client.invoke_with_response_stream(FunctionName="app")
    assert next(iter(answer["EventStream"])) == {"PayloadChunk": {"Payload": b"one"}}
    answer["EventStream"].close()
    api.client.close()
    assert gone.wait(10)


# Refusals: as AWS shapes them.


def refused(api: Api, code: str, status: int, **options: Any) -> Any:
    """Both calls are refused with `code`; the parsed answer of the last."""
    for call in (api.client.invoke, api.client.invoke_with_response_stream):
        with pytest.raises(ClientError) as raised:
            call(**{"FunctionName": "app", **options})
        answer = raised.value.response
        assert answer["Error"]["Code"] == code
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == status
        assert answer["ResponseMetadata"]["RequestId"]
    return answer


@pytest.mark.parametrize("name", ["nope", "nope:$LATEST", ARN.replace("app", "nope")])
@pytest.mark.parametrize("kind", ["RequestResponse", "DryRun"])
def test_an_unknown_function(api: Api, name: str, kind: str) -> None:
    answer = refused(api, "ResourceNotFoundException", 404, FunctionName=name, InvocationType=kind)
    assert answer["Error"]["Message"] == f"Function not found: {ARN.replace('app', 'nope')}:$LATEST"
    assert answer["Type"] == "User"
    assert not api.invoker.invocations


def test_a_function_that_goes_in_the_moment_of_the_call(api: Api) -> None:
    api.invoker.names = ()
    refused(api, "ResourceNotFoundException", 404)


@pytest.mark.parametrize("name", ["app", "app:$LATEST", ARN, f"{ARN}:$LATEST", "000000000000:function:app"])
def test_every_way_to_name_a_function(api: Api, name: str) -> None:
    api.client.invoke(FunctionName=name)
    list(api.client.invoke_with_response_stream(FunctionName=name)["EventStream"])
    assert [each.call.function for each in api.invoker.invocations] == ["app", "app"]


def test_a_qualifier(api: Api) -> None:
    assert api.invoke(Qualifier="$LATEST")["StatusCode"] == 200
    answer = refused(api, "ResourceNotFoundException", 404, Qualifier="live")
    assert answer["Error"]["Message"] == f"Function not found: {ARN}:live"
    answer = refused(api, "InvalidParameterValueException", 400, FunctionName="app:one", Qualifier="two")
    assert "does not match the specified qualifier" in answer["Error"]["Message"]
    assert answer["Type"] == "User"


def test_a_malformed_name(api: Api) -> None:
    for name in ("a%20b", "a%2Fb", "%"):
        status, headers, body = api.raw(f"/2015-03-31/functions/{name}/invocations")
        assert (status, headers["x-amzn-ErrorType"]) == (400, "ValidationException")
        assert body.keys() == {"message"}


@pytest.mark.parametrize("name", ["", "a/b", "%2e%2e", "../x"])
def test_a_name_that_is_a_path_is_nobody(api: Api, name: str) -> None:
    assert api.raw(f"/2015-03-31/functions/{name}/invocations")[0] == 404


def test_throttling(api: Api) -> None:
    api.invoker.at_once = outcomes.throttled("ConcurrentInvocationLimitExceeded")
    answer = refused(api, "TooManyRequestsException", 429)
    assert answer["Error"]["Message"] == "Rate Exceeded."
    assert answer["Reason"] == "ConcurrentInvocationLimitExceeded"
    assert answer["retryAfterSeconds"] == "1"
    assert answer["Type"] == "User"


def test_throttling_after_a_wait(api: Api) -> None:
    api.invoker.script = lambda invocation: invocation.end(
        outcomes.throttled("ConcurrentInvocationLimitExceeded")
    )
    refused(api, "TooManyRequestsException", 429)


def test_a_service_that_stops(api: Api) -> None:
    api.invoker.script = lambda invocation: invocation.end(outcomes.STOPPED)
    answer = refused(api, "ServiceException", 503)
    assert answer["Type"] == "Service"
    assert answer["Error"]["Message"] == "The service is being stopped."


@pytest.mark.parametrize(
    "payload", [b"no", b"{", b"\xff", b"NaN", b"[" * 100_000, "\ufeff{}".encode(), '{"a":1}'.encode("utf-16")]
)
def test_a_payload_that_is_not_json(api: Api, payload: bytes) -> None:
    answer = refused(api, "InvalidRequestContentException", 400, Payload=payload)
    assert answer["Error"]["Message"].startswith(
        "Could not parse request body into json: Could not parse payload"
    )
    assert answer["Type"] == "User"
    assert not api.invoker.invocations


def test_the_payload_has_a_limit(api: Api) -> None:
    api.invoke(Payload=b'"' + b"x" * (limits.REQUEST_PAYLOAD - 2) + b'"')
    assert len(api.called.call.payload) == limits.REQUEST_PAYLOAD
    answer = refused(
        api, "RequestEntityTooLargeException", 413, Payload=b'"' + b"x" * (limits.REQUEST_PAYLOAD - 1) + b'"'
    )
    assert answer["Error"]["Message"] == (
        "6291457 byte payload is too large for the RequestResponse invocation type (limit 6291456 bytes)"
    )


def test_a_dry_run_calls_nothing(api: Api) -> None:
    answer = api.invoke(InvocationType="DryRun")
    assert answer["StatusCode"] == 204
    assert answer["Payload"].read() == b""
    assert "ExecutedVersion" not in answer
    assert not api.invoker.invocations


def test_what_is_not_built_says_so(api: Api) -> None:
    with pytest.raises(ClientError, match="has no queue here"):
        api.invoke(InvocationType="Event")
    with pytest.raises(ClientError, match="ListLayers is not built into Penstock") as raised:
        api.client.list_layers()
    assert raised.value.response["Error"]["Code"] == "NotImplementedException"


# Event invocations.


class Queue:
    """Keeps events, once it is let."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[Call] = []
        self.gate = asyncio.Event()
        self.error = error

    async def __call__(self, call: Call) -> None:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.calls.append(call)


def event(queue: Queue, *, leaves: bool = False) -> Counter:
    """An Event invocation that is answered, and not before it is kept."""
    counter = Counter(enqueue=queue)

    async def test() -> None:
        context = base64.b64encode(b'{"custom": {"a": 1}}').decode()
        path = PATH + "?Qualifier=$LATEST"
        counter.send("POST", path, b"[1]", X_Amz_Invocation_Type="Event", X_Amz_Client_Context=context)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not counter.wire.sent
        assert not counter.records
        if leaves:
            counter.leave()
        queue.gate.set()
        for _ in range(10):
            await asyncio.sleep(0)

    asyncio.run(test())
    assert not counter.errors
    assert not counter.invoker.invocations
    return counter


def test_an_event_is_answered_once_it_is_kept() -> None:
    queue = Queue()
    counter = event(queue)
    (call,) = queue.calls
    assert (call.function, call.payload, call.client_context) == ("app", b"[1]", '{"custom":{"a":1}}')
    assert call.qualifier in ("", "$LATEST")
    assert counter.wire.sent.startswith(b"HTTP/1.1 202 ")
    assert counter.wire.sent.endswith(b"\r\n\r\n")
    assert counter.headers["x-amzn-RequestId"] == call.request_id == counter.record.request_id
    assert "X-Amz-Executed-Version" not in counter.headers
    assert (counter.record.status, counter.record.ending, counter.record.ok) == (202, "queued", True)


def test_an_event_whose_client_has_left_is_kept_all_the_same() -> None:
    queue = Queue()
    assert event(queue, leaves=True).record.status == 202
    assert len(queue.calls) == 1


def test_an_event_that_cannot_be_kept_is_an_error_of_the_service() -> None:
    counter = event(Queue(StoreError("the disk is full")))
    assert (counter.status, counter.document["Message"]) == (500, "the disk is full")
    assert (counter.record.status, counter.record.ok) == (500, False)


def test_an_event_has_a_limit_of_its_own() -> None:
    counter = Counter(enqueue=Queue())
    counter.send("POST", PATH, b" " * (limits.EVENT_PAYLOAD + 1), X_Amz_Invocation_Type="Event")
    assert (counter.status, counter.document["Message"]) == (
        413,
        "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)",
    )


@pytest.mark.parametrize("body", [b"{", b"\xff", b"nope"])
def test_an_event_must_be_json(body: bytes) -> None:
    counter = Counter(enqueue=Queue())
    counter.send("POST", PATH, body, X_Amz_Invocation_Type="Event")
    assert (counter.status, counter.headers["x-amzn-ErrorType"]) == (400, "InvalidRequestContentException")


# Tenants.


@pytest.mark.parametrize(
    ("tenants", "tenant", "said"),
    [
        (True, None, "Add a valid tenant ID in your request"),
        (False, "blue", "Remove the tenant ID from your request"),
        (True, "blue!", "failed to satisfy constraint"),
    ],
)
def test_a_tenant_is_named_where_tenants_are_told_apart(tenants: bool, tenant: str | None, said: str) -> None:
    counter = Counter(Function("app", "app.handler", "/", "python", tenants=tenants))
    counter.send("POST", PATH, b"{}", **({"X_Amz_Tenant_Id": tenant} if tenant else {}))
    assert (counter.status, said in counter.record.detail) == (400, True)


def test_a_tenant_is_passed_on() -> None:
    counter = Counter(Function("app", "app.handler", "/", "python", tenants=True))
    counter.send("POST", PATH, b"{}", X_Amz_Tenant_Id="blue")
    (invocation,) = counter.invoker.invocations
    assert invocation.call.tenant_id == "blue"


@pytest.mark.parametrize(
    ("path", "kind", "allowed"),
    [
        (PATH, "Nope", "[Event, RequestResponse, DryRun]"),
        (STREAM_PATH, "Nope", "[RequestResponse, DryRun]"),
        (STREAM_PATH, "Event", "[RequestResponse, DryRun]"),
    ],
)
def test_an_unknown_invocation_type(api: Api, path: str, kind: str, allowed: str) -> None:
    status, headers, body = api.raw(path, {"X-Amz-Invocation-Type": kind})
    assert (status, headers["x-amzn-ErrorType"]) == (400, "ValidationException")
    assert body["message"].endswith(f"enum value set: {allowed}")


def test_invocations_are_made_with_post(api: Api) -> None:
    assert api.raw(PATH, method="GET")[0] == 405


# Context and trace.


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def test_the_client_context_is_made_compact_ascii(api: Api) -> None:
    api.invoke(ClientContext=encoded('{"custom": {"a": "\u00e9\u2028"},\n "env": {}}'))
    assert api.called.call.client_context == '{"custom":{"a":"\\u00e9\\u2028"},"env":{}}'


@pytest.mark.parametrize(
    "context",
    [
        "no base64!",
        encoded("no JSON"),
        encoded("[1]"),
        encoded('{"a":NaN}'),
        encoded(b"\xff"),
        encoded("[" * 2000),
    ],
)
def test_a_client_context_that_is_none(api: Api, context: str) -> None:
    answer = refused(api, "InvalidRequestContentException", 400, ClientContext=context)
    assert answer["Error"]["Message"] == "Client context must be a valid Base64-encoded JSON object."


def test_the_client_context_has_a_limit(api: Api) -> None:
    refused(api, "InvalidRequestContentException", 400, ClientContext=encoded(json.dumps({"a": "x" * 2700})))


def test_the_trace_goes_on(api: Api) -> None:
    api.raw(PATH, {"X-Amzn-Trace-Id": "Root=1-2-3"})
    assert api.called.call.trace_id == "Root=1-2-3"


# Who may call.


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "my.box", "Origin": "http://my.box"},
    ],
)
@pytest.mark.parametrize("path", [PATH, STREAM_PATH, "/"])
def test_web_pages_may_not(api: Api, headers: dict[str, str], path: str) -> None:
    status, answered, body = api.raw(path, headers)
    assert (status, answered["x-amzn-ErrorType"]) == (403, "AccessDeniedException")
    assert not any(name.lower().startswith("access-control") for name in answered)
    assert body["Message"]
    assert not api.invoker.invocations


@pytest.mark.parametrize("host", ["localhost:1", "app.localhost", "[::1]", "my.box"])
def test_programs_may(api: Api, host: str) -> None:
    assert api.raw(PATH, {"Host": host})[0] == 200


# The client's pace.


class Wired:
    """A Lambda API on a connection without a socket."""

    def __init__(self) -> None:
        self.invoker = FakeInvoker()
        self.records: list[RequestRecord] = []
        functions = FixedFunctions([Function("app", "app.handler", "/", "python")])
        application = LambdaApi(self.invoker, functions, self.records.append)
        self.wire = Wire()
        self.connection = Connection(application, Config(), Timers(Clock(), 1.0))  # type: ignore[arg-type]
        self.connection.connection_made(self.wire)

    def send(self, path: str, *lines: str, method: str = "POST", body: bytes = b"") -> None:
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""])
        if not any(line.startswith("Host") for line in lines):
            head = head.replace("\r\n", "\r\nHost: localhost\r\n", 1)
        self.connection.data_received(head.encode() + body)

    @property
    def record(self) -> RequestRecord:
        (record,) = self.records
        return record


def test_a_slow_client_holds_the_function_back() -> None:
    wired = Wired()
    wired.send(STREAM_PATH)
    connection = wired.connection
    (invocation,) = wired.invoker.invocations
    invocation.head("text/plain")
    connection.pause_writing()
    connection.resume_writing()
    connection.connection_lost(None)
    assert invocation.verbs == ["pause", "resume", "cancel"]


def test_small_pieces_take_no_more_room_than_their_bytes() -> None:
    wired = Wired()
    wired.send(PATH, "Transfer-Encoding: chunked")
    wired.connection.data_received(b'1\r\n"\r\n')
    tracemalloc.start()
    try:
        for _ in range(10):
            wired.connection.data_received(b"2\r\n12\r\n" * 5_000)
        assert tracemalloc.get_traced_memory()[0] < 500_000
        wired.connection.data_received(b'1\r\n"\r\n0\r\n\r\n')
        (invocation,) = wired.invoker.invocations
        assert invocation.call.payload == b'"' + b"12" * 50_000 + b'"'
        before = tracemalloc.get_traced_memory()[0]
        invocation.head("text/plain")
        piece = memoryview(bytearray(b"12"))
        for _ in range(50_000):
            invocation.data(piece)
        assert tracemalloc.get_traced_memory()[0] - before < 500_000
    finally:
        tracemalloc.stop()
    invocation.end(outcomes.DONE)
    assert wired.wire.sent.endswith(b"\r\n\r\n" + b"12" * 50_000)


# The log.


def test_each_call_has_its_record(api):
    api.invoker.script = respond(b'"hi"')
    api.client.invoke(FunctionName="app")["Payload"].read()
    (record,) = wait_until(lambda: api.records, "the record")
    assert (record.method, record.path, record.function) == ("Invoke", "", "app")
    assert (record.status, record.chunks, record.bytes, record.ending, record.ok) == (200, 1, 4, "done", True)
    assert record.first_byte is not None
    assert record.first_byte <= record.total


MALFORMED = PATH.replace("app", "a%20b")
UNKNOWN = PATH.replace("app", "nope")


@pytest.mark.parametrize(
    ("path", "lines", "method", "body", "logged", "status", "said"),
    [
        (PATH, ["Host: evil"], "POST", b"", ("POST", PATH, ""), 403, "the Host 'evil' is neither"),
        ("/a?b", [], "GET", b"", ("GET", "/a?b", ""), 404, "GET /a is no operation of the Lambda API"),
        (PATH, [], "GET", b"", ("GET", PATH, ""), 405, "is called with POST, not GET"),
        (MALFORMED, [], "POST", b"", ("Invoke", "", ""), 400, "failed to satisfy constraint"),
        (UNKNOWN, [], "POST", b"", ("Invoke", "", ""), 404, "Function not found: "),
        (
            *(STREAM_PATH, ["X-Amz-Invocation-Type: Event"], "POST", b""),
            *(("InvokeWithResponseStream", "", "app"), 400, "'Event' at 'invocationType'"),
        ),
        (PATH, ["Content-Length: 2"], "POST", b"no", ("Invoke", "", "app"), 400, "Could not parse"),
        (
            *(PATH, [f"Content-Length: {limits.REQUEST_PAYLOAD + 1}"], "POST"),
            *(bytes(limits.REQUEST_PAYLOAD + 1), ("Invoke", "", "app"), 413, "payload is too large"),
        ),
    ],
)
def test_a_refused_call_has_its_record(
    path: str,
    lines: list[str],
    method: str,
    body: bytes,
    logged: tuple[str, str, str],
    status: int,
    said: str,
) -> None:
    wired = Wired()
    wired.send(path, *lines, method=method, body=body)
    assert wired.wire.sent.startswith(b"HTTP/1.1 %d " % status)
    record = wired.record
    assert (record.method, record.path, record.function) == logged
    assert (record.status, record.ending, record.ok, record.request_id) == (status, "refused", False, "")
    assert said in record.detail
    assert (record.bytes, record.chunks) == (len(wired.wire.sent.partition(b"\r\n\r\n")[2]), 1)


def test_a_function_that_goes_in_the_moment_of_the_call_is_in_the_log() -> None:
    wired = Wired()
    wired.invoker.names = ()
    wired.send(PATH)
    assert (wired.record.status, wired.record.ending) == (404, "refused")


def test_a_dry_run_has_its_record() -> None:
    wired = Wired()
    wired.send(PATH, "X-Amz-Invocation-Type: DryRun")
    record = wired.record
    assert (record.method, record.function, record.status) == ("Invoke", "app", 204)
    assert (record.ending, record.ok, record.bytes) == ("done", True, 0)


@pytest.mark.parametrize("path", [PATH, UNKNOWN])
def test_a_client_that_leaves_before_its_event_is_complete_has_its_record(path: str) -> None:
    wired = Wired()
    wired.send(path, "Content-Length: 9", body=b"half")
    assert not wired.records
    wired.connection.connection_lost(None)
    record = wired.record
    assert (record.status, record.ending, record.ok) == (499, "client left", False)
    assert record.detail == "before the request was complete"
