"""What `penstock` says, as a process of its own: help, and one line for every mistake."""

import os
import subprocess
import sys

import pytest

from penstock import __version__
from penstock.cli import main as main_module
from penstock.cli.errors import CommandError, UsageError

ENVIRON = {
    name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "AWS_", "PYTHON"))
}


def penstock(*arguments, cwd, **environ):
    """Run the command: exit code, stdout, stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "penstock", *arguments],
        cwd=cwd,
        env=ENVIRON | {"COLUMNS": "80"} | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stdout, done.stderr


def test_help(tmp_path):
    code, out, err = penstock("--help", cwd=tmp_path)
    assert (code, err) == (0, "")
    for word in ("dev", "serve", "invoke", "--version", "examples:", "curl -N"):
        assert word in out


@pytest.mark.parametrize("command", ["dev", "serve"])
def test_help_of_a_command_that_serves(tmp_path, command):
    code, out, err = penstock(command, "--help", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: penstock {command} [TARGET] [options]\n")
    for words in (
        "TARGET is one of",
        "--idle-timeout SECONDS",
        "PENSTOCK_IDLE_TIMEOUT",
        "gateway:",
        "(3000)",
    ):
        assert words in out
    assert max(map(len, out.splitlines())) <= 80


def test_help_of_invoke(tmp_path):
    code, out, err = penstock("invoke", "--help", cwd=tmp_path)
    assert (code, err) == (0, "")
    for words in ("FUNCTION", "--payload JSON|@FILE|-", "PENSTOCK_ENDPOINT_URL", "examples:"):
        assert words in out
    assert max(map(len, out.splitlines())) <= 80


def test_version(tmp_path):
    assert penstock("--version", cwd=tmp_path) == (0, f"penstock {__version__}\n", "")


def test_importing_the_command_line_imports_nothing_heavy():
    heavy = ("asyncio", "httptools", "uvloop", "http.client", "dataclasses", "penstock.cli.run")
    code = f"import sys, penstock.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout == "[]\n"


MISTAKES = [
    ([], 2, "the following arguments are required: COMMAND; see penstock --help"),
    (["devv"], 2, "argument COMMAND: invalid choice: 'devv' (choose from "),
    (["dev", "--prot", "3"], 2, "unknown option '--prot', did you mean --port?; see penstock dev --help"),
    (["dev", "--xyzzy"], 2, "unknown option '--xyzzy'; see penstock dev --help"),
    (["dev", "app.py", "more"], 2, "unknown argument 'more'; see penstock dev --help"),
    (["dev", "--port"], 2, "--port: expected a value, got none; see penstock dev --help"),
    (["dev", "--snapshot=yes"], 2, "--snapshot: expected no value, got 'yes'; see penstock dev --help"),
    (["dev", "app.py", "--port", "99999"], 2, "--port: expected a whole number from 0 to 65,535, got 99999"),
    (
        ["dev", "app.py", "--timeout", "-1"],
        2,
        "--timeout: expected a number of seconds from 0.001 to 604,800, got -1",
    ),
    (
        ["dev", "app.py", "--memory", "1"],
        2,
        "--memory: expected a whole number of MB from 128 to 1,048,576, got 1",
    ),
    (["dev", "app.py", "--env", "=1"], 2, "--env '=1': expected NAME or NAME=VALUE"),
    (["dev", "app.py", "--env-file", "no"], 2, "--env-file: cannot read no: No such file or directory"),
    (["dev", "app.py", "--host", "0.0.0.0"], 2, "--host: '0.0.0.0' is not a loopback address, and "),
    (["serve", "app.py", "--host", "::"], 2, "--host: '::' is not a loopback address, and "),
    (["dev", "app.py", "--python", "no"], 2, "--python 'no': no such program, or it is not executable"),
    (["dev", "app.py", "--python", "false"], 1, "the interpreter "),
    (["dev", "nope.py"], 2, "'nope.py': no such file or folder; "),
    (["dev", "broken.py"], 2, "broken.py:1: syntax error: "),
    (["dev", "binary.py"], 2, "cannot read binary.py: "),
    (["dev", "empty"], 2, "no handler in folder 'empty': "),
    (["dev", "app\udc80\n.py"], 2, r"'app\udc80\n.py': no such file or folder; "),
    (["invoke"], 2, "the following arguments are required: FUNCTION; see penstock invoke --help"),
    (["invoke", "x", "--payload", "{"], 2, "--payload: not JSON: "),
    (["invoke", "x", "--log-type", "All"], 2, "--log-type: invalid choice: 'All' (choose from "),
    (["invoke", "x", "--endpoint-url", "http://127.0.0.1:1"], 1, "nothing listens at http://127.0.0.1:1: "),
]


@pytest.mark.parametrize(("arguments", "code", "said"), MISTAKES)
def test_every_mistake_is_one_line_on_stderr(tmp_path, arguments, code, said):
    (tmp_path / "app.py").write_text("def lambda_handler(event, context): ...\n")
    (tmp_path / "broken.py").write_text("def")
    (tmp_path / "binary.py").write_bytes(b"x = '\xff'")
    (tmp_path / "empty").mkdir()
    got = penstock(*arguments, cwd=tmp_path)
    assert got[:2] == (code, "")
    assert got[2].startswith(f"penstock: {said}")
    assert got[2].count("\n") == 1


def test_a_variable_s_mistake_names_the_variable(tmp_path):
    (tmp_path / "app.py").write_text("handler = print")
    assert penstock("dev", cwd=tmp_path, PENSTOCK_DRAIN="long") == (
        2,
        "",
        "penstock: PENSTOCK_DRAIN: expected a number of seconds from 0 to 604,800, got 'long'\n",
    )


def test_the_platform_s_parts_may_be_missing(tmp_path):
    # A module of that name which cannot be imported stands for one that is not installed.
    (tmp_path / "httptools.py").write_text("raise ImportError")
    code, out, err = penstock("dev", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (code, out) == (1, "")
    assert err == "penstock: `penstock dev` needs the platform's parts: pip install 'penstock[serve]'\n"


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (CommandError("no luck"), 1, "penstock: no luck\n"),
        (UsageError("no\nsense"), 2, "penstock: no\\x0asense\n"),
        (KeyboardInterrupt(), 130, ""),
        (
            RuntimeError("two\nlines"),
            1,
            "penstock: unexpected RuntimeError: two lines (a fault of ours; PENSTOCK_DEBUG=1 shows where)\n",
        ),
    ],
)
def test_every_exception_is_told_in_one_line(monkeypatch, capsys, raised, code, said):
    def fail(options):
        raise raised

    monkeypatch.setattr(main_module, "_run", fail)
    monkeypatch.delenv("PENSTOCK_DEBUG", raising=False)
    assert main_module.main(["invoke", "x"]) == code
    assert capsys.readouterr() == ("", said)


def test_a_traceback_for_those_who_ask(monkeypatch):
    def fail(options):
        raise RuntimeError

    monkeypatch.setattr(main_module, "_run", fail)
    monkeypatch.setenv("PENSTOCK_DEBUG", "1")
    with pytest.raises(RuntimeError):
        main_module.main(["invoke", "x"])


def test_a_reader_that_has_left_is_not_complained_about(tmp_path):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "dev", "--help"],
        cwd=tmp_path,
        env=ENVIRON,
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=30,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_closed_streams_are_no_fault(tmp_path):
    command = f"{sys.executable} -m penstock --version <&- >&- 2>&-"
    assert subprocess.run(command, shell=True, env=ENVIRON, cwd=tmp_path, timeout=30).returncode == 0  # noqa: S602
    command = f"{sys.executable} -m penstock dev nope.py <&- >&- 2>&-"
    assert subprocess.run(command, shell=True, env=ENVIRON, cwd=tmp_path, timeout=30).returncode == 2  # noqa: S602
