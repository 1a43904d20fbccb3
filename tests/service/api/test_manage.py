"""A management operation's exchange: what goes wrong in it, and how large it may be."""

import asyncio
from typing import Any

import pytest

from api_kit import CREATE, Counter
from penstock.protocol import limits
from penstock.protocol.call import FunctionNotFound
from penstock.service.api.errors import ApiError
from penstock.service.api.request import ApiRequest, Reply
from penstock.service.store import StoreError


def raising(error: Exception) -> Counter:
    async def handler(request: ApiRequest) -> Reply:
        raise error

    return Counter(handlers={"CreateFunction": handler})


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        (ApiError("ResourceConflictException", "taken"), 409, "ResourceConflictException", "taken"),
        (
            FunctionNotFound("Function not found: x"),
            404,
            "ResourceNotFoundException",
            "Function not found: x",
        ),
        (StoreError("the disk is full"), 500, "ServiceException", "the disk is full"),
        (ZeroDivisionError("oh"), 500, "ServiceException", "a fault of ours: ZeroDivisionError: oh"),
    ],
)
def test_errors(error: Exception, status: int, code: str, message: str) -> None:
    counter = raising(error)
    answered, document = asyncio.run(counter.ask("POST", CREATE, b"{}"))
    assert (answered, document.get("Message", document.get("message"))) == (status, message)
    assert counter.headers["x-amzn-ErrorType"] == code
    assert (counter.record.status, counter.record.ok, counter.record.detail) == (status, False, message)


def test_an_answer_without_a_document_has_no_body() -> None:
    async def handler(request: ApiRequest) -> Reply:
        return Reply(204)

    counter = Counter(handlers={"DeleteFunction": handler})
    assert asyncio.run(counter.ask("DELETE", CREATE + "/app")) == (204, None)
    assert "Content-Type" not in counter.headers
    assert counter.headers["x-amzn-RequestId"]


def test_a_request_that_is_too_large_is_read_and_refused() -> None:
    asked: list[Any] = []

    async def handler(request: ApiRequest) -> Reply:
        asked.append(request)
        return Reply()

    counter = Counter(handlers={"CreateFunction": handler})
    size = limits.MANAGEMENT_REQUEST + 1
    head = f"POST {CREATE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
    counter.connection.data_received(head.encode())
    piece = bytes(4 * limits.MIB)
    while size:
        counter.connection.data_received(piece[:size])
        size -= min(size, len(piece))
    counter.clock.turn()
    assert counter.status == 413
    assert counter.document["Message"] == (
        "Request must be smaller than 70167211 bytes for the CreateFunction operation"
    )
    assert counter.headers["x-amzn-ErrorType"] == "RequestEntityTooLargeException"
    assert not asked


def test_only_code_may_be_large() -> None:
    async def handler(request: ApiRequest) -> Reply:
        return Reply(200, {"read": len(request.body)})

    counter = Counter(handlers={"CreateFunction": handler, "UpdateFunctionConfiguration": handler})
    body = bytes(limits.SETTINGS_REQUEST + 1)
    assert asyncio.run(counter.ask("POST", CREATE, body)) == (200, {"read": len(body)})
    status, document = asyncio.run(counter.ask("PUT", CREATE + "/app/configuration", body))
    said = "Request must be smaller than 131072 bytes for the UpdateFunctionConfiguration operation"
    assert (status, document["Message"]) == (413, said)


def test_a_refusal_whose_client_has_left_is_logged() -> None:
    gate = asyncio.Event()

    async def handler(request: ApiRequest) -> Reply:
        await gate.wait()
        raise ApiError("ResourceConflictException", "taken")

    async def test() -> None:
        counter = Counter(handlers={"CreateFunction": handler})
        counter.send("POST", CREATE, b"{}")
        await asyncio.sleep(0)
        counter.leave()
        gate.set()
        await counter.api.settled()
        assert (counter.record.status, counter.record.detail) == (409, "taken")
        assert not counter.wire.sent

    asyncio.run(test())
