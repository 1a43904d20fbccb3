"""What a caller gets when its function's runtime misbehaves, and what the runtime is answered.

Over a connection that was handed out (Penstock's own runtime) and over TCP (any other), where both can.
"""

import base64
import json
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from http_kit import Client
from penstock.protocol.call import Call, Ending
from penstock.service.environment import Environment
from service_kit import NEXT, Bench, FakeEnvironment, Response

Run = Callable[[Coroutine[Any, Any, None]], None]
Where = dict[str, Any]

FOREIGN: Where = {"runtime": "provided.al2023"}
ID = b"lambda-runtime-aws-request-id"
ATTEMPT = b"lambda-runtime-invocation-id"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
STREAMING = b"Lambda-Runtime-Function-Response-Mode: streaming\r\n"


@pytest.fixture(params=[{}, FOREIGN], ids=["own", "foreign"])
def where(request: pytest.FixtureRequest) -> Where:
    return dict(request.param)


def another(environment: FakeEnvironment) -> Client:
    """One more connection of a runtime that is not Penstock's own."""
    return Client(environment.dialled())


def head(request_id: bytes, verb: bytes, *lines: bytes) -> bytes:
    return b"POST /2018-06-01/runtime/invocation/%b/%b HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % (
        request_id,
        verb,
        b"".join(lines),
    )


async def error_of(client: Client) -> tuple[int, str]:
    status, _, body = await client.response()
    return status, json.loads(body).get("errorType", "")


def test_it_answers_twice(run: Run, where: Where) -> None:
    async def test() -> None:
        async with Bench(where) as bench:
            _, response, environment, id = await bench.running()
            assert await environment.post("response", id, b"1") == 202
            for verb in ("response", "error"):
                assert await environment.post(verb, id, b"2") == 400
            assert (await response.outcome()).ok
            assert response.body == b"1"
            _, later = bench.call()
            headers, _ = await environment.next()
            assert await environment.post("response", headers[ID], b"3") == 202
            assert (await later.outcome()).ok

    run(test())


def test_it_answers_on_two_connections_at_once(run: Run) -> None:
    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            _, response, environment, id = await bench.running()
            await environment.begin_stream(id, b"one")
            await response.until(lambda response: response.body)
            other = another(environment)
            for verb in (b"response", b"error"):
                await other.send(head(id, verb, b"Content-Length: 1\r\n") + b"2")
                assert await error_of(other) == (400, "InvalidRequestID")
            await other.send(NEXT)
            assert await error_of(other) == (403, "InvalidStateTransition")
            await environment.client.send(b"0\r\n\r\n")
            assert (await environment.client.response())[0] == 202
            assert (await response.outcome()).ok
            assert response.body == b"one"
            other.close()

    run(test())


def test_it_answers_for_another_id(run: Run, where: Where) -> None:
    async def test() -> None:
        async with Bench(where) as bench:
            _, response, environment, id = await bench.running()
            for verb in ("response", "error"):
                assert await environment.post(verb, b"another", b"1") == 400
            assert not response.outcomes
            assert await environment.post("response", id, b"2") == 202
            assert (await response.outcome()).ok
            assert response.body == b"2"

    run(test())


def test_it_answers_for_another_attempt(run: Run, where: Where) -> None:
    async def test() -> None:
        async with Bench(where) as bench:
            bench.call()
            environment = await bench.environment()
            headers, _ = await environment.next()
            first = headers[ATTEMPT]
            assert await environment.post("response", headers[ID], b"1", b"X-A: b") == 202
            _, response = bench.call()
            headers, _ = await environment.next()
            assert headers[ATTEMPT] != first
            stale = b"Lambda-Runtime-Invocation-Id: " + first
            assert await environment.post("response", headers[ID], b"1", stale) == 410
            assert await environment.post("error", headers[ID], b"1", stale) == 410
            assert not response.outcomes
            fresh = b"Lambda-Runtime-Invocation-Id: " + headers[ATTEMPT]
            assert await environment.post("response", headers[ID], b"2", fresh) == 202
            assert (await response.outcome()).ok

    run(test())


def test_it_asks_again_and_is_given_the_same_event(run: Run) -> None:
    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            payload = b'"' + b"x" * 100_000 + b'"'
            _, response, environment, id = await bench.running(payload)
            headers, again = await environment.next()
            assert (headers[ID], again) == (id, payload)
            other = another(environment)
            await other.send(NEXT)
            assert (await other.response())[2] == payload
            other.close()
            assert await environment.post("response", id, b"1") == 202
            assert (await response.outcome()).ok
            assert not environment.signals

    run(test())


def test_it_asks_and_asks_and_never_answers(run: Run) -> None:
    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            _, response, environment, _ = await bench.running()
            for _ in range(2):
                await environment.next()
            await environment.client.send(NEXT)
            outcome = await response.outcome()
            assert (outcome.ending, outcome.error_type) == (Ending.CRASHED, "Sandbox.Failure")
            assert environment.signals == [signal.SIGKILL]

    run(test())


def test_it_exits_without_an_answer(run: Run, where: Where) -> None:
    async def test() -> None:
        async with Bench(where) as bench:
            _, response, environment, _ = await bench.running()
            environment.exit(0)
            outcome = await response.outcome()
            assert (outcome.ending, outcome.error_type) == (Ending.CRASHED, "Runtime.ExitError")
            assert b"Runtime exited without providing a reason" in outcome.error_body

    run(test())


@pytest.mark.parametrize("verb", ["response", "error"])
@pytest.mark.parametrize("knows_attempts", [False, True])
def test_it_answers_after_the_timeout(run: Run, where: Where, verb: str, knows_attempts: bool) -> None:
    async def test() -> None:
        async with Bench({**where, "timeout": 0.05}) as bench:
            _, response = bench.call()
            environment = await bench.environment()
            environment.stubborn = True
            headers, _ = await environment.next()
            await bench.until(lambda: environment.signals)
            lines = [b"Lambda-Runtime-Invocation-Id: " + headers[ATTEMPT]] if knows_attempts else []
            status = await environment.post(verb, headers[ID], b"late", *lines)
            assert status == (410 if knows_attempts else 202)
            assert not response.outcomes
            environment.exit(-signal.SIGKILL)
            assert (await response.outcome()).ending is Ending.TIMED_OUT
            assert response.body == b""

    run(test())


@pytest.mark.parametrize("knows_attempts", [False, True])
def test_it_answers_when_its_caller_has_left(run: Run, knows_attempts: bool) -> None:
    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            invocation, response = bench.call()
            environment = await bench.environment()
            headers, _ = await environment.next()
            invocation.cancel()
            lines = [b"Lambda-Runtime-Invocation-Id: " + headers[ATTEMPT]] if knows_attempts else []
            status = await environment.post("response", headers[ID], b"late", *lines)
            assert status == (410 if knows_attempts else 202)
            _, later = bench.call()
            headers, _ = await environment.next()
            assert (await response.outcome()).ending is Ending.CANCELLED
            assert response.body == b""
            assert await environment.post("response", headers[ID], b"1") == 202
            assert (await later.outcome()).ok

    run(test())


BROKEN = {
    "chunk": (CHUNKED, b"5\r\nhelloXX"),
    "size": (CHUNKED, b"5\r\nhello\r\nzz\r\n"),
    "trailer": (CHUNKED, b"5\r\nhello\r\n0\r\nno trailer\r\n\r\n"),
    "huge trailer": (CHUNKED, b"5\r\nhello\r\n0\r\nA: " + b"b" * 70_000),
}


@pytest.mark.parametrize("mode", [b"", STREAMING], ids=["buffered", "streamed"])
@pytest.mark.parametrize("how", BROKEN)
def test_its_response_is_malformed(run: Run, mode: bytes, how: str) -> None:
    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            _, response, environment, id = await bench.running()
            framing, body = BROKEN[how]
            await environment.client.send(head(id, b"response", framing, mode) + body)
            assert await error_of(environment.client) == (400, "TruncatedHTTPRequest")
            environment.connect()
            _, later = bench.call()
            headers, _ = await environment.next()  # it lives: that was not its end
            outcome = await response.outcome()
            assert outcome.ending is Ending.FUNCTION_ERROR
            assert outcome.error_type == "Runtime.TruncatedResponse"
            assert json.loads(outcome.error_body)["errorType"] == "Runtime.TruncatedResponse"
            assert await environment.post("response", headers[ID], b"1") == 202
            assert (await later.outcome()).ok

    run(test())


@pytest.mark.parametrize("verb", [b"response", b"error"])
@pytest.mark.parametrize("framing", [CHUNKED, b"Content-Length: 100\r\n"])
@pytest.mark.parametrize("goes_on", [True, False])
def test_its_answer_ends_early(
    run: Run, monkeypatch: pytest.MonkeyPatch, verb: bytes, framing: bytes, goes_on: bool
) -> None:
    if not goes_on:
        monkeypatch.setattr(Environment, "SETTLE", 0.05)

    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            _, response, environment, id = await bench.running()
            await environment.client.send(head(id, verb, framing) + b"5\r\nhello")
            environment.client.half_close()
            assert await error_of(environment.client) == (400, "TruncatedHTTPRequest")
            if goes_on:
                environment.connect()
                await environment.client.send(NEXT)
            outcome = await response.outcome()
            assert outcome.ending is Ending.FUNCTION_ERROR
            assert outcome.error_type == "Runtime.TruncatedResponse"

    run(test())


def test_its_end_is_told_and_not_that_its_response_broke_off_with_it(run: Run, where: Where) -> None:
    async def test() -> None:
        async with Bench(where) as bench:
            _, response, environment, id = await bench.running()
            await environment.begin_stream(id, b"one")
            await response.until(lambda response: response.body)
            environment.exit(3)
            outcome = await response.outcome()
            assert (outcome.ending, outcome.error_type) == (Ending.CRASHED, "Runtime.ExitError")

    run(test())


def test_it_answers_and_does_not_ask_again(run: Run, where: Where) -> None:

    async def test() -> None:
        async with Bench({**where, "timeout": 0.5}) as bench:
            _, response, environment, id = await bench.running()
            assert await environment.post("response", id, b"1") == 202
            assert (await response.outcome()).ok
            await bench.until(lambda: environment.signals)
            assert environment.signals == [signal.SIGKILL]
            assert bench.log(platform=True)[-1] == f"{id.decode()} Task timed out after 0.50 seconds"

    run(test())


def test_it_reports_an_init_error_and_goes_on(run: Run, where: Where) -> None:
    async def test() -> None:
        async with Bench(where, cancel_grace=0.05) as bench:
            _, response = bench.call()
            environment = await bench.environment()
            environment.connect()
            init_error = (
                b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
                b"Lambda-Runtime-Function-Error-Type: Function.Broken\r\n\r\n{}"
            )
            await environment.client.send(init_error)
            assert (await environment.client.response())[0] == 202
            await environment.client.send(init_error)
            assert await error_of(environment.client) == (403, "InvalidStateTransition")
            await environment.client.send(NEXT)
            assert await error_of(environment.client) == (403, "InvalidStateTransition")
            outcome = await response.outcome()
            assert (outcome.ending, outcome.error_type) == (Ending.INIT_ERROR, "Function.Broken")
            assert environment.signals == [signal.SIGKILL]

    run(test())


def test_a_restore_that_fails_is_an_init_that_failed(run: Run, where: Where) -> None:
    async def test() -> None:
        async with Bench(where) as bench:
            _, response = bench.call()
            environment = await bench.environment()
            environment.connect()
            await environment.client.send(NEXT.replace(b"invocation", b"restore"))
            assert (await environment.client.response())[0] == 200
            await environment.client.send(
                b"POST /2018-06-01/runtime/restore/error HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
                b"Lambda-Runtime-Function-Error-Type: Runtime.AfterRestoreError\r\n\r\n{}"
            )
            assert (await environment.client.response())[0] == 202
            environment.exit(65)
            outcome = await response.outcome()
            assert (outcome.ending, outcome.error_type) == (Ending.INIT_ERROR, "Runtime.AfterRestoreError")

    run(test())


@pytest.mark.parametrize("comes_first", ["event", "request"])
def test_its_request_for_an_event_breaks_off_and_it_asks_anew(run: Run, comes_first: str) -> None:
    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            _, _, environment, id = await bench.running()
            await environment.post("response", id, b"1")
            await bench.idle(environment)
            environment.client.half_close()
            assert await environment.client.rest() == b""
            if comes_first == "event":
                _, response = bench.call()
                environment.connect()
            else:
                environment.connect()
                await environment.client.send(NEXT)
                _, response = bench.call()
            if comes_first == "event":
                headers, _ = await environment.next()
            else:
                _, headers, _ = await environment.client.response()
            await environment.post("response", headers[ID], b"2")
            assert (await response.outcome()).ok
            assert not environment.signals

    run(test())


def test_its_request_for_an_event_breaks_off_and_it_is_not_heard_of_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Environment, "SETTLE", 0.05)

    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            _, _, environment, id = await bench.running()
            await environment.post("response", id, b"1")
            await bench.idle(environment)
            environment.client.half_close()
            assert await environment.client.rest() == b""
            _, response = bench.call()
            outcome = await response.outcome()
            assert outcome.ending is Ending.CRASHED
            assert "closed its connection" in outcome.detail

    run(test())


def test_it_asks_anew_again_and_again_while_there_is_nothing_to_do(run: Run) -> None:
    """As `curl --max-time` in a loop does, for days: each time it is waited for from the beginning."""

    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            _, _, environment, id = await bench.running()
            await environment.post("response", id, b"1")
            (ours,) = next(iter(bench.service._environments.values())).seats
            for _ in range(5):
                await bench.idle(environment)
                await bench.until(lambda: ours._waiting)
                assert ours._timers == []
                environment.client.half_close()
                assert await environment.client.rest() == b""
                await bench.until(lambda: ours._timers)
                environment.connect()

    run(test())


def test_it_asks_on_two_connections_at_once(run: Run) -> None:
    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            _, _, environment, id = await bench.running()
            await environment.post("response", id, b"1")
            await bench.idle(environment)
            other = another(environment)
            await other.send(NEXT)
            _, first = bench.call()
            _, headers, _ = await environment.client.response()
            _, second = bench.call()
            await environment.post("response", headers[ID], b"1")
            assert (await first.outcome()).ok
            _, headers, _ = await other.response()  # it has asked already
            await environment.post("response", headers[ID], b"2")
            assert (await second.outcome()).ok
            other.close()

    run(test())


@pytest.mark.parametrize(
    ("trailers", "error_type", "document"),
    [
        (("Function.Broken", base64.b64encode(b'{"a":1}')), "Function.Broken", b'{"a":1}'),
        (("ValueError", base64.b64encode(b"text")), "Runtime.Unknown", b"text"),
        (("Function.", b"no base64"), "Function.Unknown", b""),
    ],
)
def test_what_its_trailers_report(
    run: Run, where: Where, trailers: tuple[str, bytes], error_type: str, document: bytes
) -> None:
    async def test() -> None:
        async with Bench(where) as bench:
            _, response, environment, id = await bench.running()
            await environment.begin_stream(id, b"one")
            await environment.client.send(
                b"0\r\nLambda-Runtime-Function-Error-Type: %b\r\n"
                b"Lambda-Runtime-Function-Error-Body: %b\r\n\r\n" % (trailers[0].encode(), trailers[1])
            )
            assert (await environment.client.response())[0] == 202
            outcome = await response.outcome()
            assert (outcome.ending, outcome.error_type) == (Ending.FUNCTION_ERROR, error_type)
            assert (response.body, outcome.error_body) == (b"one", document)
            report = bench.log(platform=True)[-1]
            assert report.endswith(f"\tStatus: error\tError Type: {error_type}")

    run(test())


def test_the_event_says_who_the_tenant_is(run: Run, where: Where) -> None:
    async def test() -> None:
        async with Bench(where) as bench:
            bench.service.invoke(
                Call("app", b"{}", client_context='{"custom":{}}', tenant_id="blue"), Response()
            )
            headers, _ = await (await bench.environment()).next()
            assert headers[b"lambda-runtime-aws-tenant-id"] == b"blue"
            assert headers[b"lambda-runtime-client-context"] == b'{"custom":{}}'
            assert b"lambda-runtime-cognito-identity" not in headers

    run(test())


def test_a_large_cause_for_xray_comes_through(run: Run, where: Where) -> None:
    async def test() -> None:
        async with Bench(where) as bench:
            _, response, environment, id = await bench.running()
            cause = b"Lambda-Runtime-Function-XRay-Error-Cause: " + b"x" * 1_000_000
            assert await environment.post("error", id, b"{}", cause) == 202
            assert (await response.outcome()).ending is Ending.FUNCTION_ERROR

    run(test())
