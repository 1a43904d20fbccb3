"""The gateway: an HTTP request becomes an event, a function's response becomes an HTTP response.

Detection is here, and by the response alone: a streamed one is forwarded as it comes, a buffered one is
collected and read as API Gateway reads it. When the client leaves, the function is cancelled.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Literal

from penstock.http.exchange import Exchange
from penstock.http.request import Request
from penstock.http.writer import Writer
from penstock.protocol import events, lambda_api, limits, sigv4, urls
from penstock.protocol.call import Call, Ending, FunctionNotFound, Head, Invocation, Invoker, Outcome, Slice
from penstock.protocol.events import HttpRequest, rest, url
from penstock.protocol.events.head import (
    HttpHead,
    InvalidResult,
    auto_result,
    from_prelude,
    gateway_error,
    url_result,
)
from penstock.protocol.prelude import Decoder, PreludeError
from penstock.protocol.record import RequestRecord, RequestSink

from . import cors
from .config import Config
from .routes import Route, Routes
from .timeouts import Timeout

Verify = Callable[[Request], sigv4.Pending]
"""Who signed a request, by its head; the rest is `Pending.check`. Raises Denied."""

_JSON = [(b"Content-Type", b"application/json")]
_NO_BODY = (204, 304)
_PATIENCE = 10 * limits.GATEWAY_BODY  # bytes of a body that are read before it is refused for its size
_NO_KEYS = (
    "this Function URL takes signed requests only (AuthType AWS_IAM), and there are no access keys to check"
    " them with: PENSTOCK_ACCESS_KEYS or --access-keys gives some"
)


class Gateway:
    """The HTTP application in front of the functions."""

    def __init__(
        self,
        invoker: Invoker,
        routes: Routes,
        config: Config,
        report: RequestSink,
        verify: Verify | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Without `verify`, nobody gets to a Function URL that takes signed requests only.

        `loop` is the running one when it is not given.
        """
        self.invoker = invoker
        self.routes = routes
        self.config = config
        self.report = report
        self.verify = verify
        self._loop = loop

    def timeout(self, route: Route, expired: Callable[[str], None]) -> Timeout | None:
        """The clock of a request that is about to call its function, if there is to be one."""
        if self.config.limits == "none" or route.flavour == "url":
            return None
        return Timeout(self._loop or asyncio.get_running_loop(), route.flavour, expired)

    def __call__(self, request: Request, writer: Writer) -> Exchange:
        path, _, query = request.target.decode("latin-1").partition("?")
        route = self.routes.match(path)
        if route is None:
            return Answer(self, request, writer, 404, _JSON, self.routes.listing(path), "not found")
        if route.cors is not None and cors.is_preflight(request):
            headers = cors.preflight(route.cors, request.get(b"origin") or b"")
            return Answer(self, request, writer, 200, headers, b"", Ending.DONE.word)
        forward = Forward(self, request, writer, route, query)
        length = request.content_length or 0
        # A client that asks first is told at once. Others read the answer only when they have sent all,
        # so it waits for what can be waited for.
        if length > limits.GATEWAY_BODY and (request.expect_continue or length > _PATIENCE):
            forward.refuse_announced(length)
        return forward


class Answer(Exchange):
    """What is answered without a function."""

    def __init__(
        self,
        gateway: Gateway,
        request: Request,
        writer: Writer,
        status: int,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        ending: str,
    ) -> None:
        self._gateway = gateway
        self._request = request
        self._writer = writer
        self._status = status
        self._headers = headers
        self._body = body
        self._ending = ending

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        self._writer.respond(self._status, self._headers, self._body)
        record = RequestRecord(
            time=time.time(),
            method=self._request.method,
            path=sigv4.shown(self._request.target.decode("latin-1")),
            function="",
            request_id="",
            status=self._status,
            first_byte=None,
            total=0.0,
            chunks=0,
            bytes=self._writer.bytes_sent,
            ending=self._ending,
            ok=self._status < 400,
        )
        self._gateway.report(record)


class Forward(Exchange):
    """One request and its response: the exchange of the HTTP server, and the sink of the invocation."""

    def __init__(self, gateway: Gateway, request: Request, writer: Writer, route: Route, query: str) -> None:
        self._gateway = gateway
        self._request = request
        self._writer = writer
        self._route = route
        self._query = query
        self._flavour: Literal["rest", "url"] = "rest" if route.flavour == "rest" else "url"
        self._time = time.time()
        self._began = time.monotonic()
        self._first_byte: float | None = None
        self._status = 0
        self._chunks = 0
        self._body = bytearray()  # joined as it comes: a view of every byte would cost more than the byte
        self._body_size = 0
        self._invocation: Invocation | None = None
        self._prelude: Decoder | None = None
        self._promised: int | None = None  # the Content-Length the function set for its stream
        self._overrun = False  # it sent more than that
        self._buffered: bytearray | None = None  # what came of a buffered result
        self._fault = ""  # what is wrong with the response, found here
        self._note = ""  # what is to be said of a response that is good
        self._access_key = ""  # whose signature was verified
        self._left = False  # the client is gone
        self._timeout: Timeout | None = None
        self._expired = ""  # what the timeout says of itself

    # The request.

    def refuse_announced(self, length: int) -> None:
        """Refuse a body for its length alone, before it was sent."""
        self._body_size = length
        self._refuse_body()

    def request_data(self, slices: list[memoryview]) -> None:
        self._body_size += sum(map(len, slices))
        if self._body_size <= limits.GATEWAY_BODY:
            for piece in slices:
                self._body += piece
        else:
            self._body.clear()
            if self._body_size > _PATIENCE:
                self._refuse_body()

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        if self._body_size > limits.GATEWAY_BODY:
            self._refuse_body()
            return
        if self._route.auth != "NONE" and not self._admit():
            return
        payload, trace_id = self._event()
        if len(payload) > limits.REQUEST_PAYLOAD:
            said = f"an event may have {limits.REQUEST_PAYLOAD:,} bytes, this one has {len(payload):,}"
            self._refuse(
                413, said + (" (binary bodies grow by a third in Base64)" if self._body_size else "")
            )
            return
        self._body.clear()
        self._timeout = self._gateway.timeout(self._route, self._expire)
        call = Call(self._route.function, payload, trace_id, qualifier=self._route.qualifier)
        try:
            self._invocation = self._gateway.invoker.invoke(call, self)
        except FunctionNotFound as error:
            self._stop_timeout()
            self._refuse(404, str(error))

    def _admit(self) -> bool:
        """Whether the request is signed, and well; otherwise it is answered."""
        verify = self._gateway.verify
        if verify is None:
            self._forbid(_NO_KEYS)
            return False
        try:
            pending = verify(self._request)
            pending.check(bytes(self._body))
        except sigv4.Denied as denied:
            self._forbid(str(denied), None if denied.unsigned else denied.code)
            return False
        self._access_key = pending.access_key
        return True

    def _event(self) -> tuple[bytes, str]:
        request, route = self._request, self._route
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers]
        trace_id = (request.get(b"x-amzn-trace-id") or b"").decode("latin-1") or _trace_id(self._time)
        http_request = HttpRequest(
            method=request.method,
            path=route.path,
            query=self._query,
            headers=headers,
            body=bytes(self._body),
            source_ip=request.peer[0] if request.peer else "127.0.0.1",
            protocol=f"HTTP/{request.version}",
            request_id=os.urandom(16).hex(),
            time=self._time,
            port=request.local[1] if request.local else 80,
            trace_id=trace_id,
            access_key=self._access_key,
        )
        if route.flavour == "rest":
            return events.payload(rest.event(http_request)), trace_id
        return events.payload(url.event(http_request, route.flavour)), trace_id

    # The client's pace, and its leaving.

    def pause_writing(self) -> None:
        if self._timeout is not None:
            self._timeout.held = True
        if self._invocation is not None:
            self._invocation.pause()

    def resume_writing(self) -> None:
        if self._timeout is not None:
            self._timeout.held = False
        if self._invocation is not None:
            self._invocation.resume()

    def _expire(self, said: str) -> None:
        """API Gateway would wait no longer: the client is answered, the function stopped or left alone."""
        self._expired = said
        if self._writer.started:
            self._writer.abort()
        else:
            self._answer(*gateway_error(504 if self._route.flavour == "rest" else 503, self._flavour))
        if self._invocation is not None:
            self._disconnect(self._invocation)

    def _stop_timeout(self) -> None:
        if self._timeout is not None:
            self._timeout.stop()

    def lost(self) -> None:
        self._left = True
        self._stop_timeout()
        if self._invocation is None:
            self._report(Ending.CANCELLED.word, ok=False, detail="before the request was complete")
        else:
            self._disconnect(self._invocation)

    def _disconnect(self, invocation: Invocation) -> None:
        """The client will take no more: the function is stopped, or runs on and nobody reads."""
        if self._gateway.config.on_disconnect == "cancel":
            invocation.cancel()
        else:
            invocation.resume()

    # The response.

    def head(self, head: Head) -> None:
        if self._writer.ended:
            return  # it comes too late
        if head.streamed and self._timeout is not None:
            self._timeout.stream(lambda: self._writer.bytes_sent)
        if not head.streamed:
            self._buffered = bytearray()
        elif head.has_prelude:
            self._prelude = Decoder()
        else:
            self._start(HttpHead(200, [(b"Content-Type", head.content_type.encode("latin-1"))]))

    def data(self, slices: Sequence[Slice]) -> None:
        if self._writer.ended:
            if self._promised is not None and any(map(len, slices)):
                self._exceed()
            return
        if self._buffered is not None:
            for piece in slices:
                self._buffered += piece
            return
        if self._prelude is not None:
            slices = self._read_prelude(self._prelude, slices)
        if not slices:
            return
        if self._first_byte is None:
            self._first_byte = time.monotonic()
        self._chunks += len(slices)
        self._writer.data(slices)
        if self._promised is not None and self._writer.bytes_sent == self._promised:
            # The client has all it was promised, and may leave: the function goes on by itself.
            self._writer.end()
            if self._writer.overrun:
                self._exceed()
            elif self._invocation is not None:
                self._invocation.resume()

    def _exceed(self) -> None:
        """The function sends more than the length it set: as if the client had left, since nobody reads."""
        if self._overrun or self._left:
            return
        self._overrun = True
        if self._invocation is not None:
            self._disconnect(self._invocation)

    def _read_prelude(self, decoder: Decoder, slices: Sequence[Slice]) -> Sequence[Slice]:
        """Feed the decoder; what is left after the prelude."""
        for index, piece in enumerate(slices):
            try:
                prelude = decoder.feed(piece)
                if prelude is not None:
                    self._prelude = None
                    self._start(from_prelude(prelude))
            except (PreludeError, InvalidResult) as error:
                self._reject(str(error))
                if self._invocation is not None:
                    self._invocation.cancel()  # it need not go on
                return []
            if prelude is not None:
                rest = [decoder.rest] if len(decoder.rest) else []
                return [] if self._writer.ended else [*rest, *slices[index + 1 :]]
        return []

    def _start(self, head: HttpHead) -> None:
        self._status = head.status
        self._promised = head.content_length
        self._writer.start(head.status, self._headers(head), length=head.content_length)
        if self._request.method == "HEAD" or head.status in _NO_BODY:
            # All the client will ever get: as if it had left.
            self._promised = None
            self._writer.end()
            if self._invocation is not None:
                self._disconnect(self._invocation)

    def _headers(self, head: HttpHead) -> list[tuple[bytes, bytes]]:
        """A response's headers, with those that the Function URL's configuration sets."""
        if self._route.cors is None:
            return head.headers
        origin = self._request.get(b"origin")
        self._note = cors.replaced(self._route.cors, origin, head.headers)
        return cors.apply(self._route.cors, origin, head.headers)

    def _reject(self, fault: str) -> None:
        """The response cannot be sent: 502 instead."""
        self._fault = fault
        self._answer(*gateway_error(502, self._flavour))

    def end(self, outcome: Outcome) -> None:
        self._stop_timeout()
        detail = self._fault
        ok = outcome.ok
        if self._left or self._writer.ended:
            # All that can be said to the client was said.
            if self._overrun and (ok or outcome.ending is Ending.CANCELLED):
                detail = "the stream is longer than its Content-Length: the rest was dropped"
        elif ok:
            ok, detail = self._complete()
        elif self._writer.started:
            self._writer.abort()
        else:
            self._answer(*gateway_error(outcome.ending.status, self._flavour))
        self._end_record(outcome, ok, detail or (self._note if ok else ""))

    def _complete(self) -> tuple[bool, str]:
        """The function is done: finish its response. Whether that was possible, and what is to be said."""
        if self._buffered is not None:
            return self._answer_result(bytes(self._buffered))
        if self._prelude is not None:
            try:
                self._prelude.end()
            except PreludeError as error:
                self._reject(str(error))
                return False, self._fault
        self._writer.end()
        if self._promised is not None and self._writer.bytes_sent < self._promised:
            counted = f"{self._writer.bytes_sent:,} of {self._promised:,} bytes"
            return False, f"the stream ended before its Content-Length: {counted}"
        return True, ""

    def _answer_result(self, payload: bytes) -> tuple[bool, str]:
        warning = ""
        try:
            if self._route.flavour == "rest":
                head, body, warning = auto_result(payload)
            else:
                head, body = url_result(payload)
        except InvalidResult as error:
            self._reject(str(error))
            return False, self._fault
        self._answer(head, body)
        return True, warning

    def _answer(self, head: HttpHead, body: bytes) -> None:
        self._status = head.status
        self._writer.respond(head.status, self._headers(head), body)
        if self._writer.bytes_sent:
            self._first_byte = time.monotonic()
            self._chunks += 1

    # The log.

    def _end_record(self, outcome: Outcome, ok: bool, detail: str) -> None:
        word = outcome.ending.word
        if outcome.ending is Ending.CANCELLED and not self._left:
            # Cancelled by ourselves, after all that could be sent.
            word, ok = ("invalid response", False) if self._fault else ("done", True)
        elif outcome.ok and not ok:
            word = "invalid response" if self._fault else "broken off"
        if self._left and outcome.ok:
            word = f"{Ending.CANCELLED.word}, the function finished"
        if self._expired and not self._left:
            word, ok, detail = "integration timeout", False, self._expired
        if not detail and not (ok and outcome.ending is Ending.CANCELLED):
            detail = outcome.detail
        self._report(word, ok, detail)

    def _refuse_body(self) -> None:
        limit, size = limits.GATEWAY_BODY, self._body_size
        self._refuse(413, f"a request body may have {limit:,} bytes, this one has {size:,}")

    def _forbid(self, detail: str, code: str | None = None) -> None:
        """403: with AWS's general words, or with what is wrong with the signature."""
        if code is None:
            code, document = urls.FORBIDDEN_CODE, {"Message": urls.FORBIDDEN}
        else:
            document = {"message": detail}
        headers = [*_JSON, (lambda_api.ERROR_TYPE.encode(), code.encode())]
        self._answer(HttpHead(403, headers), json.dumps(document).encode())
        self._report("refused", ok=False, detail=detail)

    def _refuse(self, status: int, detail: str) -> None:
        """Answer without calling the function."""
        self._answer(*gateway_error(status, self._flavour))
        self._report("refused", ok=False, detail=detail)

    def _report(self, ending: str, ok: bool, detail: str) -> None:
        first_byte = None if self._first_byte is None else self._first_byte - self._began
        record = RequestRecord(
            time=self._time,
            method=self._request.method,
            path=sigv4.shown(self._request.target.decode("latin-1")),
            function=self._route.function,
            request_id=self._invocation.request_id if self._invocation else "",
            status=self._status or Ending.CANCELLED.status,
            first_byte=first_byte,
            total=time.monotonic() - self._began,
            chunks=self._chunks,
            bytes=self._writer.bytes_sent,
            ending=ending,
            ok=ok,
            detail=detail,
        )
        self._gateway.report(record)


def _trace_id(now: float) -> str:
    """A new X-Ray root: https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html."""
    return f"Root=1-{int(now):08x}-{os.urandom(12).hex()}"
