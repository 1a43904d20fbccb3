from typing import Any

import botocore.session
import pytest

from penstock.protocol import lambda_api


@pytest.fixture(scope="module")
def model() -> Any:
    """AWS's own description of its Lambda API."""
    return botocore.session.get_session().get_service_model("lambda")


@pytest.mark.parametrize(
    ("operation", "path"),
    [("Invoke", lambda_api.invoke_path), ("InvokeWithResponseStream", lambda_api.stream_path)],
)
def test_paths_are_those_of_the_model(model: Any, operation: str, path: Any) -> None:
    http = model.operation_model(operation).http
    assert http["method"] == "POST"
    assert path("app") == http["requestUri"].replace("{FunctionName}", "app")


def test_names_are_percent_encoded() -> None:
    assert lambda_api.invoke_path("arn:f:$LATEST/x").split("/")[3] == "arn%3Af%3A%24LATEST%2Fx"


def test_header_names_are_those_of_the_model(model: Any) -> None:
    known = set()
    for operation in ("Invoke", "InvokeWithResponseStream"):
        shapes = model.operation_model(operation)
        for shape in (shapes.input_shape, shapes.output_shape):
            for member in shape.members.values():
                if member.serialization.get("location") == "header":
                    known.add(member.serialization["name"].lower())
    ours = (
        lambda_api.INVOCATION_TYPE,
        lambda_api.LOG_TYPE,
        lambda_api.CLIENT_CONTEXT,
        lambda_api.EXECUTED_VERSION,
        lambda_api.FUNCTION_ERROR,
        lambda_api.LOG_RESULT,
    )
    assert {name.lower() for name in ours} <= known
