"""An unmodified boto3 script, and AWS's own command line, against an empty folder.

Nothing but the endpoint is Penstock's here: a function is created from a zip, waited for, invoked in every
way, streamed from, aliased, throttled, given a URL, and deleted. The command line cannot stream: AWS takes
`invoke-with-response-stream` out of it (awscli/customizations/removals.py).
"""

import base64
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from journey_kit import CURL, TIMEOUT, curl, needs_curl
from platform_process import Platform, wait_until

AWS = Path(sys.executable).parent / "aws"
needs_aws = pytest.mark.skipif(not AWS.exists(), reason="the AWS CLI is not installed")

RUNTIME = f"python3.{sys.version_info[1]}"
ROLE = "arn:aws:iam::000000000000:role/any"
ARN = "arn:aws:lambda:us-east-1:000000000000:function:demo"

# What it answers says which code ran; with "wait" it streams one chunk, and the other when the file is there.
SOURCE = """
import json, os, time

def handler(event, context):
    print("said", json.dumps(event))
    if "rawPath" in event:
        event = event.get("queryStringParameters") or {}
    if "write" in event:
        with open(event["write"], "a") as file:
            file.write("1")
    if "raise" in event:
        raise ValueError(event["raise"])
    if "wait" in event:
        return {"statusCode": 201, "headers": {"Content-Type": "text/plain"}, "body": body(event["wait"])}
    client = context.client_context
    return {
        "code": CODE, "event": event, "greeting": os.environ.get("GREETING"),
        "version": context.function_version, "arn": context.invoked_function_arn,
        "custom": client and client.custom,
    }

def body(path):
    yield "first "
    while not os.path.exists(path):
        time.sleep(0.005)
    yield "second"
"""


def zipped(code: str, source: str = SOURCE) -> bytes:
    """A zip with `app.py`, whose answers say that they are of `code`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", f"CODE = {code!r}\n{source}")
    return buffer.getvalue()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Platform]:
    """`penstock serve --data` in an empty folder."""
    folder = tmp_path / "empty"
    folder.mkdir()
    with Platform(folder, {}, "--data", str(tmp_path / "data"), "--max-environments", "50") as running:
        yield running


@pytest.fixture
def client(served: Platform) -> Any:
    return served.client()


def created(client: Any, **members: Any) -> Any:
    """CreateFunction's answer, once the function is active."""
    given = {
        "Runtime": RUNTIME,
        "Role": ROLE,
        "Handler": "app.handler",
        "Code": {"ZipFile": zipped("one")},
        **members,
    }
    answer = client.create_function(FunctionName="demo", **given)
    client.get_waiter("function_active_v2").wait(FunctionName="demo")
    return answer


def invoked(client: Any, event: Any = None, name: str = "demo", **options: Any) -> Any:
    """What the function answered."""
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event or {}), **options)
    payload = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, payload
    assert answer["StatusCode"] == 200
    return payload


def refused(call: Any, **members: Any) -> tuple[int, str, str]:
    """Status, code and message of the error that boto3 raises."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**members)
    answer = caught.value.response
    return (
        answer["ResponseMetadata"]["HTTPStatusCode"],
        answer["Error"]["Code"],
        answer["Error"]["Message"],
    )


def test_a_function_is_created_from_a_zip_and_found(client: Any) -> None:
    assert client.list_functions()["Functions"] == []
    answer = created(client, Description="a test", Timeout=7, Environment={"Variables": {"GREETING": "hi"}})
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert (answer["FunctionName"], answer["FunctionArn"]) == ("demo", ARN)
    assert (answer["Runtime"], answer["Handler"], answer["Role"]) == (RUNTIME, "app.handler", ROLE)
    assert (answer["Timeout"], answer["MemorySize"], answer["Version"]) == (7, 128, "$LATEST")
    got = client.get_function(FunctionName="demo")
    assert got["Configuration"]["State"] == "Active"
    assert got["Configuration"]["LastUpdateStatus"] == "Successful"
    assert got["Configuration"]["CodeSha256"] == answer["CodeSha256"]
    (listed,) = client.list_functions()["Functions"]
    assert listed["FunctionArn"] == ARN
    assert invoked(client)["greeting"] == "hi"
    status, code, message = refused(
        client.create_function,
        FunctionName="demo",
        Runtime=RUNTIME,
        Role=ROLE,
        Handler="app.handler",
        Code={"ZipFile": zipped("one")},
    )
    assert (status, code, message) == (409, "ResourceConflictException", "Function already exist: demo")


def test_its_code_can_be_fetched(client: Any) -> None:
    created(client)
    where = client.get_function(FunctionName="demo")["Code"]
    assert where["RepositoryType"] == "S3"
    fetched = curl(where["Location"])
    assert fetched.stdout == zipped("one")


def test_it_is_invoked_in_every_way(client: Any, tmp_path: Path) -> None:
    created(client)
    for name in ("demo", "000000000000:demo", "000000000000:function:demo", ARN, f"{ARN}:$LATEST"):
        assert invoked(client, {"a": "ü"}, name)["event"] == {"a": "ü"}
    answer = client.invoke(FunctionName="demo", Payload="{}", LogType="Tail")
    log = base64.b64decode(answer["LogResult"]).decode()
    assert "said {}" in log
    assert "REPORT RequestId:" in log
    context = base64.b64encode(json.dumps({"custom": {"k": "v"}}).encode()).decode()
    assert invoked(client, ClientContext=context)["custom"] == {"k": "v"}
    dry = client.invoke(FunctionName="demo", InvocationType="DryRun", Payload="{}")
    assert (dry["StatusCode"], dry["Payload"].read()) == (204, b"")
    written = tmp_path / "written"
    event = json.dumps({"write": str(written)})
    sent = client.invoke(FunctionName="demo", InvocationType="Event", Payload=event)
    assert (sent["StatusCode"], sent["Payload"].read()) == (202, b"")
    assert "ExecutedVersion" not in sent
    wait_until(lambda: written.exists() and written.read_text() == "1", "the event")
    failed = client.invoke(FunctionName="demo", Payload=json.dumps({"raise": "as asked"}))
    assert failed["FunctionError"] == "Unhandled"
    assert json.loads(failed["Payload"].read())["errorMessage"] == "as asked"
    assert refused(client.invoke, FunctionName="never") == (
        404,
        "ResourceNotFoundException",
        f"Function not found: {ARN.replace('demo', 'never')}:$LATEST",
    )


def test_it_streams_live(client: Any, tmp_path: Path) -> None:
    created(client)
    gate = tmp_path / "gate"
    answer = client.invoke_with_response_stream(FunctionName="demo", Payload=json.dumps({"wait": str(gate)}))
    assert answer["StatusCode"] == 200
    assert answer["ExecutedVersion"] == "$LATEST"
    events = iter(answer["EventStream"])
    seen = b""
    while not seen.endswith(b"first "):
        seen += next(events)["PayloadChunk"]["Payload"]
    gate.touch()  # the first chunk was here while the function waited
    rest = list(events)
    prelude, _, body = (seen + b"".join(each["PayloadChunk"]["Payload"] for each in rest[:-1])).partition(
        b"\0" * 8
    )
    assert json.loads(prelude)["statusCode"] == 201
    assert body == b"first second"
    assert rest[-1] == {"InvokeComplete": {}}


def test_code_and_configuration_are_changed(client: Any) -> None:
    made = created(client)
    assert invoked(client)["code"] == "one"
    updated = client.update_function_code(FunctionName="demo", ZipFile=zipped("two"))
    client.get_waiter("function_updated_v2").wait(FunctionName="demo")
    assert updated["CodeSha256"] != made["CodeSha256"]
    assert invoked(client)["code"] == "two"
    client.update_function_configuration(
        FunctionName="demo", Environment={"Variables": {"GREETING": "changed"}}, Timeout=9
    )
    client.get_waiter("function_updated_v2").wait(FunctionName="demo")
    assert invoked(client)["greeting"] == "changed"
    assert client.get_function_configuration(FunctionName="demo")["Timeout"] == 9
    stale = refused(client.publish_version, FunctionName="demo", RevisionId=made["RevisionId"])
    assert stale[:2] == (412, "PreconditionFailedException")


def test_versions_and_aliases(client: Any) -> None:
    created(client)
    assert client.publish_version(FunctionName="demo", Description="the first")["Version"] == "1"
    client.get_waiter("published_version_active").wait(FunctionName="demo", Qualifier="1")
    client.update_function_code(FunctionName="demo", ZipFile=zipped("two"), Publish=True)
    client.get_waiter("function_updated_v2").wait(FunctionName="demo")
    versions = client.list_versions_by_function(FunctionName="demo")["Versions"]
    assert [each["Version"] for each in versions] == ["$LATEST", "1", "2"]
    alias = client.create_alias(FunctionName="demo", Name="live", FunctionVersion="1")
    assert alias["AliasArn"] == f"{ARN}:live"
    assert invoked(client)["code"] == "two"
    answer = client.invoke(FunctionName="demo", Qualifier="live", Payload="{}")
    assert answer["ExecutedVersion"] == "1"
    said = json.loads(answer["Payload"].read())
    assert (said["code"], said["version"], said["arn"]) == ("one", "1", f"{ARN}:live")
    for name in ("demo:live", f"{ARN}:live"):
        assert invoked(client, name=name)["code"] == "one"
    client.update_alias(FunctionName="demo", Name="live", FunctionVersion="2")
    assert invoked(client, Qualifier="live")["code"] == "two"
    assert [each["Name"] for each in client.list_aliases(FunctionName="demo")["Aliases"]] == ["live"]
    client.delete_alias(FunctionName="demo", Name="live")
    assert refused(client.invoke, FunctionName="demo", Qualifier="live") == (
        404,
        "ResourceNotFoundException",
        f"Function not found: {ARN}:live",
    )


def test_it_is_throttled(client: Any) -> None:
    created(client)
    client.put_function_concurrency(FunctionName="demo", ReservedConcurrentExecutions=0)
    with pytest.raises(client.exceptions.TooManyRequestsException) as caught:
        client.invoke(FunctionName="demo", Payload="{}")
    answer = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert answer["Error"]["Message"] == "Rate Exceeded."
    assert answer["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert "retry-after" in answer["ResponseMetadata"]["HTTPHeaders"]
    assert client.get_function(FunctionName="demo")["Concurrency"] == {"ReservedConcurrentExecutions": 0}
    client.delete_function_concurrency(FunctionName="demo")
    assert invoked(client)["code"] == "one"
    with pytest.raises(client.exceptions.InvalidParameterValueException, match=r"minimum value of \[5\]"):
        client.put_function_concurrency(FunctionName="demo", ReservedConcurrentExecutions=46)


@needs_curl
def test_its_url_streams_to_curl(client: Any, tmp_path: Path) -> None:
    created(client)
    url = client.create_function_url_config(FunctionName="demo", AuthType="NONE")["FunctionUrl"]
    assert json.loads(curl(f"{url}?a=b").stdout)["event"] == {"a": "b"}
    gate = tmp_path / "gate"
    command = [*CURL, "--no-buffer", "--get", "--data-urlencode", f"wait={gate}", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        timer = threading.Timer(TIMEOUT, process.kill)
        timer.start()
        assert process.stdout.read(6) == b"first "
        gate.touch()
        assert process.stdout.read() == b"second"
        timer.cancel()
    assert process.returncode == 0
    client.delete_function_url_config(FunctionName="demo")
    gone = curl("--output", os.devnull, "--write-out", "%{http_code}", url)
    assert gone.stdout in (b"403", b"404")


@needs_curl
def test_an_alias_has_a_url_of_its_own(client: Any) -> None:
    created(client, Publish=True)
    client.update_function_code(FunctionName="demo", ZipFile=zipped("two"))
    client.get_waiter("function_updated_v2").wait(FunctionName="demo")
    client.create_alias(FunctionName="demo", Name="live", FunctionVersion="1")
    url = client.create_function_url_config(FunctionName="demo", Qualifier="live", AuthType="NONE")
    assert json.loads(curl(url["FunctionUrl"]).stdout)["code"] == "one"


def test_what_else_is_set_for_it(client: Any, tmp_path: Path) -> None:
    created(client, Tags={"team": "a"})
    client.tag_resource(Resource=ARN, Tags={"stage": "test"})
    assert client.list_tags(Resource=ARN)["Tags"] == {"team": "a", "stage": "test"}
    client.untag_resource(Resource=ARN, TagKeys=["team"])
    assert client.get_function(FunctionName="demo")["Tags"] == {"stage": "test"}
    client.add_permission(
        FunctionName="demo", StatementId="s3", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com"
    )
    policy = json.loads(client.get_policy(FunctionName="demo")["Policy"])
    assert [each["Sid"] for each in policy["Statement"]] == ["s3"]
    records = tmp_path / "records.jsonl"
    client.put_function_event_invoke_config(
        FunctionName="demo",
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": records.as_uri()}},
    )
    client.invoke(FunctionName="demo", InvocationType="Event", Payload=json.dumps({"raise": "as asked"}))
    wait_until(lambda: records.exists() and records.read_text().endswith("\n"), "the record")
    record = json.loads(records.read_text())
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestPayload"] == {"raise": "as asked"}
    account = client.get_account_settings()
    assert account["AccountLimit"]["ConcurrentExecutions"] == 50
    assert account["AccountUsage"]["FunctionCount"] == 1


def test_it_is_deleted(served: Platform, client: Any) -> None:
    created(client)
    url = client.create_function_url_config(FunctionName="demo", AuthType="NONE")["FunctionUrl"]
    assert invoked(client)["code"] == "one"
    client.delete_function(FunctionName="demo")
    missing = (404, "ResourceNotFoundException", f"Function not found: {ARN}")
    assert refused(client.get_function, FunctionName="demo") == missing
    assert refused(client.delete_function, FunctionName="demo") == missing
    assert refused(client.invoke, FunctionName="demo")[0] == 404
    assert client.list_functions()["Functions"] == []
    assert curl("--output", os.devnull, "--write-out", "%{http_code}", url).stdout in (b"403", b"404")
    created(client, Code={"ZipFile": zipped("another")})
    assert invoked(client)["code"] == "another"


def test_it_is_there_after_another_start(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    flags = ("--data", str(tmp_path / "data"))
    with Platform(folder, {}, *flags) as first:
        client = first.client()
        created(client, Publish=True, Tags={"a": "b"})
        client.create_alias(FunctionName="demo", Name="live", FunctionVersion="1")
        client.create_function_url_config(FunctionName="demo", AuthType="NONE")
    with Platform(folder, {}, *flags) as second:
        client = second.client()
        assert invoked(client, Qualifier="live")["code"] == "one"
        assert client.list_tags(Resource=ARN)["Tags"] == {"a": "b"}
        url = client.get_function_url_config(FunctionName="demo")["FunctionUrl"]
        assert url == f"{second.gateway}/lambda-url/demo/"


def test_what_is_not_built_says_so(client: Any) -> None:
    for call, members, name in (
        (client.list_layers, {}, "ListLayers"),
        (client.list_event_source_mappings, {}, "ListEventSourceMappings"),
        (client.list_capacity_providers, {}, "ListCapacityProviders"),
    ):
        status, code, message = refused(call, **members)
        assert (status, code) == (501, "NotImplementedException")
        assert name in message


# AWS's own command line.


@pytest.fixture
def aws(served: Platform, tmp_path: Path) -> Any:
    """`aws("lambda", …)` with our endpoint: a completed process."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environ |= {
        "AWS_ENDPOINT_URL": served.lambda_api,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_PAGER": "",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(AWS), "lambda", *arguments],
            env=environ,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=3 * TIMEOUT,
        )

    return run


def done(process: subprocess.CompletedProcess[str]) -> Any:
    """What a command printed."""
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout) if process.stdout.strip() else None


@needs_aws
def test_the_command_line(aws: Any, served: Platform, tmp_path: Path) -> None:
    (tmp_path / "one.zip").write_bytes(zipped("one"))
    (tmp_path / "two.zip").write_bytes(zipped("two"))
    demo = ("--function-name", "demo")
    made = done(
        aws(
            *("create-function", *demo, "--runtime", RUNTIME, "--role", ROLE),
            *("--handler", "app.handler", "--zip-file", "fileb://one.zip"),
            *("--environment", "Variables={GREETING=hi}", "--tags", "team=a"),
        )
    )
    assert made["FunctionArn"] == ARN
    done(aws("wait", "function-active-v2", *demo))
    answer = done(aws("invoke", *demo, "--payload", '{"a": 1}', "--log-type", "Tail", "out.json"))
    assert answer["StatusCode"] == 200
    assert answer["ExecutedVersion"] == "$LATEST"
    assert "REPORT" in base64.b64decode(answer["LogResult"]).decode()
    said = json.loads((tmp_path / "out.json").read_text())
    assert (said["code"], said["greeting"], said["event"]) == ("one", "hi", {"a": 1})

    written = tmp_path / "written"
    event = json.dumps({"write": str(written)})
    sent = done(aws("invoke", *demo, "--invocation-type", "Event", "--payload", event, "event.json"))
    assert sent["StatusCode"] == 202
    wait_until(written.exists, "the event")
    dry = done(aws("invoke", *demo, "--invocation-type", "DryRun", "dry.json"))
    assert dry["StatusCode"] == 204

    got = done(aws("get-function", *demo))
    assert (got["Configuration"]["State"], got["Tags"]) == ("Active", {"team": "a"})
    assert [each["FunctionName"] for each in done(aws("list-functions"))["Functions"]] == ["demo"]

    done(aws("publish-version", *demo))
    done(aws("update-function-code", *demo, "--zip-file", "fileb://two.zip"))
    done(aws("wait", "function-updated-v2", *demo))
    done(aws("create-alias", *demo, "--name", "live", "--function-version", "1"))
    done(aws("invoke", *demo, "--qualifier", "live", "out.json"))
    assert json.loads((tmp_path / "out.json").read_text())["code"] == "one"
    done(aws("invoke", "--function-name", ARN, "out.json"))
    assert json.loads((tmp_path / "out.json").read_text())["code"] == "two"

    done(aws("put-function-concurrency", *demo, "--reserved-concurrent-executions", "0"))
    throttled = aws("invoke", *demo, "out.json")
    assert throttled.returncode != 0
    assert "TooManyRequestsException" in throttled.stderr
    done(aws("delete-function-concurrency", *demo))

    url = done(aws("create-function-url-config", *demo, "--auth-type", "NONE"))["FunctionUrl"]
    assert json.loads(curl(f"{url}?a=b").stdout)["event"] == {"a": "b"}
    done(aws("delete-function", *demo))
    missing = aws("get-function", *demo)
    assert missing.returncode != 0
    assert "ResourceNotFoundException" in missing.stderr
    assert f"Function not found: {ARN}" in missing.stderr


@needs_aws
def test_the_command_line_is_not_for_streams(aws: Any) -> None:
    """Until AWS lets it: then this fails, and the command line is to be shown streaming."""
    process = aws("invoke-with-response-stream", "--function-name", "demo", "out")
    assert process.returncode == 252 or process.returncode == 2
    assert "invalid choice" in process.stderr.lower()
