import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocol.events import head
from penstock.protocol.events.head import HttpHead, InvalidResult
from penstock.protocol.prelude import Prelude

Lines = list[tuple[bytes, bytes]]
JSON: Lines = [(b"Content-Type", b"application/json")]
BINARY: Lines = [(b"Content-Type", b"application/octet-stream")]


def dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


# What both kinds of front door make of a result with a statusCode: status, headers, body.
RESPONSES: list[tuple[Any, int, Lines, bytes]] = [
    ({"statusCode": 200}, 200, JSON, b""),
    ({"statusCode": "418"}, 418, JSON, b""),
    ({"statusCode": None, "body": None}, 200, JSON, b""),
    ({"statusCode": 599, "body": "a"}, 599, JSON, b"a"),
    ({"statusCode": 200, "body": "λ"}, 200, JSON, "λ".encode()),
    ({"statusCode": 200, "body": '{"a": 1}'}, 200, JSON, b'{"a": 1}'),
    ({"statusCode": 200, "body": 3}, 200, JSON, b"3"),
    ({"statusCode": 200, "body": False}, 200, JSON, b"false"),
    ({"statusCode": 200, "headers": None}, 200, JSON, b""),
    ({"statusCode": 200, "headers": {}}, 200, JSON, b""),
    ({"statusCode": 200, "body": "/w==", "isBase64Encoded": True}, 200, JSON, b"\xff"),
    ({"statusCode": 200, "body": "/w==", "isBase64Encoded": False}, 200, JSON, b"/w=="),
    ({"statusCode": 200, "body": None, "isBase64Encoded": True}, 200, JSON, b""),
    ({"statusCode": 200, "headers": {"content-TYPE": "a/b"}}, 200, [(b"content-TYPE", b"a/b")], b""),
    (
        {"statusCode": 200, "headers": {"A": True, "B": 1, "C": 1.5, "D": ""}},
        200,
        [(b"A", b"true"), (b"B", b"1"), (b"C", b"1.5"), (b"D", b""), *JSON],
        b"",
    ),
    (
        {"statusCode": 200, "headers": {"L": "é", "U": "λ", "S": " \ta b "}},
        200,
        [(b"L", b"\xe9"), (b"U", b"\xce\xbb"), (b"S", b"a b"), *JSON],
        b"",
    ),
    # Headers of the connection are the server's, and so is the length of a known body.
    (
        {
            "statusCode": 200,
            "body": "abc",
            "headers": {
                "Connection": "close",
                "transfer-encoding": "chunked",
                "Keep-Alive": "a\r\nb",
                "Upgrade": "h2c",
                "TRAILER": "x",
                "TE": "x",
                "Proxy-Connection": "x",
                "Content-Length": "1",
                "content-length": "nonsense",
                "Date": "today",
                "Server": "mine",
            },
        },
        200,
        [(b"Date", b"today"), (b"Server", b"mine"), *JSON],
        b"abc",
    ),
]

MULTI: list[tuple[Any, Lines]] = [
    ({"multiValueHeaders": {"A": ["1", "2"]}}, [(b"A", b"1"), (b"A", b"2"), *JSON]),
    ({"multiValueHeaders": {"A": ["1"]}, "headers": {"A": "2"}}, [(b"A", b"1"), (b"A", b"2"), *JSON]),
    (
        {"multiValueHeaders": {"tesT": ["1"]}, "headers": {"test": "2"}},
        [(b"tesT", b"1"), (b"tesT", b"2"), *JSON],
    ),
    ({"multiValueHeaders": {"A": ["1", "2"]}, "headers": {"A": "2"}}, [(b"A", b"1"), (b"A", b"2"), *JSON]),
    (
        {"multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"]}},
        [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2"), *JSON],
    ),
    ({"multiValueHeaders": {"Content-Type": ["a/b"]}}, [(b"Content-Type", b"a/b")]),
    ({"multiValueHeaders": {"Content-Type": []}}, JSON),
    ({"multiValueHeaders": None}, JSON),
]

STATUSES: list[Any] = [True, False, 1.5, 200.0, "abc", "", " 200", "2e2", "20", "0200", "٢٠٠", "200\r\nA: b"]
STATUSES += [199, 100, 101, 600, 0, -200, 10**400, [], {}, [200]]

# What no front door sends: the result, and what the message must name.
INVALID: list[tuple[Any, str]] = [
    *(({"statusCode": status}, "statusCode") for status in STATUSES),
    ({"statusCode": 200, "body": {"a": 1}}, "body"),
    ({"statusCode": 200, "body": ["a"]}, "body"),
    ({"statusCode": 200, "body": "\ud800"}, "body"),
    ({"statusCode": 200, "body": "%%", "isBase64Encoded": True}, "body"),
    ({"statusCode": 200, "body": "YQ", "isBase64Encoded": True}, "body"),
    ({"statusCode": 200, "body": "é", "isBase64Encoded": True}, "body"),
    ({"statusCode": 200, "isBase64Encoded": "yes"}, "isBase64Encoded"),
    ({"statusCode": 200, "headers": []}, "headers"),
    ({"statusCode": 200, "headers": "A: b"}, "headers"),
    ({"statusCode": 200, "headers": {"X-List": ["a"]}}, "'X-List'"),
    ({"statusCode": 200, "headers": {"X-Object": {}}}, "'X-Object'"),
    ({"statusCode": 200, "headers": {"X-Cr": "a\rb"}}, "'X-Cr'"),
    ({"statusCode": 200, "headers": {"X-Lf": "a\n"}}, "'X-Lf'"),
    ({"statusCode": 200, "headers": {"X-Nul": "\0"}}, "'X-Nul'"),
    ({"statusCode": 200, "headers": {"X-Half": "\ud800"}}, "'X-Half'"),
    ({"statusCode": 200, "headers": {"": "a"}}, "header ''"),
    ({"statusCode": 200, "headers": {"a b": "a"}}, "'a b'"),
    ({"statusCode": 200, "headers": {"a:": "a"}}, "'a:'"),
    ({"statusCode": 200, "headers": {"é": "a"}}, r"'\xe9'"),
    ({"statusCode": 200, "headers": {"\u212aeep-Alive": "a"}}, r"'\u212aeep-Alive'"),  # K of Kelvin
    ({"statusCode": 200, "headers": {"A\r\nB": "a"}}, r"'A\r\nB'"),
]

INVALID_MULTI: list[tuple[Any, str]] = [
    ({"multiValueHeaders": {"X-One": "a"}}, "'X-One'"),
    ({"multiValueHeaders": {"X-None": None}}, "'X-None'"),
    ({"multiValueHeaders": {"X-Bad": ["a", "b\r\n"]}}, "'X-Bad'"),
    ({"multiValueHeaders": {"X-Deep": [["a"]]}}, "'X-Deep'"),
    ({"multiValueHeaders": {"X Y": []}}, "'X Y'"),
    ({"multiValueHeaders": []}, "multiValueHeaders"),
]

NOT_JSON = [
    b"",
    b"{",
    b"hello",
    b"\xff",
    b"\xef\xbb\xbf{}",
    b'{"a":NaN}',
    b"Infinity",
    b"-Infinity",
    b'{"a":1}x',
    b'"a\0b"',
    b"1" * 5000,  # more digits than int() takes
    b"[" * 200_000,
    b'{"a":' * 200_000,
]

# What a result without a statusCode is as the body itself, by Function URLs' rules; most recorded from AWS.
INFERRED: list[tuple[bytes, bytes]] = [
    (b'"hello"', b"hello"),
    (b'""', b""),
    (b'"\\u03bb \\n"', "λ \n".encode()),
    (b"3", b"3"),
    (b"3.1", b"3.1"),
    (b"1e999", b"1e999"),  # a number as it was written, though no float can hold it
    (b"true", b"true"),
    (b"null", b"null"),
    (b'["hello", 3, true]', b'["hello",3,true]'),
    (b'{"hello": "world"}', b'{"hello":"world"}'),
    (b' {\n "a b" : [ 1.10 , "c , \\" : d" ] , "e\\\\" : {} }\t', b'{"a b":[1.10,"c , \\" : d"],"e\\\\":{}}'),
    (b'{"half": "\\ud800"}', b'{"half":"\\ud800"}'),
    ('{"a": "λ"}'.encode(), '{"a":"λ"}'.encode()),
    (b"[]", b"[]"),
    (b'{"statuscode": 404}', b'{"statuscode":404}'),
]


@pytest.mark.parametrize(("result", "status", "headers", "body"), RESPONSES)
@pytest.mark.parametrize("read", [head.rest_result, head.url_result, lambda p: head.auto_result(p)[:2]])
def test_responses(
    read: Callable[[bytes], tuple[HttpHead, bytes]], result: Any, status: int, headers: Lines, body: bytes
) -> None:
    assert read(dumps(result)) == (HttpHead(status, headers, len(body)), body)


@pytest.mark.parametrize(("result", "named"), INVALID)
@pytest.mark.parametrize("read", [head.rest_result, head.url_result, head.auto_result])
def test_invalid_responses_are_named(read: Callable[[bytes], object], result: Any, named: str) -> None:
    with pytest.raises(InvalidResult) as caught:
        read(dumps(result))
    message = str(caught.value)
    assert named in message
    assert message.isprintable()
    assert len(message) < 300


@pytest.mark.parametrize("payload", NOT_JSON, ids=lambda payload: payload[:12])
@pytest.mark.parametrize("read", [head.rest_result, head.url_result, head.auto_result])
def test_what_is_not_json(read: Callable[[bytes], object], payload: bytes) -> None:
    with pytest.raises(InvalidResult) as caught:
        read(payload)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("result", "headers"), MULTI)
def test_multi_value_headers_of_a_rest_api(result: Any, headers: Lines) -> None:
    assert head.rest_result(dumps(result))[0].headers == headers


@pytest.mark.parametrize(("result", "named"), INVALID_MULTI)
def test_invalid_multi_value_headers_are_named(result: Any, named: str) -> None:
    with pytest.raises(InvalidResult, match=named):
        head.rest_result(dumps(result))
    with pytest.raises(InvalidResult, match=named):
        head.auto_result(dumps({"statusCode": 200, **result}))


def test_format_2_knows_no_multi_value_headers_and_ignores_unknown_keys() -> None:
    result = {"statusCode": 200, "multiValueHeaders": {"A": ["1"]}, "wrongValue": 1}
    assert head.url_result(dumps(result)) == (HttpHead(200, JSON, 0), b"")


@pytest.mark.parametrize(
    ("result", "status", "headers", "body"),
    [
        ({}, 200, JSON, b""),
        ({"headers": {"test-header": "value"}}, 200, [(b"test-header", b"value"), *JSON], b""),
        ({"body": "a"}, 200, JSON, b"a"),
    ],
)
def test_a_rest_api_needs_no_status(result: Any, status: int, headers: Lines, body: bytes) -> None:
    expected = HttpHead(status, headers, len(body)), body
    assert head.rest_result(dumps(result)) == expected
    assert head.auto_result(dumps(result)) == (*expected, "")


@pytest.mark.parametrize(
    "result", ["a", 3, True, None, [], [{"statusCode": 200}], {"statusCode": 200, "wrong": 1}]
)
def test_results_only_a_rest_api_refuses(result: Any) -> None:
    with pytest.raises(InvalidResult):
        head.rest_result(dumps(result))


@pytest.mark.parametrize(("payload", "body"), INFERRED)
def test_inference(payload: bytes, body: bytes) -> None:
    assert head.url_result(payload) == (HttpHead(200, JSON, len(body)), body)
    http, got, warning = head.auto_result(payload)
    assert (http, got) == (HttpHead(200, JSON, len(body)), body)
    assert "502" in warning
    assert warning.isprintable()


def test_a_string_that_is_not_unicode() -> None:
    with pytest.raises(InvalidResult, match="body"):
        head.url_result(b'"\\ud800"')


def test_auto_names_what_a_rest_api_refuses() -> None:
    assert "unknown key 'hello'" in head.auto_result(b'{"hello": 1}')[2]
    assert "body is an object" in head.auto_result(b'{"body": {"a": 1}}')[2]
    assert "'cookies'" in head.auto_result(b'{"statusCode": 200, "cookies": []}')[2]
    assert head.auto_result(b'{"statusCode": 200}')[2] == ""


def test_auto_refuses_unknown_keys_beside_a_status() -> None:
    for result in ({"statusCode": 200, "hello": 1}, {"statusCode": 200, "cookies": ["a=1"], "hello": 1}):
        with pytest.raises(InvalidResult, match="unknown key"):
            head.auto_result(dumps(result))


@pytest.mark.parametrize("read", [head.url_result, lambda p: head.auto_result(p)[:2]])
def test_cookies(read: Callable[[bytes], tuple[HttpHead, bytes]]) -> None:
    result = {"statusCode": 200, "headers": {"Set-Cookie": "a=1"}, "cookies": ["b=2; Path=/", "c=é"]}
    assert read(dumps(result))[0].headers == [
        (b"Set-Cookie", b"a=1"),
        *JSON,
        (b"Set-Cookie", b"b=2; Path=/"),
        (b"Set-Cookie", b"c=\xe9"),
    ]
    assert read(dumps({"statusCode": 200, "cookies": None}))[0].headers == JSON


@pytest.mark.parametrize(
    ("cookies", "named"),
    [
        ({"a": "1"}, "cookies"),
        ("a=1", "cookies"),
        (["a=1", 2], "cookie 1"),
        ([None], "cookie 0"),
        (["a=1\r\nX: y"], "cookie 0"),
        (["\ud800"], "cookie 0"),
    ],
)
@pytest.mark.parametrize("read", [head.url_result, head.auto_result])
def test_bad_cookies(read: Callable[[bytes], object], cookies: Any, named: str) -> None:
    with pytest.raises(InvalidResult, match=named):
        read(dumps({"statusCode": 200, "cookies": cookies}))


@pytest.mark.parametrize(
    ("prelude", "expected"),
    [
        (Prelude(), HttpHead(200, BINARY)),
        (Prelude(404, {"Content-Type": "text/plain"}), HttpHead(404, [(b"Content-Type", b"text/plain")])),
        (
            Prelude(200, {"A": "1"}, {"a": ["0"]}, ["x=1", "y=2"]),
            HttpHead(
                200, [(b"a", b"0"), (b"a", b"1"), *BINARY, (b"Set-Cookie", b"x=1"), (b"Set-Cookie", b"y=2")]
            ),
        ),
        (Prelude(200, {"Content-Length": "12"}), HttpHead(200, BINARY, 12)),
        (Prelude(200, {"content-length": " 0 "}), HttpHead(200, BINARY, 0)),
        (Prelude(200, {"content-length": "5"}, {"Content-Length": ["5", "5"]}), HttpHead(200, BINARY, 5)),
        (Prelude(200, {}, {"Content-Length": []}), HttpHead(200, BINARY)),
        (Prelude(200, {"Transfer-Encoding": "chunked", "connection": "close"}), HttpHead(200, BINARY)),
    ],
)
def test_preludes(prelude: Prelude, expected: HttpHead) -> None:
    assert head.from_prelude(prelude) == expected


@pytest.mark.parametrize(
    ("prelude", "named"),
    [
        (Prelude(100), "statusCode"),
        (Prelude(999), "statusCode"),
        (Prelude(200, {"X-Bad": "a\r\nb"}), "'X-Bad'"),
        (Prelude(200, {"X Bad": "a"}), "'X Bad'"),
        (Prelude(200, {}, {"X-Bad": ["a", "\0"]}), "'X-Bad'"),
        (Prelude(cookies=["a\nb"]), "cookie 0"),
        *(
            (Prelude(200, {"content-length": length}), "'Content-Length'")
            for length in ("", "-1", "+1", "1.0", "0x10", "1 1", "5, 5", "٣", "1" * 19, "abc")
        ),
        (Prelude(200, {"content-length": "5"}, {"Content-Length": ["6"]}), "'Content-Length'"),
        (Prelude(200, {"content-length": "5"}, {"Content-Length": ["05"]}), "'Content-Length'"),
    ],
)
def test_invalid_preludes(prelude: Prelude, named: str) -> None:
    with pytest.raises(InvalidResult, match=named):
        head.from_prelude(prelude)


@pytest.mark.parametrize(
    ("status", "flavour", "body"),
    [
        (502, "rest", b'{"message": "Internal server error"}'),
        (504, "rest", b'{"message": "Endpoint request timed out"}'),
        (429, "rest", b'{"message": "Too Many Requests"}'),
        (503, "rest", b'{"message": "Service Unavailable"}'),
        (404, "rest", b'{"message": "Not Found"}'),
        (413, "rest", b'{"message": "Request Entity Too Large"}'),
        (400, "rest", b'{"message": "Bad Request"}'),
        (502, "url", b"Internal Server Error"),
        (429, "url", b'{"message": "Too Many Requests"}'),
    ],
)
def test_gateway_errors(status: int, flavour: Any, body: bytes) -> None:
    http, got = head.gateway_error(status, flavour)
    assert (http.status, got, http.content_length) == (status, body, len(body))
    assert dict(http.headers)[b"Content-Type"] == (b"text/plain" if body[:1] == b"I" else b"application/json")


def test_gateway_errors_have_awss_type() -> None:
    assert (b"x-amzn-ErrorType", b"InternalServerErrorException") in head.gateway_error(502, "rest")[
        0
    ].headers
    assert len(head.gateway_error(400, "rest")[0].headers) == 1


text = st.text(st.characters(), max_size=20) | st.sampled_from(
    ["a\r\nb", "\0", "Content-Length", "Connection"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=10,
)
names = st.sampled_from(["A", "Set-Cookie", "content-length", "Content-Type"]) | text
results = values | st.fixed_dictionaries(
    {"statusCode": st.sampled_from([200, "200"]) | values},
    optional={
        "body": values,
        "headers": st.dictionaries(names, text) | values,
        "multiValueHeaders": st.dictionaries(names, st.lists(text)) | values,
        "cookies": st.lists(text) | values,
        "isBase64Encoded": values,
        "other": values,
    },
)


def check(http: HttpHead) -> None:
    assert 200 <= http.status <= 599
    for name, value in http.headers:
        assert name
        assert not set(name) & set(b"\r\n\0 :,")
        assert not set(value) & set(b"\r\n\0")
        assert name.lower() not in {b"content-length", b"transfer-encoding", b"connection"}
    assert any(name.lower() == b"content-type" for name, _ in http.headers)


def attempt(read: Callable[[Any], Any], given: Any) -> Any:
    """What `read` makes of it, or None for an InvalidResult; nothing else may be raised."""
    try:
        return read(given)
    except InvalidResult as error:
        message = str(error)
    assert message.isprintable()
    return None


@given(results)
def test_any_result_is_a_head_or_an_invalid_result(result: Any) -> None:
    payload = dumps(result)
    for read in (head.rest_result, head.url_result, head.auto_result):
        if sent := attempt(read, payload):
            check(sent[0])
            assert sent[0].content_length == len(sent[1])


@given(st.binary())
def test_any_bytes_are_a_head_or_an_invalid_result(payload: bytes) -> None:
    for read in (head.rest_result, head.url_result, head.auto_result):
        attempt(read, payload)


@given(
    st.dictionaries(names, text, max_size=4),
    st.dictionaries(names, st.lists(text, max_size=3), max_size=4),
    st.lists(text, max_size=3),
)
def test_no_prelude_can_inject_a_line(headers: Any, multi: Any, cookies: Any) -> None:
    if http := attempt(head.from_prelude, Prelude(200, headers, multi, cookies)):
        check(http)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
))  # fmt: skip
def test_inference_keeps_the_value(value: Any) -> None:
    if isinstance(value, str) or (isinstance(value, dict) and "statusCode" in value):
        return
    spaced = json.dumps(value, indent=1).encode()
    assert head.url_result(spaced)[1] == json.dumps(value, separators=(",", ":")).encode()


@pytest.mark.parametrize("read", [head.rest_result, head.url_result, lambda p: head.auto_result(p)[:2]])
def test_a_null_header_is_none(read: Callable[[bytes], tuple[head.HttpHead, bytes]]) -> None:
    answer, _ = read(b'{"statusCode": 200, "headers": {"X-Nothing": null}, "body": ""}')
    assert [name for name, _ in answer.headers] == [b"Content-Type"]
