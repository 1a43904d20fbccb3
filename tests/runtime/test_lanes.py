"""Many invocations at once in one process: each lane by itself, and none at the cost of another."""

import asyncio
import base64
import contextvars
import functools
import json
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from penstock.protocol import runtime_api
from penstock.runtime import lanes, stream, tagged
from penstock.runtime.api import ApiError, RuntimeApi, ServiceGone
from penstock.runtime.errors import RuntimeFault
from penstock.runtime.lazyio import StringIO
from runtime_kit import OwnSocket, Sent, Side, Tcp

Handler = Callable[[Any, Any], Any]


@contextmanager
def running(
    api: RuntimeApi, handler: Handler, concurrency: int = 3, threads: bool = False
) -> Iterator[lanes.Lanes]:
    """`handler`, served from another thread, until the service is gone."""

    served = lanes.Lanes(api, handler, concurrency, threads)

    def serve() -> BaseException:
        try:
            asyncio.run(served.run())
        except (ServiceGone, ApiError) as error:
            return error
        raise AssertionError("it ended by itself")

    with ThreadPoolExecutor(1) as pool:
        ended: Future[BaseException] = pool.submit(serve)
        try:
            yield served
        finally:
            assert isinstance(ended.result(20), ServiceGone | ApiError)
            api.close()


@contextmanager
def served(own: OwnSocket, handler: Handler, lanes: int = 3, **options: Any) -> Iterator[list[Side]]:
    """The service's sides of so many lanes, each of which has asked for an event."""
    with running(own.api(), handler, **options):
        try:
            for _ in range(lanes - 1):
                own.connection()
            for side in own.sides:
                assert side.read().verb == "next"
            yield own.sides
        finally:
            own.gone()


def answer(side: Side) -> Sent:
    """What comes as the answer, taken; the next event is asked for."""
    sent = side.read()
    side.accept()
    assert side.read().verb == "next"
    return sent


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def leave(side: Side) -> None:
    """The caller has left: what the service does."""
    side.sock.shutdown(socket.SHUT_WR)


class Meeting:
    """Where handlers wait for so many others."""

    def __init__(self, parties: int) -> None:
        self.here = 0
        self._parties = parties
        self._all = asyncio.Event()

    async def join(self) -> None:
        self.here += 1
        if self.here == self._parties:
            self._all.set()
        await self._all.wait()


def test_invocations_run_at_the_same_time(own: OwnSocket) -> None:
    meeting = Meeting(3)

    async def handler(event: Any, context: Any) -> Any:
        await meeting.join()
        return {"event": event, "id": context.aws_request_id, "own": tagged.current.get()}

    with served(own, handler) as sides:
        for _ in range(2):
            for number, side in enumerate(sides):
                side.event(b'{"n": %d}' % number, f"id-{number}", invocation_id=f"try-{number}")
            for number, side in enumerate(sides):
                sent = answer(side)
                assert sent.path.endswith(f"/id-{number}/response")
                assert sent.headers["lambda-runtime-invocation-id"] == f"try-{number}"
                id = f"id-{number}"
                assert json.loads(sent.body) == {"event": {"n": number}, "id": id, "own": id}


def test_streams_run_at_the_same_time(own: OwnSocket) -> None:
    meeting = Meeting(3)

    async def handler(event: Any, context: Any) -> AsyncIterator[str]:
        yield "one "
        await meeting.join()
        yield context.aws_request_id

    with served(own, handler) as sides:
        for number, side in enumerate(sides):
            side.event(b"{}", f"id-{number}")
        for number, side in enumerate(sides):
            sent = answer(side)
            assert sent.body == f"one id-{number}".encode()
            assert sent.headers["lambda-runtime-function-response-mode"] == "streaming"


def test_a_caller_that_leaves_takes_its_own_invocation_only(own: OwnSocket) -> None:
    steps: list[str] = []
    meeting = Meeting(2)

    async def handler(event: Any, context: Any) -> AsyncIterator[str]:
        try:
            yield "begun"
            await meeting.join()
            if event:
                await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            steps.append(context.aws_request_id)

    with served(own, handler, 2) as (leaving, staying):
        leaving.event(b"1", "leaving")
        staying.event(b"0", "staying")
        until(lambda: meeting.here == 2)
        leave(leaving)
        assert leaving.raw().endswith(b"begun\r\n")  # it has let go, having closed the lane
        assert answer(staying).body == b"begun"
        assert sorted(steps) == ["leaving", "staying"]
        again = own.connection()
        assert again.read().verb == "next"
        again.event(b"0", "again")
        assert answer(again).body == b"begun"


def test_a_cancelling_that_is_swallowed(own: OwnSocket) -> None:
    inside = threading.Event()
    closed: list[bool] = []

    async def handler(event: Any, context: Any) -> AsyncIterator[str]:
        try:
            while True:
                try:
                    yield "x"
                    inside.set()
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    pass
        finally:
            closed.append(True)

    with served(own, handler, 1) as (side,):
        side.event()
        assert inside.wait(10)
        leave(side)
        side.raw()
        assert closed == [True]


def test_a_caller_that_left_before_its_event_was_begun(own: OwnSocket) -> None:
    called: list[Any] = []

    async def handler(event: Any, context: Any) -> None:
        called.append(event)
        await asyncio.sleep(60)

    with served(own, handler, 1) as (side,):
        side.event()
        leave(side)
        side.raw()


def test_a_slow_reader_holds_up_its_own_invocation_only(own: OwnSocket) -> None:
    size = 8 * 1024 * 1024

    async def handler(event: Any, context: Any) -> Any:
        return {"n": "x" * size} if event else {"n": 0}

    with served(own, handler, 2) as (slow, quick):
        slow.event(b"1")
        for _ in range(3):
            quick.event(b"0")
            assert answer(quick).body == b'{"n": 0}'
        assert len(answer(slow).body) == size + 9
        slow.event(b"1")
        until(lambda: slow.sock.recv(1, socket.MSG_PEEK))
        leave(slow)
        assert len(slow.raw()) < size
        quick.event(b"0")
        assert answer(quick).body == b'{"n": 0}'


def test_a_body_that_never_waits_does_not_keep_the_loop(own: OwnSocket) -> None:
    ended = threading.Event()

    async def endless() -> AsyncIterator[str]:
        while not ended.is_set():
            yield "a line of text\n"

    async def handler(event: Any, context: Any) -> Any:
        if not event:
            ended.set()
            return {}
        return endless()

    with served(own, handler, 2) as (busy, other):
        reader = ThreadPoolExecutor(1)
        busy.event(b"1")
        sent = reader.submit(answer, busy)
        other.event(b"0")
        assert answer(other).body == b"{}"
        assert sent.result(20).body.endswith(b"a line of text\n")
        reader.shutdown()


def test_errors_are_their_own_invocation_s(own: OwnSocket, capfd: pytest.CaptureFixture[str]) -> None:
    async def handler(event: Any, context: Any) -> Any:
        if event == "late":
            return late()
        if event == "exit":
            raise SystemExit(1)
        if event == "cancel":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)
        raise ValueError(event)

    async def late() -> AsyncIterator[str]:
        yield "one"
        raise KeyError("late")

    with served(own, handler, 1) as (side,):
        said = {}
        for event in ("early", "exit", "cancel"):
            side.event(json.dumps(event).encode())
            sent = answer(side)
            assert sent.verb == "error"
            said[event] = sent.headers["lambda-runtime-function-error-type"]
        assert said == {"early": "ValueError", "exit": "SystemExit", "cancel": "RuntimeError"}
        side.event(b'"late"')
        sent = answer(side)
        assert sent.body == b"one"
        assert sent.trailers[runtime_api.ERROR_TYPE.lower()] == "KeyError"
        document = json.loads(base64.b64decode(sent.trailers[runtime_api.ERROR_BODY.lower()]))
        assert document["errorMessage"] == "'late'"
        side.event(b'"late"')
        assert answer(side).body == b"one"


def test_a_stream_without_a_chunk(own: OwnSocket) -> None:
    async def handler(event: Any, context: Any) -> Any:
        return {"statusCode": 200, "body": iter(())}

    with served(own, handler, 1) as (side,):
        side.event()
        sent = answer(side)
        assert sent.headers["content-type"] == runtime_api.HTTP_INTEGRATION


# Handlers that are not async.


async def coroutine(event: Any, context: Any) -> None: ...


async def async_generator(event: Any, context: Any) -> AsyncIterator[str]:
    yield ""


def function(event: Any, context: Any) -> None: ...


@functools.wraps(coroutine)
def decorated(event: Any, context: Any) -> Any:
    return coroutine(event, context)


class Callable_:
    async def __call__(self, event: Any, context: Any) -> None: ...

    async def method(self, event: Any, context: Any) -> None: ...

    def plain(self, event: Any, context: Any) -> None: ...


ASYNC = {
    "coroutine": (coroutine, True),
    "async generator": (async_generator, True),
    "decorated": (decorated, True),
    "partial": (functools.partial(coroutine, context=None), True),
    "object": (Callable_(), True),
    "method": (Callable_().method, True),
    "function": (function, False),
    "plain method": (Callable_().plain, False),
    "class": (dict, False),
    "built in": (print, False),
}


@pytest.mark.parametrize("name", ASYNC)
def test_what_is_async(name: str) -> None:
    handler, expected = ASYNC[name]
    assert lanes.is_async(handler) is expected


def test_a_handler_that_is_not_is_refused_unless_threads_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lanes.check(coroutine, 100)
    with pytest.raises(
        RuntimeFault, match=r"The handler function is not async.* PENSTOCK_SYNC_HANDLERS=threads"
    ):
        lanes.check(function, 100)
    with pytest.raises(RuntimeFault, match=r"The handler is not async"):
        lanes.check(functools.partial(function), 100)
    monkeypatch.setenv("PENSTOCK_SYNC_HANDLERS", "threads")
    lanes.check(function, 100)
    monkeypatch.setenv("PENSTOCK_SYNC_HANDLERS", "loop")
    with pytest.raises(RuntimeFault, match="PENSTOCK_SYNC_HANDLERS: expected threads, got 'loop'"):
        lanes.check(coroutine, 100)


def test_in_threads_they_run_at_the_same_time(own: OwnSocket) -> None:
    barrier = threading.Barrier(3)

    def handler(event: Any, context: Any) -> Any:
        barrier.wait(10)
        if not event:
            return {"id": tagged.current.get()}
        return {"statusCode": 200, "body": body()}

    def body() -> Iterator[str]:
        yield "one "
        barrier.wait(10)
        for _ in range(1000):
            yield "."
        yield tagged.current.get()

    with served(own, handler, threads=True) as sides:
        for number, side in enumerate(sides):
            side.event(b"0", f"id-{number}")
        for number, side in enumerate(sides):
            assert json.loads(answer(side).body) == {"id": f"id-{number}"}
        for number, side in enumerate(sides):
            side.event(b"1", f"id-{number}")
        for number, side in enumerate(sides):
            text = answer(side).body.partition(b"\0" * 8)[2]
            assert text == b"one " + b"." * 1000 + f"id-{number}".encode()


def test_in_a_thread_the_next_chunk_ends_what_nobody_wants(own: OwnSocket) -> None:
    closed = threading.Event()

    def handler(event: Any, context: Any) -> Iterator[str]:
        try:
            while True:
                yield "x"
                time.sleep(0.001)
        finally:
            closed.set()

    with served(own, handler, 1, threads=True) as (side,):
        side.event()
        until(lambda: side.sock.recv(1, socket.MSG_PEEK))
        leave(side)
        side.raw()
        assert closed.is_set()


def test_errors_in_threads(own: OwnSocket) -> None:
    def handler(event: Any, context: Any) -> Any:
        if event == "stop":
            raise StopIteration
        if event == "early":
            raise ValueError
        return late()

    def late() -> Iterator[str]:
        yield "one"
        raise KeyError("late")

    with served(own, handler, 1, threads=True) as (side,):
        for event, error in (("stop", "RuntimeError"), ("early", "ValueError")):
            side.event(json.dumps(event).encode())
            assert answer(side).headers["lambda-runtime-function-error-type"] == error
        side.event(b'"late"')
        sent = answer(side)
        assert (sent.body, sent.trailers[runtime_api.ERROR_TYPE.lower()]) == (b"one", "KeyError")


def test_nothing_follows_a_frame_that_a_thread_cut_short(
    own: OwnSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(connection: Any, pieces: Any) -> None:
        data = b"".join(pieces)
        if b"two" in data:
            connection.send(data[:4])
            raise MemoryError
        connection.send(data)

    monkeypatch.setattr(stream, "send_all", send)
    with served(own, lambda event, context: iter(["one", "two"]), 1, threads=True) as (side,):
        side.event()
        assert side.raw().endswith(b"3\r\none\r\n3\r\nt")


def test_a_body_that_cannot_be_read_costs_no_thread(own: OwnSocket) -> None:
    def handler(event: Any, context: Any) -> Any:
        body = StringIO(iter("ab"))
        if event == "closed":
            body.close()
        return body

    with running(own.api(), handler, threads=True) as served:
        try:
            (side,) = own.sides
            assert side.read().verb == "next"
            for event in (b'"read"', b'"closed"'):
                side.event(event)
                answer(side)
                assert len(served.timers) == 1  # which the next will use
        finally:
            own.gone()


def test_an_async_body_of_a_handler_in_a_thread(own: OwnSocket) -> None:
    async def body() -> AsyncIterator[str]:
        await asyncio.sleep(0)
        yield threading.current_thread().name

    def handler(event: Any, context: Any) -> Any:
        return {"statusCode": 200, "body": body(), "headers": {"thread": threading.current_thread().name}}

    with served(own, handler, 1, threads=True) as (side,):
        side.event()
        prelude, _, text = answer(side).body.partition(b"\0" * 8)
        assert json.loads(prelude)["headers"]["thread"].startswith("penstock")
        assert not text.startswith(b"penstock")


# Over TCP, as on AWS.


@contextmanager
def on_tcp(tcp: Tcp, handler: Handler, lanes: int) -> Iterator[list[Side]]:
    api = tcp.api()
    with running(api, handler, lanes):
        for _ in range(lanes - 1):
            tcp.connection()
        sides = list(tcp.sides)
        for side in sides:
            assert side.read().verb == "next"
        yield sides
        sides[0].answer(500, b"over")


def test_as_many_lanes_as_there_may_be_invocations(tcp: Tcp) -> None:
    meeting = Meeting(3)

    async def handler(event: Any, context: Any) -> Any:
        await meeting.join()
        return event

    with on_tcp(tcp, handler, 3) as sides:
        for number, side in enumerate(sides):
            side.event(b"%d" % number)
        for number, side in enumerate(sides):
            sent = side.read()
            assert sent.body == b"%d" % number
            side.accept()
            assert side.read().verb == "next"


def test_a_stream_has_a_connection_of_its_own(tcp: Tcp) -> None:
    async def handler(event: Any, context: Any) -> AsyncIterator[str]:
        yield "one"
        yield "two"

    with on_tcp(tcp, handler, 1) as (side,):
        side.event()
        stream = tcp.connection()
        sent = stream.read()
        assert sent.body == b"onetwo"
        assert sent.headers["connection"] == "close"
        stream.accept()
        assert side.read().verb == "next"


def test_a_lane_that_is_closed_is_opened_again(tcp: Tcp) -> None:
    async def handler(event: Any, context: Any) -> Any:
        (lane,) = served.open
        while event == "until it is closed" and lane.open:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)
        return event

    with running(tcp.api(), handler, 1) as served:
        (side,) = tcp.sides
        assert side.read().verb == "next"
        side.sock.close()  # while it waits for an event
        side = tcp.connection()
        assert side.read().verb == "next"
        side.answer(204, b"")
        assert side.read().verb == "next"
        side.event(b'"until it is closed"')  # while it handles one
        side.finish()
        side = tcp.connection()
        assert (side.read().verb, side.accept(), side.read().verb) == ("response", None, "next")
        side.event(b"1")
        assert side.read().body == b"1"
        side.sock.close()  # before it says how it took the answer
        side = tcp.connection()
        assert side.read().verb == "next"
        side.answer(500, b"over")


def test_context_variables_are_their_own_invocation_s_on_a_lane_that_was_opened_again(tcp: Tcp) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    found: list[str] = []

    async def handler(event: Any, context: Any) -> Any:
        (lane,) = served.open
        while event == "first" and lane.open:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)
        found.append(variable.get())
        variable.set("of " + event)
        return {}

    with running(tcp.api(), handler, 1) as served:
        (side,) = tcp.sides
        assert side.read().verb == "next"
        side.event(b'"first"')
        side.finish()
        side = tcp.connection()
        assert answer(side).body == b"{}"
        side.event(b'"second"')
        assert answer(side).body == b"{}"
        side.answer(500, b"over")
    assert found == ["unset", "unset"]


def test_a_lane_that_there_are_no_descriptors_for_takes_no_other_along(own: OwnSocket) -> None:
    async def handler(event: Any, context: Any) -> Any:
        return event

    with served(own, handler, 2) as (one, other):
        own.dial.send(b".")  # what is left of a connection then
        for side in (one, other):
            side.event(b"1")
            assert answer(side).body == b"1"


def test_a_fork_keeps_no_lane_open(own: OwnSocket) -> None:
    forked: list[int] = []

    async def handler(event: Any, context: Any) -> Any:
        pid = os.fork()
        if pid == 0:
            os.read(pipe[0], 1)
            os._exit(0)
        forked.append(pid)
        return {}

    pipe = os.pipe()
    with served(own, handler, 2) as (one, other):
        one.event()
        assert answer(one).body == b"{}"
        leave(other)
        assert other.raw() == b""  # the end is seen, though the fork lives
        os.write(pipe[1], b"x")
        os.waitpid(forked[0], 0)
    os.close(pipe[0])
    os.close(pipe[1])
