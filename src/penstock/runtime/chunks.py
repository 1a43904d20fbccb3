"""Chunks: what a body gives one by one, and the bytes they become.

`iterate` and `aiterate` turn any body into an iterator that can be closed; `Encoder` turns chunks into bytes.
A chunk is str (sent as UTF-8), bytes or another buffer, or a dict or list (sent as a line of JSON).
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator

from . import marshal
from .errors import RuntimeFault, marshal_error, message_of
from .lazyio import AsyncReader, Reader

TYPE_CHECKING = False  # as in `typing`, which is dear to import
if TYPE_CHECKING:
    from typing import Any

PIECE = 64 * 1024  # how much is read of a file at a time

_WHITESPACE = b" \t\r\n"


class Encoder:
    """Chunks of one body to bytes. With `base64`, str and bytes chunks are base64 text, to be decoded.

    Call `finish` after the last chunk. Both raise RuntimeFault for what cannot be sent.
    """

    __slots__ = ("_base64", "_half", "_index", "_simple", "_undecoded")

    def __init__(self, base64: bool = False) -> None:
        self._base64 = base64
        self._simple = not base64  # nothing is held: a str or bytes chunk stands for itself
        self._half = ""  # a high surrogate whose low half may open the next chunk
        self._undecoded = b""  # less than one quantum (4 characters) of base64
        self._index = 0

    def encode(self, chunk: object, index: int) -> bytes | memoryview:
        """The bytes of a chunk, the `index`th of its body; they do not change when the chunk does."""
        if self._simple:
            kind = type(chunk)
            if kind is str:
                try:
                    return chunk.encode()  # type: ignore[attr-defined, no-any-return]
                except UnicodeEncodeError:
                    pass
            elif kind is bytes:
                return chunk  # type: ignore[return-value]
        if self._half and not isinstance(chunk, str):
            raise self._unpaired()
        self._index = index
        if isinstance(chunk, str):
            return self._decoded(chunk) if self._base64 else self._text(chunk)
        if isinstance(chunk, dict | list) and not self._base64:
            try:
                return marshal.line(chunk)
            except Exception as error:
                raise marshal_error(f"chunk {index}: {message_of(error)}") from error
        data = self._buffer(chunk)
        return self._decoded(data) if self._base64 else data

    def finish(self) -> bytes:
        """The body has ended: what is still owed, which is nothing. Raises RuntimeFault if it was cut."""
        if self._half:
            raise self._unpaired()
        if self._undecoded:
            raise marshal_error(f"the base64 body ended in the middle, after {self._undecoded!r}")
        return b""

    def _text(self, chunk: str) -> bytes:
        """Text with surrogates, or after one: a pair may be cut, as language models cut emoji."""
        text = self._half + chunk
        self._half = ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        self._simple = not self._half
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le").encode()
        except UnicodeDecodeError:
            raise self._unpaired() from None

    def _unpaired(self) -> RuntimeFault:
        return marshal_error(f"chunk {self._index}: half of a surrogate pair, its other half did not follow")

    def _buffer(self, chunk: object) -> bytes | memoryview:
        if isinstance(chunk, bytes):
            return chunk
        try:
            view = memoryview(chunk)  # type: ignore[arg-type]
        except TypeError:
            allowed = "str or bytes (base64)" if self._base64 else "str, bytes, dict or list"
            raise marshal_error(
                f"chunk {self._index} is of type {type(chunk).__name__}, expected {allowed}"
            ) from None
        except (ValueError, BufferError) as error:  # closed or released
            raise marshal_error(f"chunk {self._index}: {error}") from error
        if type(view.obj) is bytes and view.c_contiguous and view.nbytes:
            return view.cast("B")
        with view:
            return view.tobytes()  # may change before it is sent, or has gaps

    def _decoded(self, chunk: str | bytes | memoryview) -> bytes:
        try:
            text = chunk.encode("ascii") if isinstance(chunk, str) else bytes(chunk)
            text = self._undecoded + text.translate(None, _WHITESPACE)
            whole = len(text) & ~3
            self._undecoded = text[whole:]
            return b"".join(_quanta(text[:whole]))
        except ValueError as error:
            raise marshal_error(f"chunk {self._index} is not base64: {error}") from error


def _quanta(text: bytes) -> Iterator[bytes]:
    """Decode whole quanta. Padding may stand inside: parts that were encoded one by one are joined so."""
    start = 0
    while start < len(text):
        padding = text.find(b"=", start)
        end = len(text) if padding < 0 else padding // 4 * 4 + 4
        yield binascii.a2b_base64(text[start:end], strict_mode=True)
        start = end


def iterate(body: Any) -> Any:
    """An iterator over the chunks of a body, with `close()`, which may be called twice.

    A file or another object with `read()` is read in pieces and closed at the end.
    """
    if isinstance(body, Reader):
        body = body.chunks()
    elif _has(body, "read"):
        return _Pieces(body)
    return body if _has(body, "close") and _has(body, "__iter__") else _Closeable(body)


def aiterate(body: Any) -> Any:
    """An async iterator over the chunks of a body, with `aclose()`, which may be called twice."""
    if isinstance(body, AsyncReader):
        body = body.chunks()
    elif _has(body, "read"):
        return _AsyncPieces(body)
    if _has(body, "__aiter__"):
        body = body.__aiter__()
    return body if _has(body, "aclose") and _has(body, "__aiter__") else _AsyncCloseable(body)


def _has(body: object, method: str) -> bool:
    return callable(getattr(body, method, None))


class _Closeable:
    """An iterator that lacks `close` or `__iter__`."""

    __slots__ = ("_iterator",)

    def __init__(self, iterator: Any) -> None:
        self._iterator = iterator

    def __iter__(self) -> _Closeable:
        return self

    def __next__(self) -> Any:
        return next(self._iterator)

    def close(self) -> None:
        if _has(self._iterator, "close"):
            self._iterator.close()


class _AsyncCloseable:
    """An async iterator that lacks `aclose` or `__aiter__`."""

    __slots__ = ("_iterator",)

    def __init__(self, iterator: Any) -> None:
        self._iterator = iterator

    def __aiter__(self) -> _AsyncCloseable:
        return self

    async def __anext__(self) -> Any:
        return await self._iterator.__anext__()

    async def aclose(self) -> None:
        if _has(self._iterator, "aclose"):
            await self._iterator.aclose()


class _Pieces:
    """A file, piece by piece. `read1` where there is one, so that what a pipe or socket has comes at once."""

    __slots__ = ("_file", "_read")

    def __init__(self, file: Any) -> None:
        self._file = file
        self._read = file.read1 if _has(file, "read1") else file.read

    def __iter__(self) -> _Pieces:
        return self

    def __next__(self) -> Any:
        piece = self._read(PIECE)
        _check_piece(piece)
        if not len(piece):
            raise StopIteration
        return piece

    def close(self) -> None:
        file, self._file = self._file, None
        if _has(file, "close"):
            file.close()


class _AsyncPieces:
    """The same of an object whose `read()` is to be awaited."""

    __slots__ = ("_file",)

    def __init__(self, file: Any) -> None:
        self._file = file

    def __aiter__(self) -> _AsyncPieces:
        return self

    async def __anext__(self) -> Any:
        piece = await self._file.read(PIECE)
        _check_piece(piece)
        if not len(piece):
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        file, self._file = self._file, None
        close = getattr(file, "aclose", None) or getattr(file, "close", None)
        if close is not None:
            closing = close()
            if hasattr(type(closing), "__await__"):
                await closing


def _check_piece(piece: object) -> None:
    if isinstance(piece, str | bytes | bytearray | memoryview):
        return
    if hasattr(type(piece), "__await__"):
        if _has(piece, "close"):
            piece.close()  # type: ignore[attr-defined]  # else Python warns that it was never awaited
        raise marshal_error("read() of the body has to be awaited, but is not an `async def`")
    raise marshal_error(f"read() of the body gave {type(piece).__name__}, expected str or bytes")
