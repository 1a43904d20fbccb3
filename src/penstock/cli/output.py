"""What people, and the machines that collect logs, are told by `dev` and `serve`.

Readable for a terminal, JsonLines for a log collector; both write to stderr, a line at a time, and both have
the four methods of Output. Nothing a function or a client sent reaches the terminal raw: control characters
are escaped.
"""

import json
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TextIO

from penstock.protocol.limits import MIB
from penstock.protocol.record import RequestRecord
from penstock.protocol.urls import URL_PREFIX
from penstock.service.logs import LogLine
from penstock.service.logstore import iso


@dataclass(frozen=True, slots=True)
class Listening:
    """What is served, and where."""

    gateway: str  # URL without a slash at its end
    lambda_api: str
    functions: Sequence[tuple[str, str]]  # name, and where its handler is
    python: str
    region: str
    settings: Sequence[tuple[str, str]] = ()  # those not given as flags: "port = 80", and where it was found


class Output(Protocol):
    def listening(self, listening: Listening) -> None:
        """Everything is up."""

    def request(self, record: RequestRecord) -> None:
        """A request at the gateway is over."""

    def log(self, line: LogLine) -> None:
        """A function printed a line, or the platform did about it."""

    def note(self, text: str) -> None:
        """Anything else a person should know."""


class Lines:
    """Writes whole lines to a stream, each at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads the log any more (a closed pipe, a full disk); requests are worth serving


_EACH = 256  # what a line counts for beside its text: memory goes to empty ones, too
_GATHER = 0.01  # seconds between two writes: each takes the interpreter from the requests for a moment


class UnhurriedLines:
    """Lines that a thread of its own writes to a descriptor: whoever reads the log slowly holds nobody up.

    What gathers beyond `limit` is dropped, and so is all after it until the reader has what was kept: it then
    finds one line that says how many are missing.
    """

    def __init__(self, descriptor: int, encoding: str, *, limit: int = 8 * MIB) -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._limit = limit
        self._held: list[str] = []
        self._size = 0  # of what is held and of what is being written
        self._dropped = 0
        self._closed = False
        self._asleep = False  # the thread waits for a line
        self._lock = threading.Lock()  # never held during a write to the descriptor
        self._changed = threading.Condition(self._lock)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self, note: Callable[[str], None]) -> None:
        """Begin to write; `note` makes a line of a text, and gives it to `write`."""
        self._note = note
        self._thread.start()

    def write(self, text: str) -> None:
        with self._lock:  # the bare lock: entering the condition would be a call of Python
            if self._dropped or self._size >= self._limit:
                self._dropped += 1
                return
            self._held.append(text)
            self._size += len(text) + _EACH
            if self._asleep:
                self._asleep = False
                self._changed.notify()

    def close(self, timeout: float) -> None:
        """Give the reader `timeout` seconds to take what is left; the thread ends with the process."""
        with self._lock:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        while lines := self._take():
            try:
                # As Python's own stderr has it, a lone surrogate is written as an escape.
                self._write(("\n".join(lines) + "\n").encode(self._encoding, "backslashreplace"))
            except OSError:
                pass  # as above; past Python's buffer, nothing is left that its exit would flush
            with self._lock:
                self._size -= sum(map(len, lines)) + _EACH * len(lines)
            time.sleep(_GATHER)

    def _take(self) -> list[str]:
        """All that has gathered, once there is something; nothing at the end."""
        with self._lock:
            count = 0 if self._held else self._dropped
            self._dropped -= count
        if count:
            told = "1 log line was" if count == 1 else f"{count:,} log lines were"
            self._note(f"{told} dropped: nobody read them")
        with self._lock:
            while not self._held and not self._closed:
                self._asleep = True
                self._changed.wait()
            lines, self._held = self._held, []
            return lines

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # somebody who shares the terminal or the pipe made it non-blocking
                room = select.poll()
                room.register(self._descriptor, select.POLLOUT)
                room.poll()


class Readable:
    """Lines for a person at a terminal."""

    def __init__(
        self,
        lines: Lines | UnhurriedLines,
        *,
        colour: bool = False,
        verbose: bool = False,
        local_time: Callable[[float], time.struct_time] = time.localtime,
    ) -> None:
        self._write = lines.write
        self._verbose = verbose
        self._local_time = local_time
        self._colour = colour

    def listening(self, listening: Listening) -> None:
        self._write(startup_text(listening, self._bold))

    def request(self, record: RequestRecord) -> None:
        when = time.strftime("%H:%M:%S", self._local_time(record.time))
        parts = [
            self._dim(when),
            f"{escape(record.method)} {escape(record.path)}".rstrip(),
            self._bold(str(record.status)),
        ]
        if record.function:
            parts.insert(2, f"→ {escape(record.function)} {self._dim(short_id(record.request_id))}".rstrip())
        if record.first_byte is not None:
            parts.append(f"first byte {duration(record.first_byte)}")
        parts.append(f"total {duration(record.total)}")
        if record.chunks:
            parts.append(f"{record.chunks} chunk{'s' if record.chunks != 1 else ''}")
        parts.append(size(record.bytes))
        parts.append(self._good(record.ending) if record.ok else self._bad(record.ending))
        line = "  ".join(parts)
        if record.detail:
            line += f"\n          {escape(record.detail)}"
        self._write(line)

    def log(self, line: LogLine) -> None:
        if line.platform and not self._verbose:
            return
        who = f"{line.function} {short_id(line.request_id)}".rstrip()
        text = escape(line.text)
        self._write(f"{self._dim(f'{escape(who)} |')} {self._dim(text) if line.platform else text}")

    def note(self, text: str) -> None:
        self._write(f"{self._dim('penstock:')} {escape(text)}")

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and text else text

    def _bold(self, text: str) -> str:
        return self._paint("1", text)

    def _dim(self, text: str) -> str:
        return self._paint("2", text)

    def _good(self, text: str) -> str:
        return self._paint("32", text)

    def _bad(self, text: str) -> str:
        return self._paint("31", text)


class JsonLines:
    """One JSON object a line: `event` says which kind it is, `time` when it was."""

    def __init__(self, lines: Lines | UnhurriedLines, *, clock: Callable[[], float] = time.time) -> None:
        self._lines = lines
        self._clock = clock

    def listening(self, listening: Listening) -> None:
        self._write(
            "listening",
            self._clock(),
            {
                "gateway": listening.gateway,
                "lambda": listening.lambda_api,
                "functions": [name for name, _ in listening.functions],
                "python": listening.python,
                "region": listening.region,
            },
        )

    # The two that come with every call are written out: a JSON encoder takes four times as long.

    def request(self, record: RequestRecord) -> None:
        first_byte = "null" if record.first_byte is None else repr(record.first_byte)
        self._lines.write(
            f'{{"event": "request", "time": "{iso(record.time)}", "method": {_string(record.method)}, '
            f'"path": {_string(record.path)}, "function": {_string(record.function)}, '
            f'"requestId": {_string(record.request_id)}, "status": {record.status}, '
            f'"firstByte": {first_byte}, "total": {record.total!r}, "chunks": {record.chunks}, '
            f'"bytes": {record.bytes}, "ending": {_string(record.ending)}, '
            f'"ok": {"true" if record.ok else "false"}, "detail": {_string(record.detail)}}}'
        )

    def log(self, line: LogLine) -> None:
        platform = '"platform": true, ' if line.platform else ""
        self._lines.write(
            f'{{"event": "log", "time": "{iso(self._clock())}", "function": {_string(line.function)}, '
            f'"requestId": {_string(line.request_id)}, {platform}"message": {_string(line.text)}}}'
        )

    def note(self, text: str) -> None:
        self._write("note", self._clock(), {"message": text})

    def _write(self, event: str, now: float, members: dict[str, object]) -> None:
        self._lines.write(_JSON({"event": event, "time": iso(now), **members}))


def startup_text(listening: Listening, bold: Callable[[str], str] = str) -> str:
    """What `dev` says when it is up. Every command in it works as it is pasted."""
    names = [name for name, _ in listening.functions]
    first = names[0]
    # One function answers every path; of several, each is under its own.
    url = f"{listening.gateway}/" if len(names) == 1 else f"{listening.gateway}{URL_PREFIX}{first}/"
    width = max(map(len, names))
    served = "\n".join(
        f"  {escape(name):{width}}  {listening.gateway}{URL_PREFIX}{name}/  from {escape(source)}"
        for name, source in listening.functions
    )
    settings = "".join(
        f"  Settings    {escape(value)}, from {escape(where)}\n" for value, where in listening.settings
    )
    several = "" if len(names) == 1 else " (a list of the functions)"
    # The snippet begins at the left edge and ends with an empty line, for a Python prompt's sake.
    return f"""\
{bold("Penstock")} serves

{served}

  Gateway     {bold(listening.gateway + "/")}{several}
  Lambda API  {listening.lambda_api}
  Python      {escape(listening.python)}
{settings}
{bold("See it stream")}, with curl:

curl -N {url}

or with boto3:

import boto3
client = boto3.client("lambda", endpoint_url="{listening.lambda_api}", region_name="{listening.region}",
                      aws_access_key_id="any", aws_secret_access_key="any")
for event in client.invoke_with_response_stream(FunctionName="{first}")["EventStream"]:
    print(event)

Ctrl-C to stop.
"""


def short_id(request_id: str) -> str:
    """Enough of a request id to tell it from the others on the screen."""
    return request_id[:8]


def duration(seconds: float) -> str:
    """0.8 ms, 12 ms, 1.24 s, 2 min 5 s."""
    # Borders are where the form above would round up to its own next unit.
    if seconds < 0.00995:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def size(count: int) -> str:
    """57 B, 6.3 MB, 2.1 GB: decimal units, as networks count."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def escape(text: str) -> str:
    """`text` with everything that could move the cursor or reorder the line written as an escape."""
    return text if text.isascii() and text.isprintable() else text.translate(_ESCAPES)


def wants_colour(stream: TextIO, no_color: str | None) -> bool:
    """Whether `stream` is a terminal whose user did not set NO_COLOR (https://no-color.org)."""
    return not no_color and stream.isatty()


def _escapes() -> dict[int, str]:
    controls = [*range(0x20), *range(0x7F, 0xA0)]
    controls.remove(ord("\t"))
    # Line and paragraph separators, and what changes the direction of writing.
    controls += [0x2028, 0x2029, 0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
    return {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in controls}


_ESCAPES = _escapes()


_JSON = json.JSONEncoder(check_circular=False).encode
_string = json.encoder.encode_basestring_ascii
