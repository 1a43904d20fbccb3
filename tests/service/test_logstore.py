"""Functions' logs: kept, bounded, searched and followed, in memory and on disk."""

import asyncio
import json
import os
import threading
import time

import pytest

from penstock.service import logstore as module
from penstock.service.logs import LogLine
from penstock.service.logstore import DiskLogs, MemoryLogs, encode, iso

KIB = 1024


class Clock:
    """Unix time that stands still until moved."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["memory", "disk"])
def make(request, tmp_path, clock):
    """Makes a store of either kind."""
    if request.param == "memory":
        return lambda: MemoryLogs(clock=clock)
    return lambda: DiskLogs(tmp_path / "logs", 1024 * KIB, clock=clock)


def line(text, *, function="app", request_id="one", platform=False):
    return LogLine(function, "e" * 32, request_id, text, platform)


def messages(lines):
    return [json.loads(each).get("message") for each in lines]


def test_a_line_is_json(clock):
    data = encode(clock.now + 0.5, line('"quoted" \n \x1b[31m ü \u2028 \ud83d'))
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    assert json.loads(data) == {
        "time": "2027-01-15T08:00:00.500Z",
        "environment": "e" * 32,
        "requestId": "one",
        "message": '"quoted" \n \x1b[31m ü \u2028 \ud83d',
    }
    assert data[module._TIME].decode() == iso(clock.now + 0.5)
    assert json.loads(encode(0.9999, line("END", platform=True)))["platform"] is True


def test_what_is_kept_is_read(run, make):
    async def test():
        logs = make()
        for number in range(5):
            logs.write(line(f"line {number}"))
        logs.write(line("other's", function="other"))
        assert messages(await logs.history("app")) == [f"line {number}" for number in range(5)]
        assert messages(await logs.history("app", lines=2)) == ["line 3", "line 4"]
        assert messages(await logs.history("app", lines=0)) == []
        assert messages(await logs.history("nobody")) == []
        assert logs.names() == {"app", "other"}
        await logs.close()

    run(test())


def test_by_time(run, make, clock):
    async def test():
        logs = make()
        for number in range(5):
            logs.write(line(f"line {number}"))
            clock.now += 1
        assert messages(await logs.history("app", since=clock.now - 2)) == ["line 3", "line 4"]
        assert messages(await logs.history("app", since=clock.now - 2.001, lines=1)) == ["line 4"]
        assert messages(await logs.history("app", since=clock.now)) == []
        assert len(await logs.history("app", since=0.0)) == 5
        await logs.close()

    run(test())


def test_of_one_request(run, make):
    async def test():
        logs = make()
        logs.write(line("a", request_id="1234-56"))
        logs.write(line('says "requestId":"1234', request_id="9"))
        logs.write(line("b", request_id=""))
        logs.write(line("c", request_id="1234-56"))
        assert messages(await logs.history("app", request_id="1234-56")) == ["a", "c"]
        assert messages(await logs.history("app", request_id="1234", lines=1)) == ["c"]
        assert messages(await logs.history("app", request_id='1"')) == []
        await logs.close()

    run(test())


def test_history_ends_where_following_begins(run, make):
    async def test():
        logs = make()
        logs.write(line("before"))
        follower = logs.follow("app", lambda: None)
        history = logs.history("app")
        logs.write(line("after"))
        assert messages(await history) == ["before"]
        assert messages(follower.take()) == ["after"]
        assert follower.take() == []
        follower.close()
        await logs.close()

    run(test())


def test_followers_are_woken_once_until_they_take(make):
    logs = make()
    woken = []
    follower = logs.follow("app", lambda: woken.append(1), request_id="on")
    logs.write(line("a"))
    logs.write(line("b"))
    logs.write(line("not ours", request_id="two"))
    logs.write(line("not ours", function="other"))
    assert len(woken) == 1
    assert messages(follower.take()) == ["a", "b"]
    logs.write(line("c"))
    assert len(woken) == 2
    follower.close()
    logs.write(line("d"))
    assert messages(follower.take()) == ["c"]
    assert logs._followers == {}
    follower.close()  # a second time does nothing
    asyncio.run(logs.close())


def test_a_slow_follower_is_told_what_it_missed(make, monkeypatch):
    monkeypatch.setattr(module, "_FOLLOWER", 1000)
    logs = make()
    follower = logs.follow("app", lambda: None)
    for number in range(100):
        logs.write(line(str(number)))
    lines = follower.take()
    assert json.loads(lines[-1]) == {"missed": 100 - len(lines[:-1])}
    assert messages(lines[:-1]) == [str(number) for number in range(len(lines) - 1)]
    assert 1 < len(lines) < 20
    logs.write(line("x" * 5000))  # a long one alone is no flood
    logs.write(line("next"))
    assert messages(follower.take()) == ["x" * 5000, None]
    asyncio.run(logs.close())


def test_followers_are_told_the_end(make):
    logs = make()
    woken = []
    follower = logs.follow("app", lambda: woken.append(1))
    logs.write(line("last words"))
    asyncio.run(logs.close())
    assert follower.ended
    assert len(woken) == 2
    assert messages(follower.take()) == ["last words"]


def test_a_forgotten_log(run, make):
    async def test():
        logs = make()
        logs.write(line("a"))
        logs.write(line("b", function="other"))
        await logs.history("app")
        logs.forget("app")
        logs.forget("nobody")
        assert messages(await logs.history("app")) == []
        logs.write(line("anew"))
        assert messages(await logs.history("app")) == ["anew"]
        assert messages(await logs.history("other")) == ["b"]
        await logs.close()

    run(test())


def test_memory_is_bounded():
    logs = MemoryLogs(size=100_000)
    for number in range(10_000):
        logs.write(line(f"{number}"))
    kept = messages(asyncio.run(history(logs)))
    assert kept == [str(number) for number in range(10_000 - len(kept), 10_000)]
    assert 300 < len(kept) < 400
    logs.write(line("x" * 200_000))  # more than there is room for
    assert messages(asyncio.run(history(logs))) == []


async def history(logs):
    return await logs.history("app")


def test_history_is_bounded(make, monkeypatch):
    monkeypatch.setattr(module, "HISTORY", 1000)
    logs = make()
    for number in range(100):
        logs.write(line(f"{number}"))
    found = asyncio.run(history(logs))
    assert 1 < len(found) < 20
    assert sum(map(len, found)) <= 1000
    assert messages(found)[-1] == "99"
    asyncio.run(logs.close())


# On disk.


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "logs"


def used(folder):
    return sum(path.stat().st_size for path in (folder / "app").iterdir())


def test_the_disk_is_bounded_and_the_newest_is_kept(run, folder):
    async def test():
        logs = DiskLogs(folder, 1024 * KIB)
        for number in range(20_000):
            logs.write(line(f"{number} " + "x" * 100))
            if number % 1000 == 0:
                await logs.history("app", lines=0)
                if number:
                    assert used(folder) <= 1024 * KIB
        kept = [int(text.split()[0]) for text in messages(await logs.history("app"))]
        assert kept == list(range(kept[0], 20_000))
        assert used(folder) > 800 * KIB
        assert len(list((folder / "app").iterdir())) <= 8
        await logs.close()

    run(test())


def test_it_goes_on_after_a_restart(run, folder):
    async def test():
        for number in range(3):
            logs = DiskLogs(folder, 1024 * KIB)
            logs.write(line(str(number)))
            await logs.close()
        assert len(list((folder / "app").iterdir())) == 1
        logs = DiskLogs(folder, 1024 * KIB)
        assert messages(await logs.history("app")) == ["0", "1", "2"]
        assert logs.names() == {"app"}
        await logs.close()

    run(test())


def test_a_line_that_a_kill_has_cut(run, folder):
    async def test():
        (folder / "app").mkdir(parents=True)
        (folder / "app/00000007.ndjson").write_bytes(encode(0, line("whole")) + encode(0, line("cut"))[:-5])
        (folder / "app/notes.txt").write_text("not ours")
        logs = DiskLogs(folder, 1024 * KIB)
        logs.write(line("next"))
        assert messages(await logs.history("app")) == ["whole", "next"]
        await logs.close()
        assert sorted(os.listdir(folder / "app")) == ["00000007.ndjson", "00000008.ndjson", "notes.txt"]

    run(test())


def test_what_is_in_the_files_is_not_believed(run, folder):
    async def test():
        (folder / "app").mkdir(parents=True)
        (folder / "app/00000001.ndjson").write_bytes(
            b"\0" * 5000 + b"\nnonsense\n\n{}\n" + encode(0, line("x"))
        )
        logs = DiskLogs(folder, 1024 * KIB)
        assert messages(await logs.history("app")) == ["x"]
        await logs.close()

    run(test())


def test_a_line_longer_than_a_segment(run, folder):
    async def test():
        logs = DiskLogs(folder, 1024 * KIB)
        for text in ("a" * 300_000, "b", "c" * 300_000, "d"):
            logs.write(line(text))
        assert messages(await logs.history("app")) == ["a" * 300_000, "b", "c" * 300_000, "d"]
        for text in "efgh":
            logs.write(line(text * 500_000))
        assert messages(await logs.history("app"))[-1] == "h" * 500_000
        assert used(folder) <= 1024 * KIB
        await logs.close()

    run(test())


def open_files():
    try:
        return len(os.listdir("/proc/self/fd"))
    except FileNotFoundError:
        return 0  # not Linux


def test_many_functions_keep_no_files_open(run, folder):
    async def test():
        logs = DiskLogs(folder, 1024 * KIB)
        before = open_files()
        for number in range(500):
            logs.write(line("a", function=f"f{number}"))
        assert messages(await logs.history("f499")) == ["a"]
        assert open_files() <= before + 5
        assert len(logs.names()) == 500
        await logs.close()

    run(test())


def test_a_disk_that_fails_is_noted_once_and_forgiven(run, folder, caplog):
    """A file where the folder should be: the service goes on, and says how much is missing."""

    async def test():
        folder.write_text("in the way")
        logs = DiskLogs(folder, 1024 * KIB)
        for _ in range(3):
            logs.write(line("lost"))
            assert await logs.history("app") == []
        folder.unlink()
        logs.write(line("kept"))
        assert messages(await logs.history("app")) == [
            "penstock: 3 lines were not kept here: the disk did not take them",
            "kept",
        ]
        await logs.close()

    run(test())
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"functions' logs cannot be kept in {folder}: File exists",
        f"functions' logs are kept again in {folder}",
    ]


def test_a_full_disk(run, folder, monkeypatch):
    async def test():
        logs = DiskLogs(folder, 1024 * KIB)
        logs.write(line("first"))
        await logs.history("app")
        write = module._Segments._write

        def full(self, lines):
            write(self, [b"".join(lines)[:10]])  # as much as there was room for
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(module._Segments, "_write", full)
        logs.write(line("lost"))
        await logs.history("app")
        monkeypatch.setattr(module._Segments, "_write", write)
        logs.write(line("second"))
        assert messages(await logs.history("app")) == [
            "first",
            "penstock: 1 line was not kept here: the disk did not take them",
            "second",
        ]
        await logs.close()

    run(test())


def test_a_disk_that_hangs_costs_lines_and_not_time(run, folder, monkeypatch, caplog):
    async def test():
        monkeypatch.setattr(module, "_WAITING", 50_000)
        gate, reached = threading.Event(), threading.Event()
        write = module._Segments._write

        def hangs(self, lines):
            reached.set()
            gate.wait(10)
            write(self, lines)

        monkeypatch.setattr(module._Segments, "_write", hangs)
        logs = DiskLogs(folder, 1024 * KIB)
        logs.write(line("first"))
        await asyncio.to_thread(reached.wait, 10)
        for number in range(1000):
            logs.write(line(str(number)))
        gate.set()
        kept = messages(await logs.history("app"))
        assert kept[0] == "first"
        await logs.close()
        logs = DiskLogs(folder, 1024 * KIB)
        kept = messages(await logs.history("app"))
        said = [text for text in kept if text.startswith("penstock:")]
        assert len(said) == 1
        (count,) = (int(word) for word in said[0].split() if word.isdigit())
        assert count + len(kept) - 2 == 1000
        assert 100 < count < 1000
        await logs.close()

    run(test())
    assert ["lines were not kept in the log of app" in each.getMessage() for each in caplog.records] == [True]


def test_a_reader_that_leaves_does_no_harm(run, folder):
    async def test():
        logs = DiskLogs(folder, 1024 * KIB)
        logs.write(line("a"))
        reading = asyncio.ensure_future(logs.history("app"))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert messages(await logs.history("app")) == ["a"]
        await logs.close()
        with pytest.raises(RuntimeError, match="the logs are closed"):
            logs.history("app")

    run(test())


def test_a_line_costs_the_loop_little(make):
    logs = make()
    each = line("x" * 100)
    took = []
    for _ in range(10):  # other work may hold the machine up
        began = time.perf_counter()
        for _ in range(1000):
            logs.write(each)
        took.append(time.perf_counter() - began)
    assert min(took) / 1000 < 10e-6
    asyncio.run(logs.close())
