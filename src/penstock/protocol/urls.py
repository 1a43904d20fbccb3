"""Function URLs as they are configured: who may call a function over HTTP, and from which web pages.

Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html and
https://docs.aws.amazon.com/lambda/latest/api/API_FunctionUrlConfig.html.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Auth = Literal["NONE", "AWS_IAM"]

URL_PREFIX = "/lambda-url/"  # where the gateway has them: /lambda-url/<function>/…

# What AWS says to whom it does not let in.
FORBIDDEN = (
    "Forbidden. For troubleshooting Function URL authorization issues, see: "
    "https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
)
FORBIDDEN_CODE = "AccessDeniedException"


@dataclass(frozen=True, slots=True)
class Cors:
    """Which web pages of other origins may call, and what they may see. Methods and headers may be `*`."""

    allow_origins: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    max_age: int | None = None  # seconds that a browser may keep the answer to a preflight request

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Cors":
        """From AWS's members, AllowOrigins and so on; absent ones and null are none."""

        def names(member: str) -> tuple[str, ...]:
            return tuple(document.get(member) or ())

        return cls(
            names("AllowOrigins"),
            names("AllowMethods"),
            names("AllowHeaders"),
            names("ExposeHeaders"),
            bool(document.get("AllowCredentials")),
            document.get("MaxAge"),
        )


@dataclass(frozen=True, slots=True)
class FunctionUrl:
    """The URL of a function, or of one of its aliases."""

    function: str
    qualifier: str = ""  # the alias; "": $LATEST
    auth: Auth = "NONE"
    cors: Cors | None = None

    @classmethod
    def of(cls, function: str, qualifier: str, document: Mapping[str, Any]) -> "FunctionUrl":
        """From AWS's members, AuthType and Cors. An auth type that is not known lets nobody in unsigned."""
        cors = document.get("Cors")
        auth: Auth = "NONE" if document.get("AuthType") == "NONE" else "AWS_IAM"
        return cls(function, qualifier, auth, Cors.of(cors) if cors else None)


Lookup = Callable[[str, str], FunctionUrl | None]
"""The URL of a function and alias ("" is none), as it is now; None: it has none, or is not there."""
