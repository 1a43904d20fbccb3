"""The service's settings."""

from dataclasses import dataclass, field
from typing import Literal

from penstock.protocol.limits import INIT_TIMEOUT


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the service. Times are in seconds.

    A field's `help` is what the command line and the documentation say of it.
    """

    max_environments: int = field(
        default=1000,
        metadata={"help": "how many execution environments may live at once; a call above that gets 429"},
    )
    start_ahead: int = field(
        default=10,
        metadata={"help": "how many environments of a function may start before calls need them; 0: none do"},
    )
    limits: Literal["none", "aws"] = field(
        default="none",
        metadata={
            "help": "aws: also AWS's limits on scaling, and on a stream's size, pace and time; see limits.md"
        },
    )
    init_timeout: float = field(
        default=INIT_TIMEOUT,
        metadata={"help": "seconds a function's imports and module code may take"},
    )
    idle_expiry: float = field(
        default=300.0, metadata={"help": "seconds an unused environment is kept before it is stopped"}
    )
    max_templates: int = field(
        default=16,
        metadata={"help": "how many initialised templates are kept; the one unused longest is let go"},
    )
    cancel_grace: float = field(
        default=3.0, metadata={"help": "seconds a cancelled function has to end before it is killed"}
    )
    log_size: int = field(
        default=10, metadata={"help": "in serve, MB that are kept of each function's log", "metavar": "MB"}
    )
    event_concurrency: int = field(
        default=10, metadata={"help": "how many asynchronous events of one function may run at once"}
    )
    event_retry_delay: float = field(
        default=60.0,
        metadata={"help": "seconds before a failed event is tried again; the second time twice that"},
    )
