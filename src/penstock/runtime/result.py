"""What a function's author may return, and what becomes of it. Only this file knows.

| handler gives | becomes |
|---|---|
| dict, its `body` str, bytes or absent | buffered, as AWS; bytes that are not UTF-8 go base64 |
| dict, its `body` an iterator, async iterator or object with `read()` | streamed, with status and headers |
| StreamingResponse | streamed, with status and headers |
| iterator, async iterator or object with `read()` | streamed raw |
| bytes | buffered, verbatim |
| anything else | buffered JSON |

AWS has announced streaming for Python (https://github.com/aws/aws-lambda-roadmap/issues/39) but published no
form of it; when it does, it is added here.
"""

from __future__ import annotations

import binascii
import sys
from collections.abc import Iterable, Mapping
from types import FunctionType, MethodType

from penstock.protocol import ndjson, runtime_api
from penstock.protocol.prelude import Prelude, encode

from . import marshal
from .errors import RuntimeFault, marshal_error
from .lazyio import AsyncReader

TYPE_CHECKING = False  # as in `typing`, which is dear to import
if TYPE_CHECKING:
    from typing import Any

JSON = "application/json"
UNKNOWN = "application/unknown"  # AWS's content type for a handler that returns bytes
OCTET_STREAM = "application/octet-stream"

_KEYS = ("statusCode", "headers", "multiValueHeaders", "cookies", "body", "isBase64Encoded")
_COROUTINE = 0x80 | 0x100  # inspect.CO_COROUTINE | CO_ITERABLE_COROUTINE; `inspect` is dear to import


class StreamingResponse:
    """A streamed HTTP response.

        def lambda_handler(event, context):
            return StreamingResponse(lines(), headers={"Cache-Control": "no-store"}, media_type="text/plain")

    `body` is a generator or any other iterable of chunks, an async generator, or an object with `read()` such
    as an open file. A chunk is str, bytes, or a dict or list, which becomes a line of JSON. `cookies` are
    complete Set-Cookie values. `media_type` is the Content-Type unless `headers` has one.
    """

    def __init__(
        self,
        body: Any,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        cookies: Iterable[str] | None = None,
        media_type: str | None = None,
    ) -> None:
        if isinstance(body, str | bytes | bytearray | memoryview):
            body = iter((body,))
        elif _is_async(body) is None:
            if not hasattr(type(body), "__iter__") or isinstance(body, Mapping):
                raise TypeError(
                    f"expected body to be an iterable of chunks or to have read(), got {type(body).__name__}"
                    + ("; call it first" if callable(body) else "")
                )
            body = iter(body)
        self.body = body
        self.status_code = status_code
        self.headers = dict(headers or {})
        self.cookies = list(cookies or ())
        self.media_type = media_type
        if media_type is not None and not _has_content_type(self.headers):
            self.headers["Content-Type"] = media_type


class Buffered:
    """A response that is complete: one POST with its length known."""

    __slots__ = ("content_type", "payload")

    def __init__(self, payload: bytes, content_type: str) -> None:
        self.payload = payload
        self.content_type = content_type


class Streamed:
    """A response whose body is still to be made. `chunks` drives and encodes it."""

    __slots__ = ("base64", "body", "is_async", "prelude", "warning")

    def __init__(
        self, body: Any, prelude: Prelude | None, base64: bool, is_async: bool, warning: str = ""
    ) -> None:
        self.body = body
        self.prelude = prelude  # None: raw, there is no status and there are no headers
        self.base64 = base64  # chunks are base64 text, to be decoded on the way
        self.is_async = is_async  # for chunks.aiterate, not chunks.iterate
        self.warning = warning  # for the log

    def head(self, first_chunk: object = None) -> tuple[str, bytes]:
        """The content type of the POST, and the bytes that go before the first chunk.

        `first_chunk` is what the body gave first, None if it ended without a chunk. A dict or list means
        NDJSON, unless the author said otherwise.
        """
        lines = isinstance(first_chunk, dict | list)
        prelude = self.prelude
        if prelude is None:
            return ndjson.CONTENT_TYPE if lines else OCTET_STREAM, b""
        if (
            lines
            and not _has_content_type(prelude.headers)
            and not _has_content_type(prelude.multi_value_headers)
        ):
            headers = {**prelude.headers, "Content-Type": ndjson.CONTENT_TYPE}
            prelude = Prelude(prelude.status, headers, prelude.multi_value_headers, prelude.cookies)
        return runtime_api.HTTP_INTEGRATION, encode(prelude)


def classify(result: Any) -> Buffered | Streamed:
    """What to send for what the handler gave. Raises RuntimeFault."""
    if isinstance(result, Mapping):
        body = result.get("body")
        is_async = _is_async(body)
        if is_async is None:
            _refuse_almost_a_stream("body", body)
            return Buffered(marshal.dumps(_with_text_body(result, body)), JSON)
        return Streamed(body, _prelude(result), _flag(result, "isBase64Encoded"), is_async, _unknown(result))
    if isinstance(result, bytes):
        return Buffered(result, UNKNOWN)
    if isinstance(result, StreamingResponse):
        fields = {"statusCode": result.status_code, "headers": result.headers, "cookies": result.cookies}
        return Streamed(result.body, _prelude(fields), False, bool(_is_async(result.body)))
    is_async = _is_async(result)
    if is_async is None:
        _refuse_almost_a_stream("the result", result)
        return Buffered(marshal.dumps(result), JSON)
    return Streamed(result, None, False, is_async)


def _refuse_almost_a_stream(where: str, value: Any) -> None:
    """Say what to do of what looks like a stream and is none; the marshaller would only name its type."""
    kind = type(value)
    if kind is FunctionType or kind is MethodType:
        name = value.__name__
        raise marshal_error(f"{where} is the function {name}, which was not called: write {name}()")
    if hasattr(kind, "__await__"):
        raise marshal_error(f"{where} is a coroutine, which was not awaited: await it in an async handler")
    pieces = where == "body" and isinstance(value, list | tuple)
    if isinstance(value, range | set | frozenset) or (pieces and any(type(item) is bytes for item in value)):
        raise marshal_error(f"{where} is a {kind.__name__}, which is no stream: write iter(…) to stream it")


def _unknown(result: Mapping[str, Any]) -> str:
    """A line for the log about keys that mean nothing, with the likely ones named; or "" without any."""
    unknown = [key for key in result if key not in _KEYS]
    if not unknown:
        return ""
    names = {key.lower(): key for key in _KEYS} | {"status": "statusCode", "header": "headers"}
    meant = (names.get(str(key).lower().replace("_", "")) for key in unknown)
    named = zip(unknown, meant, strict=True)
    hints = ", ".join(f"{key!r} (did you mean {known!r}?)" if known else repr(key) for key, known in named)
    return f"[WARNING] the response has keys that are not used: {hints}"


def _is_async(body: Any) -> bool | None:
    """Whether a body is to be streamed: asynchronously, or not. None: it is not one to be streamed."""
    kind = type(body)
    if body is None or kind is str or kind is bytes or kind is dict or isinstance(body, type):
        return None
    if isinstance(body, AsyncReader):
        return True
    # First, because files are iterators too, of lines.
    read = getattr(body, "read", None)
    if callable(read):
        code = getattr(getattr(read, "__func__", read), "__code__", None)
        return code is not None and bool(code.co_flags & _COROUTINE)
    if hasattr(kind, "__next__"):
        return False
    return True if hasattr(kind, "__anext__") or hasattr(kind, "__aiter__") else None


def _with_text_body(result: Mapping[str, Any], body: object) -> Any:
    if isinstance(body, bytes | bytearray | memoryview):
        payload = bytes(body)
        try:
            return {**result, "body": payload.decode()}
        except UnicodeDecodeError:
            return {
                **result,
                "body": binascii.b2a_base64(payload, newline=False).decode(),
                "isBase64Encoded": True,
            }
    return result if isinstance(result, dict) else dict(result)


def _prelude(fields: Mapping[str, Any]) -> Prelude:
    headers: dict[str, str] = {}
    for name, value in _mapping(fields, "headers"):
        if value is not None:
            headers[name] = _text(f"headers[{name!r}]", value)
    multi_value_headers: dict[str, list[str]] = {}
    for name, values in _mapping(fields, "multiValueHeaders"):
        where = f"multiValueHeaders[{name!r}]"
        if not isinstance(values, list | tuple):
            raise _wrong(where, "a list", values)
        multi_value_headers[name] = [_text(where, value) for value in values]
    cookies = fields.get("cookies")
    if cookies is None:
        cookies = []
    if not isinstance(cookies, list | tuple):
        raise _wrong("cookies", "a list", cookies)
    for cookie in cookies:
        if not isinstance(cookie, str):
            raise _wrong("cookies", "a list of str", cookie)
    return Prelude(_status(fields), headers, multi_value_headers, list(cookies))


def _status(fields: Mapping[str, Any]) -> int:
    status = fields.get("statusCode", 200)
    if isinstance(status, int) and not isinstance(status, bool):
        return int(status)
    if isinstance(status, str) and status.isascii() and status.isdigit() and len(status) < 10:
        return int(status)  # as API Gateway
    raise _wrong("statusCode", "an int", status)


def _mapping(fields: Mapping[str, Any], key: str) -> Iterable[tuple[str, Any]]:
    value = fields.get(key)
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise _wrong(key, "a dict", value)
    for name in value:
        if not isinstance(name, str):
            raise _wrong(key, "names that are str", name)
    return value.items()


def _text(where: str, value: object) -> str:
    """A header's value as API Gateway writes it: true, not True."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    decimal = sys.modules.get("decimal")
    if isinstance(value, int | float) or (decimal is not None and isinstance(value, decimal.Decimal)):
        return str(value)
    raise _wrong(where, "a str", value)


def _flag(fields: Mapping[str, Any], key: str) -> bool:
    value = fields.get(key)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise _wrong(key, "a bool", value)


def _has_content_type(headers: Mapping[str, object]) -> bool:
    return any(name.lower() == "content-type" for name in headers)


def _wrong(where: str, expected: str, value: object) -> RuntimeFault:
    return marshal_error(f"{where}: expected {expected}, got {type(value).__name__}")
