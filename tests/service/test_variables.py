import os
from typing import Any

import pytest

from penstock.service.functions import Function
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
        "PWD": "/code",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
    }
    assert {name: seen.get(name) for name in expected} == expected
    assert os.path.isdir(seen["LAMBDA_RUNTIME_DIR"])
    assert seen["PATH"]


def test_its_own_variables_pass_and_the_reserved_ones_do_not() -> None:
    seen = made(GREETING="hello", TZ="Europe/Berlin", _HANDLER="evil", AWS_LAMBDA_RUNTIME_API="1.2.3.4:5")
    assert (seen["GREETING"], seen["TZ"]) == ("hello", "Europe/Berlin")
    assert (seen["_HANDLER"], seen["AWS_LAMBDA_RUNTIME_API"]) == ("mod.handler", "fd:3")


def test_the_runtime_s_own_stand_above_the_function_s() -> None:
    environment = {"PATH": "/bin", "AWS_EXECUTION_ENV": "CloudShell", "A": "b"}
    function = Function("app", "mod.handler", "/code", "python", environment=environment)
    assert "AWS_EXECUTION_ENV" not in variables(function, "", "", "fd:3")
    runtime = {"PATH": "/node/bin:/bin", "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs22.x", "_HANDLER": "evil"}
    seen = variables(function, "", "", "fd:3", runtime)
    assert (seen["PATH"], seen["AWS_EXECUTION_ENV"]) == ("/node/bin:/bin", "AWS_Lambda_nodejs22.x")
    assert (seen["_HANDLER"], seen["A"]) == ("mod.handler", "b")


@pytest.mark.parametrize(
    ("settings", "level"), [({}, "INFO"), ({"log_level": "DEBUG"}, "DEBUG"), ({"log_format": "Text"}, None)]
)
def test_the_form_of_the_log(settings: dict[str, Any], level: str | None) -> None:
    function = Function("app", "mod.handler", "/code", "python", **({"log_format": "JSON"} | settings))
    seen = variables(function, "", "", "fd:3")
    assert seen.get("AWS_LAMBDA_LOG_FORMAT") == ("JSON" if level else None)
    assert seen.get("AWS_LAMBDA_LOG_LEVEL") == level


def test_credentials_are_not_made_up() -> None:
    assert not [name for name in made() if "KEY" in name or "TOKEN" in name]
    assert made(AWS_ACCESS_KEY_ID="id")["AWS_ACCESS_KEY_ID"] == "id"


def test_nothing_of_the_service_itself_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("PENSTOCK_PORT", "1")
    assert not {"AWS_SECRET_ACCESS_KEY", "PENSTOCK_PORT"} & made().keys()


def test_how_many_may_run_at_once() -> None:
    for concurrency, said in ((1, None), (100, "100")):
        own = {"AWS_LAMBDA_MAX_CONCURRENCY": "7"}  # not its to say
        function = Function("app", "mod.handler", "/code", "python", environment=own, concurrency=concurrency)
        assert variables(function, "", "", "fd:3").get("AWS_LAMBDA_MAX_CONCURRENCY") == said
