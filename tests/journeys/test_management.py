"""Functions managed by clients that know nothing of Penstock: what they change is what runs, and stays.

boto3 and AWS's command line, as they are; only their endpoint is another.
"""

import io
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from platform_process import Platform

AWS = Path(sys.executable).parent / "aws"
RUNTIME = f"python3.{sys.version_info[1]}"
ROLE = "arn:aws:iam::000000000000:role/any"
SAYS = """
import os
def handler(event, context):
    return [{!r}, os.environ.get("SAY"), context.function_version]
"""

Start = Callable[..., Platform]


def zipped(source: str, name: str = "app.py") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, source)
    return buffer.getvalue()


def create(client: Any, name: str = "app", **members: Any) -> Any:
    given = {
        "Runtime": RUNTIME,
        "Role": ROLE,
        "Handler": "app.handler",
        "Code": {"ZipFile": zipped(SAYS.format("one"))},
        **members,
    }
    return client.create_function(FunctionName=name, **given)


def called(client: Any, name: str = "app", **members: Any) -> Any:
    reply = client.invoke(FunctionName=name, **members)
    assert "FunctionError" not in reply, reply["Payload"].read()
    return json.loads(reply["Payload"].read())


def refused(call: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call()
    reply = caught.value.response
    return reply["ResponseMetadata"]["HTTPStatusCode"], reply["Error"]["Code"]


def test_what_is_changed_is_what_runs(platform: Start) -> None:
    client = platform({}).client()
    create(client, Environment={"Variables": {"SAY": "a"}})
    client.get_waiter("function_exists").wait(FunctionName="app")
    client.get_waiter("function_active_v2").wait(FunctionName="app")
    assert called(client) == ["one", "a", "$LATEST"]

    client.update_function_configuration(FunctionName="app", Environment={"Variables": {"SAY": "b"}})
    client.get_waiter("function_updated_v2").wait(FunctionName="app")
    assert called(client) == ["one", "b", "$LATEST"]

    client.update_function_code(FunctionName="app", ZipFile=zipped(SAYS.format("two")))
    client.get_waiter("function_updated").wait(FunctionName="app")
    assert called(client) == ["two", "b", "$LATEST"]

    revision = client.get_function_configuration(FunctionName="app")["RevisionId"]
    client.update_function_configuration(FunctionName="app", Timeout=9, RevisionId=revision)

    def change() -> None:
        client.update_function_configuration(FunctionName="app", Timeout=3, RevisionId=revision)

    assert refused(change) == (412, "PreconditionFailedException")

    assert client.delete_function(FunctionName="app")["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert refused(lambda: client.invoke(FunctionName="app")) == (404, "ResourceNotFoundException")
    create(client, Code={"ZipFile": zipped(SAYS.format("three"))})
    assert called(client) == ["three", None, "$LATEST"], "nothing of the one before is left"


def test_versions_stay_as_they_are_and_aliases_move(platform: Start) -> None:
    client = platform({}).client()
    create(client, Publish=True)
    client.update_function_code(FunctionName="app", ZipFile=zipped(SAYS.format("two")), Publish=True)
    client.get_waiter("published_version_active").wait(FunctionName="app", Qualifier="2")
    client.create_alias(FunctionName="app", Name="live", FunctionVersion="1")
    assert called(client, Qualifier="1") == called(client, Qualifier="live") == ["one", None, "1"]
    assert called(client, "app:2") == ["two", None, "2"]
    client.update_alias(FunctionName="app", Name="live", FunctionVersion="2")
    arn = client.get_alias(FunctionName="app", Name="live")["AliasArn"]
    assert called(client, arn) == ["two", None, "2"]
    assert refused(lambda: client.delete_function(FunctionName="app", Qualifier="2"))[0] == 409
    client.delete_alias(FunctionName="app", Name="live")
    client.delete_function(FunctionName="app", Qualifier="2")
    assert refused(lambda: client.invoke(FunctionName="app:2"))[0] == 404
    assert called(client, "app:1") == ["one", None, "1"]


def test_lists_are_read_in_pages(platform: Start) -> None:
    client = platform({}).client()
    names = [f"f{number}" for number in range(7)]
    for name in names:
        create(client, name, Publish=True)
    for number in range(5):
        client.create_alias(FunctionName="f0", Name=f"a{number}", FunctionVersion="1")

    def pages(operation: str, **members: Any) -> list[Any]:
        return list(client.get_paginator(operation).paginate(PaginationConfig={"PageSize": 2}, **members))

    functions = pages("list_functions")
    assert len(functions) == 4
    assert [each["FunctionName"] for page in functions for each in page["Functions"]] == names
    whole = pages("list_functions", FunctionVersion="ALL")
    assert len([each for page in whole for each in page["Functions"]]) == 14
    versions = pages("list_versions_by_function", FunctionName="f0")
    assert [each["Version"] for page in versions for each in page["Versions"]] == ["$LATEST", "1"]
    aliases = pages("list_aliases", FunctionName="f0")
    assert [each["Name"] for page in aliases for each in page["Aliases"]] == [f"a{i}" for i in range(5)]


def test_a_folder_is_live_until_it_is_published(platform: Start, tmp_path: Path) -> None:
    client = platform({}).client()
    folder = tmp_path / "live"
    folder.mkdir()
    (folder / "app.py").write_text(SAYS.format("one"))
    create(client, Code={"S3Bucket": "hot-reload", "S3Key": str(folder)})
    assert called(client)[0] == "one"
    (folder / "app.py").write_text(SAYS.format("edited"))
    assert called(client)[0] == "edited"
    assert client.publish_version(FunctionName="app")["Version"] == "1"
    (folder / "app.py").write_text(SAYS.format("edited again"))
    assert called(client)[0] == "edited again"
    assert called(client, Qualifier="1")[0] == "edited"


def test_everything_is_there_after_a_kill(platform: Start, tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    first = platform({}, "--data", data)
    client = first.client()
    create(client, Tags={"a": "b"}, Publish=True, Environment={"Variables": {"SAY": "a"}})
    client.create_alias(FunctionName="app", Name="live", FunctionVersion="1")
    before = client.get_function(FunctionName="app")
    first.process.kill()
    first.process.wait()

    client = platform({}, "--data", data).client()
    after = client.get_function(FunctionName="app")
    assert (after["Configuration"], after["Tags"]) == (before["Configuration"], before["Tags"])
    assert called(client, Qualifier="live") == ["one", "a", "1"]


def test_code_can_be_had_again(platform: Start) -> None:
    client = platform({}).client()
    code = zipped(SAYS.format("one"))
    create(client, Code={"ZipFile": code})
    location = client.get_function(FunctionName="app")["Code"]["Location"]
    with urllib.request.urlopen(location) as reply:
        assert reply.read() == code
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(location[:-1] + ("0" if location[-1] != "0" else "1"))
    caught.value.close()
    assert caught.value.code == 403


def test_functions_of_the_command_line_are_not_the_clients_to_change(platform: Start) -> None:
    client = platform({"app": "def lambda_handler(event, context): return 'target'\n"}).client()
    assert [each["FunctionName"] for each in client.list_functions()["Functions"]] == ["app"]
    assert refused(lambda: create(client)) == (409, "ResourceConflictException")
    for change in (
        lambda: client.delete_function(FunctionName="app"),
        lambda: client.update_function_code(FunctionName="app", ZipFile=zipped("")),
        lambda: client.update_function_configuration(FunctionName="app", Timeout=3),
    ):
        assert refused(change) == (409, "ResourceConflictException")
    create(client, "other")
    assert called(client) == "target"
    assert called(client, "other")[0] == "one"


def test_a_handler_that_is_not_in_the_zip_fails_when_it_is_called(platform: Start) -> None:
    client = platform({}).client()
    create(client, Handler="missing.handler")
    reply = client.invoke(FunctionName="app")
    assert reply["FunctionError"] == "Unhandled"
    assert json.loads(reply["Payload"].read())["errorType"] == "Runtime.ImportModuleError"
    client.update_function_configuration(FunctionName="app", Handler="app.handler")
    assert called(client)[0] == "one"


@pytest.mark.skipif(not AWS.exists(), reason="the AWS CLI is not installed")
def test_tenants_share_no_environment(platform: Start) -> None:
    client = platform({}).client()
    source = "seen = []\ndef handler(event, context):\n    seen.append(context.tenant_id)\n    return seen\n"
    create(client, Code={"ZipFile": zipped(source)}, TenancyConfig={"TenantIsolationMode": "PER_TENANT"})
    for calls in (1, 2):
        for tenant in ("blue", "green"):
            assert called(client, TenantId=tenant) == [tenant] * calls
    assert refused(lambda: client.invoke(FunctionName="app")) == (400, "InvalidParameterValueException")
    create(client, "shared")
    assert refused(lambda: client.invoke(FunctionName="shared", TenantId="blue"))[0] == 400


def test_a_zip_that_is_too_large_when_unzipped_is_refused_and_leaves_nothing(platform: Start) -> None:
    running = platform({})
    client = running.client()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("app.py", SAYS.format("one"))
        with archive.open("large", "w") as file:
            for _ in range(300):
                file.write(bytes(1024 * 1024))
    assert refused(lambda: create(client, Code={"ZipFile": buffer.getvalue()})) == (
        400,
        "InvalidParameterValueException",
    )
    assert refused(lambda: client.get_function(FunctionName="app"))[0] == 404
    create(client)
    assert called(client) == ["one", None, "$LATEST"]


def test_the_command_line(platform: Start, tmp_path: Path) -> None:
    running = platform({})
    (tmp_path / "code.zip").write_bytes(zipped(SAYS.format("one")))
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL_LAMBDA": running.lambda_api,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_PAGER": "",
    }

    def aws(*arguments: str) -> Any:
        done = subprocess.run(
            [AWS, "lambda", *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout or b"null")

    aws(
        *("create-function", "--function-name", "app", "--runtime", RUNTIME, "--handler", "app.handler"),
        *("--role", ROLE, "--zip-file", "fileb://code.zip", "--environment", "Variables={SAY=a}"),
    )
    aws("wait", "function-active-v2", "--function-name", "app")
    aws("invoke", "--function-name", "app", "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == ["one", "a", "$LATEST"]
    assert aws("publish-version", "--function-name", "app", "--description", "first")["Version"] == "1"
    aws("create-alias", "--function-name", "app", "--name", "live", "--function-version", "1")
    found = aws("list-functions", "--function-version", "ALL", "--max-items", "1", "--page-size", "1")
    assert [each["Version"] for each in found["Functions"]] == ["$LATEST"]
    assert found["NextToken"]
    aws("delete-function", "--function-name", "app")
    assert aws("list-functions") == {"Functions": []}
