"""The wheel, built and installed as a user does it: alone without a dependency, with [serve] the platform.

Needs a package index: `build` takes hatchling from it, and [serve] httptools and uvloop.
"""

import email
import email.message
import json
import os
import re
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from pathlib import Path

import pytest

import penstock

ROOT = Path(__file__).parent.parent
# What is tested is what is installed: nothing of the checkout, no virtual environment of the caller's.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name != "VIRTUAL_ENV" and not name.startswith(("PENSTOCK_", "PYTHON"))
}


def run(*command: object, cwd: Path, fails: bool = False) -> str:
    """What a command says; an AssertionError with all of it when it does not end as it should."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert (done.returncode != 0) == fails, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("packaging")


@pytest.fixture(scope="module")
def wheel(folder):
    """The wheel, built from the sdist, as `python -m build` and the installers of an sdist do."""
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", ROOT, cwd=folder)
    (made,) = (folder / "dist").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def venv(folder):
    """The `bin` of an empty virtual environment."""
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    return folder / "venv/bin"


def install(venv: Path, what: str, cwd: Path) -> None:
    run(venv / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", what, cwd=cwd)


@pytest.fixture(scope="module")
def alone(wheel, venv, folder):
    """The `bin` of an environment that holds the wheel alone."""
    install(venv, str(wheel), folder)
    return venv


@pytest.fixture(scope="module")
def serving(alone, wheel, folder):
    """The same, after [serve] was added: tests that use `alone` come first."""
    install(alone, f"{wheel}[serve]", folder)
    return alone


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_says_what_it_is(wheel):
    told = metadata(wheel)
    assert told["Name"] == "penstock"
    assert told["Version"] == penstock.__version__
    assert told["License-Expression"] == "Apache-2.0"
    assert told["Requires-Python"] == ">=3.11"
    assert told["Summary"]
    assert "# Penstock" in told.get_payload()


def test_the_wheel_depends_on_nothing_without_an_extra(wheel):
    required = metadata(wheel).get_all("Requires-Dist", [])
    assert [line for line in required if "extra ==" not in line] == []
    serve = {re.split(r"[<>=; ]", line)[0] for line in required if re.search(r"extra == .serve.", line)}
    assert serve == {"botocore", "httptools", "uvloop"}


def test_the_wheel_holds_the_package_and_no_more(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {
        "penstock",
        f"penstock-{penstock.__version__}.dist-info",
    }
    assert "penstock/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    source = ROOT / "src"
    modules = {str(path.relative_to(source)) for path in (source / "penstock").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules


def test_the_sdist_holds_what_it_takes_to_work_on_it(wheel):
    (made,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(made) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in (
        "README.md",
        "LICENSE",
        "pyproject.toml",
        "scripts/test",
        "examples/seed.py",
        "docs/README.md",
    ):
        assert name in names
    assert "tests/test_packaging.py" in names


def test_the_wheel_alone_can_be_imported(alone, folder):
    said = run(alone / "python", "-c", "import penstock; print(penstock.__file__)", cwd=folder)
    assert str(folder) in said
    run(alone / "python", "-W", "error", "-c", "import penstock.client, penstock.runtime.loop", cwd=folder)


def test_the_wheel_alone_has_the_command(alone, folder):
    assert "penstock COMMAND --help" in run(alone / "penstock", "--help", cwd=folder)
    assert run(alone / "penstock", "--version", cwd=folder) == f"penstock {penstock.__version__}\n"
    said = run(
        alone / "penstock", "invoke", "app", "--endpoint-url", "http://127.0.0.1:9", cwd=folder, fails=True
    )
    assert "nothing listens" in said


@pytest.mark.parametrize("command", ["dev", "serve"])
def test_the_wheel_alone_says_what_serving_needs(alone, folder, command):
    said = run(alone / "penstock", command, ROOT / "examples/seed.py", cwd=folder, fails=True)
    assert (
        said == f"penstock: `penstock {command}` needs the platform's parts: pip install 'penstock[serve]'\n"
    )


def test_with_serve_it_runs_the_seed_example(serving, folder):
    platform = subprocess.Popen(
        [serving / "penstock", "serve", ROOT / "examples/seed.py", "--port", "0", "--lambda-port", "0"],
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert platform.stderr is not None
    try:
        listening = json.loads(platform.stderr.readline())
        assert listening["event"] == "listening"
        # The functions run on the interpreter penstock is installed in.
        assert Path(listening["python"]).parent == serving
        with urllib.request.urlopen(listening["gateway"], timeout=30) as response:
            assert response.headers["Content-Type"] == "application/json"
            received = [json.loads(line) for line in response]
    finally:
        platform.terminate()
        platform.wait(30)
        platform.stderr.close()
    assert received == [{"line": number, "text": "streamed"} for number in range(1000)]
