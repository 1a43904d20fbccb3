"""`penstock invoke`: call a function through the Lambda API and show its response as it comes.

Standard library only, so it is there wherever `penstock` is. The body goes to stdout, nothing else does;
status and headers, the log tail and errors go to stderr.
"""

import base64
import http.client
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from penstock.client.signing import Signer
from penstock.protocol import eventstream, lambda_api, limits, prelude

from .endpoint import Connection, endpoint_url
from .errors import CommandError, UsageError
from .output import escape

LONGEST_TOKEN = 12  # of JSON, strings aside: an escaped pair of surrogates

_MISSING = "`aws lambda list-functions` tells what there is, and `penstock dev` does when it starts"


@dataclass(frozen=True, slots=True)
class Ended:
    """How the invocation ended. An `error_code` means that it failed."""

    error_code: str = ""
    error: str = ""  # the error document
    log: bytes = b""


def invoke(options: Mapping[str, Any], environ: Mapping[str, str]) -> int:
    """Call the function of `options`; the exit code. Raises CommandError."""
    payload = read_payload(options["payload"], sys.stdin.buffer)
    url = endpoint_url(options["endpoint_url"], environ)
    body = Body(sys.stdout.buffer, sys.stderr, raw=options["raw"])
    tail = options["log_type"] == "Tail"
    call = _call_buffered if options["buffered"] else _call_streaming
    ended = call(url, Signer(environ), options["function"], payload, tail, body)
    return _report(ended, sys.stderr)


def read_payload(text: str, stdin: BinaryIO) -> bytes:
    """The event that --payload means, checked to be JSON. Raises UsageError."""
    if text == "-":
        where, data = "stdin", stdin.read()
    elif text.startswith("@"):
        where = text[1:]
        try:
            data = Path(where).read_bytes()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"--payload: cannot read {where}: {reason}") from error
    else:
        where, data = "", text.encode("utf-8", "surrogateescape")
    source = f"--payload {where}".rstrip()
    try:
        json.loads(data.decode())
    except UnicodeDecodeError as error:
        raise UsageError(f"{source}: expected JSON in UTF-8, got byte {error.start} that is not") from error
    except json.JSONDecodeError as error:
        hint = "" if where else "; a file is given as @file"
        raise UsageError(
            f"{source}: not JSON: {error.msg} at line {error.lineno}, column {error.colno}{hint}"
        ) from error
    except RecursionError as error:
        raise UsageError(f"{source}: nested too deeply") from error
    return data


class Body:
    """Writes a payload to stdout as it comes, after taking the prelude off if it has one.

    The Lambda API does not say whether a payload begins with a prelude. One is there if a JSON object is
    followed by NUL bytes; so what begins with `{` is held until the object is complete, and no longer.
    """

    def __init__(self, out: BinaryIO, told: TextIO, *, raw: bool) -> None:
        self._out = out
        self._told = told
        self._held: bytearray | None = None if raw else bytearray()

    def write(self, data: bytes) -> None:
        if self._held is not None:
            self._held += data
            if not _settled(self._held):
                return
            data = self._take()
        self._write(data)

    def end(self) -> None:
        """The payload is over: write what is still held."""
        if self._held:
            self._write(self._take())

    def _write(self, data: bytes) -> None:
        try:
            self._out.write(data)
            self._out.flush()
        except BrokenPipeError:
            raise  # the reader has what it wanted
        except OSError as error:
            raise CommandError(f"cannot write to stdout: {error.strerror}") from error

    def _take(self) -> bytes:
        held, self._held = bytes(self._held or b""), None
        if prelude.DELIMITER not in held[: limits.PRELUDE] or not held.startswith(b"{"):
            return held
        decoder = prelude.Decoder()
        try:
            found = decoder.feed(held)
        except prelude.PreludeError:
            return held
        if found is None:
            return held
        lines = [f"status: {found.status}"]
        lines += [f"{name}: {value}" for name, value in found.headers.items()]
        lines += [
            f"{name}: {value}" for name, values in found.multi_value_headers.items() for value in values
        ]
        lines += [f"set-cookie: {value}" for value in found.cookies]
        self._told.write("".join(f"{escape(line)}\n" for line in lines) + "\n")
        self._told.flush()
        return bytes(decoder.rest)


def _settled(held: bytes | bytearray) -> bool:
    """Whether `held`, the beginning of a payload, tells if a prelude is in front."""
    if not held.startswith(b"{") or prelude.DELIMITER in held or len(held) >= limits.PRELUDE:
        return True
    try:
        # latin-1 cannot fail on half a character, and brackets and quotes are where they are in UTF-8.
        _, end = json.JSONDecoder(strict=False).raw_decode(held.decode("latin-1"))
    except json.JSONDecodeError as error:
        # Near its end it may just be cut: "Unterminated string" is told of the string's beginning.
        cut = error.msg.startswith("Unterminated string") or error.pos + LONGEST_TOKEN >= len(held)
        return not cut
    except RecursionError:
        return True
    return any(held[end:])


def _call_streaming(url: str, signer: Signer, function: str, payload: bytes, tail: bool, body: Body) -> Ended:
    headers = {lambda_api.LOG_TYPE: "Tail"} if tail else {}
    with Connection(url, signer, missing=_MISSING) as connection:
        response = connection.post(lambda_api.stream_path(function), payload, headers)
        for message in _messages(response):
            kind = message.headers.get(":event-type", "")
            if kind == "PayloadChunk":
                body.write(message.payload)
            elif kind == "InvokeComplete":
                body.end()
                return _completed(message.payload)
            elif message.headers.get(":message-type") == "exception":
                body.end()
                kind = message.headers.get(":exception-type", "exception")
                raise CommandError(f"{kind}: {message.payload.decode(errors='replace')}")
    body.end()
    raise CommandError(f"the response broke off: {url} closed the connection before InvokeComplete")


def _completed(payload: bytes) -> Ended:
    try:
        document = json.loads(payload)
        log = base64.b64decode(document.get("LogResult", ""))
        return Ended(document.get("ErrorCode", ""), document.get("ErrorDetails", ""), log)
    except (ValueError, AttributeError, TypeError) as error:
        raise CommandError(f"InvokeComplete is not what AWS sends: {payload[:80]!r}") from error


def _messages(response: http.client.HTTPResponse) -> Iterator[eventstream.Message]:
    decoder = eventstream.Decoder()
    # read1 gives what is there; read would wait for a full buffer.
    while data := response.read1(limits.MIB):
        yield from decoder.feed(data)
    decoder.end()


def _call_buffered(url: str, signer: Signer, function: str, payload: bytes, tail: bool, body: Body) -> Ended:
    headers = {lambda_api.INVOCATION_TYPE: "RequestResponse", lambda_api.LOG_TYPE: "Tail" if tail else "None"}
    with Connection(url, signer, missing=_MISSING) as connection:
        response = connection.post(lambda_api.invoke_path(function), payload, headers)
        log = base64.b64decode(response.getheader(lambda_api.LOG_RESULT) or "")
        data = response.read()
        if code := response.getheader(lambda_api.FUNCTION_ERROR):
            return Ended(code, data.decode(errors="replace"), log)
        body.write(data)
        body.end()
        return Ended(log=log)


def _report(ended: Ended, told: TextIO) -> int:
    if ended.log:
        lines = ended.log.decode("utf-8", "replace").splitlines()
        told.write("".join(f"{escape(line)}\n" for line in lines))
    if not ended.error_code:
        return 0
    told.write(f"penstock: the function failed: {escape(_error_type(ended))}\n")
    if ended.error:
        told.write(_pretty(ended.error))
    return 1


def _error_type(ended: Ended) -> str:
    """What the function raised; AWS's code is no more than Runtime.Unknown for what Python raises."""
    try:
        return str(json.loads(ended.error)["errorType"])
    except (ValueError, LookupError, TypeError):
        return ended.error_code


def _pretty(document: str) -> str:
    """An error document for reading: the stack trace as the lines it was, the rest indented JSON."""
    try:
        parsed = json.loads(document)
    except ValueError:
        return escape(document) + "\n"
    if not isinstance(parsed, dict):
        return escape(document) + "\n"
    trace = parsed.pop("stackTrace", None) or []
    lines = json.dumps(parsed, indent=2, ensure_ascii=False).splitlines()
    if isinstance(trace, list):
        for entry in trace:
            lines += str(entry).rstrip("\n").splitlines()
    return "".join(f"{escape(line)}\n" for line in lines)
