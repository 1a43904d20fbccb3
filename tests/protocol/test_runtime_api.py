import json

import pytest

from penstock.protocol.runtime_api import InvocationInfo, error_document


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
