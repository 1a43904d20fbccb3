"""The gateway's settings."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the gateway.

    A field's `help` is what the command line and the documentation say of it.
    """

    event_format: Literal["1.0", "2.0"] = field(
        default="1.0",
        metadata={"help": "the event functions get: 1.0 as a REST API makes it, 2.0 as an HTTP API does"},
    )
    on_disconnect: Literal["cancel", "finish"] = field(
        default="cancel",
        metadata={
            "help": "when the client leaves: cancel stops the function; finish lets it run on, as AWS does"
        },
    )
    limits: Literal["none", "aws"] = field(
        default="none",
        metadata={"help": "the service's setting of the same name: aws also limits the time", "shared": True},
    )
