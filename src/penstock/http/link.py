"""The transport's side of a connection: gathered writes, paused reads, deadlines, and every way to close.

What is written while bytes are being worked on leaves in one write afterwards (the cork), so the answer to
one request and to the next, if that is already here, share a packet.
"""

import asyncio
from enum import Enum
from typing import cast

from ..protocol import limits
from .closing import reset, reset_when_sent
from .config import Config
from .timers import NEVER, Timers
from .writer import Slice

_JOIN = 4 * limits.KIB  # bytes below which copying them together is cheaper than sending them as parts


class State(Enum):
    HEAD = "head"  # between requests, or within a head
    BODY = "body"  # the request body is coming
    WAIT = "wait"  # the request is complete, the response is not
    LINGER = "linger"  # answered and half-closed; what still comes is thrown away
    CLOSING = "closing"  # being flushed or gone; what still comes is ignored


class Link(asyncio.Protocol):
    """What `Connection` stands on."""

    def __init__(self, config: Config, timers: Timers) -> None:
        self.deadline = NEVER
        self._config = config
        self._timers = timers
        self._transport: asyncio.Transport
        self._state = State.HEAD
        self._corked = False
        self._out: list[Slice] = []  # written, and not yet handed to the transport
        self._out_size = 0
        self._write_paused = False
        self._read_paused = False
        self._broken = False  # flush_timeout is for all of the flush
        self._unsent = 0  # while closing: the write buffer at the last look
        self._discarded = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._set_limits()

    def connection_lost(self, error: Exception | None) -> None:
        self._state = State.CLOSING
        self._out = []
        self.deadline = NEVER
        self._timers.forget(self)

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False

    # -- writing --

    def hold(self, head: bytes) -> None:
        """Send `head` with what follows in this callback, or after it."""
        self._out.append(head)
        self._out_size += len(head)
        if not self._corked:
            self._timers.loop.call_soon(self._flush)

    def write(self, parts: list[Slice], size: int) -> None:
        """Send `parts`, `size` bytes in all."""
        if self._corked and self._out_size + size < self._config.high_water:
            self._out += parts
            self._out_size += size
        elif self._out:
            self._out += parts
            self._out_size += size
            self._flush()
        else:
            self._send(parts, size)

    def _flush(self) -> None:
        out = self._out
        if out:
            size = self._out_size
            self._out = []
            self._out_size = 0
            self._send(out, size)

    def _send(self, parts: list[Slice], size: int) -> None:
        transport = self._transport
        if transport.is_closing():
            return
        if len(parts) == 1:
            transport.write(parts[0])
            return
        if size <= _JOIN:
            transport.write(b"".join(parts))
            return
        transport.writelines(parts)
        if not self._write_paused and transport.get_write_buffer_size() > self._config.high_water:
            # Before CPython 3.12.9 and 3.13.2 writelines never pauses the protocol; setting the limits does.
            # https://github.com/python/cpython/issues/127655
            self._set_limits()

    def _set_limits(self) -> None:
        self._transport.set_write_buffer_limits(high=self._config.high_water, low=self._config.low_water)

    # -- reading --

    def _pause_reading(self, pause: bool) -> None:
        if pause is not self._read_paused and not self._transport.is_closing():
            self._read_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _discard(self, data: bytes) -> None:
        """Take what comes while lingering or closing."""
        if self._state is State.LINGER:
            self._discarded += len(data)
            if self._discarded > self._config.linger_limit:
                self._close()

    # -- time --

    def _arm(self, seconds: float | None) -> None:
        if seconds is None:
            self.deadline = NEVER
        else:
            self.deadline = self._timers.now() + seconds
            self._timers.watch(self)

    def expire(self, now: float) -> None:
        """Close; or, when that has been going on too long, reset."""
        if self._state is State.LINGER or self._state is State.CLOSING:
            before, self._unsent = self._unsent, self._transport.get_write_buffer_size()
            if not self._broken and 0 < self._unsent < before:
                self.deadline = now + self._config.flush_timeout  # slow, but taking it
                return
        if self._state is State.CLOSING:
            self.deadline = NEVER
            reset(self._transport)
        else:
            self._close()

    # -- closing --

    def _close(self) -> None:
        """Send what was written, then FIN."""
        self._flush()
        self._state = State.CLOSING
        self._unsent = self._transport.get_write_buffer_size()
        self._arm(self._config.flush_timeout)
        self._transport.close()

    def _linger(self) -> None:
        """Send what was written, then FIN; go on reading for a while, so that no RST overtakes it."""
        self._flush()
        if self._transport.is_closing() or not self._transport.can_write_eof():
            self._close()
            return
        self._state = State.LINGER
        self._unsent = self._transport.get_write_buffer_size()
        try:
            self._transport.write_eof()
        except OSError:  # of asyncio's transports: the other side has reset the connection
            self._close()
            return
        self._pause_reading(False)
        self._arm(self._config.linger_timeout)

    def _break(self, reset: bool, *, lingering: bool) -> None:
        """Send what was written, in flush_timeout at most, then FIN, or RST where a FIN looks like an end."""
        self._broken = True
        if reset:
            self._flush()
            self._state = State.CLOSING
            self._arm(self._config.flush_timeout)
            reset_when_sent(self._timers.loop, self._transport)
        elif lingering:
            self._linger()  # a close with bytes unread would reset, and lose what was written
        else:
            self._close()
