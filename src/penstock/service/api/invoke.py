"""Invoke and InvokeWithResponseStream: an event in, a response out, as AWS's clients read it.

Shapes and texts: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html and
API_InvokeWithResponseStream.html. This API gives AWS's bytes: a streamed response keeps its prelude.
"""

import asyncio
import base64
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import parse_qs

from penstock.http.exchange import Exchange
from penstock.http.request import Request
from penstock.http.writer import Writer
from penstock.protocol import eventstream, limits, strict_json
from penstock.protocol import lambda_api as api
from penstock.protocol.call import Call, Ending, Head, Invocation, Invoker, Outcome, Slice
from penstock.service import names, outcomes
from penstock.service.functions import Function, Functions
from penstock.service.store import StoreError

from .calllog import JSON, CallLog, answer_error, request_id
from .collect import Collector, Signed
from .errors import VALIDATION, ApiError, invalid_parameter
from .naming import parsed
from .validation import constraint_error

Enqueue = Callable[[Call], Awaitable[None]]
"""Keeps an asynchronous event; done when it is durable. Raises StoreError."""

_TENANT = re.compile(r"[a-zA-Z0-9._:/=+\-@ ]{1,256}")


class Platform(Protocol):
    """What an invocation needs of the Lambda API."""

    invoker: Invoker
    functions: Functions
    enqueue: Enqueue | None


def invocation(
    platform: Platform,
    buffered: bool,
    name: str,
    request: Request,
    query: str,
    writer: Writer,
    log: CallLog,
    signed: Signed | None,
) -> Exchange:
    """The exchange of an invocation. Raises ApiError, and FunctionNotFound before the event was read."""
    functions = platform.functions
    qualifier = parse_qs(query).get("Qualifier", [""])[0] if query else ""
    named = parsed(name, qualifier, functions, names.INVOKE)
    function = functions.resolve(named.function, named.qualifier)  # an unknown one is told on a DryRun, too
    log.function = named.function
    kind = _invocation_type(request, buffered)
    call = Call(
        named.function,
        b"",
        _header(request, api.TRACE_ID),
        _client_context(request),
        qualifier=named.qualifier,
        tenant_id=_tenant(request, function),
        log_tail=_header(request, api.LOG_TYPE) == "Tail",
    )
    if kind == "DryRun":
        return DryRun(writer, log, signed)
    if kind == "Event":
        if platform.enqueue is None:
            raise ApiError("NotImplementedException", "InvocationType Event has no queue here")
        return Event(platform.enqueue, call, writer, log, signed)
    sink = (Buffered if buffered else Streamed)(writer, call.log_tail, log)
    return Receiver(platform.invoker, call, sink, writer, log, signed)


class Receiver(Collector):
    """Takes in the event, then makes the call."""

    __slots__ = ("_call", "_invocation", "_invoker", "_sink")

    kind = "RequestResponse"

    def __init__(
        self,
        invoker: Invoker,
        call: Call,
        sink: "Buffered | Streamed",
        writer: Writer,
        log: CallLog,
        signed: Signed | None,
    ) -> None:
        super().__init__(writer, log, signed, limits.REQUEST_PAYLOAD)
        self._invoker = invoker
        self._call = call
        self._sink = sink
        self._invocation: Invocation | None = None

    def too_large(self, size: int) -> ApiError:
        return _too_large(size, "RequestResponse", limits.REQUEST_PAYLOAD)

    def serve(self, body: bytes) -> None:
        call = replace(self._call, payload=_payload(body))
        self._invocation = self._sink.invocation = self._invoker.invoke(call, self._sink)

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


class DryRun(Collector):
    """Says that the call could be made."""

    __slots__ = ()

    def __init__(self, writer: Writer, log: CallLog, signed: Signed | None) -> None:
        super().__init__(writer, log, signed, limits.REQUEST_PAYLOAD)

    def too_large(self, size: int) -> ApiError:
        return _too_large(size, "RequestResponse", limits.REQUEST_PAYLOAD)

    def serve(self, body: bytes) -> None:
        _payload(body)
        self._writer.respond(204, [request_id(None)], b"")
        self._log.write(204, Ending.DONE.word, ok=True)

    def lost(self) -> None:
        self._log.left()


class Event(Collector):
    """An asynchronous invocation: answered as soon as the event is durable, and only then."""

    __slots__ = ("_call", "_enqueue", "_gone", "_id")

    def __init__(
        self, enqueue: Enqueue, call: Call, writer: Writer, log: CallLog, signed: Signed | None
    ) -> None:
        super().__init__(writer, log, signed, limits.EVENT_PAYLOAD)
        self._enqueue = enqueue
        self._call = call
        self._id = ""
        self._gone = False

    def too_large(self, size: int) -> ApiError:
        return _too_large(size, "Event", limits.EVENT_PAYLOAD)

    def serve(self, body: bytes) -> None:
        self._id = str(uuid.uuid4())
        call = replace(self._call, payload=_payload(body), request_id=self._id)
        asyncio.ensure_future(self._enqueue(call)).add_done_callback(self._kept)

    def _kept(self, future: "asyncio.Future[None]") -> None:
        if future.cancelled() or (error := future.exception()) is not None:
            text = "the event could not be kept: the service is being stopped"
            refusal = ApiError("ServiceException", text if future.cancelled() else str(error))
            if not future.cancelled() and not isinstance(error, StoreError):
                asyncio.get_running_loop().call_exception_handler({"message": text, "exception": error})
            if not self._gone:
                self._log.refuse(self._writer, refusal)
            return
        if not self._gone:
            self._writer.respond(202, [(api.REQUEST_ID.encode(), self._id.encode())], b"")
        self._log.write(202, "queued", ok=True, request_id=self._id)

    def lost(self) -> None:
        self._gone = True
        if not self._id:
            self._log.left()


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
        headers = [JSON, _version(self.invocation), request_id(self.invocation)]
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
        headers = [(b"Content-Type", eventstream.CONTENT_TYPE.encode()), _version(self.invocation)]
        self._writer.start(200, [*headers, request_id(self.invocation)])

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


def _payload(body: bytes) -> bytes:
    """The event. Raises ApiError when it is not JSON."""
    if not body:
        return b"{}"
    try:
        strict_json.loads(body)
    except (ValueError, RecursionError) as error:
        message = f"Could not parse request body into json: Could not parse payload into json: {error}"
        raise ApiError("InvalidRequestContentException", message) from None
    return body


def _too_large(size: int, kind: str, limit: int) -> ApiError:
    message = f"{size} byte payload is too large for the {kind} invocation type (limit {limit} bytes)"
    return ApiError("RequestEntityTooLargeException", message)


def _refusal(outcome: Outcome) -> ApiError | None:
    """The error of a call that never reached the function."""
    if outcome.ending is Ending.THROTTLED:
        reason = outcome.error_type or "ConcurrentInvocationLimitExceeded"
        return ApiError("TooManyRequestsException", "Rate Exceeded.", Reason=reason)
    if outcome.ending is Ending.STOPPED:
        return ApiError("ServiceException", "The service is being stopped.", status=503)
    return None


def _status(outcome: Outcome) -> int:
    """What the caller was told: 200, also of a function that failed; 499 when it had left."""
    return outcome.ending.status if outcome.ending is Ending.CANCELLED else 200


def _version(running: Invocation | None) -> tuple[bytes, bytes]:
    version = running.executed_version if running is not None else "$LATEST"
    return (api.EXECUTED_VERSION.encode(), version.encode())


def _header(request: Request, name: str) -> str:
    return (request.get(name.lower().encode()) or b"").decode("latin-1")


def _invocation_type(request: Request, buffered: bool) -> str:
    kind = _header(request, api.INVOCATION_TYPE) or "RequestResponse"
    if kind not in ("RequestResponse", "DryRun") and not (kind == "Event" and buffered):
        allowed = "[Event, RequestResponse, DryRun]" if buffered else "[RequestResponse, DryRun]"
        rule = f"Member must satisfy enum value set: {allowed}"
        raise ApiError(VALIDATION, constraint_error("invocationType", kind, rule))
    return kind


def _tenant(request: Request, function: Function) -> str:
    """The tenant this call is for, where the function tells tenants apart."""
    tenant = _header(request, api.TENANT_ID)
    if function.tenants and not tenant:
        raise invalid_parameter(
            "The invoked function is enabled with tenancy configuration."
            " Add a valid tenant ID in your request and try again."
        )
    if tenant and not function.tenants:
        raise invalid_parameter(
            "The invoked function is not enabled with tenancy configuration."
            " Remove the tenant ID from your request and try again."
        )
    if tenant and not _TENANT.fullmatch(tenant):
        rule = r"Member must satisfy regular expression pattern: [a-zA-Z0-9\._:\/=+\-@ ]+"
        raise ApiError(VALIDATION, constraint_error("tenantId", tenant, rule))
    return tenant


def _client_context(request: Request) -> str:
    """The caller's context as compact ASCII JSON: it goes into a header of the Runtime API."""
    text = _header(request, api.CLIENT_CONTEXT)
    if not text:
        return ""
    if len(text) > limits.CLIENT_CONTEXT:
        message = f"the client context is {len(text)} bytes, more than {limits.CLIENT_CONTEXT}"
        raise ApiError("InvalidRequestContentException", message)
    value: Any = None
    try:
        value = strict_json.loads(base64.b64decode(text, validate=True))
    except (ValueError, RecursionError):
        pass  # answered below
    if not isinstance(value, dict):
        message = "Client context must be a valid Base64-encoded JSON object."
        raise ApiError("InvalidRequestContentException", message)
    return json.dumps(value, separators=(",", ":"))
