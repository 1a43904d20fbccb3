"""The Runtime API, as one environment's runtime sees it: the source of every response.

The runtime's POST body is the response: what comes in here goes straight to the invocation, and its
back-pressure is this connection's. Answers and their texts: the Runtime Interface Emulator,
rapi/rendering/render_error.go.
"""

import base64
import binascii
import json
from typing import TYPE_CHECKING

from penstock.http.exchange import Exchange
from penstock.http.request import Request
from penstock.http.writer import Writer
from penstock.protocol import limits, runtime_api
from penstock.protocol.call import Head

if TYPE_CHECKING:
    from .environment import Environment
    from .invocation import Invocation

_JSON = [(b"Content-Type", b"application/json")]
_NEXT = runtime_api.NEXT_PATH.encode()
_INIT_ERROR = runtime_api.INIT_ERROR_PATH.encode()
_INVOCATION = runtime_api.INVOCATION_PATH.encode()
_RESPONSE_MODE = runtime_api.RESPONSE_MODE.lower().encode()
_ERROR_TYPE = runtime_api.ERROR_TYPE.lower().encode()
_ERROR_BODY = runtime_api.ERROR_BODY.lower().encode()


class RuntimeApi:
    """The HTTP application on an environment's connection."""

    def __init__(self, environment: "Environment") -> None:
        self._environment = environment

    def __call__(self, request: Request, writer: Writer) -> Exchange:
        environment = self._environment
        path = request.target
        if request.method == "GET" and path == _NEXT:
            return Next(environment, writer)
        if request.method == "POST" and path.startswith(_INVOCATION):
            request_id, _, verb = path[len(_INVOCATION) :].decode("latin-1").partition("/")
            invocation = environment.invocation
            if verb in ("response", "error"):
                if invocation is None or invocation.request_id != request_id or environment.answered:
                    return Refusal(writer, 400, "InvalidRequestID", "Invalid request ID")
                environment.answered = True
                if verb == "response":
                    return response(environment, invocation, request, writer)
                return Error(environment, writer, _error_type(request), invocation)
        if request.method == "POST" and path == _INIT_ERROR:
            if environment.initialised:
                message = "State transition from Ready to InitError failed for runtime. Error: not allowed"
                return Refusal(writer, 403, "InvalidStateTransition", message)
            return Error(environment, writer, _error_type(request))
        return Refusal(
            writer, 404, "NotFound", f"no such resource: {request.method} {path.decode('latin-1')}"
        )


def response(
    environment: "Environment", invocation: "Invocation", request: Request, writer: Writer
) -> Exchange:
    """The exchange that takes in a response; detection is here, by the response's own headers."""
    mode = request.get(_RESPONSE_MODE)
    if mode is not None and mode.lower() != runtime_api.STREAMING.encode():
        message = f"{runtime_api.RESPONSE_MODE} must be {runtime_api.STREAMING}, not {mode.decode('latin-1')}"
        document = runtime_api.error_document(runtime_api.INVALID_RESPONSE_MODE, message)
        invocation.failed(runtime_api.INVALID_RESPONSE_MODE, document)
        return Refusal(writer, 400, "InvalidFunctionResponseMode", message)
    content_type = (request.get(b"content-type") or b"application/octet-stream").decode("latin-1")
    head = Head(content_type, streamed=mode is not None)
    if head.has_prelude:
        head = Head(content_type, streamed=True)
    environment.responding(writer)
    invocation.head(head, request.content_length)
    return Response(invocation, writer)


class Next(Exchange):
    """The runtime waits for an event."""

    def __init__(self, environment: "Environment", writer: Writer) -> None:
        self._environment = environment
        self._writer = writer

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        self._environment.asked(self._writer)


class Response(Exchange):
    """A response, buffered or streamed, on its way through."""

    def __init__(self, invocation: "Invocation", writer: Writer) -> None:
        self._invocation = invocation
        self._writer = writer

    def request_data(self, slices: list[memoryview]) -> None:
        self._invocation.data(slices)

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        invocation = self._invocation
        fields = dict(trailers) if trailers else {}
        if error_type := fields.get(_ERROR_TYPE, b"").decode("latin-1"):
            invocation.failed(error_type, _decoded(fields.get(_ERROR_BODY, b"")))
        invocation.complete()
        if invocation.too_large:
            message = f"Exceeded maximum allowed payload size ({limits.RESPONSE_PAYLOAD} bytes)."
            _refuse(self._writer, 413, "RequestEntityTooLarge", message)
        else:
            self._writer.respond(202, _JSON, runtime_api.ACCEPTED)

    def lost(self) -> None:
        # The process has ended, or will be: its exit tells what happened.
        pass


class Error(Exchange):
    """An error report, of an invocation or, without one, of the init."""

    def __init__(
        self,
        environment: "Environment",
        writer: Writer,
        error_type: str,
        invocation: "Invocation | None" = None,
    ) -> None:
        self._environment = environment
        self._writer = writer
        self._error_type = error_type
        self._invocation = invocation
        self._document = bytearray()

    def request_data(self, slices: list[memoryview]) -> None:
        for piece in slices:
            if len(self._document) < limits.RESPONSE_PAYLOAD:
                self._document += piece

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        document = bytes(self._document)
        if self._invocation is not None:
            self._invocation.failed(self._error_type, document)
        else:
            self._environment.init_failed(self._error_type, document)
        self._writer.respond(202, _JSON, runtime_api.ACCEPTED)


class Refusal(Exchange):
    """Answers once the request was read, so that the connection stays usable."""

    def __init__(self, writer: Writer, status: int, error_type: str, message: str) -> None:
        self._answer = (writer, status, error_type, message)

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        _refuse(*self._answer)


def _refuse(writer: Writer, status: int, error_type: str, message: str) -> None:
    body = json.dumps({"errorMessage": message, "errorType": error_type}).encode()
    writer.respond(status, _JSON, body)


def _error_type(request: Request) -> str:
    """The type the runtime reported; what is missing is AWS's Runtime.Unknown."""
    reported = request.get(_ERROR_TYPE)
    return reported.decode("latin-1") if reported else "Runtime.Unknown"


def _decoded(body: bytes) -> bytes:
    """The error document in a trailer; one that is not Base64 leaves the details empty, as AWS does."""
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        return b""
