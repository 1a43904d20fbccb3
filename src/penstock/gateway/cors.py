"""Cross-origin requests to a Function URL that has a CORS configuration. Pure.

Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html#urls-cors. A preflight request is
answered without a call of the function; on other responses what is configured replaces what the function
says of the same. (AWS has been seen to send both, and browsers refuse a header that is there twice.)
"""

from collections.abc import Sequence

from penstock.http.request import Request
from penstock.protocol.urls import Cors

Headers = list[tuple[bytes, bytes]]

_ALLOW_ORIGIN = b"Access-Control-Allow-Origin"
_ALLOW_CREDENTIALS = b"Access-Control-Allow-Credentials"
_EXPOSE = b"Access-Control-Expose-Headers"
_CONFIGURED = frozenset(name.lower() for name in (_ALLOW_ORIGIN, _ALLOW_CREDENTIALS, _EXPOSE))


def is_preflight(request: Request) -> bool:
    """Whether a browser asks if it may send a request: https://fetch.spec.whatwg.org/#cors-preflight-request."""
    return (
        request.method == "OPTIONS"
        and request.get(b"origin") is not None
        and request.get(b"access-control-request-method") is not None
    )


def preflight(cors: Cors, origin: bytes) -> Headers:
    """The headers that answer a preflight request. Of an origin that may not call: none that lets it."""
    headers = _origin(cors, origin)
    if len(headers) == 1:  # Vary alone
        return headers
    for name, values in ((b"Methods", cors.allow_methods), (b"Headers", cors.allow_headers)):
        if values:
            headers.append((b"Access-Control-Allow-" + name, _joined(values)))
    if cors.max_age:
        headers.append((b"Access-Control-Max-Age", str(cors.max_age).encode()))
    return headers


def apply(cors: Cors, origin: bytes | None, headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    """A response's headers with those that are configured; without an Origin there is nothing to say."""
    if origin is None:
        return list(headers)
    kept = [(name, value) for name, value in headers if name.lower() not in _CONFIGURED]
    kept += _origin(cors, origin)
    if cors.expose_headers:
        kept.append((_EXPOSE, _joined(cors.expose_headers)))
    return kept


def replaced(cors: Cors, origin: bytes | None, headers: Sequence[tuple[bytes, bytes]]) -> str:
    """What is to be said of a function that sets itself what is configured; "" if it does not."""
    if origin is None or not any(name.lower() in _CONFIGURED for name, _ in headers):
        return ""
    return (
        "the function sets CORS headers that its URL sets as well: AWS sends both, and browsers refuse that"
    )


def _origin(cors: Cors, origin: bytes) -> Headers:
    """Who may read the response. Vary is always there: to another origin the answer is another."""
    vary = (b"Vary", b"Origin")
    listed = origin.decode("latin-1") in cors.allow_origins
    if not listed and "*" not in cors.allow_origins:
        return [vary]
    # With credentials a browser takes no `*`, and every page of the web would be too many.
    headers = [(_ALLOW_ORIGIN, origin if listed else b"*"), vary]
    if cors.allow_credentials and listed:
        headers.append((_ALLOW_CREDENTIALS, b"true"))
    return headers


def _joined(values: Sequence[str]) -> bytes:
    return ",".join(values).encode("latin-1", "replace").replace(b"\r", b"").replace(b"\n", b"")
