import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from management_kit import ARN, PYTHON, Management, zipped
from penstock.service.catalog import Entry, Version
from penstock.service.code import Code
from penstock.service.functions import LATEST
from settings_kit import asynchronous

INVALID = "InvalidParameterValueException"
MISSING = "ResourceNotFoundException"
REVISION = (
    "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to"
    " retrieve the latest Revision Id"
)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Management]:
    opened = Management(tmp_path)
    yield opened
    opened.close()


async def published(api: Management, count: int = 2) -> None:
    """The function `app` with so many versions."""
    await api.create()
    for number in range(count):
        await api.call("UpdateFunctionConfiguration", "app", Description=f"number {number + 1}")
        assert (await api.call("PublishVersion", "app"))["Version"] == str(number + 1)


@asynchronous
async def test_a_version_is_what_latest_was(api: Management) -> None:
    await api.create(Timeout=7)
    version = await api.call("PublishVersion", "app", Description="first")
    assert (version["Version"], version["FunctionArn"]) == ("1", f"{ARN}app:1")
    assert (version["State"], version["LastUpdateStatus"]) == ("Active", "Successful")
    assert version["Description"] == "first"
    await api.call("UpdateFunctionConfiguration", "app", Timeout=9)
    await api.call("UpdateFunctionCode", "app", ZipFile=zipped("other = 1"))
    assert await api.call("GetFunctionConfiguration", "app", Qualifier="1") == version
    one, latest = api.catalog.resolve("app", "1"), api.catalog.resolve("app")
    assert (one.timeout, latest.timeout) == (7, 9)
    assert one.root != latest.root
    assert one.key != latest.key


@asynchronous
async def test_nothing_new_is_no_new_version(api: Management) -> None:
    await published(api, 1)
    again = await api.call("PublishVersion", "app", Description="another")
    assert (again["Version"], again["Description"]) == ("1", "number 1")
    await api.call("UpdateFunctionConfiguration", "app", Description="number 1")
    assert (await api.call("PublishVersion", "app"))["Version"] == "1", "the same values are no change"
    await api.call("UpdateFunctionConfiguration", "app", Description="number 2")
    assert (await api.call("PublishVersion", "app"))["Version"] == "2"
    assert (await api.call("PublishVersion", "app"))["Version"] == "2"


@asynchronous
async def test_only_what_was_expected_is_published(api: Management) -> None:
    await api.create()
    shown = await api.call("GetFunctionConfiguration", "app")
    refused = await api.refused("PublishVersion", "app", RevisionId="wrong")
    assert refused == (412, "PreconditionFailedException", REVISION)
    message = (
        f"CodeSHA256 (wrong) is different from current CodeSHA256 in $LATEST ({shown['CodeSha256']})."
        " Please try again with the CodeSHA256 in $LATEST."
    )
    assert await api.refused("PublishVersion", "app", CodeSha256="wrong") == (400, INVALID, message)
    version = await api.call(
        "PublishVersion", "app", RevisionId=shown["RevisionId"], CodeSha256=shown["CodeSha256"]
    )
    assert version["Version"] == "1"
    after = await api.call("GetFunctionConfiguration", "app")
    assert len({shown["RevisionId"], version["RevisionId"], after["RevisionId"]}) == 3


@asynchronous
async def test_a_folder_is_copied(api: Management, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "app.py").write_text("one = 1\n")
    code = {"S3Bucket": "hot-reload", "S3Key": str(folder)}
    created = await api.create(Code=code, Publish=True)
    assert created["Version"] == "1"
    assert created["CodeSha256"]
    (folder / "app.py").write_text("two = 2\n")
    assert (Path(api.catalog.resolve("app", "1").root) / "app.py").read_text() == "one = 1\n"
    assert (await api.call("PublishVersion", "app"))["Version"] == "2"
    assert (await api.call("PublishVersion", "app"))["Version"] == "2"
    (folder / "app.py").unlink()
    folder.rmdir()
    status, code_name, _ = await api.refused("PublishVersion", "app")
    assert (status, code_name) == (400, INVALID)


@asynchronous
async def test_the_function_of_the_command_line_is_copied(api: Management, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "app.py").write_text("one = 1\n")
    settings = {"Handler": "app.handler", "Runtime": PYTHON, "Timeout": 900, "MemorySize": 1024}
    entry = Entry("app", Version(LATEST, settings, Code("", 0, str(folder)), 1.0), target=True)
    await api.catalog.add(entry)
    assert (await api.call("PublishVersion", "app"))["Version"] == "1"
    async with api.catalog.edit("app") as restarted:
        restarted.latest = Version(LATEST, settings, Code("", 0, str(folder)), 2.0)
    assert (await api.call("PublishVersion", "app"))["Version"] == "1", "another start is no change"
    await api.call("CreateAlias", "app", Name="live", FunctionVersion="1")
    assert api.catalog.resolve("app", "live").root != str(folder)
    await api.call("DeleteAlias", "app", Name="live")
    await api.call("DeleteFunction", "app", Qualifier="1")


@asynchronous
async def test_versions_in_pages(api: Management) -> None:
    await published(api, 11)
    found: list[str] = []
    marker: dict[str, str] = {}
    for _ in itertools.count():
        reply = await api.call("ListVersionsByFunction", "app", MaxItems=5, **marker)
        found += [each["Version"] for each in reply["Versions"]]
        assert all(each["FunctionArn"] == f"{ARN}app:{each['Version']}" for each in reply["Versions"])
        assert not any("State" in each for each in reply["Versions"])
        if "NextMarker" not in reply:
            break
        marker = {"Marker": reply["NextMarker"]}
    assert found == [LATEST, *map(str, range(1, 12))]
    whole = await api.call("ListVersionsByFunction", f"{ARN}app")
    assert len(whole["Versions"]) == 12


# Aliases.


@asynchronous
async def test_an_alias_from_first_to_last(api: Management) -> None:
    await published(api)
    created = await api.call("CreateAlias", "app", Name="live", FunctionVersion="1", Description="any")
    revision = created.pop("RevisionId")
    assert created == {
        "AliasArn": f"{ARN}app:live",
        "Name": "live",
        "FunctionVersion": "1",
        "Description": "any",
    }
    assert await api.call("GetAlias", "app", Name="live") == {**created, "RevisionId": revision}
    key = api.catalog.resolve("app", "live").key
    updated = await api.call(
        "UpdateAlias", "app", Name="live", FunctionVersion="2", RevisionId=revision, RoutingConfig={}
    )
    assert (updated["FunctionVersion"], updated["Description"]) == ("2", "any")
    assert updated["RevisionId"] != revision
    assert api.catalog.resolve("app", "live").version == "2"
    assert api.catalog.resolve("app", "live").key != key
    described = await api.call("UpdateAlias", "app", Name="live", Description="")
    assert (described["FunctionVersion"], described["Description"]) == ("2", "")
    await api.call("DeleteAlias", "app", Name="live")
    await api.call("DeleteAlias", "app", Name="live")  # as on AWS, that is no error
    message = f"Cannot find alias arn: {ARN}app:live"
    assert await api.refused("GetAlias", "app", Name="live") == (404, MISSING, message)


@asynchronous
async def test_an_alias_of_latest_and_with_a_date(api: Management) -> None:
    await api.create()
    for name in ("2024-01-02", "a_B-9", "9a"):
        created = await api.call("CreateAlias", "app", Name=name, FunctionVersion=LATEST)
        assert (created["Name"], created["FunctionVersion"]) == (name, LATEST)
    assert api.catalog.resolve("app", "9a").version == LATEST


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"Name": "2024"}, (400, "ValidationException")),
        ({"Name": "a b"}, (400, "ValidationException")),
        ({"Name": "a" * 129}, (400, "ValidationException")),
        ({"Name": LATEST}, (400, "ValidationException")),
        ({"FunctionVersion": "live"}, (400, "ValidationException")),
        ({"FunctionVersion": "10"}, (404, MISSING, f"Function not found: {ARN}app:10")),
        ({"FunctionVersion": "$LATEST.PUBLISHED"}, (404, MISSING)),
        (
            {"Name": "taken"},
            (409, "ResourceConflictException", f"Alias already exists: {ARN}app:taken"),
        ),
        (
            {"RoutingConfig": {"AdditionalVersionWeights": {"2": 0.5}}},
            (
                400,
                INVALID,
                "RoutingConfig: weighted aliases are not built into Penstock; an alias points to one version",
            ),
        ),
        (
            {"RoutingConfig": {"AdditionalVersionWeights": {"2": 2}}},
            (
                400,
                "ValidationException",
                "1 validation error detected: Value '{2=2.0}' at 'routingConfig.additionalVersionWeights'"
                " failed to satisfy constraint: Map value must satisfy constraint: [Member must have value"
                " less than or equal to 1.0, Member must have value greater than or equal to 0.0, Member must"
                " not be null]",
            ),
        ),
    ],
    ids=str,
)
@asynchronous
async def test_aliases_that_cannot_be(api: Management, members: dict[str, Any], expected: Any) -> None:
    await published(api)
    await api.call("CreateAlias", "app", Name="taken", FunctionVersion="1")
    given = {"Name": "live", "FunctionVersion": "1", **members}
    refused = await api.refused("CreateAlias", "app", **given)
    assert refused[: len(expected)] == expected
    assert list(api.catalog.entry("app").aliases) == ["taken"]


@asynchronous
async def test_an_alias_that_is_not_there(api: Management) -> None:
    unknown = f"Function not found: {ARN}app:1"
    refused = await api.refused("CreateAlias", "app", Name="live", FunctionVersion="1")
    assert refused == (404, MISSING, unknown)
    message = f"Cannot find alias arn: {ARN}app:live"
    assert await api.refused("GetAlias", "app", Name="live") == (404, MISSING, message)
    await published(api)
    message = f"Alias not found: {ARN}app:live"
    assert await api.refused("UpdateAlias", "app", Name="live") == (404, MISSING, message)
    await api.call("CreateAlias", "app", Name="live", FunctionVersion="1")
    refused = await api.refused("UpdateAlias", "app", Name="live", RevisionId="wrong")
    assert refused == (412, "PreconditionFailedException", REVISION)
    missing = f"Function not found: {ARN}app:9"
    refused = await api.refused("UpdateAlias", "app", Name="live", FunctionVersion="9")
    assert refused == (404, MISSING, missing)
    assert api.catalog.entry("app").aliases["live"].version == "1"


@asynchronous
async def test_what_was_set_for_an_alias_goes_with_it(api: Management) -> None:
    await published(api)
    await api.call("CreateAlias", "app", Name="live", FunctionVersion="1")
    await api.call("CreateFunctionUrlConfig", "app", Qualifier="live", AuthType="NONE")
    await api.call("PutFunctionEventInvokeConfig", "app", Qualifier="live", MaximumRetryAttempts=1)
    await api.call("DeleteAlias", "app", Name="live")
    entry = api.catalog.entry("app")
    assert (entry.urls, entry.event_invoke) == ({}, {})


@asynchronous
async def test_an_alias_with_provisioned_environments_moves_to_versions_that_may_have_them(
    api: Management,
) -> None:
    await api.create(Publish=True)
    await api.call("UpdateFunctionConfiguration", "app", Description="another")
    assert (await api.call("PublishVersion", "app"))["Version"] == "2"
    for alias in ("live", "other"):
        await api.call("CreateAlias", "app", Name=alias, FunctionVersion="1")
    for qualifier in ("live", "2"):
        await api.call(
            "PutProvisionedConcurrencyConfig", "app", Qualifier=qualifier, ProvisionedConcurrentExecutions=1
        )
    assert await api.refused("UpdateAlias", "app", Name="live", FunctionVersion="$LATEST") == (
        400,
        "InvalidParameterValueException",
        "Provisioned Concurrency Configs cannot be applied to unpublished function versions.",
    )
    assert await api.refused("UpdateAlias", "app", Name="live", FunctionVersion="2") == (
        409,
        "ResourceConflictException",
        "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version",
    )
    await api.call("UpdateAlias", "app", Name="other", FunctionVersion="2")  # it has none itself
    await api.call("DeleteAlias", "app", Name="other")
    await api.call("DeleteFunction", "app", Qualifier="2")
    await api.call("UpdateAlias", "app", Name="live", Description="the one")
    assert [count for _, count in api.catalog.provisioned("app")] == [1]
    await api.call("DeleteAlias", "app", Name="live")
    assert api.catalog.provisions() == []


@asynchronous
async def test_aliases_in_pages(api: Management) -> None:
    await published(api)
    for number, name in enumerate(("c", "a", "b")):
        await api.call("CreateAlias", "app", Name=name, FunctionVersion=str(number % 2 + 1))
    first = await api.call("ListAliases", "app", MaxItems=2)
    assert [each["Name"] for each in first["Aliases"]] == ["a", "b"]
    second = await api.call("ListAliases", "app", MaxItems=2, Marker=first["NextMarker"])
    assert [each["Name"] for each in second["Aliases"]] == ["c"]
    assert "NextMarker" not in second
    of_one = await api.call("ListAliases", "app", FunctionVersion="1")
    assert [each["Name"] for each in of_one["Aliases"]] == ["b", "c"]
    assert await api.call("ListAliases", "app", FunctionVersion="7") == {"Aliases": []}
