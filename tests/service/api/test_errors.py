"""Errors, as AWS's own client reads them."""

import json

import botocore.session
import pytest

from penstock.service.api.errors import ApiError, invalid_parameter, not_found

MODEL = botocore.session.get_session().get_service_model("lambda")
SHAPES = {name: MODEL.shape_for(name) for name in MODEL.shape_names if name.endswith("Exception")}


@pytest.mark.parametrize(
    "code",
    [
        "ResourceNotFoundException",
        "InvalidParameterValueException",
        "ResourceConflictException",
        "TooManyRequestsException",
        "PreconditionFailedException",
        "ServiceException",
        "CodeStorageExceededException",
        "PolicyLengthExceededException",
    ],
)
def test_the_message_is_spelled_as_the_model_spells_it(code: str) -> None:
    (member,) = [name for name in SHAPES[code].members if name.lower() == "message"]
    error = ApiError(code, "what")
    assert json.loads(error.body)[member] == "what"
    assert error.status == SHAPES[code].metadata["error"]["httpStatusCode"]


def test_a_validation_error_has_no_type() -> None:
    assert json.loads(ApiError("ValidationException", "a").body) == {"message": "a"}
    assert ApiError("ValidationException", "a").status == 400


def test_further_members_and_kinds() -> None:
    error = ApiError("TooManyRequestsException", "Rate Exceeded.", Reason="Why", retry_after=3)
    assert json.loads(error.body) == {"Type": "User", "Reason": "Why", "message": "Rate Exceeded."}
    assert error.retry_after == 3
    assert json.loads(ApiError("ServiceException", "x").body)["Type"] == "Service"


def test_the_two_usual_ones() -> None:
    assert (not_found("a").status, not_found("a").code) == (404, "ResourceNotFoundException")
    assert (invalid_parameter("a").status, str(invalid_parameter("a"))) == (400, "a")
