"""The Lambda API, as boto3, the AWS CLI and `penstock invoke` call it: Invoke and InvokeWithResponseStream.

Shapes and texts: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html and
API_InvokeWithResponseStream.html. This API gives AWS's bytes: a streamed response keeps its prelude.
"""

import base64
import binascii
import json
from collections.abc import Callable, Collection, Sequence
from urllib.parse import parse_qs, unquote

from penstock.http.exchange import Exchange
from penstock.http.request import Request
from penstock.http.writer import Writer
from penstock.protocol import eventstream, limits
from penstock.protocol.call import Call, Ending, FunctionNotFound, Head, Invocation, Invoker, Outcome, Slice

from . import names, outcomes
from .guard import refuse
from .registry import Registry

_INVOKE = "/2015-03-31/functions/"
_INVOKE_END = "/invocations"
_STREAM = "/2021-11-15/functions/"
_STREAM_END = "/response-streaming-invocations"
_VERSION_HEADER = (b"X-Amz-Executed-Version", b"$LATEST")


class ApiError(Exception):
    """An error in AWS's shape: HTTP status, code, message."""

    def __init__(self, status: int, code: str, message: str, **members: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        # The member's case differs by exception in AWS's model; clients read either.
        key = "message" if code in _LOWER_CASE else "Message"
        self.body = json.dumps({"Type": "User", **members, key: message}).encode()


_LOWER_CASE = frozenset(
    (
        "InvalidParameterValueException",
        "InvalidRequestContentException",
        "TooManyRequestsException",
        "RequestEntityTooLargeException",
        "UnsupportedMediaTypeException",
    )
)


class LambdaApi:
    """The HTTP application of the Lambda API."""

    def __init__(self, invoker: Invoker, registry: Registry, allow_hosts: Collection[str] = ()) -> None:
        self._invoker = invoker
        self._registry = registry
        self._allow_hosts = allow_hosts

    def __call__(self, request: Request, writer: Writer) -> Exchange:
        try:
            if reason := refuse(request, self._allow_hosts):
                raise ApiError(403, "AccessDeniedException", reason)
            return self._route(request, writer)
        except ApiError as error:
            return Refusal(writer, error)

    def _route(self, request: Request, writer: Writer) -> Exchange:
        path, _, query = request.target.decode("latin-1").partition("?")
        sink: Callable[[Writer, bool], Buffered | Streamed]
        if path.startswith(_INVOKE) and path.endswith(_INVOKE_END):
            name, sink = path[len(_INVOKE) : -len(_INVOKE_END)], Buffered
        elif path.startswith(_STREAM) and path.endswith(_STREAM_END):
            name, sink = path[len(_STREAM) : -len(_STREAM_END)], Streamed
        else:
            message = f"{request.method} {path} is no operation Penstock has: it has Invoke and InvokeWithResponseStream"
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
        kind = _header(request, b"x-amz-invocation-type") or "RequestResponse"
        if kind == "Event":
            message = "InvocationType Event comes with a later release of Penstock; use RequestResponse"
            raise ApiError(501, "NotImplementedException", message)
        if kind not in ("RequestResponse", "DryRun"):
            raise ApiError(
                400,
                "ValidationException",
                f"1 validation error detected: Value '{kind}' at 'invocationType' failed to satisfy constraint:"
                " Member must satisfy enum value set: [Event, RequestResponse, DryRun]",
            )
        call = Call(function, b"", _header(request, b"x-amzn-trace-id"), _client_context(request))
        tail = _header(request, b"x-amz-log-type") == "Tail"
        return Receiver(self._invoker, call, sink(writer, tail), writer, dry=kind == "DryRun")


class Receiver(Exchange):
    """Takes in the event, then makes the call."""

    def __init__(
        self, invoker: Invoker, call: Call, sink: "Buffered | Streamed", writer: Writer, *, dry: bool
    ) -> None:
        self._invoker = invoker
        self._call = call
        self._sink = sink
        self._writer = writer
        self._dry = dry
        self._parts: list[bytes] = []
        self._size = 0
        self._invocation: Invocation | None = None

    def request_data(self, slices: list[memoryview]) -> None:
        for piece in slices:
            self._size += len(piece)
            if self._size <= limits.REQUEST_PAYLOAD:
                self._parts.append(bytes(piece))

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        try:
            payload = self._payload()
            if self._dry:
                self._writer.respond(204, [_VERSION_HEADER], b"")
                return
            call = Call(self._call.function, payload, self._call.trace_id, self._call.client_context)
            self._invocation = self._sink.invocation = self._invoker.invoke(call, self._sink)
        except FunctionNotFound as error:
            answer_error(self._writer, ApiError(404, "ResourceNotFoundException", str(error)))
        except ApiError as error:
            answer_error(self._writer, error)

    def _payload(self) -> bytes:
        if self._size > limits.REQUEST_PAYLOAD:
            message = (
                f"{self._size} byte payload is too large for the RequestResponse invocation type"
                f" (limit {limits.REQUEST_PAYLOAD} bytes)"
            )
            raise ApiError(413, "RequestEntityTooLargeException", message)
        payload = b"".join(self._parts)
        if not payload:
            return b"{}"
        try:
            json.loads(payload)
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


class Buffered:
    """Invoke's sink: the whole response in one answer, up to the limit."""

    def __init__(self, writer: Writer, tail: bool) -> None:
        self.invocation: Invocation | None = None
        self._writer = writer
        self._tail = tail
        self._parts: list[bytes] = []
        self._size = 0

    def head(self, head: Head) -> None:
        pass

    def data(self, slices: Sequence[Slice]) -> None:
        if self._writer.ended:
            return
        for piece in slices:
            self._parts.append(bytes(piece))
            self._size += len(piece)
        if self._size > limits.RESPONSE_PAYLOAD:
            self._parts.clear()
            self.end(outcomes.too_large())
            if self.invocation is not None:
                self.invocation.cancel()

    def end(self, outcome: Outcome) -> None:
        if refusal := _refusal(outcome):
            answer_error(self._writer, refusal)
            return
        headers = [(b"Content-Type", b"application/json"), _VERSION_HEADER, _request_id(self.invocation)]
        if not outcome.ok:
            headers.append((b"X-Amz-Function-Error", b"Unhandled"))
        if self._tail:
            headers.append((b"X-Amz-Log-Result", base64.b64encode(outcome.log_tail)))
        self._writer.respond(200, headers, b"".join(self._parts) if outcome.ok else outcome.error_body)


class Streamed:
    """InvokeWithResponseStream's sink: an event for each piece as it is made, then InvokeComplete."""

    def __init__(self, writer: Writer, tail: bool) -> None:
        self.invocation: Invocation | None = None
        self._writer = writer
        self._tail = tail

    def head(self, head: Head) -> None:
        if self._writer.started:
            return
        headers = [(b"Content-Type", eventstream.CONTENT_TYPE.encode()), _VERSION_HEADER]
        self._writer.start(200, [*headers, _request_id(self.invocation)])

    def data(self, slices: Sequence[Slice]) -> None:
        self._writer.data(eventstream.payload_chunk(slices))

    def end(self, outcome: Outcome) -> None:
        refusal = _refusal(outcome)
        if refusal and not self._writer.started:
            answer_error(self._writer, refusal)
            return
        self.head(Head("", streamed=True))
        complete = eventstream.invoke_complete(
            outcome.error_type,
            outcome.error_body.decode("utf-8", "replace"),
            base64.b64encode(outcome.log_tail).decode() if self._tail else "",
        )
        self._writer.data([complete])
        self._writer.end()


class Refusal(Exchange):
    """Answers with an error once the request was read."""

    def __init__(self, writer: Writer, error: ApiError) -> None:
        self._writer = writer
        self._error = error

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        answer_error(self._writer, self._error)


def answer_error(writer: Writer, error: ApiError) -> None:
    headers = [(b"Content-Type", b"application/json"), (b"x-amzn-ErrorType", error.code.encode())]
    if error.status == 429:
        headers.append((b"Retry-After", b"1"))
    writer.respond(error.status, headers, error.body)


def _refusal(outcome: Outcome) -> ApiError | None:
    """The error of a call that never reached the function."""
    if outcome.ending is Ending.THROTTLED:
        reason = "ConcurrentInvocationLimitExceeded"
        return ApiError(429, "TooManyRequestsException", "Rate Exceeded.", Reason=reason)
    if outcome.ending is Ending.STOPPED:
        return ApiError(503, "ServiceException", "The service is being stopped.", Type="Service")
    return None


def _request_id(invocation: Invocation | None) -> tuple[bytes, bytes]:
    return (b"x-amzn-RequestId", invocation.request_id.encode() if invocation else b"")


def _header(request: Request, name: bytes) -> str:
    return (request.get(name) or b"").decode("latin-1")


def _client_context(request: Request) -> str:
    """The caller's context as compact ASCII JSON: it goes into a header of the Runtime API."""
    value = request.get(b"x-amz-client-context")
    if not value:
        return ""
    if len(value) > limits.CLIENT_CONTEXT:
        message = f"the client context is {len(value)} bytes, more than {limits.CLIENT_CONTEXT}"
        raise ApiError(400, "InvalidRequestContentException", message)
    try:
        return json.dumps(json.loads(base64.b64decode(value, validate=True)), separators=(",", ":"))
    except (binascii.Error, ValueError, RecursionError):
        message = "Client context must be a valid Base64-encoded JSON object."
        raise ApiError(400, "InvalidRequestContentException", message) from None
