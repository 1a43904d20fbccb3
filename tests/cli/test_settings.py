"""Settings: where each comes from, and what is said of a bad one."""

import argparse
from pathlib import Path

import pytest

from penstock.cli.errors import SettingError
from penstock.cli.project import Project
from penstock.cli.settings import (
    GROUPS,
    RANGES,
    FunctionConfig,
    add_options,
    function_environment,
    is_loopback,
    resolve,
)

FILE = Path("shop/pyproject.toml")


def chosen(*arguments, environ=None, table=None):
    parser = argparse.ArgumentParser()
    add_options(parser)
    return resolve(vars(parser.parse_args(arguments)), environ or {}, Project(FILE, table or {}))


def test_defaults_are_those_of_the_components():
    settings = chosen()
    built = [settings.command, settings.functions, settings.gateway, settings.service]
    assert built == [config() for _, config in GROUPS]
    assert settings.sources == {}


def test_a_setting_of_two_components_is_one_setting():
    settings = chosen("--limits", "aws")
    assert (settings.service.limits, settings.gateway.limits) == ("aws", "aws")


def test_a_flag_goes_over_a_variable_and_a_variable_over_the_file():
    table = {"port": 1, "lambda-port": 1, "drain": 1}
    environ = {"PENSTOCK_PORT": "2", "PENSTOCK_LAMBDA_PORT": "2"}
    settings = chosen("--port", "3", environ=environ, table=table)
    assert (settings.command.port, settings.command.lambda_port, settings.command.drain) == (3, 2, 1)
    assert settings.sources == {
        "port": "--port",
        "lambda_port": "PENSTOCK_LAMBDA_PORT",
        "drain": "shop/pyproject.toml [tool.penstock] drain",
    }


def test_values_from_elsewhere_than_flags_are_named_without_secrets():
    table = {"env": {"KEY": "secret"}, "timeout": 30}
    settings = chosen("--port", "1", environ={"PENSTOCK_DRAIN": "2"}, table=table)
    assert settings.not_flags() == [
        ("drain = 2", "PENSTOCK_DRAIN"),
        ("timeout = 30", "shop/pyproject.toml [tool.penstock] timeout"),
        ("env = KEY", "shop/pyproject.toml [tool.penstock] env"),
    ]


def test_every_kind_of_value_from_every_place():
    from_flags = chosen("--verbose", "--event-format", "2.0", "--timeout", "0.5", "--allow-host", "a",
                        "--allow-host", "b", "--python", "python3")  # fmt: skip
    from_variables = chosen(
        environ={
            "PENSTOCK_VERBOSE": "1",
            "PENSTOCK_EVENT_FORMAT": "2.0",
            "PENSTOCK_TIMEOUT": "0.5",
            "PENSTOCK_ALLOW_HOST": "a, b",
            "PENSTOCK_PYTHON": "python3",
        }
    )
    from_file = chosen(
        table={
            "verbose": True,
            "event-format": 2.0,
            "timeout": 0.5,
            "allow_host": ["a", "b"],
            "python": "python3",
        }
    )
    for settings in (from_flags, from_variables, from_file):
        assert settings.command.verbose is True
        assert settings.gateway.event_format == "2.0"
        assert settings.functions.timeout == 0.5
        assert settings.command.allow_host == ("a", "b")
        assert settings.functions.python == "python3"


def test_every_number_has_a_range_and_its_default_is_in_it():
    numbers = {
        name: value
        for config in (chosen().command, chosen().functions, chosen().gateway, chosen().service)
        for name in config.__dataclass_fields__
        if isinstance(value := getattr(config, name), int | float) and not isinstance(value, bool)
    }
    assert numbers.keys() <= RANGES.keys()
    assert all(RANGES[name][0] <= value <= RANGES[name][1] for name, value in numbers.items())


def test_a_path_in_the_file_is_relative_to_it():
    settings = chosen(table={"env-file": ".env", "python": ".venv/bin/python"})
    assert settings.functions.env_file == "shop/.env"
    assert settings.functions.python == "shop/.venv/bin/python"
    assert chosen("--env-file", ".env").functions.env_file == ".env"


SAID = [
    (["--port", "x"], {}, {}, "--port: expected a whole number from 0 to 65,535, got 'x'"),
    (["--port", "65536"], {}, {}, "--port: expected a whole number from 0 to 65,535, got 65536"),
    (["--port", "-1"], {}, {}, "--port: expected a whole number from 0 to 65,535, got -1"),
    (["--port", "3.5"], {}, {}, "--port: expected a whole number from 0 to 65,535, got '3.5'"),
    (["--timeout", "0"], {}, {}, "--timeout: expected a number of seconds from 0.001 to 604,800, got 0"),
    (["--timeout", "nan"], {}, {}, "--timeout: expected a number of seconds from 0.001 to 604,800, got nan"),
    (["--drain", "inf"], {}, {}, "--drain: expected a number of seconds from 0 to 604,800, got inf"),
    (["--memory", "64"], {}, {}, "--memory: expected a whole number of MB from 128 to 1,048,576, got 64"),
    (["--event-format", "3"], {}, {}, "--event-format: expected 1.0 or 2.0, got '3'"),
    (["--host", ""], {}, {}, "--host: expected a value, got none"),
    ([], {"PENSTOCK_PORT": "x"}, {}, "PENSTOCK_PORT: expected a whole number from 0 to 65,535, got 'x'"),
    ([], {"PENSTOCK_VERBOSE": "maybe"}, {}, "PENSTOCK_VERBOSE: expected true or false, got 'maybe'"),
    ([], {}, {"port": "80"}, "shop/pyproject.toml [tool.penstock] port: expected a whole number, got '80'"),
    ([], {}, {"port": True}, "shop/pyproject.toml [tool.penstock] port: expected a whole number, got True"),
    ([], {}, {"port": -1}, "shop/pyproject.toml [tool.penstock] port: expected a whole number from 0 to "
     "65,535, got -1"),
    ([], {}, {"verbose": 1}, "shop/pyproject.toml [tool.penstock] verbose: expected true or false, got 1"),
    ([], {}, {"host": 1}, "shop/pyproject.toml [tool.penstock] host: expected text, got 1"),
    ([], {}, {"allow-host": "x"}, "shop/pyproject.toml [tool.penstock] allow-host: expected a list of text, "
     "got 'x'"),
    ([], {}, {"env": ["A=1"]}, "shop/pyproject.toml [tool.penstock] env: expected a table of text, such as "
     "{STAGE = \"dev\"}, got ['A=1']"),
    ([], {}, {"idle-timout": 1}, "shop/pyproject.toml [tool.penstock]: unknown key 'idle-timout'; did you "
     "mean idle-timeout?"),
    ([], {}, {"xyz": 1}, "shop/pyproject.toml [tool.penstock]: unknown key 'xyz'"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "environ", "table", "said"), SAID)
def test_what_is_said_of_a_bad_value(arguments, environ, table, said):
    with pytest.raises(SettingError) as raised:
        chosen(*arguments, environ=environ, table=table)
    assert str(raised.value) == said


def test_variables_for_functions(tmp_path):
    file = tmp_path / ".env"
    file.write_text("# a comment\n\nA=file\nexport B = 'two words'\nC=\"x=y\"\n")
    config = FunctionConfig(env_file=str(file), env=("A=flag", "HOME", "EMPTY="))
    assert function_environment(config, {"HOME": "/home/me"}) == {
        "A": "flag",
        "B": "two words",
        "C": "x=y",
        "HOME": "/home/me",
        "EMPTY": "",
    }


def test_a_flag_s_variables_go_over_the_file_s_one_by_one():
    settings = chosen("--env", "A=flag", table={"env": {"A": "file", "B": "file"}})
    assert function_environment(settings.functions, {}) == {"A": "flag", "B": "file"}


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("=x", "--env '=x': expected NAME or NAME=VALUE"),
        ("NOPE", "--env NOPE: the shell has no such variable; give it as NOPE=VALUE"),
    ],
)
def test_what_is_said_of_a_bad_variable(item, said):
    with pytest.raises(SettingError) as raised:
        function_environment(FunctionConfig(env=(item,)), {})
    assert str(raised.value) == said


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "--env-file: cannot read {}: No such file or directory"),
        (b"A=\xff", "--env-file: cannot read {}: it is not UTF-8"),
        (b"A=1\nnonsense\n", "{}:2: expected NAME=VALUE, got 'nonsense'"),
    ],
)
def test_what_is_said_of_a_bad_env_file(tmp_path, data, said):
    path = tmp_path / ".env"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SettingError) as raised:
        function_environment(FunctionConfig(env_file=str(path)), {})
    assert str(raised.value) == said.format(path)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("192.168.1.1", False), ("example.com", False), ("", False),
    ],
)  # fmt: skip
def test_loopback(host, loopback):
    assert is_loopback(host) is loopback
