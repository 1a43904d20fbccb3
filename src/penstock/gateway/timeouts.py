"""How long a response may take to come through API Gateway, under `--limits aws`.

    no response yet, or a buffered one    29 s on a REST API, 30 s on an HTTP API
    streamed                              15 minutes in all, 5 minutes of silence

Function URLs have no limit but the function's own timeout. An HTTP API cannot stream on AWS; here it can,
and has the limits of a REST API then. Sources: see protocol/limits.py.
"""

import asyncio
from collections.abc import Callable

from penstock.protocol import limits

from .routes import Flavour

_LOOK = 5.0  # seconds between two looks at whether a stream goes on

_INTEGRATION = {"rest": limits.REST_TIMEOUT, "http": limits.HTTP_API_TIMEOUT}


class Timeout:
    """The clock of one request, from the call of its function on; `stop` it at the end.

    `expired` is called once, with what is to be said of it.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, flavour: Flavour, expired: Callable[[str], None]
    ) -> None:
        self.held = False  # the reader holds the stream back: its silence does not count
        self._loop = loop
        self._expired = expired
        self._began = loop.time()
        seconds = _INTEGRATION[flavour]
        said = f"the response was not complete after {seconds:g} s; a stream may take longer"
        self._timer = loop.call_later(seconds, expired, said)

    def stream(self, sent: Callable[[], int]) -> None:
        """The response is a streamed one; `sent` tells how much of it has gone out."""
        self._timer.cancel()
        self._sent = sent
        self._last = (sent(), self._loop.time())
        self._look()

    def stop(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        now, sent = self._loop.time(), self._sent()
        if self.held or sent != self._last[0]:
            self._last = (sent, now)
        total = self._began + limits.STREAM_TIMEOUT - now
        silence = self._last[1] + limits.STREAM_IDLE_TIMEOUT - now
        if total <= 0:
            self._expired(f"the stream took {limits.STREAM_TIMEOUT:g} s; --limits none lets it go on")
        elif silence <= 0:
            seconds = limits.STREAM_IDLE_TIMEOUT
            self._expired(f"the stream sent nothing for {seconds:g} s; --limits none lets it go on")
        else:
            self._timer = self._loop.call_later(min(_LOOK, total, silence), self._look)
