"""Newline-delimited JSON, application/x-ndjson: one JSON text a line, UTF-8. https://github.com/ndjson/ndjson-spec

The decoder gives lines, not values: what to do with a bad one is for the reader of it.
"""

import json

from . import limits

CONTENT_TYPE = "application/x-ndjson"
MAX_LINE = 16 * limits.MIB

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class LineTooLong(ValueError):
    """A line longer than the decoder takes."""


def encode(value: object) -> bytes:
    """One line: compact JSON and a newline. Raises TypeError or ValueError for what JSON cannot hold."""
    text = _encode(value)
    if text.isascii():
        return text.encode() + b"\n"
    # NEL, LINE SEPARATOR and PARAGRAPH SEPARATOR end a line for str.splitlines, and so for httpx's
    # iter_lines. They stand in strings only, where the escape says the same.
    text = text.replace("\x85", "\\u0085").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        # Half a surrogate pair, as a language model cuts an emoji: JSON can say it, escaped; UTF-8 cannot.
        return json.dumps(value, separators=(",", ":")).encode() + b"\n"


class Decoder:
    """Cuts a stream into lines. `feed` it reads, however they are cut; call `end` when the stream ends."""

    __slots__ = ("_kept", "_max_line")

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._kept = bytearray()
        self._max_line = max_line  # bytes before the newline

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without LF or CRLF; empty ones too. Raises LineTooLong."""
        first, *lines = data.split(b"\n")
        room = self._max_line - len(self._kept)
        # Only then can a line be too long: in the common case two lengths are compared, not each line's.
        if len(data) > room and (len(first) > room or any(len(line) > self._max_line for line in lines)):
            raise LineTooLong(f"expected a line of at most {self._max_line} bytes, got more")
        kept = self._kept
        if not lines:
            kept += first
            return []
        if kept:
            kept += first
            first = bytes(kept)
            kept.clear()
        kept += lines.pop()
        lines.insert(0, first)
        return [line.removesuffix(b"\r") for line in lines] if b"\r" in data or first[-1:] == b"\r" else lines

    def end(self) -> list[bytes]:
        """The last line, if no newline ended it."""
        line = bytes(self._kept)
        self._kept.clear()
        return [line.removesuffix(b"\r")] if line else []
