"""HTTP/1.1 chunked transfer coding, RFC 9112 section 7.1: write chunks; turn reads into payload slices.

    chunked-body = *chunk last-chunk trailer-section CRLF
    chunk        = chunk-size [ chunk-ext ] CRLF chunk-data CRLF

Stricter than the RFC where leniency has been used to smuggle requests: a size is 1 to 8 bare hex digits (no
white space before an extension), a line ends in CRLF and nowhere else, extensions are read over but bounded.
https://www.rfc-editor.org/rfc/rfc9112#section-7.1

`Deframer` and `Counted` (Content-Length) have one face: `feed(read)` gives the payload in that read as views
of it, never joined; `done`, `trailers` and `rest` say how the body ended. End of file before `done` is a cut
transfer; the caller decides what that means.
"""

from __future__ import annotations

from . import limits

TYPE_CHECKING = False  # as in `typing`, which is dear to import
if TYPE_CHECKING:
    from collections.abc import Sequence

CRLF = b"\r\n"
LAST_CHUNK = b"0\r\n\r\n"
SIZE_LINE = 256  # bytes of a size line, extensions and CRLF included

_HEX = b"0123456789abcdefABCDEF"
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
# VCHAR, obs-text, SP and HTAB are what an extension (in quotes) and a field value are made of; not these.
_CONTROLS = bytes(range(9)) + bytes(range(10, 32)) + b"\x7f"


class ChunkedError(ValueError):
    """Bytes that are no chunked body. Nothing after them can be trusted: close the connection."""


def chunk_head(size: int) -> bytes:
    """The line before a chunk of `size` bytes, which must be above 0: a size of 0 ends the body."""
    return b"%x\r\n" % size


def encode_end(trailers: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """The last chunk, the trailers and the end of the body. Raises ChunkedError for a bad name or value."""
    lines = [b"0\r\n"]
    for name, value in trailers:
        if not _is_field(name, value):
            raise ChunkedError(
                f"expected a trailer that is a token and one line of text, got {name!r}: {value!r}"
            )
        lines.append(b"%b: %b\r\n" % (name, value))
    lines.append(CRLF)
    return b"".join(lines)


def _extended_size(line: bytes) -> int:
    size, _, extension = line.removesuffix(CRLF).partition(b";")
    is_size = 1 <= len(size) <= 8 and not size.strip(_HEX)
    if not is_size or _has_controls(extension) or line[-2:] != CRLF or len(line) > SIZE_LINE:
        raise ChunkedError(f"expected a chunk size (1 to 8 hex digits, CRLF), got {_shown(line)}")
    return int(size, 16)


def _is_field(name: bytes, value: bytes) -> bool:
    return name != b"" and not name.strip(_TOKEN) and not _has_controls(value)


def _has_controls(text: bytes) -> bool:
    return len(text.translate(None, _CONTROLS)) != len(text)


class Deframer:
    """Takes a chunked body apart.

    `feed` it every read, in order, however the bytes are cut. Once `done`, `trailers` holds the trailer
    fields (names in lower case) and `rest` whatever came after the body. After a ChunkedError it is of no
    further use.
    """

    __slots__ = ("_ending", "_kept", "_left", "_trailer_room", "done", "rest", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.trailers: list[tuple[bytes, bytes]] = []
        self.rest = b""
        self._left = 0  # bytes to come of the current chunk, its CRLF included
        self._kept = bytearray()  # the beginning of a line that a read cut
        self._ending = False  # the last chunk was read: trailers follow
        self._trailer_room = limits.TRAILERS

    def feed(self, data: bytes) -> list[memoryview]:
        """The payload in `data`, as views of it. Raises ChunkedError, and nothing else."""
        slices: list[memoryview] = []
        view = memoryview(data)
        size = len(data)
        kept = self._kept
        find = data.find
        position = self._continue_chunk(data, view, 0, slices) if self._left else 0
        while position < size and not self._ending:
            newline = find(b"\n", position, position + SIZE_LINE)
            if newline < 0:
                kept += data[position : position + SIZE_LINE]
                if len(kept) >= SIZE_LINE:
                    raise ChunkedError(
                        f"expected a chunk size line of at most {SIZE_LINE} bytes, got {_shown(kept)}"
                    )
                return slices
            start = newline + 1
            line = data[position:start]
            if kept:
                line = bytes(kept) + line
                kept.clear()
            # The common case cheaply: strip() shows that there is only hex, and int() passes over CRLF.
            length = (
                int(line, 16) if line.strip(_HEX) == CRLF and 2 < len(line) <= 10 else _extended_size(line)
            )
            stop = start + length
            position = stop + 2
            if data[stop:position] == CRLF and length:
                slices.append(view[start:stop])
            elif length:
                self._left = length + 2
                position = self._continue_chunk(data, view, start, slices)
            else:
                self._ending = True
                position = start
        if self._ending:
            self._read_trailers(data, position)
        return slices

    def _continue_chunk(self, data: bytes, view: memoryview, position: int, slices: list[memoryview]) -> int:
        """Take what `data` holds of a chunk that is not whole in it; the position after that."""
        payload = view[position : position + max(self._left - 2, 0)]
        if payload:
            slices.append(payload)
            position += len(payload)
            self._left -= len(payload)
        if self._left <= 2:
            end = data[position : position + self._left]
            if not CRLF[-self._left :].startswith(end):
                raise ChunkedError(f"expected CRLF after a chunk, got {_shown(data[position:])}")
            position += len(end)
            self._left -= len(end)
        return position

    def _read_trailers(self, data: bytes, position: int) -> None:
        while not self.done:
            newline = data.find(b"\n", position)
            stop = newline + 1 if newline >= 0 else len(data)
            self._trailer_room -= stop - position
            if self._trailer_room < 0:
                raise ChunkedError(f"expected at most {limits.TRAILERS} bytes of trailers, got more")
            self._kept += data[position:stop]
            position = stop
            if newline < 0:
                return
            line = bytes(self._kept)
            self._kept.clear()
            if line == CRLF:
                self.done = True
            else:
                self.trailers.append(_trailer(line))
        self.rest += data[position:]


class Counted:
    """A body of exactly `length` bytes, with the face of `Deframer`. It cannot fail, only stay short."""

    __slots__ = ("_left", "done", "rest", "trailers")

    def __init__(self, length: int) -> None:
        self.done = length == 0
        self.trailers: list[tuple[bytes, bytes]] = []
        self.rest = b""
        self._left = length

    def feed(self, data: bytes) -> list[memoryview]:
        """The payload in `data`, as a view of it."""
        payload = memoryview(data)[: self._left]
        self._left -= len(payload)
        if not self._left:
            self.done = True
            self.rest += data[len(payload) :]
        return [payload] if payload else []


def _trailer(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.removesuffix(CRLF).partition(b":")
    if not colon or line[-2:] != CRLF or not _is_field(name, value):
        raise ChunkedError(f"expected a trailer (name: value, CRLF), got {_shown(line)}")
    return name.lower(), value.strip(b" \t")


def _shown(data: bytes | bytearray) -> str:
    """The beginning of what came, for a message."""
    return repr(bytes(data[:40])) + ("…" if len(data) > 40 else "")
