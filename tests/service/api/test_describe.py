from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.service.api import describe
from penstock.service.api.configuration import architecture
from penstock.service.catalog import Alias, Entry, Version
from penstock.service.code import Code
from penstock.service.functions import LATEST
from service_kit import FixedFunctions

FUNCTIONS = FixedFunctions([])
ARN = "arn:aws:lambda:us-east-1:000000000000:function:app"
STATE = {"State", "StateReason", "StateReasonCode", "LastUpdateStatus", "RuntimeVersionConfig"}


def entry(**configuration: Any) -> Entry:
    settings = {"Runtime": "python3.12", "Handler": "app.handler", "Role": "arn", **configuration}
    version = Version(LATEST, settings, Code("c2hh", 10, "/code"), 1767225600.5)
    return Entry("app", version)


def test_a_function_as_aws_shows_it() -> None:
    app = entry()
    shown = describe.function(FUNCTIONS, app, app.latest, "")
    arn = shown.pop("RuntimeVersionConfig")["RuntimeVersionArn"]
    assert arn.startswith("arn:aws:lambda:us-east-1::runtime:")
    assert shown == {
        "Architectures": [architecture()],
        "CodeSha256": "c2hh",
        "CodeSize": 10,
        "Description": "",
        "EphemeralStorage": {"Size": 512},
        "FunctionArn": ARN,
        "FunctionName": "app",
        "Handler": "app.handler",
        "LastModified": "2026-01-01T00:00:00.500+0000",
        "LastUpdateStatus": "Successful",
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/app"},
        "MemorySize": 128,
        "PackageType": "Zip",
        "RevisionId": app.latest.revision_id,
        "Role": "arn",
        "Runtime": "python3.12",
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "State": "Active",
        "Timeout": 3,
        "TracingConfig": {"Mode": "PassThrough"},
        "Version": LATEST,
    }


def test_the_arn_has_the_qualifier_that_was_asked_for() -> None:
    app = entry()
    for qualifier in (LATEST, "live", "1"):
        shown = describe.listed(FUNCTIONS, app, app.latest, qualifier)
        assert shown["FunctionArn"] == f"{ARN}:{qualifier}"


def test_members_that_were_given() -> None:
    app = entry(
        Environment={"Variables": {}},
        KMSKeyArn="",
        VpcConfig={"SubnetIds": ["subnet-1"]},
        DeadLetterConfig={"TargetArn": "arn:any"},
        FileSystemConfigs=[],
        SnapStart={"ApplyOn": "PublishedVersions"},
        TracingConfig={"Mode": "Active"},
    )
    shown = describe.listed(FUNCTIONS, app, app.latest, "")
    assert shown["Environment"] == {"Variables": {}}
    assert shown["VpcConfig"] == {
        "SubnetIds": ["subnet-1"],
        "SecurityGroupIds": [],
        "VpcId": "",
        "Ipv6AllowedForDualStack": False,
    }
    assert shown["DeadLetterConfig"] == {"TargetArn": "arn:any"}
    assert shown["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}
    assert shown["TracingConfig"] == {"Mode": "Active"}
    assert not shown.keys() & {"KMSKeyArn", "FileSystemConfigs"}
    app.latest.configuration["DeadLetterConfig"] = {"TargetArn": ""}
    assert "DeadLetterConfig" not in describe.listed(FUNCTIONS, app, app.latest, "")


@pytest.mark.parametrize(
    ("runtime", "apply_on", "status"),
    [
        ("python3.12", "PublishedVersions", "On"),
        ("python3.12", "None", "Off"),
        ("nodejs22.x", "PublishedVersions", "Off"),
    ],
)
def test_snap_start_is_for_versions_on_python(runtime: str, apply_on: str, status: str) -> None:
    app = entry(Runtime=runtime, SnapStart={"ApplyOn": apply_on})
    published = replace(app.latest, version="1")
    shown = describe.listed(FUNCTIONS, app, published, "1")
    assert shown["SnapStart"] == {"ApplyOn": apply_on, "OptimizationStatus": status}


def test_lists_do_not_say_whether_it_is_ready() -> None:
    app = entry()
    assert not describe.listed(FUNCTIONS, app, app.latest, "").keys() & STATE


def test_changes_are_told_as_under_way_with_their_own_revision() -> None:
    app = entry()
    created = describe.function(FUNCTIONS, app, app.latest, "", describe.CREATED)
    assert created["State"] == "Pending"
    assert "LastUpdateStatus" not in created
    updated = describe.function(FUNCTIONS, app, app.latest, "", describe.UPDATED)
    assert (updated["State"], updated["LastUpdateStatus"]) == ("Active", "InProgress")
    revisions = {created["RevisionId"], updated["RevisionId"], app.latest.revision_id}
    assert len(revisions) == 3


def test_a_function_of_the_command_line_has_no_role() -> None:
    app = Entry("app", Version(LATEST, {}, Code("", 0, str(Path.cwd())), 1.0), target=True)
    shown = describe.function(FUNCTIONS, app, app.latest, "")
    assert "Role" not in shown
    assert (shown["CodeSha256"], shown["CodeSize"]) == ("", 0)


def test_aliases() -> None:
    app = entry()
    live = Alias("live", "1", "any")
    assert describe.alias(FUNCTIONS, app, live) == {
        "AliasArn": f"{ARN}:live",
        "Name": "live",
        "FunctionVersion": "1",
        "Description": "any",
        "RevisionId": live.revision_id,
    }
