import asyncio
import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from management_kit import ARN, PYTHON, ROLE, Management, zipped
from penstock.service import runtimes
from penstock.service.api import app, download, functions
from penstock.service.api.errors import ApiError
from penstock.service.catalog import Entry, Version
from penstock.service.code import Code
from penstock.service.functions import LATEST
from settings_kit import asynchronous

INVALID = "InvalidParameterValueException"
PATTERN = "Member must satisfy regular expression pattern"
REVISION = (
    "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to"
    " retrieve the latest Revision Id"
)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Management]:
    opened = Management(tmp_path)
    yield opened
    opened.close()


# Created.


@asynchronous
async def test_a_function_is_created_and_ready_at_the_first_look(api: Management) -> None:
    created = await api.create(Description="any", Timeout=7, MemorySize=256, Tags={"a": "b"})
    assert (created["FunctionArn"], created["Version"]) == (f"{ARN}app", LATEST)
    assert (created["State"], created["StateReasonCode"]) == ("Pending", "Creating")
    assert "LastUpdateStatus" not in created
    found = await api.call("GetFunction", "app")
    shown = found["Configuration"]
    assert (shown["State"], shown["LastUpdateStatus"]) == ("Active", "Successful")
    assert shown["RevisionId"] != created["RevisionId"]
    assert found["Tags"] == {"a": "b"}
    ours = {"State", "StateReason", "StateReasonCode", "LastUpdateStatus", "RevisionId"}
    assert {k: v for k, v in shown.items() if k not in ours} == {
        k: v for k, v in created.items() if k not in ours
    }
    assert await api.call("GetFunctionConfiguration", "app") == shown
    function = api.catalog.resolve("app")
    assert (function.handler, function.timeout, function.memory_mb) == ("app.handler", 7, 256)
    assert (Path(function.root) / "app.py").read_text().startswith("def handler")
    assert shown["CodeSize"] == len(zipped())


@asynchronous
async def test_what_was_created_is_there_after_a_restart(api: Management, tmp_path: Path) -> None:
    await api.create(Environment={"Variables": {"AB": "c"}}, Publish=True)
    shown = await api.call("GetFunction", "app")
    await api.store.close()
    again = Management(tmp_path)
    assert (await again.call("GetFunction", "app"))["Configuration"] == shown["Configuration"]
    assert again.catalog.resolve("app", "1").environment == {"AB": "c"}
    await again.store.close()
    api.close = lambda: None  # type: ignore[method-assign]


@asynchronous
async def test_created_and_published(api: Management) -> None:
    created = await api.create(Publish=True)
    assert (created["Version"], created["FunctionArn"]) == ("1", f"{ARN}app"), "as AWS has it"
    one = (await api.call("GetFunction", "app", Qualifier="1"))["Configuration"]
    assert (one["FunctionArn"], one["State"]) == (f"{ARN}app:1", "Active")
    latest = (await api.call("GetFunction", "app", Qualifier=LATEST))["Configuration"]
    assert latest["FunctionArn"] == f"{ARN}app:$LATEST"


@pytest.mark.parametrize(
    "name", ["app", "000000000000:function:app", f"{ARN}app", "function:app", f"{ARN}app:$LATEST"]
)
@asynchronous
async def test_names_and_arns(api: Management, name: str) -> None:
    assert (await api.create(name))["FunctionName"] == "app"
    shown = await api.call("GetFunctionConfiguration", name)
    assert shown["FunctionName"] == "app"
    await api.call("UpdateFunctionConfiguration", name, Timeout=9)
    await api.call("UpdateFunctionCode", name, ZipFile=zipped())
    assert (await api.call("PublishVersion", name))["Version"] == "1"


@asynchronous
async def test_a_name_that_is_taken(api: Management) -> None:
    await api.create()
    assert await api.refuse() == (409, "ResourceConflictException", "Function already exist: app")
    results = await asyncio.gather(*(api.create("other") for _ in range(5)), return_exceptions=True)
    errors = [each for each in results if isinstance(each, BaseException)]
    assert [str(error) for error in errors] == ["Function already exist: other"] * 4


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"Role": "r1"}, f"Value 'r1' at 'role' failed to satisfy constraint: {PATTERN}"),
        ({"Timeout": 901}, "Member must have value less than or equal to 900"),
        ({"Timeout": 0}, "Value '0' at 'timeout' failed to satisfy constraint"),
        ({"MemorySize": 64}, "Value '64' at 'memorySize' failed to satisfy constraint: Member must have"),
        ({"MemorySize": 10_241}, "Member must have value less than or equal to 10240"),
        ({"Handler": "two words"}, "Value 'two words' at 'handler'"),
        ({"Architectures": ["x86_64", "arm64"]}, "Value '[x86_64, arm64]' at 'architectures'"),
        ({"Architectures": ["X86_64"]}, "Member must satisfy enum value set: [x86_64, arm64], Member"),
        ({"SnapStart": {"ApplyOn": "any"}}, "Value 'any' at 'snapStart.applyOn'"),
        ({"EphemeralStorage": {"Size": 1}}, "Value '1' at 'ephemeralStorage.size'"),
        ({"EphemeralStorage": {}}, "Value null at 'ephemeralStorage.size'"),
        ({"Environment": {"Variables": {"1": ""}}}, "Value at 'environment.variables' failed"),
        ({"Environment": {"Variables": {"_HANDLER": ""}}}, "Value at 'environment.variables' failed"),
        ({"Tags": {"a!": ""}}, "Value '{a!=}' at 'tags' failed"),
        ({"TenancyConfig": {}}, "Value null at 'tenancyConfig.tenantIsolationMode'"),
        ({"LoggingConfig": {"LogFormat": "XML"}}, "Value 'XML' at 'loggingConfig.logFormat'"),
        ({"VpcConfig": {"SubnetIds": ["x"]}}, "Value '[x]' at 'vpcConfig.subnetIds' failed"),
        ({"DeadLetterConfig": {"TargetArn": "x"}}, "Value 'x' at 'deadLetterConfig.targetArn'"),
        ({"Description": "x" * 257}, "Member must have length less than or equal to 256"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
@asynchronous
async def test_constraints(api: Management, members: dict[str, Any], message: str) -> None:
    status, code, text = await api.refuse(**members)
    assert (status, code) == (400, "ValidationException")
    assert text.startswith("1 validation error detected: Value ")
    assert message in text
    assert "app" not in api.catalog


@asynchronous
async def test_a_body_that_says_nothing(api: Management) -> None:
    with pytest.raises(ApiError) as caught:
        await api.ask("POST", "/2015-03-31/functions", "", b"{}")
    begin, _, rest = str(caught.value).partition(" detected: ")
    assert begin == "3 validation errors"
    for member in ("functionName", "role", "code"):
        assert f"Value null at '{member}' failed to satisfy constraint: Member must not be null" in rest


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "InvalidRequestContentException"),
        (b'{"Timeout": "3"}', "SerializationException"),
        (b'{"Code": {"ZipFile": "%"}}', "SerializationException"),
    ],
)
@asynchronous
async def test_a_body_of_another_form(api: Management, body: bytes, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        await api.ask("POST", "/2015-03-31/functions", "", body)
    assert (caught.value.status, caught.value.code) == (400, code)


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("*", 400, "ValidationException"),
        ("a" * 65, 400, INVALID),
        ("a" * 141, 400, "ValidationException"),
        ("../escape", 400, "ValidationException"),
        ("arn:aws:lambda:eu-west-1:000000000000:function:app", 404, "ResourceNotFoundException"),
        ("arn:aws:lambda:us-east-1:111111111111:function:app", 403, "AccessDeniedException"),
        ("app:1", 400, INVALID),
    ],
)
@asynchronous
async def test_names_that_are_none(api: Management, name: str, status: int, code: str) -> None:
    assert (await api.refuse(name))[:2] == (status, code)
    assert api.catalog.entries() == []


@asynchronous
async def test_a_runtime_that_is_not_here(api: Management, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "find_node", lambda runtime: None)
    status, code, message = await api.refuse(Runtime="nodejs22.x", Handler="index.handler")
    assert (status, code) == (400, INVALID)
    assert "penstock runtimes install" in message
    assert (await api.refuse(Runtime="java21"))[1] == INVALID
    await api.create()
    refused = await api.refused("UpdateFunctionConfiguration", "app", Runtime="nodejs22.x")
    assert refused == (400, INVALID, message)
    assert api.catalog.resolve("app").runtime == PYTHON


@asynchronous
async def test_tags_of_a_new_function(api: Management) -> None:
    too_many = {str(number): "" for number in range(51)}
    assert await api.refuse(Tags=too_many) == (400, INVALID, "Number of tags exceeds resource tag limit.")


# Code.


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ({}, "Please provide a source for function code."),
        ({"ZipFile": b""}, "Uploaded file must be a non-empty zip"),
        (
            {"ZipFile": b"no zip"},
            "Could not unzip uploaded file. Please check your file, then try to upload again.",
        ),
        (
            {"ZipFile": b"x", "S3Bucket": "bucket", "S3Key": "key"},
            "Please do not provide other FunctionCode parameters when providing a ZipFile.",
        ),
        ({"S3Bucket": "bucket", "S3Key": "key"}, functions._SOURCES),
        ({"S3Bucket": "hot-reload", "S3Key": "relative/folder"}, functions._SOURCES),
        ({"S3Bucket": "hot-reload"}, functions._SOURCES),
    ],
)
@asynchronous
async def test_code_that_is_none(api: Management, code: dict[str, Any], message: str) -> None:
    assert await api.refuse(Code=code) == (400, INVALID, message)
    await api.create()
    assert await api.refused("UpdateFunctionCode", "app", **code) == (400, INVALID, message)
    assert api.catalog.entry("app").latest.code.size == len(zipped())


@asynchronous
async def test_images(api: Management) -> None:
    message = "Please don't provide ImageUri when {} a function with packageType Zip."
    assert await api.refuse(Code={"ImageUri": "x"}) == (400, INVALID, message.format("creating"))
    await api.create()
    refused = await api.refused("UpdateFunctionCode", "app", ImageUri="x")
    assert refused == (400, INVALID, message.format("updating"))


@asynchronous
async def test_a_zip_that_is_too_large(api: Management, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.service.code.ZIPPED", 10)
    message = "Zipped size must be smaller than 10 bytes"
    assert await api.refuse() == (413, "RequestEntityTooLargeException", message)
    monkeypatch.setattr("penstock.service.code.ZIPPED", 1000)
    monkeypatch.setattr("penstock.service.code.UNZIPPED", 10)
    assert await api.refuse() == (400, INVALID, "Unzipped size must be smaller than 10 bytes")


@asynchronous
async def test_a_large_zip_is_read_beside_the_loop(api: Management) -> None:
    source = "".join(str(number) for number in range(100_000))  # stored, not deflated
    await api.create(Code={"ZipFile": zipped(source)})
    assert (Path(api.catalog.resolve("app").root) / "app.py").read_text() == source
    status, code, _ = await api.refuse("other", Code={"ZipFile": zipped(source)}, Timeout=901)
    assert (status, code) == (400, "ValidationException")


def large(body: dict[str, Any]) -> functions.ApiRequest:
    return functions.ApiRequest("CreateFunction", {}, body=json.dumps(body).encode())


@asynchronous
async def test_a_large_zip_may_be_escaped(api: Management) -> None:
    """Some clients write a slash as \\/, as JSON allows."""
    code = zipped(bytes(range(256)).decode("latin-1") * 2000)
    text = base64.b64encode(code).decode()
    assert "/" in text
    request = large({"FunctionName": "app", "Role": ROLE, "Runtime": PYTHON, "Handler": "app.handler"})
    body = request.body[:-1] + b', "Code": {"ZipFile": "' + text.replace("/", "\\/").encode() + b'"}}'
    reply = await api.handlers["CreateFunction"](replace(request, body=body))
    assert reply.document is not None
    assert reply.document["CodeSize"] == len(code)


@pytest.mark.parametrize(
    "body",
    [
        {"Description": "x" * 400_000},
        {"Code": {"ZipFile": "eA==", "S3Key": "x" * 400_000}},
        {"Code": {"ZipFile": "eA==" * 100_000}, "Tags": {f"key{number}": "" for number in range(20_000)}},
        {"Tags": {f"key{number}": "" for number in range(40_000)}, "Code": {"ZipFile": "eA=="}},
    ],
)
@asynchronous
async def test_what_is_large_is_the_zip(api: Management, body: dict[str, Any]) -> None:
    given = {"FunctionName": "app", "Role": ROLE, "Code": {}, **body}
    with pytest.raises(ApiError) as refused:
        await api.handlers["CreateFunction"](large(given))
    assert (refused.value.status, refused.value.code) in {
        (413, "RequestEntityTooLargeException"),
        (400, "ValidationException"),  # of what stands in for it
    }


@pytest.mark.parametrize("text", ["x" * 300_001, "é" * 300_000, "\ud800" * 100_000])
@asynchronous
async def test_a_large_zip_that_is_no_base64(api: Management, text: str) -> None:
    given = {"FunctionName": "app", "Role": ROLE, "Code": {"ZipFile": text}}
    plain = json.dumps(given, ensure_ascii=False).encode(errors="surrogatepass")
    for body in (json.dumps(given).encode(), plain):
        with pytest.raises(ApiError) as refused:
            await api.handlers["CreateFunction"](functions.ApiRequest("CreateFunction", {}, body=body))
        assert refused.value.status == 400


@asynchronous
async def test_a_disk_that_is_full(api: Management, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(data: bytes) -> Code:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(api.catalog.codes, "add_zip", full)
    status, code, message = await api.refuse()
    assert (status, code) == (500, "ServiceException")
    assert message.endswith("No space left on device")


@asynchronous
async def test_a_folder_is_run_where_it_is(api: Management, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "app.py").write_text("def handler(event, context): return 1\n")
    code = {"S3Bucket": "hot-reload", "S3Key": str(folder)}
    created = await api.create(Code=code)
    assert (created["CodeSize"], created["CodeSha256"]) == (0, "")
    before = api.catalog.resolve("app")
    assert Path(before.root) == folder
    (folder / "app.py").write_text("def handler(event, context): return 1234567\n")
    assert api.catalog.resolve("app").generation != before.generation
    where = (await api.call("GetFunction", "app"))["Code"]
    assert where == {"RepositoryType": "Folder", "Location": folder.as_uri()}
    await api.call("UpdateFunctionCode", "app", ZipFile=zipped())
    await api.call("UpdateFunctionCode", "app", **code)
    missing = {"S3Bucket": "hot-reload", "S3Key": str(tmp_path / "missing")}
    status, error, message = await api.refused("UpdateFunctionCode", "app", **missing)
    assert (status, error) == (400, INVALID)
    assert "No such file" in message


@asynchronous
async def test_where_the_code_can_be_had(api: Management) -> None:
    await api.create()
    reply = await api.handlers["GetFunction"](
        functions.ApiRequest("GetFunction", {"FunctionName": "app"}, {}, b"", "localhost:3001")
    )
    assert reply.document is not None
    code = reply.document["Code"]
    assert code["RepositoryType"] == "S3"
    address = urlsplit(code["Location"])
    assert (address.scheme, address.netloc) == ("http", "localhost:3001")
    assert address.path.startswith(f"{app.OWN_PREFIX}code/")
    digest = address.path.rpartition("/")[2]
    query = parse_qs(address.query)
    sha256 = download.check_location(digest, query, 0)
    zip_path = api.catalog.codes.zip_path(sha256)
    assert zip_path is not None
    assert zip_path.read_bytes() == zipped()


# Changed.


@asynchronous
async def test_code_is_replaced(api: Management) -> None:
    await api.create()
    before = api.catalog.resolve("app")
    updated = await api.call(
        "UpdateFunctionCode", "app", ZipFile=zipped("other = 1"), Architectures=["arm64"]
    )
    assert (updated["LastUpdateStatus"], updated["LastUpdateStatusReasonCode"]) == ("InProgress", "Creating")
    assert updated["Architectures"] == ["arm64"]
    shown = await api.call("GetFunctionConfiguration", "app")
    assert (shown["LastUpdateStatus"], shown["CodeSha256"]) == ("Successful", updated["CodeSha256"])
    assert shown["LastModified"] >= updated["LastModified"]
    after = api.catalog.resolve("app")
    assert after.generation != before.generation
    assert (Path(after.root) / "app.py").read_text() == "other = 1"


@asynchronous
async def test_the_same_again_changes_the_revision_only(api: Management) -> None:
    await api.create()
    before = (
        api.catalog.resolve("app").key,
        (await api.call("GetFunctionConfiguration", "app"))["RevisionId"],
    )
    await api.call("UpdateFunctionCode", "app", ZipFile=zipped())
    await api.call("UpdateFunctionConfiguration", "app", Timeout=3)
    after = (
        api.catalog.resolve("app").key,
        (await api.call("GetFunctionConfiguration", "app"))["RevisionId"],
    )
    assert after[0] == before[0], "environments are used on"
    assert after[1] != before[1]


@asynchronous
async def test_a_dry_run_changes_nothing(api: Management) -> None:
    await api.create()
    before = await api.call("GetFunctionConfiguration", "app")
    other = zipped("other = 1")
    reply = await api.call("UpdateFunctionCode", "app", ZipFile=other, DryRun=True, Publish=True)
    assert reply["CodeSha256"] != before["CodeSha256"]
    assert await api.call("GetFunctionConfiguration", "app") == before
    refused = await api.refused("UpdateFunctionCode", "app", ZipFile=b"no zip", DryRun=True)
    assert refused[1] == INVALID


@asynchronous
async def test_code_is_replaced_and_published(api: Management) -> None:
    await api.create()
    updated = await api.call("UpdateFunctionCode", "app", ZipFile=zipped("other = 1"), Publish=True)
    assert (updated["Version"], updated["FunctionArn"], updated["State"]) == ("1", f"{ARN}app:1", "Pending")
    again = await api.call("UpdateFunctionCode", "app", ZipFile=zipped("other = 1"), Publish=True)
    assert again["Version"] == "1", "nothing has changed"
    third = await api.call("UpdateFunctionCode", "app", ZipFile=zipped("other = 2"), Publish=True)
    assert third["Version"] == "2"


@asynchronous
async def test_configuration_is_changed(api: Management) -> None:
    await api.create(Environment={"Variables": {"AB": "c"}})
    before = api.catalog.resolve("app")
    updated = await api.call(
        "UpdateFunctionConfiguration",
        "app",
        Timeout=9,
        Handler="app.other",
        LoggingConfig={"LogFormat": "JSON"},
        VpcConfig={"SubnetIds": [], "SecurityGroupIds": []},
        Layers=[],
    )
    assert updated["LastUpdateStatus"] == "InProgress"
    shown = await api.call("GetFunctionConfiguration", "app")
    assert (shown["Timeout"], shown["Handler"]) == (9, "app.other")
    assert shown["Environment"] == {"Variables": {"AB": "c"}}
    assert shown["LoggingConfig"]["ApplicationLogLevel"] == "INFO"
    after = api.catalog.resolve("app")
    assert (after.timeout, after.handler, after.log_format) == (9, "app.other", "JSON")
    assert after.generation != before.generation


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("UpdateFunctionCode", {"ZipFile": zipped("other = 1")}),
        ("UpdateFunctionConfiguration", {"Timeout": 9}),
    ],
)
@asynchronous
async def test_revisions(api: Management, operation: str, members: dict[str, Any]) -> None:
    created = await api.create()
    refused = (412, "PreconditionFailedException", REVISION)
    assert await api.refused(operation, "app", **members, RevisionId="wrong") == refused
    assert await api.refused(operation, "app", **members, RevisionId=created["RevisionId"]) == refused
    shown = await api.call("GetFunctionConfiguration", "app")
    await api.call(operation, "app", **members, RevisionId=shown["RevisionId"])
    assert await api.refused(operation, "app", **members, RevisionId=shown["RevisionId"]) == refused


@asynchronous
async def test_changes_at_once_wait_for_each_other(api: Management) -> None:
    await api.create()
    changes = [
        api.call("UpdateFunctionConfiguration", "app", Description=str(number)) for number in range(20)
    ] + [api.call("UpdateFunctionConfiguration", "app", Timeout=9)]
    await asyncio.gather(*changes)
    shown = await api.call("GetFunctionConfiguration", "app")
    assert (shown["Description"], shown["Timeout"]) == ("19", 9)


@pytest.mark.parametrize("operation", ["UpdateFunctionCode", "UpdateFunctionConfiguration", "PublishVersion"])
@asynchronous
async def test_a_version_cannot_be_changed(api: Management, operation: str) -> None:
    await api.create(Publish=True)
    status, code, message = await api.refused(operation, "app:1")
    assert (status, code) == (400, INVALID)
    assert message.startswith("This operation is permitted on Lambda functions only.")


@asynchronous
async def test_layers_and_the_like(api: Management) -> None:
    await api.create()
    arn = "arn:aws:lambda:us-east-1:000000000000:layer:any:1"
    status, code, message = await api.refused("UpdateFunctionConfiguration", "app", Layers=[arn])
    assert (status, code) == (400, INVALID)
    assert "layers are not built into Penstock" in message
    for operation in ("UpdateFunctionCode", "PublishVersion"):
        message = (await api.refused(operation, "app", PublishTo="LATEST_PUBLISHED"))[2]
        assert message.startswith("PublishTo: $LATEST.PUBLISHED is not built into Penstock")


# Found, listed.


@asynchronous
async def test_what_is_not_there(api: Management) -> None:
    code = "ResourceNotFoundException"
    for operation in (
        "GetFunction",
        "GetFunctionConfiguration",
        "UpdateFunctionConfiguration",
        "DeleteFunction",
        "PublishVersion",
        "ListVersionsByFunction",
        "ListAliases",
    ):
        assert await api.refused(operation, "app") == (404, code, f"Function not found: {ARN}app")
    refused = await api.refused("UpdateFunctionCode", "app", ZipFile=zipped())
    assert refused == (404, code, f"Function not found: {ARN}app")
    await api.create()
    for qualifier in ("1221", "nosuchalias", "$LATEST.PUBLISHED"):
        message = f"Function not found: {ARN}app:{qualifier}"
        for operation in ("GetFunction", "GetFunctionConfiguration"):
            assert await api.refused(operation, "app", Qualifier=qualifier) == (404, code, message)
    mismatch = "The derived qualifier from the function name does not match the specified qualifier."
    assert await api.refused("GetFunction", "app:1", Qualifier="2") == (400, INVALID, mismatch)
    assert (await api.refused("GetFunction", "app", Qualifier="a!"))[1] == "ValidationException"


@asynchronous
async def test_an_alias_shows_its_version(api: Management) -> None:
    await api.create(Publish=True)
    await api.call("CreateAlias", "app", Name="live", FunctionVersion="1")
    shown = (await api.call("GetFunction", "app", Qualifier="live"))["Configuration"]
    assert (shown["FunctionArn"], shown["Version"]) == (f"{ARN}app:live", "1")
    assert (await api.call("GetFunction", f"{ARN}app:live"))["Configuration"] == shown


@asynchronous
async def test_reserved_concurrency_is_shown(api: Management) -> None:
    await api.create()
    assert "Concurrency" not in await api.call("GetFunction", "app")
    await api.call("PutFunctionConcurrency", "app", ReservedConcurrentExecutions=0)
    shown = await api.call("GetFunction", "app")
    assert shown["Concurrency"] == {"ReservedConcurrentExecutions": 0}


@asynchronous
async def test_lists_in_pages(api: Management) -> None:
    assert await api.call("ListFunctions") == {"Functions": []}
    for name in ("b", "a", "a-b", "c"):
        await api.create(name, Publish=name == "a")
    listed = (await api.call("ListFunctions"))["Functions"]
    assert [each["FunctionName"] for each in listed] == ["a", "a-b", "b", "c"]
    assert listed[0]["FunctionArn"] == f"{ARN}a"
    assert not listed[0].keys() & {"State", "LastUpdateStatus", "RuntimeVersionConfig"}
    found, marker = [], {}
    while True:
        reply = await api.call("ListFunctions", FunctionVersion="ALL", MaxItems=2, **marker)
        found += [each["FunctionArn"].removeprefix(ARN) for each in reply["Functions"]]
        if "NextMarker" not in reply:
            break
        assert len(reply["Functions"]) == 2
        marker = {"Marker": reply["NextMarker"]}
    assert found == ["a:$LATEST", "a:1", "a-b:$LATEST", "b:$LATEST", "c:$LATEST"]


@pytest.mark.parametrize(
    ("members", "code", "message"),
    [
        (
            {"FunctionVersion": "invalid"},
            "ValidationException",
            "1 validation error detected: Value 'invalid' at 'functionVersion' failed to satisfy constraint:"
            " Member must satisfy enum value set: [ALL]",
        ),
        ({"Marker": "made up"}, INVALID, "Invalid Marker"),
    ],
)
@asynchronous
async def test_lists_of_another_form(api: Management, members: Any, code: str, message: str) -> None:
    assert await api.refused("ListFunctions", **members) == (400, code, message)


@asynchronous
async def test_pages_have_fifty_at_most(api: Management) -> None:
    await api.create("f000")
    code = api.catalog.entry("f000").latest
    for number in range(1, 60):
        await api.catalog.add(Entry(f"f{number:03}", Version(LATEST, code.configuration, code.code, 1.0)))
    for members in ({}, {"MaxItems": 50}, {"MaxItems": 10_000}):
        assert len((await api.call("ListFunctions", **members))["Functions"]) == 50
    for wrong in (0, 10_001):
        assert (await api.refused("ListFunctions", MaxItems=wrong))[1] == "ValidationException"


# Deleted.


@asynchronous
async def test_a_function_is_deleted_with_all_it_has(api: Management) -> None:
    await api.create(Publish=True)
    await api.call("CreateAlias", "app", Name="live", FunctionVersion="1")
    await api.call("DeleteFunction", "app")
    assert "app" not in api.catalog
    assert (await api.refused("DeleteFunction", "app"))[0] == 404
    await api.create()
    assert (await api.call("ListVersionsByFunction", "app"))["Versions"][0]["Version"] == LATEST
    assert await api.call("ListAliases", "app") == {"Aliases": []}


@asynchronous
async def test_a_version_is_deleted(api: Management) -> None:
    await api.create(Publish=True)
    await api.call("CreateAlias", "app", Name="live", FunctionVersion="1")
    status, code, message = await api.refused("DeleteFunction", "app", Qualifier="1")
    assert (status, code) == (409, "ResourceConflictException")
    assert "live" in message
    await api.call("DeleteAlias", "app", Name="live")
    await api.call("DeleteFunction", "app", Qualifier="1")
    await api.call("DeleteFunction", f"{ARN}app:1")  # as on AWS, that is no error
    assert list(api.catalog.entry("app").versions) == []
    assert (await api.call("PublishVersion", "app"))["Version"] == "2", "numbers are not used twice"


@asynchronous
async def test_what_cannot_be_deleted(api: Management) -> None:
    latest = (400, INVALID, "$LATEST version cannot be deleted without deleting the function.")
    assert await api.refused("DeleteFunction", "some-function", Qualifier=LATEST) == latest
    alias = (400, INVALID, "Deletion of aliases is not currently supported.")
    assert await api.refused("DeleteFunction", "app", Qualifier="live") == alias
    await api.create()
    missing = (404, "ResourceNotFoundException", f"Function not found: {ARN}app")
    assert await api.refused("DeleteFunction", "app", Qualifier="$latest") == missing
    assert "app" in api.catalog


# The function that was given on the command line.


@asynchronous
async def test_target_is_not_the_api_s_to_change(api: Management, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def handler(event, context): return 1\n")
    settings = {"Handler": "app.handler", "Runtime": PYTHON, "Timeout": 900, "MemorySize": 1024}
    version = Version(LATEST, settings, Code("", 0, str(tmp_path)), 1.0)
    await api.catalog.add(Entry("app", version, target=True))
    for operation, members in [
        ("UpdateFunctionCode", {"ZipFile": zipped()}),
        ("UpdateFunctionConfiguration", {"Timeout": 3}),
        ("DeleteFunction", {}),
    ]:
        status, code, message = await api.refused(operation, "app", **members)
        assert (status, code) == (409, "ResourceConflictException")
        assert "on its command line" in message
    shown = await api.call("GetFunction", "app")
    assert shown["Code"]["Location"] == tmp_path.as_uri()
    assert shown["Configuration"]["Timeout"] == 900
    await api.call("ListFunctions", FunctionVersion="ALL")
    await api.call("PutFunctionConcurrency", "app", ReservedConcurrentExecutions=1)
