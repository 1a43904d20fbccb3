"""A service whose environments are played by the test: real sockets and pipes, no processes."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from http_kit import Client
from penstock.protocol.call import Call, FunctionNotFound, Head, Outcome, Slice
from penstock.service.backends import Exit, Listener, Owner, Spec
from penstock.service.config import Config
from penstock.service.functions import LATEST, Function, function_arn
from penstock.service.logs import LogLine
from penstock.service.service import Service

NEXT = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: localhost\r\n\r\n"


class FixedFunctions:
    """Functions that nobody manages: those of the test."""

    def __init__(self, functions: Iterable[Function], region: str = "us-east-1") -> None:
        self.region = region
        self.account = "000000000000"
        self.by_name = {function.name: function for function in functions}
        self.limits: dict[str, int] = {}
        self.provision: dict[str, int] = {}

    def __iter__(self) -> Iterator[Function]:
        return iter(self.by_name.values())

    def resolve(self, name: str, qualifier: str = "") -> Function:
        if name not in self.by_name or qualifier not in ("", LATEST, self.by_name[name].version):
            raise FunctionNotFound(f"Function not found: {self.arn(name, qualifier or LATEST)}")
        return self.by_name[name]

    def arn(self, name: str, qualifier: str = "") -> str:
        return function_arn(self.region, self.account, name, qualifier)

    def keys(self, name: str) -> set[str]:
        return {self.by_name[name].key} if name in self.by_name else set()

    def published(self, name: str) -> Function | None:
        return None

    def provisions(self) -> list[str]:
        return list(self.provision)

    def provisioned(self, name: str) -> list[tuple[Function, int]]:
        return [(self.by_name[name], self.provision[name])] if name in self.provision else []

    def reservations(self) -> dict[str, int]:
        return dict(self.limits)

    def reserved(self, name: str) -> int | None:
        return self.limits.get(name)


class Lane:
    """A runtime on one connection."""

    client: Client

    def __init__(self, client: Client) -> None:
        self.client = client

    async def next(self) -> tuple[dict[bytes, bytes], bytes]:
        """Ask for an event: its headers and payload."""
        await self.client.send(NEXT)
        status, headers, payload = await self.client.response()
        assert status == 200
        return headers, payload

    async def post(self, verb: str, request_id: bytes | str, body: bytes, *headers: bytes) -> int:
        """Answer an invocation; the status of the service's answer."""
        id = request_id.decode() if isinstance(request_id, bytes) else request_id
        await self.client.send(
            b"POST /2018-06-01/runtime/invocation/%b/%b HTTP/1.1\r\nHost: localhost\r\n%b"
            b"Content-Length: %d\r\n\r\n%b"
            % (id.encode(), verb.encode(), b"".join(line + b"\r\n" for line in headers), len(body), body)
        )
        status, _, _ = await self.client.response()
        return status

    async def begin_stream(self, request_id: bytes, first: bytes = b"") -> None:
        await self.client.send(
            b"POST /2018-06-01/runtime/invocation/%b/response HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: text/plain\r\nLambda-Runtime-Function-Response-Mode: streaming\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" % request_id
        )
        if first:
            await self.chunk(first)

    async def chunk(self, data: bytes) -> None:
        await self.client.send(b"%x\r\n%b\r\n" % (len(data), data))


class FakeEnvironment(Lane):
    """A started environment: its process, and the runtime in it."""

    def __init__(self, spec: Spec, dial: int | None, log: int, listener: Listener) -> None:
        self.spec = spec
        self.pid = os.getpid()  # so that its memory can be looked at
        self.signals: list[int] = []
        self.stubborn = False  # does not die of SIGKILL at once
        self.client: Client
        self._dial = None if dial is None else socket.socket(fileno=os.dup(dial))
        self._log = os.dup(log)
        self._listener = listener
        self._ended = False
        self._lanes: list[Lane] = []

    # As the process.

    def signal(self, number: int) -> None:
        if not self._ended:
            self.signals.append(number)
            if number == signal.SIGKILL and not self.stubborn:
                self.exit(-signal.SIGKILL)

    def exit(self, status: int, keep_socket: bool = False, unstarted: str = "") -> None:
        self._ended = True
        if not keep_socket:
            self.close()
        asyncio.get_running_loop().call_soon(self._listener.exited, Exit(status, 50 * 1024 * 1024, unstarted))

    def close(self) -> None:
        if self._dial is not None:
            self._dial.close()
        if hasattr(self, "client"):
            self.client.close()
        for lane in self._lanes:
            lane.client.close()
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    # As the runtime.

    def connect(self) -> None:
        """Take the connection that was handed out; or make one, as a runtime of another's does."""
        if self._dial is None:
            sock = self.dialled()
        else:
            _, fds, _, _ = socket.recv_fds(self._dial, 1, 1)
            sock = socket.socket(fileno=fds[0])
            sock.setblocking(False)
        if hasattr(self, "client"):
            self.client.close()
        self.client = Client(sock)

    def dialled(self) -> socket.socket:
        """A connection to the address it was told."""
        host, port = self.spec.environment["AWS_LAMBDA_RUNTIME_API"].split(":")
        sock = socket.create_connection((host, int(port)))
        sock.setblocking(False)
        return sock

    async def next(self) -> tuple[dict[bytes, bytes], bytes]:
        if not hasattr(self, "client"):
            self.connect()
        return await super().next()

    async def lane(self) -> Lane:
        """Another connection, beside those there are."""
        if self._dial is None:
            lane = Lane(Client(self.dialled()))
        else:
            self._dial.setblocking(False)
            while True:
                try:
                    lane = Lane(Client(self.handed_out()))
                    break
                except BlockingIOError:
                    await asyncio.sleep(0)
        self._lanes.append(lane)
        return lane

    def handed_out(self) -> socket.socket:
        """The next connection that is handed out. Raises OSError: there is none."""
        assert self._dial is not None
        _, fds, _, _ = socket.recv_fds(self._dial, 1, 1)
        if not fds:
            raise OSError("the dial was closed")
        sock = socket.socket(fileno=fds[0])
        sock.setblocking(False)
        return sock

    def print(self, text: str) -> None:
        os.write(self._log, text.encode())


class FakeTemplate:
    """A template that is what the test says."""

    def __init__(self, backend: "FakeBackend", spec: Spec, log: int, owner: Owner) -> None:
        self.spec = spec
        self.owner = owner
        self.pid = os.getpid()
        self.signals: list[int] = []
        self.waiting: list[tuple[Spec, int, int, Listener]] = []
        self.unwanted = False
        self._backend = backend
        self._ready = False
        self._log = os.dup(log)

    def spawn(self, spec: Spec, dial: int | None, log: int, listener: Listener) -> None:
        assert dial is not None
        if self._ready:
            self._backend.spawn(spec, dial, log, listener)
        else:
            self.waiting.append((spec, os.dup(dial), os.dup(log), listener))

    def let_go(self) -> None:
        self.unwanted = True

    def signal(self, number: int) -> None:
        self.signals.append(number)

    def print(self, text: str) -> None:
        os.write(self._log, text.encode())

    def ready(self) -> None:
        self._ready = True
        self.owner.ready()
        for spec, dial, log, listener in self._taken():
            self._backend.spawn(spec, dial, log, listener)

    def end(self, exit: Exit | None = None) -> None:
        """It comes to nothing: with an exit of its init, or killed, when environments may come anew."""
        self.owner.ended(exit or Exit(-signal.SIGKILL, 0))
        os.close(self._log)
        for _, _, _, listener in self._taken():
            if exit is None:
                listener.spawn_lost()
            else:
                listener.exited(exit)

    def _taken(self) -> Iterator[tuple[Spec, int, int, Listener]]:
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            yield each
            os.close(each[1])
            os.close(each[2])


class FakeBackend:
    def __init__(self) -> None:
        self.templates: list[FakeTemplate] = []
        self.environments: list[FakeEnvironment] = []
        self.pythons: list[str] = []
        self.failure = ""  # why nothing can be started
        self.stopped = False

    async def start(self, python: str) -> None:
        self.pythons.append(python)

    def spawn(self, spec: Spec, dial: int | None, log: int, listener: Listener) -> None:
        loop = asyncio.get_running_loop()
        if self.failure:
            loop.call_soon(listener.spawn_failed, self.failure)
            return
        environment = FakeEnvironment(spec, dial, log, listener)
        self.environments.append(environment)
        loop.call_soon(listener.spawned, environment)

    def template(self, spec: Spec, log: int, owner: Owner) -> FakeTemplate:
        if self.failure:
            raise OSError(24, self.failure)
        template = FakeTemplate(self, spec, log, owner)
        self.templates.append(template)
        owner.spawned(template)
        return template

    async def stop(self) -> None:
        self.stopped = True
        for template in self.templates:
            if template.waiting:
                template.end()
        for environment in self.environments:
            environment.signal(signal.SIGKILL)


class Response:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.heads: list[Head] = []
        self.body = b""
        self.outcomes: list[Outcome] = []
        self._changed = asyncio.Event()

    def head(self, head: Head) -> None:
        self.heads.append(head)
        self._changed.set()

    def data(self, slices: Sequence[Slice]) -> None:
        self.body += b"".join(slices)
        self._changed.set()

    def end(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._changed.set()

    async def until(self, condition: Callable[["Response"], object]) -> None:
        while not condition(self):
            self._changed.clear()
            await self._changed.wait()

    async def outcome(self) -> Outcome:
        await self.until(lambda response: response.outcomes)
        (outcome,) = self.outcomes
        return outcome


class Bench:
    """A service with one function, `app`. An async context manager."""

    def __init__(self, function: dict[str, Any] | None = None, **config: Any) -> None:
        self.lines: list[LogLine] = []
        self.backend = FakeBackend()
        functions = [
            Function("app", "app.handler", "/code", "python", **(function or {})),
            Function("other", "other.handler", "/code", "python"),
        ]
        self.functions = FixedFunctions(functions)
        self.service = Service(self.functions, Config(**config), self.lines.append, self.backend)

    async def __aenter__(self) -> "Bench":
        await self.service.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.service.stop(0)
        for environment in self.backend.environments:
            environment.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def call(self, function: str = "app", payload: bytes = b"{}") -> tuple[Any, Response]:
        """An invocation and where its response goes."""
        response = Response()
        return self.service.invoke(Call(function, payload, log_tail=True), response), response

    async def environment(self, count: int = 1) -> FakeEnvironment:
        """The newest environment, once there are `count`."""
        await self.until(lambda: len(self.backend.environments) >= count)
        await asyncio.sleep(0)
        return self.backend.environments[-1]

    async def running(self, payload: bytes = b"{}") -> tuple[Any, Response, FakeEnvironment, bytes]:
        """A call whose event is at its runtime; also the request id."""
        invocation, response = self.call(payload=payload)
        environment = await self.environment()
        headers, _ = await environment.next()
        return invocation, response, environment, headers[b"lambda-runtime-aws-request-id"]

    async def idle(self, environment: FakeEnvironment) -> None:
        """Its runtime asks for an event, and there is none."""
        await environment.client.send(NEXT)
        await self.until(lambda: "1 idle" in repr(self.service))

    async def until(self, condition: Callable[[], object]) -> None:
        """Until `condition` holds; looked at in each turn of the loop."""
        while not condition():  # noqa: ASYNC110  # nothing in the service tells of it
            await asyncio.sleep(0)

    def log(self, platform: bool) -> list[str]:
        return [line.text for line in self.lines if line.platform is platform]
