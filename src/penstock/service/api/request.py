"""A management request, as its operation gets it, and what the operation answers. Pure."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.protocol import strict_json

from .errors import ApiError

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request, its signature verified."""

    operation: str  # AWS's name
    path: Mapping[str, str]  # the parameters in the path, decoded: FunctionName, Name, …
    query: Mapping[str, list[str]] = field(default_factory=dict)
    body: bytes = b""
    host: str = ""  # as the client wrote it: addresses in answers begin with it

    def one(self, name: str, default: str = "") -> str:
        """A parameter of the query."""
        return self.query.get(name, [default])[0]

    def json(self) -> Document:
        """The body. Raises ApiError."""
        if not self.body:
            return {}
        try:
            value = strict_json.loads(self.body)
        except (ValueError, RecursionError) as error:
            message = f"Could not parse request body into json: {error}"
            raise ApiError("InvalidRequestContentException", message) from None
        if not isinstance(value, dict):
            message = "Could not parse request body into json: expected an object"
            raise ApiError("InvalidRequestContentException", message)
        return value


@dataclass(frozen=True, slots=True)
class Reply:
    """What an operation answers. Without a document the body is empty."""

    status: int = 200
    document: Document | None = None


Handler = Callable[[ApiRequest], Awaitable[Reply]]
"""One operation. Raises ApiError; FunctionNotFound and StoreError are understood as well."""
