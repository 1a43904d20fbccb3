"""Who may call: requests are signed with a key's secret, and the signature is checked as AWS checks it.

botocore computes what the signature should be. It is imported when there are keys, by `Access.prepare`: it
costs 0.2 s and 20 MB. Nothing here, and no message of an error, shows a secret or a signature.
"""

import hashlib
import hmac
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from penstock.http.request import Request
from penstock.protocol import sigv4
from penstock.protocol.events import ascii_only
from penstock.protocol.sigv4 import Claim

_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_SECRET = re.compile(r"[!-~]{1,256}")
_QUERY_FORM = sigv4.QUERY_SIGNATURE.encode() + b"="
_PREFIX = sigv4.PREFIX.encode()
_MINUTE = 60
_DOTS = frozenset((b".", b".."))


class InvalidKeys(ValueError):
    """Access keys that cannot be used. The message shows no secret."""


class Access:
    """The keys there are, and whether every request needs one of them."""

    def __init__(
        self, keys: Mapping[str, str], required: bool, region: str, clock: Callable[[], float]
    ) -> None:
        """`keys` are secrets by key id; `clock` gives epoch seconds."""
        self.required = required
        self.region = region
        self._keys = dict(keys)
        self._clock = clock

    def __bool__(self) -> bool:
        """Whether anybody has a key."""
        return bool(self._keys)

    def __repr__(self) -> str:
        return f"<Access of {len(self._keys)} keys>"

    def prepare(self) -> None:
        """Import what checking takes, if there is anything to check. Raises ImportError without botocore."""
        if self._keys:
            _signer()

    def verify(self, request: Request) -> "Pending":
        """Look at a request's head; `Pending.check` needs the body as well. Raises Denied.

        What can be refused without the body is: no signature, no such key, another time, region or service,
        an unsigned header that should be signed.
        """
        query = request.target.partition(b"?")[2]
        authorization = request.get(b"authorization")
        presigned: dict[str, list[str]] = {}
        if authorization is not None:
            claim = sigv4.from_header(
                _text(authorization),
                _header(request, sigv4.DATE),
                _header(request, "Date"),
            )
        elif _QUERY_FORM in query:
            presigned = sigv4.query_of(query.decode("latin-1"))
            claim = sigv4.from_query(presigned)
        else:
            raise sigv4.missing()
        secret = self._keys.get(claim.access_key)
        if secret is None:
            raise sigv4.unrecognized()
        self._check_scope(claim)
        _check_time(claim, self._clock())
        _check_signed_headers(claim, request)
        _check_path(request)
        stated = _header(request, sigv4.CONTENT_SHA256)
        if stated is None and presigned:
            stated = next(iter(presigned.get(sigv4.CONTENT_SHA256, ())), None)
        if stated is not None and stated.upper().startswith("STREAMING-"):
            raise sigv4.invalid(
                "A payload signed in chunks cannot be verified: sign the SHA-256 of all of it."
            )
        if stated == sigv4.UNSIGNED_PAYLOAD and claim.expires is None:
            raise sigv4.invalid(f"'{sigv4.CONTENT_SHA256}' must be the SHA-256 of the payload.")
        return Pending(claim, secret, self.region, request, stated)

    def _check_scope(self, claim: Claim) -> None:
        if len(claim.scope) != 4:
            raise sigv4.incomplete(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term"
            )
        date, region, service, terminator = claim.scope
        if region != self.region:
            raise sigv4.invalid(f"Credential should be scoped to a valid region, not '{region[:64]}'.")
        if service != sigv4.SERVICE:
            raise sigv4.invalid(f"Credential should be scoped to correct service: '{sigv4.SERVICE}'.")
        if terminator != sigv4.TERMINATOR:
            raise sigv4.invalid(
                f"Credential should be scoped with a valid terminator: '{sigv4.TERMINATOR}',"
                f" not '{terminator[:64]}'."
            )
        if date != claim.timestamp[:8]:
            raise sigv4.invalid(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP:"
                f" '{date[:64]}' != '{claim.timestamp[:8]}', from '{claim.timestamp}'."
            )


class Pending:
    """A request whose head was acceptable: its signature is checked once its body is there."""

    __slots__ = ("_claim", "_region", "_request", "_secret", "_stated", "access_key")

    def __init__(self, claim: Claim, secret: str, region: str, request: Request, stated: str | None) -> None:
        self.access_key = claim.access_key
        self._claim = claim
        self._secret = secret
        self._region = region
        self._request = request
        self._stated = stated  # the payload's hash, as the request states it

    def check(self, body: bytes) -> None:
        """Verify the signature over the whole request. Raises Denied."""
        if self._stated == sigv4.UNSIGNED_PAYLOAD:
            payload = self._stated
        else:
            payload = hashlib.sha256(body).hexdigest()
            if self._stated is not None and not hmac.compare_digest(self._stated.encode(), payload.encode()):
                raise sigv4.mismatch()  # AWS has no other word for it, either
        given = self._claim.signature.encode()
        good = False
        # Both are computed and compared, always.
        for params in self._queries():
            good |= hmac.compare_digest(self._signature(params, payload), given)
        if not good:
            raise sigv4.mismatch()

    def _signature(self, query: str, payload: str) -> bytes:
        signer = _signer()
        path = ascii_only(self._request.target.partition(b"?")[0].decode("latin-1"))
        return signer.sign(
            method=self._request.method,
            path=path,
            query=query,
            headers=[
                (name, _text(value))
                for raw, value in self._request.headers
                if (name := raw.decode("latin-1").lower()) in self._claim.signed_headers
            ],
            payload=payload,
            timestamp=self._claim.timestamp,
            access_key=self._claim.access_key,
            secret=self._secret,
            region=self._region,
        )

    def _queries(self) -> tuple[str, str]:
        """What may have been signed of the query: its parameters as they were sent, or escaped anew.

        Signers escape what HTTP clients then send as it is (`$LATEST`), and the other way around; both mean
        the same to whoever reads the query.
        """
        query = ascii_only(self._request.target.partition(b"?")[2].decode("latin-1"))
        pairs = sigv4.raw_pairs(query)
        if self._claim.expires is not None:
            pairs = [pair for pair in pairs if pair[0] != sigv4.QUERY_SIGNATURE]
        as_sent = "&".join(f"{name}={value}" for name, value in pairs)
        anew = "&".join(f"{_escape(name)}={_escape(value)}" for name, value in pairs)
        return as_sent, anew


def _check_time(claim: Claim, now: float) -> None:
    """Refuse what was signed too long ago, or in the future."""
    good_for, told = sigv4.MAX_SKEW, f"{sigv4.MAX_SKEW // _MINUTE} min."
    if claim.expires is not None:
        good_for, told = claim.expires, f"{claim.expires} s."
    signed_at = claim.signed_at
    if signed_at < int(now) - good_for:
        earliest = sigv4.format_time(int(now) - good_for)
        raise sigv4.invalid(
            f"Signature expired: {claim.timestamp} is now earlier than {earliest}"
            f" ({sigv4.format_time(now)} - {told})"
        )
    if signed_at > now + sigv4.MAX_SKEW:
        latest = sigv4.format_time(now + sigv4.MAX_SKEW)
        raise sigv4.invalid(
            f"Signature not yet current: {claim.timestamp} is still later than {latest}"
            f" ({sigv4.format_time(now)} + {sigv4.MAX_SKEW // _MINUTE} min.)"
        )


def _check_signed_headers(claim: Claim, request: Request) -> None:
    """Host must be signed, and what AWS acts upon; and what is said to be signed must be there."""
    if "host" not in claim.signed_headers:
        raise sigv4.invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    present = set()
    for raw, _ in request.headers:
        name = raw.lower()
        present.add(name.decode("latin-1"))
        if name.startswith(_PREFIX) and name.decode("latin-1") not in claim.signed_headers:
            raise sigv4.invalid(
                f"'{raw.decode('latin-1')}' must be a 'SignedHeader' in the AWS Authorization."
            )
    if not claim.signed_headers <= present:
        raise sigv4.mismatch()


def _check_path(request: Request) -> None:
    """Refuse dots that lead to another function: a path is signed without them, and routed as it was sent.

    Whoever was given a presigned URL of one function could else call another with it.
    """
    parts = request.target.partition(b"?")[0].split(b"/")[1:]
    if _DOTS.isdisjoint(parts):
        return
    resolved: list[bytes] = []
    for part in parts:
        if part == b"..":
            del resolved[-1:]
        elif part not in (b"", b"."):
            resolved.append(part)
    if resolved[:2] != parts[:2]:
        raise sigv4.mismatch()


# Keys.


def parse_keys(text: str, source: str = "PENSTOCK_ACCESS_KEYS") -> dict[str, str]:
    """The keys of `id:secret,id:secret`. Raises InvalidKeys, which names `source` and the position."""
    keys: dict[str, str] = {}
    parts = [part.strip() for part in text.split(",")]
    for number, part in enumerate(parts, 1):
        if part:
            _add_key(keys, part, f"{source}, key {number}")
    if not keys:
        raise InvalidKeys(f"{source}: expected id:secret,id:secret,…, got no key")
    return keys


def read_keys(path: Path) -> tuple[dict[str, str], list[str]]:
    """The keys of a file of `id:secret` lines, and what is to be said about it. Raises InvalidKeys."""
    shown = "FILE" if ":" in str(path) else str(path)  # somebody may have given the key itself
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            lines = file.read().splitlines()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
        raise InvalidKeys(f"cannot read {shown}: {reason}; it is a file of lines, each id:secret") from None
    keys: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not text.startswith("#"):
            _add_key(keys, text, f"{shown}:{number}")
    if not keys:
        raise InvalidKeys(f"{shown}: expected lines of id:secret, found no key")
    notes = []
    if mode & stat.S_IROTH:
        notes.append(f"{shown} can be read by every user of this machine: chmod 600 it")
    return keys, notes


def _add_key(keys: dict[str, str], text: str, where: str) -> None:
    key, colon, secret = text.partition(":")
    if not colon or not _KEY_ID.fullmatch(key) or not _SECRET.fullmatch(secret):
        raise InvalidKeys(
            f"{where}: expected id:secret, the id of letters, digits, - _ . and the secret without spaces"
        )
    if key in keys:
        raise InvalidKeys(f"{where}: the key {key} is there twice")
    keys[key] = secret


# botocore.


@dataclass(frozen=True, slots=True)
class _Signer:
    """botocore's signer, made to sign exactly what a request says was signed."""

    make: Callable[[str, str, str], Any]
    request: Callable[[str, str], Any]

    def sign(
        self,
        *,
        method: str,
        path: str,
        query: str,
        headers: list[tuple[str, str]],
        payload: str,
        timestamp: str,
        access_key: str,
        secret: str,
        region: str,
    ) -> bytes:
        # The host of this URL is not signed: the header Host is, as the client sent it.
        url = f"http://localhost{path}?{query}" if query else f"http://localhost{path}"
        request = self.request(method, url)
        request.context["timestamp"] = timestamp
        request.context["payload"] = payload
        for name, value in headers:
            request.headers[name] = value
        signer = self.make(access_key, secret, region)
        text = signer.string_to_sign(request, signer.canonical_request(request))
        return str(signer.signature(text, request)).encode()


@cache
def _signer() -> _Signer:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.compat import HTTPHeaders
    from botocore.credentials import Credentials

    class Exactly(SigV4Auth):  # type: ignore[misc]
        def headers_to_sign(self, request: Any) -> Any:
            chosen = HTTPHeaders()
            for name, value in request.headers.items():
                chosen[name] = value
            return chosen

        def payload(self, request: Any) -> str:
            return str(request.context["payload"])

    def make(access_key: str, secret: str, region: str) -> Any:
        return Exactly(Credentials(access_key, secret), sigv4.SERVICE, region)

    return _Signer(make, lambda method, url: AWSRequest(method=method, url=url))


def _escape(text: str) -> str:
    """As signers escape it. A plus sign is a space to all who read a query here."""
    return quote(unquote_to_bytes(text.replace("+", " ")), safe="-_.~")


def _header(request: Request, name: str) -> str | None:
    value = request.get(name.lower().encode())
    return None if value is None else _text(value)


def _text(value: bytes) -> str:
    """A header's value as its signer saw it."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
