"""The types that cross packages: a Call goes in, a Head and payload come out, an Outcome ends it.

    caller ── Call ──▶ Invoker ──▶ function
       ◀── Sink.head(Head), Sink.data(slices) …, Sink.end(Outcome) exactly once ──

A `Sink` is where a response goes; whoever calls gives one. The `Invocation` it gets back is the handle for
pressure (`pause`, `resume`) and for leaving (`cancel`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from . import runtime_api

Slice = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a function: who is called, with what event."""

    function: str  # its bare name
    payload: bytes  # the event, JSON text
    trace_id: str = ""
    client_context: str = ""  # JSON text, compact ASCII
    qualifier: str = ""  # a version or an alias; "" is $LATEST
    tenant_id: str = ""
    request_id: str = ""  # "": a new one. Attempts at one asynchronous event share theirs
    log_tail: bool = False  # its outcome shall have the last of its log
    background: bool = False  # nobody waits for it: when not all can run, it is the first to be throttled


@dataclass(frozen=True, slots=True)
class Head:
    """What a runtime says of its response before the first byte of it."""

    content_type: str
    streamed: bool

    @property
    def has_prelude(self) -> bool:
        """Whether the payload begins with a JSON prelude and eight NUL bytes."""
        return self.content_type.split(";")[0].strip().lower() == runtime_api.HTTP_INTEGRATION


class Ending(Enum):
    """Every way an invocation ends: the HTTP status when nothing was sent yet, and the word for the log.

    After the first byte the status is gone: the transfer is visibly broken instead.
    """

    DONE = (200, "done")
    FUNCTION_ERROR = (502, "function error")  # raised, or its result could not be sent
    INIT_ERROR = (502, "init error")
    CRASHED = (502, "crashed")
    OUT_OF_MEMORY = (502, "out of memory")
    TIMED_OUT = (502, "timed out")
    TOO_LARGE = (502, "response too large")
    IDLE_TIMED_OUT = (504, "idle timeout")
    CANCELLED = (499, "client left")  # nobody is there to be answered; 499 is nginx's word for the log
    STOPPED = (503, "service stopped")
    THROTTLED = (429, "throttled")

    def __init__(self, status: int, word: str) -> None:
        self.status = status
        self.word = word


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an invocation ended: one row of `Ending`, and what AWS's callers are told of it."""

    ending: Ending
    error_type: str = ""  # AWS's error type, for example Runtime.ExitError; of THROTTLED, AWS's Reason
    error_body: bytes = b""  # the JSON error document, as callers of Invoke receive it
    detail: str = ""  # one line for a person: what happened, and what to do about it
    log_tail: bytes = b""  # the last 4 KB of the log, of a call that asked for it

    @property
    def ok(self) -> bool:
        return self.ending is Ending.DONE


class Sink(Protocol):
    """Where a response goes. `end` is called exactly once, and nothing after it."""

    def head(self, head: Head) -> None:
        """The response has begun. At most once, and before any data."""

    def data(self, slices: Sequence[Slice]) -> None:
        """Payload, in order. Slices may be views of a read buffer: use them now or copy them."""

    def end(self, outcome: Outcome) -> None:
        """The response is complete if `outcome.ok`; otherwise it failed, before or after its head."""


class Invocation(Protocol):
    """One running call, as its caller sees it."""

    request_id: str

    @property
    def executed_version(self) -> str:
        """$LATEST, or the number of the version that runs."""

    def pause(self) -> None:
        """Take nothing more from the function until `resume`: its next write will wait."""

    def resume(self) -> None:
        """Go on after `pause`."""

    def cancel(self) -> None:
        """The caller has left: stop the function. The sink gets `end` when the function has let go."""


class Invoker(Protocol):
    """What can run functions. The service is one."""

    def invoke(self, call: Call, sink: Sink) -> Invocation:
        """Start `call`; its response goes to `sink`. Raises FunctionNotFound, and nothing else.

        `sink` may be called before this returns (a throttled call ends at once).
        """


class FunctionNotFound(LookupError):
    """No function has this name, version or alias. The message is AWS's: `Function not found: <arn>`."""
