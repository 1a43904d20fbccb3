"""Server-sent events, text/event-stream: https://html.spec.whatwg.org/multipage/server-sent-events.html

A line ends in LF, CR or CRLF; an empty line dispatches the event. Lines are split as bytes, before they are
decoded: no byte of a longer UTF-8 sequence is CR or LF, so the result is the same, and a sequence that a read
cuts needs no care.
"""

import re
from dataclasses import dataclass

from . import limits

CONTENT_TYPE = "text/event-stream"
MAX_EVENT = 16 * limits.MIB

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(r"\r\n|\r|\n")
_MAX_RETRY_DIGITS = 18


class EventTooLong(ValueError):
    """An event longer than the decoder takes."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event. In a decoded one, `id` is the last the stream has named, in this event or before it."""

    data: str
    event: str = "message"
    id: str | None = None
    retry: int | None = None  # milliseconds to wait before connecting again


def encode(event: Event) -> bytes:
    """The event and the empty line that dispatches it. Line ends in `data` all become LF for the reader.

    Raises ValueError for an event name or id that holds a line end, or an id that holds NUL.
    """
    lines = []
    for name, value in (("event", event.event), ("id", event.id)):
        if value is not None and (_LINE_END.search(value) or (name == "id" and "\0" in value)):
            raise ValueError(f"expected one line of text as {name}, got {value!r}")
    if event.event not in ("", "message"):
        lines.append(f"event: {event.event}")
    if event.id is not None:
        lines.append(f"id: {event.id}")
    if event.retry is not None:
        lines.append(f"retry: {event.retry:d}")
    lines += [f"data: {line}" for line in _LINE_END.split(event.data)]
    # Half a surrogate pair cannot be said in UTF-8: "?" takes its place.
    return ("\n".join(lines) + "\n\n").encode(errors="replace")


class Decoder:
    """Takes an event stream apart. `feed` it reads, however they are cut.

    There is no `end`: an event without its empty line is dropped, as the specification wants.
    """

    __slots__ = (
        "_data",
        "_event",
        "_id",
        "_kept",
        "_max_event",
        "_past_cr",
        "_retry",
        "_size",
        "_started",
        "last_id",
        "retry",
    )

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self.last_id: str | None = None  # to be sent as Last-Event-ID when connecting again
        self.retry: int | None = None  # the last the stream has named, in milliseconds
        self._max_event = max_event  # bytes of data lines, and of any line
        self._kept = bytearray()  # a line that a read cut
        self._past_cr = False  # a LF that comes now ends no line of its own
        self._started = False  # the first line is read, and with it a byte order mark
        self._data: list[str] = []
        self._size = 0
        self._event = ""
        self._id: str | None = None
        self._retry: int | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes. Raises EventTooLong."""
        if self._past_cr and data:
            data = data.removeprefix(b"\n")
            self._past_cr = False
        if not data:
            return []
        self._past_cr = data.endswith(b"\r")
        lines = data.splitlines(keepends=True)
        unfinished = b"" if data.endswith((b"\r", b"\n")) else lines.pop()
        if lines and self._kept:
            lines[0] = bytes(self._kept) + lines[0]
            self._kept.clear()
        events = [event for line in lines if (event := self._line(line.rstrip(b"\r\n"))) is not None]
        self._kept += unfinished
        self._check(len(self._kept))
        return events

    def _line(self, line: bytes) -> Event | None:
        """The event that this line, which has no line end, dispatches."""
        if not self._started:
            self._started = True
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")  # a comment has an empty name
        text = value.removeprefix(b" ").decode(errors="replace")
        if name == b"data":
            self._size += len(line)
            self._data.append(text)
        elif name == b"event":
            self._event = text
        elif name == b"id" and "\0" not in text:
            self._id = text
        elif name == b"retry" and text.isascii() and text.isdigit() and len(text) <= _MAX_RETRY_DIGITS:
            self.retry = self._retry = int(text)
        self._check(self._size)
        return None

    def _dispatch(self) -> Event | None:
        event = None
        self.last_id = self._id  # only now: after a cut, an event that is not complete must come again
        if self._data:
            event = Event("\n".join(self._data), self._event or "message", self.last_id, self._retry)
        self._data = []
        self._size = 0
        self._event = ""
        self._retry = None
        return event

    def _check(self, size: int) -> None:
        if size > self._max_event:
            raise EventTooLong(f"expected an event of at most {self._max_event} bytes, got more")
