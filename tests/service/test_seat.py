"""One invocation on one seat: its event, its response, its log, and the ways it is broken off."""

import asyncio
import re
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from http_kit import Client
from penstock.protocol.call import Ending
from service_kit import NEXT, Bench

Run = Callable[[Coroutine[Any, Any, None]], None]

FOREIGN = {"runtime": "provided.al2023", "memory_mb": 256}


def test_the_event_and_what_it_says(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            invocation, _ = bench.call(payload=b'{"a":1}')
            environment = await bench.environment()
            headers, payload = await environment.next()
            assert payload == b'{"a":1}'
            assert headers[b"content-type"] == b"application/json"
            assert headers[b"lambda-runtime-aws-request-id"].decode() == invocation.request_id
            assert headers[b"lambda-runtime-invoked-function-arn"].endswith(b":function:app")
            assert int(headers[b"lambda-runtime-deadline-ms"]) > 1_700_000_000_000

    run(test())


def test_the_log_of_an_invocation(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            bench.call()
            environment = await bench.environment()
            environment.print("imported\n")
            headers, _ = await environment.next()
            id = headers[b"lambda-runtime-aws-request-id"].decode()
            environment.print("one\ntwo without an end")
            await environment.post("response", id, b"1")
            assert [(line.request_id, line.text) for line in bench.lines if not line.platform] == [
                ("", "imported"),
                (id, "one"),
                (id, "two without an end"),
            ]
            start, end, report = bench.log(platform=True)
            assert start == f"START RequestId: {id} Version: $LATEST"
            assert end == f"END RequestId: {id}"
            assert re.fullmatch(
                rf"REPORT RequestId: {id}\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 1024 MB"
                r"\tMax Memory Used: [1-9]\d* MB\tInit Duration: [\d.]+ ms",
                report,
            )

    run(test())


def test_the_log_tail_has_everything_of_its_invocation(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            _, response, environment, id = await bench.running()
            environment.print("printed\n")
            await environment.post("response", id, b"1")
            lines = (await response.outcome()).log_tail.decode().splitlines()
            assert [line.split(" ")[0] for line in lines] == ["START", "printed", "END", "REPORT"]

    run(test())


def test_a_stream_is_passed_on_as_it_comes(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            _, response, environment, id = await bench.running()
            await environment.begin_stream(id, b"one")
            await response.until(lambda response: response.body == b"one")
            assert response.heads[0].streamed
            await environment.chunk(b"two")
            await response.until(lambda response: response.body == b"onetwo")
            assert not response.outcomes
            await environment.client.send(b"0\r\n\r\n")
            assert (await response.outcome()).ok

    run(test())


def test_a_paused_reader_pauses_the_runtime(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            invocation, response, environment, id = await bench.running()
            await environment.begin_stream(id, b"first")
            await response.until(lambda response: response.body)
            invocation.pause()
            piece = bytes(64 * 1024)
            writing = asyncio.create_task(asyncio.wait_for(write_forever(environment, piece), 0.05))
            with pytest.raises(TimeoutError):
                await writing
            held = len(response.body)
            assert held < 1024 * 1024
            invocation.resume()
            await response.until(lambda response: len(response.body) > held)

    async def write_forever(environment: Any, piece: bytes) -> None:
        while True:
            await environment.chunk(piece)

    run(test())


def test_cancelled_the_connection_is_shut_and_another_handed_out(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            invocation, response, environment, id = await bench.running()
            await environment.begin_stream(id, b"one")
            await response.until(lambda response: response.body)
            invocation.cancel()
            assert await environment.client.rest() == b""
            assert not response.outcomes
            environment.connect()
            _, later = bench.call()
            headers, _ = await environment.next()  # it has let go
            outcome = await response.outcome()
            assert outcome.ending is Ending.CANCELLED
            assert "the generator was closed after" in outcome.detail
            await environment.post("response", headers[b"lambda-runtime-aws-request-id"], b"1")
            assert (await later.outcome()).ok

    run(test())


def test_one_that_does_not_let_go_is_signalled_then_killed(run: Run) -> None:
    async def test() -> None:
        async with Bench(cancel_grace=0.1) as bench:
            invocation, response, environment, _ = await bench.running()
            invocation.cancel()
            outcome = await response.outcome()
            assert environment.signals == [signal.SIGURG, signal.SIGKILL]
            assert outcome.ending is Ending.CANCELLED
            assert "killed" in outcome.detail

    run(test())


def test_a_runtime_that_asks_before_it_has_answered(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            _, response, environment, _ = await bench.running()
            await environment.client.send(NEXT)
            outcome = await response.outcome()
            assert (outcome.ending, outcome.error_type) == (Ending.CRASHED, "Sandbox.Failure")

    run(test())


def test_cancelled_only_what_carries_the_response_is_broken_off(run: Run) -> None:
    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            invocation, response, environment, id = await bench.running()
            asking = Client(environment.dialled())  # it asks for the next event elsewhere
            await environment.begin_stream(id, b"one")
            await response.until(lambda response: response.body)
            invocation.cancel()
            assert await environment.client.rest() == b""
            assert not response.outcomes
            await asking.send(NEXT)
            assert (await response.outcome()).ending is Ending.CANCELLED
            assert environment.signals == []
            second, _ = bench.call()
            status, headers, _ = await asking.response()
            assert (status, headers[b"lambda-runtime-aws-request-id"].decode()) == (200, second.request_id)
            asking.close()

    run(test())


def test_another_s_that_does_not_let_go_is_killed_after_the_grace(run: Run) -> None:
    async def test() -> None:
        async with Bench(FOREIGN, cancel_grace=0.1) as bench:
            invocation, response, environment, _ = await bench.running()
            invocation.cancel()
            outcome = await response.outcome()
            assert outcome.ending is Ending.CANCELLED
            assert environment.signals == [signal.SIGKILL]  # it would ignore SIGURG

    run(test())
