"""HTTP requests as events, and results as HTTP heads: the JSON that API Gateway and Function URLs speak.

`rest` makes events of format 1.0, `url` events of format 2.0; `head` reads what a function gives back. Time
and ids are in the request: nothing here reads a clock.
"""

import base64
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from time import gmtime
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

ACCOUNT_ID = "000000000000"

# https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1: these speak of one connection, and ours to the
# function is another. AWS forwards none of them.
HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NOT_ASCII = re.compile("[^\0-\x7f]")
# Not ASCII-escaped: AWS counts an event's UTF-8 bytes against its 6 MB, and \uXXXX takes up to three times
# as many. Nothing in an event can be circular.
_ENCODE = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


class HttpRequest(NamedTuple):
    """A whole HTTP request, with what the gateway knows of it. Its text is latin-1, which loses no byte."""

    method: str
    path: str  # as sent, percent-encoding kept, without the query
    query: str  # as sent, without the question mark
    headers: Sequence[tuple[str, str]]  # as sent: order, case and repetitions kept
    body: bytes
    source_ip: str
    protocol: str  # "HTTP/1.1"
    request_id: str
    time: float  # epoch seconds
    account_id: str = ACCOUNT_ID
    scheme: str = "http"  # what the client used, for X-Forwarded-Proto
    port: int = 80  # what the client connected to, for X-Forwarded-Port
    trace_id: str = ""  # X-Amzn-Trace-Id; without one, the client's own is passed on
    access_key: str = ""  # of a Function URL with AWS_IAM: whose signature was verified


def payload(event: dict[str, Any]) -> bytes:
    """An event as the JSON text a function is called with."""
    return _ENCODE(event).encode()


def ascii_only(text: str) -> str:
    """A path or query as a URI must be: bytes beyond ASCII become percent escapes, all else stays as sent.

    `curl http://…/café` sends the bytes of é unescaped. As latin-1 text they would reach the function as Ã©,
    and no decoding of the path would bring é back.
    """
    if text.isascii():
        return text
    return _NOT_ASCII.sub(lambda match: f"%{ord(match[0]):02X}", text)


def unescape(text: str) -> str:
    """Percent-decoded UTF-8. Bytes that are not UTF-8 become U+FFFD, as in any browser."""
    if "%" not in text and text.isascii():
        return text
    return unquote_to_bytes(text.encode("latin-1")).decode("utf-8", "replace")


def query_values(query: str) -> dict[str, list[str]]:
    """Each parameter's values, decoded, in order. A plus sign is a space, as AWS reads it."""
    values: dict[str, list[str]] = {}
    for part in query.split("&"):
        if part:
            name, _, value = part.replace("+", " ").partition("=")
            values.setdefault(unescape(name), []).append(unescape(value))
    return values


def body_text(body: bytes, text: bool) -> tuple[str | None, bool]:
    """An event's `body` and `isBase64Encoded`; `text` is what the content type says.

    Bytes that are not UTF-8 go Base64 whatever their type claims: AWS would replace them, and lose them.
    """
    if not body:
        return None, False
    if text:
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode(), True


def media_type(content_type: str) -> str:
    """A Content-Type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def forwarded_for(seen: Sequence[str], source_ip: str) -> str:
    """X-Forwarded-For with the client's address appended, as AWS does; the rest is the client's word."""
    return ", ".join((*seen, source_ip))


@lru_cache(maxsize=64)
def domain_prefix(domain: str) -> str:
    """The first label of a host name: the API id on AWS. An IP address is taken whole, without its port."""
    host = domain.partition("]")[0] + "]" if domain.startswith("[") else domain.partition(":")[0]
    label = host.partition(".")[0]
    return host if label.isdigit() else label


def request_time(time: float) -> str:
    """The time of a request as AWS writes it: `22/Nov/2026:09:30:00 +0000`."""
    return _clf(int(time))


@lru_cache(maxsize=4)  # many requests share a second
def _clf(second: int) -> str:
    # Not strftime: its %b follows the locale.
    year, month, day, hour, minute, sec, *_ = gmtime(second)
    return f"{day:02d}/{_MONTHS[month - 1]}/{year:04d}:{hour:02d}:{minute:02d}:{sec:02d} +0000"
