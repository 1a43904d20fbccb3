"""The gateway on a connection without a socket, in front of functions that do as the test says."""

from collections.abc import Sequence
from typing import Any

from fake_loop import FakeLoop
from http_kit import Clock, Wire
from penstock.gateway.config import Config
from penstock.gateway.forward import Gateway, Verify
from penstock.gateway.routes import Routes
from penstock.http import Config as HttpConfig
from penstock.http import Connection
from penstock.http.timers import Timers
from penstock.protocol.call import Call, FunctionNotFound, Head, Outcome, Sink, Slice
from penstock.protocol.record import RequestRecord


class FakeInvocation:
    """One call that was made: the caller's handle, and the test's way to answer."""

    def __init__(self, call: Call, sink: Sink, number: int) -> None:
        self.request_id = call.request_id or f"request-{number}"
        self.executed_version = call.qualifier if call.qualifier.isdigit() else "$LATEST"
        self.call = call
        self.verbs: list[str] = []  # what the caller did
        self.ended = False
        self._sink = sink

    def pause(self) -> None:
        self.verbs.append("pause")

    def resume(self) -> None:
        self.verbs.append("resume")

    def cancel(self) -> None:
        assert not self.ended
        self.verbs.append("cancel")

    def head(self, content_type: str, streamed: bool = True) -> None:
        self._sink.head(Head(content_type, streamed))

    def data(self, *slices: Slice) -> None:
        self._sink.data(slices)

    def end(self, outcome: Outcome) -> None:
        assert not self.ended
        self.ended = True
        self._sink.end(outcome)


class FakeInvoker:
    """Has the functions of `names`. With `at_once`, a call ends before `invoke` returns."""

    def __init__(self, names: Sequence[str] = ("app",), at_once: Outcome | None = None) -> None:
        self.names = names
        self.at_once = at_once
        self.invocations: list[FakeInvocation] = []

    def invoke(self, call: Call, sink: Sink) -> FakeInvocation:
        if call.function not in self.names:
            raise FunctionNotFound(f"Function not found: {call.function}")
        invocation = FakeInvocation(call, sink, len(self.invocations) + 1)
        self.invocations.append(invocation)
        if self.at_once is not None:
            invocation.end(self.at_once)
        return invocation


class Door:
    """A gateway with one client's connection to it."""

    def __init__(
        self,
        invoker: FakeInvoker | None = None,
        routes: Routes | None = None,
        verify: Verify | None = None,
        **settings: Any,
    ) -> None:
        self.invoker = invoker or FakeInvoker()
        self.records: list[RequestRecord] = []
        self.errors: list[Exception] = []
        config = Config(**settings)
        self.loop = FakeLoop()  # of the gateway's own timeouts
        gateway = Gateway(
            self.invoker,
            routes or Routes(self.invoker.names, config.event_format),
            config,
            self.records.append,
            verify,
            loop=self.loop,  # type: ignore[arg-type]
        )
        self.clock, self.wire = Clock(), Wire()
        http = HttpConfig(stamp=False, on_error=self.errors.append)
        self.connection = Connection(gateway, http, Timers(self.clock, http.tick))  # type: ignore[arg-type]
        self.connection.connection_made(self.wire)

    def request(self, data: bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") -> FakeInvocation:
        """Send a request; the call it became."""
        self.connection.data_received(data)
        self.clock.turn()
        return self.invoker.invocations[-1]

    def leave(self) -> None:
        """The client goes."""
        self.wire.closed = self.wire.closed or "lost"
        self.connection.connection_lost(None)

    @property
    def sent(self) -> bytes:
        self.clock.turn()
        return self.wire.sent

    @property
    def status(self) -> int:
        return int(self.sent.split(b" ", 2)[1])

    @property
    def body(self) -> bytes:
        return self.sent.partition(b"\r\n\r\n")[2]

    @property
    def record(self) -> RequestRecord:
        (record,) = self.records
        return record
