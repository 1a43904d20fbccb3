"""Tags of functions."""

import pytest

from penstock.service.api import tags
from penstock.service.api.errors import ApiError
from settings_kit import ARN, Api, asynchronous, compare

APP = f"{ARN}app"


def test_members_are_those_of_the_model() -> None:
    compare(tags._LIST, "ListTags")
    compare(tags._TAG, "TagResource")
    compare(tags._UNTAG, "UntagResource")


@asynchronous
async def test_they_are_set_changed_and_taken_away(api: Api) -> None:
    await api.add()
    assert await api.call("ListTags", Resource=APP) == {"Tags": {}}
    assert (
        await api.call("TagResource", Resource=APP, Tags={"a": "1", "b": "", "ü:/=+-@. _": "Grüße 2"}) == {}
    )
    await api.call("TagResource", Resource=APP, Tags={"b": "2", "c": "3"})
    everything = {"a": "1", "b": "2", "c": "3", "ü:/=+-@. _": "Grüße 2"}
    assert await api.call("ListTags", Resource=APP) == {"Tags": everything}
    await api.call("UntagResource", Resource=APP, TagKeys=["ü:/=+-@. _", "never"])
    await api.call("UntagResource", Resource=APP, TagKeys=["a", "b"])
    assert await api.call("ListTags", Resource=APP) == {"Tags": {"c": "3"}}


@asynchronous
async def test_they_change_the_revision_and_nothing_else(api: Api) -> None:
    await api.add()
    before = api.catalog.entry("app").latest
    await api.call("TagResource", Resource=APP, Tags={"a": "1"})
    tagged = api.catalog.entry("app").latest
    await api.call("UntagResource", Resource=APP, TagKeys=["a"])
    after = api.catalog.entry("app").latest
    assert len({each.revision_id for each in (before, tagged, after)}) == 3
    assert len({each.generation for each in (before, tagged, after)}) == 1


@asynchronous
async def test_fifty_at_most(api: Api) -> None:
    await api.add()
    many = {f"{number}_key": "value" for number in range(51)}
    refused = (400, "InvalidParameterValueException", "Number of tags exceeds resource tag limit.")
    assert await api.refused("TagResource", Resource=APP, Tags=many) == refused
    del many["50_key"]
    await api.call("TagResource", Resource=APP, Tags=many)
    assert await api.refused("TagResource", Resource=APP, Tags={"a": "b"}) == refused
    await api.call("TagResource", Resource=APP, Tags={"0_key": "another"})


@asynchronous
async def test_functions_only_and_no_part_of_them(api: Api) -> None:
    await api.add()
    qualified = "Tags on function aliases and versions are not supported. Please specify a function ARN."
    esm = f"{ARN.replace(':function:', ':event-source-mapping:')}01234567-89ab-cdef-0123-456789abcdef"
    provider = f"{ARN.replace(':function:', ':capacity-provider:')}a"
    csc = f"{ARN.replace(':function:', ':code-signing-config:')}csc-0123456789abcdefg"
    network = f"{ARN.replace(':function:', ':network-connector:')}a"
    for resource, status, message in (
        (f"{APP}:live", 400, qualified),
        (f"{APP}:1", 400, qualified),
        (f"{APP}:$LATEST", 400, qualified),
        (f"{ARN}no", 404, f"Function not found: {ARN}no"),
        (esm, 404, f"Event source mapping not found: {esm}"),
        (provider, 404, f"Capacity provider not found: {provider}"),
        (csc, 404, f"The Lambda code signing configuration {csc} can not be found."),
        (network, 404, f"Network connector not found: {network}"),
    ):
        for operation, members in (
            ("ListTags", {}),
            ("TagResource", {"Tags": {"a": "b"}}),
            ("UntagResource", {"TagKeys": ["a"]}),
        ):
            refused = await api.refused(operation, Resource=resource, **members)
            assert (refused[0], refused[2]) == (status, message)


@asynchronous
async def test_mistakes(api: Api) -> None:
    await api.add()
    status, code, message = await api.refused("ListTags", Resource="arn:aws:something")
    assert (status, code) == (400, "ValidationException")
    assert message.startswith(
        "1 validation error detected: Value 'arn:aws:something' at 'resource' failed to satisfy constraint:"
        " Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*):lambda:"
    )
    assert await api.refused("UntagResource", Resource=APP, TagKeys=[]) == (
        400,
        "ValidationException",
        "1 validation error detected: Value null at 'tagKeys' failed to satisfy constraint:"
        " Member must not be null",
    )
    assert await api.refused("TagResource", Resource=APP, Tags={}) == (
        400,
        "InvalidParameterValueException",
        "An error occurred and the request cannot be processed.",
    )
    refused = await api.refused("TagResource", Resource=APP, Tags={"aws:a": "b"})
    assert refused[1:] == (
        "InvalidParameterValueException",
        "Tag keys that begin with aws: are reserved for AWS's own use.",
    )
    assert (await api.refused("TagResource", Resource=APP))[1] == "ValidationException"
    for long in ({"k" * 129: "v"}, {"k": "v" * 257}, {"": "v"}, {"k": "v\t"}, {"<k>": "v"}):
        assert (await api.refused("TagResource", Resource=APP, Tags=long))[1] == "ValidationException"
    assert api.catalog.entry("app").tags == {}


def test_what_creating_a_function_asks() -> None:
    tags.check_tags({"a": "b"}, {})
    with pytest.raises(ApiError, match="exceeds"):
        tags.check_tags({str(number): "" for number in range(51)}, {})
    with pytest.raises(ApiError, match="reserved"):
        tags.check_tags({"AWS:x": "b"}, {})
