import asyncio
import base64
import collections
import http
import io
import json
import pathlib
import re
import types
from decimal import Decimal

import pytest

from penstock import StreamingResponse
from penstock.protocol.prelude import DELIMITER, Prelude
from penstock.protocol.runtime_api import HTTP_INTEGRATION
from penstock.runtime import lazyio
from penstock.runtime.errors import RuntimeFault
from penstock.runtime.result import Buffered, Streamed, classify

NDJSON = "application/x-ndjson"


def generator():
    yield "a"


async def agenerator():
    yield "a"


class Iterator:
    def __next__(self):
        raise StopIteration


class AsyncIterable:
    async def __aiter__(self):
        yield "a"


class AsyncIterator:
    async def __anext__(self):
        raise StopAsyncIteration


class Readable:
    def read(self, size):
        return b""


class AsyncReadable:
    async def read(self, size):
        return b""


class LinesAndRead(Iterator, AsyncReadable):
    pass


class AttributeRead:
    read = True


STREAMED = [  # how to make the body, is it asynchronous?
    (generator, False),
    (lambda: iter([1]), False),
    (lambda: map(str, [1]), False),
    (Iterator, False),
    (Readable, False),
    (lambda: io.StringIO("text"), False),
    (lambda: io.BytesIO(b"text"), False),
    (lambda: lazyio.StringIO(generator()), False),
    (agenerator, True),
    (AsyncIterable, True),
    (AsyncIterator, True),
    (AsyncReadable, True),
    (LinesAndRead, True),
    (lambda: lazyio.BytesIO(agenerator()), True),
]


@pytest.mark.parametrize(("make", "is_async"), STREAMED)
def test_bodies_that_are_streamed(make, is_async):
    body = make()
    raw = classify(body)
    assert isinstance(raw, Streamed)
    assert (raw.body, raw.prelude, raw.base64, raw.is_async) == (body, None, False, is_async)
    framed = classify({"body": body})
    assert isinstance(framed, Streamed)
    assert (framed.body, framed.prelude, framed.is_async) == (body, Prelude(), is_async)
    named = classify(StreamingResponse(body))
    assert isinstance(named, Streamed)
    assert (named.body, named.prelude, named.is_async) == (body, Prelude(), is_async)


def test_botocore_bodies_are_streamed():
    response = pytest.importorskip("botocore.response")
    body = response.StreamingBody(io.BytesIO(b"text"), 4)
    assert classify({"body": body}).is_async is False


@pytest.mark.parametrize(
    ("result", "payload"),
    [
        (None, "null"),
        ("text", '"text"'),
        ([1, (2,)], "[1, [2]]"),
        ({"hello": 1}, '{"hello": 1}'),
        ({"statusCode": 200}, '{"statusCode": 200}'),
        ({"statusCode": "x", "headers": 5, "body": "b"}, '{"statusCode": "x", "headers": 5, "body": "b"}'),
        ({"body": None}, '{"body": null}'),
        ({"body": b""}, '{"body": ""}'),
        ({"body": "ü".encode()}, '{"body": "ü"}'),
        ({"body": b"aGk=", "isBase64Encoded": True}, '{"body": "aGk=", "isBase64Encoded": true}'),
        ({"body": b"\xff\x00"}, '{"body": "/wA=", "isBase64Encoded": true}'),
        ({"body": bytearray(b"\xff"), "isBase64Encoded": False}, '{"body": "/w==", "isBase64Encoded": true}'),
        ({"body": memoryview(b"m")}, '{"body": "m"}'),
        ({"body": {"a": [Decimal("1.0")]}}, '{"body": {"a": [1.0]}}'),
        (collections.OrderedDict(body=b"x"), '{"body": "x"}'),
        (types.MappingProxyType({"statusCode": 204}), '{"statusCode": 204}'),
        (http.HTTPStatus.OK, "200"),
    ],
    ids=lambda case: repr(case)[:40],
)
def test_buffered(result, payload):
    response = classify(result)
    assert isinstance(response, Buffered)
    assert (response.payload.decode(), response.content_type) == (payload, "application/json")


def test_bytes_are_sent_verbatim():
    response = classify(b"\xff\x00")
    assert isinstance(response, Buffered)
    assert (response.payload, response.content_type) == (b"\xff\x00", "application/unknown")


@pytest.mark.parametrize(
    "result",
    [
        object(),
        Readable,
        AttributeRead(),
        pathlib.PurePath("x"),
        {"body": [generator()]},
    ],
    ids=lambda case: repr(case)[:40],
)
def test_what_cannot_be_sent(result):
    with pytest.raises(RuntimeFault, match=r"Unable to marshal response: Object of type .* is not JSON"):
        classify(result)


async def coroutine():
    """Called, and not awaited."""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (generator, "is the function generator, which was not called: write generator()"),
        (Readable().read, "is the function read, which was not called"),
        (range(3), "is a range, which is no stream: write iter(…)"),
        ({1}, "is a set, which is no stream"),
    ],
)
def test_what_is_almost_a_stream_is_told_so(value, said):
    with pytest.raises(RuntimeFault, match=re.escape(f"response: the result {said}")):
        classify(value)
    with pytest.raises(RuntimeFault, match=re.escape(f"response: body {said}")):
        classify({"statusCode": 200, "body": value})


def test_a_coroutine_as_body_was_not_awaited():
    body = coroutine()
    with pytest.raises(RuntimeFault, match="body is a coroutine, which was not awaited"):
        classify({"body": body})
    body.close()


@pytest.mark.parametrize("body", [[b"a", b"b"], (b"a",)])
def test_pieces_of_bytes_are_no_stream_until_iterated(body):
    with pytest.raises(RuntimeFault, match=r"body is a .*, which is no stream: write iter"):
        classify({"body": body})


def test_keys_that_mean_nothing_are_named():
    response = classify({"status_code": 404, "x": 1, "body": generator()})
    assert response.warning == (
        "[WARNING] the response has keys that are not used: 'status_code' (did you mean 'statusCode'?), 'x'"
    )
    assert classify({"statusCode": 200, "headers": {}, "body": generator()}).warning == ""


def prelude_of(**fields):
    response = classify({**fields, "body": generator()})
    assert isinstance(response, Streamed)
    return response.prelude


@pytest.mark.parametrize(
    ("fields", "prelude"),
    [
        ({}, Prelude()),
        ({"statusCode": 201}, Prelude(201)),
        ({"statusCode": "418"}, Prelude(418)),
        ({"statusCode": http.HTTPStatus.NOT_FOUND}, Prelude(404)),
        ({"headers": None, "multiValueHeaders": None, "cookies": None}, Prelude()),
        (
            {"headers": {"A": "x", "B": True, "C": False, "D": 5, "E": 1.5, "F": Decimal("1.0"), "G": None}},
            Prelude(headers={"A": "x", "B": "true", "C": "false", "D": "5", "E": "1.5", "F": "1.0"}),
        ),
        ({"headers": types.MappingProxyType({"A": ""})}, Prelude(headers={"A": ""})),
        ({"multiValueHeaders": {"A": ["x", 1, True], "B": ()}},
         Prelude(multi_value_headers={"A": ["x", "1", "true"], "B": []})),
        ({"cookies": ("a=1", "b=2; Secure")}, Prelude(cookies=["a=1", "b=2; Secure"])),
        ({"unknown": 1, "isBase64Encoded": None}, Prelude()),
    ],
)  # fmt: skip
def test_prelude(fields, prelude):
    assert prelude_of(**fields) == prelude


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"statusCode": None}, "statusCode: expected an int, got NoneType"),
        ({"statusCode": True}, "statusCode: expected an int, got bool"),
        ({"statusCode": "OK"}, "statusCode: expected an int, got str"),
        ({"statusCode": "²"}, "statusCode: expected an int, got str"),
        ({"statusCode": 200.0}, "statusCode: expected an int, got float"),
        ({"headers": [("A", "b")]}, "headers: expected a dict, got list"),
        ({"headers": {1: "b"}}, "headers: expected names that are str, got int"),
        ({"headers": {"Set-Cookie": ["a"]}}, "headers['Set-Cookie']: expected a str, got list"),
        ({"headers": {"A": b"b"}}, "headers['A']: expected a str, got bytes"),
        ({"multiValueHeaders": {"A": "b"}}, "multiValueHeaders['A']: expected a list, got str"),
        ({"multiValueHeaders": {"A": [None]}}, "multiValueHeaders['A']: expected a str, got NoneType"),
        ({"cookies": "a=1"}, "cookies: expected a list, got str"),
        ({"cookies": [1]}, "cookies: expected a list of str, got int"),
        ({"isBase64Encoded": "false"}, "isBase64Encoded: expected a bool, got str"),
    ],
)
def test_a_wrong_prelude_is_named(fields, message):
    with pytest.raises(RuntimeFault) as error:
        prelude_of(**fields)
    assert error.value.error_type == "Runtime.MarshalError"
    assert str(error.value) == f"Unable to marshal response: {message}"


def test_base64_is_noted():
    assert classify({"isBase64Encoded": True, "body": generator()}).base64 is True
    assert classify({"isBase64Encoded": False, "body": generator()}).base64 is False


@pytest.mark.parametrize(
    ("first", "content_type"),
    [
        (None, "application/octet-stream"),
        ("a", "application/octet-stream"),
        (b"", "application/octet-stream"),
        ({}, NDJSON),
        ([1], NDJSON),
    ],
)
def test_head_of_a_raw_stream(first, content_type):
    assert classify(generator()).head(first) == (content_type, b"")


@pytest.mark.parametrize(
    ("fields", "first", "headers"),
    [
        ({}, "a", None),
        ({}, None, None),
        ({}, {"a": 1}, {"Content-Type": NDJSON}),
        ({}, [], {"Content-Type": NDJSON}),
        ({"headers": {"A": "b"}}, {}, {"A": "b", "Content-Type": NDJSON}),
        ({"headers": {"content-TYPE": "application/json"}}, {}, {"content-TYPE": "application/json"}),
        ({"multiValueHeaders": {"content-type": ["x"]}}, {}, None),
    ],
)
def test_head_with_a_prelude(fields, first, headers):
    response = classify({"statusCode": 201, **fields, "body": generator()})
    content_type, head = response.head(first)
    assert content_type == HTTP_INTEGRATION
    assert head.endswith(DELIMITER)
    document = json.loads(head.removesuffix(DELIMITER))
    assert document["statusCode"] == 201
    assert document.get("headers") == headers
    assert response.head("text") == response.head(None)  # asking changes nothing


def test_streaming_response():
    body = generator()
    response = StreamingResponse(
        body, 202, {"A": "b"}, (cookie for cookie in ["a=1"]), media_type="text/event-stream"
    )
    streamed = classify(response)
    assert streamed.body is body
    assert streamed.prelude == Prelude(202, {"A": "b", "Content-Type": "text/event-stream"}, {}, ["a=1"])


def test_media_type_gives_way_to_the_header():
    headers = {"content-type": "text/plain"}
    assert StreamingResponse(generator(), headers=headers, media_type="x/y").headers == headers
    assert headers == {"content-type": "text/plain"}


@pytest.mark.parametrize(
    ("body", "chunks"),
    [
        ("text", ["text"]),
        (b"", [b""]),
        (memoryview(b"m"), [b"m"]),
        ([], []),
        (["a", {"b": 1}], ["a", {"b": 1}]),
        (("a",), ["a"]),
        (range(2), [0, 1]),
    ],
)
def test_streaming_response_takes_any_iterable(body, chunks):
    streamed = classify(StreamingResponse(body))
    assert streamed.is_async is False
    assert list(streamed.body) == chunks


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (generator, "got function; call it first"),
        (None, "got NoneType"),
        ({"a": 1}, "got dict"),
        (5, "got int"),
    ],
)
def test_streaming_response_refuses(body, message):
    with pytest.raises(TypeError, match=message):
        StreamingResponse(body)


def test_streaming_response_is_checked_like_a_dict():
    with pytest.raises(RuntimeFault, match=r"headers\['A'\]: expected a str, got list"):
        classify(StreamingResponse(generator(), headers={"A": ["b"]}))


def test_asyncio_streams_are_read():
    async def kind():
        return classify(asyncio.StreamReader()).is_async

    assert asyncio.run(kind()) is True


def test_base64_round_trip_of_a_binary_body():
    payload = bytes(range(256))
    document = json.loads(classify({"body": payload}).payload)
    assert base64.b64decode(document["body"]) == payload
