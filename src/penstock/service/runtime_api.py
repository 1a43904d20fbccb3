"""The Runtime API, as one environment's runtime sees it: the source of every response.

The runtime's POST body is the response: what comes in here goes straight to the invocation, and its
back-pressure is this connection's. There may be several connections at once; they share the seat's state
(runtime_states.py). Answers and their texts: the Runtime Interface Emulator, rapi/router.go,
rapi/handler/ and rapi/rendering/render_error.go.

| refused with | when |
|---|---|
| 400 InvalidRequestID | no such invocation runs here, or it was answered |
| 400 InvalidFunctionResponseMode | a response mode other than `streaming`; the invocation fails |
| 400 TruncatedHTTPRequest | the body ended early, or is malformed; the invocation fails |
| 403 InvalidStateTransition | out of turn |
| 410 InvokeTimeout | the answer is to another attempt, or to one that has ended meanwhile |
| 413 RequestEntityTooLarge | more than a buffered response, or an error report, may be |

An X-Ray cause of an error is taken and goes nowhere: there is no X-Ray here.
"""

import base64
import binascii
from typing import TYPE_CHECKING

from penstock.http.exchange import Exchange
from penstock.http.request import Request
from penstock.http.writer import Writer
from penstock.protocol import error_documents, limits, runtime_api
from penstock.protocol.call import Head

from . import outcomes, runtime_states
from .runtime_states import Call, State

if TYPE_CHECKING:
    from .invocation import Invocation
    from .seat import Seat

_JSON = b"Content-Type: application/json\r\n"
_TEXT = b"Content-Type: text/plain; charset=utf-8\r\n"
_NEXT = runtime_api.NEXT_PATH.encode()
_INVOCATION = runtime_api.INVOCATION_PATH.encode()
_RESPONSE_MODE = runtime_api.RESPONSE_MODE.lower().encode()
_INVOCATION_ID = runtime_api.INVOCATION_ID.lower().encode()
_ERROR_TYPE = runtime_api.ERROR_TYPE.lower().encode()
_ERROR_BODY = runtime_api.ERROR_BODY.lower().encode()
_STREAMING = runtime_api.STREAMING.encode()
_WITH_CAUSE = runtime_api.ERROR_WITH_CAUSE.encode()

_GONE = (410, "InvokeTimeout", "Invoke timeout")
_INVALID_ID = (400, "InvalidRequestID", "Invalid request ID")
_INVALID_MODE = (400, "InvalidFunctionResponseMode", "Invalid function response mode")
_TRUNCATED = (400, "TruncatedHTTPRequest", "HTTP request detected as truncated")
_TOO_LARGE = (
    413,
    "RequestEntityTooLarge",
    f"Exceeded maximum allowed payload size ({limits.RESPONSE_PAYLOAD} bytes).",
)
# Of a body nobody wants, so much is read before it is refused, so that the connection stays usable.
_PATIENCE = limits.RESPONSE_PAYLOAD


def request_id_of(request: Request) -> str | None:
    """The request id in the path of an answer, or `next`; None: the path is another."""
    path, _, _ = request.target.partition(b"?")
    if not path.startswith(_INVOCATION):
        return None
    return path[len(_INVOCATION) :].partition(b"/")[0].decode("latin-1")


def attempt_of(request: Request) -> str:
    """The attempt that an answer is for; "" where it does not say."""
    return (request.get(_INVOCATION_ID) or b"").decode("latin-1")


class RuntimeApi:
    """The HTTP application on the connections of a seat."""

    def __init__(self, seat: "Seat") -> None:
        self._seat = seat
        # By path: the method, and what it makes.
        self._routes = {
            _NEXT: (b"GET", self._next),
            runtime_api.INIT_ERROR_PATH.encode(): (b"POST", self._init_error),
            runtime_api.RESTORE_NEXT_PATH.encode(): (b"GET", self._restore_next),
            runtime_api.RESTORE_ERROR_PATH.encode(): (b"POST", self._restore_error),
            runtime_api.PING_PATH.encode(): (b"GET", self._ping),
        }

    def __call__(self, request: Request, writer: Writer) -> Exchange:
        path, _, _ = request.target.partition(b"?")
        verb = b""
        method = "POST"
        route = self._routes.get(path)
        if route is not None:
            method = route[0].decode()
        elif path.startswith(_INVOCATION):
            request_id, _, verb = path[len(_INVOCATION) :].partition(b"/")
        if route is None and verb not in (b"response", b"error"):
            return Refusal(writer, 404, b"404 page not found\n")
        if request.method != method:
            return Refusal(writer, 405, b"", b"Allow: %b\r\n" % method.encode())
        if route is not None:
            return route[1](request, writer)
        return self._answer(request, writer, request_id.decode("latin-1"), verb == b"response")

    def _next(self, request: Request, writer: Writer) -> Exchange:
        return Next(self._seat, writer)

    def _answer(self, request: Request, writer: Writer, request_id: str, responds: bool) -> Exchange:
        seat = self._seat
        invocation = seat.invocation
        state = seat.state
        attempt = request.get(_INVOCATION_ID)
        if attempt and (
            attempt.decode("latin-1") != seat.attempt or (state is State.RUNNING and seat.given_up)
        ):
            return _refusal(writer, _GONE)
        after = runtime_states.after(state, Call.RESPONSE if responds else Call.ERROR)
        if after is None or invocation is None or invocation.request_id != request_id:
            return _refusal(writer, _INVALID_ID)
        seat.state = after
        if responds:
            return self._response(invocation, request, writer)
        return Error(seat, writer, request, invocation)

    def _response(self, invocation: "Invocation", request: Request, writer: Writer) -> Exchange:
        """The exchange that takes in a response; detection is here, by the response's own headers."""
        seat = self._seat
        mode = request.get(_RESPONSE_MODE)
        if mode and mode != _STREAMING:
            said = mode.decode("latin-1")
            message = f"{runtime_api.RESPONSE_MODE} must be {runtime_api.STREAMING}, not {said}"
            document = error_documents.error_document(runtime_api.INVALID_RESPONSE_MODE, message)
            invocation.failed(runtime_api.INVALID_RESPONSE_MODE, document)
            seat.answered()
            return _refusal(writer, _INVALID_MODE)
        content_type = (request.get(b"content-type") or b"application/octet-stream").decode("latin-1")
        head = Head(content_type, streamed=bool(mode))
        if head.has_prelude:
            head = Head(content_type, streamed=True)
        seat.responding(writer)
        invocation.head(head, request.content_length)
        if head.streamed or request.content_length is not None:
            return Response(seat, invocation, writer)
        return Unbounded(seat, invocation, writer)

    def _init_error(self, request: Request, writer: Writer) -> Exchange:
        return self._failure(request, writer, Call.INIT_ERROR)

    def _restore_error(self, request: Request, writer: Writer) -> Exchange:
        return self._failure(request, writer, Call.RESTORE_ERROR)

    def _failure(self, request: Request, writer: Writer, call: Call) -> Exchange:
        after = runtime_states.after(self._seat.state, call)
        if after is None:
            return out_of_turn(writer, self._seat.state, call)
        self._seat.state = after
        return Error(self._seat, writer, request)

    def _restore_next(self, request: Request, writer: Writer) -> Exchange:
        after = runtime_states.after(self._seat.state, Call.RESTORE_NEXT)
        if after is None:
            return out_of_turn(writer, self._seat.state, Call.RESTORE_NEXT)
        self._seat.state = after
        return Refusal(writer, 200, b"", _JSON)

    def _ping(self, request: Request, writer: Writer) -> Exchange:
        return Refusal(writer, 200, b"pong", _TEXT)


class Next(Exchange):
    """The runtime waits for an event."""

    __slots__ = ("_seat", "_writer")

    def __init__(self, seat: "Seat", writer: Writer) -> None:
        self._seat = seat
        self._writer = writer

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        state = self._seat.state
        if runtime_states.after(state, Call.NEXT) is None:
            _respond(self._writer, 403, "InvalidStateTransition", runtime_states.objection(state, Call.NEXT))
        else:
            self._seat.asked(self._writer)

    def lost(self) -> None:
        self._seat.hung_up(self._writer)


class Response(Exchange):
    """A response, buffered or streamed, on its way through."""

    __slots__ = ("_invocation", "_seat", "_writer")

    def __init__(self, seat: "Seat", invocation: "Invocation", writer: Writer) -> None:
        self._seat = seat
        self._invocation = invocation
        self._writer = writer

    def request_data(self, slices: list[memoryview]) -> None:
        self._invocation.data(slices)

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        invocation = self._invocation
        if trailers:
            fields = dict(trailers)
            if error_type := fields.get(_ERROR_TYPE, b"").decode("latin-1"):
                invocation.failed(error_type, _decoded(fields.get(_ERROR_BODY, b"")))
        invocation.complete()
        self._seat.answered()
        if invocation.too_large:
            _respond(self._writer, *_TOO_LARGE)
        else:
            self._writer.respond(202, _JSON, runtime_api.ACCEPTED)

    def request_cut(self) -> None:
        self._seat.cut_off(self._invocation)
        _respond(self._writer, *_TRUNCATED)

    def lost(self) -> None:
        self._seat.cut_off(self._invocation)


class Unbounded(Response):
    """A buffered response whose length is not known: when it is too large, its end is not waited for."""

    __slots__ = ("_left",)

    def __init__(self, seat: "Seat", invocation: "Invocation", writer: Writer) -> None:
        super().__init__(seat, invocation, writer)
        self._left = limits.RESPONSE_PAYLOAD + _PATIENCE

    def request_data(self, slices: list[memoryview]) -> None:
        self._invocation.data(slices)
        self._left -= sum(map(len, slices))
        if self._left < 0:
            self._seat.answered()
            _respond(self._writer, *_TOO_LARGE)


class Error(Exchange):
    """An error report: of an invocation or, without one, of the init or the restore."""

    __slots__ = ("_document", "_error_type", "_invocation", "_seat", "_with_cause", "_writer")

    def __init__(
        self,
        seat: "Seat",
        writer: Writer,
        request: Request,
        invocation: "Invocation | None" = None,
    ) -> None:
        reported = request.get(_ERROR_TYPE)
        self._seat = seat
        self._writer = writer
        self._error_type = reported.decode("latin-1") if reported else runtime_api.UNKNOWN_ERROR
        self._with_cause = request.get(b"content-type") == _WITH_CAUSE
        self._invocation = invocation
        self._document = bytearray()

    def request_data(self, slices: list[memoryview]) -> None:
        for piece in slices:
            self._document += piece
        if len(self._document) > limits.RESPONSE_PAYLOAD:
            self._failed(runtime_api.RESPONSE_TOO_LARGE, outcomes.too_large().error_body)
            _respond(self._writer, *_TOO_LARGE)

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        document = bytes(self._document)
        if self._with_cause:
            document = error_documents.without_cause(document)
        self._failed(self._error_type, document)
        self._writer.respond(202, _JSON, runtime_api.ACCEPTED)

    def request_cut(self) -> None:
        self.lost()
        _respond(self._writer, *_TRUNCATED)

    def lost(self) -> None:
        if self._invocation is not None:
            self._seat.cut_off(self._invocation)

    def _failed(self, error_type: str, document: bytes) -> None:
        if self._invocation is not None:
            self._invocation.failed(error_type, document)
            self._seat.answered()
        else:
            self._seat.init_failed(error_type, document)


class Refusal(Exchange):
    """An answer that has nothing to do with the request's body: given when that was read, or much of it."""

    __slots__ = ("_answer", "_left", "_writer")

    def __init__(self, writer: Writer, status: int, body: bytes, headers: bytes = _TEXT) -> None:
        self._writer = writer
        self._answer = (status, headers, body)
        self._left = _PATIENCE

    def request_data(self, slices: list[memoryview]) -> None:
        self._left -= sum(map(len, slices))
        if self._left < 0:
            self._writer.respond(*self._answer)

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        self._writer.respond(*self._answer)


def _refusal(writer: Writer, refused: tuple[int, str, str]) -> Refusal:
    status, error_type, message = refused
    return Refusal(writer, status, error_documents.refusal(error_type, message), _JSON)


def out_of_turn(writer: Writer, state: State, call: Call) -> Refusal:
    """The refusal of what the runtime may not ask for now."""
    return _refusal(writer, (403, "InvalidStateTransition", runtime_states.objection(state, call)))


def _respond(writer: Writer, status: int, error_type: str, message: str) -> None:
    writer.respond(status, _JSON, error_documents.refusal(error_type, message))


def _decoded(body: bytes) -> bytes:
    """The error document in a trailer; one that is not Base64 leaves the details empty, as AWS does."""
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        return b""
