"""Reserved concurrency, and the account it is taken from."""

import asyncio
from pathlib import Path

from penstock.service.api import concurrency
from settings_kit import ARN, Api, asynchronous, compare

QUALIFIED = (
    "This operation is permitted on Lambda functions only. Aliases and versions do not support this"
    " operation. Please specify either a function name or an unqualified function ARN."
)
TOO_MANY = (
    "Specified ReservedConcurrentExecutions for function decreases account's"
    " UnreservedConcurrentExecution below its minimum value of [{}]."
)


def test_members_are_those_of_the_model() -> None:
    compare(concurrency._PUT, "PutFunctionConcurrency")


@asynchronous
async def test_it_is_kept_shown_and_taken_away(api: Api) -> None:
    await api.add()
    assert await api.call("GetFunctionConcurrency", "app") == {}
    for reserved in (3, 0):
        put = await api.call("PutFunctionConcurrency", "app", ReservedConcurrentExecutions=reserved)
        assert put == {"ReservedConcurrentExecutions": reserved}
        assert await api.call("GetFunctionConcurrency", f"{ARN}app") == put
        assert api.catalog.reserved("app") == reserved
    assert await api.call("DeleteFunctionConcurrency", "000000000000:function:app") == {}
    assert api.catalog.reserved("app") is None
    assert await api.call("DeleteFunctionConcurrency", "app") == {}


@asynchronous
async def test_the_service_is_told(api: Api) -> None:
    await api.add()
    key = api.catalog.resolve("app").key
    api.changed.clear()
    await api.call("PutFunctionConcurrency", "app", ReservedConcurrentExecutions=1)
    await api.call("DeleteFunctionConcurrency", "app")
    assert api.changed == ["app", "app"]
    assert api.catalog.resolve("app").key == key, "its environments can stay"


@asynchronous
async def test_a_hundred_stay_for_everybody(api: Api) -> None:
    await api.add()
    await api.add("other")
    await api.call("PutFunctionConcurrency", "other", ReservedConcurrentExecutions=500)
    refused = (400, "InvalidParameterValueException", TOO_MANY.format(100))
    assert await api.refused("PutFunctionConcurrency", "app", ReservedConcurrentExecutions=401) == refused
    assert api.catalog.reserved("app") is None
    await api.call("PutFunctionConcurrency", "app", ReservedConcurrentExecutions=400)
    await api.call(
        "PutFunctionConcurrency", "app", ReservedConcurrentExecutions=399
    )  # its own does not count
    assert await api.refused("PutFunctionConcurrency", "other", ReservedConcurrentExecutions=502) == refused


@asynchronous
async def test_two_changes_at_once_leave_a_hundred_as_well(api: Api) -> None:
    for name in ("app", "other"):
        await api.add(name)
    answers = await asyncio.gather(
        *(
            api.call("PutFunctionConcurrency", name, ReservedConcurrentExecutions=600)
            for name in ("app", "other")
        ),
        return_exceptions=True,
    )
    assert [str(answer) for answer in answers] == [
        str({"ReservedConcurrentExecutions": 600}),
        TOO_MANY.format(100),
    ]


def test_of_a_small_service_a_tenth_stays(tmp_path: Path) -> None:
    api = Api(tmp_path, limit=20)

    @asynchronous
    async def reserve() -> None:
        await api.add()
        refused = await api.refused("PutFunctionConcurrency", "app", ReservedConcurrentExecutions=19)
        assert refused[2] == TOO_MANY.format(2)
        await api.call("PutFunctionConcurrency", "app", ReservedConcurrentExecutions=18)

    reserve()
    api.close()


@asynchronous
async def test_versions_and_aliases_have_none(api: Api) -> None:
    await api.add()
    refused = (400, "InvalidParameterValueException", QUALIFIED)
    for name in ("app:1", "app:live", f"{ARN}app:live", "app:$LATEST"):
        assert await api.refused("PutFunctionConcurrency", name, ReservedConcurrentExecutions=1) == refused
        assert await api.refused("GetFunctionConcurrency", name) == refused
        assert await api.refused("DeleteFunctionConcurrency", name) == refused


@asynchronous
async def test_functions_that_are_not_there(api: Api) -> None:
    missing = f"Function not found: {ARN}no"
    changes = (404, "ResourceNotFoundException", f"{missing}:$LATEST")
    assert await api.refused("PutFunctionConcurrency", "no", ReservedConcurrentExecutions=5000) == changes
    assert await api.refused("DeleteFunctionConcurrency", "no") == changes
    assert await api.refused("GetFunctionConcurrency", "no") == (404, "ResourceNotFoundException", missing)


@asynchronous
async def test_numbers_that_are_none(api: Api) -> None:
    await api.add()
    assert await api.refused("PutFunctionConcurrency", "app", ReservedConcurrentExecutions=-1) == (
        400,
        "ValidationException",
        "1 validation error detected: Value '-1' at 'reservedConcurrentExecutions' failed to satisfy"
        " constraint: Member must have value greater than or equal to 0",
    )
    assert await api.refused("PutFunctionConcurrency", "app") == (
        400,
        "ValidationException",
        "1 validation error detected: Value null at 'reservedConcurrentExecutions' failed to satisfy"
        " constraint: Member must not be null",
    )


@asynchronous
async def test_the_account(api: Api) -> None:
    await api.add()
    await api.add("other")
    await api.call("PutFunctionConcurrency", "app", ReservedConcurrentExecutions=30)
    assert await api.call("GetAccountSettings") == {
        "AccountLimit": {
            "TotalCodeSize": 80_530_636_800,
            "CodeSizeUnzipped": 262_144_000,
            "CodeSizeZipped": 52_428_800,
            "ConcurrentExecutions": 1000,
            "UnreservedConcurrentExecutions": 970,
        },
        "AccountUsage": {"TotalCodeSize": 60, "FunctionCount": 2},
    }
