"""Which function answers a path, and as what. Pure.

    /lambda-url/<function>/…           that function, as its Function URL; it sees the path after its name
    /lambda-url/<function>:<alias>/…   the same of one of its aliases
    the Lambda API's own paths         nothing: that is another server, and the client has the wrong port
    anything else                      the function of TARGET, if there is just one, as an API with one
                                       greedy route

Otherwise the answer is `listing`. Paths are taken as sent: double slashes, dots and percent escapes mean
nothing here and survive. Which Function URLs there are is asked anew for each request.
"""

import json
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from penstock.protocol import lambda_api
from penstock.protocol.urls import URL_PREFIX, Auth, Cors, FunctionUrl, Lookup

_LAMBDA_API = (lambda_api.INVOKE_PREFIX, lambda_api.STREAM_PREFIX)
_AWS = re.compile(
    rf"/\d{{4}}-\d\d-\d\d/|{lambda_api.OWN_PREFIX}"
)  # any of its paths; asked where no function answers

EventFormat = Literal["1.0", "2.0"]
Flavour = Literal["rest", "http", "url"]  # REST API (1.0), HTTP API (2.0), Function URL (2.0)


class Route(NamedTuple):
    """Where a request goes: a function, the front door it came through, and the path the function sees."""

    function: str
    flavour: Flavour
    path: str
    qualifier: str = ""
    auth: Auth = "NONE"
    cors: Cors | None = None


class Routes:
    """The routes to functions."""

    def __init__(
        self, functions: Sequence[str], event_format: EventFormat = "1.0", url: Lookup | None = None
    ) -> None:
        """`functions` are TARGET's own; `url` finds any function's URL. Without it, each of these has one."""
        self.functions = tuple(functions)
        self._flavour: Flavour = "rest" if event_format == "1.0" else "http"
        self._url = url or self._open_url

    def match(self, path: str) -> Route | None:
        """The route of `path`, or None: then `listing(path)` is the body of a 404."""
        if f"{path}/".startswith(_LAMBDA_API):
            return None  # a client of the Lambda API with the wrong port
        name = _url_function(path)
        if name is not None:
            function, colon, alias = name.partition(":")
            if not function or (colon and not alias) or (url := self._url(function, alias)) is None:
                return None
            rest = path[len(URL_PREFIX) + len(name) :]
            return Route(url.function, "url", rest or "/", url.qualifier, url.auth, url.cors)
        if len(self.functions) == 1:
            return Route(self.functions[0], self._flavour, path)
        return None

    def listing(self, path: str = "/") -> bytes:
        """JSON that says why nothing answers `path`, and where each of TARGET's functions is."""
        name = _url_function(path)
        if _AWS.match(path):
            message = "This is the gateway. The Lambda API listens on another port: see --lambda-port."
        elif name:
            message = f"There is no Function URL of '{name}'."
        elif not self.functions:
            message = (
                f"TARGET has no function. Those made with the Lambda API are at {URL_PREFIX}<function>/, "
                "once they have a Function URL."
            )
        elif name is not None:
            message = "Name a function."
        else:
            message = "There are several functions: call one at its own path."
        urls = {
            function: f"{URL_PREFIX}{function}/" for function in self.functions if self._url(function, "")
        }
        return json.dumps({"message": message, "functions": urls}, indent=2).encode() + b"\n"

    def _open_url(self, function: str, qualifier: str) -> FunctionUrl | None:
        return FunctionUrl(function) if function in self.functions and not qualifier else None


def _url_function(path: str) -> str | None:
    """What a path names as function, "" if nothing, None if it is no Function URL at all."""
    if not path.startswith(URL_PREFIX):
        return None
    return path[len(URL_PREFIX) :].partition("/")[0]
