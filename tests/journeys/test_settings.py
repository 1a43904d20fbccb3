"""What is set for a function through the API, and what that does to the running platform."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from journey_kit import Raw, Response
from platform_process import Platform, wait_until

ARN = "arn:aws:lambda:us-east-1:000000000000:function:"

APP = """
    import json, os, time

    def lambda_handler(event, context):
        if "wait" in event:
            open(event["wait"] + ".here", "x").close()
            while not os.path.exists(event["wait"]):
                time.sleep(0.005)
        if "raise" in event:
            raise ValueError(event["raise"])
        return {"function": context.function_name, "event": event}
"""
KEEPS = """
    import json, os

    def lambda_handler(event, context):
        with open(os.path.join(os.environ["LAMBDA_TASK_ROOT"], "kept.jsonl"), "a") as file:
            file.write(json.dumps(event) + "\\n")
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Platform]:
    folder = tmp_path / "functions"
    folder.mkdir()
    flags = ("--max-environments", "10", "--data", str(tmp_path / "data"))
    with Platform(folder, {"first": APP, "other": APP, "keeps": KEEPS}, *flags) as running:
        yield running


@pytest.fixture
def client(served: Platform) -> Any:
    return served.client()


@pytest.fixture
def waiting(client: Any, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """`waiting(function)`: a call of it that has begun, and ends with the test."""
    gates: list[Path] = []
    threads: list[threading.Thread] = []

    def begin(function: str) -> None:
        gate = tmp_path / f"gate{len(gates)}"
        gates.append(gate)
        payload = json.dumps({"wait": str(gate)})
        call = threading.Thread(target=client.invoke, kwargs={"FunctionName": function, "Payload": payload})
        threads.append(call)
        call.start()
        wait_until(gate.with_suffix(".here").exists, "the call")

    yield begin
    for gate in gates:
        gate.touch()
    for call in threads:
        call.join(20)


def throttled(client: Any, function: str) -> str:
    """The Reason for which a call is refused."""
    with pytest.raises(client.exceptions.TooManyRequestsException) as caught:
        client.invoke(FunctionName=function, Payload="{}")
    reason: str = caught.value.response["Reason"]
    return reason


def runs(client: Any, function: str) -> bool:
    answer = client.invoke(FunctionName=function, Payload="{}")
    return bool(json.loads(answer["Payload"].read())["function"] == function)


def ask(url: str, *headers: str, method: str = "GET", path: str = "", body: bytes = b"") -> Response:
    """A request to `url`, or to `path` of its server."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    with Raw((parts.hostname, parts.port)) as raw:
        return raw.get(path or parts.path, *headers, method=method, body=body)


def test_reserved_concurrency_is_a_limit_that_changes_at_once(
    client: Any, waiting: Callable[[str], None]
) -> None:
    client.put_function_concurrency(FunctionName="first", ReservedConcurrentExecutions=1)
    waiting("first")
    assert throttled(client, "first") == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert runs(client, "other")
    client.put_function_concurrency(FunctionName="first", ReservedConcurrentExecutions=2)
    assert runs(client, "first")
    client.put_function_concurrency(FunctionName="first", ReservedConcurrentExecutions=0)
    assert throttled(client, "first") == "ReservedFunctionConcurrentInvocationLimitExceeded"
    client.delete_function_concurrency(FunctionName="first")
    assert runs(client, "first")


def test_reserved_concurrency_is_kept_from_the_others(client: Any, waiting: Callable[[str], None]) -> None:
    client.put_function_concurrency(FunctionName="first", ReservedConcurrentExecutions=9)
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == 1
    waiting("other")
    assert throttled(client, "other") == "ConcurrentInvocationLimitExceeded"
    assert runs(client, "first")
    client.delete_function_concurrency(FunctionName="first")
    assert runs(client, "other")


def test_a_url_is_there_when_it_is_configured_and_answers_preflights(client: Any) -> None:
    cors = {"AllowOrigins": ["https://example.com"], "AllowMethods": ["GET"], "MaxAge": 5}
    url = client.create_function_url_config(FunctionName="first", AuthType="NONE", Cors=cors)["FunctionUrl"]
    origin = ("Origin: https://example.com",)
    preflight = ask(url, *origin, "Access-Control-Request-Method: GET", method="OPTIONS")
    assert preflight.status in (200, 204)
    assert preflight.get("access-control-allow-origin") == "https://example.com"
    assert preflight.get("access-control-max-age") == "5"
    got = ask(url, *origin)
    assert (got.status, got.json()["function"]) == (200, "first")
    assert got.get("access-control-allow-origin") == "https://example.com"
    client.update_function_url_config(FunctionName="first", Cors={})
    assert ask(url, *origin).get("access-control-allow-origin") is None
    client.update_function_url_config(FunctionName="first", AuthType="AWS_IAM")
    refused = ask(url)
    assert refused.status == 403
    assert "Forbidden" in refused.json()["Message"]


def test_destinations_get_the_record(client: Any, served: Platform, tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    client.put_function_event_invoke_config(
        FunctionName="first",
        MaximumRetryAttempts=0,
        DestinationConfig={
            "OnSuccess": {"Destination": f"{ARN}keeps"},
            "OnFailure": {"Destination": records.as_uri()},
        },
    )
    for event in ({"a": "b"}, {"raise": "as asked"}):
        client.invoke(FunctionName="first", InvocationType="Event", Payload=json.dumps(event))
    kept = served.folder / "kept.jsonl"
    for path, condition, event in (
        (kept, "Success", {"a": "b"}),
        (records, "RetriesExhausted", {"raise": "as asked"}),
    ):
        wait_until(lambda path=path: path.exists() and path.read_text().endswith("\n"), f"{path.name}")
        record = json.loads(path.read_text())
        assert record["requestContext"]["condition"] == condition
        assert record["requestContext"]["functionArn"] == f"{ARN}first:$LATEST"
        assert record["requestPayload"] == event


def test_what_is_set_for_functions_of_a_folder_stays(tmp_path: Path) -> None:
    folder = tmp_path / "functions"
    folder.mkdir()
    flags = ("--data", str(tmp_path / "data"))
    with Platform(folder, {"first": APP}, *flags) as first:
        client = first.client()
        client.put_function_concurrency(FunctionName="first", ReservedConcurrentExecutions=0)
        client.tag_resource(Resource=f"{ARN}first", Tags={"a": "b"})
        client.create_function_url_config(FunctionName="first", AuthType="AWS_IAM")
        client.add_permission(FunctionName="first", StatementId="s", Action="lambda:*", Principal="*")
        revision = client.get_policy(FunctionName="first")["RevisionId"]
        assert revision == client.get_function(FunctionName="first")["Configuration"]["RevisionId"]
    with Platform(folder, {"first": APP}, *flags) as second:
        client = second.client()
        assert throttled(client, "first") == "ReservedFunctionConcurrentInvocationLimitExceeded"
        assert client.list_tags(Resource=f"{ARN}first")["Tags"] == {"a": "b"}
        assert client.get_function_url_config(FunctionName="first")["AuthType"] == "AWS_IAM"
        assert "lambda:*" in client.get_policy(FunctionName="first")["Policy"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/2017-10-31/functions/..%2F..%2Fetc/concurrency", b'{"ReservedConcurrentExecutions":1}'),
        ("PUT", "/2017-10-31/functions/first/concurrency", b"{"),
        ("PUT", "/2017-10-31/functions/first/concurrency", b"[1]"),
        ("PUT", "/2017-10-31/functions/first/concurrency", b'{"ReservedConcurrentExecutions":"1"}'),
        ("PUT", "/2017-10-31/functions/first/concurrency", b'{"ReservedConcurrentExecutions":1e99}'),
        ("PUT", "/2017-10-31/functions/first/concurrency", b"[" * 100_000),
        ("POST", "/2021-10-31/functions/first/url", b'{"AuthType":"\xff"}'),
        ("POST", "/2021-10-31/functions/first/url?Qualifier=%00", b'{"AuthType":"NONE"}'),
        ("POST", "/2017-03-31/tags/" + quote(f"{ARN}first", safe=""), b'{"Tags":{"a":["b"]}}'),
        ("POST", "/2017-03-31/tags/first", b'{"Tags":{"a":"b"}}'),
        ("DELETE", "/2015-03-31/functions/first/policy/" + "x" * 300, b""),
        ("GET", "/2019-09-25/functions/first/event-invoke-config/list?MaxItems=x", b""),
        ("GET", "/2019-09-25/functions/first/event-invoke-config/list?Marker=x", b""),
    ],
)
def test_bad_input_is_refused_as_json(served: Platform, method: str, path: str, body: bytes) -> None:
    answer = ask(served.lambda_api, method=method, path=path, body=body)
    assert 400 <= answer.status < 500
    assert answer.get("x-amzn-errortype")
    document = answer.json()
    assert document.get("message") or document.get("Message")
    assert not served.find(event="note", level="error")
