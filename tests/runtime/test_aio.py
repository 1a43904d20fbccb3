"""Async handlers and bodies: one event loop for all invocations, and a clean cancel."""

import asyncio
import base64
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from penstock.protocol import runtime_api
from penstock.runtime import aio
from penstock.runtime.api import ServiceGone
from penstock.runtime.loop import run
from runtime_kit import OwnSocket, Sent

pytestmark = pytest.mark.usefixtures("sigurg", "runner")

Handler = Callable[[Any, Any], Any]


@pytest.fixture
def runner() -> Iterator[None]:
    """The event loop that functions share is closed after the test."""
    yield
    if aio._runner is not None:
        aio._runner.close()
        aio._runner = None
    asyncio.set_event_loop(None)


def answers(own: OwnSocket, handler: Handler, events: int = 1) -> list[Sent]:
    api = own.api()
    (side,) = own.sides
    for number in range(events):
        side.event(b'{"n": %d}' % number, f"id-{number}")
        side.accept()
    side.finish()
    own.gone()
    with pytest.raises(ServiceGone):
        run(api, handler)
    found = []
    for _ in range(events):
        assert side.read().verb == "next"
        found.append(side.read())
    api.close()
    return found


def test_an_async_handler_is_awaited(own: OwnSocket) -> None:
    async def handler(event: Any, context: Any) -> Any:
        await asyncio.sleep(0)
        return {"n": event["n"]}

    assert [json.loads(sent.body) for sent in answers(own, handler, 2)] == [{"n": 0}, {"n": 1}]


def test_invocations_share_one_loop(own: OwnSocket) -> None:
    loops = []

    async def handler(event: Any, context: Any) -> None:
        loops.append(asyncio.get_running_loop())

    answers(own, handler, 3)
    assert len(set(loops)) == 1


def test_an_async_generator_handler_is_streamed(own: OwnSocket) -> None:
    async def handler(event: Any, context: Any) -> AsyncIterator[str]:
        for word in ("one", "two"):
            await asyncio.sleep(0)
            yield word

    (sent,) = answers(own, handler)
    assert (sent.body, sent.headers[runtime_api.RESPONSE_MODE.lower()]) == (b"onetwo", "streaming")


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_a_body_of_an_async_handler(own: OwnSocket, kind: str) -> None:
    closed = []

    async def words() -> AsyncIterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(1)

    def plain() -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(1)

    async def handler(event: Any, context: Any) -> Any:
        return {"statusCode": 200, "body": words() if kind == "async" else plain()}

    (sent,) = answers(own, handler)
    assert sent.body.endswith(bytes(8) + b"ab")
    assert closed == [1]


def test_a_plain_handler_may_return_an_async_body(own: OwnSocket) -> None:
    async def words() -> AsyncIterator[str]:
        yield "a"

    (sent,) = answers(own, lambda event, context: words())
    assert sent.body == b"a"


def test_an_empty_async_body(own: OwnSocket) -> None:
    async def words() -> AsyncIterator[str]:
        return
        yield ""

    (sent,) = answers(own, lambda event, context: {"statusCode": 200, "body": words()})
    assert sent.body.endswith(bytes(8))


def test_errors(own: OwnSocket) -> None:
    async def handler(event: Any, context: Any) -> Any:
        if event["n"] == 0:
            raise ValueError("early")
        return words()

    async def words() -> AsyncIterator[str]:
        yield "a"
        raise ValueError("late")

    early, late = answers(own, handler, 2)
    assert (early.verb, early.headers[runtime_api.ERROR_TYPE.lower()]) == ("error", "ValueError")
    assert late.body == b"a"
    document = json.loads(base64.b64decode(late.trailers[runtime_api.ERROR_BODY.lower()]))
    assert document["errorMessage"] == "late"


def test_a_handler_that_cancels_itself_has_failed(own: OwnSocket) -> None:
    async def handler(event: Any, context: Any) -> None:
        if event["n"]:
            return
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    failed, fine = answers(own, handler, 2)
    assert failed.verb == "error"
    assert "cancelled its own task" in json.loads(failed.body)["errorMessage"]
    assert fine.body == b"null"


@pytest.mark.parametrize("begun", [False, True])
def test_a_caller_that_leaves_cancels_the_task_and_the_environment_goes_on(
    own: OwnSocket, begun: bool
) -> None:
    told = []

    async def words() -> AsyncIterator[str]:
        try:
            if begun:
                yield "a"
            own.sides[0].sock.shutdown(socket.SHUT_RDWR)
            os.kill(os.getpid(), signal.SIGURG)
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            told.append("cancelled")
            raise
        finally:
            await asyncio.sleep(0)
            told.append("clean")

    async def handler(event: Any, context: Any) -> Any:
        return "again" if event["n"] else words()

    api = own.api()
    own.sides[0].event(b'{"n": 0}')
    side = own.connection()
    side.event(b'{"n": 1}', "id-1")
    side.accept()
    side.finish()
    own.gone()
    with pytest.raises(ServiceGone):
        run(api, handler)
    api.close()
    assert told == ["cancelled", "clean"]
    assert side.read().verb == "next"
    assert side.read().body == b'"again"'


def test_a_caller_that_leaves_is_noticed_at_the_next_chunk(own: OwnSocket) -> None:
    told = []

    async def words() -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
                own.sides[0].sock.shutdown(socket.SHUT_RDWR)
        finally:
            told.append("closed")

    api = own.api()
    own.sides[0].event()
    own.connection().finish()
    own.gone()
    with pytest.raises(ServiceGone):
        run(api, lambda event, context: words())
    api.close()
    assert told == ["closed"]
