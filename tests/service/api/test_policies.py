"""Permissions: statements as AWS makes them, policies as it shows them, and what it says of mistakes."""

import json
from typing import Any

import pytest

from penstock.service.api import policies
from penstock.service.functions import LATEST
from penstock.service.store import StoreError
from settings_kit import ARN, Api, asynchronous, compare

ALLOW = {"StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
INVALID = "The provided principal was invalid. Please check the principal and try again."


def test_members_are_those_of_the_model() -> None:
    compare(policies._ADD, "AddPermission")
    compare(policies._REMOVE, "RemovePermission")


async def add(api: Api, name: str = "app", **members: Any) -> dict[str, Any]:
    """The statement that was made."""
    answer = await api.call("AddPermission", name, **ALLOW | members)
    assert answer.keys() == {"Statement"}
    statement: dict[str, Any] = json.loads(answer["Statement"])
    return statement


@asynchronous
async def test_statements(api: Api) -> None:
    await api.add()
    arn = "arn:aws:s3:::a-bucket"
    statement = await add(api, SourceArn=arn)
    assert statement == {
        "Sid": "s3",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": f"{ARN}app",
        "Condition": {"ArnLike": {"AWS:SourceArn": arn}},
    }
    assert list(statement) == ["Sid", "Effect", "Principal", "Action", "Resource", "Condition"]
    everything = await add(
        api,
        StatementId="all",
        Principal="*",
        Action="lambda:InvokeFunctionUrl",
        SourceArn=arn,
        SourceAccount="111111111111",
        EventSourceToken="amzn1.ask.skill.x",
        FunctionUrlAuthType="NONE",
        PrincipalOrgID="o-1234567890",
        InvokedViaFunctionUrl=True,
    )
    assert everything["Principal"] == "*"
    assert everything["Condition"] == {
        "StringEquals": {
            "AWS:SourceAccount": "111111111111",
            "lambda:FunctionUrlAuthType": "NONE",
            "aws:PrincipalOrgID": "o-1234567890",
            "lambda:EventSourceToken": "amzn1.ask.skill.x",
        },
        "Bool": {"lambda:InvokedViaFunctionUrl": "true"},
        "ArnLike": {"AWS:SourceArn": arn},
    }


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("*", "*"),
        ("111111111111", {"AWS": "arn:aws:iam::111111111111:root"}),
        ("arn:aws:iam::111111111111:user/me", {"AWS": "arn:aws:iam::111111111111:user/me"}),
        ("arn:aws:sts::111111111111:assumed-role/a/b", {"AWS": "arn:aws:sts::111111111111:assumed-role/a/b"}),
        ("apigateway.amazonaws.com", {"Service": "apigateway.amazonaws.com"}),
        ("alexa-appkit.amazon.com", {"Service": "alexa-appkit.amazon.com"}),
        ("logs.eu-central-1.amazonaws.com", {"Service": "logs.eu-central-1.amazonaws.com"}),
    ],
)
def test_principals(api: Api, given: str, shown: object) -> None:
    @asynchronous
    async def check() -> None:
        await api.add()
        assert (await add(api, Principal=given))["Principal"] == shown

    check()


@pytest.mark.parametrize("given", ["invalid.nonaws.com", "me", "12345", "arn:aws:s3:::b", "amazonaws.com"])
def test_no_principals(api: Api, given: str) -> None:
    @asynchronous
    async def check() -> None:
        await api.add()
        refused = await api.refused("AddPermission", "app", **ALLOW | {"Principal": given})
        assert refused == (400, "InvalidParameterValueException", INVALID)
        assert not api.catalog.entry("app").policies

    check()


@asynchronous
async def test_each_version_and_alias_has_a_policy_of_its_own(api: Api) -> None:
    await api.add()
    for name, arn in (("app", "app"), ("app:1", "app:1"), (f"{ARN}app:live", "app:live")):
        assert (await add(api, name))["Resource"] == f"{ARN}{arn}"
    await add(api, StatementId="more")
    shown = {}
    for qualifier in ("", "1", "live"):
        named = {"Qualifier": qualifier} if qualifier else {}
        answer = await api.call("GetPolicy", "app", **named)
        policy = json.loads(answer["Policy"])
        assert (policy["Version"], policy["Id"]) == ("2012-10-17", "default")
        shown[qualifier] = [(each["Sid"], each["Resource"]) for each in policy["Statement"]]
        assert " " not in answer["Policy"]
    assert shown == {
        "": [("s3", f"{ARN}app"), ("more", f"{ARN}app")],
        "1": [("s3", f"{ARN}app:1")],
        "live": [("s3", f"{ARN}app:live")],
    }


@asynchronous
async def test_statements_are_removed_and_with_the_last_one_the_policy(api: Api) -> None:
    await api.add()
    await add(api)
    await add(api, StatementId="more")
    assert await api.call("RemovePermission", "app", StatementId="s3") == {}
    assert await api.refused("RemovePermission", "app", StatementId="s3") == (
        404,
        "ResourceNotFoundException",
        "Statement s3 is not found in resource policy.",
    )
    await api.call("RemovePermission", "app", StatementId="more")
    assert await api.refused("RemovePermission", "app", StatementId="more") == (
        404,
        "ResourceNotFoundException",
        "No policy is associated with the given resource.",
    )
    nothing = (404, "ResourceNotFoundException", "The resource you requested does not exist.")
    assert await api.refused("GetPolicy", "app") == nothing
    assert await api.refused("GetPolicy", "app", Qualifier="1") == nothing
    assert await api.refused("GetPolicy", "no") == nothing
    assert api.catalog.entry("app").policies == {}


@asynchronous
async def test_revisions(api: Api) -> None:
    await api.add()
    functions = {"": {}, "1": {"Qualifier": "1"}, "live": {"Qualifier": "live"}}
    for qualifier, named in functions.items():
        generation = api.catalog.entry("app").latest.generation
        before = revision(api, qualifier)
        await add(api, **named)
        after = (await api.call("GetPolicy", "app", **named))["RevisionId"]
        assert after == revision(api, qualifier)
        assert after != before
        refused = await api.refused("AddPermission", "app", **ALLOW, **named, RevisionId=before)
        assert refused == (
            412,
            "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id."
            " Call the GetPolicy API to retrieve the latest Revision Id",
        )
        await add(api, StatementId="more", RevisionId=after, **named)
        gone = {"StatementId": "s3", **named}
        refused = await api.refused("RemovePermission", "app", **gone, RevisionId=after)
        assert refused[:2] == (412, "PreconditionFailedException")
        await api.call("RemovePermission", "app", **gone, RevisionId=revision(api, qualifier))
        assert api.catalog.entry("app").latest.generation == generation, "environments can stay"


@pytest.mark.parametrize("named", [{}, {"Qualifier": "1"}, {"Qualifier": "live"}])
@asynchronous
async def test_a_change_that_cannot_be_kept_has_not_been(
    api: Api, monkeypatch: pytest.MonkeyPatch, named: dict[str, str]
) -> None:
    await api.add()
    qualifier = named.get("Qualifier", "")
    before = revision(api, qualifier)

    async def full(job: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(api.store, "write", full)
    with pytest.raises(StoreError):
        await add(api, **named)
    assert revision(api, qualifier) == before
    assert api.catalog.entry("app").policies == {}


def revision(api: Api, qualifier: str) -> str:
    entry = api.catalog.entry("app")
    if qualifier in entry.aliases:
        return entry.aliases[qualifier].revision_id
    version = entry.version(qualifier)
    assert version is not None
    return version.revision_id


@asynchronous
async def test_twice_the_same_statement(api: Api) -> None:
    await api.add()
    await add(api)
    assert await api.refused("AddPermission", "app", **ALLOW) == (
        409,
        "ResourceConflictException",
        "The statement id (s3) provided already exists."
        " Please provide a new statement id, or remove the existing statement.",
    )


@asynchronous
async def test_what_is_not_there(api: Api) -> None:
    await api.add()
    for name, message in (
        ("no", f"Function not found: {ARN}no"),
        ("app:42", f"Function not found: {ARN}app:42"),
        ("app:never", f"Cannot find alias arn: {ARN}app:never"),
    ):
        assert await api.refused("AddPermission", name, **ALLOW) == (
            404,
            "ResourceNotFoundException",
            message,
        )
    for name, message in (
        ("no", f"No policy found for: {ARN}no"),
        ("app:never", f"Cannot find alias arn: {ARN}app:never"),
        ("app", "No policy is associated with the given resource."),
    ):
        refused = await api.refused("RemovePermission", name, StatementId="s3")
        assert refused == (404, "ResourceNotFoundException", message)
    refused = await api.refused("AddPermission", "app", **ALLOW, Qualifier="valid-with-$-but-not-there")
    assert refused[2] == f"Function not found: {ARN}app:valid-with-$-but-not-there"


@asynchronous
async def test_mistakes(api: Api) -> None:
    await api.add()
    assert await api.refused("AddPermission", "app", **ALLOW, Qualifier=LATEST) == (
        400,
        "InvalidParameterValueException",
        "We currently do not support adding policies for $LATEST.",
    )
    assert await api.refused("AddPermission", "app:1", **ALLOW, Qualifier="42") == (
        400,
        "InvalidParameterValueException",
        "The derived qualifier from the function name does not match the specified qualifier.",
    )
    assert await api.refused("AddPermission", "app", **ALLOW | {"StatementId": "example.com"}) == (
        400,
        "ValidationException",
        "1 validation error detected: Value 'example.com' at 'statementId' failed to satisfy constraint:"
        " Member must satisfy regular expression pattern: ([a-zA-Z0-9-_]+)",
    )
    assert await api.refused("AddPermission", "app", **ALLOW, Qualifier="a-?-b") == (
        400,
        "ValidationException",
        "1 validation error detected: Value 'a-?-b' at 'qualifier' failed to satisfy constraint: Member must"
        r" satisfy regular expression pattern: \$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+",
    )


@asynchronous
async def test_a_policy_has_20_kb_at_most(api: Api) -> None:
    await api.add()
    principal = "arn:aws:iam::111111111111:role/" + "x" * 1900
    sids = [f"s{number}" for number in range(9)]
    for sid in sids:
        await add(api, StatementId=sid, Principal=principal)
    await add(api, StatementId="s9", SourceArn="arn:aws:s3:::" + "y" * 300)
    text = (await api.call("GetPolicy", "app"))["Policy"]
    assert 18_000 < len(text) < 20_480
    status, code, message = await api.refused(
        "AddPermission", "app", **ALLOW | {"StatementId": "last", "Principal": principal}
    )
    assert (status, code) == (400, "PolicyLengthExceededException")
    assert message.startswith("The final policy size (2")
    assert message.endswith(") is bigger than the limit (20480).")
    assert (await api.call("GetPolicy", "app"))["Policy"] == text
