"""How much may run at once: reserved concurrency, one busy function beside others; how fast a stream is."""

import json
import time
from collections.abc import Iterator

import pytest

from gateway_client import Caller, call
from platform_process import Platform

HELD = """
    import time

    def lambda_handler(event, context):
        if (event.get("rawPath") or "").startswith("/hold"):
            return hold()
        return {"ok": True}

    def hold():
        yield "held"
        while True:
            time.sleep(0.01)
            yield "."
"""


def hold(platform: Platform, function: str) -> Caller:
    """A stream that goes on until its caller leaves."""
    caller = Caller(platform, f"/lambda-url/{function}/hold")
    assert caller.read().startswith(b"held")
    return caller


def leave(*callers: Caller) -> None:
    for caller in callers:
        caller.leave()
        caller.record()


def status(platform: Platform, function: str) -> int:
    return call(platform, f"/lambda-url/{function}/").status


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Iterator[Platform]:
    with Platform(
        tmp_path_factory.mktemp("both"), {"one": HELD, "two": HELD}, "--max-environments", "4"
    ) as platform:
        yield platform


@pytest.fixture
def reserved(both: Platform):
    """Sets reserved concurrency; at the end there is none."""
    client = both.client()

    def reserve(**limits: int) -> None:
        for name, limit in limits.items():
            client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=limit)

    yield reserve
    for name in ("one", "two"):
        client.delete_function_concurrency(FunctionName=name)


def test_reserved_concurrency_is_the_function_s_most(both: Platform, reserved):
    reserved(one=1)
    holder = hold(both, "one")
    answer = call(both, "/lambda-url/one/")
    assert (answer.status, json.loads(answer.body)) == (429, {"message": "Too Many Requests"})
    assert answer.ending == "throttled"
    assert "reserved concurrency" in answer.detail
    client = both.client()
    for operation in (client.invoke, client.invoke_with_response_stream):
        with pytest.raises(client.exceptions.TooManyRequestsException) as caught:
            operation(FunctionName="one")
        response = caught.value.response
        assert response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
        assert response["Error"]["Message"] == "Rate Exceeded."
        assert response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "1"
    assert status(both, "two") == 200
    leave(holder)
    assert status(both, "one") == 200


def test_calls_one_after_another_fit_into_a_concurrency_of_one(both: Platform, reserved):
    reserved(one=1)
    client = both.client()
    for _ in range(30):
        assert json.loads(client.invoke(FunctionName="one", Payload=b"{}")["Payload"].read()) == {"ok": True}


def test_what_is_reserved_for_one_is_not_taken_by_another(both: Platform, reserved):
    reserved(two=1)
    holders = [hold(both, "one") for _ in range(3)]
    assert status(both, "one") == 429
    for _ in range(3):
        assert status(both, "two") == 200
    leave(*holders)


def test_a_concurrency_of_none_throttles_every_call_until_it_is_lifted(both: Platform, reserved):
    reserved(one=0)
    assert status(both, "one") == 429
    both.client().delete_function_concurrency(FunctionName="one")
    assert status(both, "one") == 200


def test_beside_a_function_that_has_everything_a_call_is_answered_at_once_either_way(both: Platform):
    holders = [hold(both, "one") for _ in range(4)]
    began = time.monotonic()
    assert status(both, "two") == 429
    leave(holders.pop())
    assert status(both, "two") == 200
    assert time.monotonic() - began < 5
    leave(*holders)


def test_what_was_reserved_is_kept(tmp_path):
    with Platform(tmp_path, {"one": HELD}) as platform:
        platform.client().put_function_concurrency(FunctionName="one", ReservedConcurrentExecutions=0)
    with Platform(tmp_path, {"one": HELD}) as platform:
        client = platform.client()
        assert client.get_function_concurrency(FunctionName="one")["ReservedConcurrentExecutions"] == 0
        assert call(platform, "/").status == 429
        client.delete_function_concurrency(FunctionName="one")
        assert call(platform, "/").status == 200


LARGE = """
    def lambda_handler(event, context):
        for _ in range(8 * 16):
            yield b"x" * 65536
"""


def test_aws_s_bandwidth_is_a_setting(tmp_path):
    for limits, slow in (("none", False), ("aws", True)):
        with Platform(tmp_path, {"large": LARGE}, "--limits", limits) as platform:
            began = time.monotonic()
            answer = call(platform, "/")
            took = time.monotonic() - began
            assert (len(answer.body), answer.broken) == (8 << 20, False)
            assert (took > 0.7) is slow, took  # two of its eight MB at two MB a second
            # Also with the SDK; another stream has a bandwidth of its own.
            stream = platform.client().invoke_with_response_stream(FunctionName="large")["EventStream"]
            assert sum(len(event.get("PayloadChunk", {}).get("Payload", b"")) for event in stream) == 8 << 20
