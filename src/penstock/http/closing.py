"""Ending a connection so that the client can tell: RST instead of FIN."""

import asyncio
import fcntl
import socket
import struct
import termios

_LINGER_NOT = struct.pack("ii", 1, 0)
_POLL = 0.01


def reset(transport: asyncio.Transport) -> None:
    """Close with RST; what is not sent is dropped."""
    try:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    except OSError:
        pass  # already closed, or a kind of socket without RST
    transport.abort()


def reset_when_sent(loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
    """Close with RST once everything written has reached the client; the caller sets the time limit.

    An RST makes the kernel drop what it has not sent, so its own queue must be empty too.
    """
    if transport.is_closing():
        return
    if transport.get_write_buffer_size() or _queued(transport):
        loop.call_later(_POLL, reset_when_sent, loop, transport)
    else:
        reset(transport)


def _queued(transport: asyncio.Transport) -> int:
    """Bytes in the kernel that the other side has not acknowledged."""
    count = struct.pack("i", 0)
    try:
        count = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, count)
    except OSError:
        pass  # not every system says it of a socket
    return int(struct.unpack("i", count)[0])
