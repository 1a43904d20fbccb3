"""One environment: its runtime's connection, its process and its log, each with its own way to end."""

import asyncio
import json
import re
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from http_kit import Client
from penstock.protocol.call import Ending
from penstock.service import environment as environment_module
from service_kit import NEXT, Bench

Run = Callable[[Coroutine[Any, Any, None]], None]


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


def test_a_runtime_that_asks_before_it_has_answered(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            _, response, environment, _ = await bench.running()
            await environment.client.send(NEXT)
            outcome = await response.outcome()
            assert (outcome.ending, outcome.error_type) == (Ending.CRASHED, "Sandbox.Failure")

    run(test())


def test_a_fork_that_holds_the_socket_open_does_not_hold_the_end_back(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment_module, "_SETTLE", 0.05)

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
