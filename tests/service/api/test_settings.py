"""The table of what is set for functions; what has one answer; and requests of any shape."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.protocol import operations
from penstock.protocol.call import FunctionNotFound
from penstock.service.api.errors import ApiError, not_found
from penstock.service.api.request import ApiRequest, Reply
from penstock.service.api.settings import _RECURSION, _SIGNING, PARTIAL
from settings_kit import ARN, Api, asynchronous, compare, model

NAMES = [
    "AddPermission",
    "CreateFunctionUrlConfig",
    "DeleteFunctionCodeSigningConfig",
    "DeleteFunctionConcurrency",
    "DeleteFunctionEventInvokeConfig",
    "DeleteFunctionUrlConfig",
    "DeleteProvisionedConcurrencyConfig",
    "GetAccountSettings",
    "GetFunctionCodeSigningConfig",
    "GetFunctionConcurrency",
    "GetFunctionEventInvokeConfig",
    "GetFunctionRecursionConfig",
    "GetFunctionUrlConfig",
    "GetPolicy",
    "GetProvisionedConcurrencyConfig",
    "ListFunctionEventInvokeConfigs",
    "ListFunctionUrlConfigs",
    "ListProvisionedConcurrencyConfigs",
    "ListTags",
    "PutFunctionCodeSigningConfig",
    "PutFunctionConcurrency",
    "PutFunctionEventInvokeConfig",
    "PutFunctionRecursionConfig",
    "PutProvisionedConcurrencyConfig",
    "RemovePermission",
    "TagResource",
    "UntagResource",
    "UpdateFunctionEventInvokeConfig",
    "UpdateFunctionUrlConfig",
]


def test_members_are_those_of_the_model() -> None:
    compare(_SIGNING, "PutFunctionCodeSigningConfig")
    compare(_RECURSION, "PutFunctionRecursionConfig")


def test_every_operation_is_in_the_table(api: Api) -> None:
    assert sorted(api.handlers) == NAMES
    assert PARTIAL.keys() <= api.handlers.keys()


@asynchronous
async def test_there_is_no_code_signing(api: Api) -> None:
    await api.add()
    arn = f"{ARN.removesuffix(':function:')}:code-signing-config:csc-0123456789abcdefg"
    assert await api.call("GetFunctionCodeSigningConfig", "app") == {}
    assert await api.call("DeleteFunctionCodeSigningConfig", f"{ARN}app") == {}
    assert await api.refused("PutFunctionCodeSigningConfig", "app", CodeSigningConfigArn=arn) == (
        404,
        "CodeSigningConfigNotFoundException",
        "The code signing configuration cannot be found."
        f" Check that the provided configuration is not deleted: {arn}.",
    )
    missing = (404, "ResourceNotFoundException", f"Function not found: {ARN}no")
    assert await api.refused("GetFunctionCodeSigningConfig", "no") == missing
    assert await api.refused("DeleteFunctionCodeSigningConfig", "no") == missing


@asynchronous
async def test_loops_are_not_looked_for(api: Api) -> None:
    await api.add()
    allowed = {"RecursiveLoop": "Allow"}
    assert await api.call("GetFunctionRecursionConfig", "app") == allowed
    assert await api.call("PutFunctionRecursionConfig", "app", **allowed) == allowed
    status, code, message = await api.refused("PutFunctionRecursionConfig", "app", RecursiveLoop="Terminate")
    assert (status, code) == (501, "NotImplementedException")
    assert "PutFunctionRecursionConfig" in message
    assert await api.refused("PutFunctionRecursionConfig", "app", RecursiveLoop="InvalidValue") == (
        400,
        "ValidationException",
        "1 validation error detected: Value 'InvalidValue' at 'recursiveLoop' failed to satisfy constraint:"
        " Member must satisfy enum value set: [Terminate, Allow]",
    )
    assert (await api.refused("GetFunctionRecursionConfig", "no"))[0] == 404


@asynchronous
async def test_everything_is_there_after_another_start(api: Api) -> None:
    await api.add()
    await api.call("PutFunctionConcurrency", "app", ReservedConcurrentExecutions=3)
    await api.call("CreateFunctionUrlConfig", "app", AuthType="NONE", Cors={"AllowOrigins": ["*"]})
    await api.call("PutFunctionEventInvokeConfig", "app", MaximumRetryAttempts=1)
    await api.call("AddPermission", "app", StatementId="s", Action="lambda:*", Principal="*")
    await api.call("TagResource", Resource=f"{ARN}app", Tags={"a": "b"})
    ((document,),) = api.store.read("SELECT document FROM functions")
    kept = type(api.catalog.entry("app")).from_document(document)
    assert kept == api.catalog.entry("app")
    assert (kept.reserved, kept.tags) == (3, {"a": "b"})
    assert all((kept.urls, kept.event_invoke, kept.policies))


@pytest.mark.parametrize("operation", NAMES)
def test_names_that_no_function_can_have(api: Api, operation: str) -> None:
    if "FunctionName" not in operations.BY_NAME[operation].template:
        return
    for name in ("../x", "a/b", "a b", "arn:aws:lambda", "a:b:c:d", "a" * 300, "ü", "."):
        path = dict.fromkeys(("FunctionName", "StatementId"), name)
        with pytest.raises((ApiError, LookupError)):
            asyncio.run(api.handlers[operation](ApiRequest(operation, path, {}, filled(operation))))


def filled(operation: str) -> bytes:
    """A body with everything that is required."""
    required = {
        "AuthType": "NONE",
        "MaximumRetryAttempts": 1,
        "ReservedConcurrentExecutions": 1,
        "RecursiveLoop": "Allow",
        "StatementId": "a",
        "Action": "*",
        "Principal": "*",
        "CodeSigningConfigArn": f"{ARN.removesuffix(':function:')}:code-signing-config:csc-0123456789abcdefg",
    }
    return json.dumps(required).encode()


# Requests of any shape: AWS's members with values of every kind, right and wrong.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["\ud800", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def values_of(shape: Any) -> st.SearchStrategy[Any]:
    """Mostly what a member of AWS's model takes, sometimes anything."""
    likely: st.SearchStrategy[Any] = JSON
    if shape.type_name == "structure":
        likely = st.fixed_dictionaries(
            {},
            optional={
                name: st.deferred(lambda m=member: values_of(m)) for name, member in shape.members.items()
            },
        )
    elif shape.type_name == "list":
        likely = st.lists(values_of(shape.member), max_size=4)
    elif shape.type_name == "map":
        likely = st.dictionaries(
            st.sampled_from(["a", "aws:b", "", "k" * 200]), values_of(shape.value), max_size=4
        )
    elif shape.type_name in ("integer", "long"):
        likely = st.integers(-2, 3) | st.sampled_from([60, 900, 1000, 86_401, 10**30])
    elif shape.type_name == "boolean":
        likely = st.booleans()
    elif getattr(shape, "enum", None):
        likely = st.sampled_from([*shape.enum, "OTHER"])
    elif shape.type_name == "string":
        likely = st.sampled_from(STRINGS)
    return st.one_of(likely, likely, likely, JSON)


STRINGS = [
    "",
    "a",
    "*",
    "s3.amazonaws.com",
    "lambda:InvokeFunction",
    "111111111111",
    f"{ARN}app",
    f"{ARN}other",
    f"{ARN}other:live",
    "arn:aws:s3:::b",
    "arn:aws:lambda",
    "arn:aws:lambda:",
    "arn:",
    "file:///tmp/records",
    "file://",
    "kafka://a",
    "o-1234567890",
    "x" * 400,
    "ü",
    "\x00",
    "\n",
]
NAMED = [
    "app",
    "app:1",
    "app:live",
    "app:$LATEST",
    "no",
    f"{ARN}app",
    f"{ARN}app:live",
    "",
    ":",
    "$",
    "a" * 70,
]
QUERY = st.dictionaries(
    st.sampled_from(["Qualifier", "Marker", "MaxItems", "RevisionId", "tagKeys", "List"]),
    st.lists(
        st.sampled_from(["", "1", "live", "$LATEST", "50", "51", "x", "-1", "1e5", "ü"]),
        min_size=1,
        max_size=2,
    ),
    max_size=3,
)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, asyncio.Runner]]:
    api = Api(tmp_path_factory.mktemp("catalog"))
    with asyncio.Runner() as runner:
        runner.run(api.add())
        runner.run(api.add("other"))
        yield api, runner
        runner.run(api.store.close())


@pytest.mark.parametrize("operation", NAMES)
def test_whatever_is_asked_is_answered_or_refused(
    lasting: tuple[Api, asyncio.Runner], operation: str
) -> None:
    api, runner = lasting
    described = model().operation_model(operation)
    shape = described.input_shape
    parts = {
        "FunctionName": st.sampled_from(NAMED) | st.text(),
        "Resource": st.sampled_from(STRINGS) | st.text(),
        "StatementId": st.sampled_from(STRINGS) | st.text(),
    }
    template = operations.BY_NAME[operation].template
    path = st.fixed_dictionaries(
        {part: values for part, values in parts.items() if f"{{{part}}}" in template}
    )
    raw = st.binary(max_size=20) | st.sampled_from([b"[]", b"null", b"NaN", b"[" * 5000, b'{"a":1e999}'])
    body = st.one_of(values_of(shape).map(json.dumps).map(str.encode), raw)

    @settings(max_examples=60, deadline=None, database=None)
    @given(path, QUERY, body)
    def check(path: dict[str, str], query: dict[str, list[str]], body: bytes) -> None:
        request = ApiRequest(operation, path, query, body)
        answer = runner.run(answered(api, request))
        if isinstance(answer, ApiError):
            assert answer.status < 500 or answer.code == "NotImplementedException"
            json.loads(answer.body)
        else:
            assert answer.status == operations.BY_NAME[operation].success
            json.dumps(answer.document).encode()

    check()


async def answered(api: Api, request: ApiRequest) -> Reply | ApiError:
    try:
        return await api.handlers[request.operation](request)
    except ApiError as error:
        return error
    except FunctionNotFound as error:
        return not_found(str(error))
