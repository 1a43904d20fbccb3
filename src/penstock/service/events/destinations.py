"""Destinations: where the record of an asynchronous invocation goes, and what it says.

A destination is a function's ARN, which is called with the record as its event, or `file:///path.jsonl`,
an extension: each record becomes a line of that file.

Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from penstock.protocol import strict_json
from penstock.protocol.call import Outcome

from .queue import Event

_UNHANDLED = "Unhandled"  # AWS's functionError of every function that failed
_SHOWN = 64 * 1024  # bytes of a lost record in the log


class DestinationError(Exception):
    """A record could not be delivered; the message says why."""


@dataclass(frozen=True, slots=True)
class ToFunction:
    """A destination that is a function."""

    name: str
    qualifier: str = ""


@dataclass(frozen=True, slots=True)
class ToFile:
    """A destination that is a file."""

    path: Path


@dataclass(frozen=True, slots=True)
class Answer:
    """What the last attempt came to."""

    outcome: Outcome
    version: str  # that ran
    body: bytes  # the response, or the error document


def check_destination(text: str) -> str:
    """Why `text` cannot be a destination; "" if it can. Whether a function exists is not looked at."""
    if text.startswith("file:"):
        return _check_file(text)
    parts = text.split(":")
    if parts[0] != "arn" or len(parts) < 6:
        return f"{text} is neither a function's ARN nor file:///path."
    if parts[2] != "lambda":
        return f"{text} is not here: a destination is a function's ARN, or file:///path."
    if len(parts) not in (7, 8) or parts[5] != "function" or not all(parts[6:]):
        return f"{text} is not the ARN of a function, a version or an alias."
    return ""


def _check_file(text: str) -> str:
    try:
        url = urlsplit(text)
    except ValueError:
        return f"{text} is no URL."
    path = unquote(url.path)
    if url.netloc or not path.startswith("/") or url.query or url.fragment or "\0" in path:
        return f"{text} is not of the form file:///path (a # or ? in it is written %23, %3F)."
    if path.endswith("/") or os.path.isdir(path):
        return f"{path} is a folder: records are lines of a file."
    if not os.path.isdir(os.path.dirname(path)):
        return f"The folder {os.path.dirname(path)} does not exist."
    return ""


def parse_destination(text: str) -> ToFunction | ToFile:
    """What a text that passed `check_destination` means."""
    if text.startswith("file:"):
        return ToFile(Path(unquote(urlsplit(text).path)))
    return ToFunction(*text.split(":")[6:8])


def record(event: Event, arn: str, condition: str, attempts: int, answer: Answer | None, now: float) -> bytes:
    """The record of an event that is done with: AWS's version 1.0, JSON text without line ends.

    `arn` has the qualifier. Without an answer (the last attempt never reached the function) there is no
    response in it, as in AWS's of a function whose reserved concurrency is 0.
    """
    context = {
        "requestId": event.call.request_id,
        "functionArn": arn,
        "condition": condition,
        "approximateInvokeCount": attempts,
    }
    parts = [
        b'{"version":"1.0","timestamp":"%b"' % _timestamp(now).encode(),
        b'"requestContext":' + _json(context),
        b'"requestPayload":' + _line(event.call.payload),  # was JSON when it was accepted
    ]
    if answer is not None:
        response: dict[str, object] = {"statusCode": 200, "executedVersion": answer.version}
        if not answer.outcome.ok:
            response["functionError"] = _UNHANDLED
        parts += [b'"responseContext":' + _json(response), b'"responsePayload":' + _payload(answer.body)]
    return b",".join(parts) + b"}"


def append(path: Path, line: bytes) -> None:
    """Add a line to a file, and wait for the disk. One at a time. Raises DestinationError.

    A line is there whole or not at all, unless the process is killed while it is written: then the next one
    begins on a new line all the same.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            data = b"%b%b\n" % (b"\n" if torn else b"", line)
            try:
                while data:
                    data = data[os.write(descriptor, data) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DestinationError(f"cannot write to {path}: {error.strerror}") from error


def shown(record: bytes) -> str:
    """A record for the log, cut if it is very long."""
    text = record[:_SHOWN].decode("utf-8", "replace")
    return text if len(record) <= _SHOWN else f"{text}… ({len(record):,} bytes)"


def _payload(body: bytes) -> bytes:
    """A response as JSON: what it is, or the text of one that is no JSON (a stream of lines, for example)."""
    if not body:
        return b"null"
    try:
        strict_json.loads(body)
    except (ValueError, RecursionError):
        return _json(body.decode("utf-8", "replace"))
    return _line(body)


def _line(text: bytes) -> bytes:
    """JSON text on one line: outside strings a line end is white space, and inside there are none."""
    return text.replace(b"\n", b" ").replace(b"\r", b" ")


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _timestamp(now: float) -> str:
    milliseconds = int(now * 1000)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    return f"{moment}.{milliseconds % 1000:03d}Z"
