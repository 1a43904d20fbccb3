"""A function's log over HTTP, for `penstock logs`: what is kept, then what comes, as NDJSON.

    GET /_penstock/logs/{function}?lines=100&since=1767225600.0&requestId=…&follow=true

Ours, not AWS's. The response to a follower ends with the service. Lines that came faster than they were read
are counted: `{"missed": N}`.
"""

import asyncio
import difflib
import math
import re
from collections import deque
from collections.abc import Collection

from penstock.http.exchange import Exchange
from penstock.http.writer import Writer
from penstock.service.logstore import Follower, LogStore

from .errors import ApiError, invalid_parameter, not_found

LINES = 100  # when nothing is asked for
MOST_LINES = 100_000

_PIECE = 64 * 1024
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # AWS's; so it is a safe name of a file, too
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{0,100}")
_HEADERS = ((b"Content-Type", b"application/x-ndjson"), (b"Cache-Control", b"no-store"))


def logs_exchange(
    writer: Writer,
    query: dict[str, list[str]],
    function: str,
    logstore: LogStore,
    known: Collection[str] = (),
) -> "LogsExchange":
    """Serve the log of `function`, one of `known` or one that has a log. Raises ApiError."""
    if not _NAME.fullmatch(function):
        raise invalid_parameter(f"{function[:100]!r} is not the name of a function")
    if function not in known:
        names = logstore.names()
        if function not in names:
            raise _unknown(function, names.union(known))
    request_id = query.get("requestId", [""])[-1]
    if not _REQUEST_ID.fullmatch(request_id):
        raise invalid_parameter("requestId: expected a request id, or its beginning")
    return LogsExchange(
        writer,
        logstore,
        function,
        lines=_lines(query),
        since=_since(query),
        request_id=request_id,
        follow=_flag(query, "follow"),
    )


class LogsExchange(Exchange):
    """Writes what is kept, then as a follower what comes, as fast as it is read."""

    __slots__ = (
        "_follow",
        "_follower",
        "_function",
        "_history",
        "_lines",
        "_logs",
        "_paused",
        "_request_id",
        "_scheduled",
        "_since",
        "_todo",
        "_writer",
    )

    def __init__(
        self,
        writer: Writer,
        logs: LogStore,
        function: str,
        *,
        lines: int,
        since: float | None,
        request_id: str,
        follow: bool,
    ) -> None:
        self._writer = writer
        self._logs = logs
        self._function = function
        self._lines = lines
        self._since = since
        self._request_id = request_id
        self._follow = follow
        self._follower: Follower | None = None
        self._todo: deque[bytes] = deque()
        self._history: asyncio.Future[list[bytes]] | None = None  # while it is being read
        self._paused = False
        self._scheduled = False

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        # At once, so that the reader knows that it is connected: a log may be silent for long.
        self._writer.start(200, _HEADERS)
        if self._follow:
            self._follower = self._logs.follow(self._function, self._wake, self._request_id)
        self._history = self._logs.history(
            self._function, lines=self._lines, since=self._since, request_id=self._request_id
        )
        self._history.add_done_callback(self._begin)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()

    def lost(self) -> None:
        if self._history is not None:
            self._history.cancel()
        if self._follower is not None:
            self._follower.close()

    def _begin(self, history: "asyncio.Future[list[bytes]]") -> None:
        if history.cancelled():
            return
        self._history = None
        self._todo.extend(history.result())
        self._write()

    def _wake(self) -> None:
        """There is something to write: soon, with all that the environment's output still brings."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        self._scheduled = False
        if self._history is not None:
            return  # first what was before
        ended = self._follower is None or self._follower.ended
        while not self._paused and not self._writer.ended:
            if not self._todo and self._follower is not None:
                self._todo.extend(self._follower.take())
            if not self._todo:
                if ended:
                    self._end()
                return
            self._writer.data([self._piece()])

    def _piece(self) -> bytes:
        lines: list[bytes] = []
        size = 0
        while self._todo and size < _PIECE:
            lines.append(self._todo.popleft())
            size += len(lines[-1])
        return b"".join(lines)

    def _end(self) -> None:
        if self._follower is not None:
            self._follower.close()
        self._writer.end()


def _unknown(function: str, names: Collection[str]) -> ApiError:
    near = difflib.get_close_matches(function, names, 3)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif names:
        shown = sorted(names)[:10]
        hint = f"there {'is' if len(names) == 1 else 'are'} {', '.join(shown)}{', …' * (len(names) > 10)}"
    else:
        hint = "there is none yet"
    return not_found(f"Function not found: {function}; {hint}")


def _lines(query: dict[str, list[str]]) -> int:
    default = MOST_LINES if "since" in query else LINES
    text = query.get("lines", [str(default)])[-1]
    if not (text.isascii() and text.isdigit() and int(text[:10]) <= MOST_LINES):
        raise invalid_parameter(
            f"lines: expected a whole number from 0 to {MOST_LINES:,}, got {text[:100]!r}"
        )
    return int(text)


def _since(query: dict[str, list[str]]) -> float | None:
    if "since" not in query:
        return None
    text = query["since"][-1]
    try:
        since = float(text)
    except ValueError:
        since = math.nan
    if not 0 <= since < 1e11:  # the year 5138: what is more is in milliseconds
        raise invalid_parameter(f"since: expected Unix time in seconds, got {text[:100]!r}")
    return since


def _flag(query: dict[str, list[str]], name: str) -> bool:
    text = query.get(name, ["false"])[-1]
    if text not in ("true", "false"):
        raise invalid_parameter(f"{name}: expected true or false, got {text[:100]!r}")
    return text == "true"
