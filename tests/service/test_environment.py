"""One environment: its runtime's connection, its process and its log, each with its own way to end."""

import json
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from penstock.protocol.call import Ending
from penstock.service.environment import Environment
from service_kit import Bench

Run = Callable[[Coroutine[Any, Any, None]], None]


def test_an_interrupted_one_exits_and_is_replaced(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            invocation, response, environment, _ = await bench.running()
            invocation.cancel()
            environment.exit(0)
            outcome = await response.outcome()
            assert "the function was interrupted after" in outcome.detail
            bench.call()
            await bench.environment(2)

    run(test())


def test_a_crash_is_told_after_everything_it_sent(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            _, response, environment, id = await bench.running()
            await environment.begin_stream(id, b"last words")
            environment.print("printed last")
            environment.exit(-signal.SIGSEGV)
            outcome = await response.outcome()
            assert response.body == b"last words"
            assert outcome.ending is Ending.CRASHED
            assert b"segmentation fault" in outcome.error_body
            assert b"printed last" in outcome.log_tail
            assert "Max Memory Used: 50 MB" in bench.log(platform=True)[-1]

    run(test())


def test_a_timeout_kills(run: Run) -> None:
    async def test() -> None:
        async with Bench({"timeout": 0.05}) as bench:
            _, response, environment, _ = await bench.running()
            outcome = await response.outcome()
            assert outcome.ending is Ending.TIMED_OUT
            assert environment.signals == [signal.SIGKILL]
            assert bench.log(platform=True)[-1].endswith("\tStatus: timeout")

    run(test())


def test_an_init_that_takes_too_long(run: Run) -> None:
    async def test() -> None:
        async with Bench(init_timeout=0.05) as bench:
            _, response = bench.call()
            environment = await bench.environment()
            outcome = await response.outcome()
            assert outcome.ending is Ending.INIT_ERROR
            assert b"Init timed out after 0.05 seconds" in outcome.error_body
            assert environment.signals == [signal.SIGKILL]

    run(test())


def test_an_init_error_is_told_to_the_waiting_call(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            _, response = bench.call()
            environment = await bench.environment()
            environment.connect()
            environment.print("[ERROR] no module\n")
            await environment.client.send(
                b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: a\r\nContent-Length: 21\r\n"
                b"Lambda-Runtime-Function-Error-Type: Runtime.ImportModuleError\r\n\r\n"
                b'{"errorMessage":"no"}'
            )
            assert (await environment.client.response())[0] == 202
            environment.exit(1)
            outcome = await response.outcome()
            assert (outcome.ending, outcome.error_type) == (Ending.INIT_ERROR, "Runtime.ImportModuleError")
            assert b"[ERROR] no module" in outcome.log_tail

    run(test())


def test_a_process_that_ends_before_it_asks(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            _, response = bench.call()
            (await bench.environment()).exit(3)
            outcome = await response.outcome()
            assert outcome.ending is Ending.INIT_ERROR
            assert b"exit status 3" in outcome.error_body

    run(test())


def test_a_fork_that_holds_the_socket_open_does_not_hold_the_end_back(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Environment, "SETTLE", 0.05)

    async def test() -> None:
        async with Bench() as bench:
            _, response, environment, _ = await bench.running()
            environment.exit(1, keep_socket=True)
            assert (await response.outcome()).ending is Ending.CRASHED

    run(test())


def test_an_idle_one_that_ends_is_forgotten(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            _, _, environment, id = await bench.running()
            await environment.post("response", id, b"1")
            await bench.idle(environment)
            environment.exit(0)
            await bench.until(lambda: "1 idle" not in repr(bench.service))
            bench.call()
            await bench.environment(2)

    run(test())


# Another's runtime: several connections, to a port of its own.

FOREIGN = {"runtime": "provided.al2023", "memory_mb": 256}


def test_another_s_runtime_is_told_where_to_connect(run: Run) -> None:
    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            _, response, environment, id = await bench.running()
            assert environment.spec.command == ("/code/bootstrap",)
            assert environment.spec.environment["AWS_LAMBDA_RUNTIME_API"].startswith("127.0.0.1:")
            assert environment.spec.data_limit == (256 + 1024) * 1024 * 1024
            assert await environment.post("response", id, b"1") == 202
            assert (await response.outcome()).ok
            environment.exit(0)
            await bench.until(lambda: "0 idle" in repr(bench.service))

    run(test())


def test_what_another_s_sent_before_it_ended_is_read(run: Run) -> None:
    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            _, response, environment, id = await bench.running()
            await environment.client.send(
                b"POST /2018-06-01/runtime/invocation/%b/response HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                b"Content-Length: 4\r\n\r\nlast" % id
            )
            environment.exit(1)
            assert (await response.outcome()).ok
            assert response.body == b"last"

    run(test())


def test_what_cannot_be_executed_is_an_invalid_entrypoint(run: Run) -> None:
    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            invocation, response = bench.call()
            environment = await bench.environment()
            environment.exit(1, unstarted="fork/exec /code/bootstrap: permission denied")
            outcome = await response.outcome()
            assert (outcome.ending, outcome.error_type) == (Ending.INIT_ERROR, "Runtime.InvalidEntrypoint")
            message = (
                f"RequestId: {invocation.request_id} Error: fork/exec /code/bootstrap: permission denied"
            )
            assert json.loads(outcome.error_body)["errorMessage"] == message

    run(test())


def test_a_runtime_that_is_not_to_be_had(run: Run) -> None:
    async def test() -> None:
        async with Bench({"runtime": "java21"}) as bench:
            _, response = bench.call()
            outcome = await response.outcome()
            assert outcome.error_type == "Sandbox.Failure"
            assert "the runtime java21 is not run here" in outcome.detail
            assert bench.backend.environments == []

    run(test())


def test_what_is_not_as_the_runtime_s_name_says_is_in_the_log(run: Run) -> None:
    async def test() -> None:
        async with Bench({"runtime": "python3.9"}) as bench:
            bench.call()
            await bench.environment()
            (note,) = bench.log(platform=True)
            assert "the function runs on Python 3." in note

    run(test())
