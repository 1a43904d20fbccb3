"""Calls in, environments started, reused and ended; with environments the test plays."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from penstock.protocol.call import Call, Ending, FunctionNotFound
from service_kit import Bench, Response

Run = Callable[[Coroutine[Any, Any, None]], None]


def test_a_call_starts_an_environment_and_is_answered(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            _, response, environment, id = await bench.running(b'{"a":1}')
            assert bench.backend.pythons == ["python"]
            assert environment.spec.root == "/code"
            assert environment.spec.environment["_HANDLER"] == "app.handler"
            assert await environment.post("response", id, b'"done"', b"Content-Type: application/json") == 202
            assert (await response.outcome()).ok
            assert response.body == b'"done"'
            assert not response.heads[0].streamed

    run(test())


def test_an_environment_is_reused(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            _, response, environment, id = await bench.running()
            for _ in range(3):
                await environment.post("response", id, b"1")
                await response.outcome()
                await bench.idle(environment)
                _, response = bench.call()
                _, headers, _ = await environment.client.response()
                id = headers[b"lambda-runtime-aws-request-id"]
            assert len(bench.backend.environments) == 1

    run(test())


def test_calls_at_once_have_environments_of_their_own(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            calls = [bench.call() for _ in range(3)]
            await bench.environment(3)
            for environment in bench.backend.environments:
                headers, _ = await environment.next()
                id = headers[b"lambda-runtime-aws-request-id"]
                await environment.post("response", id, id)
            for invocation, response in calls:
                await response.outcome()
                assert response.body.decode() == invocation.request_id

    run(test())


def test_above_the_limit_a_call_is_throttled(run: Run) -> None:
    async def test() -> None:
        async with Bench(max_environments=1) as bench:
            await bench.running()
            for function in ("app", "other"):
                _, response = bench.call(function)
                assert response.outcomes[0].ending is Ending.THROTTLED

    run(test())


def test_an_unknown_function(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            with pytest.raises(FunctionNotFound, match="Function not found: arn:aws:lambda:us-east-1:"):
                bench.service.invoke(Call("nope", b"{}"), Response())

    run(test())


def test_a_waiting_call_may_leave(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            invocation, response = bench.call()
            invocation.cancel()
            assert (await response.outcome()).ending is Ending.CANCELLED
            environment = await bench.environment()
            asking = asyncio.create_task(environment.next())  # for whoever comes next
            _, later = bench.call()
            headers, _ = await asking
            await environment.post("response", headers[b"lambda-runtime-aws-request-id"], b"1")
            assert (await later.outcome()).ok

    run(test())


def test_a_process_that_cannot_be_started(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            bench.backend.failure = "cannot start a process: no memory"
            _, response = bench.call()
            outcome = await response.outcome()
            assert outcome.ending.status == 502
            assert "cannot start a process: no memory" in outcome.detail

    run(test())


def test_the_unused_are_ended(run: Run) -> None:
    async def test() -> None:
        async with Bench(idle_expiry=0.02) as bench:
            _, response, environment, id = await bench.running()
            await environment.post("response", id, b"1")
            await response.outcome()
            await bench.idle(environment)
            await bench.until(lambda: environment.signals)
            assert environment.signals == [9]

    run(test())


def test_stopping_refuses_new_calls_and_lets_running_ones_end(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            _, response, environment, id = await bench.running()
            stopping = asyncio.create_task(bench.service.stop(5))
            await asyncio.sleep(0)
            _, refused = bench.call()
            assert refused.outcomes[0].ending is Ending.STOPPED
            assert not response.outcomes
            await environment.post("response", id, b"1")
            assert (await response.outcome()).ok
            await stopping
            assert bench.backend.stopped

    run(test())


@pytest.mark.parametrize("drain", [0, 0.02])
def test_stopping_ends_what_does_not_end(run: Run, drain: float) -> None:
    async def test() -> None:
        async with Bench() as bench:
            _, running, _, _ = await bench.running()
            _, waiting = bench.call()
            await bench.service.stop(drain)
            assert running.outcomes[0].ending is Ending.STOPPED
            assert waiting.outcomes[0].ending is Ending.STOPPED

    run(test())


def test_a_function_over_its_memory_is_killed(run: Run) -> None:
    async def test() -> None:
        async with Bench({"memory_mb": 1}) as bench:
            _, response, environment, _ = await bench.running()
            outcome = await response.outcome()
            assert outcome.ending is Ending.OUT_OF_MEMORY
            assert "of the 1 MB it may" in outcome.detail
            assert environment.signals == [9]

    run(test())
