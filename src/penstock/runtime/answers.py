"""The answers of the Runtime API, taken from bytes as they come in. Pure."""

from functools import lru_cache

from penstock.protocol.chunked import Counted, Deframer
from penstock.protocol.value import Value


class Answer(Value):
    """An answer of the Runtime API."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers  # names in lower case
        self.body = body


@lru_cache(maxsize=2)  # every other is that of a response that was taken, and they are all alike
def read_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer, not to be changed; `head` is without the empty line at its end."""
    status, *lines = head.decode("latin-1").split("\r\n")
    fields = [line.partition(":") for line in lines]
    return int(status[9:12]), {name.lower(): value.strip() for name, _, value in fields}


def body_of(status: int, headers: dict[str, str]) -> Deframer | Counted:
    """What takes in the body that follows a head; chunked is how AWS sends events of more than about 2 KB."""
    if status != 204 and headers.get("transfer-encoding", "").lower() == "chunked":
        return Deframer()
    return Counted(0 if status == 204 else int(headers.get("content-length", "0")))


class Answers:
    """Feed it every read, however the bytes are cut."""

    __slots__ = ("_body", "_buffer", "_head", "_parts")

    def __init__(self) -> None:
        self._buffer = b""
        self._head: tuple[int, dict[str, str]] | None = None  # of the answer whose body is coming
        self._body: Deframer | Counted
        self._parts: list[memoryview] = []

    def feed(self, data: bytes) -> list[Answer]:
        """The answers that are complete now, in order. Raises ChunkedError."""
        found: list[Answer] = []
        data = self._buffer + data
        self._buffer = b""
        while True:
            if self._head is None:
                end = data.find(b"\r\n\r\n")
                if end < 0:
                    self._buffer = data
                    return found
                head = read_head(data[:end])
                data = data[end + 4 :]
                if head[0] < 200:  # 1xx are not the answer yet
                    continue
                self._head = head
                self._body = body_of(*head)
            body = self._body
            if not body.done:
                self._parts += body.feed(data)
                data = body.rest
            if not body.done:
                return found
            found.append(Answer(*self._head, b"".join(self._parts)))
            self._head = None
            self._parts = []
