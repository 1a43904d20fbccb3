"""How asynchronous invocations are to go on: what is kept, shown and refused."""

from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.service.api import eventinvoke
from penstock.service.api.eventinvoke import event_settings, settings_of
from penstock.service.events.schedule import EventSettings
from penstock.service.functions import LATEST
from settings_kit import ARN, Api, asynchronous, compare

PUT = "PutFunctionEventInvokeConfig"
UPDATE = "UpdateFunctionEventInvokeConfig"
GET = "GetFunctionEventInvokeConfig"
DELETE = "DeleteFunctionEventInvokeConfig"
LIST = "ListFunctionEventInvokeConfigs"
NO_FUNCTION = (404, "ResourceNotFoundException", "The function doesn't exist.")
NOWHERE: dict[str, Any] = {"OnSuccess": {}, "OnFailure": {}}


def test_members_are_those_of_the_model() -> None:
    compare(eventinvoke._SET, PUT, but=("Destination",))  # its pattern is looked at by itself
    compare(eventinvoke._SET, UPDATE, but=("Destination",))


def test_the_pattern_of_destinations_is_that_of_the_model() -> None:
    from settings_kit import model

    assert model().shape_for("DestinationArn").metadata == {
        "pattern": eventinvoke._PATTERN,
        "min": 0,
        "max": 350,
    }


def shown(qualifier: str = LATEST, **members: Any) -> dict[str, Any]:
    return {"FunctionArn": f"{ARN}app:{qualifier}", "DestinationConfig": NOWHERE, **members}


def without_time(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer, its time checked and taken out."""
    assert abs((datetime.now(UTC) - answer.pop("LastModified")).total_seconds()) < 60
    return answer


def missing(arn: str) -> tuple[int, str, str]:
    return 404, "ResourceNotFoundException", f"The function {ARN}{arn} doesn't have an EventInvokeConfig"


@asynchronous
async def test_a_life(api: Api) -> None:
    await api.add()
    put = await api.call(PUT, "app", MaximumRetryAttempts=0)
    assert without_time(put) == shown(MaximumRetryAttempts=0)
    put = await api.call(PUT, "app", MaximumEventAgeInSeconds=60)
    assert without_time(put) == shown(MaximumEventAgeInSeconds=60), "put replaces all there was"
    changed = await api.call(UPDATE, f"{ARN}app", MaximumRetryAttempts=1)
    everything = shown(MaximumRetryAttempts=1, MaximumEventAgeInSeconds=60)
    assert without_time(changed) == everything
    assert without_time(await api.call(GET, "app")) == everything
    assert without_time(await api.call(GET, "app", Qualifier=LATEST)) == everything
    assert await api.call(DELETE, "app") == {}
    assert await api.refused(GET, "app") == missing("app:$LATEST")


@asynchronous
async def test_each_version_and_alias_has_its_own(api: Api) -> None:
    await api.add()
    await api.call(PUT, "app", MaximumRetryAttempts=0)
    await api.call(PUT, "app:live", MaximumRetryAttempts=1)
    await api.call(PUT, "app:1", Qualifier="1", MaximumRetryAttempts=2)
    for qualifier, attempts in ((LATEST, 0), ("1", 2), ("live", 1)):
        answer = await api.call(GET, "app", Qualifier=qualifier)
        assert without_time(answer) == shown(qualifier, MaximumRetryAttempts=attempts)
    listed = await api.call(LIST, "app")
    arns = [each["FunctionArn"] for each in listed["FunctionEventInvokeConfigs"]]
    assert arns == [f"{ARN}app:{qualifier}" for qualifier in (LATEST, "1", "live")]
    first = await api.call(LIST, "app", MaxItems=2)
    rest = await api.call(LIST, "app", MaxItems=2, Marker=first["NextMarker"])
    assert (
        first["FunctionEventInvokeConfigs"] + rest["FunctionEventInvokeConfigs"]
        == (listed["FunctionEventInvokeConfigs"])
    )
    await api.call(DELETE, "app:live")
    assert await api.refused(UPDATE, "app:live", MaximumRetryAttempts=1) == missing("app:live")
    assert len((await api.call(LIST, "app"))["FunctionEventInvokeConfigs"]) == 2


@asynchronous
async def test_destinations(api: Api) -> None:
    await api.add()
    await api.add("other")
    config = {
        "OnSuccess": {"Destination": f"{ARN}other:live"},
        "OnFailure": {"Destination": "file:///var/log/failed.jsonl"},
    }
    put = await api.call(PUT, "app", DestinationConfig=config)
    assert put["DestinationConfig"] == config
    changed = await api.call(UPDATE, "app", MaximumRetryAttempts=0)
    assert changed["DestinationConfig"] == config
    only = {"OnFailure": {"Destination": f"{ARN}other"}}
    changed = await api.call(UPDATE, "app", DestinationConfig=only)
    assert changed["DestinationConfig"] == {"OnSuccess": {}, **only}
    for nothing in ({}, {"OnSuccess": {}}, {"OnFailure": {"Destination": ""}}):
        put = await api.call(PUT, "app", DestinationConfig=nothing)
        assert put["DestinationConfig"] == NOWHERE


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        (f"{ARN}never", f"The destination ARN {ARN}never is invalid."),
        (f"{ARN}other:never", f"The destination ARN {ARN}other:never is invalid."),
        (f"{ARN}app", "You can't specify the function as a destination for itself."),
        (f"{ARN}app:live", "You can't specify the function as a destination for itself."),
        (
            f"{ARN}other".replace("us-east-1", "us-west-2"),
            f"The destination ARN {ARN}other is invalid.".replace("us-east-1", "us-west-2"),
        ),
        (
            f"{ARN}other".replace("0" * 12, "1" * 12),
            f"The destination ARN {ARN}other is invalid.".replace("0" * 12, "1" * 12),
        ),
        ("arn:aws:lambda:us-east-1:000000000000:layer:a", "The destination ARN {} is invalid."),
    ],
)
def test_functions_that_nothing_can_be_sent_to(api: Api, destination: str, message: str) -> None:
    @asynchronous
    async def check() -> None:
        await api.add()
        await api.add("other")
        refused = await api.refused(PUT, "app", DestinationConfig={"OnFailure": {"Destination": destination}})
        expected = (400, "InvalidParameterValueException", message.replace("{}", destination))
        assert refused == expected
        assert api.catalog.entry("app").event_invoke == {}

    check()


@pytest.mark.parametrize(
    "destination",
    [
        "arn:aws:iam:us-east-1:000000000000:role/a",
        "arn:aws:sqs:us-east-1:000000000000:queue",
        "arn:aws:s3:::bucket",
        "kafka://topic",
        "file://relative/path",
        "file://",
    ],
)
def test_what_else_there_is_on_aws(api: Api, destination: str) -> None:
    @asynchronous
    async def check() -> None:
        await api.add()
        for side, success, failure in (
            ("OnSuccess", f"OnSuccess(destination={destination})", "null"),
            ("OnFailure", "null", f"OnFailure(destination={destination})"),
        ):
            status, code, message = await api.refused(
                PUT, "app", DestinationConfig={side: {"Destination": destination}}
            )
            assert (status, code) == (400, "InvalidParameterValueException")
            assert message.startswith(
                "The provided destination config"
                f" DestinationConfig(onSuccess={success}, onFailure={failure}) is invalid."
            )

    check()


@asynchronous
async def test_mistakes(api: Api) -> None:
    await api.add()
    assert await api.refused(PUT, "app") == (
        400,
        "InvalidParameterValueException",
        "You must specify at least one of error handling or destination setting.",
    )
    assert (await api.refused(UPDATE, "app"))[1] == "InvalidParameterValueException"
    odd = f"{ARN}other".replace(":lambda:", ":_-/!lambda:")
    assert await api.refused(PUT, "app", DestinationConfig={"OnFailure": {"Destination": odd}}) == (
        400,
        "ValidationException",
        f"1 validation error detected: Value '{odd}' at 'destinationConfig.onFailure.destination' failed to"
        " satisfy constraint: Member must satisfy regular expression pattern:"
        r" $|kafka://([^.]([a-zA-Z0-9\-_.]{0,248}))|arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:((eusc-)?"
        r"[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:(\d{12})?:(.*)",
    )
    for members, rule in (
        ({"MaximumRetryAttempts": 3}, "Value '3' at 'maximumRetryAttempts'"),
        ({"MaximumRetryAttempts": -1}, "Value '-1' at 'maximumRetryAttempts'"),
        ({"MaximumEventAgeInSeconds": 59}, "Value '59' at 'maximumEventAgeInSeconds'"),
        ({"MaximumEventAgeInSeconds": 21_601}, "Value '21601' at 'maximumEventAgeInSeconds'"),
    ):
        for operation in (PUT, UPDATE):
            status, code, message = await api.refused(operation, "app", **members)
            assert (status, code) == (400, "ValidationException")
            assert message.startswith(f"1 validation error detected: {rule} failed to satisfy constraint:")
    mismatch = "The derived qualifier from the function name does not match the specified qualifier."
    for name, qualifier in (("app:live", "1"), ("app:1", LATEST), ("app:$LATEST", "live")):
        refused = await api.refused(PUT, name, Qualifier=qualifier, MaximumRetryAttempts=1)
        assert refused == (400, "InvalidParameterValueException", mismatch)


@asynchronous
async def test_what_is_not_there(api: Api) -> None:
    await api.add()
    for name in ("no", f"{ARN}no", "app:never", "app:42"):
        assert await api.refused(PUT, name, MaximumRetryAttempts=1) == NO_FUNCTION
        assert await api.refused(UPDATE, name, MaximumRetryAttempts=1) == NO_FUNCTION
    assert await api.refused(LIST, "no") == NO_FUNCTION
    assert await api.refused(UPDATE, "app", MaximumRetryAttempts=1) == missing("app:$LATEST")
    for operation in (GET, DELETE):
        assert await api.refused(operation, "no") == missing("no:$LATEST")
        assert await api.refused(operation, "app") == missing("app:$LATEST")
        assert await api.refused(operation, "app:never") == missing("app:never")


@asynchronous
async def test_what_the_dispatcher_is_told(api: Api) -> None:
    await api.add()
    await api.add("other")
    assert event_settings(api.catalog.entry("app")) == EventSettings()
    config = {"OnSuccess": {"Destination": f"{ARN}other"}, "OnFailure": {"Destination": "file:///tmp/failed"}}
    await api.call(PUT, "app", MaximumRetryAttempts=0, MaximumEventAgeInSeconds=60, DestinationConfig=config)
    await api.call(PUT, "app:live", MaximumRetryAttempts=1)
    entry = api.catalog.entry("app")
    everything = EventSettings(0, 60, f"{ARN}other", "file:///tmp/failed")
    assert event_settings(entry) == event_settings(entry, LATEST) == everything
    assert event_settings(entry, "live") == EventSettings(max_attempts=1)
    assert event_settings(entry, "1") == EventSettings()
    now = settings_of(api.catalog)
    assert now("app", "") == everything
    assert now("app", "live") == EventSettings(max_attempts=1)
    await api.call(DELETE, "app")
    assert now("app", "") == now("gone", "") == EventSettings()
