"""Calls in, environments started, reused and ended; with environments the test plays."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from penstock.protocol.call import Call, Ending, FunctionNotFound
from service_kit import NEXT, Bench, Response

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


def test_the_code_that_is_in_use(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            assert bench.service.roots() == set()
            _, response = bench.call()
            assert bench.service.roots() == {"/code"}
            environment = await bench.environment()
            headers, _ = await environment.next()
            await environment.post("response", headers[b"lambda-runtime-aws-request-id"], b"1")
            await response.outcome()
            assert bench.service.roots() == {"/code"}  # the environment is kept
            environment.exit(0)
            await bench.until(lambda: not bench.service.roots())

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


def test_an_environment_that_starts_before_it_is_needed(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            calls = 0
            while len(bench.backend.environments) == calls:
                bench.call()
                calls += 1
                environment = await bench.environment(calls)
                await environment.next()
            assert calls == 4
            assert bench.backend.environments[-1].spec.root == "/code"

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


# Concurrency.


def test_a_throttled_call_says_which_limit_it_met(run: Run) -> None:
    async def test() -> None:
        async with Bench(max_environments=3) as bench:
            bench.functions.limits["app"] = 1
            bench.service.changed("app")
            await bench.running()
            _, response = bench.call()
            (outcome,) = response.outcomes
            assert outcome.error_type == "ReservedFunctionConcurrentInvocationLimitExceeded"
            assert "put_function_concurrency" in outcome.detail
            for reason in ("", "", "ConcurrentInvocationLimitExceeded"):
                _, response = bench.call("other")
                assert [outcome.error_type for outcome in response.outcomes] == ([reason] if reason else [])
            assert "--max-environments" in response.outcomes[0].detail

    run(test())


def test_what_is_reserved_at_the_start_is_kept_for_the_function(run: Run) -> None:
    async def test() -> None:
        bench = Bench(max_environments=1)
        bench.functions.limits["app"] = 1
        async with bench:
            _, response = bench.call("other")
            assert response.outcomes[0].ending is Ending.THROTTLED
            await bench.running()

    run(test())


def test_a_call_is_over_for_the_limits_when_it_has_been_answered(run: Run) -> None:
    """Its runtime may take its time to ask for another."""

    async def test() -> None:
        async with Bench(max_environments=2) as bench:
            bench.functions.limits["app"] = 1
            bench.service.changed("app")
            _, response, environment, id = await bench.running()
            await environment.post("response", id, b"1")
            assert (await response.outcome()).ok
            assert "1 returning" in repr(bench.service)
            _, response = bench.call()
            assert response.outcomes == []
            second = await bench.environment(2)
            headers, _ = await second.next()
            await second.post("response", headers[b"lambda-runtime-aws-request-id"], b"2")
            assert (await response.outcome()).ok

    run(test())


def test_the_rates_of_aws_are_a_setting(run: Run) -> None:
    async def test() -> None:
        for limits, answers in (("none", 0), ("aws", 1)):
            async with Bench(limits=limits, max_environments=2) as bench:
                bench.functions.limits["app"] = 1
                bench.service.changed("app")
                _, response, environment, id = await bench.running()
                for _ in range(9):
                    await environment.post("response", id, b"1")
                    await bench.idle(environment)
                    _, response = bench.call()
                    _, headers, _ = await environment.client.response()
                    id = headers[b"lambda-runtime-aws-request-id"]
                await environment.post("response", id, b"1")
                await bench.idle(environment)
                _, response = bench.call()
                assert len(response.outcomes) == answers
                for outcome in response.outcomes:
                    assert outcome.error_type == "ReservedFunctionInvocationRateLimitExceeded"
                    assert "--limits none" in outcome.detail

    run(test())


# Functions that change.


def test_a_changed_function_gets_new_environments(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            _, response, old, id = await bench.running()
            bench.functions.by_name["app"] = replace(bench.functions.by_name["app"], generation="2")
            bench.service.changed("app")
            _, later = bench.call()
            new = await bench.environment(2)
            headers, _ = await new.next()
            await new.post("response", headers[b"lambda-runtime-aws-request-id"], b"new")
            assert (await later.outcome()).ok
            assert old.signals == []
            await old.post("response", id, b"old")
            assert (await response.outcome()).ok
            assert response.body == b"old"
            await old.client.send(NEXT)
            await bench.until(lambda: old.signals)
            assert old.signals == [9]

    run(test())


def test_a_call_that_waits_when_its_function_is_removed_is_still_served(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            _, response = bench.call()
            del bench.functions.by_name["app"]
            bench.service.changed("app")
            environment = await bench.environment()
            headers, _ = await environment.next()
            await environment.post("response", headers[b"lambda-runtime-aws-request-id"], b"1")
            assert (await response.outcome()).ok
            await environment.client.send(NEXT)
            await bench.until(lambda: environment.signals)

    run(test())


def test_provisioned_environments_are_there_before_anybody_calls(run: Run) -> None:
    async def test() -> None:
        bench = Bench()
        bench.functions.provision["app"] = 2
        async with bench:
            app = bench.functions.by_name["app"]
            first, second = bench.backend.environments
            assert bench.service.provisioned(app) == (0, False)
            for environment in (first, second):
                variables = environment.spec.environment
                assert variables["AWS_LAMBDA_INITIALIZATION_TYPE"] == "provisioned-concurrency"
                environment.connect()
                await environment.client.send(NEXT)
            await bench.until(lambda: bench.service.provisioned(app) == (2, False))
            del bench.functions.provision["app"]
            bench.service.changed("app")
            assert bench.service.provisioned(app) == (0, False)
            assert "2 idle" in repr(bench.service), "they go when they are not used"

    run(test())


def test_one_that_does_not_come_up_is_in_the_log(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            bench.functions.provision["app"] = 1
            bench.service.changed("app")
            environment = await bench.environment()
            environment.exit(1)
            app = bench.functions.by_name["app"]
            await bench.until(lambda: bench.service.provisioned(app) == (0, True))
            (line,) = [line for line in bench.log(platform=False) if "no call waited for" in line]
            assert "exit status 1" in line

    run(test())


def test_tenants_have_environments_of_their_own(run: Run) -> None:
    async def test() -> None:
        async with Bench({"tenants": True}) as bench:

            def call(tenant: str) -> Response:
                response = Response()
                bench.service.invoke(Call("app", b"{}", tenant_id=tenant), response)
                return response

            first = call("a:1")
            environment = await bench.environment()
            headers, _ = await environment.next()
            await environment.post("response", headers[b"lambda-runtime-aws-request-id"], b"1")
            await first.outcome()
            await bench.idle(environment)
            call("a:2")
            await bench.environment(2)
            # A change of nothing that concerns them leaves both in use.
            bench.service.changed("app")
            assert environment.signals == []
            call("a:1")
            _, headers, _ = await environment.client.response()
            assert headers[b"lambda-runtime-aws-tenant-id"] == b"a:1"
            assert len(bench.backend.environments) == 2

    run(test())
