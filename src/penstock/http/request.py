"""Request heads: bytes to a `Request`, or the status to refuse them with.

httptools (llhttp) checks the grammar: tokens, control characters, bare CR and LF, folded lines, digits of a
Content-Length, Content-Length beside Transfer-Encoding. What it lets pass is refused here; see `_check`.
The rules are RFC 9112, sections named beside them.
"""

import re
from typing import Any

import httptools

from ..protocol import limits

_LINE_VERSIONS = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}
_VERSION = re.compile(rb"HTTP/\d\.\d")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HOST = re.compile(
    rb"(?:[A-Za-z0-9\-._~%!$&'()*+,;=]*|\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9\-._~]+)?\])(?::[0-9]{0,5})?"
)
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE)
_HIGH_AS_X = bytes(range(0x80)) + b"x" * 0x80
_REPEATED = 4 * limits.KIB  # bytes of a head that is remembered
_SINGLE = (b"host", b"content-length", b"transfer-encoding", b"expect")


class Refused(ValueError):
    """A request that is not to be served; `status` is what to answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Request:
    """A request head, as sent, and what it says about the connection and the body."""

    __slots__ = (
        "_fields",
        "chunked",
        "content_length",
        "expect_continue",
        "has_body",
        "headers",
        "keep_alive",
        "local",
        "method",
        "peer",
        "target",
        "version",
    )

    def __init__(
        self,
        method: str,
        target: bytes,
        version: str,
        headers: list[tuple[bytes, bytes]],
        fields: dict[bytes, bytes],
    ) -> None:
        self.method = method
        self.target = target  # origin-form, byte for byte as sent; `*` for OPTIONS
        self.version = version  # "1.1" or "1.0"
        self.headers = headers  # order and case as sent, values stripped
        self._fields = fields  # by lower-case name, the first value
        self.peer: tuple[str, int] | None = None  # None on a Unix socket
        self.local: tuple[str, int] | None = None
        self.content_length: int | None = None
        self.chunked = False
        self.has_body = False
        self.keep_alive = version == "1.1"
        self.expect_continue = False

    def get(self, name: bytes) -> bytes | None:
        """The first value of the header `name`, given in lower case."""
        return self._fields.get(name)

    def again(self) -> "Request":
        """Another one of the same head."""
        request = Request(self.method, self.target, self.version, self.headers, self._fields)
        request.content_length = self.content_length
        request.keep_alive = self.keep_alive
        request.expect_continue = self.expect_continue
        return request

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target.decode('latin-1')}>"


class _Headers:
    """What the parser fills. Apart from `HeadParser`, so that the parser is in no reference cycle."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.rstrip(b" \t")))  # llhttp strips what is before the value only


class HeadParser:
    """Parses one complete head after the other."""

    __slots__ = ("_headers", "_last", "_parser", "_request")

    def __init__(self) -> None:
        self._headers = _Headers()
        self._parser: Any = None
        self._last = b""  # the head of `_request`
        self._request: Request | None = None

    def parse(self, head: bytes) -> Request:
        """The request of `head`, which ends with its empty line. Raises Refused.

        Most clients that keep a connection send the same head again and again, if it is one without a body:
        such a one is not parsed twice.
        """
        if head == self._last and self._request is not None:
            return self._request.again()
        request = self._parse(head)
        if not request.has_body and len(head) <= _REPEATED:
            self._last, self._request = head, request.again()
        return request

    def _parse(self, head: bytes) -> Request:
        line = head[: head.index(b"\r\n")]
        method, target, version = _request_line(line)
        headers: list[tuple[bytes, bytes]] = []
        self._headers.fields = headers
        parser = self._parser
        if parser is None:
            parser = httptools.HttpRequestParser(self._headers)
        self._parser = None
        if not line.isascii():
            # Programs such as curl send é in a path as it was typed. llhttp refuses that.
            head = line.translate(_HIGH_AS_X) + head[len(line) :]
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass  # we upgrade to nothing: an ordinary request (RFC 9110, 7.8)
        except httptools.HttpParserInvalidMethodError:
            if _TOKEN.fullmatch(line.split(b" ")[0]) is None:
                raise Refused(400, "The method is malformed.") from None
            raise Refused(501, "The method is not known.") from None
        except httptools.HttpParserError as error:
            raise Refused(400, f"The request is malformed: {_reason(error)}.") from None
        fields = {name.lower(): value for name, value in headers}
        if len(fields) != len(headers):
            fields = _merge(headers)
        request = Request(method, target, version, headers, fields)
        if target[0] != 0x2F or method == "CONNECT":
            _reduce_target(request)
        _check(request, fields)
        if (
            request.keep_alive
            and not request.has_body
            and b"upgrade" not in fields
            # To llhttp the same as Connection. Its should_keep_alive() has forgotten that by now.
            and b"proxy-connection" not in fields
        ):
            self._parser = parser  # it waits for another head; otherwise for something else, or for nothing
        return request


def _reason(error: Exception) -> str:
    return str(error).strip().rstrip(".") or "it cannot be parsed"


def _request_line(line: bytes) -> tuple[str, bytes, str]:
    """Method, target, version. llhttp also takes doubled spaces, RTSP, ICE and HTTP/0.9."""
    parts = line.split(b" ")
    if len(parts) != 3 or not parts[1]:
        raise Refused(400, "The request line is malformed.")
    method, target, version = parts
    known = _LINE_VERSIONS.get(version)
    if known is None:
        if _VERSION.fullmatch(version):
            raise Refused(505, "Only HTTP/1.1 and HTTP/1.0 are served.")
        raise Refused(400, "The request line is malformed.")
    return method.decode("latin-1"), target, known


def _merge(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """First values by name; refuses twice what may be there once."""
    fields: dict[bytes, bytes] = {}
    connection: list[bytes] = []
    for name, value in headers:
        key = name.lower()
        if key == b"connection":
            connection.append(value)
        elif key in fields:
            if key in _SINGLE:
                raise Refused(400, f"The header {name.decode('latin-1')} was sent twice.")
            continue
        fields[key] = value
    if connection:
        fields[b"connection"] = b",".join(connection)
    return fields


def _reduce_target(request: Request) -> None:
    """Absolute-form to origin-form (3.2.2: its authority replaces Host); other forms are refused."""
    target = request.target
    if target == b"*" and request.method == "OPTIONS":
        return
    match = _ABSOLUTE.fullmatch(target)
    if match is None or request.method == "CONNECT" or not match[1]:
        raise Refused(400, "The request target is not a path.")
    authority, path = match.groups()
    request.target = path if path.startswith(b"/") else b"/" + path
    request.headers[:] = [
        (name, authority if name.lower() == b"host" else value) for name, value in request.headers
    ]
    if b"host" in request._fields:
        request._fields[b"host"] = authority


def _check(request: Request, fields: dict[bytes, bytes]) -> None:
    """What llhttp lets pass, and what the headers mean for the connection and the body."""
    get = fields.get
    if b"#" in request.target:
        raise Refused(400, "The request target has a fragment.")
    host = get(b"host")
    if host is None:
        if request.version == "1.1":
            raise Refused(400, "The header Host is missing.")  # 3.2
    elif _HOST.fullmatch(host) is None:
        raise Refused(400, "The header Host is malformed.")
    coding = get(b"transfer-encoding")
    length = get(b"content-length")
    if coding is not None:
        if request.version == "1.0":
            raise Refused(400, "HTTP/1.0 has no Transfer-Encoding.")  # 6.1: a faulty framing
        if length is not None:
            raise Refused(400, "Content-Length and Transfer-Encoding exclude each other.")  # 6.3
        if coding.lower() != b"chunked":
            raise Refused(501, "The only transfer coding served is chunked.")  # 6.1
        request.chunked = request.has_body = True
    elif length is not None:
        if not length.isdigit() or len(length) > 18:
            raise Refused(400, "The header Content-Length is malformed.")
        request.content_length = int(length)
        request.has_body = request.content_length > 0
    connection = get(b"connection")
    if connection is not None:
        options = [option.strip() for option in connection.lower().split(b",")]
        if b"close" in options:
            request.keep_alive = False
        elif b"keep-alive" in options:
            request.keep_alive = True
    expect = get(b"expect")
    if expect is not None and request.version == "1.1":
        if expect.lower() != b"100-continue":
            raise Refused(417, "The only expectation met is 100-continue.")
        request.expect_continue = True
