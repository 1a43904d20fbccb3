import os

import pytest

from penstock.service.registry import Function
from penstock.service.variables import variables


def made(**environment: str) -> dict[str, str]:
    function = Function("app", "mod.handler", "/code", "python", memory_mb=256, environment=environment)
    return variables(function, "eu-west-1", "2026/11/22/[$LATEST]abc", "fd:3")


def test_what_aws_documents() -> None:
    # https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    seen = made()
    expected = {
        "_HANDLER": "mod.handler",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_LAMBDA_FUNCTION_NAME": "app",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/app",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/22/[$LATEST]abc",
        "AWS_LAMBDA_RUNTIME_API": "fd:3",
        "LAMBDA_TASK_ROOT": "/code",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
    }
    assert {name: seen.get(name) for name in expected} == expected
    assert os.path.isdir(seen["LAMBDA_RUNTIME_DIR"])
    assert seen["PATH"]


def test_its_own_variables_pass_and_the_reserved_ones_do_not() -> None:
    seen = made(GREETING="hello", TZ="Europe/Berlin", _HANDLER="evil", AWS_LAMBDA_RUNTIME_API="1.2.3.4:5")
    assert (seen["GREETING"], seen["TZ"]) == ("hello", "Europe/Berlin")
    assert (seen["_HANDLER"], seen["AWS_LAMBDA_RUNTIME_API"]) == ("mod.handler", "fd:3")


def test_nothing_of_the_service_itself_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("PENSTOCK_PORT", "1")
    assert not {"AWS_SECRET_ACCESS_KEY", "PENSTOCK_PORT"} & made().keys()
