"""The service's settings."""

from dataclasses import dataclass, field

from penstock.protocol import limits


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the service. Times are in seconds.

    A field's `help` is what the command line and the documentation say of it.
    """

    max_environments: int = field(
        default=1000,
        metadata={"help": "how many execution environments may live at once; a call above that gets 429"},
    )
    init_timeout: float = field(
        default=limits.INIT_TIMEOUT,
        metadata={"help": "seconds a function's imports and module code may take"},
    )
    idle_expiry: float = field(
        default=300.0, metadata={"help": "seconds an unused environment is kept before it is stopped"}
    )
    cancel_grace: float = field(
        default=3.0, metadata={"help": "seconds a cancelled function has to end before it is killed"}
    )
