"""What the service keeps: one SQLite database, written by one thread that commits for everybody at once.

    loop ── job, job, job ──▶ writer: BEGIN IMMEDIATE; each job in a savepoint; COMMIT ──▶ their futures

Rule 1: whoever waits for a job is told after the commit, never before: what was acknowledged survives a kill
and, with `durable`, a power cut.
Rule 2: a job that raises undoes itself alone. A commit that fails undoes them all, and each is told why.

A sync of the disk takes as long for a hundred jobs as for one, so the thread takes everything that waits.

A loop that is never idle starves a second thread: it lets go of the interpreter for a microsecond at a time,
and whoever waits for that is woken too late, and begins to wait anew. A write took 50 ms at the median, and
seconds at times; with a switch interval and a timer that are short enough, less than 1 ms. The interval is
the whole process's, so it is short only while something waits to be written.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import os
import queue
import sqlite3
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from . import disk

T = TypeVar("T")
Item = TypeVar("Item")

DATABASE = "penstock.db"
LOCK = "penstock.lock"

# Each script takes the schema one version up, in one transaction; `PRAGMA user_version` counts them. Never
# change one that was released: add another.
MIGRATIONS = (
    """
    CREATE TABLE functions (
        name TEXT PRIMARY KEY,
        document TEXT NOT NULL
    );
    CREATE TABLE events (
        number INTEGER PRIMARY KEY,     -- counts up as they are accepted
        request_id TEXT NOT NULL,       -- the same for all attempts
        function TEXT NOT NULL,
        qualifier TEXT NOT NULL,
        payload BLOB NOT NULL,
        client_context TEXT NOT NULL,
        trace_id TEXT NOT NULL,
        tenant_id TEXT NOT NULL,
        depth INTEGER NOT NULL,         -- how many destinations led here
        accepted REAL NOT NULL,         -- Unix time, as is
        due REAL NOT NULL,
        attempts INTEGER NOT NULL,      -- that the function answered
        refusals INTEGER NOT NULL,      -- in a row, that it did not: throttled, stopped
        error TEXT NOT NULL             -- of the last attempt
    );
    CREATE INDEX events_due ON events (function, due);
    """,
)

_BUSY = 10.0  # seconds to wait for another program that has the database open, a shell for example
_PROMPT = 1e-5  # seconds: the switch interval while something waits to be written
_PR_SET_TIMERSLACK = 29  # linux/prctl.h
_WAL_KEPT = 64 * 1024 * 1024  # bytes the log keeps on disk once it has been larger

# What is wrong with the database or its disk, rather than with what a job asked of it.
_TROUBLE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
}


class StoreError(Exception):
    """The database cannot be used, or did not take a change. The message is for a person: what, and where."""


class _Job:
    """Something to write, and its future."""

    __slots__ = ("error", "future", "result", "run")

    def __init__(self, run: Callable[[sqlite3.Connection], Any], future: "asyncio.Future[Any]") -> None:
        self.run = run
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None

    def deliver(self) -> None:
        if self.future.done():
            return  # its waiter has left
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Store:
    """The database in a folder. Used from one event loop; made by `open`, ended by `close`.

    No second process can open the folder meanwhile.
    """

    def __init__(
        self, folder: Path, lock: int, writer: sqlite3.Connection, reader: sqlite3.Connection
    ) -> None:
        """For `open` only."""
        self.folder = folder
        self.path = folder / DATABASE
        self._lock = lock
        self._writer = writer
        self._reader = reader
        self._reading = threading.Lock()
        self._given: list[_Job] = []  # in this turn of the loop
        self._jobs: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._commits = 0
        self._awaited = 0  # jobs under way
        self._interval = sys.getswitchinterval()
        self._thread = threading.Thread(target=self._write_all, name="penstock-store", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self._awaited} waiting"
        return f"<Store {self.path} {state}, {self._commits} commits>"

    @classmethod
    def open(cls, folder: Path, *, durable: bool = True) -> "Store":
        """Open the database in `folder`, made if it is not there, and bring its schema up to date.

        Without `durable` nothing waits for the disk: for a folder that is thrown away. Raises StoreError if
        another process has the folder, if it cannot be used, or if what is in it is damaged or newer than
        this version of Penstock. Nothing is ever deleted or replaced.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the folder {folder}: {error.strerror}") from error
        lock = _lock_folder(folder)
        path = folder / DATABASE
        writer: sqlite3.Connection | None = None
        try:
            # Made by us: functions' variables may be secrets. SQLite gives its log the same permissions.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            writer = _connect(path)
            _set_up(writer, durable)
            _migrate(writer, path)
            reader = _connect(path)
            reader.execute("PRAGMA query_only = ON")
        except BaseException as error:
            if writer is not None:
                writer.close()
            os.close(lock)
            if isinstance(error, OSError):
                raise StoreError(f"cannot open the database {path}: {error.strerror}") from error
            if isinstance(error, sqlite3.Error):
                raise StoreError(_explain(error, path)) from error
            raise
        return cls(folder, lock, writer, reader)

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query, read on the caller's thread: everything that is committed, and nothing else.

        Never waits for the writer. Raises StoreError.
        """
        self._refuse_closed()
        with self._reading:
            try:
                return self._reader.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                raise StoreError(_explain(error, self.path)) from error

    async def write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run `job` on the writer's thread, in its next transaction; what it returned, after the commit.

        Jobs run in the order they were given. One that raises is undone, and its exception raised here.
        Raises StoreError when the disk or the database fails: nothing of the job was kept then. Cancelling
        the waiter does not undo the job.
        """
        return await self.submit(job)

    def submit(self, job: Callable[[sqlite3.Connection], T]) -> "asyncio.Future[T]":
        """`write`, for callers that want the future itself: no task of theirs need wait."""
        self._refuse_closed()
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = self._loop.create_future()
        if not self._awaited:
            sys.setswitchinterval(_PROMPT)
        self._awaited += 1
        self._give(_Job(job, future))
        return future

    async def close(self) -> None:
        """Write what waits, then close the database and let go of the folder. A second time does nothing."""
        if self._closed:
            return
        self._closed = True
        self._hand_over()
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._reader.close()
        self._writer.close()
        os.close(self._lock)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StoreError(f"the database {self.path} is closed")

    def _give(self, job: _Job) -> None:
        """Give a job to the writer, with all others of this turn of the loop: they share a transaction."""
        self._given.append(job)
        if len(self._given) == 1:
            asyncio.get_running_loop().call_soon(self._hand_over)

    def _hand_over(self) -> None:
        if self._given:
            self._jobs.put(self._given)
            self._given = []

    # The writer's thread.

    def _write_all(self) -> None:
        _have_exact_timers()
        last = False
        while not last:
            jobs: list[_Job] = []
            next = self._jobs.get()
            while True:
                if next is None:
                    last = True
                else:
                    jobs += next
                try:
                    next = self._jobs.get_nowait()
                except queue.Empty:
                    break
            if jobs:
                self._transact(jobs)
                self._deliver(jobs)

    def _transact(self, jobs: list[_Job]) -> None:
        """One transaction of them all. Whatever fails, the next one begins afresh."""
        connection = self._writer
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                self._run(job, connection)
            connection.execute("COMMIT")
            self._commits += 1
        except sqlite3.Error as error:
            try:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            except sqlite3.Error:
                pass  # the first error is the one to tell of
            message = _explain(error, self.path)
            for job in jobs:
                job.error = StoreError(message)  # one each: a raised exception collects where it was raised

    def _run(self, job: _Job, connection: sqlite3.Connection) -> None:
        """Run one job in a savepoint. Raises sqlite3.Error if the whole transaction is lost."""
        connection.execute("SAVEPOINT job")
        try:
            job.result = job.run(connection)
        except BaseException as error:
            if isinstance(error, sqlite3.Error) and (_is_trouble(error) or not connection.in_transaction):
                raise
            # A future cannot hold StopIteration, which a job's `next(rows)` may well raise.
            job.error = RuntimeError(repr(error)) if isinstance(error, StopIteration) else error
            connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")

    def _deliver(self, jobs: list[_Job]) -> None:
        assert self._loop is not None  # the jobs came from there
        with contextlib.suppress(RuntimeError):  # it has ended, and with it everyone who waited
            self._loop.call_soon_threadsafe(self._deliver_all, jobs)

    def _deliver_all(self, jobs: list[_Job]) -> None:
        """On the loop again: tell everyone who waits."""
        self._awaited -= len(jobs)
        if not self._awaited:
            sys.setswitchinterval(self._interval)
        for job in jobs:
            job.deliver()


Told = Callable[[StoreError | None], None]
"""Is called when something was written, or with the reason why it was not."""


class Grouped(Generic[Item]):
    """Many small changes of one kind, made with few statements.

    Each statement gives the interpreter's lock away and must get it back from a busy loop. So items are
    collected until the writer has time for them, and are then handed to `write` all at once.
    """

    def __init__(self, store: Store, write: Callable[[sqlite3.Connection, Sequence[Item]], object]) -> None:
        self._store = store
        self._write = write
        self._lock = threading.Lock()
        self._open: _Group[Item] | None = None  # still takes items: the writer has not come to it

    def add(self, item: Item, told: Told) -> None:
        """Have `item` written; `told` is called on the loop after the commit. Raises StoreError if closed."""
        with self._lock:
            group = self._open
            if group is not None:
                group.items.append(item)
                group.told.append(told)
                return
            group = self._open = _Group(item, told)
        try:
            written = self._store.submit(lambda connection: self._take(group, connection))
        except StoreError:
            self._open = None
            raise
        written.add_done_callback(lambda written: self._deliver(group, written))

    def _take(self, group: "_Group[Item]", connection: sqlite3.Connection) -> None:
        with self._lock:
            self._open = None
        self._write(connection, group.items)

    def _deliver(self, group: "_Group[Item]", written: "asyncio.Future[None]") -> None:
        if self._open is group:
            self._open = None  # its transaction failed before it was taken
        failure = written.exception()
        for told in group.told:
            told(None if failure is None else StoreError(str(failure)))


class _Group(Generic[Item]):
    """Items that are written together, and who is told of each."""

    __slots__ = ("items", "told")

    def __init__(self, item: Item, told: Told) -> None:
        self.items = [item]
        self.told = [told]


def backup(database: Path, to: Path) -> None:
    """Copy `database`, which may be in use by any process, to the file `to` as it is at this moment.

    `to` is replaced when the copy is whole. Writers go on meanwhile. Blocks; raises StoreError.
    """
    if not database.is_file():
        raise StoreError(f"there is no database {database}")
    if to.exists() and to.samefile(database):
        raise StoreError(f"{to} is the database itself: name another file for its copy")
    partial = to.with_name(f"{to.name}.{os.getpid()}.partial")
    try:
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        source = _connect(database, "?mode=ro")
        try:
            target = _connect(partial)
            try:
                # All pages in one step see one moment; in several, each write would start the copy again.
                source.backup(target, pages=-1)
            finally:
                target.close()
        finally:
            source.close()
        os.replace(partial, to)
        disk.sync(to.parent)
    except (OSError, sqlite3.Error) as error:
        partial.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, OSError) else _explain(error, database)
        raise StoreError(f"cannot copy {database} to {to}: {reason}") from error


def _have_exact_timers() -> None:
    """Have this thread's timers fire when they are due: Linux adds 50 µs, to wake fewer processors."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)


def _lock_folder(folder: Path) -> int:
    """Take the folder for this process; the kernel lets go of it when the process ends, however it ends."""
    path = folder / LOCK
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot use the folder {folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 32).decode("ascii", "replace").strip()
        os.close(lock)
        who = f"process {holder}" if holder else "another process"
        raise StoreError(
            f"the folder {folder} is in use by {who}: stop it, or choose another folder"
        ) from None
    except OSError as error:
        os.close(lock)
        raise StoreError(f"cannot lock {path}: {error.strerror}; is it on a local disk?") from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    return lock


def _connect(path: Path, query: str = "") -> sqlite3.Connection:
    """A connection whose transactions are ours to begin and to end, usable from any thread."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}{query}",
        uri=True,
        timeout=_BUSY,
        isolation_level=None,
        check_same_thread=False,
    )


def _set_up(connection: sqlite3.Connection, durable: bool) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError("the database needs a write-ahead log, which its file system does not allow")
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT}")
    connection.execute("PRAGMA foreign_keys = ON")


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to date. Raises StoreError if it is of a later version of Penstock."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise StoreError(
            f"the database {path} is of a newer version of Penstock (its schema is {version}, this version"
            f" knows {len(MIGRATIONS)}): use that version, or another folder"
        )
    for number in range(version, len(MIGRATIONS)):
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE; {MIGRATIONS[number]}; PRAGMA user_version = {number + 1}; COMMIT;"
            )
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _code(error: sqlite3.Error) -> int:
    """SQLite's result code, without its extension."""
    code: int = getattr(error, "sqlite_errorcode", 0) or 0
    return code & 0xFF


def _is_trouble(error: sqlite3.Error) -> bool:
    return _code(error) in _TROUBLE


def _explain(error: sqlite3.Error, path: Path) -> str:
    """What went wrong, where, and what to do about it."""
    match _code(error):
        case sqlite3.SQLITE_FULL:
            return f"the disk of {path} is full ({error})"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return (
                f"the database {path} is damaged ({error}); nothing was changed:"
                " put a backup in its place, or move it away to begin anew"
            )
        case sqlite3.SQLITE_BUSY:
            return f"another program keeps the database {path} locked ({error})"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            return f"the database {path} cannot be opened for writing ({error})"
    return f"the database {path} failed: {error}"
