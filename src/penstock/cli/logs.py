"""`penstock logs`: what a function has printed, and with --follow what it prints, as it comes.

Standard library only. Lines go to stdout, for reading, or with --json as the NDJSON they come in.
"""

import http.client
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, BinaryIO, TextIO
from urllib.parse import quote, urlencode

from penstock.client.signing import Signer
from penstock.protocol.lambda_api import LOGS_PREFIX
from penstock.protocol.limits import MIB

from .endpoint import Connection, endpoint_url
from .errors import CommandError, UsageError
from .output import escape, short_id, wants_colour

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def logs(options: Mapping[str, Any], environ: Mapping[str, str]) -> int:
    """Show the log of the function of `options`; the exit code. Raises CommandError."""
    url = endpoint_url(options["endpoint_url"], environ)
    path = _path(options, time.time())
    write = _Raw(sys.stdout.buffer) if options["json"] else _Readable(sys.stdout, environ.get("NO_COLOR"))
    try:
        with Connection(url, Signer(environ)) as connection:
            response = connection.get(path)
            for lines in _lines(response):
                write(lines)
    except KeyboardInterrupt:
        if options["follow"]:
            return 0  # which is how it ends
        raise
    if options["follow"]:
        raise CommandError(f"the service at {url} has stopped")
    return 0


def since(text: str, now: float) -> float:
    """The Unix time that --since means: 90s, 10m, 2h or 1d before `now`, or a time. Raises UsageError."""
    if ago := _AGO.fullmatch(text):
        return max(0.0, now - float(ago[1]) * _UNITS[ago[2]])
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"--since: expected 30s, 10m, 2h, 1d or a time such as 2026-01-31T12:00, got {text!r}"
        ) from None


def _path(options: Mapping[str, Any], now: float) -> str:
    query: dict[str, str] = {}
    if options["follow"]:
        query["follow"] = "true"
    if options["lines"] is not None:
        if not (options["lines"].isascii() and options["lines"].isdigit()):
            raise UsageError(f"--lines: expected a whole number, got {options['lines']!r}")
        query["lines"] = options["lines"]
    if options["since"] is not None:
        query["since"] = f"{since(options['since'], now):.3f}"
    if options["request_id"] is not None:
        query["requestId"] = options["request_id"]
    # An ARN is welcome; a function has one log, whatever the version.
    name = options["function"].rpartition("function:")[2].partition(":")[0]
    return f"{LOGS_PREFIX}{quote(name, safe='')}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")


def _lines(response: http.client.HTTPResponse) -> Iterator[list[bytes]]:
    """Whole lines, as many as have come."""
    rest = b""
    # read1 gives what is there; read would wait for a full buffer.
    while data := response.read1(MIB):
        *lines, rest = (rest + data).split(b"\n")
        yield lines


class _Raw:
    """Lines as they come."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def __call__(self, lines: list[bytes]) -> None:
        _written(lambda: self._out.write(b"".join(line + b"\n" for line in lines)), self._out.flush)


class _Readable:
    """Lines for a person: when, which request, what."""

    def __init__(self, out: TextIO, no_color: str | None) -> None:
        self._out = out
        self._colour = wants_colour(out, no_color)

    def __call__(self, lines: list[bytes]) -> None:
        text = "".join(f"{self._line(line)}\n" for line in lines)
        _written(lambda: self._out.write(text), self._out.flush)

    def _line(self, data: bytes) -> str:
        try:
            line = json.loads(data)
            if (missed := line.get("missed")) is not None:
                lines = "1 line is" if missed == 1 else f"{missed:,} lines are"
                return self._dim(f"penstock: {lines} missing here: not read as fast as they came")
            when = datetime.fromisoformat(line["time"]).astimezone()
            who = short_id(line["requestId"] or line["environment"])
            text, platform = escape(line["message"]), line.get("platform", False)
        except (ValueError, TypeError, KeyError, AttributeError):
            return escape(data.decode("utf-8", "replace"))
        head = f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03d} {escape(who):8} |"
        return f"{self._dim(head)} {self._dim(text) if platform else text}"

    def _dim(self, text: str) -> str:
        return f"\x1b[2m{text}\x1b[0m" if self._colour and text else text


def _written(*steps: Callable[[], object]) -> None:
    try:
        for step in steps:
            step()
    except BrokenPipeError:
        raise  # the reader has what it wanted
    except OSError as error:
        raise CommandError(f"cannot write to stdout: {error.strerror}") from error
