"""AWS's runtime identifiers, and how an environment of each is started here.

| identifier | runs |
|---|---|
| none | Penstock's own runtime, on the function's interpreter |
| python3.x | Penstock's own runtime, on that Python; or AWS's awslambdaric, when the function asks for it |
| nodejs22.x … | AWS's aws-lambda-ric, on Node |
| provided, provided.al2, provided.al2023 | the function's own `bootstrap` |

What has to be installed for these is in a folder of the user's (`folder`); `penstock runtimes install` puts
it there. Only files are looked at here, nothing is run: this happens at the start of every environment.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .functions import Function

PYTHON = ("python3.9", "python3.10", "python3.11", "python3.12", "python3.13", "python3.14", "python3.15")
NODE = ("nodejs18.x", "nodejs20.x", "nodejs22.x", "nodejs24.x", "nodejs26.x")
PROVIDED = ("provided", "provided.al2", "provided.al2023")
# AWS's, and not run here. Those whose support has ended are kept: functions from then still name them.
OTHERS = (
    *("nodejs", "nodejs4.3", "nodejs4.3-edge", "nodejs6.10", "nodejs8.10", "nodejs10.x", "nodejs12.x"),
    *("nodejs14.x", "nodejs16.x", "python2.7", "python3.6", "python3.7", "python3.8"),
    *("java8", "java8.al2", "java8.al2023", "java11", "java11.al2023", "java17", "java17.al2023", "java21"),
    *("java25", "dotnetcore1.0", "dotnetcore2.0", "dotnetcore2.1", "dotnetcore3.1", "dotnet6", "dotnet8"),
    *("dotnet10", "go1.x", "ruby2.5", "ruby2.7", "ruby3.2", "ruby3.3", "ruby3.4", "ruby4.0"),
)
KNOWN = (*PYTHON, *NODE, *PROVIDED, *OTHERS)

CLIENT = "PENSTOCK_RUNTIME_CLIENT"  # a function's own variable: which runtime client its Python has
AWSLAMBDARIC = "awslambdaric"
CONCURRENCY = "PENSTOCK_CONCURRENCY"  # likewise: how many invocations one environment runs at once
MOST_CONCURRENT = 1600  # AWS's PerExecutionEnvironmentMaxConcurrency
PATH = "/usr/local/bin:/usr/bin:/bin"  # a function's, if it has none

_OLDEST = (3, 11)  # that Penstock's own runtime works on


class Unavailable(Exception):
    """A function's runtime cannot be started here. The message is for a person, and says what to do."""


class UnknownRuntime(Unavailable):
    """AWS has no such runtime."""


class RuntimeNotInstalled(Unavailable):
    """It is not on this machine, or not to be had for Penstock."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How an environment is started."""

    python: str  # the interpreter of the spawner that forks it
    command: tuple[str, ...] = ()  # what is executed then; (): Penstock's own runtime
    environment: Mapping[str, str] = field(default_factory=dict)  # variables, above the function's own


@dataclass(frozen=True, slots=True)
class Node:
    """A Node with AWS's runtime client for it."""

    program: str
    client: str  # the client's entry point
    version: str  # of Node
    bundled: bool  # whether it was installed by us, with the client


def folder(environment: Mapping[str, str] | None = None) -> Path:
    """Where runtimes are installed: $PENSTOCK_RUNTIMES, else the user's data folder."""
    environment = os.environ if environment is None else environment
    if given := environment.get("PENSTOCK_RUNTIMES"):
        return Path(given).absolute()
    data = environment.get("XDG_DATA_HOME", "")
    base = Path(data) if os.path.isabs(data) else _home() / ".local/share"
    return base / "penstock/runtimes"


def _home() -> Path:
    """The user's; a folder that is not there, if the system does not know this user."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")


def concurrency(environment: Mapping[str, str]) -> int:
    """What a function's variables say of its concurrency. Raises Unavailable."""
    said = environment.get(CONCURRENCY, "1")
    if not (said.isascii() and said.isdigit() and 1 <= int(said) <= MOST_CONCURRENT):
        raise Unavailable(
            f"{CONCURRENCY}: expected a whole number from 1 to {MOST_CONCURRENT:,}, got {said!r}"
        )
    return int(said)


def launch(function: Function, note: Callable[[str], None]) -> Launch:
    """How to start an environment of `function`.

    `note` is told, in a line for the function's log, what is not as the runtime's name says.
    Raises Unavailable.
    """
    runtime = function.runtime
    concurrency(function.environment)
    if runtime == "" or runtime in PYTHON:
        return _python(function, note)
    if runtime in NODE:
        return _node(function, note)
    if runtime in PROVIDED:
        return Launch(sys.executable, (os.path.join(function.root, "bootstrap"),), _path(function))
    runs = ", ".join((*PYTHON, *NODE, *PROVIDED))
    if runtime in OTHERS:
        raise RuntimeNotInstalled(
            f"the runtime {runtime} is not run here, only {runs}; a program with a `bootstrap` of its own"
            " runs as provided.al2023"
        )
    raise UnknownRuntime(f"there is no runtime {runtime!r}; known are {runs}")


def _path(function: Function, *first: str) -> dict[str, str]:
    """PATH, with folders before the function's own."""
    return {"PATH": os.pathsep.join([*first, function.environment.get("PATH") or PATH])}


# Python.


def _python(function: Function, note: Callable[[str], None]) -> Launch:
    client = function.environment.get(CLIENT, "")
    if client not in ("", "penstock", AWSLAMBDARIC):
        raise Unavailable(f"{CLIENT} is penstock or {AWSLAMBDARIC}, not {client!r}")
    wanted = function.runtime.removeprefix("python")
    python: str | None = function.python
    if wanted and python_version(function.python) != wanted:
        python = find_python(wanted)
    if client == AWSLAMBDARIC:
        return _awslambdaric(function, python, note)
    if python is None:
        note(f"python{wanted} is not installed: the function runs on Python {_running()}")
        python = sys.executable
    elif wanted and tuple(map(int, wanted.split("."))) < _OLDEST:
        note(
            f"Penstock's runtime needs Python {_OLDEST[0]}.{_OLDEST[1]}: the function runs on Python"
            f" {_running()}; with {CLIENT}={AWSLAMBDARIC} it runs on python{wanted}"
        )
        python = sys.executable
    return Launch(python)


def _running() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def find_python(version: str) -> str | None:
    """The interpreter of a version like 3.12: this one, or on PATH, or pyenv's; None: there is none."""
    if version == _minor(sys.version_info):
        return sys.executable
    name = f"python{version}"
    for place in os.environ.get("PATH", "").split(os.pathsep):
        program = os.path.join(place, name)
        if os.path.isabs(program) and os.access(program, os.X_OK) and not _is_script(program):
            return program
    root = Path(os.environ.get("PYENV_ROOT") or _home() / ".pyenv")
    found = [path for path in root.glob(f"versions/{version}.*/bin/{name}") if os.access(path, os.X_OK)]
    return str(max(found, key=lambda path: _numbers(path.parent.parent.name))) if found else None


def _is_script(program: str) -> bool:
    """pyenv puts a script for every version it has ever seen on PATH, of which most do not work."""
    try:
        with open(program, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return True


def _awslambdaric(function: Function, python: str | None, note: Callable[[str], None]) -> Launch:
    """AWS's own runtime client for Python, as `python -m awslambdaric HANDLER`."""
    if python is None:
        note(f"{function.runtime} is not installed: the function runs on Python {_running()}")
        python = sys.executable
    version = python_version(python)
    places = [str(folder() / f"{AWSLAMBDARIC}-{version}"), function.root]
    installed = Path(os.path.abspath(python)).parent.parent / f"lib/python{version}/site-packages"
    if not any(os.path.isdir(os.path.join(place, AWSLAMBDARIC)) for place in (*places, str(installed))):
        raise RuntimeNotInstalled(
            f"awslambdaric is not installed for {python}: penstock runtimes install {AWSLAMBDARIC}"
            f" --python {version or 'VERSION'}"
        )
    own = function.environment.get("PYTHONPATH")
    search = [place for place in (own, places[0]) if place]
    return Launch(
        sys.executable,
        (python, "-m", AWSLAMBDARIC, function.handler),
        {
            **_path(function, os.path.dirname(python)),
            "PYTHONPATH": os.pathsep.join(search),
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{version}",
        },
    )


def python_version(python: str) -> str:
    """The version of an interpreter, like 3.12, by what is written beside it; "" if nothing is."""
    if os.path.abspath(python) == sys.executable:
        return _minor(sys.version_info)
    try:
        settings = (Path(python).parent.parent / "pyvenv.cfg").read_text()
    except OSError:
        settings = ""
    found = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+)", settings, re.MULTILINE)
    found = found or re.search(r"python(\d+\.\d+)$", os.path.realpath(python))
    return found[1] if found else ""


def _minor(version: tuple[object, ...]) -> str:
    return f"{version[0]}.{version[1]}"


# Node.


def _node(function: Function, note: Callable[[str], None]) -> Launch:
    runtime = function.runtime
    if sys.platform != "linux":
        raise RuntimeNotInstalled(f"{runtime} runs on Linux only: AWS's runtime client for Node does")
    node = find_node(runtime)
    if node is None:
        raise RuntimeNotInstalled(
            f"the runtime {runtime} is not installed: penstock runtimes install {runtime}, or nodejs"
            " for any version, on this machine's Node"
        )
    if node.version.partition(".")[0] != node_major(runtime):
        note(
            f"{runtime} is not installed: the function runs on Node {node.version};"
            f" penstock runtimes install {runtime}"
        )
    # As AWS's own start of Node does: else Node would not collect what would make it too large.
    memory = [
        f"--max-old-space-size={function.memory_mb * 90 // 100}",
        f"--max-semi-space-size={max(1, function.memory_mb * 5 // 100)}",
    ]
    return Launch(
        sys.executable,
        (node.program, *memory, node.client, function.handler),
        {**_path(function, os.path.dirname(node.program)), "AWS_EXECUTION_ENV": f"AWS_Lambda_{runtime}"},
    )


def node_major(runtime: str) -> str:
    """nodejs22.x → 22; "" of plain nodejs."""
    return runtime.removeprefix("nodejs").removesuffix(".x")


def find_node(runtime: str) -> Node | None:
    """The Node for nodejs22.x, say: the one installed for it, else the one installed for all."""
    return read_node(folder() / runtime) or read_node(folder() / "nodejs")


def read_node(place: Path) -> Node | None:
    """What was installed in a folder; None: nothing, or it is no longer whole."""
    try:
        said = json.loads((place / "penstock.json").read_text())
        client = place / said["client"]
        bundled = not os.path.isabs(said["program"])
        program = str(place / said["program"]) if bundled else said["program"]
        node = Node(program, str(client), said["version"], bundled)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return node if client.is_file() and os.access(program, os.X_OK) else None


def installed_pythons() -> Iterator[tuple[str, Path]]:
    """The versions of Python for which awslambdaric is installed, and where."""
    for place in sorted(folder().glob(f"{AWSLAMBDARIC}-*"), key=lambda path: _numbers(path.name)):
        if (place / AWSLAMBDARIC).is_dir():
            yield place.name.removeprefix(f"{AWSLAMBDARIC}-"), place


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))
