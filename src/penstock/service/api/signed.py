"""Signatures at the Lambda API: what `service.access` denies, in the form AWS's clients read."""

import json

from penstock.http.request import Request
from penstock.protocol import sigv4
from penstock.service.access import Access

from .errors import ApiError


class Denial(ApiError):
    """AWS refuses these before they are Lambda's: the document has its message only, in lower case."""

    def __init__(self, denied: sigv4.Denied) -> None:
        super().__init__(denied.code, str(denied), status=denied.status)
        self.body = json.dumps({"message": str(denied)}).encode()


class SignedRequests:
    """Verifies every request. What `LambdaApi` takes as `access`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def begin(self, request: Request) -> "SignedRequest":
        """Look at a request's head. Raises ApiError."""
        try:
            return SignedRequest(self._access.verify(request))
        except sigv4.Denied as denied:
            raise Denial(denied) from None


class SignedRequest:
    """A request whose head was acceptable."""

    def __init__(self, pending: sigv4.Pending) -> None:
        self._pending = pending

    def check(self, body: bytes) -> None:
        """Verify the signature over head and body. Raises ApiError."""
        try:
            self._pending.check(body)
        except sigv4.Denied as denied:
            raise Denial(denied) from None
