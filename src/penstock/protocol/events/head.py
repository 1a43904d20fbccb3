"""What a function gives back, as an HTTP head and body.

    streamed                from_prelude
    buffered, REST API      rest_result    https://docs.aws.amazon.com/apigateway/latest/developerguide/
                                           set-up-lambda-proxy-integrations.html
    buffered, Function URL  url_result     https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
    or HTTP API (2.0)
    buffered, either        auto_result    as the REST API where that works, else as the Function URL
    no result at all        gateway_error

Both pages leave much open; recordings of AWS settle it, and the tables in the tests say how.

A result that cannot be sent is an InvalidResult. Its message is one line for the function's author and names
what is wrong; the client is told nothing but 502. A header's name must be a token, and no value may hold CR,
LF or NUL: with those it could pass for another header, or another response.

Ours differs in two things. `isBase64Encoded` always decodes, where a REST API also wants the client's Accept
among its `binaryMediaTypes`. Headers that a REST API renames to `x-amzn-Remapped-…` keep their names.
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .. import strict_json
from . import HOP_BY_HOP

if TYPE_CHECKING:
    from ..prelude import Prelude

JSON_TYPE = b"application/json"
BINARY_TYPE = b"application/octet-stream"  # a stream that does not say: Node's default, and Function URLs'

# https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FORBIDDEN = re.compile(rb"[\r\n\0]")
_REST_KEYS = frozenset(("statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"))
_NO_SPACE = str.maketrans("", "", " \t\r\n")


class InvalidResult(ValueError):
    """The function's result cannot be sent as an HTTP response; the message says why."""


class HttpHead(NamedTuple):
    """Status and headers, ready for the wire. Framing, Date and Server are the server's to add.

    `headers` never holds Content-Length: for a buffered body `content_length` is its length, for a stream it
    is what the function promised, or None.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    content_length: int | None = None


def from_prelude(prelude: "Prelude") -> HttpHead:
    """The head of a streamed response. Raises InvalidResult."""
    status = _status(prelude.status)
    headers, lengths = _wire_headers(
        prelude.headers, prelude.multi_value_headers, prelude.cookies, BINARY_TYPE
    )
    return HttpHead(status, headers, _content_length(lengths))


def rest_result(payload: bytes) -> tuple[HttpHead, bytes]:
    """A buffered result by the rules of a REST API. Raises InvalidResult, where AWS answers 502."""
    return _rest(_parse(payload))


def url_result(payload: bytes) -> tuple[HttpHead, bytes]:
    """A buffered result by the rules of Function URLs and format 2.0. Raises InvalidResult.

    What has no statusCode is the body itself. `multiValueHeaders` and unknown keys are ignored, as by AWS.
    """
    value = _parse(payload)
    if isinstance(value, dict) and "statusCode" in value:
        return _response(value, multi_value_headers=None, cookies=value.get("cookies"))
    return _inferred(value, payload)


def auto_result(payload: bytes) -> tuple[HttpHead, bytes, str]:
    """A buffered result on our REST gateway; the third is a line for the log, or "".

    What a REST API accepts is answered as it would. What has no statusCode is otherwise the body, as with a
    Function URL, and `cookies` are understood; the line then says what a REST API answers.
    Raises InvalidResult.
    """
    value = _parse(payload)
    try:
        return *_rest(value), ""
    except InvalidResult as error:
        if not isinstance(value, dict) or "statusCode" not in value:
            return *_inferred(value, payload), f"a REST API would answer 502 to this: {error}"
        if "cookies" not in value or value.keys() - _REST_KEYS != {"cookies"}:
            raise
    head, body = _response(value, value.get("multiValueHeaders"), value["cookies"])
    return (
        head,
        body,
        "a REST API would answer 502 to this: it knows Set-Cookie headers, but no key 'cookies'",
    )


def gateway_error(status: int, flavour: Literal["rest", "url"]) -> tuple[HttpHead, bytes]:
    """The answer when a function gave none, in AWS's words."""
    if flavour == "url" and status == HTTPStatus.BAD_GATEWAY:
        return _buffered(status, [(b"Content-Type", b"text/plain")], b"Internal Server Error")
    message, error_type = _ERRORS.get(status) or (HTTPStatus(status).phrase, "")
    headers = [(b"Content-Type", JSON_TYPE)]
    if error_type:
        headers.append((b"x-amzn-ErrorType", error_type.encode()))
    return _buffered(status, headers, json.dumps({"message": message}).encode())


# https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
_ERRORS = {
    404: ("Not Found", "NotFoundException"),
    413: ("Request Entity Too Large", "RequestTooLargeException"),
    429: ("Too Many Requests", "TooManyRequestsException"),
    502: ("Internal server error", "InternalServerErrorException"),
    503: ("Service Unavailable", "ServiceUnavailableException"),
    504: ("Endpoint request timed out", "InternalServerErrorException"),
}


def _parse(payload: bytes) -> Any:
    try:
        return strict_json.loads(payload)
    except UnicodeDecodeError:
        raise InvalidResult("the result is not JSON: it is not UTF-8") from None
    except RecursionError:
        raise InvalidResult("the result is nested too deeply") from None
    except ValueError as error:
        raise InvalidResult(f"the result is not JSON: {error}") from None


def _rest(value: Any) -> tuple[HttpHead, bytes]:
    if not isinstance(value, dict):
        raise InvalidResult(f"the result is {_kind(value)}, not an object with statusCode and body")
    if unknown := value.keys() - _REST_KEYS:
        raise InvalidResult(f"the result has an unknown key {_shown(min(unknown))}")
    return _response(value, value.get("multiValueHeaders"), None)


def _response(value: dict[str, Any], multi_value_headers: Any, cookies: Any) -> tuple[HttpHead, bytes]:
    status = _status(value.get("statusCode"))
    single = value.get("headers")
    if not isinstance(single, dict | None):
        raise InvalidResult(f"headers is {_kind(single)}, not an object")
    if not isinstance(multi_value_headers, dict | None):
        raise InvalidResult(f"multiValueHeaders is {_kind(multi_value_headers)}, not an object")
    if not isinstance(cookies, list | None):
        raise InvalidResult(f"cookies is {_kind(cookies)}, not a list")
    # What it says of Content-Length is ignored: a buffered body is counted.
    headers, _ = _wire_headers(single or {}, multi_value_headers or {}, cookies or (), JSON_TYPE)
    return _buffered(status, headers, _body(value.get("body"), value.get("isBase64Encoded")))


def _inferred(value: Any, payload: bytes) -> tuple[HttpHead, bytes]:
    # Recorded from AWS: "hello" is sent without its quotes, though the documentation shows them.
    body = _utf8(value) if isinstance(value, str) else _compact(payload.decode()).encode()
    return _buffered(200, [(b"Content-Type", JSON_TYPE)], body)


def _compact(text: str) -> str:
    """Valid JSON without the white space between values, as AWS sends it.

    Numbers stay as the function wrote them, which a second dump would not do. All steps are single passes in
    C, since this may be 6 MB on the event loop.
    """
    # JSON holds no raw control characters, so two can stand for what would hide the end of a string.
    parts = text.replace("\\\\", "\0").replace('\\"', "\1").split('"')
    outside = '"'.join(parts[::2])  # every other part is inside a string
    parts[::2] = outside.translate(_NO_SPACE).split('"')
    return '"'.join(parts).replace("\1", '\\"').replace("\0", "\\\\")


def _buffered(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> tuple[HttpHead, bytes]:
    return HttpHead(status, headers, len(body)), body


def _body(value: Any, is_base64: Any) -> bytes:
    if not isinstance(is_base64, bool | None):
        raise InvalidResult(f"isBase64Encoded is {_kind(is_base64)}, not true or false")
    if value is None:
        return b""
    if isinstance(value, dict | list):
        raise InvalidResult(f"body is {_kind(value)}, not a string: encode it as JSON text")
    text = value if isinstance(value, str) else json.dumps(value)
    if not is_base64:
        return _utf8(text)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InvalidResult(f"isBase64Encoded is true, but body is not Base64: {error}") from None


def _utf8(body: str) -> bytes:
    try:
        return body.encode()
    except UnicodeEncodeError:
        raise InvalidResult("body holds half a surrogate pair, which UTF-8 cannot express") from None


def _status(value: Any) -> int:
    """A status; API Gateway takes a numeric string as well, and an absent one is 200."""
    if value is None:
        return 200
    status = value
    if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
        status = int(value)
    # 1xx is no final response, and a client would wait for another.
    if not isinstance(status, int) or isinstance(status, bool) or not 200 <= status <= 599:
        raise InvalidResult(f"statusCode is {_shown(value)}, not an integer from 200 to 599")
    return status


def _wire_headers(
    single: Mapping[str, Any], multi: Mapping[str, Any], cookies: Iterable[Any], default_type: bytes
) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """Checked header lines; apart from them the values of Content-Length, not yet checked as lengths.

    A name in both maps, in whatever case, has the values of both, those of `multi` first and none twice.
    """
    merged: dict[str, tuple[str, list[Any]]] = {}
    for name, values in multi.items():
        if not isinstance(values, list | tuple):
            raise InvalidResult(f"header {_shown(name)} in multiValueHeaders is {_kind(values)}, not a list")
        _entry(merged, name).extend(values)
    for name, value in single.items():
        values = _entry(merged, name)
        # null is how a handler says "no such header", streamed or not.
        if value is not None and value not in values:
            values.append(value)

    lines: list[tuple[bytes, bytes]] = []
    lengths: list[bytes] = []
    for lower, (name, values) in merged.items():
        if lower in HOP_BY_HOP:
            continue
        wire = name.encode("ascii")
        texts = [_value(f"header {_shown(name)}", value) for value in values]
        if lower == "content-length":
            lengths = texts
        elif lower == "content-type":
            lines += [(wire, text) for text in texts[-1:]]  # there can be but one
        else:
            lines += [(wire, text) for text in texts]
    if not merged.get("content-type", ("", []))[1]:
        lines.append((b"Content-Type", default_type))
    for index, cookie in enumerate(cookies):
        if not isinstance(cookie, str):
            raise InvalidResult(f"cookie {index} is {_kind(cookie)}, not a string")
        lines.append((b"Set-Cookie", _value(f"cookie {index}", cookie)))
    return lines, lengths


def _entry(merged: dict[str, tuple[str, list[Any]]], name: str) -> list[Any]:
    if not _TOKEN.fullmatch(name):
        raise InvalidResult(f"header {_shown(name)} has a name that is no token")
    return merged.setdefault(name.lower(), (name, []))[1]


def _value(what: str, value: Any) -> bytes:
    """A value as bytes: latin-1, HTTP's own, if that can express it, else UTF-8."""
    if isinstance(value, bool | int | float):
        value = json.dumps(value)  # true, not True
    if not isinstance(value, str):
        raise InvalidResult(f"{what} is {_kind(value)}, not a string")
    try:
        wire = value.encode("latin-1")
    except UnicodeEncodeError:
        try:
            wire = value.encode()
        except UnicodeEncodeError:
            raise InvalidResult(f"{what} holds half a surrogate pair, which UTF-8 cannot express") from None
    if _FORBIDDEN.search(wire):
        raise InvalidResult(f"{what} holds CR, LF or NUL")
    return wire.strip(b" \t")


def _content_length(values: list[bytes]) -> int | None:
    if not values:
        return None
    # 18 digits are an exabyte. Two different lengths are how responses are split.
    if len(set(values)) > 1 or not values[0].isdigit() or len(values[0]) > 18:
        raise InvalidResult(f"header 'Content-Length' is {_shown(b', '.join(values).decode('latin-1'))}")
    return int(values[0])


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list | tuple) else "an object"


def _shown(value: Any) -> str:
    """A value inside a message: on one line, and short."""
    if not isinstance(value, str | int | float | None):
        return _kind(value)
    text = ascii(value)
    return text if len(text) <= 80 else text[:80] + "…"
