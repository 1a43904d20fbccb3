"""Signatures at the Lambda API: who gets in, and what the others are told."""

import asyncio
import json
import time

import pytest
from botocore import auth, awsrequest
from botocore.credentials import Credentials

from api_kit import INVOKE, Counter
from penstock.protocol import limits, sigv4
from penstock.service.access import Access
from penstock.service.api.signed import Denial, SignedRequests
from penstock.service.guard import ANY_HOST

HOST = "localhost:3001"  # api_kit's


def guarded() -> Counter:
    access = Access({"AKID": "s3cret"}, True, "us-east-1", time.time)
    return Counter(access=SignedRequests(access), allow_hosts=ANY_HOST)


def signature(method: str, path: str, body: bytes = b"", secret: str = "s3cret") -> dict[str, str]:
    request = awsrequest.AWSRequest(method, f"http://{HOST}{path}", data=body)
    auth.SigV4Auth(Credentials("AKID", secret), "lambda", "us-east-1").add_auth(request)
    return dict(request.headers.items())


def test_a_signed_call_is_made() -> None:
    counter = guarded()
    counter.send("POST", INVOKE, b'{"a":1}', **signature("POST", INVOKE, b'{"a":1}'))
    (invocation,) = counter.invoker.invocations
    assert invocation.call.payload == b'{"a":1}'


@pytest.mark.parametrize("body", [b"{}", b'{"a":2}', b""])
def test_another_body_is_refused_before_the_call(body: bytes) -> None:
    counter = guarded()
    counter.send("POST", INVOKE, body, **signature("POST", INVOKE, b'{"a":1}'))
    assert counter.invoker.invocations == []
    assert (counter.status, counter.headers["x-amzn-ErrorType"]) == (403, "InvalidSignatureException")


def test_the_answer_is_aws_s() -> None:
    counter = guarded()
    counter.send("POST", INVOKE, b"{}")
    assert counter.status == 403
    assert counter.headers["x-amzn-ErrorType"] == "MissingAuthenticationTokenException"
    assert counter.document == {"message": "Missing Authentication Token"}
    assert (counter.record.status, counter.record.ending, counter.record.ok) == (403, "refused", False)
    assert counter.record.detail == "Missing Authentication Token"


@pytest.mark.parametrize("path", ["/", "/2015-03-31/functions", "/nothing", "/_penstock/logs/app", INVOKE])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_without_a_key_nothing_can_be_told_apart(method: str, path: str) -> None:
    counter = guarded()
    status, document = asyncio.run(counter.ask(method, path))
    assert (status, document) == (403, {"message": "Missing Authentication Token"})


def test_a_wrong_secret_is_shown_nowhere() -> None:
    counter = guarded()
    headers = signature("POST", INVOKE, b"{}", secret="gu3ssed")
    counter.send("POST", INVOKE, b"{}", **headers)
    assert counter.status == 403
    shown = f"{counter.wire.sent!r} {counter.records!r}"
    assert "s3cret" not in shown
    assert "gu3ssed" not in shown
    assert headers["Authorization"].rpartition("=")[2] not in shown


def test_a_presigned_signature_is_not_logged() -> None:
    request = awsrequest.AWSRequest("GET", f"http://{HOST}/nothing")
    auth.SigV4QueryAuth(Credentials("AKID", "s3cret", "t0ken"), "lambda", "us-east-1").add_auth(request)
    counter = guarded()
    status, _ = asyncio.run(counter.ask("GET", request.url.removeprefix(f"http://{HOST}")))
    assert status == 404
    assert request.url.rpartition("=")[2] not in counter.record.path
    assert "t0ken" not in counter.record.path
    assert f"{sigv4.QUERY_SIGNATURE}=…" in counter.record.path


def test_a_denial_has_no_type_and_its_message_in_lower_case() -> None:
    denial = Denial(sigv4.unrecognized())
    assert (denial.status, denial.code) == (403, "UnrecognizedClientException")
    assert json.loads(denial.body) == {"message": "The security token included in the request is invalid."}


@pytest.mark.parametrize(
    "path",
    [
        INVOKE,
        "/2015-03-31/functions/nobody/invocations",
        "/2015-03-31/functions/app/invocations?Qualifier=nope",
        "/2015-03-31/functions/a!b/invocations",
        "/nothing",
    ],
)
@pytest.mark.parametrize("size", [0, 2, 5000])
def test_whoever_knows_a_keys_id_only_learns_no_function_s_name(path: str, size: int) -> None:
    counter = guarded()
    body = b"x" * size
    counter.send("POST", path, body, **signature("POST", path, body, secret="gu3ssed"))
    assert (counter.status, counter.document) == (403, {"message": str(sigv4.mismatch())})
    assert counter.invoker.invocations == []


def test_whoever_has_the_key_is_told() -> None:
    path = "/2015-03-31/functions/nobody/invocations"
    counter = guarded()
    counter.send("POST", path, b"{}", **signature("POST", path, b"{}"))
    assert counter.status == 404
    assert "Function not found" in counter.document["Message"]


def test_a_refused_request_is_not_kept_without_end() -> None:
    counter = guarded()
    headers = signature("POST", "/nothing", b"")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST /nothing HTTP/1.1\r\nHost: {HOST}\r\n{lines}Content-Length: {limits.MANAGEMENT_REQUEST + 1}"
    counter.connection.data_received(head.encode() + b"\r\n\r\n")
    piece = b"x" * 1_000_000
    left = limits.MANAGEMENT_REQUEST + 1
    while left:
        counter.connection.data_received(piece[:left])
        left -= len(piece[:left])
    counter.clock.turn()
    assert counter.status == 413
