"""A second Runtime API, written from AWS's documentation and nothing of Penstock's: it trusts no runtime.

Plain sockets and threads. It writes down what a runtime sends, and everything about it that the documentation
does not allow. https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html and, for streams,
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming.
"""

import base64
import binascii
import queue
import re
import socket
import threading
import time
from dataclasses import dataclass, field

BASE = "/2018-06-01/runtime/"
LIMIT = 6 * 1024 * 1024 + 100  # bytes of a buffered response
TRAILERS = 4096  # bytes: AWS's server is Go's, which reads no more of them
SHORT = 2048  # bytes: Go's server sends longer bodies in chunks
STREAM_TRAILERS = {"lambda-runtime-function-error-type", "lambda-runtime-function-error-body"}


@dataclass
class Sent:
    """One request of the runtime."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes = b""
    chunks: list[int] = field(default_factory=list)  # the sizes of a chunked body's
    trailers: dict[str, str] = field(default_factory=dict)

    @property
    def streams(self) -> bool:
        return self.headers.get("lambda-runtime-function-response-mode") == "streaming"


@dataclass
class Result:
    """What an invocation came to, for its caller."""

    body: bytes = b""
    content_type: str = ""
    streamed: bool = False
    error_type: str = ""  # the platform's
    error_document: bytes = b""


@dataclass
class Event:
    request_id: str
    payload: bytes
    headers: dict[str, str]
    result: "queue.Queue[Result]" = field(default_factory=queue.Queue)


class Violation(Exception):
    """The runtime sent what is no HTTP; its connection is closed."""


class ReferenceRuntimeApi:
    """Listens on loopback until `close`; one runtime is to talk to it."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.violations: list[str] = []
        self.init_error: queue.Queue[Result] = queue.Queue()
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._running: Event | None = None
        self._asked = False
        self._attempts = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def invoke(self, request_id: str, payload: bytes, timeout: float = 20, **headers: str) -> Result:
        """Hand an event to the runtime; what it answers. `headers`: further ones, with underscores."""
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        event = Event(request_id, payload, extra)
        self._events.put(event)
        return event.result.get(timeout=timeout)

    def close(self) -> None:
        self._events.put(None)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the runtime has closed it

    # Connections.

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            first = True
            try:
                while request := self._read(reader, connection):
                    self.sent.append(request)
                    if request.streams and not first:
                        self._violated(request, "a stream is to have a connection of its own")
                    first = False
                    answer = self._answer(request)
                    if answer is None:
                        return
                    connection.sendall(answer)
                    if request.streams:
                        connection.settimeout(5)
                        if reader.read(1):
                            self._violated(request, "a stream's connection is to be closed after it")
                        return
            except Violation as violation:
                self.violations.append(str(violation))
            except TimeoutError:
                self.violations.append("a stream's connection is to be closed after it")
            except OSError:
                pass  # the runtime has gone
            finally:
                with self._lock:
                    self._connections.remove(connection)

    def _read(self, reader, connection) -> Sent | None:  # type: ignore[no-untyped-def]
        line = reader.readline()
        if not line:
            return None
        match = re.fullmatch(rb"(GET|POST) (/\S*) HTTP/1\.1\r\n", line)
        if match is None:
            raise Violation(f"no request line: {line!r}")
        request = Sent(match[1].decode(), match[2].decode(), self._fields(reader, 2**21))
        headers = request.headers
        if headers.get("host") != self.address:
            self._violated(request, f"Host is {headers.get('host')!r}")
        if headers.get("expect") == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "transfer-encoding" in headers:
            if headers["transfer-encoding"] != "chunked" or "content-length" in headers:
                raise Violation(f"no framing: {headers}")
            self._chunks(reader, request)
        elif "content-length" in headers:
            request.body = reader.read(int(headers["content-length"]))
            if len(request.body) != int(headers["content-length"]):
                raise Violation("a body ended early")
        elif request.method == "POST":
            self._violated(request, "a POST says how long it is")
        return request

    def _fields(self, reader, limit: int) -> dict[str, str]:  # type: ignore[no-untyped-def]
        fields: dict[str, str] = {}
        while (line := reader.readline()) != b"\r\n":
            limit -= len(line)
            match = re.fullmatch(
                rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*\r\n", line
            )
            if match is None or limit < 0:
                raise Violation(f"no header, or too many: {line[:100]!r}")
            name = match[1].decode().lower()
            if name in fields:
                raise Violation(f"the header {name} twice")
            fields[name] = match[2].decode("latin-1")
        return fields

    def _chunks(self, reader, request: Sent) -> None:  # type: ignore[no-untyped-def]
        parts = []
        while True:
            line = reader.readline()
            if re.fullmatch(rb"[0-9a-fA-F]+\r\n", line) is None:
                raise Violation(f"no chunk size: {line[:100]!r}")
            size = int(line, 16)
            if size == 0:
                break
            parts.append(reader.read(size))
            if len(parts[-1]) != size or reader.read(2) != b"\r\n":
                raise Violation("a chunk ended early")
            request.chunks.append(size)
        request.body = b"".join(parts)
        request.trailers = self._fields(reader, TRAILERS)
        declared = {name.strip().lower() for name in request.headers.get("trailer", "").split(",")}
        if not request.trailers.keys() <= declared:
            self._violated(request, f"trailers that were not declared: {request.trailers}")

    def _violated(self, request: Sent, what: str) -> None:
        self.violations.append(f"{request.method} {request.path}: {what}")

    # Answers.

    def _answer(self, request: Sent) -> bytes | None:
        if not request.path.startswith(BASE):
            return self._json(404, "NotFound", "no such path")
        route = request.path.removeprefix(BASE).split("/")
        if request.method == "GET" and route == ["invocation", "next"]:
            return self._next(request)
        if request.method == "POST" and route == ["init", "error"]:
            return self._init_failed(request)
        if request.method == "POST" and len(route) == 3 and route[0] == "invocation":
            event = self._running
            if event is None or event.request_id != route[1]:
                self._violated(request, "no such invocation runs")
                return self._json(400, "InvalidRequestID", "Invalid request ID")
            if request.headers.get("lambda-runtime-invocation-id") != f"attempt-{self._attempts}":
                self._violated(request, "the invocation id is to be repeated")
                return self._json(410, "InvokeTimeout", "Invoke timeout")
            if route[2] == "response":
                self._running = None
                return self._response(request, event)
            if route[2] == "error":
                self._running = None
                return self._error(request, event)
        self._violated(request, "no such path")
        return self._json(404, "NotFound", "no such path")

    def _next(self, request: Sent) -> bytes | None:
        if request.body or self._running is not None:
            self._violated(request, "out of turn")
        self._asked = True
        event = self._events.get()
        if event is None:
            return None
        self._running = event
        self._attempts += 1
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": event.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 900_000),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:app",
            "Lambda-Runtime-Invocation-Id": f"attempt-{self._attempts}",
            **event.headers,
        }
        if len(event.payload) <= SHORT:
            headers["Content-Length"] = str(len(event.payload))
            body = event.payload
        else:
            headers["Transfer-Encoding"] = "chunked"
            body = b""
            for start in range(0, len(event.payload), 40_000):
                piece = event.payload[start : start + 40_000]
                body += b"%x\r\n%b\r\n" % (len(piece), piece)
            body += b"0\r\n\r\n"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode("latin-1") + body

    def _init_failed(self, request: Sent) -> bytes:
        if self._asked:
            self._violated(request, "out of turn")
        reported = request.headers.get("lambda-runtime-function-error-type", "")
        self.init_error.put(Result(error_type=platform_type(reported), error_document=request.body))
        return self._accepted()

    def _response(self, request: Sent, event: Event) -> bytes:
        mode = request.headers.get("lambda-runtime-function-response-mode")
        result = Result(request.body, request.headers.get("content-type", ""), request.streams)
        if mode not in (None, "streaming"):
            self._violated(request, f"the response mode {mode!r}")
        if not request.streams and len(request.body) > LIMIT:
            event.result.put(Result(error_type="Function.ResponseSizeTooLarge"))
            message = f"Exceeded maximum allowed payload size ({LIMIT} bytes)."
            return self._json(413, "RequestEntityTooLarge", message)
        if request.streams:
            self._check_stream(request)
            reported = request.trailers.get("lambda-runtime-function-error-type")
            if reported is not None:
                result.error_type = platform_type(reported)
                result.error_document = base64.b64decode(
                    request.trailers.get("lambda-runtime-function-error-body", "")
                )
        event.result.put(result)
        return self._accepted()

    def _check_stream(self, request: Sent) -> None:
        headers = request.headers
        if headers.get("transfer-encoding") != "chunked":
            self._violated(request, "a stream is to be chunked")
        declared = {name.strip().lower() for name in headers.get("trailer", "").split(",")}
        if declared != STREAM_TRAILERS:
            self._violated(request, f"a stream is to declare both trailers, not {declared}")
        if headers.get("connection") != "close":
            self._violated(request, "a stream is to close its connection")
        if not headers.get("content-type"):
            self._violated(request, "a stream is to have a content type")
        try:
            base64.b64decode(request.trailers.get("lambda-runtime-function-error-body", ""), validate=True)
        except binascii.Error:
            self._violated(request, "the error in the trailers is to be Base64")
        if request.trailers and request.trailers.keys() != STREAM_TRAILERS:
            self._violated(request, f"both trailers or none, not {request.trailers.keys()}")

    def _error(self, request: Sent, event: Event) -> bytes:
        reported = request.headers.get("lambda-runtime-function-error-type", "")
        event.result.put(Result(error_type=platform_type(reported), error_document=request.body))
        return self._accepted()

    def _accepted(self) -> bytes:
        return self._whole(202, b'{"status":"OK"}\n')

    def _json(self, status: int, error_type: str, message: str) -> bytes:
        return self._whole(
            status, b'{"errorMessage":"%b","errorType":"%b"}\n' % (message.encode(), error_type.encode())
        )

    def _whole(self, status: int, body: bytes) -> bytes:
        return b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
            status,
            len(body),
            body,
        )


def platform_type(reported: str) -> str:
    """What the platform makes of the error type a runtime reports."""
    if re.search(r"(Runtime|Function)\.[A-Z][a-zA-Z]+", reported):
        return reported
    return "Function.Unknown" if reported.startswith("Function.") else "Runtime.Unknown"
