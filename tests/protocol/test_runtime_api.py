import pytest

from penstock.protocol.runtime_api import InvocationInfo


@pytest.mark.parametrize(
    "info",
    [
        InvocationInfo("id-1", 1_700_000_000_000, "arn:aws:lambda:us-east-1:000000000000:function:app"),
        InvocationInfo("id-2", 1, "arn", "Root=1-2", '{"client":{}}', '{"cognitoIdentityId":"x"}', "tenant"),
        InvocationInfo("id-2", 1, "arn", tenant_id="tenant", invocation_id="try-2"),
    ],
)
def test_headers_go_both_ways(info: InvocationInfo) -> None:
    lines = info.lines().decode().split("\r\n")
    assert lines.pop() == ""
    headers = dict(line.split(": ", 1) for line in lines)
    assert all(headers.values())
    assert InvocationInfo.from_headers({name.lower(): value for name, value in headers.items()}) == info


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\n", "a\r"])
def test_a_value_cannot_be_another_header(value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        InvocationInfo("id", 1, "arn", trace_id=value).lines()
