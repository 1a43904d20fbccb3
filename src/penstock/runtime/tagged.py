"""Whose line is it: the output of a process in which many invocations run at once.

What is printed belongs to the invocation in whose context it is printed (`contextvars`): each async handler's
task has one, which tasks it starts inherit, and so has each thread a handler is run in. A thread that the
function starts has none, unless it is run by `contextvars.copy_context().run`.

A line says whose it is. To Penstock's service: the request id between two NUL bytes, before the line. On AWS
it is a JSON object, since there an environment that runs many invocations logs JSON only. A line whose end
has not come waits for it, or for the end of its invocation; so lines of two invocations do not mix.
"""

import io
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from . import logs

_LINE = 256 * 1024 - 64  # characters of a line without an end that are kept: the service cuts at 256 KiB
_UNENDED = 4096  # lines without an end that are kept: of tasks that print when their invocation has ended

current: ContextVar[str] = ContextVar("penstock.request_id", default="")

Frame = Callable[[str, str], str]  # of a request id and a line: the line as it is written


def install(own: bool) -> None:
    """Have what is printed and logged from here on say whose it is; `own`: to Penstock's service."""
    frame = tag if own else _as_json
    sys.stdout = sys.__stdout__ = Lines(1, frame)  # type: ignore[misc, assignment]
    sys.stderr = sys.__stderr__ = Lines(2, frame)  # type: ignore[misc, assignment]
    written = Lines(1, frame)
    logs.divert(written.record, current.get)
    if not own:
        root = logging.getLogger()
        root.handlers.clear()
        root.addHandler(_JsonHandler(Lines(1, lambda request_id, line: line)))


def end(request_id: str) -> None:
    """An invocation has ended: what it printed last has no line end, and goes out as it is."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Lines):
            stream.end(request_id)


def tag(request_id: str, line: str) -> str:
    """A line for Penstock's service."""
    return f"\0{request_id}\0{line}" if request_id else line


def _as_json(request_id: str, line: str) -> str:
    record = {"timestamp": _timestamp(time.time()), "message": line, "requestId": request_id}
    return json.dumps({name: value for name, value in record.items() if value}, ensure_ascii=False)


def _timestamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class Lines(io.TextIOBase):
    """A text stream that writes whole lines to a descriptor, each framed with its invocation's id."""

    encoding = "utf-8"
    errors = "backslashreplace"
    line_buffering = True

    def __init__(self, fd: int, frame: Frame) -> None:
        self.name = f"<fd {fd}>"
        self._fd = fd
        self._frame = frame
        self._unended: dict[str, str] = {}  # by request id
        self._lock = threading.RLock()  # again, by a finalizer that prints
        self.buffer = _Bytes(self)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        request_id = current.get()
        with self._lock:
            *lines, rest = (self._unended.pop(request_id, "") + text).split("\n")
            while len(rest) > _LINE:
                lines.append(rest[:_LINE])
                rest = rest[_LINE:]
            if rest:
                self._unended[request_id] = rest
                if len(self._unended) > _UNENDED:
                    self.end(next(iter(self._unended)))
            self._send("".join(self._frame(request_id, line) + "\n" for line in lines))
        return len(text)

    def record(self, text: str) -> None:
        """Write text of the runtime's own, which may be of several lines."""
        request_id = current.get()
        whole = [text] if self._frame is _as_json else text.split("\n")
        with self._lock:
            self._send("".join(self._frame(request_id, line) + "\n" for line in whole))

    def end(self, request_id: str) -> None:
        with self._lock:
            rest = self._unended.pop(request_id, "")
            if rest:
                self._send(self._frame(request_id, rest) + "\n")

    def _send(self, text: str) -> None:
        data = text.encode(self.encoding, self.errors)
        while data:
            data = data[os.write(self._fd, data) :]

    def reconfigure(self, **options: Any) -> None:
        """As what stands here otherwise has it; lines leave as lines, whatever is said."""

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer`: bytes become text, and lines like all others."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def write(self, data: Any) -> int:
        self._lines.write(bytes(data).decode("utf-8", "backslashreplace"))
        return len(data)

    def fileno(self) -> int:
        return self._lines.fileno()

    def writable(self) -> bool:
        return True


class _JsonHandler(logging.Handler):
    """Log records as AWS's JSON format has them: awslambdaric, lambda_runtime_log_utils.py."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: dict[str, Any] = {
                "timestamp": _timestamp(record.created),
                "level": record.levelname,
                "message": record.getMessage(),
                "logger": record.name,
                "requestId": current.get(),
            }
            if record.exc_info and record.exc_info[0] is not None:
                import traceback

                fields["errorType"] = record.exc_info[0].__name__
                fields["errorMessage"] = str(record.exc_info[1])
                fields["stackTrace"] = traceback.format_tb(record.exc_info[2])
            kept = {name: value for name, value in fields.items() if value}
            self._lines.record(json.dumps(kept, ensure_ascii=False, default=str))
        except Exception:
            self.handleError(record)
