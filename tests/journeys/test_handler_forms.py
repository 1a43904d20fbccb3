"""What a function may return, through the whole platform: over the gateway, and as boto3 streams it."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from gateway_client import call, log_of
from platform_process import Platform

# What each handler gives is at the gateway a status, a content type and a body, whichever form it has.
FORMS = """
    import asyncio, base64, collections, decimal, io, json, os, tempfile, types

    from penstock import StreamingResponse

    TEXT = "grüße 👋\\n"
    HEADERS = {"Content-Type": "text/plain; charset=utf-8"}

    def lambda_handler(event, context):
        return globals()[event["path"].strip("/")]()

    def response(body, **more):
        return {"statusCode": 200, "headers": HEADERS, "body": body, **more}

    def lines():
        yield TEXT
        yield TEXT

    async def async_lines():
        yield TEXT
        await asyncio.sleep(0)
        yield TEXT

    class Iterator:
        def __init__(self):
            self.left = 2

        def __iter__(self):
            return self

        def __next__(self):
            self.left -= 1
            if self.left < 0:
                raise StopIteration
            return TEXT

    class BareIterator:  # without __iter__
        __init__, __next__ = Iterator.__init__, Iterator.__next__

    class AsyncIterator:
        def __init__(self):
            self.left = 2

        def __aiter__(self):
            return self

        async def __anext__(self):
            self.left -= 1
            if self.left < 0:
                raise StopAsyncIteration
            return TEXT

    class AsyncIterable:
        async def __aiter__(self):
            yield TEXT
            yield TEXT

    class File:
        def __init__(self):
            self.file = io.BytesIO((TEXT * 2).encode())

        def read(self, size=-1):
            return self.file.read(size)

        def close(self):
            print("closed")

    class AsyncFile(File):
        async def read(self, size=-1):
            return self.file.read(size)

    # Buffered.

    def a_str_body():
        return response(TEXT * 2)

    def a_bytes_body():
        return response((TEXT * 2).encode())

    def a_bytearray_body():
        return response(bytearray((TEXT * 2).encode()))

    def a_base64_body():
        return response(base64.b64encode((TEXT * 2).encode()).decode(), isBase64Encoded=True)

    async def an_async_handler_that_buffers():
        await asyncio.sleep(0)
        return response(TEXT * 2)

    # Streamed, with status and headers.

    def a_generator_body():
        return response(lines())

    def an_iterator_body():
        return response(Iterator())

    def a_bare_iterator_body():
        return response(BareIterator())

    def a_map_body():
        return response(map(str, [TEXT, TEXT]))

    def an_async_generator_body():
        return response(async_lines())

    def an_async_iterator_body():
        return response(AsyncIterator())

    def an_async_iterable_body():
        return response(AsyncIterable())

    def an_object_with_read():
        return response(File())

    def an_object_with_async_read():
        return response(AsyncFile())

    def an_open_file():
        file = tempfile.TemporaryFile()
        file.write((TEXT * 2).encode())
        file.seek(0)
        return response(file)

    def a_real_bytesio():
        return response(io.BytesIO((TEXT * 2).encode()))

    def a_real_stringio():
        return response(io.StringIO(TEXT * 2))

    def a_stringio_of_a_generator():
        return response(io.StringIO(lines()), isBase64Encoded=False)

    def a_bytesio_of_a_generator():
        return response(io.BytesIO(line.encode() for line in lines()))

    def a_stringio_of_an_async_generator():
        return response(io.StringIO(async_lines()))

    def a_base64_stream():
        text = base64.b64encode((TEXT * 2).encode()).decode()
        return response((text[at : at + 3] for at in range(0, len(text), 3)), isBase64Encoded=True)

    def a_streaming_response():
        return StreamingResponse(lines(), headers=HEADERS)

    def a_streaming_response_of_a_list():
        return StreamingResponse([TEXT, TEXT], media_type="text/plain; charset=utf-8")

    async def an_async_handler_that_streams():
        await asyncio.sleep(0)
        return response(lines())

    async def an_async_handler_that_streams_asynchronously():
        await asyncio.sleep(0)
        return response(async_lines())

    def split_code_points():
        data = (TEXT * 2).encode()
        return response(data[at : at + 1] for at in range(len(data)))

    def split_surrogates():
        data = (TEXT * 2).encode("utf-16-le")
        units = (data[at : at + 2] for at in range(0, len(data), 2))
        return response(unit.decode("utf-16-le", "surrogatepass") for unit in units)

    def a_mapping():
        return types.MappingProxyType(response(lines()))

    def chunks_of_many_types():
        data = TEXT.encode()
        return response(iter([TEXT, "", data[:4], bytearray(data[4:8]), memoryview(data)[8:], b""]))

    # Streamed raw: there is no status, and there are no headers.

    def a_generator():
        return lines()

    def an_iterator():
        return Iterator()

    def an_async_generator():
        return async_lines()

    def a_file():
        return File()

    async def an_async_handler_that_returns_a_generator():
        return lines()

    # Special.

    def dict_chunks():
        return ({"number": number} for number in range(3))

    def dict_chunks_with_a_head():
        return {"statusCode": 201, "body": ({"number": number} for number in range(3))}

    def list_chunks_with_a_type():
        return {"headers": {"content-type": "application/json-seq"}, "body": iter([[1], [2]])}

    def cookies_and_many_values():
        return {
            "statusCode": 201,
            "headers": {"X-One": "1"},
            "multiValueHeaders": {"X-Two": ["a", "b"], "Set-Cookie": ["c=3"]},
            "cookies": ["a=1; Path=/", "b=2"],
            "body": lines(),
        }

    def a_streaming_response_with_cookies():
        return StreamingResponse(lines(), 418, {"X-One": "1"}, ["a=1", "b=2"], "text/plain")

    def an_empty_generator():
        return {"statusCode": 202, "body": iter(())}

    def an_empty_raw_generator():
        return iter(())

    async def an_empty_async_generator():
        async def nothing():
            if False:
                yield
        return {"statusCode": 202, "body": nothing()}

    def no_body():
        return {"statusCode": 202}

    def binary_bytes():
        return {"statusCode": 200, "headers": {"Content-Type": "image/png"}, "body": b"\\x89PNG\\xff"}

    def a_plain_dict():
        return {"hello": decimal.Decimal("1.10"), "point": collections.namedtuple("Point", "x y")(1, 2)}

    def a_list():
        return [1, 2]

    def a_range():
        return list(range(3))

    def a_tuple():
        return (1, "two")

    def none():
        return None

    def a_text():
        return "just text"

    def a_number():
        return 42

    def raw_bytes():
        return b'{"raw": true}'
"""

GENERATOR_FUNCTION = """
    def lambda_handler(event, context):
        print("before")
        yield "one\\n"
        yield "two\\n"
        print("after")
"""
ASYNC_GENERATOR_FUNCTION = """
    import asyncio

    async def handler(event, context):
        yield {"number": 1}
        await asyncio.sleep(0)
        yield {"number": 2}
"""
CLASS_HANDLER = """
    class Handler:
        def __call__(self, event, context):
            return (chunk for chunk in ("one\\n", "two\\n"))

    lambda_handler = Handler()
"""

TEXT = "grüße 👋\n" * 2
PLAIN = "text/plain; charset=utf-8"
RAW = "application/octet-stream"

BUFFERED = [
    "a_str_body",
    "a_bytes_body",
    "a_bytearray_body",
    "a_base64_body",
    "an_async_handler_that_buffers",
]
STREAMED = [
    "a_generator_body",
    "an_iterator_body",
    "a_bare_iterator_body",
    "a_map_body",
    "an_async_generator_body",
    "an_async_iterator_body",
    "an_async_iterable_body",
    "an_object_with_read",
    "an_object_with_async_read",
    "an_open_file",
    "a_real_bytesio",
    "a_real_stringio",
    "a_stringio_of_a_generator",
    "a_bytesio_of_a_generator",
    "a_stringio_of_an_async_generator",
    "a_base64_stream",
    "a_streaming_response",
    "a_streaming_response_of_a_list",
    "an_async_handler_that_streams",
    "an_async_handler_that_streams_asynchronously",
    "split_code_points",
    "split_surrogates",
    "a_mapping",
    "chunks_of_many_types",
]
STREAMED_RAW = [
    "a_generator",
    "an_iterator",
    "an_async_generator",
    "a_file",
    "an_async_handler_that_returns_a_generator",
]


@pytest.fixture(scope="module")
def forms(tmp_path_factory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("forms"), {"forms": FORMS}) as platform:
        yield platform


def streamed_to_boto3(platform: Platform, case: str, function: str = "forms") -> bytes:
    """What invoke_with_response_stream gives; its only error is none."""
    payload = json.dumps({"path": case})
    stream = platform.client().invoke_with_response_stream(FunctionName=function, Payload=payload)
    *chunks, last = stream["EventStream"]
    assert last == {"InvokeComplete": {}}
    return b"".join(chunk["PayloadChunk"]["Payload"] for chunk in chunks)


@pytest.mark.parametrize("case", BUFFERED)
def test_buffered_forms(forms, case):
    answer = call(forms, f"/{case}")
    assert (answer.status, answer.headers["Content-Type"], answer.text) == (200, PLAIN, TEXT)
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    document = json.loads(streamed_to_boto3(forms, case))
    assert document["statusCode"] == 200
    body = document["body"]
    assert (base64.b64decode(body).decode() if document.get("isBase64Encoded") else body) == TEXT


@pytest.mark.parametrize("case", STREAMED)
def test_streamed_forms(forms, case):
    answer = call(forms, f"/{case}")
    assert (answer.status, answer.headers["Content-Type"], answer.text) == (200, PLAIN, TEXT)
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert (answer.ending, answer.broken) == ("done", False)
    prelude, _, body = streamed_to_boto3(forms, case).partition(bytes(8))
    assert json.loads(prelude)["headers"] == {"Content-Type": PLAIN}
    assert body.decode() == TEXT
    if case in ("an_object_with_read", "an_object_with_async_read"):
        assert log_of(forms, answer.record) == ["closed"]


@pytest.mark.parametrize("case", STREAMED_RAW)
def test_forms_streamed_raw(forms, case):
    answer = call(forms, f"/{case}")
    assert (answer.status, answer.headers["Content-Type"], answer.text) == (200, RAW, TEXT)
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert streamed_to_boto3(forms, case).decode() == TEXT


LINES = '{"number":0}\n{"number":1}\n{"number":2}\n'
SPECIAL: dict[str, tuple[int, str, str]] = {
    "dict_chunks": (200, "application/x-ndjson", LINES),
    "dict_chunks_with_a_head": (201, "application/x-ndjson", LINES),
    "list_chunks_with_a_type": (200, "application/json-seq", "[1]\n[2]\n"),
    "an_empty_generator": (202, RAW, ""),
    "an_empty_async_generator": (202, RAW, ""),
    "an_empty_raw_generator": (200, RAW, ""),
    "no_body": (202, "application/json", ""),
    "a_plain_dict": (200, "application/json", '{"hello":1.10,"point":{"x":1,"y":2}}'),
    "a_list": (200, "application/json", "[1,2]"),
    "a_range": (200, "application/json", "[0,1,2]"),
    "a_tuple": (200, "application/json", '[1,"two"]'),
    "none": (200, "application/json", "null"),
    "a_text": (200, "application/json", "just text"),
    "a_number": (200, "application/json", "42"),
    "raw_bytes": (200, "application/json", '{"raw":true}'),
}


@pytest.mark.parametrize("case", SPECIAL)
def test_special_forms(forms, case):
    answer = call(forms, f"/{case}")
    assert (answer.status, answer.headers["Content-Type"], answer.text) == SPECIAL[case]
    made = streamed_to_boto3(forms, case).rpartition(bytes(8))[2].decode()
    if case in ("a_plain_dict", "a_list", "a_range", "a_tuple", "raw_bytes"):
        assert json.loads(made) == json.loads(answer.text)
    elif case == "a_text":
        assert made == '"just text"'
    elif case == "no_body":
        assert json.loads(made) == {"statusCode": 202}
    else:
        assert made == answer.text


def test_cookies_and_headers_of_several_values(forms):
    answer = call(forms, "/cookies_and_many_values")
    assert answer.status == 201
    assert answer.headers["X-One"] == "1"
    assert answer.headers.get_all("X-Two") == ["a", "b"]
    assert sorted(answer.headers.get_all("Set-Cookie", [])) == ["a=1; Path=/", "b=2", "c=3"]
    answer = call(forms, "/a_streaming_response_with_cookies")
    assert (answer.status, answer.headers["X-One"]) == (418, "1")
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.headers.get_all("Set-Cookie") == ["a=1", "b=2"]


def test_bytes_that_are_not_text_are_sent_as_they_are(forms):
    answer = call(forms, "/binary_bytes")
    assert (answer.headers["Content-Type"], answer.body) == ("image/png", b"\x89PNG\xff")


@pytest.mark.parametrize(
    ("name", "source", "content_type", "body"),
    [
        ("generator", GENERATOR_FUNCTION, RAW, "one\ntwo\n"),
        ("async_generator", ASYNC_GENERATOR_FUNCTION, "application/x-ndjson", '{"number":1}\n{"number":2}\n'),
        ("callable", CLASS_HANDLER, RAW, "one\ntwo\n"),
    ],
)
def test_a_handler_that_is_itself_a_generator(tmp_path, name, source, content_type, body):
    with Platform(tmp_path, {name: source}) as platform:
        answer = call(platform, "/")
        assert (answer.status, answer.headers["Content-Type"], answer.text) == (200, content_type, body)
        assert streamed_to_boto3(platform, "/", name).decode() == body
        if name == "generator":
            assert log_of(platform, answer.record) == ["before", "after"]


# What surrounds a handler.

SURROUNDINGS = """
    import json, logging, os, sys, time

    TRACE_AT_INIT = os.environ.get("_X_AMZN_TRACE_ID")
    time.sleep(0.1)
    block = b"x" * 50_000_000

    def lambda_handler(event, context):
        what = (event.get("path") or event.get("rawPath")).strip("/")
        if what == "too_large":
            return {"statusCode": 200, "body": "x" * 7_000_000}
        if what == "largest":
            return "x" * (6_291_556 - 2)
        if what == "one_too_many":
            return "x" * (6_291_556 - 1)
        if what == "streamed":
            return {"statusCode": 200, "body": ("x" * 100_000 for _ in range(70))}
        if what == "prints":
            print("hello")
            print("x" * 5000)
            return os.getpid()
        if what == "environment":
            return dict(os.environ)
        if what == "cwd":
            return {"cwd": os.getcwd(), "path": sys.path[0], "argv": sys.argv, "stdin": sys.stdin.read()}
        client = context.client_context
        return {
            "request_id": context.aws_request_id,
            "function_name": context.function_name,
            "function_version": context.function_version,
            "invoked_function_arn": context.invoked_function_arn,
            "memory_limit_in_mb": context.memory_limit_in_mb,
            "log_group_name": context.log_group_name,
            "log_stream_name": context.log_stream_name,
            "remaining": context.get_remaining_time_in_millis(),
            "identity": context.identity.cognito_identity_id,
            "custom": client.custom if client else None,
            "title": client.client.app_title if client else None,
            "trace_at_init": TRACE_AT_INIT,
            "trace": os.environ["_X_AMZN_TRACE_ID"],
        }
"""


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory) -> Iterator[Platform]:
    flags = ("--memory", "256", "--timeout", "20", "--env", "STAGE=test", "--env", "AWS_REGION=eu-central-1")
    hidden = {"SECRET_OF_THE_HOST": "hidden", "AWS_REGION": "eu-west-1", "TZ": "UTC"}
    folder = tmp_path_factory.mktemp("surroundings")
    with Platform(folder, {"around": SURROUNDINGS}, *flags, env=hidden) as platform:
        yield platform


def test_the_context(surroundings):
    client_context = base64.b64encode(b'{"custom": {"a": "b"}, "client": {"app_title": "app"}}').decode()
    response = surroundings.client().invoke(
        FunctionName="around", Payload=b'{"path": "context"}', ClientContext=client_context
    )
    found: dict[str, Any] = json.loads(response["Payload"].read())
    assert found.pop("request_id") == response["ResponseMetadata"]["RequestId"]
    assert 19_000 < found.pop("remaining") <= 20_000
    assert "[$LATEST]" in found.pop("log_stream_name")
    assert found.pop("trace_at_init") is None
    found.pop("trace")
    assert found == {
        "function_name": "around",
        "function_version": "$LATEST",
        "invoked_function_arn": "arn:aws:lambda:eu-west-1:000000000000:function:around",
        "memory_limit_in_mb": "256",
        "log_group_name": "/aws/lambda/around",
        "identity": None,
        "custom": {"a": "b"},
        "title": "app",
    }


def test_the_trace_id_is_in_the_environment_of_each_invocation(surroundings):
    first, second = (json.loads(call(surroundings, "/context").body)["trace"] for _ in range(2))
    assert first.startswith("Root=1-")
    assert second.startswith("Root=1-")
    assert first != second


def test_the_environment_variables(surroundings):
    found = json.loads(call(surroundings, "/environment").body)
    root = found["LAMBDA_TASK_ROOT"]
    expected = {
        "AWS_LAMBDA_FUNCTION_NAME": "around",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/around",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "_HANDLER": "around.lambda_handler",
        "STAGE": "test",
        "TZ": "UTC",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["AWS_EXECUTION_ENV"].startswith("AWS_Lambda_python3.")
    assert "SECRET_OF_THE_HOST" not in found
    where = json.loads(call(surroundings, "/cwd").body)
    assert where["cwd"] == where["path"] == root == str(surroundings.folder)
    assert where["stdin"] == ""


def test_the_host_keeps_its_secrets_from_proc_too(tmp_path):
    source = """
        def lambda_handler(event, context):
            return open("/proc/self/environ", errors="replace").read()
    """
    with Platform(tmp_path, {"spy": source}, env={"SECRET_OF_THE_HOST": "hidden"}) as platform:
        answer = call(platform, "/")
        assert answer.status == 200
        assert "SECRET_OF_THE_HOST" not in answer.text


def test_start_end_and_report(tmp_path):
    with Platform(tmp_path, {"around": SURROUNDINGS}, "--memory", "256") as platform:
        first = call(platform, "/prints")
        second = call(platform, "/prints")
        request_id = first.record["requestId"]
        lines = [event["message"] for event in platform.find(event="log", requestId=request_id)]
        assert lines[0] == f"START RequestId: {request_id} Version: $LATEST"
        assert lines[1:3] == ["hello", "x" * 5000]
        assert lines[3] == f"END RequestId: {request_id}"
        report = fields(lines[4])
        assert list(report) == [
            "REPORT RequestId",
            "Duration",
            "Billed Duration",
            "Memory Size",
            "Max Memory Used",
            "Init Duration",
        ]
        assert report["REPORT RequestId"] == request_id
        assert report["Memory Size"] == "256 MB"
        assert 50 < int(report["Max Memory Used"].removesuffix(" MB")) < 100
        assert 100 < float(report["Init Duration"].removesuffix(" ms")) < 10_000
        assert 0 < float(report["Duration"].removesuffix(" ms")) < 1000
        (again,) = (
            event["message"]
            for event in platform.find(event="log", requestId=second.record["requestId"])
            if event["message"].startswith("REPORT")
        )
        assert "Init Duration" not in fields(again)


def test_the_last_4_kb_of_the_log(surroundings):
    response = surroundings.client().invoke(
        FunctionName="around", Payload=b'{"path": "prints"}', LogType="Tail"
    )
    tail = base64.b64decode(response["LogResult"]).decode()
    assert len(tail) == 4096
    assert tail.startswith("x")
    assert "\nEND RequestId: " in tail
    assert tail.rstrip().splitlines()[-1].startswith("REPORT RequestId: ")


def fields(report: str) -> dict[str, str]:
    parts = (part.partition(": ") for part in report.split("\t"))
    return {name: value for name, _, value in parts}


# Detection is by the response.


def test_one_function_streams_one_response_and_buffers_the_next(surroundings):
    for _ in range(2):
        streamed = call(surroundings, "/streamed")
        assert streamed.headers["Transfer-Encoding"] == "chunked"
        assert len(streamed.body) == 7_000_000  # more than a buffered response may have
        buffered = call(surroundings, "/cwd")
        assert "Transfer-Encoding" not in buffered.headers
        assert buffered.headers["Content-Length"] == str(len(buffered.body))


def test_7_mb_buffered_is_a_502_and_the_log_says_what_to_do(surroundings):
    before = call(surroundings, "/prints").text
    answer = call(surroundings, "/too_large")
    assert (answer.status, answer.body) == (502, b'{"message": "Internal server error"}')
    assert (answer.ending, answer.record["ok"]) == ("response too large", False)
    assert "return the generator itself as the body, and it is streamed" in answer.detail
    assert "6,291,556" in answer.detail
    # The function has run: its log says so, and its environment is used again.
    said = [
        event["message"] for event in surroundings.find(event="log", requestId=answer.record["requestId"])
    ]
    assert [line.split()[0] for line in said] == ["START", "END", "REPORT"]
    assert "Error Type: Function.ResponseSizeTooLarge" in said[-1]
    assert call(surroundings, "/prints").text == before


def test_the_limit_of_a_buffered_response_is_exact(surroundings):
    assert len(call(surroundings, "/largest").body) == 6_291_556 - 2
    assert call(surroundings, "/one_too_many").status == 502
    client = surroundings.client()
    response = client.invoke(FunctionName="around", Payload=b'{"path": "largest"}')
    assert len(response["Payload"].read()) == 6_291_556
    response = client.invoke(FunctionName="around", Payload=b'{"path": "one_too_many"}')
    assert response["FunctionError"] == "Unhandled"
    assert json.loads(response["Payload"].read())["errorType"] == "Function.ResponseSizeTooLarge"
