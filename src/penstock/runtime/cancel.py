"""Stopping a handler whose caller has left.

The service shuts the connection that carries the response and, when the function has not let go after a
moment, sends SIGURG. A handler that yields notices by itself: its next chunk cannot be sent, and its
generator is closed. One that is blocked is interrupted by the signal: `Cancelled` is raised where it stands.

The signal is only a hint, the truth is the socket. `Cancelled` is raised only while user code runs *and*
the connection is hung up, at most once an invocation; a stale signal does nothing. SIGURG, because its
default is to be ignored: a stray one can never kill a program the function started.

On AWS nothing of this happens: AWS lets a function run on when its caller leaves
(https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html).
"""

from __future__ import annotations

import select
import signal

TYPE_CHECKING = False  # as in `typing`, which is dear to import
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from types import FrameType

# macOS has no POLLRDHUP; there POLLHUP is what a shut connection shows.
_HANGUP = getattr(select, "POLLRDHUP", select.POLLHUP)


class Cancelled(BaseException):
    """Raised in a handler that was blocked when its caller left.

    A BaseException, so that `except Exception` does not swallow it. Let it pass; `finally` blocks run. The
    environment is replaced afterwards, because a library may have been left half-way.
    """


def hung_up(connection: socket) -> bool:
    """Whether the other side has shut the connection."""
    # A new poll object each time: the signal handler nests, and one object cannot poll twice at once.
    poll = select.poll()
    poll.register(connection, _HANGUP)
    return bool(poll.poll(0))


class Guard:
    """Decides whether the service's signal interrupts user code.

    Use it with both levels, since the signal may land in the inner `finally`:

        try:
            try:
                guard.arm(connection)
                ...user code...
            finally:
                guard.disarm()
        except Cancelled:
            ...
    """

    def __init__(self) -> None:
        self.interrupted = False  # whether Cancelled was raised in this invocation
        self._armed = False
        self._connection: socket | None = None
        self._interrupt: Callable[[], object] | None = None

    def install(self) -> None:
        signal.signal(signal.SIGURG, self._on_signal)

    def arm(self, connection: socket, interrupt: Callable[[], object] | None = None) -> None:
        """From here on, a signal raises Cancelled if `connection` is hung up; or it calls `interrupt`."""
        self.interrupted = False
        self._connection = connection
        self._interrupt = interrupt
        self._armed = True

    def disarm(self) -> None:
        self._armed = False

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._armed and self._connection is not None and hung_up(self._connection):
            self._armed = False
            if self._interrupt is not None:
                self._interrupt()
                return
            self.interrupted = True
            raise Cancelled("the caller has left")
