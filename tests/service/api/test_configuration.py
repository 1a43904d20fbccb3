import json
import platform
from typing import Any

import pytest

from penstock.service.api.configuration import architecture, created, refuse_not_built, updated
from penstock.service.api.errors import ApiError

GIVEN = {"FunctionName": "app", "Runtime": "python3.12", "Handler": "app.handler", "Role": "arn"}
LAYER = "arn:aws:lambda:us-east-1:000000000000:layer:any:1"
NO_VARIABLES = (
    "Lambda was unable to configure your environment variables because the environment variables you have"
    " provided "
)


def refused(**members: Any) -> str:
    with pytest.raises(ApiError) as caught:
        created({**GIVEN, **members})
    code = caught.value.code
    assert (code, caught.value.status) == ("InvalidParameterValueException", 400)
    with pytest.raises(ApiError) as updating:
        updated(created(GIVEN), members, "app")
    assert str(updating.value) == str(caught.value)
    return str(caught.value)


def test_defaults_of_a_new_function() -> None:
    assert created(GIVEN) == {
        "Runtime": "python3.12",
        "Handler": "app.handler",
        "Role": "arn",
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "Architectures": [architecture()],
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/app"},
    }


def test_what_was_given_is_kept() -> None:
    members: dict[str, Any] = {
        "Timeout": 10,
        "Description": "any",
        "VpcConfig": {"SubnetIds": ["subnet-1"]},
        "Environment": {"Variables": {"A": "1"}},
        "TracingConfig": {"Mode": "Active"},
        "TenancyConfig": {"TenantIsolationMode": "PER_TENANT"},
        "EphemeralStorage": {"Size": 1024},
        "Architectures": ["arm64"],
    }
    configuration = created({**GIVEN, **members, "Publish": True, "Tags": {"a": "b"}})
    assert members.items() <= configuration.items()
    assert not configuration.keys() & {"FunctionName", "Publish", "Tags", "Code"}


def test_an_update_changes_what_it_names() -> None:
    before = created({**GIVEN, "Environment": {"Variables": {"A": "1"}}})
    after = updated(before, {"FunctionName": "app", "Timeout": 9, "RevisionId": "x"}, "app")
    assert after == {**before, "Timeout": 9}
    assert updated(before, {"Environment": {}}, "app")["Environment"] == {"Variables": {}}
    assert updated(before, {}, "app") == before


@pytest.mark.parametrize(
    ("machine", "name"), [("aarch64", "arm64"), ("arm64", "arm64"), ("x86_64", "x86_64")]
)
def test_this_machine(monkeypatch: pytest.MonkeyPatch, machine: str, name: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert architecture() == name


def test_levels_of_the_log_are_json_s() -> None:
    before = created(GIVEN)
    group = {"LogGroup": "/aws/lambda/app"}
    for given, expected in [
        ({"LogFormat": "JSON"}, {"ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO"}),
        (
            {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"},
            {"ApplicationLogLevel": "DEBUG", "SystemLogLevel": "INFO"},
        ),
    ]:
        after = updated(before, {"LoggingConfig": given}, "app")
        assert after["LoggingConfig"] == {**group, "LogFormat": "JSON", **expected}
        back = updated(after, {"LoggingConfig": {"LogFormat": "Text"}}, "app")
        assert back["LoggingConfig"] == {**group, "LogFormat": "Text"}
    assert updated(before, {"LoggingConfig": {"LogGroup": "mine"}}, "app")["LoggingConfig"] == {
        "LogFormat": "Text",
        "LogGroup": "mine",
    }


def test_runtime_and_handler_are_needed() -> None:
    for missing in ("Runtime", "Handler"):
        with pytest.raises(ApiError) as caught:
            created({name: value for name, value in GIVEN.items() if name != missing})
        assert str(caught.value) == (
            "Runtime and Handler are mandatory parameters for functions created with deployment packages."
        )


@pytest.mark.parametrize("runtime", ["non-existent-runtime", "PYTHON3.9", "python", "custom"])
def test_an_unknown_runtime(runtime: str) -> None:
    message = refused(Runtime=runtime)
    begin = (
        f"Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: ["
    )
    assert message.startswith(begin)
    assert "python3.12, " in message
    assert message.endswith("] or be a valid ARN")


def test_reserved_variables() -> None:
    variables = {"AWS_REGION": "x", "MINE": "y", "AWS_ACCESS_KEY_ID": "z"}
    assert refused(Environment={"Variables": variables}) == (
        f"{NO_VARIABLES}contains reserved keys that are currently not supported for modification."
        " Reserved keys used in this request: AWS_REGION, AWS_ACCESS_KEY_ID"
    )


def test_variables_are_4_kb_as_json() -> None:
    variables = {"A": "x" * 4089}
    measured = json.dumps(variables, separators=(",", ":"))
    assert len(measured) == 4097
    assert refused(Environment={"Variables": variables}) == (
        f"{NO_VARIABLES}exceeded the 4KB limit. String measured: {measured}"
    )
    created({**GIVEN, "Environment": {"Variables": {"A": "x" * 4088}}})
    refused(Environment={"Variables": {"A": "é" * 2045}})  # bytes, not characters


def test_a_variable_that_no_process_can_have() -> None:
    assert refused(Environment={"Variables": {"A": "x\0y"}}) == f"{NO_VARIABLES}contains a NUL character in A"


def test_layers() -> None:
    assert refused(Layers=[LAYER] * 6) == "Cannot reference more than 5 layers."
    assert refused(Layers=[LAYER]) == (
        f"Layer version {LAYER} cannot be used: layers are not built into Penstock; put what is in the layer"
        " into the function's code"
    )
    assert "Layers" not in created({**GIVEN, "Layers": []})


@pytest.mark.parametrize(
    "member",
    [
        "CapacityProviderConfig",
        "DurableConfig",
        "RuntimeConfig",
        "AcceleratorConfig",
        "ImageConfig",
        "PublishTo",
    ],
)
def test_what_would_make_it_another_function(member: str) -> None:
    message = refused(**{member: {"any": 1}})
    assert message.startswith(f"{member}: ")
    assert "not built into Penstock" in message
    with pytest.raises(ApiError, match=member):
        refuse_not_built({member: {"any": 1}})
    refuse_not_built({member: None})


def test_images_and_signed_code() -> None:
    with pytest.raises(ApiError, match="PackageType Image: container images are not built into Penstock"):
        created({**GIVEN, "PackageType": "Image"})
    with pytest.raises(ApiError) as caught:
        created({**GIVEN, "CodeSigningConfigArn": "arn:any"})
    assert (caught.value.code, caught.value.status) == ("CodeSigningConfigNotFoundException", 404)
