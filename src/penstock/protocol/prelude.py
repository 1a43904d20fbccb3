"""The prelude of a streamed HTTP response: a JSON object, eight NUL bytes, then the payload.

Keys are `statusCode`, `headers`, `multiValueHeaders` and `cookies`, all optional; AWS ignores others.
https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html

Where the runtime cut its writes means nothing: the delimiter may be split, and the payload may begin with NUL
bytes of its own. JSON text never holds a raw NUL, so the first eight in a row are the delimiter.
"""

from __future__ import annotations

import json

from . import limits, strict_json
from .value import Value

TYPE_CHECKING = False  # as in `typing`, which is dear to import
if TYPE_CHECKING:
    from typing import Any

    from .call import Slice

DELIMITER = bytes(8)


class PreludeError(ValueError):
    """The payload does not begin with a prelude, so status and headers are not known."""


class Prelude(Value):
    """Status, headers and cookies of a streamed HTTP response.

    Only types are checked here; whether a status or a header can be sent is for whoever sends it.
    """

    __slots__ = ("cookies", "headers", "multi_value_headers", "status")

    def __init__(
        self,
        status: int = 200,
        headers: dict[str, str] | None = None,
        multi_value_headers: dict[str, list[str]] | None = None,
        cookies: list[str] | None = None,
    ) -> None:
        self.status = status
        self.headers = {} if headers is None else headers
        self.multi_value_headers = {} if multi_value_headers is None else multi_value_headers
        self.cookies = [] if cookies is None else cookies


def encode(prelude: Prelude) -> bytes:
    """The prelude and the delimiter. The payload follows them."""
    document: dict[str, Any] = {"statusCode": prelude.status}
    if prelude.headers:
        document["headers"] = prelude.headers
    if prelude.multi_value_headers:
        document["multiValueHeaders"] = prelude.multi_value_headers
    if prelude.cookies:
        document["cookies"] = prelude.cookies
    return json.dumps(document, separators=(",", ":")).encode() + DELIMITER


class Decoder:
    """Reads one prelude off the front of a payload.

    `feed` it slices in order until it returns the Prelude; then `rest` is the part of that slice which is
    payload, and all later slices are payload. If the payload ends first, call `end`.
    """

    __slots__ = ("_found", "_kept", "_max_bytes", "rest")

    def __init__(self, max_bytes: int = limits.PRELUDE) -> None:
        self.rest: Slice = b""
        self._max_bytes = max_bytes  # of JSON and delimiter together
        self._kept = bytearray()
        self._found = False

    def feed(self, data: Slice) -> Prelude | None:
        """The prelude once its delimiter is complete, else None. Raises PreludeError."""
        before = len(self._kept)
        view = memoryview(data)
        self._kept += view[: self._max_bytes - before]
        end = self._kept.find(DELIMITER, max(before - len(DELIMITER) + 1, 0))
        if end < 0:
            if len(self._kept) >= self._max_bytes:
                raise PreludeError(
                    f"expected a prelude and eight NUL bytes within {self._max_bytes} bytes, "
                    f"got {bytes(self._kept[:40])!r}…"
                )
            return None
        self._found = True
        self.rest = view[end + len(DELIMITER) - before :]
        return _parse(bytes(self._kept[:end]))

    def end(self) -> None:
        """The payload has ended. Raises PreludeError if there was no whole prelude in it."""
        if not self._found:
            raise PreludeError(
                f"expected a prelude and eight NUL bytes, got the end after {len(self._kept)} bytes: "
                f"{bytes(self._kept[:40])!r}"
            )


def _parse(text: bytes) -> Prelude:
    try:
        # RecursionError: brackets nested some thousand deep, which fit in 64 KiB.
        document = strict_json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PreludeError(f"expected the prelude to be JSON, got {text[:40]!r}: {error}") from None
    if not isinstance(document, dict):
        raise PreludeError(f"expected the prelude to be a JSON object, got {text[:40]!r}")

    def get(key: str, kind: type, expected: str) -> Any:
        value = document.get(key)
        if value is not None and not isinstance(value, kind):
            raise PreludeError(f"expected {key} to be {expected}, got {_shown(value)}")
        return value or kind()

    prelude = Prelude(_status(document.get("statusCode")))
    for name, value in get("headers", dict, "an object").items():
        prelude.headers[_name(name)] = _text(f"header {name!r}", value)
    for name, values in get("multiValueHeaders", dict, "an object").items():
        if not isinstance(values, list):
            raise PreludeError(f"expected multiValueHeaders {name!r} to be a list, got {_shown(values)}")
        prelude.multi_value_headers[_name(name)] = [_text(f"header {name!r}", value) for value in values]
    prelude.cookies = [_text("a cookie", value) for value in get("cookies", list, "a list")]
    return prelude


def _status(value: object) -> int:
    # API Gateway takes a numeric string as well. A longer one is no status, whatever it says.
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 9:
        return int(value)
    if value is None:
        return 200
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise PreludeError(f"expected statusCode to be an integer, got {_shown(value)}")


def _text(what: str, value: object) -> str:
    """A header's value. Numbers and booleans become text as API Gateway makes it: true, not True."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, str) and _is_unicode(value):
        return value
    raise PreludeError(f"expected {what} to be a string, number or boolean, got {_shown(value)}")


def _name(name: str) -> str:
    if not _is_unicode(name):
        raise PreludeError(f"expected a header name, got {_shown(name)}")
    return name


def _is_unicode(text: str) -> bool:
    r"""Whether it can be encoded: JSON may spell half a character, as in "\ud83d"."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return json.dumps(value)[:40]
