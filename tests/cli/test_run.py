"""`penstock dev` and `serve` as processes: what they say first, and how they stop."""

import gc
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from penstock.cli import run, settings, target
from penstock.cli.errors import SettingError, UsageError
from penstock.cli.project import Project

EXAMPLES = Path(__file__).parents[2] / "examples"
ENVIRON = {
    name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "AWS_", "PYTHON"))
}

SLOW = """
import time

def handler(event, context):
    yield "first\\n"
    time.sleep(60)
    yield "second\\n"
"""


class Running:
    """`penstock COMMAND …` on free ports, its stderr line by line."""

    def __init__(self, *arguments, cwd):
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "penstock", *arguments, "--port", "0", "--lambda-port", "0"],
            cwd=cwd,
            env=ENVIRON,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    def line_with(self, text):
        for line in self.process.stderr:
            if text in line:
                return line.rstrip("\n")
        raise AssertionError(f"it ended without saying {text!r}")

    def signal(self, number):
        self.process.send_signal(number)

    def ended(self):
        """Exit code, and what it still had to say."""
        rest = self.process.stderr.read()
        return self.process.wait(30), rest


@pytest.fixture
def running(tmp_path):
    opened = []

    def running(*arguments, source=SLOW):
        (tmp_path / "app.py").write_text(source)
        opened.append(Running(*arguments, cwd=tmp_path))
        return opened[-1]

    yield running
    for each in opened:
        each.__exit__()


def open_stream(url):
    """A response of which the first line is read."""
    response = urllib.request.urlopen(url, timeout=30)
    assert response.readline() == b"first\n"
    return response


def test_dev_says_within_a_second_what_to_paste(running):
    dev = running("dev", "app.py")
    url = dev.line_with("curl -N ").removeprefix("curl -N ")
    assert time.monotonic() - dev.started < 1.0 + 1.0  # a second, and one for a busy machine
    with open_stream(url):
        pass
    assert dev.line_with("client left").split()[1:4] == ["GET", "/", "→"]
    dev.signal(signal.SIGINT)
    code, rest = dev.ended()
    assert code == 0
    assert "stopping" not in rest  # there is nothing to wait for


def test_the_boto3_snippet_works_as_it_is_pasted(running):
    dev = running("dev", "app.py", source="def handler(event, context):\n    yield b'first'\n")
    dev.line_with("or with boto3:")
    lines = iter(dev.process.stderr.readline, "Ctrl-C to stop.\n")
    done = subprocess.run(
        [sys.executable, "-"], input="".join(lines), capture_output=True, text=True, env=ENVIRON, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "{'PayloadChunk': {'Payload': b'first'}}\n{'InvokeComplete': {}}\n"


def test_a_second_ctrl_c_stops_at_once(running):
    dev = running("dev", "app.py", "--drain", "50")
    url = dev.line_with("curl -N ").removeprefix("curl -N ")
    with open_stream(url):
        dev.signal(signal.SIGINT)
        dev.line_with("stopping: running responses have 50 s to end; Ctrl-C again stops at once")
        dev.signal(signal.SIGINT)
        code, rest = dev.ended()
    assert code == 130
    assert "service stopped" in rest


def test_a_response_may_end_while_it_drains(running, tmp_path):
    source = SLOW.replace("time.sleep(60)", "while not os.path.exists('go'): time.sleep(0.01)")
    serve = running("serve", "app.py", source="import os\n" + source)
    url = serve.line_with('"listening"').split('"gateway": "')[1].split('"')[0]
    with open_stream(url) as response:
        serve.signal(signal.SIGTERM)
        serve.line_with("stopping")
        (tmp_path / "go").touch()
        assert response.read() == b"second\n"
    code, rest = serve.ended()
    assert code == 0
    assert '"ending": "done"' in rest


def test_a_port_in_use(running):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "penstock", "dev", str(EXAMPLES), "--port", str(port)],
            env=ENVIRON,
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        f"penstock: port {port} is in use on 127.0.0.1: choose another with --port (0: any free one), or see "
    )
    assert done.stderr.count("\n") == 1


def functions(command, *, environ, **options):
    chosen = settings.resolve(options, {}, Project(Path("pyproject.toml"), {}))
    found = target.resolve(str(EXAMPLES / "seed.py"), Path())
    return run._functions(command, found, chosen, "python", environ)


def test_dev_passes_the_shell_s_environment_on_but_ours():
    environ = {"PATH": "/bin", "SECRET": "s", "PENSTOCK_PORT": "1"}
    (function,) = functions("dev", environ=environ, env=["STAGE=dev"])
    assert function.environment == {"PATH": "/bin", "SECRET": "s", "STAGE": "dev"}


def test_serve_passes_what_is_declared():
    environ = {"PATH": "/bin", "SECRET": "s", "TZ": "UTC", "PENSTOCK_PORT": "1"}
    (function,) = functions("serve", environ=environ, env=["STAGE=live"])
    assert function.environment == {"PATH": "/bin", "TZ": "UTC", "STAGE": "live"}


def test_settings_reach_the_functions():
    (function,) = functions("dev", environ={}, timeout="3", memory="256", idle_timeout="0")
    assert (function.name, function.handler, function.root) == ("seed", "seed.lambda_handler", str(EXAMPLES))
    assert (function.timeout, function.memory_mb, function.idle_timeout) == (3.0, 256, None)
    (function,) = functions("dev", environ={}, idle_timeout="2.5")
    assert function.idle_timeout == 2.5
    assert not function.snapshot
    (function,) = functions("dev", environ={}, snapshot=True)
    assert function.snapshot


def test_more_time_than_aws_gives_is_remarked_upon():
    chosen = settings.resolve({"timeout": "901"}, {}, Project(Path("pyproject.toml"), {}))
    assert run._warnings(chosen) == ["--timeout 901: AWS allows 900 s at most"]


def test_under_aws_s_limits_it_is_refused():
    def refuse(**flags: str) -> None:
        project = Project(Path("pyproject.toml"), {})
        run._refuse_long_timeout(settings.resolve(flags, {}, project))

    refuse(limits="aws")
    refuse(limits="none", timeout="901")
    with pytest.raises(SettingError) as raised:
        refuse(limits="aws", timeout="901")
    assert str(raised.value) == "--timeout 901: AWS allows 900 s at most; --limits none allows more"


def test_both_ports_the_same():
    chosen = settings.resolve({"port": "3001"}, {}, Project(Path("pyproject.toml"), {}))
    with pytest.raises(UsageError, match=r"cannot both listen on port 3001: .* --port or --lambda-port"):
        run._refuse_one_port(chosen)
    run._refuse_one_port(settings.resolve({"port": "0", "lambda_port": "0"}, {}, Project(Path("p"), {})))


@pytest.mark.parametrize(
    ("limit", "most", "said"),
    [
        (4096, 1000, "the limit of 4,096 open files holds about 548 environments: "),
        (100, 1, "the limit of 100 open files holds about 1 environments: "),
        (7256, 1000, None),
        (4096, 548, None),
        (resource.RLIM_INFINITY, 100_000, None),
    ],
)
def test_a_limit_of_open_files_that_is_too_low_is_remarked_upon(limit, most, said):
    told = run._files_note(limit, most)
    advice = "raise it with ulimit -Hn, or lower --max-environments"
    assert told == ([] if said is None else [said + advice])


def test_the_garbage_collector_looks_seldom():
    before = gc.get_threshold()
    try:
        run._collect_seldom()
        assert all(now > then for now, then in zip(gc.get_threshold(), before, strict=True))
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def test_what_the_packages_log_is_a_note():
    class Notes:
        def note(self, text):
            self.text = text

    logger, output = logging.getLogger("penstock.http"), Notes()
    handler = run._Notes(output.note)
    logger.addHandler(handler)
    try:
        logger.error("the application failed: %s", "OSError")
    finally:
        logger.removeHandler(handler)
    assert output.text == "the application failed: OSError"
