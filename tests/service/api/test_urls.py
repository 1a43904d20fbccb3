"""Function URLs: their configuration, and what the gateway is told of it."""

import re
from typing import Any

import pytest

from penstock.gateway import routes
from penstock.protocol.urls import Cors, FunctionUrl
from penstock.service.api import urls
from penstock.service.urls import lookup
from settings_kit import ARN, GATEWAY, Api, asynchronous, compare

CORS = {
    "AllowCredentials": True,
    "AllowHeaders": ["x-a"],
    "AllowMethods": ["GET", "DELETE"],
    "AllowOrigins": ["https://example.com"],
    "ExposeHeaders": ["x-b"],
    "MaxAge": 86_400,
}
NO_FUNCTION = (404, "ResourceNotFoundException", "Function does not exist")
NO_CONFIG = (404, "ResourceNotFoundException", "The resource you requested does not exist.")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def test_members_are_those_of_the_model() -> None:
    compare(urls._CREATE, "CreateFunctionUrlConfig")
    compare(urls._UPDATE, "UpdateFunctionUrlConfig")


def test_the_gateway_has_them_there() -> None:
    assert urls.URL_PREFIX == routes.URL_PREFIX


@pytest.mark.parametrize(
    ("gateway", "host", "shown"),
    [
        ("http://127.0.0.1:3000", "example.com:3001", "http://127.0.0.1:3000"),
        ("http://0.0.0.0:3000", "192.0.2.2:3001", "http://192.0.2.2:3000"),
        ("http://0.0.0.0:3000", "example.com", "http://example.com:3000"),
        ("http://[::]:3000", "[2001:db8::1]:3001", "http://[2001:db8::1]:3000"),
        ("http://[::]:3000", "[2001:db8::1]", "http://[2001:db8::1]:3000"),
        ("http://0.0.0.0:3000", "", "http://0.0.0.0:3000"),
    ],
)
def test_a_url_can_be_reached_from_where_it_was_asked_for(gateway: str, host: str, shown: str) -> None:
    assert urls._reachable(gateway, host) == shown


def without_times(answer: dict[str, Any], *expected: str) -> dict[str, Any]:
    """An answer, its times checked and taken out."""
    times = {name: answer.pop(name) for name in ("CreationTime", "LastModifiedTime") if name in answer}
    assert tuple(times) == expected
    assert all(TIME.fullmatch(time) for time in times.values())
    return answer


@asynchronous
async def test_a_life(api: Api) -> None:
    await api.add()
    url = {"FunctionUrl": f"{GATEWAY}/lambda-url/app/", "FunctionArn": f"{ARN}app"}
    made = await api.call("CreateFunctionUrlConfig", "app", AuthType="NONE")
    assert without_times(made, "CreationTime") == {**url, "AuthType": "NONE"}
    got = await api.call("GetFunctionUrlConfig", f"{ARN}app")
    created = got["CreationTime"]
    assert got["LastModifiedTime"] == created
    expected = {**url, "AuthType": "NONE", "InvokeMode": "BUFFERED"}
    assert without_times(got, "CreationTime", "LastModifiedTime") == expected
    changed = await api.call("UpdateFunctionUrlConfig", "app", AuthType="AWS_IAM")
    assert changed["CreationTime"] == created
    assert changed["LastModifiedTime"] > created
    assert without_times(changed, "CreationTime", "LastModifiedTime") == {**url, "AuthType": "AWS_IAM"}
    changed = await api.call("UpdateFunctionUrlConfig", "app", InvokeMode="RESPONSE_STREAM", Cors=CORS)
    expected = {**url, "AuthType": "AWS_IAM", "InvokeMode": "RESPONSE_STREAM", "Cors": CORS}
    assert without_times(changed, "CreationTime", "LastModifiedTime") == expected
    assert (await api.call("GetFunctionUrlConfig", "app"))["Cors"] == CORS
    await api.call("UpdateFunctionUrlConfig", "app", Cors={"MaxAge": 1})
    assert (await api.call("GetFunctionUrlConfig", "app"))["Cors"] == {"MaxAge": 1}
    await api.call("UpdateFunctionUrlConfig", "app", Cors={})
    assert "Cors" not in await api.call("GetFunctionUrlConfig", "app")
    assert await api.call("DeleteFunctionUrlConfig", "app") == {}
    assert await api.refused("GetFunctionUrlConfig", "app") == NO_CONFIG


@asynchronous
async def test_an_alias_has_its_own(api: Api) -> None:
    await api.add()
    await api.call("CreateFunctionUrlConfig", "app", AuthType="NONE")
    made = await api.call(
        "CreateFunctionUrlConfig", "app", Qualifier="live", AuthType="AWS_IAM", InvokeMode="BUFFERED"
    )
    assert without_times(made, "CreationTime") == {
        "FunctionUrl": f"{GATEWAY}/lambda-url/app:live/",
        "FunctionArn": f"{ARN}app:live",
        "AuthType": "AWS_IAM",
        "InvokeMode": "BUFFERED",
    }
    listed = await api.call("ListFunctionUrlConfigs", "app")
    shown = [(each["FunctionArn"], each["InvokeMode"]) for each in listed["FunctionUrlConfigs"]]
    assert shown == [(f"{ARN}app", "BUFFERED"), (f"{ARN}app:live", "BUFFERED")]
    only = await api.call("ListFunctionUrlConfigs", "app:live")
    assert [each["FunctionArn"] for each in only["FunctionUrlConfigs"]] == [f"{ARN}app:live"]
    await api.call("DeleteFunctionUrlConfig", "app")
    assert (await api.call("GetFunctionUrlConfig", "app:live"))["AuthType"] == "AWS_IAM"


@asynchronous
async def test_lists_have_pages(api: Api) -> None:
    await api.add()
    assert await api.call("ListFunctionUrlConfigs", "app") == {"FunctionUrlConfigs": []}
    for name in ("app", "app:live"):
        await api.call("CreateFunctionUrlConfig", name, AuthType="NONE")
    first = await api.call("ListFunctionUrlConfigs", "app", MaxItems=1)
    second = await api.call("ListFunctionUrlConfigs", "app", MaxItems=1, Marker=first["NextMarker"])
    (one,), (two,) = first["FunctionUrlConfigs"], second["FunctionUrlConfigs"]
    assert [one["FunctionArn"], two["FunctionArn"]] == [f"{ARN}app", f"{ARN}app:live"]
    assert "NextMarker" not in second


@asynchronous
async def test_the_gateways_port_may_be_known_later(api: Api) -> None:
    await api.add()
    await api.call("CreateFunctionUrlConfig", "app", AuthType="NONE")
    api.gateway = "http://functions.example:8000/"
    url = (await api.call("GetFunctionUrlConfig", "app"))["FunctionUrl"]
    assert url == "http://functions.example:8000/lambda-url/app/"


@asynchronous
async def test_twice(api: Api) -> None:
    await api.add()
    for name in ("app", "app:live"):
        await api.call("CreateFunctionUrlConfig", name, AuthType="NONE")
        assert await api.refused("CreateFunctionUrlConfig", name, AuthType="AWS_IAM") == (
            409,
            "ResourceConflictException",
            f"Failed to create function url config for [functionArn = {ARN}{name}]."
            " Error message:  FunctionUrlConfig exists for this Lambda function",
        )
    assert (await api.call("GetFunctionUrlConfig", "app"))["AuthType"] == "NONE"


@asynchronous
async def test_what_is_not_there(api: Api) -> None:
    await api.add()
    for name in ("no", f"{ARN}no", "app:never"):
        assert await api.refused("CreateFunctionUrlConfig", name, AuthType="NONE") == NO_FUNCTION
        assert await api.refused("UpdateFunctionUrlConfig", name, AuthType="NONE") == NO_FUNCTION
        assert await api.refused("GetFunctionUrlConfig", name) == NO_CONFIG
        assert await api.refused("DeleteFunctionUrlConfig", name) == NO_CONFIG
    assert await api.refused("UpdateFunctionUrlConfig", "app", AuthType="NONE") == NO_CONFIG
    assert await api.refused("DeleteFunctionUrlConfig", "app") == NO_CONFIG
    assert await api.refused("ListFunctionUrlConfigs", "no") == NO_FUNCTION


@pytest.mark.parametrize("qualifier", ["1", "2", "$LATEST"])
def test_versions_have_none(api: Api, qualifier: str) -> None:
    pattern = r"((?!^\d+$)^[0-9a-zA-Z-_]+$)"
    refused = (
        400,
        "ValidationException",
        f"1 validation error detected: Value '{qualifier}' at 'qualifier' failed to satisfy constraint:"
        f" Member must satisfy regular expression pattern: {pattern}",
    )

    @asynchronous
    async def check() -> None:
        await api.add()
        for operation in ("Get", "Delete", "Create", "Update"):
            members = {"AuthType": "NONE"} if operation in ("Create", "Update") else {}
            named = f"{operation}FunctionUrlConfig"
            assert await api.refused(named, "app", Qualifier=qualifier, **members) == refused
            status, code, _ = await api.refused(named, f"app:{qualifier}", **members)
            assert (status, code) == (400, "ValidationException")

    check()


@asynchronous
async def test_mistakes(api: Api) -> None:
    await api.add()
    for members, at in (
        ({}, "Value null at 'authType' failed to satisfy constraint: Member must not be null"),
        (
            {"AuthType": "NONE", "InvokeMode": "UNKNOWN"},
            "Value 'UNKNOWN' at 'invokeMode' failed to satisfy constraint:"
            " Member must satisfy enum value set: [RESPONSE_STREAM, BUFFERED]",
        ),
        (
            {"AuthType": "NONE", "Cors": {"MaxAge": 86_401}},
            "Value '86401' at 'cors.maxAge' failed to satisfy constraint:"
            " Member must have value less than or equal to 86400",
        ),
        (
            {"AuthType": "NONE", "Cors": {"AllowMethods": ["OPTIONS"]}},
            "Value '[OPTIONS]' at 'cors.allowMethods' failed to satisfy constraint: Member must satisfy"
            " constraint: [Member must have length less than or equal to 6, Member must have length greater"
            " than or equal to 0, Member must satisfy regular expression pattern: .*]",
        ),
    ):
        refused = (400, "ValidationException", f"1 validation error detected: {at}")
        assert await api.refused("CreateFunctionUrlConfig", "app", **members) == refused
    assert await api.refused("CreateFunctionUrlConfig", "app:live", Qualifier="other", AuthType="NONE") == (
        400,
        "InvalidParameterValueException",
        "The derived qualifier from the function name does not match the specified qualifier.",
    )
    assert api.catalog.entry("app").urls == {}


@asynchronous
async def test_the_gateway_finds_them(api: Api) -> None:
    await api.add()
    await api.call("CreateFunctionUrlConfig", "app:live", AuthType="AWS_IAM", Cors=CORS)
    url = lookup(api.catalog, every=False)
    cors = Cors(("https://example.com",), ("GET", "DELETE"), ("x-a",), ("x-b",), True, 86_400)
    assert url("app", "live") == FunctionUrl("app", "live", "AWS_IAM", cors)
    assert url("app", "") is None
    await api.call("CreateFunctionUrlConfig", "app", AuthType="NONE")
    assert url("app", "") == FunctionUrl("app")
    await api.call("DeleteFunctionUrlConfig", "app:live")
    assert url("app", "live") is None
