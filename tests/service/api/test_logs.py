"""The log of a function over HTTP: what is kept, what comes, and who reads slowly or leaves."""

import asyncio
import json

import pytest

from http_kit import Wire
from penstock.http import Config, Connection
from penstock.http.timers import Timers
from penstock.service.api.errors import ApiError
from penstock.service.api.logs import logs_exchange
from penstock.service.logs import LogLine
from penstock.service.logstore import DiskLogs, MemoryLogs


class Door:
    """A connection on which one log is asked for, on the running loop."""

    def __init__(self, logs, **query):
        self.logs = logs
        self.errors = []
        self.exchange = None
        self.wire = Wire()

        def application(request, writer):
            values = {name: [value] for name, value in query.items()}
            self.exchange = logs_exchange(writer, values, "app", logs, ["app"])
            return self.exchange

        config = Config(stamp=False, on_error=self.errors.append)
        loop = asyncio.get_running_loop()
        self.connection = Connection(application, config, Timers(loop, config.tick))
        self.connection.connection_made(self.wire)
        self.connection.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    @property
    def head(self):
        return self.wire.sent.partition(b"\r\n\r\n")[0].decode()

    def lines(self):
        """The lines so far, and whether the response has ended."""
        body = self.wire.sent.partition(b"\r\n\r\n")[2]
        data = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            if size == b"0":
                return data.decode().splitlines(), True
            data += body[: int(size, 16)]
            body = body[int(size, 16) + 2 :]
        return data.decode().splitlines(), False

    def messages(self):
        return [json.loads(line).get("message") for line in self.lines()[0]]

    async def until(self, condition):
        while not condition():  # noqa: ASYNC110  # what a thread brings comes by the loop
            await asyncio.sleep(0)
        assert not self.errors

    def leave(self):
        self.wire.closed = "lost"
        self.connection.connection_lost(None)


def write(logs, *texts, request_id="one"):
    for text in texts:
        logs.write(LogLine("app", "e" * 32, request_id, text))


@pytest.fixture(params=["memory", "disk"])
def make(request, tmp_path):
    return MemoryLogs if request.param == "memory" else lambda: DiskLogs(tmp_path / "logs", 2**20)


def test_what_is_kept(run, make):
    async def test():
        logs = make()
        write(logs, *map(str, range(150)))
        door = Door(logs)
        await door.until(lambda: door.lines()[1])
        assert door.messages() == list(map(str, range(50, 150)))
        assert door.head.startswith("HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n")
        door = Door(logs, lines="2")
        await door.until(lambda: door.lines()[1])
        assert door.messages() == ["148", "149"]
        door = Door(logs, since="0")
        await door.until(lambda: door.lines()[1])
        assert len(door.messages()) == 150
        write(logs, "other", request_id="two")
        door = Door(logs, requestId="tw", follow="false")
        await door.until(lambda: door.lines()[1])
        assert door.messages() == ["other"]
        await logs.close()

    run(test())


def test_the_head_comes_at_once(run, make):
    async def test():
        logs = make()
        door = Door(logs, follow="true")
        await door.until(lambda: door.head)
        assert door.lines() == ([], False)
        await logs.close()
        await door.until(lambda: door.lines()[1])

    run(test())


def test_following(run, make):
    async def test():
        logs = make()
        write(logs, "before")
        door = Door(logs, follow="true")
        write(logs, "between")
        await door.until(lambda: len(door.messages()) == 2)
        write(logs, "a", "b")
        writes = len(door.wire.writes)
        await door.until(lambda: len(door.messages()) == 4)
        assert door.messages() == ["before", "between", "a", "b"]
        assert len(door.wire.writes) == writes + 1  # what comes together leaves together
        await logs.close()
        await door.until(lambda: door.lines()[1])

    run(test())


def test_the_last_lines_come_before_the_end(run, make):
    async def test():
        logs = make()
        door = Door(logs, follow="true", lines="0")
        write(logs, "last words")
        await logs.close()
        await door.until(lambda: door.lines()[1])
        assert door.messages() == ["last words"]

    run(test())


def test_a_slow_reader_is_waited_for_and_told_what_it_missed(run, make):
    async def test():
        logs = make()
        write(logs, "before")
        door = Door(logs, follow="true")
        await door.until(lambda: door.messages())
        door.connection.pause_writing()
        sent = len(door.wire.sent)
        for _ in range(30):
            write(logs, "x" * 100_000)
            await asyncio.sleep(0)
        assert len(door.wire.sent) == sent
        door.connection.resume_writing()
        await door.until(lambda: len(door.lines()[0]) > 2)
        lines = door.lines()[0]
        assert json.loads(lines[-1])["missed"] + len(lines) - 2 == 30
        await logs.close()

    run(test())


def test_a_long_history_waits_for_its_reader(run):
    async def test():
        logs = MemoryLogs()
        write(logs, *("x" * 1000 for _ in range(500)))
        door = Door(logs, since="0")
        door.connection.pause_writing()
        await door.until(lambda: door.head)
        for _ in range(5):
            await asyncio.sleep(0)
        assert door.lines() == ([], False)
        door.connection.resume_writing()
        await door.until(lambda: door.lines()[1])
        assert len(door.lines()[0]) == 500
        assert max(map(len, door.wire.writes)) < 100_000

    run(test())


@pytest.mark.parametrize("when", ["at once", "within history", "while following"])
def test_a_reader_that_leaves_is_forgotten(run, make, when):
    async def test():
        logs = make()
        write(logs, "a")
        door = Door(logs, follow="true")
        if when == "within history":
            await asyncio.sleep(0)
        elif when == "while following":
            await door.until(lambda: door.messages())
            write(logs, "b")  # it is being told
        door.leave()
        assert logs._followers == {}
        for _ in range(5):
            await asyncio.sleep(0)
        await logs.history("app")
        write(logs, "c")
        await logs.close()
        assert not door.errors

    run(test())


def refused(function="app", known=(), logs=None, **query):
    with pytest.raises(ApiError) as raised:
        logs_exchange(
            None, {name: [value] for name, value in query.items()}, function, logs or MemoryLogs(), known
        )
    return raised.value.status, str(raised.value)


@pytest.mark.parametrize("function", ["", "..", "../../etc", "a/b", "a" * 65, "a b", "ü", "app.py"])
def test_names_cannot_be_paths(function):
    status, message = refused(function)
    assert status == 400
    assert message.endswith("is not the name of a function")


def test_unknown_functions():
    assert refused() == (404, "Function not found: app; there is none yet")
    assert refused("ap", ["app", "other"]) == (404, "Function not found: ap; did you mean app?")
    assert refused("xyz", ["app"]) == (404, "Function not found: xyz; there is app")
    assert refused("xyz", ["app", "other"]) == (404, "Function not found: xyz; there are app, other")
    assert refused("xyz", list(map(str, range(11))))[1].endswith("4, 5, 6, 7, 8, …")
    logs = MemoryLogs()
    write(logs, "was deleted since")
    assert refused("apq", logs=logs)[1].endswith("did you mean app?")
    assert logs_exchange(None, {}, "app", logs)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"lines": "-1"}, "lines: expected a whole number from 0 to 100,000, got '-1'"),
        ({"lines": "100001"}, "lines: expected a whole number"),
        ({"lines": "9" * 50}, "lines: expected a whole number"),
        ({"lines": ""}, "lines: expected a whole number"),
        ({"lines": "٣"}, "lines: expected a whole number"),
        ({"since": "yesterday"}, "since: expected Unix time in seconds, got 'yesterday'"),
        ({"since": "nan"}, "since: expected Unix time"),
        ({"since": "inf"}, "since: expected Unix time"),
        ({"since": "-1"}, "since: expected Unix time"),
        ({"since": "1767225600000"}, "since: expected Unix time"),
        ({"follow": "yes"}, "follow: expected true or false, got 'yes'"),
        ({"requestId": '"'}, "requestId: expected a request id"),
        ({"requestId": "a" * 101}, "requestId: expected a request id"),
    ],
)
def test_bad_queries(query, expected):
    status, message = refused("app", ["app"], **query)
    assert status == 400
    assert message.startswith(expected)
