"""Provisioned concurrency: what is accepted, what it is taken from, and what is told of it."""

import pytest

from penstock.service.api import provisioned
from penstock.service.catalog import Alias
from penstock.service.functions import LATEST
from settings_kit import ARN, Api, asynchronous, compare

PUT = "PutProvisionedConcurrencyConfig"
GET = "GetProvisionedConcurrencyConfig"
DELETE = "DeleteProvisionedConcurrencyConfig"
LIST = "ListProvisionedConcurrencyConfigs"
MISSING = (
    404,
    "ProvisionedConcurrencyConfigNotFoundException",
    "No Provisioned Concurrency Config found for this function",
)


async def put(api: Api, qualifier: str, count: int, name: str = "app") -> dict[str, object]:
    answer: dict[str, object] = await api.call(
        PUT, name, Qualifier=qualifier, ProvisionedConcurrentExecutions=count
    )
    return answer


async def refused(api: Api, qualifier: str, count: int, name: str = "app") -> tuple[int, str, str]:
    return await api.refused(PUT, name, Qualifier=qualifier, ProvisionedConcurrentExecutions=count)


def test_members_are_those_of_the_model() -> None:
    compare(provisioned._PUT, PUT)


@asynchronous
async def test_it_is_kept_shown_and_taken_away(api: Api) -> None:
    await api.add()
    assert await api.refused(GET, "app", Qualifier="1") == MISSING
    answer = await put(api, "1", 3)
    modified = answer.pop("LastModified")
    assert answer == {
        "RequestedProvisionedConcurrentExecutions": 3,
        "AvailableProvisionedConcurrentExecutions": 0,
        "AllocatedProvisionedConcurrentExecutions": 0,
        "Status": "IN_PROGRESS",
    }
    assert await api.call(GET, "app", Qualifier="1") == {**answer, "LastModified": modified}
    api.ready = (3, False)
    ready = await api.call(GET, "app:1", Qualifier="1")
    assert ready == {
        "RequestedProvisionedConcurrentExecutions": 3,
        "AvailableProvisionedConcurrentExecutions": 3,
        "AllocatedProvisionedConcurrentExecutions": 3,
        "Status": "READY",
        "LastModified": modified,
    }
    assert await api.call(LIST, "app") == {
        "ProvisionedConcurrencyConfigs": [{"FunctionArn": f"{ARN}app:1", **ready}]
    }
    for _ in range(2):
        assert await api.call(DELETE, "app", Qualifier="1") == {}
    assert await api.refused(GET, "app", Qualifier="1") == MISSING
    assert await api.call(LIST, "app") == {"ProvisionedConcurrencyConfigs": []}


@asynchronous
async def test_environments_that_do_not_come_up(api: Api) -> None:
    await api.add()
    await put(api, "1", 3)
    api.ready = (1, True)
    told = await api.call(GET, "app", Qualifier="1")
    assert (told["Status"], told["StatusReason"]) == ("FAILED", "FUNCTION_ERROR_INIT_FAILURE")
    assert told["AvailableProvisionedConcurrentExecutions"] == 1


@asynchronous
async def test_the_service_is_told_the_version(api: Api) -> None:
    await api.add()
    await put(api, "live", 2)
    await put(api, "2", 1)
    assert api.catalog.provisions() == ["app"]
    found = {function.version: count for function, count in api.catalog.provisioned("app")}
    assert found == {"1": 2, "2": 1}
    assert api.changed[-1] == "app"
    assert api.catalog.provisioned("nobody") == []


@asynchronous
async def test_an_alias_takes_it_along(api: Api) -> None:
    await api.add()
    await put(api, "live", 2)
    async with api.catalog.edit("app") as entry:
        entry.aliases["live"].version = "2"
    ((function, count),) = api.catalog.provisioned("app")
    assert (function.version, count) == ("2", 2)


@asynchronous
async def test_a_version_has_it_by_its_number_or_by_an_alias(api: Api) -> None:
    await api.add()
    await put(api, "live", 1)
    assert await refused(api, "1", 1) == (
        409,
        "ResourceConflictException",
        "Version is pointed by a Provisioned Concurrency alias",
    )
    await api.call(DELETE, "app", Qualifier="live")
    await put(api, "1", 1)
    assert await refused(api, "live", 1) == (
        409,
        "ResourceConflictException",
        "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version",
    )


@asynchronous
async def test_what_is_not_published_has_none(api: Api) -> None:
    await api.add()
    async with api.catalog.edit("app") as entry:
        entry.aliases["head"] = Alias("head", LATEST)
    unpublished = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
    for qualifier in (LATEST, "head"):
        assert await refused(api, qualifier, 1) == (400, "InvalidParameterValueException", unpublished)
    neither = "The function resource provided must be an alias or a published version."
    for operation in (GET, DELETE):
        found = await api.refused(operation, "app", Qualifier=LATEST)
        assert found == (400, "InvalidParameterValueException", neither)


@asynchronous
async def test_what_is_not_there(api: Api) -> None:
    await api.add()
    version = (404, "ResourceNotFoundException", f"Function not found: {ARN}app:7")
    alias = (404, "ResourceNotFoundException", f"Cannot find alias arn: {ARN}app:no")
    assert await refused(api, "7", 1) == version
    assert await refused(api, "no", 1) == alias
    for operation in (GET, DELETE):
        assert await api.refused(operation, "app", Qualifier="7") == version
        assert await api.refused(operation, "app", Qualifier="no") == alias
    found = await api.refused(LIST, "nobody")
    assert found == (404, "ResourceNotFoundException", f"Function not found: {ARN}nobody")


@asynchronous
async def test_it_is_taken_from_what_is_reserved(api: Api) -> None:
    await api.add()
    await api.call("PutFunctionConcurrency", "app", ReservedConcurrentExecutions=5)
    await put(api, "1", 3)
    above = (
        "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for"
        " function"
    )
    assert await refused(api, "2", 3) == (400, "InvalidParameterValueException", above)
    await put(api, "2", 2)
    await put(api, "1", 1)
    below = (
        " ReservedConcurrentExecutions  2 should not be lower than function's total provisioned concurrency"
        " [3]."
    )
    lowered = await api.refused("PutFunctionConcurrency", "app", ReservedConcurrentExecutions=2)
    assert lowered == (400, "InvalidParameterValueException", below)
    settings = await api.call("GetAccountSettings")
    assert settings["AccountLimit"]["UnreservedConcurrentExecutions"] == 995


@asynchronous
async def test_or_else_from_what_is_not(api: Api) -> None:
    await api.add()
    await api.add("other")
    await put(api, "1", 500, "other")
    minimum = (
        "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below"
        " its minimum value of [100]."
    )
    assert await refused(api, "1", 401) == (400, "InvalidParameterValueException", minimum)
    await put(api, "1", 400)
    await put(api, "1", 399)  # its own does not count
    settings = await api.call("GetAccountSettings")
    assert settings["AccountLimit"]["UnreservedConcurrentExecutions"] == 101
    await api.call("PutFunctionConcurrency", "app", ReservedConcurrentExecutions=400)
    assert (await refused(api, "1", 1001, "other"))[2] == (
        "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [1000]."
    )


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        (
            "SnapStart",
            {"ApplyOn": "PublishedVersions"},
            "Provisioned Concurrency is not supported for functions enabled with SnapStart.",
        ),
        (
            "TenancyConfig",
            {"TenantIsolationMode": "PER_TENANT"},
            "Provisioned Concurrency is not supported for functions with tenant isolation.",
        ),
    ],
)
def test_what_it_does_not_go_together_with(api: Api, member: str, value: object, message: str) -> None:
    @asynchronous
    async def provision() -> None:
        entry = await api.add()
        entry.versions["1"].configuration[member] = value
        assert await refused(api, "1", 1) == (400, "InvalidParameterValueException", message)

    provision()


@asynchronous
async def test_numbers_that_are_none(api: Api) -> None:
    await api.add()
    assert await refused(api, "1", 0) == (
        400,
        "ValidationException",
        "1 validation error detected: Value '0' at 'provisionedConcurrentExecutions' failed to satisfy"
        " constraint: Member must have value greater than or equal to 1",
    )
