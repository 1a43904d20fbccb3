"""What functions print and what the platform says of them, line by line."""

from collections.abc import Callable
from typing import NamedTuple

from penstock.protocol import limits


class LogLine(NamedTuple):
    """One line of a function's log."""

    function: str
    environment: str  # the environment's id
    request_id: str  # "" outside an invocation
    text: str  # without the line end; control characters are as the function wrote them
    platform: bool = False  # START, END, REPORT, INIT_START: written by the service


LogSink = Callable[[LogLine], None]


class Tail:
    """The last bytes of one invocation's log: what LogType=Tail returns."""

    __slots__ = ("_kept", "_size")

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._size = 0

    def add(self, line: str) -> None:
        data = line.encode("utf-8", "replace") + b"\n"
        self._kept.append(data)
        self._size += len(data)
        if self._size > 4 * limits.LOG_TAIL:
            self._kept = [self.bytes()]
            self._size = len(self._kept[0])

    def bytes(self) -> bytes:
        return b"".join(self._kept)[-limits.LOG_TAIL :]
