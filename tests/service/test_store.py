import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.service import store as store_module
from penstock.service.store import DATABASE, LOCK, MIGRATIONS, Grouped, Store, StoreError, backup

Run = Callable[[Coroutine[Any, Any, None]], None]


@asynccontextmanager
async def opened(folder: Path, **options: Any):
    store = Store.open(folder, **options)
    try:
        yield store
    finally:
        await store.close()


def put(name: str) -> Callable[[sqlite3.Connection], str]:
    """A job that adds a row, and gives its name back."""

    def job(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO functions VALUES (?, '{}')", (name,))
        return name

    return job


def names(store: Store) -> list[str]:
    return [name for (name,) in store.read("SELECT name FROM functions ORDER BY rowid")]


class Gate:
    """A job that holds the writer up, so that all that is given meanwhile shares the next transaction."""

    def __init__(self, store: Store) -> None:
        self._reached = False
        self._passed = threading.Event()
        self.done = store.submit(self._wait)

    def _wait(self, connection: sqlite3.Connection) -> None:
        self._reached = True
        self._passed.wait(5)

    async def shut(self) -> "Gate":
        while not self._reached:  # noqa: ASYNC110  # another thread's doing
            await asyncio.sleep(0)
        return self

    def open(self) -> None:
        self._passed.set()


def test_what_was_written_is_committed_and_read(run: Run, tmp_path):
    async def test():
        async with opened(tmp_path / "data") as store:
            assert await store.write(put("one")) == "one"
            assert names(store) == ["one"]
        async with opened(tmp_path / "data") as store:
            assert names(store) == ["one"]
            assert repr(store) == f"<Store {tmp_path}/data/penstock.db 0 waiting, 0 commits>"

    run(test())


def test_what_waits_goes_in_one_transaction_and_in_order(run: Run, tmp_path):
    async def test():
        async with opened(tmp_path) as store:
            gate = await Gate(store).shut()
            writes = [store.submit(put(str(number))) for number in range(100)]
            gate.open()
            assert await asyncio.gather(*writes) == [str(number) for number in range(100)]
            assert names(store) == [str(number) for number in range(100)]
            assert store._commits == 2

    run(test())


def test_a_job_that_raises_undoes_itself_alone(run: Run, tmp_path):
    def fails(connection: sqlite3.Connection) -> None:
        put("half")(connection)
        raise ValueError("of its own")

    def ends(connection: sqlite3.Connection) -> None:
        next(connection.execute("SELECT 1 WHERE 0"))

    async def test():
        async with opened(tmp_path) as store:
            gate = await Gate(store).shut()
            writes = [store.submit(job) for job in (put("a"), fails, put("a"), ends, put("b"))]
            gate.open()
            a, failed, twice, ended, b = await asyncio.gather(*writes, return_exceptions=True)
            assert (a, b) == ("a", "b")
            assert isinstance(failed, ValueError)
            assert isinstance(twice, sqlite3.IntegrityError)
            assert isinstance(ended, RuntimeError)
            assert names(store) == ["a", "b"]

    run(test())


def test_a_waiter_that_leaves_undoes_nothing(run: Run, tmp_path):
    async def test():
        async with opened(tmp_path) as store:
            gate = await Gate(store).shut()
            waiter = asyncio.ensure_future(store.write(put("kept")))
            await asyncio.sleep(0)
            waiter.cancel()
            gate.open()
            await store.write(put("next"))
            assert names(store) == ["kept", "next"]
            assert waiter.cancelled()

    run(test())


def test_a_full_disk_fails_the_whole_batch_and_the_next_one_goes_on(run: Run, tmp_path):
    def large(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO functions VALUES ('large', ?)", ("x" * 1_000_000,))

    async def test():
        async with opened(tmp_path) as store:
            await store.write(lambda connection: connection.execute("PRAGMA max_page_count = 20").fetchall())
            gate = await Gate(store).shut()
            writes = [store.submit(job) for job in (put("before"), large, put("after"))]
            gate.open()
            for failure in await asyncio.gather(*writes, return_exceptions=True):
                assert isinstance(failure, StoreError)
                assert str(failure) == (
                    f"the disk of {tmp_path}/penstock.db is full (database or disk is full)"
                )
            assert names(store) == []
            await store.write(put("later"))
            assert names(store) == ["later"]

    run(test())


def test_a_commit_that_fails_is_no_answer(run: Run, tmp_path):
    def breaks_a_promise(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        connection.execute("CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
        connection.execute("INSERT INTO child VALUES (1)")

    async def test():
        async with opened(tmp_path) as store:
            gate = await Gate(store).shut()
            writes = [store.submit(job) for job in (put("innocent"), breaks_a_promise)]
            gate.open()
            for failure in await asyncio.gather(*writes, return_exceptions=True):
                assert isinstance(failure, StoreError)
                assert str(failure).endswith("penstock.db failed: FOREIGN KEY constraint failed")
            await store.write(put("later"))
            assert names(store) == ["later"]

    run(test())


def test_a_job_that_ends_the_transaction_is_found_out(run: Run, tmp_path):
    def meddles(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")

    async def test():
        async with opened(tmp_path) as store:
            with pytest.raises(StoreError, match="no such savepoint"):
                await store.write(meddles)
            await store.write(put("later"))

    run(test())


def test_closing_writes_what_waits_and_is_the_end(run: Run, tmp_path):
    async def test():
        store = Store.open(tmp_path)
        writes = [store.submit(put(str(number))) for number in range(10)]
        await store.close()
        await store.close()
        assert [await each for each in writes] == [str(number) for number in range(10)]
        with pytest.raises(StoreError, match="is closed"):
            await store.write(put("late"))
        with pytest.raises(StoreError, match="is closed"):
            store.submit(put("late"))
        with pytest.raises(StoreError, match="is closed"):
            store.read("SELECT 1")
        assert "closed" in repr(store)
        async with opened(tmp_path) as again:
            assert len(names(again)) == 10

    run(test())


def test_what_is_not_sql_is_a_store_error(run: Run, tmp_path):
    async def test():
        async with opened(tmp_path) as store:
            with pytest.raises(StoreError, match="no such table: absent"):
                store.read("SELECT * FROM absent")
            with pytest.raises(StoreError, match="readonly"):
                store.read("DELETE FROM functions")

    run(test())


def test_the_switch_interval_is_short_only_while_something_is_written(run: Run, tmp_path):
    usual = sys.getswitchinterval()

    async def test():
        async with opened(tmp_path) as store:
            gate = await Gate(store).shut()
            assert sys.getswitchinterval() < usual
            gate.open()
            await gate.done
            assert sys.getswitchinterval() == usual

    run(test())


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 0)])
def test_only_a_durable_store_waits_for_the_disk(run: Run, tmp_path, durable, synchronous):
    async def test():
        async with opened(tmp_path, durable=durable) as store:
            settings = await store.write(
                lambda connection: [
                    connection.execute(f"PRAGMA {name}").fetchone()[0]
                    for name in ("journal_mode", "synchronous", "foreign_keys")
                ]
            )
            assert settings == ["wal", synchronous, 1]

    run(test())


# The folder.


def test_others_cannot_read_it(run: Run, tmp_path):
    async def test():
        async with opened(tmp_path / "data") as store:
            await store.write(put("secret"))
            assert (tmp_path / "data").stat().st_mode & 0o077 == 0
            files = list((tmp_path / "data").iterdir())
            assert {file.name for file in files} == {
                DATABASE,
                LOCK,
                f"{DATABASE}-wal",
                f"{DATABASE}-shm",
            }
            assert not [file for file in files if file.stat().st_mode & 0o077]

    run(test())


def test_a_second_one_is_refused(run: Run, tmp_path):
    async def test():
        async with opened(tmp_path):
            with pytest.raises(StoreError) as refused:
                Store.open(tmp_path)
            assert str(refused.value) == (
                f"the folder {tmp_path} is in use by process {os.getpid()}: stop it, or choose another folder"
            )
        async with opened(tmp_path):
            pass

    run(test())


HOLDER = """
import asyncio, sys
from pathlib import Path
from penstock.service.store import Store

async def main():
    store = Store.open(Path(sys.argv[1]))
    number = 0
    while True:
        number += 1
        await store.write(lambda c: c.execute("INSERT INTO functions VALUES (?, '')", (number,)) and None)
        print(number, flush=True)

asyncio.run(main())
"""


def test_a_killed_process_lets_go_and_loses_nothing(run: Run, tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    for _ in range(20):
        assert holder.stdout.readline()
    with pytest.raises(StoreError, match=f"in use by process {holder.pid}:"):
        Store.open(tmp_path)
    holder.kill()
    acknowledged = 20 + len(holder.stdout.readlines())
    holder.wait()
    holder.stdout.close()

    async def test():
        async with opened(tmp_path) as store:
            assert names(store)[:acknowledged] == [str(number + 1) for number in range(acknowledged)]
            assert store.read("PRAGMA integrity_check") == [("ok",)]

    run(test())


def test_a_folder_that_cannot_be_used(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StoreError, match=r"cannot make the folder .*/file/data: Not a directory"):
        Store.open(file / "data")
    with pytest.raises(StoreError, match=r"cannot make the folder .*/file: File exists"):
        Store.open(file)
    (tmp_path / "data" / DATABASE).mkdir(parents=True)
    with pytest.raises(StoreError, match=r"cannot open the database .*: Is a directory"):
        Store.open(tmp_path / "data")
    (tmp_path / "other" / LOCK).mkdir(parents=True)
    with pytest.raises(StoreError, match=r"cannot use the folder .*: Is a directory"):
        Store.open(tmp_path / "other")


@pytest.mark.parametrize("damage", ["no database", "schema", "cut"])
def test_a_damaged_database_is_left_as_it_is(run: Run, tmp_path, damage):
    async def fill():
        async with opened(tmp_path) as store:
            await store.write(put("x" * 20_000))

    database = tmp_path / DATABASE
    run(fill())
    whole = database.read_bytes()
    broken = {
        "no database": b"this is no database\n" * 1000,
        "schema": whole[:100] + b"\xff" * 3996 + whole[4096:],
        "cut": whole[:100] + whole[200:5000],
    }[damage]
    database.write_bytes(broken)
    with pytest.raises(StoreError) as refused:
        Store.open(tmp_path)
    assert str(refused.value).startswith(f"the database {database} is damaged (")
    assert str(refused.value).endswith("put a backup in its place, or move it away to begin anew")
    assert database.read_bytes() == broken
    database.write_bytes(whole)  # as the message says
    run(fill_again(tmp_path))


async def fill_again(folder: Path) -> None:
    async with opened(folder) as store:
        assert len(names(store)) == 1


# The schema.


def test_a_newer_schema_is_refused(run: Run, tmp_path):
    async def test():
        async with opened(tmp_path) as store:
            await store.write(lambda connection: connection.execute("PRAGMA user_version = 99") and None)
        with pytest.raises(StoreError) as refused:
            Store.open(tmp_path)
        assert f"the database {tmp_path}/penstock.db is of a newer version of Penstock" in str(refused.value)

    run(test())


def test_an_older_schema_is_brought_up_to_date(run: Run, tmp_path, monkeypatch):
    async def test():
        async with opened(tmp_path) as store:
            await store.write(put("kept"))
            assert store.read("PRAGMA user_version") == [(len(MIGRATIONS),)]
        later = (*MIGRATIONS, "CREATE TABLE more (a)", "ALTER TABLE more ADD COLUMN b")
        monkeypatch.setattr(store_module, "MIGRATIONS", later)
        async with opened(tmp_path) as store:
            assert store.read("PRAGMA user_version") == [(len(later),)]
            assert store.read("SELECT a, b FROM more") == []
            assert names(store) == ["kept"]

    run(test())


def test_a_migration_that_fails_changes_nothing(run: Run, tmp_path, monkeypatch):
    async def test():
        async with opened(tmp_path) as store:
            await store.write(put("kept"))
        with monkeypatch.context() as patch:
            patch.setattr(store_module, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE more (a); SELECT nonsense"))
            with pytest.raises(StoreError, match="nonsense"):
                Store.open(tmp_path)
        async with opened(tmp_path) as store:
            assert names(store) == ["kept"]
            assert store.read("SELECT name FROM sqlite_master WHERE name = 'more'") == []

    run(test())


# Backup.


def test_a_backup_of_a_store_in_use(run: Run, tmp_path):
    async def test():
        copy = tmp_path / "copy.db"
        async with opened(tmp_path / "data") as store:
            await store.write(put("one"))
            stop = False

            async def write_on() -> int:
                number = 0
                while not stop:
                    number += 1
                    await store.write(put(f"more {number}"))
                return number

            writing = asyncio.ensure_future(write_on())
            await asyncio.to_thread(backup, store.path, copy)
            await asyncio.to_thread(backup, store.path, copy)  # again, over the first
            stop = True
            assert await writing
        assert list(tmp_path.glob("*.partial")) == []
        (tmp_path / "restored").mkdir()
        copy.rename(tmp_path / "restored" / DATABASE)
        async with opened(tmp_path / "restored") as store:
            assert names(store)[0] == "one"
            assert store.read("PRAGMA integrity_check") == [("ok",)]

    run(test())


def test_a_backup_from_another_process(run: Run, tmp_path):
    async def test():
        program = (
            "import sys; from pathlib import Path; from penstock.service.store import backup;"
            "backup(Path(sys.argv[1]), Path(sys.argv[2]))"
        )
        async with opened(tmp_path / "data") as store:
            await store.write(put("one"))
            command = [sys.executable, "-c", program, str(store.path), str(tmp_path / "copy.db")]
            await asyncio.to_thread(subprocess.run, command, check=True, timeout=20)
        copy = sqlite3.connect(tmp_path / "copy.db")
        assert copy.execute("SELECT name FROM functions").fetchall() == [("one",)]
        copy.close()

    run(test())


def test_a_backup_that_cannot_be_made(run: Run, tmp_path):
    async def test():
        async with opened(tmp_path / "data") as store:
            with pytest.raises(StoreError, match="is the database itself"):
                backup(store.path, store.path)
            with pytest.raises(StoreError, match=r"cannot copy .* to .*/none/copy.db: No such file"):
                backup(store.path, tmp_path / "none" / "copy.db")
            with pytest.raises(StoreError, match="there is no database"):
                backup(tmp_path / DATABASE, tmp_path / "copy.db")
            (tmp_path / "text").write_text("no database" * 1000)
            with pytest.raises(StoreError, match=r"text is damaged"):
                backup(tmp_path / "text", tmp_path / "copy.db")
            assert not (tmp_path / "copy.db").exists()
            assert list(tmp_path.glob("*.partial")) == []

    run(test())


# Many small changes as one.


def put_all(connection: sqlite3.Connection, items: Any) -> None:
    connection.executemany("INSERT INTO functions VALUES (?, '{}')", [(item,) for item in items])


def test_a_group_is_written_at_once(run: Run, tmp_path):
    async def test():
        calls: list[int] = []

        def write(connection: sqlite3.Connection, items: Any) -> None:
            calls.append(len(items))
            put_all(connection, items)

        async with opened(tmp_path) as store:
            grouped = Grouped(store, write)
            gate = await Gate(store).shut()
            told: list[StoreError | None] = []
            for number in range(100):
                grouped.add(str(number), told.append)
            assert told == []
            gate.open()
            await store.write(lambda connection: None)
            assert told == [None] * 100
            assert calls == [100]
            assert names(store) == [str(number) for number in range(100)]
            grouped.add("another", told.append)
            await store.write(lambda connection: None)
            assert calls == [100, 1]

    run(test())


def test_a_group_fails_together(run: Run, tmp_path):
    async def test():
        store = Store.open(tmp_path)
        grouped = Grouped(store, put_all)
        gate = await Gate(store).shut()
        told: list[StoreError | None] = []
        for name in ("a", "b", "a"):
            grouped.add(name, told.append)
        gate.open()
        await store.write(lambda connection: None)
        assert len(told) == 3
        assert all("UNIQUE" in str(failure) for failure in told)
        grouped.add("a", told.append)
        await store.close()
        assert told[3:] == [None]
        with pytest.raises(StoreError, match="is closed"):
            grouped.add("late", told.append)

    run(test())


def test_a_group_whose_transaction_does_not_begin(run: Run, tmp_path):
    async def test():
        async with opened(tmp_path) as store:
            await store.write(lambda connection: connection.execute("PRAGMA busy_timeout = 1").fetchall())
            grouped = Grouped(store, put_all)
            told: list[StoreError | None] = []
            other = sqlite3.connect(store.path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            grouped.add("lost", told.append)
            with pytest.raises(StoreError, match="another program keeps the database"):
                await store.write(lambda connection: None)
            other.execute("ROLLBACK")
            other.close()
            assert len(told) == 1
            assert "locked" in str(told[0])
            grouped.add("kept", told.append)
            await store.write(lambda connection: None)
            assert told[1] is None
            assert names(store) == ["kept"]

    run(test())
