import json

import pytest

from penstock.protocol.runtime_api import InvocationInfo, error_document, platform_error_type


@pytest.mark.parametrize(
    ("reported", "platform"),
    [
        ("Runtime.ExitError", "Runtime.ExitError"),
        ("Function.ResponseSizeTooLarge", "Function.ResponseSizeTooLarge"),
        ("Runtime.exitError", "Runtime.Unknown"),
        ("Runtime.", "Runtime.Unknown"),
        ("Function.x y", "Function.Unknown"),
        ("Runtime.ExitError\n", "Runtime.Unknown"),
        ("ValueError", "Runtime.Unknown"),
        ("", "Runtime.Unknown"),
    ],
)
def test_the_platform_keeps_well_formed_types_only(reported: str, platform: str) -> None:
    assert platform_error_type(reported) == platform


def test_an_error_document_is_json() -> None:
    document = error_document("Sandbox.Timedout", 'said "no"')
    assert json.loads(document) == {"errorType": "Sandbox.Timedout", "errorMessage": 'said "no"'}


@pytest.mark.parametrize(
    "info",
    [
        InvocationInfo("id-1", 1_700_000_000_000, "arn:aws:lambda:us-east-1:000000000000:function:app"),
        InvocationInfo("id-2", 1, "arn", "Root=1-2", '{"client":{}}', '{"cognitoIdentityId":"x"}', "tenant"),
    ],
)
def test_headers_go_both_ways(info: InvocationInfo) -> None:
    headers = info.headers()
    assert all(value for _, value in headers)
    assert (
        InvocationInfo.from_headers({name.decode().lower(): value.decode() for name, value in headers})
        == info
    )
