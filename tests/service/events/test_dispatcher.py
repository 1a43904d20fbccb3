"""The dispatcher on a real store, with functions that the test plays and a time that it moves."""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fake_loop import FakeLoop
from penstock.protocol import limits
from penstock.protocol.call import Call, Ending, FunctionNotFound, Head, Outcome
from penstock.service.events.dispatcher import DEEPEST, Dispatcher
from penstock.service.events.queue import Queue
from penstock.service.events.schedule import EventSettings
from penstock.service.store import Store, StoreError

Run = Callable[[Coroutine[Any, Any, None]], None]

DONE = Outcome(Ending.DONE)
FAILED = Outcome(Ending.FUNCTION_ERROR, "Runtime.Unknown", b'{"errorMessage": "no"}', "ValueError: no")
THROTTLED = Outcome(Ending.THROTTLED, "ConcurrentInvocationLimitExceeded")
SANDBOX = Outcome(Ending.CRASHED, "Sandbox.Failure", b"{}", "no descriptors left")
STOPPED = Outcome(Ending.STOPPED, "Sandbox.Failure", b"", "the service was stopped")


class Running:
    """An invocation that the test ends."""

    executed_version = "7"

    def __init__(self, call: Call, sink: Any) -> None:
        self.call = call
        self.request_id = call.request_id
        self.sink = sink
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def end(self, outcome: Outcome = DONE, *body: bytes) -> None:
        self.sink.head(Head("application/json", False))
        for piece in body:
            self.sink.data([memoryview(piece)])
        self.sink.end(outcome)


class Invoker:
    """Keeps what is called; `answer` ends a call before `invoke` returns."""

    def __init__(self) -> None:
        self.running: list[Running] = []
        self.called: list[Call] = []
        self.answer: Callable[[Call], Outcome | None] = lambda call: None

    def invoke(self, call: Call, sink: Any) -> Running:
        if call.function.startswith("deleted"):
            raise FunctionNotFound(f"Function not found: {call.function}")
        invocation = Running(call, sink)
        self.called.append(call)
        if (outcome := self.answer(call)) is not None:
            sink.end(outcome)
        else:
            self.running.append(invocation)
        return invocation

    def take(self) -> Running:
        """The only one that runs."""
        (running,) = self.running
        self.running.clear()
        return running


class Functions:
    region, account = "us-east-1", "000000000000"

    def __init__(self) -> None:
        self.limits: dict[str, int] = {}

    def resolve(self, name: str, qualifier: str = "") -> None:
        if name.startswith("deleted"):
            raise FunctionNotFound(f"Function not found: {name}")

    def arn(self, name: str, qualifier: str = "") -> str:
        return f"arn:aws:lambda:us-east-1:000000000000:function:{name}" + (
            f":{qualifier}" if qualifier else ""
        )

    def reserved(self, name: str) -> int | None:
        return self.limits.get(name)


@dataclass
class Config:
    event_concurrency: int = 10
    event_retry_delay: float = 60.0


class Loop:
    """The running loop, but its timers wait for `time`."""

    def __init__(self, time: FakeLoop) -> None:
        self._loop = asyncio.get_running_loop()
        self.call_later = time.call_later

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


@dataclass
class Bench:
    store: Store
    config: Config = field(default_factory=Config)
    settings: dict[str, EventSettings] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    invoker: Invoker = field(default_factory=Invoker)
    functions: Functions = field(default_factory=Functions)
    time: FakeLoop = field(default_factory=lambda: FakeLoop(1_000_000.0))
    dispatcher: Any = None

    async def start(self) -> None:
        """A new dispatcher, as after a start of the service."""
        self.dispatcher = Dispatcher(
            self.store,
            self.invoker,  # type: ignore[arg-type]
            self.functions,  # type: ignore[arg-type]
            lambda function, qualifier: self.settings.get(function, EventSettings()),
            self.config,
            self.notes.append,
            lambda: self.time.now,
        )
        await self.dispatcher.start()
        self.dispatcher._loop = Loop(self.time)

    async def enqueue(self, function: str = "app", payload: bytes = b'{"n": 1}', **more: Any) -> None:
        await self.dispatcher.enqueue(Call(function, payload, **more))

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():  # noqa: ASYNC110  # many things, and threads, bring it about
            await asyncio.sleep(0)

    async def quiet(self) -> None:
        """Until everything that was given has been written, and what follows from it has begun."""
        while True:
            await self.store.write(lambda connection: None)
            for _ in range(5):
                await asyncio.sleep(0)
            if self.store._awaited == 0 and not self.dispatcher._writing:
                return

    async def running(self) -> Running:
        """The event that runs, as soon as it does."""
        await self.until(lambda: self.invoker.running)
        return self.invoker.take()

    async def pass_time(self, seconds: float) -> None:
        await self.quiet()
        self.time.advance(seconds)
        await self.quiet()

    def rows(self) -> list[tuple[Any, ...]]:
        return self.store.read("SELECT due, attempts, refusals, error FROM events ORDER BY number")


@asynccontextmanager
async def bench(folder: Path, **settings: Any):
    store = Store.open(folder / "data", durable=False)
    made = Bench(store, **settings)
    await made.start()
    try:
        yield made
    finally:
        await made.dispatcher.stop()
        await store.close()


def test_an_event_runs_once_it_is_kept(run: Run, tmp_path):
    async def test():
        async with bench(tmp_path) as b:
            call = Call("app", b"[1]", "Root=1-2", '{"custom":{}}', "live", "tenant", "id-1")
            accepted = b.dispatcher.enqueue(call)
            assert not accepted.done()
            await accepted
            assert b.dispatcher.waiting() == 1
            running = await b.running()
            assert running.call == replace(call, background=True)
            assert repr(b.dispatcher) == "<Dispatcher 1 functions, 0 ready, 1 running>"
            assert b.dispatcher.running == 1
            running.end(DONE, b"nobody wants it")
            await b.quiet()
            assert b.dispatcher.waiting() == 0
            assert repr(b.dispatcher) == "<Dispatcher 0 functions, 0 ready, 0 running>"
            assert b.notes == []

    run(test())


def test_one_without_a_request_id_gets_one(run: Run, tmp_path):
    async def test():
        async with bench(tmp_path) as b:
            await b.enqueue()
            assert len((await b.running()).request_id) == 36

    run(test())


def test_a_function_that_fails_is_tried_twice_more(run: Run, tmp_path):
    async def test():
        async with bench(tmp_path) as b:
            await b.enqueue(request_id="id-1")
            (await b.running()).end(FAILED)
            await b.quiet()
            error = "function error: ValueError: no"
            assert b.rows() == [(1_000_060.0, 1, 0, error)]
            await b.pass_time(59.5)
            assert not b.invoker.running
            await b.pass_time(0.5)
            (await b.running()).end(Outcome(Ending.TIMED_OUT, "Sandbox.Timedout"))
            await b.quiet()
            assert b.rows() == [(1_000_180.0, 2, 0, "timed out: Sandbox.Timedout")]
            await b.pass_time(120)
            (await b.running()).end(FAILED)
            await b.quiet()
            assert b.rows() == []
            assert {call.request_id for call in b.invoker.called} == {"id-1"}
            assert b.notes == [
                f"event id-1 of app has failed ({error}); it is tried again in 60 s",
                "event id-1 of app has failed (timed out: Sandbox.Timedout); it is tried again in 120 s",
                f"event id-1 of app is lost after 3 attempts: RetriesExhausted ({error})",
            ]
            assert b.time.timers == 0

    run(test())


def test_retries_are_what_is_set(run: Run, tmp_path):
    async def test():
        settings = {"never": EventSettings(0), "brief": EventSettings(None, 60)}
        async with bench(tmp_path, settings=settings) as b:
            for name in ("never", "brief"):
                await b.enqueue(name, request_id=name)
                running = await b.running()
                b.time.advance(1)
                running.end(FAILED)
            await b.quiet()
            assert b.rows() == []
            assert [note.partition(" (")[0] for note in b.notes] == [
                "event never of never is lost after 1 attempt: RetriesExhausted",
                "event brief of brief is lost after 1 attempt: EventAgeExceeded",
            ]

    run(test())


def test_a_throttled_function_waits_longer_each_time(run: Run, tmp_path):
    async def test():
        async with bench(tmp_path) as b:
            b.invoker.answer = lambda call: THROTTLED
            await b.enqueue(request_id="a")
            await b.enqueue(request_id="b")
            for seconds in (1, 2, 4):
                await b.quiet()
                assert b.notes[-1] == (
                    "the events of app are throttled (ConcurrentInvocationLimitExceeded);"
                    f" next try in {seconds} s"
                )
                await b.pass_time(seconds - 0.5)
                await b.pass_time(0.5)
            assert [call.request_id for call in b.invoker.called] == ["a"] * 4
            assert b.rows() == [(1_000_000.0, 0, 0, ""), (1_000_000.0, 0, 0, "")]
            b.invoker.answer = lambda call: None
            await b.pass_time(8)
            await b.until(lambda: len(b.invoker.running) == 2)
            b.invoker.running.pop().end()
            b.invoker.answer = lambda call: THROTTLED
            b.invoker.running.pop().end()
            await b.enqueue(request_id="c")
            await b.quiet()
            assert b.notes[-1].endswith("next try in 1 s")

    run(test())


def test_throttled_beside_its_own_it_runs_fewer_at_once(run: Run, tmp_path):
    async def test():
        async with bench(tmp_path) as b:
            b.invoker.answer = lambda call: THROTTLED if len(b.invoker.running) >= 2 else None
            for _ in range(40):
                await b.enqueue()
            await b.quiet()
            assert len(b.invoker.running) == 2
            assert len(b.invoker.called) == 3
            for _ in range(5):
                b.invoker.running.pop(0).end()
                await b.quiet()
                assert len(b.invoker.running) == 2
            assert len(b.invoker.called) == 8
            for _ in range(10):
                b.invoker.running.pop(0).end()
                await b.quiet()
            assert len(b.invoker.called) in (19, 20)  # now and then it tries one more
            b.invoker.answer = lambda call: None
            while b.rows():
                b.invoker.running.pop(0).end()
                await b.quiet()
            assert b.notes == []

    run(test())


def test_what_the_platform_could_not_run_does_not_count(run: Run, tmp_path):
    async def test():
        async with bench(tmp_path, settings={"app": EventSettings(0)}) as b:
            await b.enqueue(request_id="bad")
            (await b.running()).end(SANDBOX)
            await b.quiet()
            assert b.rows() == [(1_000_001.0, 0, 1, "crashed: no descriptors left")]
            await b.enqueue(request_id="good")  # is not held up
            (await b.running()).end()
            await b.pass_time(1)
            (await b.running()).end(SANDBOX)
            await b.pass_time(2)
            (await b.running()).end()
            await b.quiet()
            assert b.rows() == []

    run(test())


def test_an_event_that_is_too_old_is_not_run(run: Run, tmp_path):
    async def test():
        async with bench(tmp_path, settings={"app": EventSettings(None, 60)}) as b:
            b.invoker.answer = lambda call: THROTTLED
            await b.enqueue(request_id="old")
            for _ in range(6):
                await b.pass_time(12)
            assert b.rows() == []
            assert b.notes[-1] == "event old of app is lost after 0 attempts: EventAgeExceeded"
            b.invoker.answer = lambda call: None
            await b.enqueue(request_id="older")
            (await b.running()).end(SANDBOX)
            await b.quiet()
            b.time.now += 58  # its last back-off ends with its age
            await b.pass_time(1)
            running = await b.running()
            b.time.now += 60
            running.end(SANDBOX)
            await b.quiet()
            assert b.rows() == []
            assert b.notes[-1] == (
                "event older of app is lost after 0 attempts: EventAgeExceeded (crashed: no descriptors left)"
            )

    run(test())


def test_a_function_that_may_not_run_gets_no_retries(run: Run, tmp_path):
    async def test():
        path = tmp_path / "lost.jsonl"
        async with bench(tmp_path, settings={"app": EventSettings(on_failure=f"file://{path}")}) as b:
            b.functions.limits["app"] = 0
            await b.enqueue(request_id="id-1")
            await b.until(lambda: not b.rows())
            record = json.loads(path.read_text())
            assert record["requestContext"]["condition"] == "ZeroReservedConcurrency"
            assert record["requestContext"]["approximateInvokeCount"] == 0
            assert "responseContext" not in record
            assert b.invoker.called == []
            assert b.notes == []

    run(test())


def test_the_events_of_a_deleted_function_are_discarded(run: Run, tmp_path):
    async def test():
        async with bench(tmp_path) as b:
            for number in range(30):
                await b.enqueue("deleted", request_id=str(number))
            await b.until(lambda: not b.rows())
            assert len(b.notes) == 30
            assert b.notes[0] == "event 0 is discarded: Function not found: deleted"

    run(test())


# Starting and stopping.


def test_what_was_under_way_runs_again(run: Run, tmp_path):
    async def test():
        async with bench(tmp_path) as b:
            await b.enqueue(request_id="failed")
            (await b.running()).end(FAILED)
            await b.quiet()
            await b.enqueue(request_id="running")
            lost = await b.running()
            b.dispatcher.pause()  # as good as killed
            await b.start()
            again = await b.running()
            assert again.request_id == lost.request_id == "running"
            again.end()
            await b.pass_time(60)
            again = await b.running()
            assert again.request_id == "failed"
            again.end(FAILED)
            await b.quiet()
            assert b.rows() == [(1_000_180.0, 2, 0, "function error: ValueError: no")]

    run(test())


def test_a_paused_dispatcher_accepts_and_starts_nothing(run: Run, tmp_path):
    async def test():
        async with bench(tmp_path) as b:
            await b.enqueue(request_id="ends")
            await b.enqueue(request_id="is stopped")
            await b.until(lambda: len(b.invoker.running) == 2)
            b.dispatcher.pause()
            await b.enqueue(request_id="waits")
            ends, stopped = b.invoker.running
            b.invoker.running.clear()
            ends.end()
            stopped.end(STOPPED)
            await b.dispatcher.stop()
            assert b.dispatcher.running == 0
            assert repr(b.dispatcher).startswith("<Dispatcher paused, ")
            assert b.rows() == [(1_000_000.0, 0, 0, "")] * 2
            await b.start()
            await b.until(lambda: len(b.invoker.running) == 2)
            assert [each.request_id for each in b.invoker.running] == ["is stopped", "waits"]

    run(test())


def test_an_attempt_that_ends_after_everything(run: Run, tmp_path):
    async def test():
        path = tmp_path / "out.jsonl"
        async with bench(tmp_path, settings={"to-file": EventSettings(on_success=f"file://{path}")}) as b:
            for name in ("app", "to-file", "fails"):
                await b.enqueue(name)
            await b.until(lambda: len(b.invoker.running) == 3)
            await b.dispatcher.stop()
            await b.store.close()
            for running in b.invoker.running:
                running.end(FAILED if running.call.function == "fails" else DONE)
            assert b.dispatcher.running == 0
            with pytest.raises(StoreError, match="is closed"):
                await b.enqueue()
            b.store = Store.open(tmp_path / "data", durable=False)
            assert len(b.rows()) == 3
            await b.store.close()

    run(test())


def test_a_caller_that_leaves_takes_nothing_back(run: Run, tmp_path):
    async def test():
        async with bench(tmp_path) as b:
            b.dispatcher.enqueue(Call("app", b"{}", request_id="left")).cancel()
            assert (await b.running()).request_id == "left"

    run(test())


# Many.


def test_a_long_queue_is_run_in_order_and_bounded(run: Run, tmp_path):
    async def test():
        async with bench(tmp_path) as b:
            accepted = [b.dispatcher.enqueue(Call("app", b"{}", request_id=str(n))) for n in range(1000)]
            await asyncio.gather(*accepted)
            most = ready = 0
            while b.rows():
                await b.until(lambda: b.invoker.running)
                most = max(most, len(b.invoker.running))
                ready = max(ready, sum(len(line.ready) for line in b.dispatcher._lines.values()))
                for running in list(b.invoker.running):
                    running.end()
                b.invoker.running.clear()
                await b.quiet()
            assert [call.request_id for call in b.invoker.called] == [str(n) for n in range(1000)]
            assert most == 10
            assert ready <= 256

    run(test())


def test_a_function_with_many_events_delays_no_other(run: Run, tmp_path):
    async def test():
        async with bench(tmp_path) as b:
            await asyncio.gather(*[b.dispatcher.enqueue(Call("busy", b"{}")) for _ in range(1000)])
            await b.enqueue("other")
            await b.quiet()
            assert [each.call.function for each in b.invoker.running] == ["busy"] * 10 + ["other"]

    run(test())


def test_of_all_functions_some_run_and_of_each_one(run: Run, tmp_path):
    async def test():
        async with bench(tmp_path) as b:
            names = [f"busy-{number}" for number in range(30)]
            await asyncio.gather(*[b.dispatcher.enqueue(Call(name, b"{}")) for name in names * 12])
            await b.until(lambda: len(b.invoker.running) == 256)
            await b.quiet()
            assert len(b.invoker.running) == 256
            for number in range(20):
                await b.enqueue(f"late-{number}")
            await b.until(lambda: len(b.invoker.running) == 276)
            while b.rows():
                for running in list(b.invoker.running):
                    running.end()
                b.invoker.running.clear()
                await b.quiet()
                assert len(b.invoker.running) <= 276
            assert len(b.invoker.called) == 380

    run(test())


def test_nothing_runs_twice_however_commits_and_reads_fall(run: Run, tmp_path):
    async def test():
        async with bench(tmp_path) as b:
            b.invoker.answer = lambda call: DONE
            sent = 0
            while sent < 3000:
                for _ in range(1 + sent % 97):
                    b.dispatcher.enqueue(Call(f"app-{sent % 3}", b"{}", request_id=str(sent)))
                    sent += 1
                await asyncio.sleep(0)
            await b.until(lambda: len(b.invoker.called) >= sent)
            await b.until(lambda: not b.rows())
            assert sorted(int(call.request_id) for call in b.invoker.called) == list(range(sent))

    run(test())


# The store's troubles.


def test_a_full_disk_neither_forgets_nor_repeats(run: Run, tmp_path):
    async def test():
        async with bench(tmp_path) as b:
            await b.enqueue(request_id="id-1")
            running = await b.running()
            with refused(b.store):
                running.end()
                await b.until(lambda: b.notes)
                b.time.advance(1)
                await b.until(lambda: len(b.notes) == 2)
                with pytest.raises(StoreError, match="is full"):
                    await b.enqueue()
            assert b.notes[1] == (
                "the disk is full (database or disk is full); events that were run cannot be forgotten:"
                " next try in 2 s"
            )
            assert len(b.rows()) == 1
            await b.pass_time(2)
            assert b.rows() == []
            assert len(b.invoker.called) == 1

    run(test())


class refused:
    """Meanwhile, every commit fails as on a full disk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._transact = store._transact

    def __enter__(self) -> None:
        def full(jobs: Any) -> None:
            for job in jobs:
                job.error = StoreError("the disk is full (database or disk is full)")

        self._store._transact = full  # type: ignore[method-assign]

    def __exit__(self, *exc: object) -> None:
        self._store._transact = self._transact  # type: ignore[method-assign]


@pytest.mark.parametrize("query", ["due", "get", "next_due"])
def test_events_that_cannot_be_read_are_read_later(run: Run, tmp_path, monkeypatch, query):
    async def test():
        async with bench(tmp_path) as b:
            await b.enqueue("app", request_id="id-1")
            (await b.running()).end(FAILED)  # so that there is a later one
            await b.quiet()
            b.dispatcher.pause()
            await b.enqueue("app", request_id="id-2")

            def fails(*arguments: Any) -> None:
                raise StoreError("the disk is gone")

            with monkeypatch.context() as patch:
                patch.setattr(Queue, query, fails)
                await b.start()
                await b.quiet()
            assert "the disk is gone; next try in 1 s" in b.notes[-1]
            await b.pass_time(1)
            await b.until(lambda: len(b.invoker.called) == 2)
            b.invoker.running.pop().end()
            await b.pass_time(60)
            assert (await b.running()).request_id == "id-1"

    run(test())


# Destinations.


def test_a_record_is_the_event_of_its_destination(run: Run, tmp_path):
    async def test():
        arn = "arn:aws:lambda:us-east-1:000000000000:function:next:live"
        async with bench(tmp_path, settings={"app": EventSettings(on_success=arn)}) as b:
            await b.enqueue(request_id="id-1", trace_id="Root=1-2")
            (await b.running()).end(DONE, b'{"ok":', b" true}")
            running = await b.running()
            assert (running.call.function, running.call.qualifier) == ("next", "live")
            assert running.call.trace_id == "Root=1-2"
            assert running.request_id != "id-1"
            assert json.loads(running.call.payload) == {
                "version": "1.0",
                "timestamp": "1970-01-12T13:46:40.000Z",
                "requestContext": {
                    "requestId": "id-1",
                    "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:app:$LATEST",
                    "condition": "Success",
                    "approximateInvokeCount": 1,
                },
                "requestPayload": {"n": 1},
                "responseContext": {"statusCode": 200, "executedVersion": "7"},
                "responsePayload": {"ok": True},
            }
            assert b.store.read("SELECT function, depth FROM events") == [("next", 1)]
            running.end()
            assert b.notes == []

    run(test())


def test_a_failures_record(run: Run, tmp_path):
    async def test():
        path = tmp_path / "failed.jsonl"
        async with bench(tmp_path, settings={"app": EventSettings(1, on_failure=f"file://{path}")}) as b:
            await b.enqueue(request_id="id-1", qualifier="live")
            (await b.running()).end(FAILED)
            await b.pass_time(60)
            assert not path.exists()
            (await b.running()).end(FAILED)
            await b.until(lambda: not b.rows())
            record = json.loads(path.read_text())
            assert record["requestContext"] == {
                "requestId": "id-1",
                "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:app:live",
                "condition": "RetriesExhausted",
                "approximateInvokeCount": 2,
            }
            assert record["responseContext"] == {
                "statusCode": 200,
                "executedVersion": "7",
                "functionError": "Unhandled",
            }
            assert record["responsePayload"] == {"errorMessage": "no"}
            assert len(b.notes) == 1  # of the first attempt; the second's record is not lost

    run(test())


def test_events_do_not_go_round_for_ever(run: Run, tmp_path):
    async def test():
        names = ("ping", "pong")
        arns = {name: f"arn:aws:lambda:us-east-1:000000000000:function:{name}" for name in names}
        settings = {
            "ping": EventSettings(on_success=arns["pong"]),
            "pong": EventSettings(on_success=arns["ping"]),
        }
        async with bench(tmp_path, settings=settings) as b:
            b.invoker.answer = lambda call: DONE
            await b.enqueue("ping", request_id="first")
            await b.until(lambda: not b.rows())
            assert len(b.invoker.called) == DEEPEST + 1
            (note,) = b.notes
            assert (
                "of ping has come through 16 destinations, as a loop would: its record for pong is lost"
                in note
            )
            assert '"version":"1.0"' in note

    run(test())


def test_a_destination_that_is_gone(run: Run, tmp_path):
    async def test():
        arn = "arn:aws:lambda:us-east-1:000000000000:function:deleted"
        async with bench(tmp_path, settings={"app": EventSettings(on_success=arn)}) as b:
            await b.enqueue(request_id="id-1")
            (await b.running()).end()
            for seconds in (1, 2, 4, 8):
                assert b.notes[-1] == (
                    "the record of event id-1 cannot be delivered: Function not found: deleted;"
                    f" next try in {seconds} s"
                )
                assert len(b.rows()) == 1
                await b.pass_time(seconds)
            assert b.rows() == []
            assert len(b.notes) == 5
            assert b.notes[-1].startswith(
                "the record of event id-1 is lost: Function not found: deleted; it was {"
            )
            assert len(b.invoker.called) == 1

    run(test())


def test_a_file_that_cannot_be_written(run: Run, tmp_path):
    async def test():
        path = tmp_path / "folder" / "out.jsonl"
        async with bench(tmp_path, settings={"app": EventSettings(on_success=f"file://{path}")}) as b:
            await b.enqueue(request_id="id-1")
            (await b.running()).end()
            await b.until(lambda: b.notes)
            assert "No such file or directory; next try in 1 s" in b.notes[0]
            path.parent.mkdir()
            await b.pass_time(1)
            await b.until(lambda: not b.rows())
            assert json.loads(path.read_text())["responsePayload"] is None

            path.unlink()
            path.parent.rmdir()
            await b.enqueue(request_id="id-2")
            (await b.running()).end()
            await b.until(lambda: len(b.notes) == 2)
            await b.dispatcher.stop()
            b.time.advance(1)
            assert len(b.rows()) == 1  # for the next start

    run(test())


def test_a_stream_is_collected_for_a_destination_up_to_the_limit(run: Run, tmp_path):
    async def test():
        path = tmp_path / "out.jsonl"
        settings = {"app": EventSettings(0, on_success=f"file://{path}", on_failure=f"file://{path}")}
        async with bench(tmp_path, settings=settings) as b:
            await b.enqueue(request_id="id-1")
            running = await b.running()
            piece = b"x" * (limits.RESPONSE_PAYLOAD // 2)
            running.sink.data([piece])
            running.sink.data([piece])
            assert not running.cancelled
            running.sink.data([b"y"])
            assert running.cancelled
            running.sink.data([piece])
            running.end(Outcome(Ending.CANCELLED))
            await b.until(lambda: not b.rows())
            record = json.loads(path.read_text())
            assert record["requestContext"]["condition"] == "RetriesExhausted"
            assert record["responsePayload"]["errorType"] == "Function.ResponseSizeTooLarge"

            await b.enqueue("plain")  # without a destination there is no limit, and nothing is kept
            running = await b.running()
            for _ in range(3):
                running.sink.data([piece])
            assert running.sink._body == b""
            running.end()

    run(test())


def test_an_event_and_what_it_led_to_change_places_at_once(run: Run, tmp_path):
    async def test():
        arn = "arn:aws:lambda:us-east-1:000000000000:function:next"
        async with bench(tmp_path, settings={"app": EventSettings(on_success=arn)}) as b:
            await b.enqueue()
            running = await b.running()
            counts = []
            reader = sqlite3.connect(b.store.path)
            running.end()
            while not counts or counts[-1] != [("next",)]:
                counts.append(reader.execute("SELECT function FROM events").fetchall())
                await asyncio.sleep(0)
            reader.close()
            assert all(names in ([("app",)], [("next",)]) for names in counts)

    run(test())
