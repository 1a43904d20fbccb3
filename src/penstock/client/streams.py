"""Readers over any iterable of bytes, or of boto3's event stream."""

import json
from collections.abc import Generator, Iterable, Mapping
from typing import Any, cast

from ..protocol import ndjson, sse
from ..protocol.call import Slice
from ..protocol.prelude import Decoder as PreludeDecoder
from ..protocol.prelude import Prelude

Chunks = Iterable[Slice | Mapping[str, Any]]


class FunctionError(Exception):
    """The function failed, as boto3's event stream tells at its end. What it sent before that is incomplete.

    `error_type` is the exception's name in the function where it is known (`ValueError`), else AWS's error
    code (`Sandbox.Timedout`). `document` is the error as the function reported it (`errorMessage`,
    `errorType`, `stackTrace`), or None if there is no such JSON.
    """

    def __init__(self, error_code: str, details: str = "") -> None:
        try:
            self.document: Any = json.loads(details)
        except (ValueError, RecursionError):
            self.document = None
        told = self.document if isinstance(self.document, dict) else {}
        self.error_type = str(told.get("errorType") or error_code)
        super().__init__(f"{self.error_type}: {told.get('errorMessage') or details or 'the function failed'}")


def lines(chunks: Chunks) -> Generator[str, None, None]:
    """The lines of a response, without LF or CRLF; for NDJSON, `json.loads` each.

    Args:
        chunks: the response: an iterable of bytes (`iter_bytes()` or `iter_raw()` of httpx,
            `iter_content(chunk_size=None)` of requests, the payload of `split_prelude`), or the event stream
            that boto3's `invoke_with_response_stream` returns.

    An empty line is an empty string; a last line without an end is a line. Bytes that are not UTF-8 become
    U+FFFD.

    Raises:
        FunctionError: boto3's event stream said that the function failed.
        EOFError: boto3's event stream ended without saying how the function ended.
        ValueError: a line is longer than 16 MiB.
        TypeError: `chunks` gives something else than bytes, for example str.
        Whatever `chunks` raises: with httpx and requests, that is how a broken response shows.

    If you stop early, by leaving a `for` loop or by `close()`, the source is closed where it has a `close`.
    """
    decoder = ndjson.Decoder()
    try:
        for data in _payload(chunks):
            for line in decoder.feed(data):
                yield line.decode(errors="replace")
        for line in decoder.end():
            yield line.decode(errors="replace")
    except BaseException:
        _close(chunks)
        raise


def events(chunks: Chunks) -> Generator[sse.Event, None, None]:
    """The server-sent events of a response, read as a browser's EventSource reads them.

    Args:
        chunks: the response, as for `lines`.

    Comments are passed over, and so is a last event without the empty line that ends it. `id` of an event is
    the last the stream has named. Nothing connects again by itself.

    Raises and closes as `lines` does; ValueError is for an event longer than 16 MiB.
    """
    decoder = sse.Decoder()
    try:
        for data in _payload(chunks):
            yield from decoder.feed(data)
    except BaseException:
        _close(chunks)
        raise


def split_prelude(chunks: Chunks) -> tuple[Prelude, Generator[bytes, None, None]]:
    """The prelude of a streamed HTTP response (status, headers, cookies), and its payload.

    For responses that come from Lambda itself (boto3, the Lambda API); a gateway or a Function URL has
    taken the prelude off already.

    Args:
        chunks: the response, as for `lines`.

    Reads no further than the chunk in which the prelude ends, and returns the rest as an iterator, which
    `lines` and `events` take. Closing it closes the source, also before its first item.

    Raises:
        PreludeError: the response does not begin with a prelude. The source is closed.
        Whatever `lines` raises, here and from the iterator.
    """
    # The prelude is the generator's own first item: a generator that had not begun would not see `close`.
    parts = _prelude_then_payload(chunks)
    prelude = cast(Prelude, next(parts))
    return prelude, cast(Generator[bytes, None, None], parts)


def _prelude_then_payload(chunks: Chunks) -> Generator[Prelude | bytes, None, None]:
    decoder = PreludeDecoder()
    try:
        payload = _payload(chunks)
        for data in payload:
            if (prelude := decoder.feed(data)) is not None:
                yield prelude
                break
        decoder.end()
        if decoder.rest:
            yield bytes(decoder.rest)
        yield from payload
    except BaseException:
        _close(chunks)
        raise


def _payload(chunks: Chunks) -> Generator[bytes, None, None]:
    """The bytes of `chunks`, boto3's events opened."""
    open_events = False
    for chunk in chunks:
        if isinstance(chunk, Mapping):
            open_events = True
            if "PayloadChunk" in chunk:
                chunk = chunk["PayloadChunk"].get("Payload", b"")
            elif "InvokeComplete" in chunk:
                open_events = False
                ending = chunk["InvokeComplete"]
                if ending.get("ErrorCode"):
                    raise FunctionError(ending["ErrorCode"], ending.get("ErrorDetails", ""))
                # Not the end of reading: once its own end is read, the connection can be used again.
                continue
            else:
                continue
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise TypeError(
                f"expected chunks of bytes, got {type(chunk).__name__} (use iter_bytes, not iter_text)"
            )
        if chunk:
            yield bytes(chunk)
    if open_events:
        raise EOFError("the event stream ended without InvokeComplete: the response is incomplete")


def _close(chunks: object) -> None:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()
