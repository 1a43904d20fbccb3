"""AWS's Signature Version 4 as requests carry it: in the Authorization header, or in the query (presigned).

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. Only what
a request says of its signature is read here; who is right is for the service to say. Messages are AWS's
own; none of them repeats a signature.
"""

import base64
import calendar
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import gmtime, strftime, strptime
from typing import Protocol
from urllib.parse import unquote

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "lambda"
TERMINATOR = "aws4_request"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

# Headers, and in a presigned URL's query parameters.
PREFIX = "x-amz-"  # every header that begins so must be signed
DATE = "X-Amz-Date"
CONTENT_SHA256 = "X-Amz-Content-Sha256"
SECURITY_TOKEN = "X-Amz-Security-Token"
QUERY_ALGORITHM = "X-Amz-Algorithm"
QUERY_CREDENTIAL = "X-Amz-Credential"
QUERY_EXPIRES = "X-Amz-Expires"
QUERY_SIGNED_HEADERS = "X-Amz-SignedHeaders"
QUERY_SIGNATURE = "X-Amz-Signature"

MAX_SKEW = 300  # seconds that a client's clock may be wrong, either way
MAX_EXPIRES = 604_800  # seconds that a presigned URL may be good for: a week

_DATE_FORMAT = "%Y%m%dT%H%M%SZ"
_DATE = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_SECRETS = re.compile(rf"\b({QUERY_SIGNATURE}|{SECURITY_TOKEN})=[^&]*", re.IGNORECASE)
_DIGITS = re.compile(r"\d{1,9}", re.ASCII)


class Denied(Exception):
    """A request whose signature is missing, or not good. `code` is AWS's name for the error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = 403

    @property
    def unsigned(self) -> bool:
        """Whether there was no signature at all."""
        return self.code == MISSING


class Pending(Protocol):
    """A request whose head was acceptable, and whose body is still to come."""

    access_key: str  # whose it is, if `check` agrees

    def check(self, body: bytes) -> None:
        """Verify the signature over the whole request. Raises Denied."""


MISSING = "MissingAuthenticationTokenException"
INCOMPLETE = "IncompleteSignatureException"
UNRECOGNIZED = "UnrecognizedClientException"
INVALID = "InvalidSignatureException"


def missing() -> Denied:
    """There is no signature."""
    return Denied(MISSING, "Missing Authentication Token")


def incomplete(message: str) -> Denied:
    """There is a signature, but parts of it are not there or cannot be read."""
    return Denied(INCOMPLETE, message)


def unrecognized() -> Denied:
    """Nobody here has this key."""
    return Denied(UNRECOGNIZED, "The security token included in the request is invalid.")


def invalid(message: str) -> Denied:
    """The signature is complete, and not good."""
    return Denied(INVALID, message)


def mismatch() -> Denied:
    """What was signed is another request, or the secret is another one."""
    return invalid(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret"
        " Access Key and signing method. Consult the service documentation for details."
    )


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its signature."""

    access_key: str
    scope: tuple[str, ...]  # date, region, service, terminator: four if it is well made
    signed_headers: frozenset[str]  # lower case
    signature: str
    timestamp: str  # as in DATE
    expires: int | None = None  # seconds a presigned URL is good for; None: not presigned

    @property
    def signed_at(self) -> int:
        """Epoch seconds."""
        return calendar.timegm(strptime(self.timestamp, _DATE_FORMAT))


def from_header(authorization: str, date: str | None, http_date: str | None) -> Claim:
    """The claim of an Authorization header, with the headers X-Amz-Date and Date. Raises Denied."""
    algorithm, _, rest = authorization.strip().partition(" ")
    parts = _pairs(rest) if algorithm == ALGORITHM else {}
    wanted = ("Credential", "Signature", "SignedHeaders")
    told = [f"Authorization header requires '{name}' parameter." for name in wanted if not parts.get(name)]
    if date is None and http_date is None:
        told.append(f"Authorization header requires existence of either a '{DATE}' or a 'Date' header.")
    if told:
        raise incomplete(" ".join([*told, _hashed(authorization)]))
    access_key, *scope = parts["Credential"].split("/")
    signed = frozenset(name.lower() for name in parts["SignedHeaders"].split(";") if name)
    timestamp = _timestamp(date) if date is not None else _from_http_date(http_date or "")
    return Claim(access_key, tuple(scope), signed, parts["Signature"], timestamp)


def from_query(query: Mapping[str, list[str]]) -> Claim:
    """The claim of a presigned URL, from its decoded query. Raises Denied."""
    wanted = (QUERY_ALGORITHM, QUERY_CREDENTIAL, QUERY_SIGNATURE, QUERY_SIGNED_HEADERS, DATE, QUERY_EXPIRES)
    values = {name: query[name][0] for name in wanted if len(query.get(name, ())) == 1 and query[name][0]}
    if told := [
        f"AWS query-string parameters must include '{name}'." for name in wanted if name not in values
    ]:
        raise incomplete(" ".join([*told, "Re-examine the query-string parameters."]))
    if values[QUERY_ALGORITHM] != ALGORITHM:
        raise incomplete(f"'{QUERY_ALGORITHM}' must be '{ALGORITHM}'.")
    expires = values[QUERY_EXPIRES]
    if not _DIGITS.fullmatch(expires) or not 1 <= int(expires) <= MAX_EXPIRES:
        raise incomplete(f"'{QUERY_EXPIRES}' must be a number of seconds from 1 to {MAX_EXPIRES}.")
    access_key, *scope = values[QUERY_CREDENTIAL].split("/")
    signed = frozenset(name.lower() for name in values[QUERY_SIGNED_HEADERS].split(";") if name)
    return Claim(
        access_key, tuple(scope), signed, values[QUERY_SIGNATURE], _timestamp(values[DATE]), int(expires)
    )


def raw_pairs(query: str) -> list[tuple[str, str]]:
    """A query's parameters in the order they came, as they were sent."""
    return [(name, value) for name, _, value in (part.partition("=") for part in query.split("&") if part)]


def query_of(query: str) -> dict[str, list[str]]:
    """A query's parameters, percent-decoded. A plus sign is one: signers escape spaces."""
    values: dict[str, list[str]] = {}
    for name, value in raw_pairs(query):
        values.setdefault(unquote(name), []).append(unquote(value))
    return values


def shown(target: str) -> str:
    """A request's target as it may stand in a log: without the signature of a presigned URL."""
    return _SECRETS.sub(r"\1=…", target) if "?" in target else target


def format_time(seconds: float) -> str:
    """Epoch seconds as X-Amz-Date has them."""
    return strftime(_DATE_FORMAT, gmtime(seconds))


def _pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals:
            digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
            raise incomplete(
                "Invalid key=value pair (missing equal-sign) in Authorization header"
                f" (hashed with SHA-256 and encoded with Base64): '{digest}'."
            )
        pairs[name] = value
    return pairs


def _hashed(authorization: str) -> str:
    digest = base64.b64encode(hashlib.sha256(authorization.encode()).digest()).decode()
    return f"(Hashed with SHA-256 and encoded with Base64) Authorization={digest}"


def _timestamp(text: str) -> str:
    if _DATE.fullmatch(text):
        try:
            strptime(text, _DATE_FORMAT)
            return text
        except ValueError:
            pass  # the thirtieth of February
    raise incomplete(
        f"Date must be in ISO-8601 'basic format'. Got '{text[:64]}'."
        " See http://en.wikipedia.org/wiki/ISO_8601"
    )


def _from_http_date(text: str) -> str:
    try:
        text = format_time(parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError, OverflowError, OSError):
        pass  # some send the other format in it
    return _timestamp(text)  # also of a date: its year may have five digits
