"""`penstock runtimes`: what runs functions on this machine, and installing what does not come with Penstock.

Node's runtime client, `aws-lambda-ric` from npm, has a part in C++ that is built here. Node itself, in the
version wanted, also comes from npm, with the headers that takes, so no other host is asked. A runtime is
installed beside its place, tried, and then renamed: what is there is whole.
"""

import contextlib
import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.service import runtimes

from .errors import CommandError, UsageError

_NEWEST = "nodejs24.x"  # what `nodejs` is where this machine's Node will not do
_OLDEST = 18  # the major version of Node that AWS's client works with
_AWSLAMBDARIC = "awslambdaric>=3,<5"
_TAIL = 20  # lines of a failed program's output
# What building takes, and the Debian package that has it.
_PACKAGES = {
    "npm": "npm",
    "g++": "g++",
    "make": "make",
    "cmake": "cmake",
    "python3": "python3",
    "tar": "tar",
    "xz": "xz-utils",
    "autoconf": "autoconf",
    "automake": "automake",
    "libtoolize": "libtool",
}


@dataclass(frozen=True, slots=True)
class Client:
    """A version of aws-lambda-ric, which was tried."""

    version: str
    entry: str  # below its own folder
    native: str  # likewise: its part in C++
    needs: tuple[str, ...]  # programs to build it, beside those that all need
    overrides: Mapping[str, str]  # versions of what it builds with


_BUILD = ("npm", "g++", "make", "cmake", "python3", "tar")
_OLD_CLIENT = Client(
    "3.3.0",
    "bin/index.mjs",
    "dist/rapid-client.node",
    ("autoconf", "automake", "libtoolize"),
    {"node-gyp": "^11.2.0"},  # its own does not work with Python 3.12
)
_CLIENT = Client("4.0.2", "index.mjs", "rapid-client.node", ("xz",), {})
_SINCE = 22  # the major version of Node that the newer client takes


def run(options: Mapping[str, Any], environment: Mapping[str, str]) -> int:
    """`penstock runtimes list`, or `install NAME…`. Raises CommandError."""
    if options["action"] == "list":
        if options["names"]:
            raise UsageError("`penstock runtimes list` takes no names")
        for line in listing():
            print(line)
        return 0
    names = options["names"]
    if not names:
        raise UsageError("install what? nodejs, one of its versions such as nodejs22.x, or awslambdaric")
    for name in names:
        if name not in ("nodejs", runtimes.AWSLAMBDARIC, *runtimes.NODE):
            raise UsageError(f"cannot install {name!r}{_instead(name)}")
    with _locked(runtimes.folder()):
        for name in names:
            if name == runtimes.AWSLAMBDARIC:
                install_awslambdaric(options["python"], environment)
            else:
                install_node(name, environment)
    return 0


def _instead(name: str) -> str:
    if name in runtimes.PROVIDED:
        return ": it needs nothing, the function brings its bootstrap"
    if name.startswith("python"):
        return ": install that Python, where PATH or pyenv has it"
    return f", only nodejs, {', '.join(runtimes.NODE)} and {runtimes.AWSLAMBDARIC}"


def listing() -> Iterator[str]:
    """A line for each runtime: what runs it, and where that is."""
    rics = dict(runtimes.installed_pythons())
    for name in runtimes.PYTHON:
        version = name.removeprefix("python")
        python = runtimes.find_python(version)
        told = python or "not on this machine"
        if version in rics:
            told += f", awslambdaric in {rics[version]}"
        yield f"{name:16}{told}"
    for name in runtimes.NODE:
        node = runtimes.find_node(name)
        if node is None:
            yield f"{name:16}not installed"
        else:
            same = node.version.partition(".")[0] == runtimes.node_major(name)
            yield f"{name:16}{node.program}{'' if same else f' (Node {node.version})'}"
    for name in runtimes.PROVIDED:
        yield f"{name:16}the function's bootstrap"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One installation at a time; another one waits, and finds what this one has installed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _say("waiting for another installation to end")
                fcntl.flock(lock, fcntl.LOCK_EX)
            for left in folder.glob(".*-*"):  # by one that was killed
                shutil.rmtree(left, ignore_errors=True)
            yield
    except OSError as error:
        raise CommandError(f"cannot install into {folder}: {error.strerror or error}") from error


@contextlib.contextmanager
def _making(place: Path) -> Iterator[Path]:
    """A folder that becomes `place` when everything has gone well, and is gone otherwise."""
    making = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        making.chmod(0o755)
        yield making
        if place.exists():  # what was there was not whole
            shutil.rmtree(place)
        making.rename(place)
    finally:
        shutil.rmtree(making, ignore_errors=True)


# Node.


def install_node(name: str, environment: Mapping[str, str]) -> None:
    """Install `nodejs22.x`, say; or `nodejs`, on this machine's Node where that will do.

    Raises CommandError.
    """
    if sys.platform != "linux" or _machine() is None:
        raise CommandError(
            f"AWS's runtime client for Node runs on Linux on x86-64 and arm64 only, this is {sys.platform}"
            f" on {platform.machine()}"
        )
    place = runtimes.folder() / name
    if node := runtimes.read_node(place):
        _say(f"{name} is installed: Node {node.version}, {place}")
        return
    program, version = "", ""
    if name == "nodejs":
        program, version, why = system_node(environment)
        if why:
            _say(f"{why}: installing {_NEWEST} for it")
            install_node(_NEWEST, environment)
            with contextlib.suppress(FileNotFoundError):
                place.unlink()
            place.symlink_to(_NEWEST)
            return
        _say(f"nodejs: this machine's Node {version}, {program}")
    if " " in str(place.parent):  # make and libtool take it for two
        raise CommandError(
            "AWS's runtime client for Node cannot be built in a folder with a space in its path:"
            f" {place.parent}; PENSTOCK_RUNTIMES takes another"
        )
    major = int(version.partition(".")[0] or runtimes.node_major(name))
    client = _CLIENT if major >= _SINCE else _OLD_CLIENT
    check_programs((*_BUILD, *client.needs), environment)
    with _making(place) as making:
        if not program:
            program, version = _node_from_npm(making, name, environment)
        _client_from_npm(making, client, Path(program).parent.parent, environment)
        package = making / "node_modules/aws-lambda-ric"
        # It is made for an address the moment it is loaded, and would end the process without one.
        address = {**environment, "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"}
        _try([program, "-e", "require(process.argv[1])", str(package / client.native)], address)
        # The rest was for building.
        keep = {"aws-lambda-ric", "@aws", f"node-linux-{_machine()}"}
        for path in (making / "node_modules").iterdir():
            if path.name not in keep:
                _remove(path)
        for path in (package / "deps", package / "build"):
            _remove(path)
        inside = Path(program).is_relative_to(making)
        if inside:
            for part in ("include", "share"):
                _remove(Path(program).parent.parent / part)
        said = {
            "program": str(Path(program).relative_to(making)) if inside else program,
            "version": version,
            "client": f"node_modules/aws-lambda-ric/{client.entry}",
            "aws-lambda-ric": client.version,
        }
        (making / "penstock.json").write_text(json.dumps(said, indent=1) + "\n")
    _say(f"installed {name}: Node {version}, aws-lambda-ric {client.version}, {place}")


def system_node(environment: Mapping[str, str]) -> tuple[str, str, str]:
    """This machine's Node: its program and version, and why it will not do, or ""."""
    program = shutil.which("node", path=environment.get("PATH"))
    if program is None:
        return "", "", "there is no Node on PATH"
    said = _try([program, "--version"], environment)
    version = said.strip().removeprefix("v")
    program = os.path.realpath(program)
    if not re.match(r"\d+\.", version):
        return program, version, f"{program} does not say which Node it is"
    if int(version.partition(".")[0]) < _OLDEST:
        return program, version, f"Node {version} is older than {_OLDEST}"
    if not (Path(program).parent.parent / "include/node/node_api.h").is_file():
        return program, version, f"Node {version} is here without its headers"
    return program, version, ""


def _machine() -> str | None:
    """This machine's kind, in the words of Node."""
    return {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine())


def check_programs(needed: Sequence[str], environment: Mapping[str, str]) -> None:
    """Raise CommandError if one is missing, which says what to install."""
    missing = [name for name in needed if shutil.which(name, path=environment.get("PATH")) is None]
    if missing:
        packages = " ".join(_PACKAGES[name] for name in missing)
        raise CommandError(
            f"to build AWS's runtime client for Node, {', '.join(missing)} must be installed; on Debian and"
            f" Ubuntu: apt-get install {packages}"
        )


def _node_from_npm(making: Path, name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Node itself: program and version."""
    package = f"node-linux-{_machine()}"
    _say(f"getting Node {runtimes.node_major(name)} ({package} from npm)")
    document = {"private": True, "dependencies": {package: f"^{runtimes.node_major(name)}.0.0"}}
    _npm(making, document, environment)
    folder = making / "node_modules" / package
    program = str(folder / "bin/node")
    _try([program, "--version"], environment)
    version: str = json.loads((folder / "package.json").read_text())["version"]
    return program, version.removeprefix("v")  # it has one, or not


def _client_from_npm(making: Path, client: Client, node: Path, environment: Mapping[str, str]) -> None:
    """aws-lambda-ric, built for the Node in the folder `node`, where its headers are too."""
    _say(f"building aws-lambda-ric {client.version} from npm; this takes a minute or two")
    path = making / "package.json"
    document: dict[str, Any] = {"private": True, "dependencies": {}}
    if path.exists():
        document = json.loads(path.read_text())
    document["dependencies"]["aws-lambda-ric"] = client.version
    document["overrides"] = dict(client.overrides)
    document["allowScripts"] = {"aws-lambda-ric": True}  # npm asks, since version 11
    jobs = str(os.cpu_count() or 1)
    _npm(
        making,
        document,
        {**environment, "npm_config_nodedir": str(node), "MAKEFLAGS": f"-j{jobs}", "JOBS": jobs},
    )


def _npm(folder: Path, document: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    (folder / "package.json").write_text(json.dumps(document))
    quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--no-update-notifier", "--loglevel=error")
    _try(["npm", "install", *quiet, "--engine-strict=false"], environment, folder)


# Python.


def install_awslambdaric(version: str | None, environment: Mapping[str, str]) -> None:
    """Install AWS's runtime client for a version of Python; None: the one this runs on.

    Raises CommandError.
    """
    version = version or ".".join(map(str, sys.version_info[:2]))
    if re.fullmatch(r"3\.\d+", version) and f"python{version}" not in runtimes.PYTHON:
        raise CommandError(f"--python {version}: AWS has no such runtime, only {', '.join(runtimes.PYTHON)}")
    python = runtimes.find_python(version) if re.fullmatch(r"3\.\d+", version) else None
    if python is None:
        raise CommandError(
            f"there is no Python {version} on PATH, nor in pyenv's folder; --python takes 3.12, say"
        )
    place = runtimes.folder() / f"{runtimes.AWSLAMBDARIC}-{version}"
    if (place / runtimes.AWSLAMBDARIC).is_dir():
        _say(f"awslambdaric is installed for Python {version}: {place}")
        return
    _say(f"installing awslambdaric for Python {version}, {python}")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    with _making(place) as making:
        _try([*pip, "--target", str(making), _AWSLAMBDARIC], {**environment, "PIP_REQUIRE_VIRTUALENV": "0"})
        # Only what is installed there, and nothing from the current folder.
        code = "import sys; sys.path.insert(0, sys.argv[1]); import awslambdaric.bootstrap, runtime_client"
        _try([python, "-I", "-c", code, str(making)], environment)
    _say(f"installed awslambdaric for Python {version}: {place}")


# Both.


def _try(command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None) -> str:
    """Run a program; what it said. Raises CommandError when it fails, and shows the end of that."""
    name = " ".join([os.path.basename(command[0]), *command[1:3]])
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        raise CommandError(f"cannot run `{name}`: {error.strerror}") from error
    said = done.stdout.decode(errors="replace")
    if done.returncode:
        for line in said.splitlines()[-_TAIL:]:
            print(f"  {line}", file=sys.stderr)
        raise CommandError(
            f"`{name}` failed with exit code {done.returncode}; the end of its output is above"
        )
    return said


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _say(text: str) -> None:
    print(text, flush=True)
