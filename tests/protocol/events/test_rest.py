from collections.abc import Sequence
from typing import Any

import pytest

from penstock.protocol.events import HttpRequest, rest

CURL = (("Host", "127.0.0.1:3000"), ("User-Agent", "curl/8.7.1"), ("Accept", "*/*"))


def request(
    path: str = "/items/1",
    query: str = "",
    headers: Sequence[tuple[str, str]] = CURL,
    body: bytes = b"",
    method: str = "GET",
    trace_id: str = "",
) -> HttpRequest:
    return HttpRequest(
        method, path, query, headers, body, "192.0.2.7", "HTTP/1.1", "id-1", 1783711146.671, port=3000,
        trace_id=trace_id,
    )  # fmt: skip


def test_a_curl_get() -> None:
    headers = {
        "Host": "127.0.0.1:3000",
        "User-Agent": "curl/8.7.1",
        "Accept": "*/*",
        "X-Forwarded-For": "192.0.2.7",
        "X-Forwarded-Port": "3000",
        "X-Forwarded-Proto": "http",
    }
    assert rest.event(request()) == {
        "resource": "/{proxy+}",
        "path": "/items/1",
        "httpMethod": "GET",
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": {"proxy": "items/1"},
        "stageVariables": None,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "penstock",
            "deploymentId": "local",
            "domainName": "127.0.0.1:3000",
            "domainPrefix": "127.0.0.1",
            "extendedRequestId": "id-1",
            "httpMethod": "GET",
            "identity": {
                "accessKey": None,
                "accountId": None,
                "caller": None,
                "cognitoAuthenticationProvider": None,
                "cognitoAuthenticationType": None,
                "cognitoIdentityId": None,
                "cognitoIdentityPoolId": None,
                "principalOrgId": None,
                "sourceIp": "192.0.2.7",
                "user": None,
                "userAgent": "curl/8.7.1",
                "userArn": None,
            },
            "path": "/items/1",
            "protocol": "HTTP/1.1",
            "requestId": "id-1",
            "requestTime": "10/Jul/2026:19:19:06 +0000",
            "requestTimeEpoch": 1783711146671,
            "resourceId": "proxy",
            "resourcePath": "/{proxy+}",
            "stage": "local",
        },
        "body": None,
        "isBase64Encoded": False,
    }


@pytest.mark.parametrize(
    ("path", "resource", "proxy"),
    [
        ("/", "/", None),
        ("/items", "/{proxy+}", "items"),
        ("/items/", "/{proxy+}", "items"),
        ("//items//1", "/{proxy+}", "/items//1"),
        ("//", "/{proxy+}", "/"),
        ("/a%2Fb/../c%20d", "/{proxy+}", "a%2Fb/../c%20d"),
        ("/test%2Balias@a.com/test+alias@a.com", "/{proxy+}", "test%2Balias@a.com/test+alias@a.com"),
        ("*", "/", None),  # OPTIONS *
    ],
)
def test_paths_stay_as_sent(path: str, resource: str, proxy: str | None) -> None:
    event = rest.event(request(path))
    assert event["path"] == event["requestContext"]["path"] == path
    assert event["resource"] == event["requestContext"]["resourcePath"] == resource
    assert event["pathParameters"] == (proxy and {"proxy": proxy})


def test_a_path_of_unescaped_bytes_is_escaped() -> None:
    event = rest.event(request("/caf\xc3\xa9"))
    assert event["path"] == "/caf%C3%A9"
    assert event["pathParameters"] == {"proxy": "caf%C3%A9"}


def test_query_values_are_decoded_and_the_last_one_wins() -> None:
    event = rest.event(request(query="a=1&b=x%20y+z&a=2&empty="))
    assert event["queryStringParameters"] == {"a": "2", "b": "x y z", "empty": ""}
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "2"], "b": ["x y z"], "empty": [""]}


def test_an_empty_query_is_none() -> None:
    event = rest.event(request(query="&"))
    assert event["queryStringParameters"] is None
    assert event["multiValueQueryStringParameters"] is None


def headers(*sent: tuple[str, str], **more: Any) -> dict[str, list[str]]:
    multi: dict[str, list[str]] = rest.event(request(headers=sent, **more))["multiValueHeaders"]
    return multi


def test_header_case_is_kept_and_the_last_value_is_the_single_one() -> None:
    event = rest.event(request(headers=[("tEsT", "1"), ("test", "2"), ("Other", "3")]))
    assert event["headers"]["tEsT"] == "2"
    assert event["multiValueHeaders"]["tEsT"] == ["1", "2"]
    assert "test" not in event["headers"]


def test_some_names_are_spelled_by_aws() -> None:
    event = rest.event(request(headers=[("host", "h"), ("user-agent", "u"), ("x-amzn-trace-id", "t")]))
    assert event["headers"].items() >= {"Host": "h", "User-Agent": "u", "X-Amzn-Trace-Id": "t"}.items()
    assert event["requestContext"]["identity"]["userAgent"] == "u"


def test_headers_of_the_connection_and_the_length_are_not_passed_on() -> None:
    sent = [(name, "x") for name in ("Connection", "transfer-ENCODING", "Content-Length", "TE", "Keep-Alive")]
    assert headers(*sent, ("Kept", "1")).keys() == {
        "Kept",
        "X-Forwarded-For",
        "X-Forwarded-Port",
        "X-Forwarded-Proto",
    }


def test_a_client_can_add_to_forwarded_for_and_to_nothing_else() -> None:
    sent = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-port", "1"), ("X-FORWARDED-PROTO", "gopher")]
    assert headers(*sent) == {
        "X-Forwarded-For": ["1.1.1.1, 192.0.2.7"],
        "X-Forwarded-Port": ["3000"],
        "X-Forwarded-Proto": ["http"],
    }


def test_the_trace_id_is_ours_if_there_is_one() -> None:
    assert headers(("x-amzn-trace-id", "theirs"), trace_id="ours")["X-Amzn-Trace-Id"] == ["ours"]


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json; charset=utf-8", '{"a": "λ"}'.encode(), ('{"a": "λ"}', False)),
        ("application/x-www-form-urlencoded", b"a=1", ("a=1", False)),
        ("text/plain", b"\xff", ("/w==", True)),
        ("", b"a", ("a", False)),
        ("", b"\xff", ("/w==", True)),
        ("image/png", b"a", ("YQ==", True)),
        ("IMAGE/PNG ;x=y", b"a", ("YQ==", True)),
        ("image/svg+xml", b"<svg/>", ("<svg/>", False)),
        ("application/octet-stream", b"a", ("YQ==", True)),
        ("multipart/form-data; boundary=b", b"--b--", ("LS1iLS0=", True)),
        ("application/json", b"", (None, False)),
        ("image/png", b"", (None, False)),
    ],
)
def test_bodies(content_type: str, body: bytes, expected: tuple[str | None, bool]) -> None:
    sent = [("content-TYPE", content_type)] if content_type else []
    event = rest.event(request(headers=sent, body=body, method="POST"))
    assert (event["body"], event["isBase64Encoded"]) == expected


def test_a_request_without_any_header() -> None:
    context = rest.event(request(headers=()))["requestContext"]
    assert context["domainName"] == context["domainPrefix"] == ""
    assert context["identity"]["userAgent"] is None
