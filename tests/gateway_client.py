"""A client of a running platform's gateway: it tells a whole response from a broken one, and it can leave."""

import http.client
import itertools
from dataclasses import dataclass
from typing import Any

from platform_process import Platform

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Answer:
    """What the client got, and the platform's log event of the request."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    broken: bool  # the transfer ended visibly before its end
    record: dict[str, Any]

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def ending(self) -> str:
        return str(self.record["ending"])

    @property
    def detail(self) -> str:
        return str(self.record["detail"])


class Caller:
    """One request under way. Each has a path of its own, by which its log event is found."""

    def __init__(self, platform: Platform, path: str, *, body: str | None = None, method: str = "GET"):
        self._platform = platform
        self.path = f"{path}?call={next(_numbers)}"
        self._connection = http.client.HTTPConnection(*platform.gateway_address, timeout=30)
        self._connection.request(method, self.path, body)
        self._response: http.client.HTTPResponse | None = None

    @property
    def response(self) -> http.client.HTTPResponse:
        """Its head; waits for it."""
        if self._response is None:
            self._response = self._connection.getresponse()
        return self._response

    def read(self) -> bytes:
        """The next piece of the body."""
        return self.response.read1()

    def leave(self) -> None:
        """Close the connection, as Ctrl-C in curl does."""
        if self._response is not None:
            self._response.close()
        self._connection.close()

    def record(self) -> dict[str, Any]:
        """The log event of this request; waits for it."""
        return self._platform.wait_for(event="request", path=self.path)

    def finish(self) -> Answer:
        """Read all there is."""
        response = self.response
        try:
            body, broken = response.read(), False
        except http.client.IncompleteRead as error:
            body, broken = error.partial, True
        self.leave()
        return Answer(response.status, response.headers, body, broken, self.record())


def call(platform: Platform, path: str, *, body: str | None = None, method: str = "GET") -> Answer:
    return Caller(platform, path, body=body, method=method).finish()


def pid(platform: Platform, path: str = "/pid") -> int:
    """The process id of the environment that answers `path`."""
    return int(call(platform, path).text)


def log_of(platform: Platform, record: dict[str, Any]) -> list[str]:
    """What the function printed during a request."""
    lines = platform.find(event="log", requestId=record["requestId"])
    return [line["message"] for line in lines if not line.get("platform")]
