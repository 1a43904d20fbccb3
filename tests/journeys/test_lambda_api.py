"""The Lambda API as boto3 uses it, against the real platform."""

import base64
import io
import json
import threading

import botocore.exceptions
import pytest

from journey_kit import ASKED, Raw, curl, needs_curl
from platform_process import Platform, wait_until

LIMIT = 6_291_556
INVOKE = "/2015-03-31/functions/app/invocations"
STREAM = "/2021-11-15/functions/app/response-streaming-invocations"

APP = """
    import json, os, sys, time

    CONTEXT = ("aws_request_id", "function_name", "invoked_function_arn", "memory_limit_in_mb")

    def lambda_handler(event, context):
        return globals()[event["do"]](event, context)

    def echo(event, context):
        client = context.client_context
        about = {name: getattr(context, name) for name in CONTEXT}
        return {"event": event, "client": client and client.custom, **about}

    def prints(event, context):
        for number in range(event["lines"]):
            print("line", number)
        return "printed"

    def raises(event, context):
        print("before the fall")
        raise ValueError("as asked")

    def large(event, context):
        return "x" * (event["size"] - 2)

    def exits(event, context):
        os._exit(3)

    def sleeps(event, context):
        time.sleep(60)

    def streams(event, context):
        def body():
            try:
                for step in event["steps"]:
                    if step == "raise":
                        raise ValueError("as asked")
                    elif step == "exit":
                        os._exit(3)
                    elif step == "sleep":
                        time.sleep(60)
                    elif step == "endless":
                        while True:
                            yield "x" * 65536
                    elif step.startswith("wait "):
                        while not os.path.exists(step[5:]):
                            time.sleep(0.005)
                    elif step.startswith("print "):
                        print(step[6:])
                    else:
                        yield step
            finally:
                if "closed" in event:
                    open(event["closed"], "x").close()
        if event.get("bare"):
            return body()
        return {"statusCode": 201, "headers": {"X-A": "b"}, "cookies": ["c=1"], "body": body()}
"""

PRELUDE = {"statusCode": 201, "headers": {"X-A": "b"}, "cookies": ["c=1"]}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    flags = ("--timeout", "2", "--max-environments", "8", "--cancel-grace", "0.5")
    with Platform(tmp_path_factory.mktemp("app"), {"app": APP}, *flags) as running:
        yield running


@pytest.fixture(scope="module")
def client(app):
    client = app.client()
    yield client
    client.close()


@pytest.fixture
def raw(app):
    host, port = app.lambda_api.removeprefix("http://").split(":")
    with Raw((host, int(port))) as connection:
        yield connection


def invoke(client, event, **options):
    """Invoke: the answer, its payload read and parsed."""
    answer = client.invoke(FunctionName="app", Payload=json.dumps(event), **options)
    payload = answer["Payload"].read()
    return answer, json.loads(payload)


def stream(client, event, **options):
    """InvokeWithResponseStream: the events, all of them."""
    answer = client.invoke_with_response_stream(
        FunctionName="app", Payload=json.dumps(event, ensure_ascii=False), **options
    )
    assert answer["StatusCode"] == 200
    assert answer["ExecutedVersion"] == "$LATEST"
    assert answer["ResponseStreamContentType"] == "application/vnd.amazon.eventstream"
    return list(answer["EventStream"])


def payload_of(events):
    return b"".join(event["PayloadChunk"]["Payload"] for event in events[:-1])


def completed(events):
    """The one InvokeComplete, which is the last event."""
    assert [event for event in events if "InvokeComplete" in event] == events[-1:]
    return events[-1]["InvokeComplete"]


# Invoke.


def test_invoke(client):
    answer, result = invoke(client, {"do": "echo", "text": "é😀"})
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert "FunctionError" not in answer
    assert "LogResult" not in answer
    assert result["event"] == {"do": "echo", "text": "é😀"}
    assert result["function_name"] == "app"
    assert result["invoked_function_arn"] == "arn:aws:lambda:us-east-1:000000000000:function:app"
    assert result["aws_request_id"] == answer["ResponseMetadata"]["RequestId"]


@pytest.mark.parametrize(
    "name",
    [
        "app",
        "app:$LATEST",
        "000000000000:function:app",
        "arn:aws:lambda:us-east-1:000000000000:function:app",
        "arn:aws:lambda:us-east-1:000000000000:function:app:$LATEST",
    ],
)
def test_every_form_of_a_name(client, name):
    answer = client.invoke(FunctionName=name, Payload='{"do":"echo"}')
    assert answer["StatusCode"] == 200
    assert json.loads(answer["Payload"].read())["function_name"] == "app"
    events = list(
        client.invoke_with_response_stream(FunctionName=name, Payload='{"do":"echo"}')["EventStream"]
    )
    assert json.loads(payload_of(events))["function_name"] == "app"


def test_the_client_context_reaches_the_function(client):
    context = base64.b64encode(json.dumps({"custom": {"k": "é\n"}}).encode()).decode()
    _, result = invoke(client, {"do": "echo"}, ClientContext=context)
    assert result["client"] == {"k": "é\n"}
    events = stream(client, {"do": "echo"}, ClientContext=context)
    assert json.loads(payload_of(events))["client"] == {"k": "é\n"}


def test_the_log_tail(client):
    answer, _ = invoke(client, {"do": "prints", "lines": 3}, LogType="Tail")
    lines = base64.b64decode(answer["LogResult"]).decode().splitlines()
    assert lines[0].startswith("START RequestId: ")
    assert lines[1:4] == ["line 0", "line 1", "line 2"]
    assert lines[4].startswith("END RequestId: ")
    assert lines[5].startswith("REPORT RequestId: ")
    assert len(lines) == 6


def test_the_log_tail_is_the_last_4_kb(client):
    answer, _ = invoke(client, {"do": "prints", "lines": 2000}, LogType="Tail")
    tail = base64.b64decode(answer["LogResult"])
    assert len(tail) == 4096
    assert b"line 1999\nEND RequestId: " in tail
    complete = completed(stream(client, {"do": "prints", "lines": 2000}, LogType="Tail"))
    tail = base64.b64decode(complete["LogResult"])
    assert len(tail) == 4096
    assert b"line 1999\nEND RequestId: " in tail


def test_a_function_error(client):
    answer, error = invoke(client, {"do": "raises"}, LogType="Tail")
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "as asked")
    assert error["requestId"] == answer["ResponseMetadata"]["RequestId"]
    assert any("raises" in line for line in error["stackTrace"])
    tail = base64.b64decode(answer["LogResult"]).decode()
    assert "before the fall" in tail
    assert "[ERROR] ValueError: as asked" in tail


def test_an_exit(client):
    answer, error = invoke(client, {"do": "exits"})
    assert answer["FunctionError"] == "Unhandled"
    assert error == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {answer['ResponseMetadata']['RequestId']} "
        "Error: Runtime exited with error: exit status 3",
    }


def test_a_timeout(client):
    answer, error = invoke(client, {"do": "sleeps"})
    assert answer["FunctionError"] == "Unhandled"
    assert error["errorType"] == "Sandbox.Timedout"
    assert error["errorMessage"].endswith("Error: Task timed out after 2.00 seconds")


def test_the_largest_response_and_one_byte_more(client):
    answer, result = invoke(client, {"do": "large", "size": LIMIT})
    assert "FunctionError" not in answer
    assert len(result) == LIMIT - 2
    answer, error = invoke(client, {"do": "large", "size": LIMIT + 1})
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert error == {
        "errorMessage": f"Response payload size exceeded maximum allowed payload size ({LIMIT} bytes).",
        "errorType": "Function.ResponseSizeTooLarge",
    }
    assert invoke(client, {"do": "echo"})[1]["function_name"] == "app"


def test_too_large_a_buffered_response_through_the_streaming_api(client):
    events = stream(client, {"do": "large", "size": LIMIT + 1})
    assert completed(events)["ErrorCode"] == "Function.ResponseSizeTooLarge"
    assert payload_of(events) == b""


def test_invoke_of_a_streamed_function_gives_the_bytes_as_they_are(client):
    answer = client.invoke(FunctionName="app", Payload=json.dumps({"do": "streams", "steps": ["a", "b"]}))
    prelude, body = answer["Payload"].read().split(b"\0" * 8)
    assert json.loads(prelude) == PRELUDE
    assert body == b"ab"


def test_invoke_of_an_endless_stream_is_too_large_and_ends_the_function(app, client):
    answer, error = invoke(client, {"do": "streams", "steps": ["endless"], "closed": "endless-closed"})
    assert answer["FunctionError"] == "Unhandled"
    assert error["errorType"] == "Function.ResponseSizeTooLarge"
    wait_until((app.folder / "endless-closed").exists, "the generator's close", 5)


@pytest.mark.parametrize("steps", [["raise"], ["a", "b", "raise"]], ids=["before", "after"])
def test_invoke_of_a_stream_that_fails(client, steps):
    answer, error = invoke(client, {"do": "streams", "steps": steps}, LogType="Tail")
    assert answer["FunctionError"] == "Unhandled"
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "as asked")
    assert b"ValueError: as asked" in base64.b64decode(answer["LogResult"])


# InvokeWithResponseStream.


def test_events_arrive_as_they_are_made(app, client):
    steps = ["first", "wait api-gate-1", "second", "wait api-gate-2", "third"]
    answer = client.invoke_with_response_stream(
        FunctionName="app", Payload=json.dumps({"do": "streams", "steps": steps})
    )
    events = iter(answer["EventStream"])
    prelude, first = next(events)["PayloadChunk"]["Payload"].split(b"\0" * 8)
    assert (json.loads(prelude), first) == (PRELUDE, b"first")
    (app.folder / "api-gate-1").touch()
    assert next(events) == {"PayloadChunk": {"Payload": b"second"}}
    (app.folder / "api-gate-2").touch()
    assert next(events) == {"PayloadChunk": {"Payload": b"third"}}
    assert next(events) == {"InvokeComplete": {}}
    with pytest.raises(StopIteration):
        next(events)


def test_a_bare_generator_has_no_prelude(client):
    events = stream(client, {"do": "streams", "steps": ["a", "b"], "bare": True})
    assert payload_of(events) == b"ab"
    assert completed(events) == {}


def test_a_buffered_result_through_the_streaming_api(client):
    events = stream(client, {"do": "prints", "lines": 1}, LogType="Tail")
    assert payload_of(events) == b'"printed"'
    complete = completed(events)
    assert complete.keys() == {"LogResult"}
    assert b"\nline 0\nEND" in base64.b64decode(complete["LogResult"])


def test_an_empty_stream_is_its_prelude(client):
    events = stream(client, {"do": "streams", "steps": []})
    prelude, body = payload_of(events).split(b"\0" * 8)
    assert (json.loads(prelude), body) == (PRELUDE, b"")
    assert completed(events) == {}
    assert stream(client, {"do": "streams", "steps": [], "bare": True}) == [{"InvokeComplete": {}}]


def test_a_large_chunk_is_whole(client):
    events = stream(client, {"do": "streams", "steps": ["é" * 1_500_000], "bare": True})
    assert payload_of(events).decode() == "é" * 1_500_000
    assert completed(events) == {}


FAILURES = {
    "raise": ("ValueError", "as asked"),
    "exit": ("Runtime.ExitError", "Runtime exited with error: exit status 3"),
    "sleep": ("Sandbox.Timedout", "Task timed out after 2.00 seconds"),
}


@pytest.mark.parametrize("made", [[], ["first", "second"]], ids=["before the first chunk", "after it"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_stream_that_fails_ends_with_one_complete(client, failure, made):
    steps = [*made, "print last words", failure]
    events = stream(client, {"do": "streams", "steps": steps}, LogType="Tail")
    complete = completed(events)
    error_type, message = FAILURES[failure]
    known = error_type.startswith(("Runtime.", "Sandbox."))
    assert complete["ErrorCode"] == (error_type if known else "Runtime.Unknown")
    details = json.loads(complete["ErrorDetails"])
    assert details["errorType"] == error_type
    assert details["errorMessage"].endswith(message)
    assert b"last words\n" in base64.b64decode(complete["LogResult"])
    payload = payload_of(events)
    assert payload.rpartition(b"\0" * 8)[2] == "".join(made).encode()
    assert bool(payload) is bool(made)  # the prelude leaves with the first chunk


def test_a_failing_buffered_result_through_the_streaming_api(client):
    events = stream(client, {"do": "raises"}, LogType="Tail")
    complete = completed(events)
    assert len(events) == 1
    assert complete["ErrorCode"] == "Runtime.Unknown"
    details = json.loads(complete["ErrorDetails"])
    assert (details["errorType"], details["errorMessage"]) == ("ValueError", "as asked")
    assert b"before the fall" in base64.b64decode(complete["LogResult"])


def test_a_client_that_leaves_ends_the_function(app, client):
    event = {"do": "streams", "steps": ["first", "endless"], "closed": "left-closed"}
    answer = client.invoke_with_response_stream(FunctionName="app", Payload=json.dumps(event))
    next(iter(answer["EventStream"]))
    answer["EventStream"].close()
    wait_until((app.folder / "left-closed").exists, "the generator's close", 5)


def test_connections_are_used_again(raw):
    for steps in (["a", "b"], ["raise"], ["a", "raise"], []):
        body = json.dumps({"do": "streams", "steps": steps}).encode()
        assert raw.get(STREAM, method="POST", body=body).ending == "whole"
    answer = raw.get(INVOKE, method="POST", body=b'{"do":"echo"}')
    assert (answer.status, answer.get("content-type")) == (200, "application/json")
    assert answer.get("x-amzn-requestid") == answer.json()["aws_request_id"]
    assert raw.get("/2015-03-31/functions/nobody/invocations", method="POST").status == 404


# Errors of the API.


def refused(call, code, status):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    response = caught.value.response
    assert response["Error"]["Code"] == code
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert response["Error"]["Message"]
    return response


@pytest.mark.parametrize("operation", ["invoke", "invoke_with_response_stream"])
def test_refusals(client, operation):
    call = getattr(client, operation)
    missing = refused(lambda: call(FunctionName="nobody"), "ResourceNotFoundException", 404)
    assert missing["Error"]["Message"] == (
        "Function not found: arn:aws:lambda:us-east-1:000000000000:function:nobody:$LATEST"
    )
    for named in ({"FunctionName": "app:7"}, {"FunctionName": "app", "Qualifier": "live"}):
        missing = refused(lambda named=named: call(**named), "ResourceNotFoundException", 404)
        assert missing["Error"]["Message"].startswith("Function not found: arn:aws:lambda:us-east-1:0000")
    refused(lambda: call(FunctionName="app", Payload="{"), "InvalidRequestContentException", 400)
    refused(lambda: call(FunctionName="app", Payload=b'"\xff"'), "InvalidRequestContentException", 400)
    refused(
        lambda: call(FunctionName="app", Payload=b'"' + b"x" * 6 * 1024 * 1024 + b'"'),
        "RequestEntityTooLargeException",
        413,
    )
    refused(
        lambda: call(FunctionName="app", ClientContext="not Base64!"), "InvalidRequestContentException", 400
    )


def test_the_largest_event(client):
    event = {"do": "streams", "steps": ["ok"], "bare": True, "pad": ""}
    event["pad"] = "x" * (6 * 1024 * 1024 - len(json.dumps(event)))
    assert len(json.dumps(event)) == 6 * 1024 * 1024
    assert payload_of(stream(client, event)) == b"ok"


def test_a_file_as_payload(client):
    answer = client.invoke(FunctionName="app", Payload=io.BytesIO(b'{"do":"echo","from":"a file"}'))
    assert json.loads(answer["Payload"].read())["event"]["from"] == "a file"


def test_a_dry_run_calls_nothing(app, client):
    def starts_after_a_call():
        """How many calls the log has; it is in order, so with this one's START all before are there."""
        answer = client.invoke(FunctionName="app", Payload='{"do":"echo"}')
        id = answer["ResponseMetadata"]["RequestId"]
        app.wait_for(event="log", message=f"START RequestId: {id} Version: $LATEST")
        return sum(line["message"].startswith("START ") for line in app.find(event="log", platform=True))

    before = starts_after_a_call()
    answer = client.invoke(FunctionName="app", InvocationType="DryRun", Payload='{"do":"raises"}')
    assert answer["StatusCode"] == 204
    assert starts_after_a_call() == before + 1
    refused(
        lambda: client.invoke(FunctionName="nobody", InvocationType="DryRun"),
        "ResourceNotFoundException",
        404,
    )


def test_throttling(app, client):
    body = json.dumps({"do": "streams", "steps": ["first", "wait throttle-gate"]})
    answers = [client.invoke_with_response_stream(FunctionName="app", Payload=body) for _ in range(8)]
    streams = [iter(answer["EventStream"]) for answer in answers]
    for each in streams:
        assert "PayloadChunk" in next(each)
    for operation in (client.invoke, client.invoke_with_response_stream):
        response = refused(
            lambda call=operation: call(FunctionName="app", Payload='{"do":"echo"}'),
            "TooManyRequestsException",
            429,
        )
        assert response["Reason"] == "ConcurrentInvocationLimitExceeded"
    (app.folder / "throttle-gate").touch()
    for each in streams:
        assert list(each) == [{"InvokeComplete": {}}]
    assert invoke(client, {"do": "echo"})[1]["function_name"] == "app"


def test_invocations_run_beside_each_other(app):
    """Each of eight threads waits for a gate that the last of them opens."""
    results = []

    def call(number):
        client = app.client()
        steps = [f"stream {number} ", "wait together-gate", "done"]
        results.append(payload_of(stream(client, {"do": "streams", "steps": steps, "bare": True})))
        client.close()

    before = len(app.find(event="log", platform=True))
    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(app.find(event="log", platform=True)) >= before + 8, "eight STARTs")
    (app.folder / "together-gate").touch()
    for thread in threads:
        thread.join(20)
    assert sorted(results) == [f"stream {number} done".encode() for number in range(8)]


def test_a_stopped_service_tells_its_streams(tmp_path):
    with Platform(tmp_path, {"app": APP}, "--drain", "0.2") as running:
        client = running.client()
        answer = client.invoke_with_response_stream(
            FunctionName="app", Payload=json.dumps({"do": "streams", "steps": ["first", "sleep"]})
        )
        events = iter(answer["EventStream"])
        assert "PayloadChunk" in next(events)
        running.process.terminate()
        assert next(events)["InvokeComplete"]["ErrorCode"] == "Sandbox.Failure"
        with pytest.raises(StopIteration):
            next(events)
        client.close()
        assert running.process.wait(10) == 0


# The guard.


@needs_curl
@pytest.mark.parametrize(
    "header",
    [
        "Host: evil.example",
        "Host: evil.example:3001",
        "Host: localhost.evil.example",
        "Host: 127.0.0.1.evil.example",
        "Host;",
        "Origin: http://evil.example",
        "Origin: http://localhost:3000",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ],
)
@pytest.mark.parametrize("path", [INVOKE, STREAM], ids=["invoke", "stream"])
def test_web_pages_are_refused(app, header, path):
    before = len(app.find(event="log"))
    done = curl("--include", "-H", header, "-d", '{"do":"echo"}', app.lambda_api + path)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 ")
    assert json.loads(body)["Message"]
    assert b"AccessDeniedException" in head
    assert len(app.find(event="log")) == before


@needs_curl
@pytest.mark.parametrize(
    "header",
    [
        "Host: localhost",
        "Host: LOCALHOST:3001",
        "Host: app.localhost",
        "Host: 192.168.1.7",
        "Host: [::1]:3001",
        "Sec-Fetch-Site: none",
        "User-Agent: anything",
    ],
)
def test_programs_are_served(app, header):
    url = app.lambda_api + INVOKE
    done = curl("--include", "-H", header, "-d", '{"do":"echo"}', url)
    assert done.stdout.startswith(b"HTTP/1.1 200 ")


@needs_curl
def test_a_preflight_request_gets_no_permission(app):
    url = app.lambda_api + INVOKE
    done = curl(
        "--include", "-X", "OPTIONS", "-H", "Origin: http://evil.example",
        "-H", "Access-Control-Request-Method: POST", url,
    )  # fmt: skip
    assert done.stdout.startswith(b"HTTP/1.1 403 ")
    assert b"access-control-allow" not in done.stdout.lower()


@needs_curl
def test_allowed_hosts(tmp_path):
    with Platform(tmp_path, {"app": ASKED}, "--allow-host", "lambda.example") as running:
        url = running.lambda_api + INVOKE
        for host, status in (
            ("lambda.example", b"200"),
            ("LAMBDA.example:80", b"200"),
            ("other.example", b"403"),
        ):
            done = curl("--include", "-H", f"Host: {host}", "-d", "{}", url)
            assert done.stdout.startswith(b"HTTP/1.1 " + status)


def test_nothing_here_made_the_platform_stumble(app):
    """Runs last: no fault of ours was logged on the way."""
    assert app.process.poll() is None
    assert app.find(event="note") == []
    assert app.find(event="not JSON") == []
