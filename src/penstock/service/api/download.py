"""A function's code as a file, from the address that GetFunction gives for it: Code.Location.

    GET /_penstock/code/{SHA-256, hexadecimal}?expires=…&token=…

The address itself is the permission, as with AWS's own: whoever has it may read it, for ten minutes.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from penstock.http.exchange import Exchange
from penstock.http.writer import Writer
from penstock.protocol.lambda_api import CODE_PREFIX

from .errors import ApiError, not_found

_PIECE = 64 * 1024
_SECRET = secrets.token_bytes(32)  # of this process: what it gave out ends with it
_VALID = 600  # seconds that an address holds, as on AWS


def code_location(host: str, sha256: str, now: float) -> str:
    """An address from which code can be had for ten minutes. `sha256` is Base64, `now` epoch seconds."""
    digest = base64.b64decode(sha256).hex()
    expires = int(now) + _VALID
    return (
        f"http://{host or 'localhost'}{CODE_PREFIX}{digest}?expires={expires}&token={_token(digest, expires)}"
    )


def check_location(digest: str, query: Mapping[str, list[str]], now: float) -> str:
    """The SHA-256 (Base64) of the code that an address is of: its path's last part, its query.

    Raises ApiError if it was not made by `code_location` here, or has expired.
    """
    expires = query.get("expires", [""])[0]
    token = query.get("token", [""])[0]
    if not re.fullmatch(r"[0-9a-f]{64}", digest) or not re.fullmatch(r"[0-9]{1,15}", expires):
        raise not_found("there is no such code")
    if not hmac.compare_digest(token.encode(), _token(digest, int(expires)).encode()):
        raise ApiError("AccessDeniedException", "this address of a function's code is not valid")
    if int(expires) < now:
        message = "this address of a function's code has expired: call GetFunction for a new one"
        raise ApiError("AccessDeniedException", message)
    return base64.b64encode(bytes.fromhex(digest)).decode()


def _token(digest: str, expires: int) -> str:
    return hmac.new(_SECRET, f"{digest} {expires}".encode(), hashlib.sha256).hexdigest()


class Download(Exchange):
    """Sends a file as fast as it is read. Raises ApiError when it is not there."""

    def __init__(self, writer: Writer, path: Path | None) -> None:
        try:
            if path is None:
                raise FileNotFoundError
            self._file = path.open("rb")
        except OSError:
            raise not_found("there is no such code any more") from None
        self._size = path.stat().st_size
        self._writer = writer
        self._paused = False
        self._sending = False

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        self._writer.start(200, [(b"Content-Type", b"application/zip")], length=self._size)
        self._send()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._send()

    def lost(self) -> None:
        self._file.close()

    def _send(self) -> None:
        if self._sending:
            return  # resumed from within the write below
        self._sending = True
        while not self._paused and (piece := self._file.read(_PIECE)):
            self._writer.data([piece])
        self._sending = False
        if not self._paused:
            self._file.close()
            self._writer.end()
