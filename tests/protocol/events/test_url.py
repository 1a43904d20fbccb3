from collections.abc import Sequence
from typing import Any

import pytest

from penstock.protocol.events import HttpRequest, url

HOST = "abc.lambda-url.us-west-2.on.aws"


def request(
    path: str = "/",
    query: str = "",
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    method: str = "GET",
) -> HttpRequest:
    return HttpRequest(
        method, path, query, headers, body, "68.8.83.18", "HTTP/1.1", "id-1", 1783711146.671,
        scheme="https", port=443,
    )  # fmt: skip


# A request recorded from AWS, without what only TLS and IAM add.
RECORDED = request(
    "/capture/space%20value",
    "repeat=one&repeat=two&redirect=https%3A%2F%2Fexample.com%2Fa%2Fb&literalPlus=a+b&encodedPlus=a%2Bb&empty=",
    (
        ("Host", HOST),
        ("User-Agent", "curl/8.7.1"),
        ("Accept", "*/*"),
        ("Cookie", "session=abc123; theme=dark"),
        ("Content-Type", "application/json"),
        ("Content-Length", "28"),
        ("X-Probe", "first"),
        ("x-probe", "second"),
    ),
    '{"unicode":"lambda-λ"}'.encode(),
    "POST",
)
RECORDED_EVENT: dict[str, Any] = {
    "version": "2.0",
    "routeKey": "$default",
    "rawPath": "/capture/space%20value",
    "rawQueryString": RECORDED.query,
    "cookies": ["session=abc123", "theme=dark"],
    "headers": {
        "accept": "*/*",
        "content-length": "28",
        "content-type": "application/json",
        "cookie": "session=abc123; theme=dark",
        "host": HOST,
        "user-agent": "curl/8.7.1",
        "x-forwarded-for": "68.8.83.18",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
        "x-probe": "first,second",
    },
    "queryStringParameters": {
        "empty": "",
        "encodedPlus": "a+b",
        "literalPlus": "a b",
        "redirect": "https://example.com/a/b",
        "repeat": "one,two",
    },
    "requestContext": {
        "accountId": "anonymous",
        "apiId": "abc",
        "domainName": HOST,
        "domainPrefix": "abc",
        "http": {
            "method": "POST",
            "path": "/capture/space value",
            "protocol": "HTTP/1.1",
            "sourceIp": "68.8.83.18",
            "userAgent": "curl/8.7.1",
        },
        "requestId": "id-1",
        "routeKey": "$default",
        "stage": "$default",
        "time": "10/Jul/2026:19:19:06 +0000",
        "timeEpoch": 1783711146671,
    },
    "body": '{"unicode":"lambda-λ"}',
    "isBase64Encoded": False,
}


def test_a_function_url() -> None:
    assert url.event(RECORDED) == RECORDED_EVENT


def test_an_http_api_has_an_account_and_no_cookie_header() -> None:
    headers = {name: value for name, value in RECORDED_EVENT["headers"].items() if name != "cookie"}
    context = RECORDED_EVENT["requestContext"] | {"accountId": "000000000000"}
    assert url.event(RECORDED, "http") == RECORDED_EVENT | {"headers": headers, "requestContext": context}


def test_what_is_absent_is_left_out() -> None:
    event = url.event(request())
    assert not event.keys() & {"cookies", "queryStringParameters", "body", "pathParameters", "stageVariables"}
    assert event["rawQueryString"] == ""
    assert event["isBase64Encoded"] is False
    assert event["requestContext"]["http"]["userAgent"] == ""


@pytest.mark.parametrize(
    ("path", "raw", "decoded"),
    [
        ("/pa2%Fth/1", "/pa2%Fth/1", "/pa2%Fth/1"),  # recorded: a broken escape passes through
        ("/a%2Fb//c/../d/", "/a%2Fb//c/../d/", "/a/b//c/../d/"),
        ("/a+b", "/a+b", "/a+b"),
        ("/caf%C3%A9", "/caf%C3%A9", "/café"),
        ("/caf\xc3\xa9", "/caf%C3%A9", "/café"),
    ],
)
def test_paths(path: str, raw: str, decoded: str) -> None:
    event = url.event(request(path))
    assert event["rawPath"] == raw
    assert event["requestContext"]["http"]["path"] == decoded


def test_a_query_without_parameters() -> None:
    event = url.event(request(query="&"))
    assert event["rawQueryString"] == "&"
    assert "queryStringParameters" not in event


def test_cookies_of_several_headers() -> None:
    event = url.event(request(headers=[("Cookie", "a=1; b=2"), ("cookie", "c=3;"), ("Cookie", "")]))
    assert event["cookies"] == ["a=1", "b=2", "c=3"]


def test_headers_of_the_connection_are_not_passed_on() -> None:
    headers = url.event(request(headers=[("Connection", "x"), ("Transfer-Encoding", "chunked")]))["headers"]
    assert headers.keys() == {"x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"}


def test_forwarded_headers_and_trace_id_are_ours() -> None:
    sent = [("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-Proto", "gopher"), ("X-Amzn-Trace-Id", "theirs")]
    assert url.event(request(headers=sent))["headers"] == {
        "x-forwarded-for": "1.1.1.1, 68.8.83.18",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
        "x-amzn-trace-id": "theirs",
    }
    traced = HttpRequest("GET", "/", "", sent, b"", "ip", "HTTP/1.1", "id", 0.0, trace_id="ours")
    assert url.event(traced)["headers"]["x-amzn-trace-id"] == "ours"


@pytest.mark.parametrize(
    ("content_type", "is_text"),
    [
        ("text/plain", True),
        ("Text/Event-Stream; charset=utf-8", True),
        ("application/json", True),
        ("application/json;charset=utf-8", True),
        ("application/xml", True),
        ("application/javascript", True),
        ("application/x-www-form-urlencoded", False),
        ("multipart/form-data; boundary=b", False),
        ("application/octet-stream", False),
        ("image/svg+xml", False),
        ("", False),
    ],
)
def test_the_content_type_decides_what_is_text(content_type: str, is_text: bool) -> None:
    headers = [("Content-Type", content_type)] if content_type else []
    event = url.event(request(headers=headers, body=b"a", method="POST"))
    assert event["isBase64Encoded"] is not is_text
    assert event["body"] == ("a" if is_text else "YQ==")


def test_text_that_is_not_utf8_is_base64() -> None:
    event = url.event(request(headers=[("Content-Type", "text/plain")], body=b"\xff", method="POST"))
    assert (event["body"], event["isBase64Encoded"]) == ("/w==", True)


def test_whoever_signed_is_named() -> None:
    assert "authorizer" not in url.event(request())["requestContext"]
    context = url.event(request()._replace(access_key="AKID"))["requestContext"]
    assert context["accountId"] == "000000000000"
    assert context["authorizer"]["iam"]["accessKey"] == "AKID"
    assert context["authorizer"]["iam"]["userArn"] == "arn:aws:iam::000000000000:user/AKID"
