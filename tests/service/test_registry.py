import pytest

from penstock.protocol.call import FunctionNotFound
from penstock.service.registry import Function, Registry

APP = Function("app", "app.handler", "/tmp", "python")
OTHER = Function("other", "other.handler", "/tmp", "python")


def test_functions_by_name_in_their_order() -> None:
    registry = Registry([OTHER, APP], "us-east-1")
    assert list(registry) == [OTHER, APP]
    assert registry.get("app") is APP


def test_arns() -> None:
    assert Registry([], "eu-west-1").arn("app") == "arn:aws:lambda:eu-west-1:000000000000:function:app"
    assert Registry([], "eu-west-1", "123456789012").arn("x").split(":")[4] == "123456789012"


def test_an_unknown_function_is_told_in_aws_words() -> None:
    with pytest.raises(FunctionNotFound) as raised:
        Registry([APP], "us-east-1").get("nope")
    assert str(raised.value) == (
        "Function not found: arn:aws:lambda:us-east-1:000000000000:function:nope:$LATEST"
    )


def test_defaults_are_those_of_a_bare_handler() -> None:
    assert (APP.timeout, APP.memory_mb, APP.idle_timeout, APP.version) == (900, 1024, None, "$LATEST")
