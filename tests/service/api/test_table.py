import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from management_kit import ARN, PYTHON, ROLE, Management, zipped
from penstock.protocol.call import FunctionNotFound
from penstock.protocol.operations import BY_NAME, OPERATIONS
from penstock.service.api.errors import ApiError
from penstock.service.api.request import ApiRequest, Reply
from penstock.service.api.table import INVOCATIONS, PARTIAL, rendered
from settings_kit import model

PAGE = Path(__file__).parents[3] / "docs/lambda-api.md"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Management]:
    opened = Management(tmp_path_factory.mktemp("api"))
    yield opened
    opened.close()


def test_the_table_that_is_documented(api: Management) -> None:
    table = rendered(api.handlers)
    if table not in PAGE.read_text():
        raise AssertionError(f"docs/lambda-api.md: the operations are now\n{table}")


def test_every_operation_is_in_the_table_once(api: Management) -> None:
    table = rendered(api.handlers)
    assert api.handlers.keys() <= BY_NAME.keys()
    for operation in OPERATIONS:
        row = table.count(f"\n| {operation.name} |")
        word = sum(each == operation.name for each in table.partition("501: ")[2].rstrip(".").split(", "))
        assert row + word == 1, operation.name
        assert row == (operation.name in api.handlers or operation.name in INVOCATIONS)


def test_what_differs_is_built() -> None:
    assert PARTIAL.keys() <= BY_NAME.keys()
    assert all(not text.endswith(".") and "\n" not in text and "|" not in text for text in PARTIAL.values())


def test_the_counts(api: Management) -> None:
    built = len(api.handlers) + len(INVOCATIONS)
    first = rendered(api.handlers).partition("\n")[0]
    partly = sum(name in PARTIAL for name in {*api.handlers, *INVOCATIONS})
    assert first.startswith(
        f"Of AWS's {len(OPERATIONS)} operations {built - partly} are built, {partly} differ"
    )
    assert first.endswith(f"{len(OPERATIONS) - built} answer 501.")


# Whatever is sent, the answer is the operation's or an error of AWS's.

IN_QUERY = ("Qualifier", "Marker", "MaxItems", "FunctionVersion", "tagKeys", "RevisionId")
anything = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(max_size=20),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
plausible = some.sampled_from(
    ["app", "1", "$LATEST", "live", "NONE", "Zip", ROLE, PYTHON, "app.handler", f"{ARN}app", 1, 3, 200, True]
)
names = some.sampled_from(["app", "app:1", "app:live", f"{ARN}app", "nobody", "app:$LATEST"]) | some.text(
    max_size=30
)


def members(shape: Any, depth: int = 2) -> some.SearchStrategy[Any]:
    """Documents with the members of a shape of AWS's, some of them right, some of anything."""
    if shape.type_name == "structure" and depth:
        optional = {name: members(each, depth - 1) for name, each in shape.members.items()}
        return some.fixed_dictionaries({}, optional=optional)
    if getattr(shape, "enum", None):
        return some.sampled_from(shape.enum) | anything
    return plausible | anything


@pytest.fixture(scope="module")
def runner(api: Management) -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        runner.run(api.create(Publish=True))
        runner.run(api.call("CreateAlias", "app", Name="live", FunctionVersion="1"))
        yield runner


@pytest.mark.parametrize("operation", [each.name for each in OPERATIONS if each.name not in INVOCATIONS])
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=some.data())
def test_anything_has_an_answer(
    api: Management, runner: asyncio.Runner, operation: str, data: some.DataObject
) -> None:
    if operation not in api.handlers:
        return
    shape = model().operation_model(operation).input_shape
    document = {} if shape is None else data.draw(members(shape))
    if "Code" in document and isinstance(document["Code"], dict) and data.draw(some.booleans()):
        document["Code"] = {"ZipFile": base64.b64encode(zipped()).decode()}
    path = {
        part[1:-1]: data.draw(names)
        for part in BY_NAME[operation].template.partition("?")[0].split("/")
        if part.startswith("{")
    }
    values = plausible.map(str) | some.text(max_size=8)
    query = data.draw(
        some.dictionaries(
            some.sampled_from(IN_QUERY),
            some.lists(values, min_size=1, max_size=2),
            max_size=3,
        )
    )
    request = ApiRequest(operation, path, query, json.dumps(document).encode(), "localhost")
    try:
        reply = runner.run(api.handlers[operation](request))
    except FunctionNotFound:
        pass
    except ApiError as error:
        if error.status >= 500 and error.code != "NotImplementedException":
            raise
    else:
        assert isinstance(reply, Reply)
        assert reply.status == BY_NAME[operation].success
        json.dumps(reply.document, allow_nan=False)
    if "app" not in api.catalog:
        runner.run(api.create(Publish=True))
        runner.run(api.call("CreateAlias", "app", Name="live", FunctionVersion="1"))
    for entry in api.catalog.entries():
        for version in entry.all_versions():
            api.catalog.resolve(entry.name, version.version)
