"""The table is AWS's: compared, member by member, with the model botocore has of Lambda."""

from typing import Any

import pytest

from penstock.service.api import shapes
from penstock.service.api.shapes import INPUTS
from penstock.service.api.validation import Blob, Flag, Items, Kind, Map, Number, Structure, Text

# What AWS allows for its managed instances only; and what it checks with another error.
DIFFERENT = {
    "MemorySize": ({"max": 10_240}, {"max": 32_768}),
    "Timeout": ({"max": 900}, {"max": 5_400}),
    "EphemeralStorage.Size": ({"max": 10_240}, {"max": 32_768}),
}


@pytest.fixture(scope="module")
def model() -> Any:
    return pytest.importorskip("botocore.session").get_session().get_service_model("lambda")


@pytest.mark.parametrize("operation", INPUTS)
def test_inputs(model: Any, operation: str) -> None:
    shape = model.operation_model(operation).input_shape
    assert sorted(found(INPUTS[operation])) == sorted(expected(shape))


def test_what_is_taken_from_the_query(model: Any) -> None:
    from penstock.service.api.shapes import QUERY

    for operation, shape in INPUTS.items():
        members = model.operation_model(operation).input_shape.members
        for name in shape.members:
            is_version = operation in ("CreateAlias", "UpdateAlias") and name == "FunctionVersion"
            in_query = members[name].serialization.get("location") == "querystring"
            assert in_query == (name in QUERY and not is_version), (operation, name)


def expected(shape: Any, at: str = "") -> list[tuple[Any, ...]]:
    """Each kind in AWS's model, as a comparable tuple."""
    limits = {key: value for key, value in shape.metadata.items() if key in ("min", "max", "pattern")}
    if at == "Runtime":
        return [(at, "string", [], [])]
    ours, aws = DIFFERENT.get(at, ({}, {}))
    assert aws.items() <= limits.items(), "AWS has other numbers now"
    limits |= ours
    result = [(at, shape.type_name, sorted(limits.items()), list(getattr(shape, "enum", [])))]
    if shape.type_name == "structure":
        result.append((at, "required", sorted(shape.required_members), []))
        for name, member in shape.members.items():
            result += expected(member, f"{at}.{name}" if at else name)
    elif shape.type_name == "list":
        result += expected(shape.member, f"{at}[]")
    elif shape.type_name == "map":
        result += expected(shape.key, f"{at}{{}}") + expected(shape.value, f"{at}=")
    return result


def found(kind: Kind, at: str = "") -> list[tuple[Any, ...]]:
    """The same of ours."""
    names = {Flag: "boolean", Blob: "blob", Items: "list", Map: "map", Structure: "structure", Text: "string"}
    name = names.get(type(kind)) or ("double" if getattr(kind, "double", False) else "integer")
    limits = {"min": getattr(kind, "least", None), "max": getattr(kind, "most", None)}
    limits = {key: value for key, value in limits.items() if value is not None}
    if isinstance(kind, Text) and kind.pattern:
        limits["pattern"] = kind.pattern
    result = [(at, name, sorted(limits.items()), list(getattr(kind, "enum", [])))]
    if isinstance(kind, Structure):
        result.append((at, "required", sorted(kind.required), []))
        for member, each in kind.members.items():
            result += found(each, f"{at}.{member}" if at else member)
    elif isinstance(kind, Items):
        result += found(kind.member, f"{at}[]")
    elif isinstance(kind, Map):
        result += found(kind.key, f"{at}{{}}") + found(kind.value, f"{at}=")
    elif isinstance(kind, Number):
        assert kind.least is None or kind.most is None or kind.least < kind.most
    return result


@pytest.mark.parametrize("name", ["live", "a-b_C9", "1a", "a" * 128])
def test_aliases(name: str) -> None:
    assert list(shapes.ALIAS.broken(name, "name")) == []


@pytest.mark.parametrize("name", ["", "1", "123", "$LATEST", "a.b", "a/b", "é", "a" * 129, "live\n"])
def test_what_is_no_alias(name: str) -> None:
    errors = list(shapes.ALIAS.broken(name, "name"))
    assert errors
    assert all("at 'name' failed to satisfy constraint" in error for error in errors)
