"""Which request is served by what, and who may make it."""

import asyncio
from typing import Any

import pytest

from api_kit import INVOKE, LIST, Counter
from penstock.http.exchange import Exchange
from penstock.http.writer import Writer
from penstock.service.api.errors import ApiError
from penstock.service.api.request import ApiRequest, Reply


def answering(document: dict[str, Any]) -> tuple[dict[str, Any], list[ApiRequest]]:
    """Handlers of one operation that answers with `document`, and what it was asked."""
    asked: list[ApiRequest] = []

    async def handler(request: ApiRequest) -> Reply:
        asked.append(request)
        return Reply(200, document)

    return {"ListFunctions": handler}, asked


def test_an_operation_is_served_by_its_handler() -> None:
    handlers, asked = answering({"Functions": []})
    counter = Counter(handlers=handlers)
    assert asyncio.run(counter.ask("GET", LIST + "?MaxItems=2&Marker=a%20b")) == (200, {"Functions": []})
    (request,) = asked
    assert (request.operation, request.path, request.host) == ("ListFunctions", {}, "localhost:3001")
    assert (request.one("MaxItems"), request.one("Marker"), request.one("none", "x")) == ("2", "a b", "x")
    assert counter.headers["Content-Type"] == "application/json"
    record = counter.record
    assert (record.method, record.path, record.status, record.ok) == ("ListFunctions", "", 200, True)


def test_what_is_not_built_says_its_name() -> None:
    counter = Counter()
    status, document = asyncio.run(counter.ask("GET", "/2018-10-31/layers"))
    assert (status, document["Message"]) == (501, "ListLayers is not built into Penstock")
    assert counter.headers["x-amzn-ErrorType"] == "NotImplementedException"
    assert counter.record.status == 501


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "UnknownOperationException"),
        ("GET", "/2015-03-31/nothing", 404, "UnknownOperationException"),
        ("PATCH", LIST, 405, "MethodNotAllowedException"),
        ("GET", INVOKE, 405, "MethodNotAllowedException"),
        ("POST", "/_penstock/logs/app", 404, "UnknownOperationException"),
        ("GET", "/_penstock/nothing", 404, "UnknownOperationException"),
        ("POST", "/2015-03-31/functions/nope/invocations", 404, "ResourceNotFoundException"),
    ],
)
def test_what_there_is_not(method: str, path: str, status: int, code: str) -> None:
    counter = Counter()
    assert asyncio.run(counter.ask(method, path))[0] == status
    assert counter.headers["x-amzn-ErrorType"] == code
    assert not counter.errors


def test_a_web_page_is_refused_whatever_it_asks() -> None:
    handlers, asked = answering({})
    counter = Counter(handlers=handlers)
    assert asyncio.run(counter.ask("GET", LIST, Origin="https://evil.example"))[0] == 403
    assert not asked


class Guard:
    """Access for those whose body is `known`."""

    def __init__(self) -> None:
        self.checked: list[bytes] = []

    def begin(self, request: Any) -> "Guard":
        if request.get(b"authorization") is None:
            raise ApiError("MissingAuthenticationTokenException", "Missing Authentication Token")
        return self

    def check(self, body: bytes) -> None:
        self.checked.append(body)
        if body != b"known":
            raise ApiError("InvalidSignatureException", "not signed so")


def test_nobody_is_served_before_the_head_is_verified() -> None:
    handlers, asked = answering({})
    counter = Counter(handlers=handlers, access=Guard())
    for method, path in (("GET", LIST), ("POST", INVOKE), ("GET", "/_penstock/logs/app"), ("GET", "/x")):
        assert asyncio.run(counter.ask(method, path))[0] == 403
    assert not asked
    assert not counter.invoker.invocations


def test_nor_before_the_body_is() -> None:
    guard = Guard()
    handlers, asked = answering({})
    counter = Counter(handlers=handlers, access=guard)
    assert asyncio.run(counter.ask("GET", LIST, b"unknown", Authorization="a"))[0] == 403
    assert asyncio.run(counter.ask("POST", INVOKE, b"unknown", Authorization="a"))[0] == 403
    assert asyncio.run(counter.ask("GET", "/_penstock/logs/app", Authorization="a"))[0] == 403
    assert not asked
    assert not counter.invoker.invocations
    assert asyncio.run(counter.ask("GET", LIST, b"known", Authorization="a"))[0] == 200


def test_paths_of_our_own() -> None:
    class Said(Exchange):
        def __init__(self, text: str, writer: Writer) -> None:
            self.text, self.writer = text, writer

        def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
            self.writer.respond(200, [(b"Content-Type", b"application/json")], self.text.encode())

    own = {"code": lambda rest, query, writer: Said(f'"{rest} {query["a"][0]}"', writer)}
    assert asyncio.run(Counter(own=own).ask("GET", "/_penstock/code/abc/d?a=1")) == (200, "abc/d 1")


def test_settled_waits_for_changes_whose_client_has_left() -> None:
    begun, gate, done = asyncio.Event(), asyncio.Event(), []

    async def handler(request: ApiRequest) -> Reply:
        begun.set()
        await gate.wait()
        done.append(request.operation)
        return Reply(200, {})

    async def test() -> None:
        counter = Counter(handlers={"ListFunctions": handler})
        counter.send("GET", LIST)
        await begun.wait()
        counter.leave()
        gate.set()
        await counter.api.settled()
        assert done == ["ListFunctions"]
        assert counter.record.ok

    asyncio.run(test())
