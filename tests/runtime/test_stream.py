"""The flush rule by table, with times as arguments; and the writers on real sockets."""

import _thread
import asyncio
import contextlib
import gc
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from http_kit import LOOPS, run_on
from penstock.protocol.chunked import LAST_CHUNK, Deframer
from penstock.runtime import stream
from penstock.runtime.stream import (
    AT_ONCE,
    FLUSH_SIZE,
    WINDOW,
    AsyncStreamWriter,
    Disconnected,
    FlushTimer,
    Gather,
    StreamWriter,
    send_all,
)

HEAD = b"HEAD\r\n\r\n"


def joined(pieces: Sequence[Any]) -> bytes:
    return b"".join(pieces)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


# The rule.


def test_the_first_nine_of_a_window_leave_at_once_and_the_tenth_is_held() -> None:
    gather = Gather()
    for _ in range(AT_ONCE):
        assert joined(gather.add(b"x", 5.0)) == chunk(b"x")
    assert gather.add(b"y", 5.0) == []
    assert gather.add(b"z", 5.0 + WINDOW * 0.9) == []
    assert joined(gather.take()) == chunk(b"yz")
    assert gather.take() == []


@pytest.mark.parametrize("start", [0.0, 1e-9, 5.0, 1e6])
def test_single_chunks_never_wait(start: float) -> None:
    gather = Gather()
    for step in range(100):
        assert gather.add(b"x", start + step * WINDOW * 1.5)


@pytest.mark.parametrize(
    # times in windows: does each chunk leave with its own call?
    ("times", "leave"),
    [
        ([0] * 9, "YYYYYYYYY"),
        ([0] * 11, "YYYYYYYYY--"),
        ([0] * 10 + [1], "YYYYYYYYY-Y"),  # what was held leaves with it
        ([0] * 9 + [1], "YYYYYYYYYY"),
        ([0] * 10 + [1] * 10, "YYYYYYYYY-Y---------"),  # the burst goes on
        ([0] * 10 + [1] * 2 + [2] * 2, "YYYYYYYYY-Y-Y-"),
        ([0] * 10 + [1] + [2] * 10, "YYYYYYYYY-YYYYYYYYYY-"),  # it was over
        ([0] * 10 + [2] * 12, "YYYYYYYYY-YYYYYYYYYY--"),  # so it was: what is held could not leave
        ([0] * 10 + [9, 9, 19, 19, 29, 29], "YYYYYYYYY-YYYYYY"),  # as when code blocks the event loop
        ([0, 0.5, 0.9, 1.1, 1.5, 2.2], "YYYYYY"),
        ([0] * 10 + [0.5, 0.99, 1.0], "YYYYYYYYY---Y"),
    ],
)
def test_windows(times: list[float], leave: str) -> None:
    gather = Gather()
    sent = b""
    for number, when in enumerate(times):
        pieces = gather.add(b"%c" % (65 + number), 7.0 + when * WINDOW * 1.000001)
        assert ("Y" if pieces else "-") == leave[number]
        sent += joined(pieces)
    sent += joined(gather.take())
    deframer = Deframer()
    assert b"".join(deframer.feed(sent + LAST_CHUNK)) == bytes(range(65, 65 + len(times)))


def test_what_is_held_leaves_when_64_kib_are_full() -> None:
    gather = Gather()
    for _ in range(AT_ONCE):
        gather.add(b"x", 0.0)
    piece = b"y" * 1024
    for _ in range(FLUSH_SIZE // 1024 - 1):
        assert gather.add(piece, 0.0) == []
    assert joined(gather.add(piece, 0.0)) == chunk(b"y" * FLUSH_SIZE)
    assert gather.add(b"z", 0.0) == []


def test_a_large_chunk_is_not_copied_and_takes_what_is_held_with_it() -> None:
    gather = Gather()
    for _ in range(AT_ONCE):
        gather.add(b"x", 0.0)
    assert gather.add(b"held", 0.0) == []
    large = b"y" * FLUSH_SIZE
    pieces = gather.add(large, 0.0)
    assert any(piece is large for piece in pieces)
    assert joined(pieces) == chunk(b"held") + chunk(large)


class Noting(Gather):
    """Counts how often there is something new for a timer to see to."""

    begun = 0

    def begins_to_hold(self) -> None:
        self.begun += 1


def in_a_burst() -> Noting:
    """One that holds `0` since 5.0."""
    gather = Noting()
    for _ in range(AT_ONCE):
        assert not gather.hold(b"x", 5.0)
        gather.add(b"x", 5.0)
    assert not gather.hold(b"0", 5.0)
    assert gather.add(b"0", 5.0) == []
    return gather


def test_in_a_burst_chunks_are_held_without_more_ado() -> None:
    gather = in_a_burst()
    for number in range(1, 10):
        assert gather.hold(b"%d" % number, 5.0 + WINDOW * 0.9)
    assert gather.begun == 1
    assert joined(gather.take()) == chunk(b"0123456789")
    assert not gather.hold(b"x", 5.0)


@pytest.mark.parametrize(
    ("data", "now"),
    [(b"", 5.0), (b"x", 5.0 + WINDOW * 1.000001), (b"x" * FLUSH_SIZE, 5.0), (b"x" * (FLUSH_SIZE - 1), 5.0)],
    ids=["empty", "the window is over", "large", "what is held would be"],
)
def test_what_is_not_held_is_for_add_to_decide(data: bytes, now: float) -> None:
    gather = in_a_burst()
    assert not gather.hold(data, now)
    assert b"".join(Deframer().feed(joined(gather.add(data, now) + gather.take()))) == b"0" + data


def test_one_that_is_held_while_the_others_are_taken_is_seen_to() -> None:
    class Taken(list[Any]):
        """What is held, taken by another thread just before the next is appended."""

        def append(self, data: Any) -> None:
            taken.append(joined(gather.take()))
            super().append(data)

    gather = in_a_burst()
    taken: list[bytes] = []
    gather.held = Taken(gather.held)
    assert gather.hold(b"1", 5.0)
    assert taken == [chunk(b"0")]
    assert gather.begun == 2
    assert joined(gather.take()) == chunk(b"1")


def test_without_memory_what_is_held_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    gather = in_a_burst()
    with monkeypatch.context() as patch:
        patch.setattr(stream, "chunk_head", Failing(MemoryError()))
        with pytest.raises(MemoryError):
            gather.take()
    assert joined(gather.take()) == chunk(b"0")


# Sending.


class Failing:
    """Raises, whatever it is called with; the first time only if `then` follows."""

    def __init__(self, error: BaseException, then: Callable[..., Any] | None = None) -> None:
        self.error = error
        self.then = then
        self.calls = 0

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        if self.calls > 1 and self.then is not None:
            return self.then(*arguments)
        raise self.error


class Short:
    """A socket that takes `room` bytes in the first call."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sent = b""
        self.calls = 0

    def sendmsg(self, pieces: Sequence[Any], *_: Any) -> int:
        self.calls += 1
        data = b"".join(pieces)[: self.room]
        self.sent += data
        return len(data)

    def sendall(self, data: Any) -> None:
        self.calls += 1
        self.sent += bytes(data)


@pytest.mark.parametrize("room", range(12))
def test_a_partial_send_is_finished(room: int) -> None:
    sock = Short(room)
    send_all(sock, [b"abc", memoryview(b"defg"), b"", b"hij"])  # type: ignore[arg-type]
    assert sock.sent == b"abcdefghij"
    assert sock.calls == (1 if room >= 10 else 2)


@pytest.mark.parametrize("error", [ValueError(), TimeoutError("of a signal handler"), MemoryError()])
def test_nothing_follows_a_frame_that_was_cut_short(error: Exception) -> None:
    sock = Short(5)
    sock.sendall = Failing(error)  # type: ignore[method-assign]
    writer = StreamWriter(sock, [], NoTimer())  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        writer.write(b"something")
    with pytest.raises(Disconnected, match="cut short"):
        writer.end(LAST_CHUNK)
    assert sock.sent == chunk(b"something")[:5]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    with ours, theirs:
        yield ours, theirs


def test_a_closed_connection_is_disconnected(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.close()
    with pytest.raises(Disconnected):
        send_all(ours, [b"x"])


class NoTimer(FlushTimer):
    """Counts, and does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[StreamWriter] = []

    def start(self, writer: StreamWriter) -> None:
        self.started.append(writer)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Time as the writers see it, standing still: `still.now`."""
    clock = SimpleNamespace(now=1.0)
    monkeypatch.setattr(stream, "monotonic", lambda: clock.now)
    return clock


Pair = tuple[socket.socket, socket.socket]


def test_the_head_leaves_with_the_first_chunk(pair: Pair) -> None:
    ours, theirs = pair
    writer = StreamWriter(ours, [HEAD, chunk(b"prelude")], NoTimer())
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(100)
    writer.write(b"one")
    assert theirs.recv(100) == HEAD + chunk(b"prelude") + chunk(b"one")


def test_an_empty_chunk_sends_the_head_and_no_frame(pair: Pair) -> None:
    ours, theirs = pair
    writer = StreamWriter(ours, [HEAD], NoTimer())
    writer.write(b"")
    assert theirs.recv(100) == HEAD
    writer.write(b"")
    writer.write(memoryview(b""))
    writer.write(b"x")
    assert theirs.recv(100) == chunk(b"x")


def test_the_end_sends_all_that_is_left(pair: Pair) -> None:
    ours, theirs = pair
    StreamWriter(ours, [HEAD], NoTimer()).end(LAST_CHUNK)
    assert theirs.recv(100) == HEAD + LAST_CHUNK


def test_the_timer_is_started_once_for_what_is_held(pair: Pair, still: SimpleNamespace) -> None:
    ours, theirs = pair
    timer = NoTimer()
    writer = StreamWriter(ours, [HEAD], timer)
    for number in range(AT_ONCE + 1):  # the first goes with the head
        writer.write(b"%d" % number)
    assert not timer.started
    theirs.recv(1000)
    writer.write(b"a")
    writer.write(b"b")
    assert timer.started == [writer]
    writer.flush_held()
    assert theirs.recv(100) == chunk(b"ab")
    writer.flush_held()  # nothing is held
    writer.write(b"c")
    assert timer.started == [writer, writer]
    writer.end(LAST_CHUNK)
    assert theirs.recv(100) == chunk(b"c") + LAST_CHUNK


def test_a_failed_flush_is_told_by_the_next_write(pair: Pair, still: SimpleNamespace) -> None:
    ours, theirs = pair
    writer = StreamWriter(ours, [HEAD], NoTimer())
    for _ in range(AT_ONCE + 2):
        writer.write(b"x")
    theirs.close()
    writer.flush_held()
    for _ in range(2):
        with pytest.raises(Disconnected):
            writer.write(b"y")
        with pytest.raises(Disconnected):
            writer.end(LAST_CHUNK)
    writer.flush_held()


def test_a_writer_that_failed_holds_nothing_of_the_function(pair: Pair, still: SimpleNamespace) -> None:
    class Held:
        """What a function has at hand when it is stopped."""

    def function(writer: StreamWriter) -> None:
        held = Held()
        seen.append(weakref.ref(held))
        writer.write(b"y")

    ours, theirs = pair
    seen: list[weakref.ref[Held]] = []
    writer = StreamWriter(ours, [HEAD], NoTimer())
    for _ in range(AT_ONCE + 2):
        writer.write(b"x")
    theirs.close()
    writer.flush_held()
    with contextlib.suppress(Disconnected):
        function(writer)
    gc.disable()  # it must go at once, and not when the collector comes by
    try:
        assert seen[0]() is None
    finally:
        gc.enable()


def test_the_timer_sends_what_a_quiet_generator_left(pair: Pair, still: SimpleNamespace) -> None:
    ours, theirs = pair
    timer = FlushTimer()
    writer = StreamWriter(ours, [b""], timer)
    deframer, got = Deframer(), b""
    for turn in range(3):  # it is used again and again, also by the next response
        still.now += 1
        for number in range(AT_ONCE + 2):
            writer.write(b"%x" % number)
        still.now += WINDOW * 1.000001
        while len(got) < 11 * (turn + 1):
            got += b"".join(deframer.feed(theirs.recv(1000)))
    assert got == b"0123456789a" * 3


@pytest.fixture
def bursting(pair: Pair, still: SimpleNamespace) -> StreamWriter:
    """A writer to the pair, whose next chunk is held."""
    ours, theirs = pair
    writer = StreamWriter(ours, [], FlushTimer())
    for _ in range(AT_ONCE):
        writer.write(b"x")
    theirs.recv(1000)
    return writer


def test_the_timer_survives_a_lack_of_memory(
    bursting: StreamWriter, pair: Pair, still: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, theirs = pair
    bursting.write(b"held")
    failing = Failing(MemoryError(), then=stream.chunk_head)
    monkeypatch.setattr(stream, "chunk_head", failing)
    still.now += WINDOW * 1.5
    assert theirs.recv(1000) == chunk(b"held")
    assert failing.calls == 2


def test_without_a_thread_for_the_timer_the_next_burst_has_one(
    bursting: StreamWriter, pair: Pair, still: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, theirs = pair
    failing = Failing(RuntimeError("can't start new thread"), then=_thread.start_new_thread)
    monkeypatch.setattr(_thread, "start_new_thread", failing)
    bursting.write(b"held")
    still.now += WINDOW * 1.5
    bursting.write(b"on")
    assert theirs.recv(1000) == chunk(b"heldon")
    bursting.write(b"held")
    still.now += WINDOW * 1.5
    assert theirs.recv(1000) == chunk(b"held")
    assert failing.calls == 2


def test_nothing_is_lost_between_the_writer_and_its_timer(pair: Pair) -> None:
    ours, theirs = pair
    writer = StreamWriter(ours, [b""], FlushTimer())
    lines = [b"%d\n" % number for number in range(200_000)]

    def write() -> None:
        for line in lines:
            if not writer.hold(line, stream.monotonic()):
                writer.write(line)
        writer.end(LAST_CHUNK)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # the two threads take turns as often as they can
    try:
        thread = threading.Thread(target=write)
        thread.start()
        deframer, got = Deframer(), []
        while not deframer.done:
            got += deframer.feed(theirs.recv(65536))
        thread.join(10)
    finally:
        sys.setswitchinterval(interval)
    assert b"".join(got) == b"".join(lines)


def test_a_slow_reader_holds_the_writer_back_and_the_order_is_kept(pair: Pair) -> None:
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    writer = StreamWriter(ours, [b""], FlushTimer())
    written = 0

    def write() -> None:
        nonlocal written
        for number in range(20_000):
            writer.write(b"%d\n" % number)
            written = number
        writer.end(LAST_CHUNK)

    thread = threading.Thread(target=write)
    thread.start()
    deframer, got, most = Deframer(), b"", 0
    while not deframer.done:
        got += b"".join(deframer.feed(theirs.recv(3000)))
        most = max(most, written - got.count(b"\n"))
    thread.join(10)
    assert got == b"".join(b"%d\n" % number for number in range(20_000))
    # What is on its way: one flush, and what the two sockets hold.
    assert most < 15_000


def test_a_writer_that_waits_is_told_that_the_reader_left(pair: Pair) -> None:
    ours, theirs = pair
    writer = StreamWriter(ours, [b""], NoTimer())
    told = threading.Event()

    def write() -> None:
        try:
            while True:
                writer.write(b"x" * FLUSH_SIZE)
        except Disconnected:
            told.set()

    thread = threading.Thread(target=write)
    thread.start()
    theirs.recv(10)
    theirs.close()
    assert told.wait(10)
    thread.join(10)


# The same from a coroutine.


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Any], None]:
    return lambda test: run_on(LOOPS[request.param], test)


def test_async_chunks_leave_at_once_and_the_held_by_the_timer(run: Callable[[Any], None], pair: Pair) -> None:
    ours, theirs = pair

    async def test() -> None:
        loop = asyncio.get_running_loop()
        theirs.setblocking(False)
        writer = AsyncStreamWriter(ours, [HEAD], loop)
        await writer.write(b"")
        assert await loop.sock_recv(theirs, 100) == HEAD
        await writer.write(b"")
        for _ in range(AT_ONCE + 1):
            await writer.write(b"x")
        got = b""
        while got != chunk(b"x") * (AT_ONCE + 1):
            got += await loop.sock_recv(theirs, 1000)
        writer.release()
        writer.end(LAST_CHUNK)
        assert await loop.sock_recv(theirs, 100) == LAST_CHUNK

    run(test())


def test_an_async_writer_waits_for_a_slow_reader(run: Callable[[Any], None], pair: Pair) -> None:
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    async def test() -> None:
        loop = asyncio.get_running_loop()
        theirs.setblocking(False)
        writer = AsyncStreamWriter(ours, [b""], loop)

        async def write() -> None:
            for number in range(3000):
                await writer.write(b"%d\n" % number * 20)

        writing = asyncio.create_task(write())
        for _ in range(100):
            await asyncio.sleep(0)  # the loop is free meanwhile
        assert not writing.done()  # nobody reads
        deframer, got = Deframer(), b""
        while not writing.done():
            got += b"".join(deframer.feed(await loop.sock_recv(theirs, 3000)))
        await writing
        writer.release()
        ours.setblocking(True)
        ending = loop.run_in_executor(None, writer.end, LAST_CHUNK)
        while not deframer.done:
            got += b"".join(deframer.feed(await loop.sock_recv(theirs, 65536)))
        await ending
        assert got == b"".join(b"%d\n" % number * 20 for number in range(3000))

    run(test())


@pytest.mark.parametrize("size", [1, FLUSH_SIZE])
def test_an_async_writer_lets_the_loop_turn_once_in_a_window(
    run: Callable[[Any], None], pair: Pair, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair
    now = 5.0
    monkeypatch.setattr(stream, "monotonic", lambda: now)

    async def test() -> None:
        nonlocal now
        writer = AsyncStreamWriter(ours, [], asyncio.get_running_loop())
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        for _ in range(40):  # a body that computes, and never waits
            now += WINDOW / 4
            await writer.write(b"x" * size)
            theirs.recv(FLUSH_SIZE * 2)
        task.cancel()
        assert 9 <= turns <= 11

    run(test())


def test_an_async_writer_that_was_broken_off_sends_no_more(
    run: Callable[[Any], None], pair: Pair, still: SimpleNamespace
) -> None:
    ours, theirs = pair

    async def test() -> None:
        writer = AsyncStreamWriter(ours, [], asyncio.get_running_loop())
        for _ in range(AT_ONCE):
            await writer.write(b"x")
        theirs.recv(1000)
        await writer.write(b"held")
        writer.break_off("the caller has left")
        await asyncio.sleep(WINDOW * 2)  # the writer's own timer comes first
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1000)

    run(test())


def test_nothing_follows_a_frame_that_was_cut_short_asynchronously(run: Callable[[Any], None]) -> None:
    sock = Short(5)
    pieces = chunk(b"something")

    class Pieces(list[bytes]):
        """Can be sent once, and then there is no memory to join them."""

        def __iter__(self) -> Iterator[bytes]:
            if sock.sent:
                raise MemoryError
            return super().__iter__()

    async def test() -> None:
        writer = AsyncStreamWriter(sock, [], asyncio.get_running_loop())  # type: ignore[arg-type]
        with pytest.raises(MemoryError):
            await writer.send(Pieces([pieces]))
        with pytest.raises(Disconnected, match="cut short"):
            await writer.finish(LAST_CHUNK)

    run(test())
    assert sock.sent == pieces[:5]


def test_the_async_timer_copies_nothing_when_nothing_is_held(run: Callable[[Any], None], pair: Pair) -> None:
    ours, _ = pair

    async def test() -> None:
        writer = AsyncStreamWriter(ours, [], asyncio.get_running_loop())
        writing = asyncio.create_task(writer.write(b"x" * 4_000_000))
        await asyncio.sleep(0)
        unsent = writer._unsent
        writer._flush_held()
        assert writer._unsent is unsent
        writer.release()
        writing.cancel()

    run(test())


def test_an_async_writer_is_told_that_the_reader_left(run: Callable[[Any], None], pair: Pair) -> None:
    ours, theirs = pair

    async def test() -> None:
        writer = AsyncStreamWriter(ours, [b""], asyncio.get_running_loop())

        async def write() -> None:
            while True:
                await writer.write(b"x" * FLUSH_SIZE)

        writing = asyncio.create_task(write())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        theirs.close()
        with pytest.raises(Disconnected):
            await writing
        with pytest.raises(Disconnected):
            await writer.write(b"more")
        writer.release()
        with pytest.raises(Disconnected):
            writer.end(LAST_CHUNK)

    run(test())
