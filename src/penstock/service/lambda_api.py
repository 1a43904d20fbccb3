"""The Lambda API, as boto3, the AWS CLI and `penstock invoke` call it: Invoke and InvokeWithResponseStream.

Shapes and texts: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html and
API_InvokeWithResponseStream.html. This API gives AWS's bytes: a streamed response keeps its prelude.
"""

import base64
import json
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, NoReturn
from urllib.parse import parse_qs, unquote

from penstock.http.exchange import Exchange
from penstock.http.request import Request
from penstock.http.writer import Writer
from penstock.protocol import eventstream, limits
from penstock.protocol import lambda_api as api
from penstock.protocol.call import Call, Ending, FunctionNotFound, Head, Invocation, Invoker, Outcome, Slice
from penstock.protocol.record import RequestRecord, RequestSink

from . import names, outcomes
from .guard import refuse
from .registry import Registry

_JSON = (b"Content-Type", b"application/json")
_VERSION = (api.EXECUTED_VERSION.encode(), b"$LATEST")


class ApiError(Exception):
    """An error in AWS's shape: HTTP status, code, message."""

    def __init__(self, status: int, code: str, message: str, **members: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        # The member's case differs by exception in AWS's model; clients read either.
        key = "message" if code in _LOWER_CASE else "Message"
        kind = {} if code == _INVALID else {"Type": "User"}
        self.body = json.dumps({**kind, **members, key: message}).encode()


_INVALID = "ValidationException"  # not in AWS's model of Lambda: it has no Type
_LOWER_CASE = frozenset(
    (
        "InvalidParameterValueException",
        "InvalidRequestContentException",
        "TooManyRequestsException",
        _INVALID,
    )
)


class LambdaApi:
    """The HTTP application of the Lambda API."""

    def __init__(
        self, invoker: Invoker, registry: Registry, report: RequestSink, allow_hosts: Collection[str] = ()
    ) -> None:
        self._invoker = invoker
        self._registry = registry
        self._report = report
        self._allow_hosts = allow_hosts

    def __call__(self, request: Request, writer: Writer) -> Exchange:
        log = CallLog(self._report, request)
        try:
            if reason := refuse(request, self._allow_hosts):
                raise ApiError(403, "AccessDeniedException", reason)
            return self._route(request, writer, log)
        except FunctionNotFound as error:
            return Refusal(writer, _not_found(error), log)
        except ApiError as error:
            return Refusal(writer, error, log)

    def _route(self, request: Request, writer: Writer, log: "CallLog") -> Exchange:
        path, _, query = request.target.decode("latin-1").partition("?")
        sink: Callable[[Writer, bool, CallLog], Buffered | Streamed]
        if path.startswith(api.INVOKE_PREFIX) and path.endswith(api.INVOKE_SUFFIX):
            name = path[len(api.INVOKE_PREFIX) : -len(api.INVOKE_SUFFIX)]
            log.operation, sink = "Invoke", Buffered
        elif path.startswith(api.STREAM_PREFIX) and path.endswith(api.STREAM_SUFFIX):
            name = path[len(api.STREAM_PREFIX) : -len(api.STREAM_SUFFIX)]
            log.operation, sink = "InvokeWithResponseStream", Streamed
        else:
            message = (
                f"{request.method} {path} is no operation Penstock has:"
                " it has Invoke and InvokeWithResponseStream"
            )
            raise ApiError(501, "NotImplementedException", message)
        if request.method != "POST":
            raise ApiError(
                405, "MethodNotAllowedException", f"invocations are made with POST, not {request.method}"
            )
        qualifier = parse_qs(query).get("Qualifier", [""])[0]
        try:
            function = names.parse(unquote(name), qualifier, self._registry.region, self._registry.account)
        except names.InvalidName as error:
            raise ApiError(400, error.code, str(error)) from None
        self._registry.get(function)  # an unknown one is told before its event is read, and on a DryRun
        log.function = function
        dry = _invocation_type(request, sink is Buffered) == "DryRun"
        call = Call(function, b"", _header(request, api.TRACE_ID), _client_context(request))
        tail = _header(request, api.LOG_TYPE) == "Tail"
        return Receiver(self._invoker, call, sink(writer, tail, log), writer, log, dry=dry)


class Receiver(Exchange):
    """Takes in the event, then makes the call."""

    def __init__(
        self,
        invoker: Invoker,
        call: Call,
        sink: "Buffered | Streamed",
        writer: Writer,
        log: "CallLog",
        *,
        dry: bool,
    ) -> None:
        self._invoker = invoker
        self._call = call
        self._sink = sink
        self._writer = writer
        self._log = log
        self._dry = dry
        self._body = bytearray()
        self._size = 0
        self._invocation: Invocation | None = None

    def request_data(self, slices: list[memoryview]) -> None:
        for piece in slices:
            self._size += len(piece)
            if self._size <= limits.REQUEST_PAYLOAD:
                self._body += piece

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        try:
            payload = self._payload()
            if self._dry:
                self._writer.respond(204, [_request_id(None)], b"")
                self._log.write(204, Ending.DONE.word, ok=True)
                return
            call = replace(self._call, payload=payload)
            self._invocation = self._sink.invocation = self._invoker.invoke(call, self._sink)
        except FunctionNotFound as error:
            self._log.refuse(self._writer, _not_found(error))
        except ApiError as error:
            self._log.refuse(self._writer, error)

    def _payload(self) -> bytes:
        if self._size > limits.REQUEST_PAYLOAD:
            message = (
                f"{self._size} byte payload is too large for the RequestResponse invocation type"
                f" (limit {limits.REQUEST_PAYLOAD} bytes)"
            )
            raise ApiError(413, "RequestEntityTooLargeException", message)
        payload = bytes(self._body)
        self._body.clear()
        if not payload:
            return b"{}"
        try:
            json.loads(payload.decode(), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            message = f"Could not parse request body into json: Could not parse payload into json: {error}"
            raise ApiError(400, "InvalidRequestContentException", message) from None
        return payload

    def pause_writing(self) -> None:
        if self._invocation is not None:
            self._invocation.pause()

    def resume_writing(self) -> None:
        if self._invocation is not None:
            self._invocation.resume()

    def lost(self) -> None:
        if self._invocation is not None:
            self._invocation.cancel()
        else:
            self._log.left()


class CallLog:
    """Follows one request for its line in the log: each has one, whether a function was called or not."""

    def __init__(self, report: RequestSink, request: Request) -> None:
        self.operation = ""  # once it is known
        self.function = ""  # once it is known to be there
        self._report = report
        self._request = request
        self._time = time.time()
        self._began = time.monotonic()
        self._first_byte: float | None = None
        self._chunks = 0
        self._bytes = 0

    def sent(self, slices: Sequence[Slice]) -> None:
        if self._first_byte is None:
            self._first_byte = time.monotonic() - self._began
        self._chunks += len(slices)
        self._bytes += sum(map(len, slices))

    def end(self, invocation: Invocation | None, outcome: Outcome, status: int) -> None:
        request_id = invocation.request_id if invocation else ""
        self.write(status, outcome.ending.word, outcome.detail, ok=outcome.ok, request_id=request_id)

    def refuse(self, writer: Writer, error: ApiError) -> None:
        """Answer with an error that is not a function's."""
        answer_error(writer, error)
        if writer.bytes_sent:
            self.sent([error.body])
        self.write(error.status, "refused", str(error), ok=False)

    def left(self) -> None:
        """The client left within its request."""
        self.write(
            Ending.CANCELLED.status, Ending.CANCELLED.word, "before the request was complete", ok=False
        )

    def write(self, status: int, ending: str, detail: str = "", *, ok: bool, request_id: str = "") -> None:
        record = RequestRecord(
            time=self._time,
            method=self.operation or self._request.method,
            path="" if self.operation else self._request.target.decode("latin-1"),
            function=self.function,
            request_id=request_id,
            status=status,
            first_byte=self._first_byte,
            total=time.monotonic() - self._began,
            chunks=self._chunks,
            bytes=self._bytes,
            ending=ending,
            ok=ok,
            detail=detail,
        )
        self._report(record)


class Buffered:
    """Invoke's sink: the whole response in one answer, up to the limit."""

    def __init__(self, writer: Writer, tail: bool, log: CallLog) -> None:
        self.invocation: Invocation | None = None
        self._writer = writer
        self._tail = tail
        self._log = log
        self._body = bytearray()
        self._size = 0

    def head(self, head: Head) -> None:
        pass

    def data(self, slices: Sequence[Slice]) -> None:
        if self._size > limits.RESPONSE_PAYLOAD:
            return
        for piece in slices:
            self._body += piece
            self._size += len(piece)
        if self._size > limits.RESPONSE_PAYLOAD:
            self._body.clear()
            if self.invocation is not None:
                self.invocation.cancel()

    def end(self, outcome: Outcome) -> None:
        if refusal := _refusal(outcome):
            answer_error(self._writer, refusal)
            self._log.end(self.invocation, outcome, refusal.status)
            return
        if self._size > limits.RESPONSE_PAYLOAD:  # a streamed one: the service itself refuses others
            outcome = replace(outcomes.too_large(), log_tail=outcome.log_tail)
        headers = [_JSON, _VERSION, _request_id(self.invocation)]
        if not outcome.ok:
            headers.append((api.FUNCTION_ERROR.encode(), b"Unhandled"))
        if self._tail:
            headers.append((api.LOG_RESULT.encode(), base64.b64encode(outcome.log_tail)))
        body = bytes(self._body) if outcome.ok else outcome.error_body
        self._log.sent([body])
        self._writer.respond(200, headers, body)
        self._log.end(self.invocation, outcome, _status(outcome))


class Streamed:
    """InvokeWithResponseStream's sink: an event for each piece as it is made, then InvokeComplete."""

    def __init__(self, writer: Writer, tail: bool, log: CallLog) -> None:
        self.invocation: Invocation | None = None
        self._writer = writer
        self._tail = tail
        self._log = log

    def head(self, head: Head) -> None:
        if self._writer.started:
            return
        headers = [(b"Content-Type", eventstream.CONTENT_TYPE.encode()), _VERSION]
        self._writer.start(200, [*headers, _request_id(self.invocation)])

    def data(self, slices: Sequence[Slice]) -> None:
        self._log.sent(slices)
        self._writer.data(eventstream.payload_chunk(slices))

    def end(self, outcome: Outcome) -> None:
        refusal = _refusal(outcome)
        if refusal and not self._writer.started:
            answer_error(self._writer, refusal)
            self._log.end(self.invocation, outcome, refusal.status)
            return
        started = self._writer.started
        self.head(Head("", streamed=True))
        complete = eventstream.invoke_complete(
            outcome.error_type,
            outcome.error_body.decode("utf-8", "replace"),
            base64.b64encode(outcome.log_tail).decode() if self._tail else "",
        )
        self._writer.data([complete])
        self._writer.end()
        self._log.end(self.invocation, outcome, 200 if started else _status(outcome))


class Refusal(Exchange):
    """Answers with an error once the request was read."""

    def __init__(self, writer: Writer, error: ApiError, log: CallLog) -> None:
        self._writer = writer
        self._error = error
        self._log = log

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        self._log.refuse(self._writer, self._error)

    def lost(self) -> None:
        self._log.left()


def answer_error(writer: Writer, error: ApiError) -> None:
    headers = [_JSON, (api.ERROR_TYPE.encode(), error.code.encode()), _request_id(None)]
    if error.status == 429:
        headers.append((b"Retry-After", b"1"))
    writer.respond(error.status, headers, error.body)


def _not_found(error: FunctionNotFound) -> ApiError:
    return ApiError(404, "ResourceNotFoundException", str(error))


def _refusal(outcome: Outcome) -> ApiError | None:
    """The error of a call that never reached the function."""
    if outcome.ending is Ending.THROTTLED:
        reason = "ConcurrentInvocationLimitExceeded"
        return ApiError(429, "TooManyRequestsException", "Rate Exceeded.", Reason=reason)
    if outcome.ending is Ending.STOPPED:
        return ApiError(503, "ServiceException", "The service is being stopped.", Type="Service")
    return None


def _status(outcome: Outcome) -> int:
    """What the caller was told: 200, also of a function that failed; 499 when it had left."""
    return outcome.ending.status if outcome.ending is Ending.CANCELLED else 200


def _request_id(invocation: Invocation | None) -> tuple[bytes, bytes]:
    """The answer's request id: the invocation's, or a new one where nothing was invoked."""
    return (api.REQUEST_ID.encode(), (invocation.request_id if invocation else str(uuid.uuid4())).encode())


def _header(request: Request, name: str) -> str:
    return (request.get(name.lower().encode()) or b"").decode("latin-1")


def _invocation_type(request: Request, buffered: bool) -> str:
    kind = _header(request, api.INVOCATION_TYPE) or "RequestResponse"
    if kind == "Event" and buffered:
        message = "InvocationType Event comes with a later release of Penstock; use RequestResponse"
        raise ApiError(501, "NotImplementedException", message)
    if kind not in ("RequestResponse", "DryRun"):
        allowed = "[Event, RequestResponse, DryRun]" if buffered else "[RequestResponse, DryRun]"
        message = (
            f"1 validation error detected: Value '{kind}' at 'invocationType' failed to satisfy constraint:"
            f" Member must satisfy enum value set: {allowed}"
        )
        raise ApiError(400, _INVALID, message)
    return kind


def _client_context(request: Request) -> str:
    """The caller's context as compact ASCII JSON: it goes into a header of the Runtime API."""
    text = _header(request, api.CLIENT_CONTEXT)
    if not text:
        return ""
    if len(text) > limits.CLIENT_CONTEXT:
        message = f"the client context is {len(text)} bytes, more than {limits.CLIENT_CONTEXT}"
        raise ApiError(400, "InvalidRequestContentException", message)
    value: Any = None
    try:
        value = json.loads(base64.b64decode(text, validate=True), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        pass  # answered below
    if not isinstance(value, dict):
        message = "Client context must be a valid Base64-encoded JSON object."
        raise ApiError(400, "InvalidRequestContentException", message)
    return json.dumps(value, separators=(",", ":"))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
