"""Provisioned concurrency, as boto3 sets it: environments that are ready before anybody calls."""

import io
import json
import os
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from platform_process import Platform, wait_until

SOURCE = """
import os, time

kind = os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
if kind == "provisioned-concurrency" and os.path.exists(os.environ["BROKEN"]):
    raise RuntimeError("it is broken")
time.sleep(0.05)

def handler(event, context):
    time.sleep(event.get("seconds", 0))
    return {"kind": kind, "version": context.function_version}
"""


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", SOURCE)
    return buffer.getvalue()


def publish(client: Any) -> str:
    """Another version of the function."""
    client.update_function_configuration(FunctionName="demo", Description=os.urandom(4).hex())
    version: str = client.publish_version(FunctionName="demo")["Version"]
    return version


def invoked(client: Any, qualifier: str, **event: Any) -> Any:
    answer = client.invoke(FunctionName="demo", Qualifier=qualifier, Payload=json.dumps(event))
    return json.loads(answer["Payload"].read())


def put(client: Any, qualifier: str, count: int) -> Any:
    return client.put_provisioned_concurrency_config(
        FunctionName="demo", Qualifier=qualifier, ProvisionedConcurrentExecutions=count
    )


def status(client: Any, qualifier: str) -> tuple[str, int]:
    answer = client.get_provisioned_concurrency_config(FunctionName="demo", Qualifier=qualifier)
    return answer["Status"], answer["AvailableProvisionedConcurrentExecutions"]


def at_once(client: Any, qualifier: str, calls: int) -> list[Any]:
    """The answers of so many calls that run at the same time."""
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(invoked(client, qualifier, seconds=0.3)))
        for _ in range(calls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.fixture
def flags(tmp_path: Path) -> tuple[str, ...]:
    return ("--data", str(tmp_path / "data"), "--max-environments", "10", "--start-ahead", "0")


def create(client: Any, broken: Path) -> None:
    client.create_function(
        FunctionName="demo",
        Runtime=f"python3.{sys.version_info[1]}",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="app.handler",
        Code={"ZipFile": zipped()},
        Environment={"Variables": {"BROKEN": str(broken)}},
        Publish=True,
    )
    client.create_alias(FunctionName="demo", Name="live", FunctionVersion="1")


def test_environments_are_ready_before_anybody_calls(tmp_path: Path, flags: tuple[str, ...]) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    with Platform(folder, {}, *flags) as platform:
        client = platform.client()
        create(client, tmp_path / "broken")
        answer = put(client, "live", 2)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
        assert answer["Status"] == "IN_PROGRESS"
        wait_until(lambda: status(client, "live") == ("READY", 2), "two that are ready")
        answers = at_once(client, "live", 3)
        kinds = sorted(each["kind"] for each in answers)
        assert kinds == ["on-demand", "provisioned-concurrency", "provisioned-concurrency"]
        assert {each["version"] for each in answers} == {"1"}

        # With the alias it goes to another version, and the environments of the one before are given up.
        version = publish(client)
        client.update_alias(FunctionName="demo", Name="live", FunctionVersion=version)
        wait_until(lambda: status(client, "live") == ("READY", 2), "two of the new version")
        assert invoked(client, "live")["kind"] == "provisioned-concurrency"

        # What it takes is not there for others: of ten, one stays unreserved.
        exceptions = client.exceptions
        with pytest.raises(exceptions.InvalidParameterValueException):
            put(client, "1", 8)
        assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == 8

    with Platform(folder, {}, *flags) as platform:
        client = platform.client()
        wait_until(lambda: status(client, "live") == ("READY", 2), "two after a restart")
        client.delete_provisioned_concurrency_config(FunctionName="demo", Qualifier="live")
        with pytest.raises(client.exceptions.ProvisionedConcurrencyConfigNotFoundException):
            status(client, "live")
        listed = client.list_provisioned_concurrency_configs(FunctionName="demo")
        assert listed["ProvisionedConcurrencyConfigs"] == []


def test_one_that_does_not_come_up_is_told_and_tried_again(tmp_path: Path, flags: tuple[str, ...]) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    broken = tmp_path / "broken"
    broken.touch()
    with Platform(folder, {}, *flags) as platform:
        client = platform.client()
        create(client, broken)
        put(client, "1", 1)
        wait_until(lambda: status(client, "1") == ("FAILED", 0), "it has failed")
        answer = client.get_provisioned_concurrency_config(FunctionName="demo", Qualifier="1")
        assert answer["StatusReason"] == "FUNCTION_ERROR_INIT_FAILURE"
        wait_until(lambda: any("it is broken" in str(line) for line in platform.events), "the log says why")
        broken.unlink()
        wait_until(lambda: status(client, "1") == ("READY", 1), "it is tried again")
        assert invoked(client, "1")["kind"] == "provisioned-concurrency"
