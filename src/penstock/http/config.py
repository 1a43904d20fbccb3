"""The settings of an HTTP server or connection, each written once."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from ..protocol import limits

logger = logging.getLogger("penstock.http")


def log_error(error: Exception) -> None:
    """Report an exception of the application in one line; the traceback is for debugging only."""
    logger.error("the application failed: %s: %s", type(error).__name__, error)
    logger.debug("traceback", exc_info=error)


def log_refused(status: int, message: str) -> None:
    logger.info("a request was refused: %d %s", status, message)


@dataclass(frozen=True, slots=True)
class Config:
    """Limits and times of a connection. A time of None means no limit."""

    head_limit: int = limits.REQUEST_HEAD
    """Bytes of a request line with its headers; 431 or 414 beyond it."""

    pipeline_limit: int = 64 * limits.KIB
    """Bytes read ahead while a response is under way; with more, none of them is served: the connection
    closes after the response. Reading goes on, since otherwise the client's leaving would not be noticed."""

    drain_limit: int = 64 * limits.KIB
    """The largest request body read and thrown away, so that a connection answered early can be reused."""

    linger_limit: int = limits.MIB
    """Bytes thrown away at most after an answer that did not wait for its request, before the close."""

    high_water: int = 64 * limits.KIB
    """Bytes waiting to be sent above which `Exchange.pause_writing` is called."""

    low_water: int = 16 * limits.KIB
    """Bytes waiting to be sent at which `Exchange.resume_writing` is called."""

    head_timeout: float | None = 10.0
    """Seconds for a request head, from its first byte or from the connection."""

    idle_timeout: float | None = 75.0
    """Seconds a connection is kept between two requests."""

    body_timeout: float | None = 30.0
    """Seconds without a byte of an awaited request body; does not run while the application has paused it."""

    linger_timeout: float = 2.0
    """Seconds for `linger_limit`."""

    flush_timeout: float = 10.0
    """Seconds in which a closing connection must take what is left: all of it if the response was broken
    off, some of it otherwise."""

    tick: float = 1.0
    """Seconds between two looks at the times above: their resolution."""

    answer_with_next: bool = False
    """Whether an answer waits for the one to a request that is already there behind it: one write for both.
    For clients that send a request behind another without waiting, and read the answers in one go."""

    stamp: bool = True
    """Whether responses carry Date and Server."""

    on_refused: Callable[[int, str], None] = log_refused
    """Called with status and message of each request that was answered without the application."""

    on_error: Callable[[Exception], None] = log_error
    """Called with each exception the application raised; the client gets 500, or a broken response."""
