import json
import time

import pytest

from penstock.protocol.runtime_api import InvocationInfo
from penstock.runtime.context import LambdaContext
from penstock.runtime.errors import RuntimeFault

ENVIRON = {
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/hello",
    "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
    "AWS_LAMBDA_FUNCTION_NAME": "hello",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
}
CLIENT = {
    "client": {"installation_id": "i", "app_title": "t"},
    "custom": {"k": "v"},
    "env": {"locale": "de"},
    "w3c": {"traceparent": "00-1", "tracestate": 5, "other": "x"},
}
IDENTITY = {"cognitoIdentityId": "a", "cognitoIdentityPoolId": "b"}


def info(deadline_ms=0, **fields):
    return InvocationInfo("id-1", deadline_ms, "arn:hello", **fields)


def full():
    return info(client_context=json.dumps(CLIENT), cognito_identity=json.dumps(IDENTITY), tenant_id="blue")


def seen(context):
    """Everything a function can read of a context."""
    names = (
        "aws_request_id log_group_name log_stream_name function_name memory_limit_in_mb function_version "
        "invoked_function_arn tenant_id"
    )
    values = {name: getattr(context, name) for name in names.split()}
    client_context = context.client_context
    if client_context is not None:
        values["custom"], values["env"] = client_context.custom, client_context.env
        client = client_context.client
        names = "installation_id app_title app_version_name app_version_code app_package_name"
        values["client"] = client and {name: getattr(client, name) for name in names.split()}
    identity = context.identity
    values["identity"] = (identity.cognito_identity_id, identity.cognito_identity_pool_id)
    values["w3c"] = context.w3c()
    return values


@pytest.mark.parametrize("environ", [ENVIRON, {}], ids=["environment", "bare"])
@pytest.mark.parametrize("invocation", [info(), full(), info(client_context="{}", cognito_identity="{}")])
def test_attributes_are_those_of_aws(invocation, environ, monkeypatch):
    theirs = pytest.importorskip("awslambdaric.lambda_context")
    for name in ENVIRON:
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    client, identity = invocation.client_context, invocation.cognito_identity
    expected = theirs.LambdaContext(
        invocation.request_id,
        json.loads(client) if client else None,
        json.loads(identity) if identity else None,
        invocation.deadline_ms,
        invocation.function_arn,
        invocation.tenant_id or None,
    )
    assert seen(LambdaContext.create(invocation, environ)) == seen(expected)


def test_remaining_time():
    deadline = int(time.time() * 1000) + 60_000
    assert 50_000 < LambdaContext.create(info(deadline), {}).get_remaining_time_in_millis() <= 60_000
    assert LambdaContext.create(info(1), {}).get_remaining_time_in_millis() == 0


def test_log_writes_what_it_is_given(capsys):
    context = LambdaContext.create(info(), ENVIRON)
    context.log("a")
    context.log(5)
    assert capsys.readouterr().out == "a5"


def test_repr_names_the_values():
    assert "aws_request_id='id-1'" in repr(LambdaContext.create(full(), ENVIRON))
    assert "custom={'k': 'v'}" in repr(LambdaContext.create(full(), ENVIRON))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"client_context": "{"}, "Unable to parse Client Context JSON: "),
        ({"client_context": "[]"}, "Unable to parse Client Context JSON: expected an object, got list"),
        ({"cognito_identity": "x"}, "Unable to parse Cognito Identity JSON: "),
    ],
)
def test_what_cannot_be_parsed_is_a_fault(fields, message):
    with pytest.raises(RuntimeFault) as error:
        LambdaContext.create(info(**fields), {})
    assert error.value.error_type == "Runtime.LambdaContextUnmarshalError"
    assert str(error.value).startswith(message)
