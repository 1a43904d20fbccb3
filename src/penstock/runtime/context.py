"""The `context` a handler gets, with the attributes of AWS's.

Source: https://docs.aws.amazon.com/lambda/latest/dg/python-context.html and awslambdaric, lambda_context.py.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping

from penstock.protocol.runtime_api import InvocationInfo

from .errors import CONTEXT_UNMARSHAL_ERROR, RuntimeFault

TYPE_CHECKING = False  # as in `typing`, which is dear to import
if TYPE_CHECKING:
    from typing import Any

# W3C trace context travels inside the client context; other keys there are dropped.
_W3C = ("traceparent", "tracestate", "baggage")


class _Fields:
    """Attributes from a dictionary; those it does not have are None."""

    __slots__: tuple[str, ...] = ()

    def __init__(self, values: Mapping[str, Any]) -> None:
        for name in self.__slots__:
            setattr(self, name, values.get(name))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({shown})"


class Client(_Fields):
    """The mobile application that called, as the AWS Mobile SDK describes it."""

    __slots__ = ("app_package_name", "app_title", "app_version_code", "app_version_name", "installation_id")


class ClientContext(_Fields):
    """What the caller sent in `ClientContext`."""

    __slots__ = ("client", "custom", "env")

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        client: Any = values.get("client")
        self.client = Client(client) if isinstance(client, dict) else None


class CognitoIdentity(_Fields):
    """The Amazon Cognito identity that authorized the request."""

    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")


class LambdaContext:
    """What is known of the invocation and the function. Make it with `create`."""

    aws_request_id: str
    log_group_name: str | None
    log_stream_name: str | None
    function_name: str | None
    memory_limit_in_mb: str | None  # text, as AWS has it
    function_version: str | None
    invoked_function_arn: str
    tenant_id: str | None
    client_context: ClientContext | None
    identity: CognitoIdentity

    def __init__(self, info: InvocationInfo, environ: Mapping[str, str]) -> None:
        self.aws_request_id = info.request_id
        self.log_group_name = environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self.function_name = environ.get("AWS_LAMBDA_FUNCTION_NAME")
        self.memory_limit_in_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.function_version = environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.invoked_function_arn = info.function_arn
        self.tenant_id = info.tenant_id or None
        self._deadline_ms = info.deadline_ms

        client = _parse(info.client_context, "Client Context")
        w3c = client.pop("w3c", None) if client is not None else None
        self._w3c = {}
        if isinstance(w3c, dict):
            self._w3c = {name: w3c[name] for name in _W3C if isinstance(w3c.get(name), str)}
        self.client_context = None if client is None else ClientContext(client)

        identity = _parse(info.cognito_identity, "Cognito Identity") or {}
        self.identity = CognitoIdentity(
            {name: identity.get(key) for name, key in _COGNITO.items()} if identity else identity
        )

    @classmethod
    def create(cls, info: InvocationInfo, environ: Mapping[str, str]) -> LambdaContext:
        """The context of one invocation. Raises RuntimeFault."""
        return cls(info, environ)

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation times out; never below 0."""
        return max(self._deadline_ms - int(time.time() * 1000), 0)

    def w3c(self) -> dict[str, str]:
        """The W3C trace context the caller sent, if any."""
        return dict(self._w3c)

    def log(self, message: object) -> None:
        """Write to the function's log, without a newline."""
        sys.stdout.write(str(message))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in LambdaContext.__annotations__)
        return f"LambdaContext({shown})"


_COGNITO = {
    "cognito_identity_id": "cognitoIdentityId",
    "cognito_identity_pool_id": "cognitoIdentityPoolId",
}


def _parse(text: str, name: str) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        value = json.loads(text)
        if not isinstance(value, dict | None):
            raise ValueError(f"expected an object, got {type(value).__name__}")
        return value
    except Exception as error:
        raise RuntimeFault(CONTEXT_UNMARSHAL_ERROR, f"Unable to parse {name} JSON: {error}") from error
