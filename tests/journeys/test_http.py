"""HTTP at the gateway, by real clients against the real platform."""

import base64
import hashlib
import http.client
import json
import random

import pytest

from journey_kit import ASKED, Raw, asked, curl, needs_curl
from platform_process import Platform, wait_until

pytestmark = needs_curl

STREAM = ["one,", "two,", "three"]
TEXT = {"Content-Type": "text/plain"}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """One function, which answers every path."""
    with Platform(tmp_path_factory.mktemp("app"), {"app": ASKED}) as running:
        yield running


@pytest.fixture(scope="module")
def http_api(tmp_path_factory):
    """The same behind an HTTP API: events of format 2.0."""
    with Platform(tmp_path_factory.mktemp("http_api"), {"app": ASKED}, "--event-format", "2.0") as running:
        yield running


@pytest.fixture(scope="module")
def urls(tmp_path_factory):
    """Several functions, each under its Function URL."""
    functions = {"first": ASKED, "second": ASKED}
    with Platform(tmp_path_factory.mktemp("urls"), functions) as running:
        yield running


@pytest.fixture
def raw(app):
    with Raw(app.gateway_address) as connection:
        yield connection


def logged(app, path):
    """The log's line of the one request for `path`."""
    return app.wait_for(event="request", path=path)


# Keep-alive.


def test_a_connection_is_used_again_after_whole_responses(raw):
    for _ in range(3):
        streamed = raw.get(asked(STREAM))
        assert (streamed.ending, streamed.body) == ("whole", b"one,two,three")
        assert streamed.get("transfer-encoding") == "chunked"
        assert streamed.get("content-length") is None
        assert streamed.get("connection") is None
        buffered = raw.get(asked(body="buffered"))
        assert (buffered.ending, buffered.body) == ("whole", b"buffered")
        assert buffered.get("content-length") == "8"
        assert raw.get(asked(STREAM, statusCode=404)).status == 404
        assert raw.get("/echo", method="POST", body=b"x").json()["body"] == "x"


def test_http_client_uses_its_connection_again(app):
    connection = http.client.HTTPConnection(*app.gateway_address, timeout=20)
    connection.connect()
    used = connection.sock
    for _ in range(3):
        connection.request("GET", asked(STREAM))
        assert connection.getresponse().read() == b"one,two,three"
        assert connection.sock is used
    connection.close()


def test_curl_uses_its_connection_again(app):
    url = app.gateway + asked(STREAM)
    done = curl("--write-out", "[%{num_connects}]", url, url, url)
    assert done.stdout == b"one,two,three[1]one,two,three[0]one,two,three[0]"


def test_a_connection_is_used_again_after_a_failure_before_the_first_byte(raw):
    failed = raw.get(asked([{"raise": "early"}]))
    assert failed.status == 502
    assert failed.json() == {"message": "Internal server error"}
    assert raw.get(asked(STREAM)).body == b"one,two,three"


def test_close_is_honoured(raw):
    response = raw.get(asked(STREAM), "Connection: close")
    assert response.get("connection") == "close"
    assert (response.ending, response.body) == ("whole", b"one,two,three")
    assert raw.at_end()


def test_pipelined_requests_are_answered_in_order(raw):
    targets = [asked(STREAM), asked(body="second"), asked([]), asked(["slow", "er"]), "/echo/last"]
    raw.send(b"".join(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for target in targets))
    assert raw.response().body == b"one,two,three"
    assert raw.response().body == b"second"
    assert raw.response().body == b""
    assert raw.response().body == b"slower"
    assert raw.response().json()["path"] == "/echo/last"


def test_pipelined_requests_with_bodies_are_kept_apart(raw):
    posts = [
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nfirst",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nsec\r\n3\r\nond\r\n0\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    raw.send(b"".join(posts))
    assert [raw.response().json()["body"] for _ in posts] == ["first", "second", None]


# HTTP/1.0.


def test_http_1_0_is_delimited_by_the_close(raw):
    response = raw.get(asked(STREAM), version="1.0")
    assert response.get("transfer-encoding") is None
    assert response.get("content-length") is None
    assert response.get("connection") == "close"
    assert (response.ending, response.body) == ("whole", b"one,two,three")


def test_http_1_0_keeps_a_counted_connection_when_asked(raw):
    assert raw.get(asked(body="a"), "Connection: keep-alive", version="1.0").get("connection") == "keep-alive"
    exact = asked(STREAM, headers={"Content-Length": "13"})
    assert raw.get(exact, "Connection: keep-alive", version="1.0").body == b"one,two,three"
    assert raw.get(asked(body="b"), version="1.0").body == b"b"
    assert raw.at_end()


def test_http_1_0_is_reset_when_a_stream_fails(raw):
    response = raw.get(asked([*STREAM, {"raise": "late"}]), version="1.0")
    assert (response.ending, response.body) == ("reset", b"one,two,three")


def test_curl_sees_http_1_0_end_and_fail(app):
    whole = curl("--http1.0", app.gateway + asked(STREAM))
    assert (whole.returncode, whole.stdout) == (0, b"one,two,three")
    broken = curl("--http1.0", app.gateway + asked([*STREAM, {"raise": "late"}]))
    assert (broken.returncode, broken.stdout) == (56, b"one,two,three")


# A stream that fails after its first byte.


def test_a_failing_stream_is_visibly_broken(app, raw):
    path = asked([*STREAM, {"raise": "for the log"}])
    response = raw.get(path)
    assert response.status == 200
    assert (response.ending, response.body) == ("broken", b"one,two,three")
    line = logged(app, path)
    assert (line["status"], line["ok"], line["ending"]) == (200, False, "function error")
    assert "ValueError: for the log" in line["detail"]


def test_clients_see_a_failing_stream(app):
    path = asked([*STREAM, {"raise": "late"}])
    connection = http.client.HTTPConnection(*app.gateway_address, timeout=20)
    connection.request("GET", path)
    with pytest.raises(http.client.IncompleteRead):
        connection.getresponse().read()
    connection.close()
    done = curl(app.gateway + path)
    assert (done.returncode, done.stdout) == (18, b"one,two,three")


# Responses without a body.


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_head_of_a_stream_is_its_head_and_ends_the_function(app, version):
    closed = f"head-closed-{version}"
    path = asked(["first", {"repeat": "more"}], headers={"X-Made": "yes"}, closed=closed)
    with Raw(app.gateway_address) as raw:
        head = raw.get(path, method="HEAD", version=version)
        assert (head.status, head.get("x-made"), head.get("content-length")) == (200, "yes", None)
        if version == "1.1":
            assert raw.get(asked(STREAM)).body == b"one,two,three"
        else:
            assert raw.at_end()
    wait_until((app.folder / closed).exists, "the generator's close", 5)
    line = logged(app, path)
    assert (line["ending"], line["ok"], line["bytes"]) == ("done", True, 0)


def test_head_tells_the_length_of_a_buffered_body(raw):
    head = raw.get(asked(body="twelve bytes"), method="HEAD")
    assert (head.get("content-length"), head.body) == ("12", b"")
    counted = raw.get(asked(STREAM, headers={"Content-Length": "13"}), method="HEAD")
    assert (counted.get("content-length"), counted.body) == ("13", b"")
    assert raw.get(asked(body="next")).body == b"next"


def test_curl_asks_for_a_head(app):
    done = curl("--head", app.gateway + asked(["x", {"repeat": "more"}]))
    assert done.returncode == 0
    assert done.stdout.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("status", [204, 304])
def test_no_content_has_no_body_and_ends_the_function(app, raw, status):
    closed = f"closed-{status}"
    path = asked(["first", {"repeat": "more"}], statusCode=status, closed=closed)
    response = raw.get(path)
    assert response.status == status
    assert response.get("transfer-encoding") is None
    assert response.get("content-length") is None
    assert raw.get(asked(statusCode=status, body="ignored")).status == status
    assert raw.get(asked(STREAM)).body == b"one,two,three"
    wait_until((app.folder / closed).exists, "the generator's close", 5)
    assert logged(app, path)["ending"] == "done"


@pytest.mark.parametrize("status", [204, 304])
def test_no_content_from_an_empty_generator(raw, status):
    assert raw.get(asked([], statusCode=status)).status == status
    assert raw.get(asked(body="next")).body == b"next"


def test_an_empty_generator_is_an_empty_body(app, raw):
    response = raw.get(asked([], headers={"Content-Type": "text/csv", "X-Rows": "0"}))
    assert (response.status, response.ending, response.body) == (200, "whole", b"")
    assert (response.get("content-type"), response.get("x-rows")) == ("text/csv", "0")
    assert raw.get(asked(["", "", ""])).body == b""
    with Raw(app.gateway_address) as old:
        assert old.get(asked([]), version="1.0").ending == "whole"


def test_an_empty_chunk_sends_the_head_at_once(app, raw):
    raw.request(asked(["", {"wait": "head-seen"}, "late"]))
    assert raw.head().status == 200
    (app.folder / "head-seen").touch()
    assert raw.frame() == b"late"
    assert raw.frame() == b""


# The Content-Length a function sets.


def test_an_exact_length_is_honoured(raw):
    response = raw.get(asked(STREAM, headers={"content-length": "13"}))
    assert response.get("content-length") == "13"
    assert response.get("transfer-encoding") is None
    assert (response.ending, response.body) == ("whole", b"one,two,three")
    assert raw.get(asked(body="next")).body == b"next"


def test_a_short_stream_is_broken(app, raw):
    path = asked(STREAM, headers={"Content-Length": "20"})
    response = raw.get(path)
    assert (response.get("content-length"), response.ending) == ("20", "broken")
    assert response.body == b"one,two,three"
    line = logged(app, path)
    assert (line["ok"], line["ending"]) == (False, "broken off")
    assert "Content-Length" in line["detail"]
    done = curl(app.gateway + path)
    assert (done.returncode, done.stdout) == (18, b"one,two,three")


def test_what_is_over_the_length_is_dropped(app, raw):
    path = asked(STREAM, headers={"Content-Length": "6"})
    response = raw.get(path)
    assert (response.ending, response.body) == ("whole", b"one,tw")
    line = logged(app, path)
    assert "Content-Length" in line["detail"]
    assert line["bytes"] == 6
    assert raw.get(asked(body="next")).body == b"next"


def test_a_stream_without_end_is_stopped_at_its_length(app, raw):
    path = asked(["first", {"repeat": "more"}], headers={"Content-Length": "6"}, closed="length-closed")
    response = raw.get(path)
    assert (response.ending, response.body) == ("whole", b"firstm")
    wait_until((app.folder / "length-closed").exists, "the generator's close", 5)
    line = logged(app, path)
    assert (line["ending"], line["ok"], line["bytes"]) == ("done", True, 6)
    assert "the rest was dropped" in line["detail"]
    assert raw.get(asked(body="next")).body == b"next"


def test_a_failing_stream_of_known_length_is_broken(raw):
    response = raw.get(asked(["one", {"raise": "late"}], headers={"Content-Length": "20"}))
    assert (response.ending, response.body) == ("broken", b"one")


def test_a_length_of_nothing(raw):
    assert raw.get(asked([], headers={"Content-Length": "0"})).get("content-length") == "0"
    assert raw.get(asked(body="next")).body == b"next"


def test_the_length_of_a_buffered_body_is_counted(raw):
    response = raw.get(asked(body="seven b", headers={"Content-Length": "3"}))
    assert (response.get("content-length"), response.body) == ("7", b"seven b")


# Headers a function sets.


def test_cookies_and_repeated_headers(raw):
    result = {
        "headers": {"X-One": "1"},
        "multiValueHeaders": {"Set-Cookie": ["a=1; Path=/", "b=2"], "X-Two": ["1", "2"]},
    }
    for response in (raw.get(asked(STREAM, **result)), raw.get(asked(body="x", **result))):
        assert response.get_all("set-cookie") == ["a=1; Path=/", "b=2"]
        assert response.get_all("x-two") == ["1", "2"]
        assert response.get("x-one") == "1"


@pytest.mark.parametrize("body", [{"chunks": STREAM}, {"body": "x"}], ids=["streamed", "buffered"])
def test_cookies_of_format_2(app, http_api, urls, body):
    path = asked(**body, cookies=["c=3; HttpOnly", "d=4"], headers={"X-One": "1"})
    for running, prefix in ((app, ""), (http_api, ""), (urls, "/lambda-url/first")):
        with Raw(running.gateway_address) as raw:
            response = raw.get(prefix + path)
        assert response.get_all("set-cookie") == ["c=3; HttpOnly", "d=4"]
        assert response.get("x-one") == "1"


@pytest.mark.parametrize("body", [{"chunks": STREAM}, {"body": "x"}], ids=["streamed", "buffered"])
def test_headers_of_the_connection_are_ours(raw, body):
    dropped = {
        "Connection": "X-Kept",
        "Keep-Alive": "timeout=1",
        "Transfer-Encoding": "gzip",
        "Upgrade": "h2c",
        "Trailer": "X-Sum",
    }
    response = raw.get(asked(**body, headers={**dropped, "X-Kept": "yes"}))
    names = [name.lower() for name, _ in response.headers]
    assert "x-kept" in names
    assert not {"connection", "keep-alive", "upgrade", "trailer"} & set(names)
    assert response.get("transfer-encoding") in (None, "chunked")
    assert raw.get(asked(body="next")).body == b"next"


BAD_HEADS = {
    "CRLF in a value": ({"headers": {"X-Split": "a\r\nX-Evil: 1"}}, "X-Split"),
    "LF in a value": ({"headers": {"X-Split": "a\nb"}}, "X-Split"),
    "CR in a value": ({"headers": {"X-Split": "a\rb"}}, "X-Split"),
    "NUL in a value": ({"headers": {"X-Split": "a\0b"}}, "X-Split"),
    "CRLF in one of several": ({"multiValueHeaders": {"X-Split": ["a", "b\r\nX-Evil: 1"]}}, "X-Split"),
    "CRLF in the type": ({"headers": {"Content-Type": "a/b\r\n\r\n<script>"}}, "Content-Type"),
    "CRLF in a name": ({"headers": {"X-Evil: 1\r\nX-Split": "a"}}, "X-Split"),
    "a space in a name": ({"headers": {"X Split": "a"}}, "X Split"),
    "an empty name": ({"headers": {"": "a"}}, "''"),
    "a colon in a name": ({"headers": {"X:": "a"}}, "X:"),
    "CRLF in a cookie": ({"cookies": ["a=1\r\nX-Evil: 1"]}, "cookie 0"),
    "a value that is a list": ({"headers": {"X-Split": ["a"]}}, "X-Split"),
    "status 100": ({"statusCode": 100}, "100"),
    "status 101": ({"statusCode": 101}, "101"),
    "status 600": ({"statusCode": 600}, "600"),
    "status of text": ({"statusCode": "OK"}, "statusCode"),
}
BAD_LENGTHS = {
    "a length of text": ({"headers": {"Content-Length": "many"}}, "Content-Length"),
    "a length below 0": ({"headers": {"Content-Length": "-1"}}, "Content-Length"),
    "a length with a sign": ({"headers": {"Content-Length": "+1"}}, "Content-Length"),
    "two lengths": ({"multiValueHeaders": {"Content-Length": ["1", "2"]}}, "Content-Length"),
}


@pytest.mark.parametrize("name", [*BAD_HEADS, *BAD_LENGTHS])
def test_a_stream_with_a_bad_head_is_502_and_the_log_names_it(app, raw, name):
    result, told = (BAD_HEADS | BAD_LENGTHS)[name]
    path = asked(STREAM, **result)
    response = raw.get(path)
    assert response.status == 502
    assert response.get_all("x-evil") == []
    line = logged(app, path)
    assert told in line["detail"]
    assert not line["ok"]
    assert raw.get(asked(body="next")).body == b"next"


@pytest.mark.parametrize("name", BAD_HEADS)
def test_a_buffered_result_with_a_bad_head_is_502_and_the_log_names_it(app, raw, name):
    result, told = BAD_HEADS[name]
    path = asked(body="x", **result)
    response = raw.get(path)
    assert response.status == 502
    assert response.get_all("x-evil") == []
    assert told in logged(app, path)["detail"]
    assert raw.get(asked(body="next")).body == b"next"


@pytest.mark.parametrize("body", [{"chunks": STREAM}, {"body": "x"}], ids=["streamed", "buffered"])
def test_a_header_that_is_null_is_left_out(raw, body):
    response = raw.get(asked(**body, headers={"X-Null": None, "X-Kept": "yes"}))
    assert (response.status, response.get("x-null"), response.get("x-kept")) == (200, None, "yes")


def test_header_values_keep_their_bytes(raw):
    response = raw.get(asked(STREAM, headers={"X-Latin": "é", "X-Wide": "日", "X-Number": 5, "X-True": True}))
    assert response.get("x-latin") == "é"
    assert response.get("x-wide") == "日".encode().decode("latin-1")
    assert (response.get("x-number"), response.get("x-true")) == ("5", "true")


# Bodies.


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 64])
def test_a_base64_stream_is_decoded_on_its_way(raw, cut):
    data = random.Random(cut).randbytes(301)
    text = base64.b64encode(data).decode()
    chunks = [text[at : at + cut] for at in range(0, len(text), cut)]
    body = json.dumps({"result": {"isBase64Encoded": True}, "chunks": chunks}).encode()
    response = raw.get("/asked", "Content-Type: application/json", method="POST", body=body)
    assert (response.ending, response.body) == ("whole", data)


def test_a_base64_stream_that_is_none_is_an_error(app, raw):
    path = asked(["!!!!"], isBase64Encoded=True)
    assert raw.get(path).status == 502
    assert logged(app, path)["ending"] == "function error"


def test_split_code_points_arrive_unharmed(raw):
    text = "aé日😀"
    chunks = [{"bytes": f"{byte:02x}"} for byte in text.encode()]
    response = raw.get(asked(chunks, headers=TEXT))
    assert (response.ending, response.body.decode()) == ("whole", text)


def test_a_body_of_every_byte_arrives_unharmed(raw):
    response = raw.get(asked([{"bytes": bytes(range(256)).hex()}]))
    assert response.body == bytes(range(256))
    assert response.get("content-type") == "application/octet-stream"


# Events.


TARGETS = [
    ("/", ""),
    ("/a%20b", ""),
    ("/a+b", "c+d=e+f"),
    ("/%C3%A9/%2F/%2f", ""),
    ("/a/../b/./c", ""),
    ("//double//slash//", ""),
    ("/a;p=1,2:@!$&'()*", "x='(y)'"),
    ("/%00%ff%zz%", "%00=%ff&%zz"),
    ("/q", "?a=b?c=d"),
    ("/empty", "&&=&a&a=&=b"),
    ("/twice", "x=1&x=2&X=3"),
    ("/enc", "%26=%3D&%C3%A9=%E2%82%AC"),
    ("/[brackets]{braces}|^`\\", "a[]=1&b={2}|3"),
    ("/lambda-url", "x"),
]


@pytest.mark.parametrize(("path", "query"), TARGETS)
def test_path_and_query_reach_the_function_as_sent(app, http_api, path, query):
    target = f"{path}?{query}" if query else path
    with Raw(app.gateway_address) as raw:
        event = raw.get(target).json()
    assert event["path"] == path
    assert event["requestContext"]["path"] == path
    with Raw(http_api.gateway_address) as raw:
        event = raw.get(target).json()
    assert (event["rawPath"], event["rawQueryString"]) == (path, query)


def test_curl_sends_path_and_query_as_they_are(app, http_api):
    target = "/a%20b/%C3%A9/..//c/?x=%2F&y=+&&=&z"
    event = json.loads(curl("--path-as-is", app.gateway + target).stdout)
    assert event["path"] == "/a%20b/%C3%A9/..//c/"
    assert event["multiValueQueryStringParameters"] == {"x": ["/"], "y": [" "], "": [""], "z": [""]}
    event = json.loads(curl("--path-as-is", http_api.gateway + target).stdout)
    assert (event["rawPath"], event["rawQueryString"]) == ("/a%20b/%C3%A9/..//c/", "x=%2F&y=+&&=&z")


def test_rarer_forms_of_a_request(raw):
    raw.send(b"GET http://other.example/p?q HTTP/1.1\r\nHost: a\r\n\r\n")
    event = raw.response().json()
    assert (event["path"], event["headers"]["Host"]) == ("/p", "other.example")
    raw.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    assert raw.response().json()["path"] == "*"
    assert raw.get("/socket", "Connection: Upgrade", "Upgrade: websocket").status == 200
    raw.send(b"GET /old HTTP/1.0\r\n\r\n")
    assert raw.response().json()["path"] == "/old"


def test_percent_escapes_in_the_query_are_decoded(app, http_api):
    query = "a=1&a=2&%C3%A9=%E2%82%AC%20+&bad=%ff"
    event = json.loads(curl(f"{app.gateway}/p?{query}").stdout)
    assert event["queryStringParameters"] == {"a": "2", "é": "€  ", "bad": "�"}
    assert event["multiValueQueryStringParameters"]["a"] == ["1", "2"]
    event = json.loads(curl(f"{http_api.gateway}/p?{query}").stdout)
    assert event["queryStringParameters"] == {"a": "1,2", "é": "€  ", "bad": "�"}


def test_a_path_that_is_not_ascii_is_escaped(app, http_api, raw):
    raw.send("GET /café?q=é HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    event = raw.response().json()
    assert event["path"] == "/caf%C3%A9"
    assert event["queryStringParameters"] == {"q": "é"}
    with Raw(http_api.gateway_address) as other:
        other.send("GET /café?q=é HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        event = other.response().json()
    assert (event["rawPath"], event["rawQueryString"]) == ("/caf%C3%A9", "q=%C3%A9")


def test_the_rest_event(app, raw):
    event = raw.get("/a/b?x=1", "X-Twice: 1", "x-twice: 2", "Cookie: a=1", "User-Agent: me").json()
    assert "version" not in event
    assert (event["httpMethod"], event["resource"]) == ("GET", "/{proxy+}")
    assert event["pathParameters"] == {"proxy": "a/b"}
    assert event["multiValueHeaders"]["X-Twice"] == ["1", "2"]
    assert event["headers"]["X-Twice"] == "2"
    assert event["headers"]["Cookie"] == "a=1"
    assert event["headers"]["X-Forwarded-Port"] == str(app.gateway_address[1])
    assert event["requestContext"]["identity"]["sourceIp"] == "127.0.0.1"
    assert event["requestContext"]["identity"]["userAgent"] == "me"
    assert (event["body"], event["isBase64Encoded"]) == (None, False)


def test_the_http_api_event(http_api):
    with Raw(http_api.gateway_address) as raw:
        event = raw.get("/a/b?x=1&x=2", "X-Twice: 1", "x-twice: 2", "Cookie: a=1; b=2").json()
    assert (event["version"], event["routeKey"]) == ("2.0", "$default")
    assert event["headers"]["x-twice"] == "1,2"
    assert event["cookies"] == ["a=1", "b=2"]
    assert "cookie" not in event["headers"]
    assert event["queryStringParameters"] == {"x": "1,2"}
    assert event["requestContext"]["http"]["method"] == "GET"
    assert "body" not in event


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_reaches_the_function(app, http_api, method):
    assert json.loads(curl("-X", method, app.gateway).stdout)["httpMethod"] == method
    event = json.loads(curl("-X", method, http_api.gateway).stdout)
    assert event["requestContext"]["http"]["method"] == method


BODIES = {
    "text": ("text/plain", "Grüße\n".encode(), False, False),
    "JSON": ("application/json; charset=utf-8", b'{"a":"\xc3\xa9"}', False, False),
    "every byte": ("application/octet-stream", bytes(range(256)), True, True),
    "image": ("image/png", b"\x89PNG\r\n\x1a\n", True, True),
    "a form": ("application/x-www-form-urlencoded", b"a=1&b=%C3%A9", False, True),
    "text that is not UTF-8": ("text/plain", b"caf\xe9", True, True),
}


@pytest.mark.parametrize("name", BODIES)
def test_request_bodies_in_both_event_formats(app, http_api, name):
    kind, body, rest_base64, url_base64 = BODIES[name]
    for running, is_base64 in ((app, rest_base64), (http_api, url_base64)):
        sent = ("-H", f"Content-Type: {kind}", "--data-binary", "@-", running.gateway)
        for event in (
            json.loads(curl(*sent, stdin=body).stdout),
            json.loads(curl("-H", "Transfer-Encoding: chunked", *sent, stdin=body).stdout),
        ):
            assert event["isBase64Encoded"] is is_base64
            got = base64.b64decode(event["body"]) if is_base64 else event["body"].encode()
            assert got == body


def test_a_chunked_body_in_single_bytes(raw):
    frames = b"".join(b"1\r\n%c\r\n" % byte for byte in b"in single bytes")
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw.send(head + frames + b"0\r\nX-Sum: 1\r\n\r\n")
    event = raw.response().json()
    assert event["body"] == "in single bytes"
    assert "X-Sum" not in event["headers"]
    assert not any(name.lower() == "transfer-encoding" for name in event["headers"])
    assert raw.get(asked(body="next")).body == b"next"


# Function URLs.


def test_function_urls_by_path(urls):
    for name in ("first", "second"):
        target = f"/lambda-url/{name}/a%20b//c?x=1"
        event = json.loads(curl("--path-as-is", urls.gateway + target).stdout)
        assert (event["rawPath"], event["rawQueryString"]) == ("/a%20b//c", "x=1")
        assert event["version"] == "2.0"
        line = logged(urls, target)
        assert (line["function"], line["status"]) == (name, 200)
    assert json.loads(curl(f"{urls.gateway}/lambda-url/first").stdout)["rawPath"] == "/"


def test_several_functions_are_listed(urls):
    for path in ("/", "/other", "/lambda-url/none/x", "/lambda-url/"):
        done = curl("--include", urls.gateway + path)
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 404 ")
        assert json.loads(body)["functions"] == {
            "first": "/lambda-url/first/",
            "second": "/lambda-url/second/",
        }


def test_a_function_url_streams_and_buffers(app, urls):
    for running, name in ((urls, "first"), (app, "app")):
        with Raw(running.gateway_address) as raw:
            streamed = raw.get(f"/lambda-url/{name}" + asked(STREAM, cookies=["a=1"]))
            assert (streamed.body, streamed.get("set-cookie")) == (b"one,two,three", "a=1")
            assert raw.get(f"/lambda-url/{name}" + asked(body="b")).body == b"b"
            failed = raw.get(f"/lambda-url/{name}" + asked([{"raise": "early"}]))
            assert (failed.status, failed.body) == (502, b"Internal Server Error")


# Limits.


def test_headers_over_the_limit_are_431(raw):
    response = raw.get("/echo", "X-Large: " + "x" * 17_000)
    assert response.status == 431
    assert response.get("connection") == "close"
    assert raw.at_end()


def test_many_headers_over_the_limit_are_431(raw):
    assert raw.get("/echo", *[f"X-{number}: y" for number in range(2500)]).status == 431


def test_headers_within_the_limit_are_served(raw):
    event = raw.get("/echo", "X-Large: " + "x" * 15_000).json()
    assert len(event["headers"]["X-Large"]) == 15_000


def test_a_target_over_the_limit_is_414(raw):
    assert raw.get("/" + "x" * 17_000).status == 414


MIB = 1024 * 1024


@pytest.mark.parametrize("chunked", [False, True], ids=["counted", "chunked"])
def test_a_body_over_10_mib_is_413(app, chunked):
    more = ("-H", "Transfer-Encoding: chunked") if chunked else ()
    path = f"/too-large-{chunked}"
    done = curl("--include", *more, "--data-binary", "@-", app.gateway + path, stdin=b"x" * (10 * MIB + 1))
    assert b"HTTP/1.1 413 " in done.stdout
    line = logged(app, path)
    assert (line["ending"], line["requestId"]) == ("refused", "")
    assert "10,485,760" in line["detail"]


def test_an_event_over_6_mib_is_413(app):
    binary = ("-H", "Content-Type: application/octet-stream", "--data-binary", "@-")
    done = curl("--include", *binary, f"{app.gateway}/base64", stdin=b"\xff" * (5 * MIB))
    assert b"HTTP/1.1 413 " in done.stdout
    assert "Base64" in logged(app, "/base64")["detail"]
    text = ("-H", "Content-Type: text/plain", "--data-binary", "@-")
    done = curl("--include", *text, f"{app.gateway}/text", stdin=b"x" * (6 * MIB))
    assert b"HTTP/1.1 413 " in done.stdout


def test_a_body_of_4_mib_arrives(app, http_api):
    data = random.Random(4).randbytes(4 * MIB)
    for running in (app, http_api):
        sent = ("-H", "Content-Type: application/octet-stream", "--data-binary", "@-")
        event = json.loads(curl(*sent, running.gateway, stdin=data).stdout)
        assert hashlib.sha256(base64.b64decode(event["body"])).digest() == hashlib.sha256(data).digest()


# Requests that are refused, and expectations.


def lines(*text):
    return "\r\n".join(text).encode("latin-1")


CHUNKED = "Transfer-Encoding: chunked"


SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
REFUSED = {
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "no version": (lines("GET /", "Host: a", "", ""), 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "no Host": (lines("GET / HTTP/1.1", "", ""), 400),
    "two Hosts": (lines("GET / HTTP/1.1", "Host: a", "Host: b", "", ""), 400),
    "a malformed Host": (lines("GET / HTTP/1.1", "Host: a b", "", ""), 400),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "a bare line feed": (b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
    "a bare carriage return": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
    "NUL in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
    "a folded header": (lines("GET / HTTP/1.1", "Host: a", "X: a", " b", "", ""), 400),
    "a space before the colon": (lines("GET / HTTP/1.1", "Host: a", "X : a", "", ""), 400),
    "no colon": (lines("GET / HTTP/1.1", "Host: a", "X", "", ""), 400),
    "an empty name": (lines("GET / HTTP/1.1", "Host: a", ": a", "", ""), 400),
    "a space in the target": (lines("GET /a b HTTP/1.1", "Host: a", "", ""), 400),
    "a fragment": (lines("GET /a#b HTTP/1.1", "Host: a", "", ""), 400),
    "no path": (lines("GET a HTTP/1.1", "Host: a", "", ""), 400),
    "CONNECT": (lines("CONNECT a:443 HTTP/1.1", "Host: a", "", ""), 400),
    "CL and TE": (
        lines(
            "POST / HTTP/1.1", "Host: a", "Content-Length: 4", CHUNKED, "", "0", "", SMUGGLED
        ),
        400,
    ),
    "TE and CL": (
        lines(
            "POST / HTTP/1.1", "Host: a", CHUNKED, "Content-Length: 4", "", "0", "", SMUGGLED
        ),
        400,
    ),
    "two lengths": (
        lines("POST / HTTP/1.1", "Host: a", "Content-Length: 0", "Content-Length: 5", "", SMUGGLED),
        400,
    ),
    "a list of lengths": (lines("POST / HTTP/1.1", "Host: a", "Content-Length: 0, 5", "", SMUGGLED), 400),
    "a signed length": (lines("POST / HTTP/1.1", "Host: a", "Content-Length: +0", "", SMUGGLED), 400),
    "a negative length": (lines("POST / HTTP/1.1", "Host: a", "Content-Length: -1", "", SMUGGLED), 400),
    "a hexadecimal length": (lines("POST / HTTP/1.1", "Host: a", "Content-Length: 0x5", "", SMUGGLED), 400),
    "an endless length": (lines("POST / HTTP/1.1", "Host: a", "Content-Length: " + "9" * 30, "", ""), 400),
    "an unknown coding": (lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: gzip", "", SMUGGLED), None),
    "two codings": (
        lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: gzip, chunked", "", "0", "", SMUGGLED),
        None,
    ),
    "chunked twice": (
        lines(
            "POST / HTTP/1.1", "Host: a", CHUNKED, CHUNKED, "", "0", "",
            SMUGGLED,
        ),
        400,
    ),
    "a veiled coding": (
        lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: \x0bchunked", "", "0", "", SMUGGLED),
        None,
    ),
    "chunked in HTTP/1.0": (
        lines("POST / HTTP/1.0", "Host: a", CHUNKED, "", "0", "", SMUGGLED),
        400,
    ),
    "an unknown expectation": (lines("POST / HTTP/1.1", "Host: a", "Expect: magic", "", ""), 417),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_malformed_request_is_refused(app, raw, name):
    data, status = REFUSED[name]
    raw.send(data)
    response = raw.response()
    assert response.status == status if status else response.status in (400, 501)
    assert response.get("connection") == "close"
    assert raw.at_end()
    assert not app.find(path="/smuggled")


BAD_BODIES = {
    "a chunk size of text": b"zz\r\n",
    "a signed chunk size": b"+5\r\nhello\r\n0\r\n\r\n",
    "a chunk size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk size with an underscore": b"5_0\r\n",
    "a chunk size of nine digits": b"100000000\r\n",
    "an empty chunk size": b"\r\n",
    "a bare line feed after a size": b"5\nhello\r\n0\r\n\r\n",
    "too long a chunk": b"5\r\nhello!\r\n0\r\n\r\n",
    "a bare line feed after a chunk": b"5\r\nhello\n0\r\n\r\n",
    "a folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_malformed_body_is_refused(app, raw, name):
    raw.send(b"POST /bad-body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + BAD_BODIES[name])
    raw.send(SMUGGLED.encode())
    assert raw.response().status == 400
    assert raw.at_end()
    assert not app.find(path="/smuggled")
    assert not any(line["requestId"] for line in app.find(path="/bad-body"))


def test_curl_continues_when_told(app):
    done = curl(
        "--verbose", "-H", "Expect: 100-continue", "-H", "Content-Type: text/plain",
        "--data-binary", "the body", app.gateway,
    )  # fmt: skip
    assert b"HTTP/1.1 100 Continue" in done.stderr
    event = json.loads(done.stdout)
    assert event["body"] == "the body"


def test_the_body_waits_for_100_continue(raw):
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    raw.send(head)
    assert raw.head().status == 100
    raw.send(b"hello")
    assert raw.response().json()["body"] == "hello"
    raw.send(head + b"again")  # it did not wait: there is nothing to tell it
    assert raw.response().json()["body"] == "again"
    assert raw.get(asked(body="next")).body == b"next"


def test_a_client_that_leaves_within_its_request_calls_nothing(app, raw):
    raw.send(b"POST /left HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
    raw.sock.close()
    line = logged(app, "/left")
    assert (line["requestId"], line["ending"], line["ok"]) == ("", "client left", False)


def test_nothing_here_made_the_platform_stumble(app, http_api, urls):
    """Runs last: no fault of ours was logged on the way."""
    for running in (app, http_api, urls):
        assert running.process.poll() is None
        notes = [note["message"] for note in running.find(event="note")]
        assert all(note.startswith("a request was refused before it had a function: ") for note in notes)
        assert running.find(event="not JSON") == []
