"""The text of what a runtime sends to the Runtime API. Pure.

One `Requests` belongs to one connection, and to one invocation after another: `begin` says which.
"""

from penstock.protocol import runtime_api
from penstock.protocol.chunked import encode_end


class Requests:
    """`own`: the other side is Penstock's service. There a stream needs no connection of its own."""

    __slots__ = ("_attempt", "_host", "next", "own", "restore_next")

    def __init__(self, host: str, own: bool) -> None:
        self.own = own
        self.next = f"GET {runtime_api.NEXT_PATH} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        self.restore_next = f"GET {runtime_api.RESTORE_NEXT_PATH} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        self._host = host
        self._attempt = ""  # the header an answer to the current event repeats

    def begin(self, attempt: str) -> None:
        """What follows is of this attempt at an invocation; "": the service has no names for them."""
        self._attempt = f"{runtime_api.INVOCATION_ID}: {attempt}\r\n" if attempt else ""

    def response(self, request_id: str, content_type: str, length: int) -> bytes:
        """The head of a buffered response."""
        path = f"{runtime_api.INVOCATION_PATH}{request_id}/response"
        return self._post(path, content_type, length, self._attempt)

    def error(self, request_id: str, error_type: str, length: int) -> bytes:
        """The head of an error report instead of a response."""
        path = f"{runtime_api.INVOCATION_PATH}{request_id}/error"
        return self._post(path, "application/json", length, _error_type(error_type) + self._attempt)

    def init_error(self, error_type: str, length: int) -> bytes:
        """The head of the report that the function could not be initialised."""
        return self._post(runtime_api.INIT_ERROR_PATH, "application/json", length, _error_type(error_type))

    def restore_error(self, error_type: str, length: int) -> bytes:
        """The head of the report that an after-restore hook has failed."""
        return self._post(runtime_api.RESTORE_ERROR_PATH, "application/json", length, _error_type(error_type))

    def stream_head(self, request_id: str, content_type: str) -> bytes:
        """The head of a streamed response."""
        close = "" if self.own else "Connection: close\r\n"
        return (
            f"POST {runtime_api.INVOCATION_PATH}{request_id}/response HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Content-Type: {content_type}\r\n{runtime_api.RESPONSE_MODE}: {runtime_api.STREAMING}\r\n"
            f"Trailer: {runtime_api.ERROR_TYPE}, {runtime_api.ERROR_BODY}\r\n{self._attempt}{close}"
            "Transfer-Encoding: chunked\r\n\r\n"
        ).encode("latin-1")

    def stream_tail(self, error: tuple[str, str] | None = None) -> bytes:
        """What ends a streamed response: last chunk and trailers, and on our own socket the next request."""
        trailers = []
        if error is not None:
            error_type, document = error
            trailers = [
                (runtime_api.ERROR_TYPE.encode(), _field(error_type).encode()),
                (runtime_api.ERROR_BODY.encode(), document.encode()),
            ]
        end = encode_end(trailers)
        return end + self.next if self.own else end

    def _post(self, path: str, content_type: str, length: int, extra: str) -> bytes:
        return (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: {content_type}\r\n{extra}"
            f"Content-Length: {length}\r\n\r\n"
        ).encode("latin-1", "replace")


def _error_type(error_type: str) -> str:
    return f"{runtime_api.ERROR_TYPE}: {_field(error_type)}\r\n"


def _field(text: str) -> str:
    """A class name as a header's value; Python allows any text as one."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)
