"""Takes in a request of the Lambda API whole, and verifies whose it is, before anything is done about it."""

from typing import Protocol

from penstock.http.exchange import Exchange
from penstock.http.writer import Writer
from penstock.protocol import limits
from penstock.protocol.call import FunctionNotFound

from .calllog import CallLog
from .errors import ApiError, not_found

PATIENCE = limits.MANAGEMENT_REQUEST
"""Bytes above a limit that are read before the answer: many clients read it only when they have sent all."""


class Signed(Protocol):
    """A request whose head was acceptable: `check` says whether its body is the one that was signed."""

    def check(self, body: bytes) -> None:
        """Raises ApiError."""


class Collector(Exchange):
    """A request with a body of at most `limit` bytes; more of it is read, counted and thrown away."""

    __slots__ = ("_body", "_limit", "_log", "_signed", "_size", "_writer")

    def __init__(self, writer: Writer, log: CallLog, signed: Signed | None, limit: int) -> None:
        self._writer = writer
        self._log = log
        self._signed = signed
        self._limit = limit
        self._body = bytearray()
        self._size = 0

    def request_data(self, slices: list[memoryview]) -> None:
        for piece in slices:
            self._size += len(piece)
            if self._size <= self._limit:
                self._body += piece
        if self._size > self._limit + PATIENCE:
            self._log.refuse(self._writer, self.too_large(self._size))

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        try:
            if self._size > self._limit:
                self._body.clear()
                raise self.too_large(self._size)
            body = bytes(self._body)
            self._body.clear()
            if self._signed is not None:
                self._signed.check(body)
            self.serve(body)
        except FunctionNotFound as error:
            self._log.refuse(self._writer, not_found(str(error)))
        except ApiError as error:
            self._log.refuse(self._writer, error)

    def too_large(self, size: int) -> ApiError:
        raise NotImplementedError

    def serve(self, body: bytes) -> None:
        """The request is complete and verified. Raises ApiError and FunctionNotFound."""
        raise NotImplementedError


class Refusal(Collector):
    """Answers with an error once the request was read.

    The error may tell what there is and what not: so the signature is verified first, where there is one.
    """

    __slots__ = ("_error",)

    def __init__(self, writer: Writer, error: ApiError, log: CallLog, signed: Signed | None = None) -> None:
        super().__init__(writer, log, signed, limits.MANAGEMENT_REQUEST if signed is not None else 0)
        self._error = error

    def too_large(self, size: int) -> ApiError:
        if self._signed is None:
            return self._error
        said = f"Request must be smaller than {limits.MANAGEMENT_REQUEST} bytes"
        return ApiError("RequestEntityTooLargeException", said)

    def serve(self, body: bytes) -> None:
        raise self._error

    def lost(self) -> None:
        self._log.left()
