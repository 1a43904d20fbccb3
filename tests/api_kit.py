"""The Lambda API on a connection without a socket: what is sent, what is answered, what is logged."""

import asyncio
import json
from typing import Any

from gateway_kit import FakeInvoker
from http_kit import Clock, Wire
from penstock.http import Config, Connection
from penstock.http.timers import Timers
from penstock.protocol.record import RequestRecord
from penstock.service.api.app import LambdaApi
from penstock.service.functions import Function
from service_kit import FixedFunctions

CREATE = "/2015-03-31/functions"
INVOKE = "/2015-03-31/functions/app/invocations"
LIST = "/2015-03-31/functions"


class Counter:
    """One client's connection to a Lambda API of the function `app`."""

    def __init__(self, *functions: Function, **options: Any) -> None:
        self.invoker = FakeInvoker()
        self.records: list[RequestRecord] = []
        self.errors: list[Exception] = []
        there = FixedFunctions(functions or [Function("app", "app.handler", "/", "python")])
        self.api = LambdaApi(self.invoker, there, self.records.append, **options)
        self.clock, self.wire = Clock(), Wire()
        http = Config(stamp=False, on_error=self.errors.append)
        self.connection = Connection(self.api, http, Timers(self.clock, http.tick))  # type: ignore[arg-type]
        self.connection.connection_made(self.wire)

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> None:
        """A request; underscores in the names of headers are hyphens."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost:3001", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.connection.data_received("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        self.clock.turn()

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
        """Status and document of the answer, once the task that makes it is done."""
        self.wire.writes.clear()
        self.send(method, path, body, **headers)
        await self.api.settled()
        await asyncio.sleep(0)
        self.clock.turn()
        return self.status, self.document

    def leave(self) -> None:
        """The client goes."""
        self.wire.closed = self.wire.closed or "lost"
        self.connection.connection_lost(None)

    @property
    def status(self) -> int:
        return int(self.wire.sent.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        head = self.wire.sent.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return dict(line.split(": ", 1) for line in head)

    @property
    def document(self) -> Any:
        """The body, where it is JSON."""
        body = self.wire.sent.partition(b"\r\n\r\n")[2]
        return json.loads(body) if self.headers.get("Content-Type") == "application/json" and body else None

    @property
    def record(self) -> RequestRecord:
        (record,) = self.records
        return record
