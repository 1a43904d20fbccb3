"""Several invocations on one environment: what befalls one befalls no other."""

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from penstock.protocol.call import Ending
from penstock.service import connections
from penstock.service import environment as environment_module
from penstock.service.environment import Environment
from penstock.service.runtime_states import State
from service_kit import NEXT, Bench, FakeEnvironment, Lane, Response

Run = Callable[[Coroutine[Any, Any, None]], None]

THREE = {"concurrency": 3}
FOREIGN = {"concurrency": 3, "runtime": "provided.al2023"}


class Running:
    """A call whose event is at its runtime."""

    def __init__(self, invocation: Any, response: Response, lane: Lane, headers: dict[bytes, bytes]) -> None:
        self.invocation = invocation
        self.response = response
        self.lane = lane
        self.id = headers[b"lambda-runtime-aws-request-id"]
        self.attempt = b"Lambda-Runtime-Invocation-Id: " + headers[b"lambda-runtime-invocation-id"]

    async def stream(self) -> "Running":
        await self.lane.begin_stream(self.id, b"begun")
        await self.response.until(lambda response: response.body == b"begun")
        return self

    async def end(self) -> None:
        """The rest of a stream, and the next request: the runtime sends both at once."""
        await self.lane.client.send(b"0\r\n\r\n" + NEXT)
        assert (await self.response.outcome()).ok


async def started(bench: Bench, count: int) -> tuple[FakeEnvironment, list[Running]]:
    """So many calls that run on one environment."""
    calls = [bench.call() for _ in range(count)]
    environment = await bench.environment()
    running = []
    for index, (invocation, response) in enumerate(calls):
        lane: Lane
        if index:
            lane = await environment.lane()
        else:
            environment.connect()
            lane = environment
        headers, _ = await lane.next()
        running.append(Running(invocation, response, lane, headers))
    assert [each.invocation.request_id.encode() for each in running] == [each.id for each in running]
    return environment, running


async def another(bench: Bench, environment: FakeEnvironment, lane: Lane | None = None) -> Running:
    """One more call; its event goes to `lane`, which has asked, or to a new one."""
    invocation, response = bench.call()
    if lane is None:
        lane = await environment.lane()
        headers, _ = await lane.next()
    else:
        status, headers, _ = await lane.client.response()
        while status == 202:
            status, headers, _ = await lane.client.response()
    return Running(invocation, response, lane, headers)


def test_so_many_run_on_one_environment_and_the_next_on_another(run: Run) -> None:
    async def test() -> None:
        async with Bench(THREE) as bench:
            environment, running = await started(bench, 3)
            assert environment.spec.environment["AWS_LAMBDA_MAX_CONCURRENCY"] == "3"
            assert environment.spec.open_files == 1024 + 2
            assert len(bench.backend.environments) == 1
            _, fourth = bench.call()
            assert await bench.environment(2) is not environment
            assert not fourth.outcomes
            for each in reversed(running):
                await each.stream()
                await each.end()
            # It takes the one that waits, and others on the connections there are.
            again = await another(bench, environment, running[0].lane)
            assert again.id != running[0].id

    run(test())


def test_connections_are_made_when_there_is_need_of_them(run: Run) -> None:
    async def test() -> None:
        async with Bench(THREE) as bench:
            environment, (first,) = await started(bench, 1)
            assert environment._dial is not None
            environment._dial.setblocking(False)
            with pytest.raises(BlockingIOError):
                environment._dial.recv(1)
            await another(bench, environment)
            assert not first.response.outcomes

    run(test())


def test_a_caller_that_leaves_takes_its_own_invocation_only(run: Run) -> None:
    async def test() -> None:
        async with Bench(THREE) as bench:
            environment, (leaving, staying) = await started(bench, 2)
            await leaving.stream()
            await staying.stream()
            leaving.invocation.cancel()
            assert await leaving.lane.client.rest() == b""  # half-closed
            await leaving.lane.chunk(b"too late")  # and what still comes is taken
            assert not leaving.response.outcomes
            leaving.lane.client.close()
            outcome = await leaving.response.outcome()
            assert outcome.ending is Ending.CANCELLED
            assert "the task was cancelled after" in outcome.detail
            assert environment.signals == []
            await another(bench, environment)
            await another(bench, environment)
            await staying.end()

    run(test())


def test_one_that_was_cancelled_as_it_ended(run: Run) -> None:
    async def test() -> None:
        async with Bench(THREE) as bench:
            environment, (leaving,) = await started(bench, 1)
            await leaving.stream()
            leaving.invocation.cancel()
            await leaving.lane.client.send(b"0\r\n\r\n" + NEXT)  # before it has noticed
            second, _ = bench.call()
            assert NEXT not in await leaving.lane.client.rest()
            assert not leaving.response.outcomes
            leaving.lane.client.close()
            assert (await leaving.response.outcome()).ending is Ending.CANCELLED
            lane = await environment.lane()
            headers, _ = await lane.next()
            assert headers[b"lambda-runtime-aws-request-id"].decode() == second.request_id

    run(test())


def test_a_paused_one_that_is_left_does_not_hold_up_its_end(run: Run) -> None:
    async def test() -> None:
        async with Bench(THREE) as bench:
            _, (leaving,) = await started(bench, 1)
            await leaving.stream()
            leaving.invocation.pause()
            sent = 0

            async def write() -> None:
                nonlocal sent
                for _ in range(100):
                    await leaving.lane.chunk(bytes(64 * 1024))
                    sent += 1

            writing = asyncio.create_task(write())
            await asyncio.wait([writing], timeout=0.05)
            assert 0 < sent < 50
            leaving.invocation.cancel()
            await writing
            leaving.lane.client.close()
            assert (await leaving.response.outcome()).ending is Ending.CANCELLED

    run(test())


def test_one_that_does_not_let_go_is_given_up_and_its_environment_replaced(run: Run) -> None:
    async def test() -> None:
        async with Bench(THREE, cancel_grace=0.05) as bench:
            environment, (stuck, staying) = await started(bench, 2)
            await staying.stream()
            stuck.invocation.cancel()
            outcome = await stuck.response.outcome()
            assert outcome.ending is Ending.CANCELLED
            assert "had not let go, and was given up" in outcome.detail
            assert environment.signals == []
            bench.call()
            assert await bench.environment(2) is not environment
            assert any("gets no more calls" in line for line in bench.log(platform=True))
            await staying.end()
            await bench.until(lambda: environment.signals)
            await bench.until(lambda: len(bench.service._environments) == 1)

    run(test())


def test_one_that_lets_go_after_it_was_given_up(run: Run) -> None:
    async def test() -> None:
        async with Bench(THREE, cancel_grace=0.05) as bench:
            environment, (stuck, staying) = await started(bench, 2)
            await staying.stream()
            stuck.invocation.cancel()
            await stuck.response.outcome()
            stuck.lane.client.close()
            bench.call()
            assert await bench.environment(2) is not environment
            await staying.end()
            await bench.until(lambda: environment.signals)

    run(test())


def test_a_timeout_is_told_at_once_and_the_others_go_on(run: Run) -> None:
    async def test() -> None:
        async with Bench({**THREE, "timeout": 0.2}) as bench:
            environment, (slow,) = await started(bench, 1)
            await slow.stream()
            outcome = await slow.response.outcome()
            assert outcome.ending is Ending.TIMED_OUT
            assert environment.signals == []
            assert await slow.lane.client.rest() == b""
            other = await another(bench, environment)
            slow.lane.client.close()
            await other.stream()
            await other.end()
            assert environment.signals == []
            report = next(line for line in bench.log(platform=True) if line.startswith("REPORT"))
            assert report.endswith("\tStatus: timeout")

    run(test())


def test_a_crash_is_told_to_all(run: Run) -> None:
    async def test() -> None:
        async with Bench(THREE) as bench:
            environment, running = await started(bench, 3)
            for each in running:
                await each.stream()
            environment.exit(-11)
            for each in running:
                outcome = await each.response.outcome()
                assert outcome.ending is Ending.CRASHED
                assert each.invocation.request_id.encode() in outcome.error_body

    run(test())


def test_too_much_memory_is_told_to_all(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with Bench(THREE) as bench:
            environment, running = await started(bench, 2)
            monkeypatch.setattr(environment_module, "PAGE", 1 << 40)
            for each in running:
                assert (await each.response.outcome()).ending is Ending.OUT_OF_MEMORY
            assert len(environment.signals) == 1

    run(test())


def test_an_init_error_is_told_to_those_that_wait(run: Run) -> None:
    async def test() -> None:
        async with Bench(THREE) as bench:
            calls = [bench.call() for _ in range(2)]
            (await bench.environment()).exit(3)
            for _, response in calls:
                assert (await response.outcome()).ending is Ending.INIT_ERROR

    run(test())


def test_a_line_is_its_invocation_s(run: Run) -> None:
    async def test() -> None:
        async with Bench(THREE) as bench:
            environment, (one, two) = await started(bench, 2)
            first, second = one.id.decode(), two.id.decode()
            environment.print(f"\0{first}\0of one\n\0{second}\0of two\nnobody's\n\0{first}\0cut")
            await one.stream()
            await one.end()
            environment.print(f" off\n\0{first}\0after its end\n\0\n")
            tail = (await one.response.outcome()).log_tail.decode().splitlines()
            assert [line.split(" ")[0] for line in tail] == ["START", "of", "END", "REPORT"]
            await two.stream()
            await two.end()
            assert [(line.request_id, line.text) for line in bench.lines if not line.platform] == [
                (first, "of one"),
                (second, "of two"),
                ("", "nobody's"),
                (first, "cut off"),
                (first, "after its end"),
                ("", "\0"),
            ]

    run(test())


def test_a_runtime_that_closes_what_was_not_left_is_ended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Environment, "SETTLE", 0.05)

    async def test() -> None:
        async with Bench(THREE) as bench:
            environment, (one, two) = await started(bench, 2)
            one.lane.client.close()
            for each in (one, two):
                assert (await each.response.outcome()).ending is Ending.CRASHED
            assert len(environment.signals) == 1

    run(test())


def test_without_descriptors_the_one_call_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with Bench(THREE) as bench:
            environment, (one,) = await started(bench, 1)

            def none() -> Any:
                raise OSError(errno.EMFILE, "Too many open files")

            real = socket.socketpair
            monkeypatch.setattr(connections.socket, "socketpair", none)
            _, response = bench.call()
            outcome = await response.outcome()
            assert (outcome.ending, outcome.error_type) == (Ending.CRASHED, "Sandbox.Failure")
            assert "Too many open files" in outcome.detail
            monkeypatch.setattr(connections.socket, "socketpair", real)
            await one.stream()
            await another(bench, environment)
            await one.end()

    run(test())


def test_a_connection_that_is_not_taken_costs_its_own_call_only(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Environment, "SETTLE", 0.05)

    async def test() -> None:
        async with Bench(THREE) as bench:
            environment, (one,) = await started(bench, 1)
            _, response = bench.call()
            environment.handed_out().close()  # as the system does, when there are no descriptors left
            outcome = await response.outcome()
            assert (outcome.ending, outcome.error_type) == (Ending.CRASHED, "Sandbox.Failure")
            assert "descriptors" in outcome.detail
            bench.call()
            assert await bench.environment(2) is not environment
            await one.stream()
            await one.end()
            await bench.until(lambda: environment.signals == [signal.SIGKILL])

    run(test())


def test_a_connection_that_is_not_taken_as_its_process_ends(run: Run) -> None:
    async def test() -> None:
        async with Bench(THREE) as bench:
            environment, (one,) = await started(bench, 1)
            _, response = bench.call()
            environment.handed_out().close()
            environment.exit(1)
            for each in (response, one.response):
                outcome = await each.outcome()
                assert outcome.detail == "Runtime exited with error: exit status 1"

    run(test())


def test_all_of_a_long_line_is_its_invocation_s(run: Run) -> None:
    async def test() -> None:
        async with Bench(THREE) as bench:
            environment, (one,) = await started(bench, 1)
            id = one.id.decode()
            printing = asyncio.to_thread(environment.print, f"\0{id}\0{'x' * 300_000}\nnobody's\n")
            await asyncio.create_task(printing)
            await bench.until(lambda: len(bench.lines) == 4)
            said = [(line.request_id, len(line.text)) for line in bench.lines[1:]]
            assert said[0][1] + said[1][1] == 300_000
            assert [request_id for request_id, _ in said] == [id, id, ""]

    run(test())


# Another's runtime.


def test_another_s_runtime_answers_on_any_connection(run: Run) -> None:
    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            environment, (one, two, three) = await started(bench, 3)
            assert await one.lane.post("response", two.id, b"2", two.attempt) == 202
            assert await one.lane.post("response", one.id, b"1") == 202
            assert await one.lane.post("error", three.id, b"{}", three.attempt) == 202
            assert (one.response.body, two.response.body) == (b"1", b"2")
            assert (await three.response.outcome()).ending is Ending.FUNCTION_ERROR
            assert await one.lane.post("response", b"none-such", b"") == 400
            assert len(bench.backend.environments) == 1
            assert environment.spec.environment["AWS_LAMBDA_MAX_CONCURRENCY"] == "3"

    run(test())


def test_another_s_may_ask_as_often_as_it_has_seats(run: Run) -> None:
    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            environment, running = await started(bench, 3)
            lane = await environment.lane()
            await lane.client.send(NEXT)
            assert (await lane.client.response())[0] == 403
            assert await running[0].lane.post("response", running[0].id, b"1") == 202
            await lane.client.send(NEXT)
            again = await another(bench, environment, lane)
            assert await running[1].lane.post("response", again.id, b"1") == 202

    run(test())


def test_another_s_that_is_left(run: Run) -> None:
    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            environment, (streaming, silent, staying) = await started(bench, 3)
            await streaming.stream()
            streaming.invocation.cancel()
            silent.invocation.cancel()
            assert await streaming.lane.client.rest() == b""
            assert not streaming.response.outcomes
            asking = await environment.lane()
            await asking.client.send(NEXT)
            assert (await streaming.response.outcome()).ending is Ending.CANCELLED
            assert await silent.lane.post("response", silent.id, b"late", silent.attempt) == 410
            assert not silent.response.outcomes
            await silent.lane.client.send(NEXT)
            assert (await silent.response.outcome()).ending is Ending.CANCELLED
            await staying.stream()
            assert environment.signals == []

    run(test())


def test_another_s_answer_to_nobody_is_not_the_first_one_s(run: Run) -> None:
    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            _, (first, other) = await started(bench, 2)
            first.invocation.cancel()
            assert await other.lane.post("response", b"none-such", b"") == 400
            (ours,) = bench.service._environments.values()
            assert ours.seats[0].state is State.RUNNING
            assert await first.lane.post("response", first.id, b"late", first.attempt) == 410

    run(test())


def test_another_s_that_only_asks_for_more(run: Run) -> None:
    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            _, (silent, *_) = await started(bench, 3)
            silent.invocation.cancel()
            await silent.lane.client.send(NEXT)
            assert (await silent.response.outcome()).ending is Ending.CANCELLED

    run(test())


def test_another_s_that_hangs_up_and_asks_anew(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Environment, "SETTLE", 0.2)

    async def test() -> None:
        async with Bench(FOREIGN) as bench:
            environment, (one, two) = await started(bench, 2)
            assert await two.lane.post("response", two.id, b"1") == 202
            await two.lane.client.send(NEXT)
            await bench.until(lambda: two.response.outcomes)
            (ours,) = bench.service._environments.values()
            await bench.until(lambda: ours.seats[1]._waiting)
            two.lane.client.close()
            await bench.until(lambda: not ours.seats[1]._waiting)
            await another(bench, environment)
            # And one that does not: it gets no more calls.
            lane = await environment.lane()
            await lane.client.send(NEXT)
            await bench.until(lambda: len(ours.seats) == 3 and ours.seats[2]._waiting)
            lane.client.close()
            await bench.until(lambda: not ours.seats[2]._waiting)
            _, response = bench.call()
            assert (await response.outcome()).ending is Ending.CRASHED
            bench.call()
            assert await bench.environment(2) is not environment
            assert not one.response.outcomes

    run(test())
