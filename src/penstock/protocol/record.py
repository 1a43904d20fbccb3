"""What the gateway and the Lambda API say of each request, once it is over."""

from collections.abc import Callable
from typing import NamedTuple


class RequestRecord(NamedTuple):
    """One request, for the log. Times are in seconds."""

    time: float  # epoch, when it came
    method: str  # of HTTP; or, of a call to the Lambda API, the operation
    path: str  # as sent, query included; "" for a call
    function: str  # "" when no function was called
    request_id: str
    status: int  # what the client was told, or would have been
    first_byte: float | None  # from the request to the first payload byte; None: none was sent
    total: float
    chunks: int
    bytes: int  # of payload sent
    ending: str  # how it ended: one of call.Ending's words
    ok: bool
    detail: str = ""  # one line for a person: what went wrong and what to do about it


RequestSink = Callable[[RequestRecord], None]
