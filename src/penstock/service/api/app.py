"""The HTTP application of the Lambda API: who may call, which operation it is, who serves it."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Protocol
from urllib.parse import parse_qs

from penstock.http.exchange import Exchange
from penstock.http.request import Request
from penstock.http.writer import Writer
from penstock.protocol import operations
from penstock.protocol.call import FunctionNotFound, Invoker
from penstock.protocol.lambda_api import OWN_PREFIX
from penstock.protocol.record import RequestSink
from penstock.service.functions import Functions
from penstock.service.guard import refuse

from .calllog import CallLog
from .collect import Refusal, Signed
from .errors import ApiError, not_found
from .invoke import Enqueue, invocation
from .manage import Managed
from .request import ApiRequest, Handler

OwnRoute = Callable[[str, dict[str, list[str]], Writer], Exchange]
"""Serves a path below OWN_PREFIX: the path after the route's name, the query. Raises ApiError."""


class Access(Protocol):
    def begin(self, request: Request) -> Signed:
        """Look at a request's head; its body is still to be checked. Raises ApiError."""


class LambdaApi:
    """Every operation is here: built ones have a handler, others answer 501 with their name."""

    def __init__(
        self,
        invoker: Invoker,
        functions: Functions,
        report: RequestSink,
        *,
        handlers: Mapping[str, Handler] | None = None,
        enqueue: Enqueue | None = None,
        access: Access | None = None,
        own: Mapping[str, OwnRoute] | None = None,
        presigned: Mapping[str, OwnRoute] | None = None,
        allow_hosts: Collection[str] = (),
    ) -> None:
        self.functions = functions
        self.invoker = invoker
        self.enqueue = enqueue  # takes Event invocations; None: there is nowhere to keep them
        self._report = report
        self._handlers = handlers or {}
        self._access = access
        self._own = own or {}
        self._presigned = presigned or {}  # those whose address is its own permission
        self._allow_hosts = allow_hosts
        self._running: set[asyncio.Task[None]] = set()

    def __call__(self, request: Request, writer: Writer) -> Exchange:
        log = CallLog(self._report, request)
        signed: Signed | None = None
        try:
            if reason := refuse(request, self._allow_hosts):
                raise ApiError("AccessDeniedException", reason)
            path, _, query = request.target.decode("latin-1").partition("?")
            if path.startswith(OWN_PREFIX) and (exchange := self._own_path(self._presigned, request, writer)):
                return exchange
            if self._access is not None:
                signed = self._access.begin(request)
            return self._route(request, path, query, writer, log, signed)
        except FunctionNotFound as error:
            return Refusal(writer, not_found(str(error)), log, signed)
        except ApiError as error:
            return Refusal(writer, error, log, signed)

    async def settled(self) -> None:
        """Wait for the changes that are under way."""
        while self._running:
            await asyncio.wait(self._running)

    def _route(
        self, request: Request, path: str, query: str, writer: Writer, log: CallLog, signed: Signed | None
    ) -> Exchange:
        if path.startswith(OWN_PREFIX):
            if signed is not None:
                signed.check(b"")
            if exchange := self._own_path(self._own, request, writer):
                return exchange
            raise ApiError("UnknownOperationException", f"there is no {request.method} {path} here")
        match = operations.match(request.method, path, query)
        if match is None:
            if methods := operations.methods(path):
                message = f"{path} is called with {' or '.join(methods)}, not {request.method}"
                raise ApiError("MethodNotAllowedException", message)
            message = f"{request.method} {path} is no operation of the Lambda API"
            raise ApiError("UnknownOperationException", message)
        name = log.operation = match.operation.name
        if name in ("Invoke", "InvokeWithResponseStream"):
            function = match.parameters["FunctionName"]
            return invocation(self, name == "Invoke", function, request, query, writer, log, signed)
        if (handler := self._handlers.get(name)) is None:
            raise ApiError("NotImplementedException", f"{name} is not built into Penstock")

        def made(body: bytes) -> ApiRequest:
            host = (request.get(b"host") or b"").decode("latin-1")
            values = parse_qs(query, keep_blank_values=True)
            return ApiRequest(name, match.parameters, values, body, host)

        return Managed(handler, made, self._running, writer, log, signed)

    def _own_path(self, routes: Mapping[str, OwnRoute], request: Request, writer: Writer) -> Exchange | None:
        path, _, query = request.target.decode("latin-1").partition("?")
        name, _, rest = path[len(OWN_PREFIX) :].partition("/")
        route = routes.get(name) if request.method == "GET" else None
        return route(rest, parse_qs(query), writer) if route is not None else None
