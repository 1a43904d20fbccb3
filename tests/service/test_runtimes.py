"""Which runtime is started how, by what there is on the machine."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.service import runtimes
from penstock.service.functions import Function
from penstock.service.runtimes import (
    Launch,
    RuntimeNotInstalled,
    Unavailable,
    UnknownRuntime,
    concurrency,
    launch,
)

OURS = f"{sys.version_info[0]}.{sys.version_info[1]}"


class Machine:
    """A machine with what the test puts there."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bin"
        self.pyenv = folder / "pyenv"
        self.runtimes = folder / "runtimes"
        self.code = folder / "code"
        for each in (self.path, self.pyenv, self.runtimes, self.code):
            each.mkdir()
        self.notes: list[str] = []

    def program(self, path: Path, content: bytes = b"\x7fELF") -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755)
        return str(path)

    def node(self, name: str, version: str = "22.1.0") -> Path:
        place = self.runtimes / name
        self.program(place / "node/bin/node")
        (place / "client.mjs").write_text("")
        said = {"program": "node/bin/node", "client": "client.mjs", "version": version}
        (place / "penstock.json").write_text(json.dumps(said))
        return place

    def function(self, runtime: str = "", **more: Any) -> Function:
        return Function("app", "app.handler", str(self.code), "/venv/bin/python", runtime=runtime, **more)

    def launch(self, runtime: str = "", **environment: str) -> Launch:
        return launch(self.function(runtime, environment=environment), self.notes.append)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(machine.path))
    monkeypatch.setenv("PYENV_ROOT", str(machine.pyenv))
    monkeypatch.setenv("PENSTOCK_RUNTIMES", str(machine.runtimes))
    monkeypatch.setattr(sys, "platform", "linux")
    return machine


def another(than: str = OURS) -> str:
    """A Python that Penstock's runtime works on, and is not this one."""
    return next(v for v in ("3.12", "3.13") if v != than)


def test_without_a_runtime_it_is_python_on_the_functions_interpreter(machine: Machine) -> None:
    assert machine.launch() == Launch("/venv/bin/python")
    assert machine.launch(PENSTOCK_RUNTIME_CLIENT="penstock") == Launch("/venv/bin/python")


# Python.


def test_the_service_s_own_python(machine: Machine) -> None:
    assert machine.launch(f"python{OURS}") == Launch(sys.executable)
    assert machine.notes == []


def test_the_function_s_own_interpreter_if_it_is_that_python(machine: Machine) -> None:
    python = machine.program(machine.code / f"bin/python{another()}")
    machine.program(machine.path / f"python{another()}")
    function = Function("app", "app.handler", str(machine.code), python, runtime=f"python{another()}")
    assert launch(function, machine.notes.append) == Launch(python)


def test_a_python_on_path(machine: Machine) -> None:
    python = machine.program(machine.path / f"python{another()}")
    assert machine.launch(f"python{another()}") == Launch(python)
    assert machine.notes == []


def test_a_python_of_pyenv_the_newest(machine: Machine) -> None:
    version = another()
    machine.program(machine.path / f"python{version}", b"#!/usr/bin/env bash\n")  # pyenv's shim
    for patch in ("9", "10"):
        newest = machine.program(machine.pyenv / f"versions/{version}.{patch}/bin/python{version}")
    assert machine.launch(f"python{version}") == Launch(newest)


def test_a_python_that_is_not_there_is_replaced_by_ours(machine: Machine) -> None:
    assert machine.launch(f"python{another()}") == Launch(sys.executable)
    (note,) = machine.notes
    assert note.startswith(f"python{another()} is not installed: the function runs on Python {OURS}.")


def test_a_python_too_old_for_penstock(machine: Machine) -> None:
    machine.program(machine.path / "python3.9")
    assert machine.launch("python3.9") == Launch(sys.executable)
    (note,) = machine.notes
    assert "needs Python 3.11" in note
    assert "PENSTOCK_RUNTIME_CLIENT=awslambdaric" in note


# awslambdaric.


def test_awslambdaric_where_penstock_installed_it(machine: Machine) -> None:
    python = machine.program(machine.path / "python3.9")
    place = machine.runtimes / "awslambdaric-3.9"
    (place / "awslambdaric").mkdir(parents=True)
    found = machine.launch(
        "python3.9", PENSTOCK_RUNTIME_CLIENT="awslambdaric", PYTHONPATH="/lib", PATH="/bin"
    )
    assert found == Launch(
        sys.executable,
        (python, "-m", "awslambdaric", "app.handler"),
        {
            "PATH": f"{machine.path}:/bin",
            "PYTHONPATH": f"/lib:{place}",
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.9",
        },
    )
    assert machine.notes == []
    assert list(runtimes.installed_pythons()) == [("3.9", place)]


@pytest.mark.parametrize("where", ["code", "site-packages"])
def test_awslambdaric_that_is_there_anyway(machine: Machine, where: str) -> None:
    python = machine.program(machine.path / "python3.9")
    site = machine.path.parent / "lib/python3.9/site-packages"
    ((machine.code if where == "code" else site) / "awslambdaric").mkdir(parents=True)
    command = machine.launch("python3.9", PENSTOCK_RUNTIME_CLIENT="awslambdaric").command
    assert command == (python, "-m", "awslambdaric", "app.handler")


def test_awslambdaric_that_is_not_installed(machine: Machine) -> None:
    machine.program(machine.path / "python3.9")
    with pytest.raises(RuntimeNotInstalled, match=r"runtimes install awslambdaric --python 3\.9$"):
        machine.launch("python3.9", PENSTOCK_RUNTIME_CLIENT="awslambdaric")


def test_awslambdaric_for_a_python_that_is_not_there(machine: Machine) -> None:
    (machine.runtimes / f"awslambdaric-{OURS}/awslambdaric").mkdir(parents=True)
    found = machine.launch(f"python{another()}", PENSTOCK_RUNTIME_CLIENT="awslambdaric")
    assert found.command[0] == sys.executable
    assert found.environment["AWS_EXECUTION_ENV"] == f"AWS_Lambda_python{OURS}"
    assert len(machine.notes) == 1


def test_awslambdaric_on_the_functions_own_interpreter(machine: Machine) -> None:
    venv = machine.code / ".venv"
    python = machine.program(venv / "bin/python")
    (venv / "pyvenv.cfg").write_text("home = /usr\nversion = 3.12.4\n")
    (machine.runtimes / "awslambdaric-3.12/awslambdaric").mkdir(parents=True)
    environment = {"PENSTOCK_RUNTIME_CLIENT": "awslambdaric"}
    function = Function("app", "app.handler", str(machine.code), python, environment=environment)
    assert launch(function, machine.notes.append).command[0] == python


@pytest.mark.parametrize("said", ["0", "1601", "-1", "many", "", "1.5", "²"])
def test_a_concurrency_that_there_is_not(machine: Machine, said: str) -> None:
    with pytest.raises(
        Unavailable, match="PENSTOCK_CONCURRENCY: expected a whole number from 1 to 1,600, got"
    ):
        machine.launch(PENSTOCK_CONCURRENCY=said)


def test_a_concurrency() -> None:
    assert concurrency({}) == 1
    assert concurrency({"PENSTOCK_CONCURRENCY": "1600"}) == 1600


def test_a_client_that_there_is_not(machine: Machine) -> None:
    with pytest.raises(Unavailable, match="is penstock or awslambdaric, not 'aws'"):
        machine.launch(PENSTOCK_RUNTIME_CLIENT="aws")


@pytest.mark.parametrize(
    ("settings", "name", "version"),
    [
        ("version = 3.12.4", "python", "3.12"),
        ("version_info = 3.13.0.final.0", "python", "3.13"),
        (None, "python3.10", "3.10"),
        (None, "python", ""),
    ],
)
def test_the_version_of_an_interpreter(
    machine: Machine, settings: str | None, name: str, version: str
) -> None:
    python = machine.program(machine.code / "bin" / name)
    if settings is not None:
        (machine.code / "pyvenv.cfg").write_text(settings)
    assert runtimes.python_version(python) == version


# Node.


def test_node_as_it_was_installed_for_this_version(machine: Machine) -> None:
    place = machine.node("nodejs22.x")
    machine.node("nodejs", "20.2.0")
    found = launch(machine.function("nodejs22.x", memory_mb=200), machine.notes.append)
    assert found == Launch(
        sys.executable,
        (
            f"{place}/node/bin/node",
            "--max-old-space-size=180",
            "--max-semi-space-size=10",
            f"{place}/client.mjs",
            "app.handler",
        ),
        {
            "PATH": f"{place}/node/bin:/usr/local/bin:/usr/bin:/bin",
            "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs22.x",
        },
    )
    assert machine.notes == []


def test_node_as_it_was_installed_for_all_versions(machine: Machine) -> None:
    place = machine.node("nodejs", "20.2.0")
    assert machine.launch("nodejs22.x").command[0] == f"{place}/node/bin/node"
    assert machine.notes == [
        "nodejs22.x is not installed: the function runs on Node 20.2.0; penstock runtimes install nodejs22.x"
    ]
    machine.notes.clear()
    machine.launch("nodejs20.x")
    assert machine.notes == []


def test_node_that_is_not_installed(machine: Machine) -> None:
    with pytest.raises(RuntimeNotInstalled, match=r"nodejs22\.x is not installed: penstock runtimes install"):
        machine.launch("nodejs22.x")


@pytest.mark.parametrize("broken", ["node/bin/node", "client.mjs", "penstock.json"])
def test_an_installation_that_is_not_whole_is_none(machine: Machine, broken: str) -> None:
    place = machine.node("nodejs22.x")
    (place / broken).unlink()
    assert runtimes.find_node("nodejs22.x") is None


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"program": 1, "client": 2, "version": 3}'])
def test_what_says_nothing_of_an_installation(machine: Machine, said: str) -> None:
    place = machine.node("nodejs22.x")
    (place / "penstock.json").write_text(said)
    assert runtimes.find_node("nodejs22.x") is None


def test_node_outside_of_the_installation(machine: Machine) -> None:
    place = machine.node("nodejs")
    program = machine.program(machine.path / "node")
    said = {"program": program, "client": "client.mjs", "version": "20.2.0"}
    (place / "penstock.json").write_text(json.dumps(said))
    assert runtimes.read_node(place) == runtimes.Node(program, f"{place}/client.mjs", "20.2.0", False)


def test_node_needs_linux(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(RuntimeNotInstalled, match="runs on Linux only"):
        machine.launch("nodejs22.x")


# What a function brings, and what nobody has.


@pytest.mark.parametrize("runtime", runtimes.PROVIDED)
def test_the_functions_own_bootstrap(machine: Machine, runtime: str) -> None:
    found = machine.launch(runtime, PATH="/opt/bin")
    assert found == Launch(sys.executable, (f"{machine.code}/bootstrap",), {"PATH": "/opt/bin"})


def test_a_runtime_of_awss_that_is_not_run_here(machine: Machine) -> None:
    with pytest.raises(
        RuntimeNotInstalled, match=r"java21 is not run here, only python3\.9.*provided\.al2023"
    ):
        machine.launch("java21")


def test_an_unknown_runtime(machine: Machine) -> None:
    with pytest.raises(
        UnknownRuntime, match=r"no runtime 'cobol85'; known are python3\.9, .*provided\.al2023"
    ):
        machine.launch("cobol85")


def test_every_runtime_of_botocores_is_known() -> None:
    import botocore.session

    model = botocore.session.get_session().get_service_model("lambda")
    assert set(model.shape_for("Runtime").enum) - set(runtimes.KNOWN) <= {"custom"}
    assert len(set(runtimes.KNOWN)) == len(runtimes.KNOWN)


# Where things are.


def test_without_a_home_nothing_is_installed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_RUNTIMES")
    for name in ("HOME", "PYENV_ROOT", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # a user that the system does not know
    with pytest.raises(RuntimeNotInstalled, match="penstock runtimes install nodejs22"):
        machine.launch("nodejs22.x")
    assert machine.launch(f"python{another()}") == Launch(sys.executable)
    with pytest.raises(RuntimeNotInstalled, match="penstock runtimes install awslambdaric"):
        machine.launch(PENSTOCK_RUNTIME_CLIENT="awslambdaric")


def test_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtimes.folder({"PENSTOCK_RUNTIMES": "/opt/r", "XDG_DATA_HOME": "/d"}) == Path("/opt/r")
    assert runtimes.folder({"PENSTOCK_RUNTIMES": "r"}) == Path.cwd() / "r"  # functions run elsewhere
    assert runtimes.folder({"XDG_DATA_HOME": "/d"}) == Path("/d/penstock/runtimes")
    monkeypatch.setenv("HOME", "/home/me")
    for environment in ({}, {"XDG_DATA_HOME": "relative"}):
        assert runtimes.folder(environment) == Path("/home/me/.local/share/penstock/runtimes")
