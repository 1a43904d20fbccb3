"""The line in the log that each request of the Lambda API has, whether a function was called or not."""

import time
import uuid
from collections.abc import Sequence

from penstock.http.request import Request
from penstock.http.writer import Writer
from penstock.protocol import lambda_api as api
from penstock.protocol import sigv4
from penstock.protocol.call import Ending, Invocation, Outcome, Slice
from penstock.protocol.record import RequestRecord, RequestSink

from .errors import ApiError

JSON = (b"Content-Type", b"application/json")


class CallLog:
    """Follows one request, and writes its line."""

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
            path="" if self.operation else sigv4.shown(self._request.target.decode("latin-1")),
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


def answer_error(writer: Writer, error: ApiError) -> None:
    headers = [JSON, (api.ERROR_TYPE.encode(), error.code.encode()), request_id(None)]
    if error.status == 429:
        headers.append((b"Retry-After", str(error.retry_after).encode()))
    writer.respond(error.status, headers, error.body)


def request_id(invocation: Invocation | None) -> tuple[bytes, bytes]:
    """The answer's request id: the invocation's, or a new one where nothing was invoked."""
    return (api.REQUEST_ID.encode(), (invocation.request_id if invocation else str(uuid.uuid4())).encode())
