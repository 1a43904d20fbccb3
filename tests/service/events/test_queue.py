import asyncio
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.protocol.call import Call
from penstock.service.events.queue import Event, Queue
from penstock.service.store import Store, StoreError

Run = Callable[[Coroutine[Any, Any, None]], None]

CALL = Call("app", b'{"a": 1}', "Root=1", '{"custom":{}}', "live", "tenant", "id-1", background=True)


@asynccontextmanager
async def opened(folder: Path):
    store = Store.open(folder, durable=False)
    try:
        yield Queue(store)
    finally:
        await store.close()


class Told:
    """Who is told of a write, and can wait for it."""

    def __init__(self) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __call__(self, failure: StoreError | None) -> None:
        if failure is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(failure)


async def add(queue: Queue, call: Call = CALL, now: float = 100.0) -> int:
    number = queue.add(call, now, told := Told())
    await told.future
    return number


def get(queue: Queue, number: int) -> Event:
    event = queue.get(number)
    assert event is not None
    return event


def test_an_event_is_kept_as_it_is(run: Run, tmp_path):
    async def test():
        async with opened(tmp_path) as queue:
            number = await add(queue)
            assert queue.get(number) == Event(number, CALL, 0, 100.0, 0, 0, "")
            assert queue.functions() == ["app"]
            assert queue.count() == 1
            assert queue.get(number + 1) is None
            binary = Call("app", bytes(range(256)) * 4096, request_id="id-2", background=True)
            assert get(queue, await add(queue, binary)).call == binary

    run(test())


def test_what_was_tried_is_tried_later(run: Run, tmp_path):
    async def test():
        async with opened(tmp_path) as queue:
            number = await add(queue)
            queue.postpone(get(queue, number), 160.0, 1, 2, "why", told := Told())
            await told.future
            assert get(queue, number) == Event(number, CALL, 0, 100.0, 1, 2, "why")
            assert queue.due("app", 159.0, 10, ()) == ([], False)
            assert queue.due("app", 160.0, 10, ()) == ([number], False)
            assert queue.next_due("app", 100.0) == 160.0
            assert queue.next_due("app", 160.0) is None
            assert queue.next_due("other", 0.0) is None

    run(test())


def test_what_is_done_with_is_forgotten(run: Run, tmp_path):
    async def test():
        async with opened(tmp_path) as queue:
            number = await add(queue)
            queue.settle(get(queue, number), told := Told())
            await told.future
            assert queue.get(number) is None
            assert queue.count() == 0
            assert queue.functions() == []

    run(test())


def test_an_event_is_replaced_by_what_it_led_to(run: Run, tmp_path):
    async def test():
        async with opened(tmp_path) as queue:
            first = await add(queue)
            next = Call("next", b"{}", request_id="id-2", background=True)
            second = queue.replace(get(queue, first), next, 200.0, told := Told())
            await told.future
            assert queue.get(first) is None
            assert get(queue, second) == Event(second, next, 1, 200.0, 0, 0, "")
            assert queue.functions() == ["next"]

    run(test())


def test_due_events_come_in_order_and_without_those_that_are_held(run: Run, tmp_path):
    async def test():
        async with opened(tmp_path) as queue:
            late = [await add(queue, now=200.0) for _ in range(3)]
            early = [await add(queue, now=100.0) for _ in range(3)]
            await add(queue, Call("other", b"{}"), now=50.0)
            assert queue.due("app", 100.0, 10, ()) == (early, False)
            assert queue.due("app", 200.0, 10, ()) == (early + late, False)
            assert queue.due("app", 200.0, 6, ()) == (early + late, True)
            assert queue.due("app", 200.0, 4, {early[0], late[0]}) == ([*early[1:], *late[1:]], True)
            assert queue.due("app", 200.0, 2, set(early)) == (late[:2], True)
            assert sorted(queue.functions()) == ["app", "other"]

    run(test())


@pytest.mark.parametrize("count", [1, 2, 5, 341, 600])
def test_many_at_once(run: Run, tmp_path, count):
    async def test():
        async with opened(tmp_path) as queue:
            events = []
            for number in range(count):
                call = Call("app", b"%d" % number, background=True)
                events.append((queue.add(call, 100.0, told := Told()), call))
            await told.future
            for number, call in events:
                assert get(queue, number).call == call
            kept = [get(queue, number) for number, _ in events]
            for event in kept:
                queue.settle(event, told := Told())
            await told.future
            assert queue.count() == 0

    run(test())


def test_numbers_go_on_after_a_restart(run: Run, tmp_path):
    async def test():
        async with opened(tmp_path) as queue:
            first = await add(queue)
            last = await add(queue)
            again = Queue(queue._store)
            assert await add(again) == last + 1 == first + 2

    run(test())
