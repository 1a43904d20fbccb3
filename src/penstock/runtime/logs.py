"""What a function's own output looks like: unbuffered lines, `logging` in AWS's format, errors with trace.

Source of the formats: AWS's awslambdaric (bootstrap.py): a handler on the root logger that writes
`[LEVEL]<tab>time<tab>request id<tab>message`, and errors as `[ERROR] Type: message`, then the traceback.
"""

import logging
import sys
import time
from typing import TextIO

from . import errors

_request_id = ""


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
            record.aws_request_id = _request_id
            write(self.format(record))
        except Exception:
            self.handleError(record)


def install() -> None:
    """Make output leave line by line, and give the root logger AWS's format."""
    # Opened anew: the process may have been forked with others in the same place.
    sys.stdout = sys.__stdout__ = _open(1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _open(2)  # type: ignore[misc]
    root = logging.getLogger()
    root.handlers.clear()
    root.addHandler(_Handler())


def _open(fd: int) -> TextIO:
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def write(text: str) -> None:
    sys.stdout.write(text + "\n")
    flush()


def error(raised: BaseException, request_id: str = "") -> None:
    """Log an error the way AWS does."""
    try:
        write(errors.log_text(raised))
    except (OSError, ValueError):
        pass  # the function closed or broke its standard output: nowhere to write to


def flush() -> None:
    """What was printed so far belongs to this invocation: send it before the response ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # closed or replaced by the function
