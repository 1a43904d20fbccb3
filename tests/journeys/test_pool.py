"""Execution environments as a pool: one invocation at a time in each, kept, grown, limited, let go."""

import http.client
import json
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from gateway_client import Answer, Caller, call
from platform_process import Platform, alive, wait_until

POOLED = """
    import os, time

    calls = 0
    inside = 0

    def lambda_handler(event, context):
        global calls, inside
        calls += 1
        inside += 1
        most = inside
        what = (event.get("path") or event.get("rawPath")).strip("/")
        try:
            if what == "crash":
                os._exit(1)
            if what == "stuck":
                time.sleep(60)
            if what == "slow":
                time.sleep(0.3)
        finally:
            inside -= 1
        if what == "hold":
            return hold()
        return {"pid": os.getpid(), "calls": calls, "at once": most}

    def hold():
        yield str(os.getpid())
        while True:
            time.sleep(0.01)
            yield "x"
"""


@pytest.fixture(scope="module")
def pooled(tmp_path_factory) -> Iterator[Platform]:
    with Platform(
        tmp_path_factory.mktemp("pooled"), {"pooled": POOLED}, "--max-environments", "3"
    ) as platform:
        yield platform


def state(platform: Platform, path: str = "/state") -> dict[str, int]:
    found: dict[str, int] = json.loads(call(platform, path).body)
    return found


def test_module_state_is_kept_between_invocations(pooled):
    first = state(pooled)
    second, third = state(pooled), state(pooled)
    assert first["pid"] == second["pid"] == third["pid"]
    assert third["calls"] == second["calls"] + 1 == first["calls"] + 2


def test_each_invocation_at_the_same_time_has_an_environment_of_its_own(pooled):
    holders = [Caller(pooled, "/hold") for _ in range(3)]
    processes = {int(holder.read()) for holder in holders}
    assert len(processes) == 3
    for holder in holders:
        holder.leave()
        holder.record()
    # All three are kept, and the one used last is used first.
    assert state(pooled)["pid"] in processes


def test_one_environment_never_runs_two_invocations_at_once(pooled):
    answers: list[Answer] = []

    def work() -> None:
        for _ in range(10):
            answers.append(call(pooled, "/state"))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} == {200}
    assert {json.loads(answer.body)["at once"] for answer in answers} == {1}
    assert len({json.loads(answer.body)["pid"] for answer in answers}) <= 3


@pytest.mark.parametrize("ahead", ["10", "0"])
def test_environments_start_before_they_are_needed_unless_they_may_not(tmp_path, ahead):
    started = tmp_path / "started"
    started.touch()
    told = f"""
    with open({str(started)!r}, "a") as file:
        file.write("x")
    """
    with Platform(tmp_path, {"pooled": POOLED + told}, "--start-ahead", ahead) as platform:
        holders = []
        for _ in range(5):
            holders.append(Caller(platform, "/hold"))
            assert holders[-1].read()
        if ahead == "0":
            assert started.stat().st_size == 5
        else:
            wait_until(lambda: started.stat().st_size > 5, "an environment that nobody called for")
        for holder in holders:
            holder.leave()
            holder.record()


def test_above_the_limit_calls_are_throttled(pooled):
    holders = [Caller(pooled, "/hold") for _ in range(3)]
    for holder in holders:
        assert holder.read()
    answer = call(pooled, "/state")
    assert (answer.status, json.loads(answer.body)) == (429, {"message": "Too Many Requests"})
    assert answer.ending == "throttled"
    assert "--max-environments" in answer.detail
    client = pooled.client()
    for operation in (client.invoke, client.invoke_with_response_stream):
        with pytest.raises(client.exceptions.TooManyRequestsException) as caught:
            operation(FunctionName="pooled")
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
        assert caught.value.response["Reason"] == "ConcurrentInvocationLimitExceeded"
        assert isinstance(caught.value, ClientError)
    for holder in holders:
        holder.leave()
        holder.record()
    assert call(pooled, "/state").status == 200


def test_a_stuck_function_does_not_block_another(pooled):
    stuck = Caller(pooled, "/stuck")
    assert state(pooled)["pid"]
    assert not pooled.find(event="request", path=stuck.path)
    stuck.leave()
    assert stuck.record()["ending"] == "client left"


@pytest.mark.parametrize("case", ["crash", "stuck"])
def test_an_environment_that_is_lost_gives_its_place_free(pooled, case):
    """More often than there are places: none may be kept."""
    for _ in range(5):
        before = state(pooled)
        caller = Caller(pooled, f"/{case}")
        if case == "crash":
            assert caller.finish().ending == "crashed"
        else:
            time.sleep(0.01)
            caller.leave()
            caller.record()
        after = state(pooled)
        if case == "crash":
            assert (after["pid"], after["calls"]) != (before["pid"], before["calls"] + 2)
    holders = [Caller(pooled, "/hold") for _ in range(3)]
    assert all(holder.read() for holder in holders)
    for holder in holders:
        holder.leave()
        holder.record()


def test_an_idle_environment_that_is_killed_is_given_no_call(pooled):
    for _ in range(20):
        victim = state(pooled)["pid"]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: not alive(victim), "its end")  # noqa: B023
        assert state(pooled)["pid"] != victim


def test_a_caller_that_leaves_while_waiting_is_never_served(tmp_path):
    source = "import time\ntime.sleep(0.5)\ndef lambda_handler(event, context): print('called'); return 1\n"
    with Platform(tmp_path, {"starting": source}) as platform:
        caller = Caller(platform, "/")
        time.sleep(0.1)
        caller.leave()
        record = caller.record()
        assert (record["ending"], record["detail"]) == ("client left", "before the function was called")
        assert call(platform, "/").text == "1"
        assert len(platform.find(event="log", message="called")) == 1


def test_an_idle_environment_is_let_go(tmp_path):
    with Platform(tmp_path, {"pooled": POOLED}, "--idle-expiry", "0.2") as platform:
        first = state(platform)["pid"]
        wait_until(lambda: not alive(first), "the idle environment to end", 5)
        assert state(platform)["pid"] != first
        assert state(platform)["calls"] == 2  # used often enough, it stays


def test_idle_environments_of_one_function_make_room_for_another(tmp_path):
    with Platform(tmp_path, {"one": POOLED, "two": POOLED}, "--max-environments", "2") as platform:
        for name in ("one", "two", "one"):
            holders = [Caller(platform, f"/lambda-url/{name}/hold") for _ in range(2)]
            processes = {int(holder.read()) for holder in holders}
            assert len(processes) == 2
            # Every place is busy: no other function can push them out.
            other = "two" if name == "one" else "one"
            assert call(platform, f"/lambda-url/{other}/state").status == 429
            for holder in holders:
                holder.leave()
                holder.record()
        stuck = Caller(platform, "/lambda-url/two/stuck")
        assert state(platform, "/lambda-url/one/state")["pid"]
        stuck.leave()
        stuck.record()


def test_many_calls_at_once_start_many_environments(tmp_path):
    with Platform(tmp_path, {"pooled": POOLED}, "--env", "LARGE=" + "x" * 60_000) as platform:
        callers = [Caller(platform, "/slow") for _ in range(24)]
        answers = [caller.finish() for caller in callers]
        assert [answer.status for answer in answers] == [200] * 24
        assert {json.loads(answer.body)["calls"] for answer in answers} <= {1, 2}


def test_variables_that_are_too_large_are_told_so(tmp_path):
    large = [f"--env=LARGE{n}={'x' * 120_000}" for n in range(4)]
    with Platform(tmp_path, {"pooled": POOLED}, *large) as platform:
        answer = call(platform, "/state")
        assert answer.status == 502
        assert "the function's environment variables are too large: 4" in answer.detail


FLOOD = """
    import os, threading

    def lambda_handler(event, context):
        if os.fork() == 0:
            while True:
                os.write(1, b"\\n" * 65536)
        yield "flooding"
        threading.Event().wait()
"""


def test_a_function_that_floods_its_log_holds_up_no_other(tmp_path):
    with Platform(tmp_path, {"flood": FLOOD, "pooled": POOLED}) as platform:
        flood = Caller(platform, "/lambda-url/flood/")
        assert flood.read() == b"flooding"
        # Not by `state`: it waits for the log, which may drop lines in a flood.
        other = http.client.HTTPConnection(*platform.gateway_address, timeout=20)
        for calls in range(1, 4):
            other.request("GET", "/lambda-url/pooled/state")
            assert json.loads(other.getresponse().read())["calls"] == calls
        other.close()
        flood.leave()


SLOW_TO_START = "import time; time.sleep(60)"


def test_a_function_that_is_slow_to_start_holds_up_no_other(tmp_path):
    with Platform(tmp_path, {"slow": SLOW_TO_START, "pooled": POOLED}, "--init-timeout", "60") as platform:
        waiting = [Caller(platform, "/lambda-url/slow/") for _ in range(12 * (os.cpu_count() or 1))]
        assert state(platform, "/lambda-url/pooled/state")["calls"] == 1
        for caller in waiting:
            caller.leave()


def test_the_service_goes_on_when_it_has_run_out_of_descriptors(tmp_path):
    with Platform(tmp_path, {"pooled": POOLED}) as platform:
        before = state(platform)["pid"]
        _, hard = resource.prlimit(platform.process.pid, resource.RLIMIT_NOFILE)
        in_use = len(os.listdir(f"/proc/{platform.process.pid}/fd"))
        callers = [Caller(platform, "/hold") for _ in range(20)]
        resource.prlimit(platform.process.pid, resource.RLIMIT_NOFILE, (in_use + 24, hard))
        more = [Caller(platform, "/hold") for _ in range(20)]
        for caller in [*callers, *more]:
            caller.leave()
        resource.prlimit(platform.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        answers = [Caller(platform, "/slow") for _ in range(20)]
        assert [caller.finish().status for caller in answers] == [200] * 20
        assert before
