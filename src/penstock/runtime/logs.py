"""What a function's own output looks like: unbuffered lines, `logging` in AWS's format, errors with trace.

Source of the formats: AWS's awslambdaric (bootstrap.py): a handler on the root logger that writes
`[LEVEL]<tab>time<tab>request id<tab>message`, and errors as `[ERROR] Type: message`, then the traceback.
"""

import logging
import sys
import time
from collections.abc import Callable
from io import TextIOWrapper

from . import errors

_request_id = ""
_own: TextIOWrapper | None = None  # what the runtime itself writes to, whatever the function makes of stdout


_diverted: Callable[[str], None] | None = None  # takes what the runtime itself writes, instead of `_own`


def _the_one() -> str:
    return _request_id


_whose = _the_one


def divert(write: Callable[[str], None], whose: Callable[[], str]) -> None:
    """There is more than one invocation: `whose` says to which a record belongs, `write` takes our own."""
    global _diverted, _whose
    _diverted, _whose = write, whose


def begin(request_id: str) -> None:
    """From here on, log records belong to this invocation."""
    global _request_id
    _request_id = request_id


class _Handler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        formatter = logging.Formatter(
            "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s", "%Y-%m-%dT%H:%M:%S"
        )
        formatter.converter = time.gmtime
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            record.aws_request_id = _whose()
            sys.stdout.write(self.format(record) + "\n")
            flush()
        except Exception:
            self.handleError(record)


def install() -> None:
    """Make output leave line by line, and give the root logger AWS's format."""
    # Opened anew: the process may have been forked with others in the same place.
    global _own
    sys.stdout = sys.__stdout__ = _open(1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _open(2)  # type: ignore[misc]
    _own = _open(1)
    root = logging.getLogger()
    root.handlers.clear()
    root.addHandler(_Handler())


def _open(fd: int) -> TextIOWrapper:
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def error(raised: BaseException) -> None:
    """Log an error the way AWS does."""
    write(errors.log_text(raised))


def write(text: str) -> None:
    """Write to the function's log, whatever the function made of its own streams."""
    flush()
    try:
        if _diverted is not None:
            _diverted(text)
            return
        print(text, file=_own, flush=True)
    except (OSError, ValueError):
        pass  # the function closed the descriptor: nowhere to write to


def flush() -> None:
    """What was printed so far belongs to this invocation: send it before the response ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass  # closed or replaced by the function
