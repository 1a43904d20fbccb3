"""What functions print, kept for reading later and told to whoever follows: as NDJSON, bounded per function.

`MemoryLogs` is `dev`'s, `DiskLogs` is `serve`'s:

    <folder>/<function>/00000001.ndjson    segments, an eighth of the bound each; the oldest goes first

A line costs the event loop a few microseconds. On disk it is a thread that writes, and keeps no file open;
a disk that is slow, full or gone costs lines, which are counted and told, and never holds up a function.
"""

import asyncio
import json
import logging
import os
import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import lru_cache
from pathlib import Path

from penstock.protocol.limits import KIB, MIB

from .logs import LogLine

MEMORY = MIB  # bytes kept of a function's log in memory
HISTORY = 16 * MIB  # bytes read of it at once; the newest

_FOLLOWER = MIB  # bytes held for a follower that is slower than the function
_WAITING = 8 * MIB  # bytes held for the disk, of all functions
_GATHER = 0.02  # seconds between two writes
_SEGMENTS = 8  # in which a function's log is kept on disk
_SEGMENT = 64 * KIB  # at least
_SUFFIX = ".ndjson"
_NUMBERED = re.compile(r"\d{8,}" + re.escape(_SUFFIX))
_TIME = slice(9, 33)  # of a line: {"time":"2026-01-31T12:00:00.000Z", …

_log = logging.getLogger("penstock.service")
_string = json.encoder.encode_basestring
_PLATFORM = ',"platform":true'


def encode(now: float, line: LogLine) -> bytes:
    """A line as NDJSON. `now` is Unix time; its place and width are fixed, so lines can be compared."""
    # Written out: a JSON encoder takes four times as long.
    text = (
        f'{{"time":"{iso(now)}","environment":{_string(line.environment)},'
        f'"requestId":{_string(line.request_id)},"message":{_string(line.text)}'
        f"{_PLATFORM if line.platform else ''}}}\n"
    )
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate becomes \udXXX, which is JSON for it


def iso(now: float) -> str:
    """2026-01-31T12:00:00.000Z"""
    global _latest
    milliseconds = int(now * 1000)
    known, text = _latest
    if milliseconds != known:
        second, rest = divmod(milliseconds, 1000)
        text = f"{_iso(second)}.{rest:03d}Z"
        _latest = (milliseconds, text)  # one assignment: threads use this
    return text


_latest = (0, "1970-01-01T00:00:00.000Z")  # many lines share a millisecond


@lru_cache(maxsize=4)
def _iso(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


class Follower:
    """Somebody who reads along, as fast as they can: what is too much for them is counted, not kept."""

    def __init__(self, logs: "LogStore", function: str, request_id: str, wake: Callable[[], None]) -> None:
        self.ended = False  # nothing more will come
        self._logs = logs
        self._function = function
        self._mark = _mark(request_id)
        self._wake = wake
        self._held: list[bytes] = []
        self._size = 0
        self._missed = 0

    def take(self) -> list[bytes]:
        """The lines since the last time; how many are missing comes as `{"missed": N}`."""
        lines, self._held = self._held, []
        if self._missed:
            lines.append(b'{"missed":%d}\n' % self._missed)
        self._size = self._missed = 0
        return lines

    def close(self) -> None:
        """Read no further."""
        self.ended = True
        self._logs.unfollow(self._function, self)

    def add(self, line: bytes) -> None:
        """For the log store."""
        if self._mark not in line:
            return
        if self._missed or (self._held and self._size + len(line) > _FOLLOWER):
            self._missed += 1
            return
        self._held.append(line)
        self._size += len(line)
        if len(self._held) == 1:
            self._wake()

    def end(self) -> None:
        """For the log store."""
        self.ended = True
        self._wake()


class LogStore:
    """Functions' logs. Used from one event loop.

    `write` takes every line; `follow` and then `history`, without an await between them, give each line once.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._followers: dict[str, list[Follower]] = {}

    def write(self, line: LogLine) -> None:
        """Keep a line, and tell it to its followers. A LogSink."""
        now = self._clock()
        self._keep(now, line)
        if followers := self._followers.get(line.function):
            data = encode(now, line)
            for follower in followers:
                follower.add(data)

    def follow(self, function: str, wake: Callable[[], None], request_id: str = "") -> Follower:
        """Read along from now on. `wake` is called when there is something to take, until it was taken.

        Of one request with `request_id`, of which the beginning is enough.
        """
        follower = Follower(self, function, request_id, wake)
        self._followers.setdefault(function, []).append(follower)
        return follower

    def unfollow(self, function: str, follower: Follower) -> None:
        """For followers."""
        followers = self._followers.get(function, [])
        if follower in followers:
            followers.remove(follower)
        if not followers:
            self._followers.pop(function, None)

    def end_followers(self) -> None:
        """Nothing more will come: those who wait for it are told."""
        for followers in list(self._followers.values()):
            for follower in list(followers):
                follower.end()

    def history(
        self, function: str, *, lines: int | None = None, since: float | None = None, request_id: str = ""
    ) -> "asyncio.Future[list[bytes]]":
        """What is kept at the moment of the call, oldest first, of `HISTORY` bytes at most.

        The last `lines` of it, those since a Unix time, those of one request: what fulfils all that is given.
        """
        raise NotImplementedError

    def names(self) -> set[str]:
        """The functions that have a log."""
        raise NotImplementedError

    def forget(self, function: str) -> None:
        """Remove the log of a function that was deleted."""
        raise NotImplementedError

    async def close(self) -> None:
        """Keep what is not yet kept. Nothing may be written afterwards."""
        self.end_followers()

    def _keep(self, now: float, line: LogLine) -> None:
        raise NotImplementedError


class MemoryLogs(LogStore):
    """The last megabyte of each function's log."""

    def __init__(self, size: int = MEMORY, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock)
        self._limit = size
        self._rings: dict[str, _Ring] = {}

    def __repr__(self) -> str:
        return f"<MemoryLogs of {len(self._rings)} functions>"

    def history(
        self, function: str, *, lines: int | None = None, since: float | None = None, request_id: str = ""
    ) -> "asyncio.Future[list[bytes]]":
        ring = self._rings.get(function)
        kept = list(ring.lines) if ring is not None else []

        async def read() -> list[bytes]:
            search = _Search(lines, since, request_id)
            search.look(encode(now, line) for now, line in reversed(kept))
            return search.found()

        return asyncio.ensure_future(read())

    def names(self) -> set[str]:
        return set(self._rings)

    def forget(self, function: str) -> None:
        self._rings.pop(function, None)

    def _keep(self, now: float, line: LogLine) -> None:
        ring = self._rings.get(line.function)
        if ring is None:
            ring = self._rings[line.function] = _Ring()
        ring.lines.append((now, line))
        ring.size += _cost(line)
        while ring.size > self._limit:
            ring.size -= _cost(ring.lines.popleft()[1])


class _Ring:
    __slots__ = ("lines", "size")

    def __init__(self) -> None:
        self.lines: deque[tuple[float, LogLine]] = deque()
        self.size = 0


class DiskLogs(LogStore):
    """The logs below `folder`, at most `size` bytes of each function's."""

    def __init__(self, folder: Path, size: int, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock)
        self._folder = folder
        self._limit = size
        self._held: list[tuple[float, LogLine] | Callable[[], None]] = []
        self._size = 0  # of what is held and of what is being written
        self._dropped: dict[str, int] = {}
        self._closed = False
        self._asleep = False  # the thread waits for something to do
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        # The thread's own.
        self._logs: dict[str, _Segments] = {}
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="penstock-logs", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<DiskLogs {self._folder}>"

    def history(
        self, function: str, *, lines: int | None = None, since: float | None = None, request_id: str = ""
    ) -> "asyncio.Future[list[bytes]]":
        # The thread takes things in order: what was written before this is in the files then.
        segments: Future[list[tuple[Path, int]]] = Future()

        def look() -> None:
            if segments.set_running_or_notify_cancel():
                segments.set_result(_Segments(self._folder / function, self._limit).files())

        self._submit(look)

        async def read() -> list[bytes]:
            files = await asyncio.wrap_future(segments)
            return await asyncio.to_thread(_read, files, _Search(lines, since, request_id))

        return asyncio.ensure_future(read())

    def names(self) -> set[str]:
        with self._changed:
            waiting = {item[1].function for item in self._held if isinstance(item, tuple)}
        try:
            return waiting | set(os.listdir(self._folder))
        except OSError:
            return waiting

    def forget(self, function: str) -> None:
        def remove() -> None:
            self._logs.pop(function, None)
            shutil.rmtree(self._folder / function, ignore_errors=True)

        self._submit(remove)

    async def close(self) -> None:
        await super().close()
        with self._changed:
            self._closed = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    def _keep(self, now: float, line: LogLine) -> None:
        with self._lock:  # the bare lock: entering the condition would be a call of Python
            if self._size >= _WAITING:
                self._dropped[line.function] = self._dropped.get(line.function, 0) + 1
            else:
                self._held.append((now, line))
                self._size += _cost(line)
            if self._asleep:
                self._asleep = False
                self._changed.notify()

    def _submit(self, job: Callable[[], None]) -> None:
        with self._changed:
            if self._closed:
                raise RuntimeError("the logs are closed")
            self._held.append(job)
            self._changed.notify()

    # The thread.

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._held and not self._dropped and not self._closed:
                    self._asleep = True
                    self._changed.wait()
                items, self._held = self._held, []
                dropped, self._dropped = self._dropped, {}
                last = self._closed
            self._work(items)
            for function, count in dropped.items():
                self._write(function, [self._missing(count, "the disk is slow")])
                _log.warning("%s not kept in the log of %s: the disk is slow", _lines_were(count), function)
            with self._changed:
                self._size -= sum(_cost(item[1]) for item in items if isinstance(item, tuple))
            if last and not items:
                return
            if not last:
                time.sleep(_GATHER)

    def _work(self, items: Sequence[tuple[float, LogLine] | Callable[[], None]]) -> None:
        waiting: dict[str, list[bytes]] = {}
        for item in items:
            if isinstance(item, tuple):
                waiting.setdefault(item[1].function, []).append(encode(*item))
            else:
                self._write_all(waiting)
                item()
        self._write_all(waiting)

    def _write_all(self, waiting: dict[str, list[bytes]]) -> None:
        for function, lines in waiting.items():
            self._write(function, lines)
        waiting.clear()

    def _write(self, function: str, lines: list[bytes]) -> None:
        """Append to a function's log. A failure is told once, until it goes well again."""
        try:
            log = self._logs.get(function)
            if log is None:
                log = self._logs[function] = _Segments(self._folder / function, self._limit)
            if log.missing:
                log.append([self._missing(log.missing, "the disk did not take them")])
                log.missing = 0
            log.append(lines)
        except OSError as error:
            if log is not None:
                log.missing += len(lines)  # at most: the first ones may be there
                log.refresh()
            if not self._failing:
                reason = error.strerror or error
                _log.warning("functions' logs cannot be kept in %s: %s", self._folder, reason)
            self._failing = True
        else:
            if self._failing:
                _log.warning("functions' logs are kept again in %s", self._folder)
            self._failing = False

    def _missing(self, count: int, reason: str) -> bytes:
        text = f"penstock: {_lines_were(count)} not kept here: {reason}"
        return encode(self._clock(), LogLine("", "", "", text, platform=True))


class _Segments:
    """The files of one function's log, which is of `limit` bytes at most, one long line aside."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.missing = 0  # lines that could not be written
        self._folder = folder
        self._limit = limit
        self._most = max(limit // _SEGMENTS, _SEGMENT)
        self._sizes: dict[int, int] = {}  # by number, in order
        self.refresh()

    def refresh(self) -> None:
        """See what is there."""
        try:
            with os.scandir(self._folder) as found:
                sizes = {
                    int(each.name.removesuffix(_SUFFIX)): each.stat().st_size
                    for each in found
                    if _NUMBERED.fullmatch(each.name)
                }
        except OSError:
            sizes = {}
        self._sizes = dict(sorted(sizes.items()))
        self._torn = self._ends_within_a_line()

    def files(self) -> list[tuple[Path, int]]:
        """Path and size of each, oldest first."""
        return [(self._path(number), size) for number, size in self._sizes.items()]

    def append(self, lines: list[bytes]) -> None:
        """Write `lines`, into new files where one is full. Raises OSError; some may be written then."""
        batch: list[bytes] = []
        room = -1
        if self._sizes and not self._torn:
            room = self._most - next(reversed(self._sizes.values()))
        for line in lines:
            if len(line) > room:
                self._write(batch)
                self._begin(len(line))
                batch, room = [], self._most
            batch.append(line)
            room -= len(line)
        self._write(batch)

    def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        number = next(reversed(self._sizes))
        data = b"".join(lines)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        with open(os.open(self._path(number), flags, 0o600), "wb", buffering=0) as file:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
        self._sizes[number] += len(data)

    def _begin(self, size: int) -> None:
        """Begin a file, for a line of `size` bytes and others. The oldest ones make room for it."""
        if not self._sizes:
            for folder in (self._folder.parent, self._folder):  # the mode is only for the last of a path
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = next(reversed(self._sizes), 0) + 1
        while self._sizes and sum(self._sizes.values()) + max(size, self._most) > self._limit:
            oldest = next(iter(self._sizes))
            self._path(oldest).unlink(missing_ok=True)
            del self._sizes[oldest]
        self._sizes[number] = 0
        self._torn = False

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08}{_SUFFIX}"

    def _ends_within_a_line(self) -> bool:
        """Whether a kill, or a full disk, has cut the last line."""
        if not self._sizes:
            return False
        try:
            with self._path(next(reversed(self._sizes))).open("rb") as file:
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                return file.read() not in (b"", b"\n")
        except OSError:
            return True


class _Search:
    """Collects what is asked for, looking from the newest line back."""

    def __init__(self, lines: int | None, since: float | None, request_id: str) -> None:
        self.done = lines == 0
        self._found: list[bytes] = []
        self._left = lines
        self._size = 0
        self._since = iso(since).encode() if since is not None else b""
        self._mark = _mark(request_id)

    def look(self, lines: Iterable[bytes]) -> None:
        """`lines` come newest first, with their ends."""
        for line in lines:
            if self.done:
                return
            if not line.startswith(b'{"time":"') or self._mark not in line:
                continue
            self._size += len(line)
            if line[_TIME] < self._since or self._size > HISTORY:
                self.done = True
                return
            self._found.append(line)
            if self._left is not None:
                self._left -= 1
                self.done = not self._left

    def found(self) -> list[bytes]:
        """What was found, oldest first."""
        return self._found[::-1]


def _read(files: list[tuple[Path, int]], search: _Search) -> list[bytes]:
    for path, size in reversed(files):
        if search.done:
            break
        try:
            with path.open("rb") as file:
                data = file.read(size)
        except OSError:
            continue  # it has just become too old
        lines = data.split(b"\n")
        search.look(line + b"\n" for line in reversed(lines[:-1]))
    return search.found()


def _mark(request_id: str) -> bytes:
    """What is in every line of this request, and in no other: a quote within a message is escaped."""
    return f'"requestId":"{request_id}'.encode("utf-8", "backslashreplace") if request_id else b""


def _cost(line: LogLine) -> int:
    """What a line counts for: memory goes to empty ones, too."""
    return len(line.text) + 256


def _lines_were(count: int) -> str:
    return "1 line was" if count == 1 else f"{count:,} lines were"
