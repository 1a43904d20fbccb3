"""`penstock logs` and `penstock backup`, against the real platform."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import zipfile

import pytest

from journey_kit import TIMEOUT, Program
from platform_process import Platform, wait_until

APP = """
    import sys

    def lambda_handler(event, context):
        for number in range(event.get("lines", 1)):
            print(event.get("say", "line"), number)
        return context.aws_request_id
"""

PENSTOCK = [sys.executable, "-m", "penstock"]


def surroundings(lambda_api):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "AWS_"))}
    return kept | {"PENSTOCK_ENDPOINT_URL": lambda_api, "PYTHONUNBUFFERED": "1"}


def penstock(lambda_api, *arguments):
    """Run a command: exit code, stdout, stderr."""
    done = subprocess.run(
        [*PENSTOCK, *arguments], capture_output=True, text=True, timeout=TIMEOUT, env=surroundings(lambda_api)
    )
    return done.returncode, done.stdout, done.stderr


def logs(platform, *arguments, function="app"):
    """The messages that `penstock logs --json` gives, those of the platform left out."""
    code, out, err = penstock(platform.lambda_api, "logs", function, "--json", *arguments)
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    return [line["message"] for line in lines if not line.get("platform")]


def following(platform, *arguments):
    return Program(*PENSTOCK, "logs", "app", "-f", *arguments, env=surroundings(platform.lambda_api))


def call(client, name="app", **event):
    """Invoke a function; its request id, which it returns."""
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event))
    assert "FunctionError" not in answer
    return json.loads(answer["Payload"].read())


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def platform(tmp_path, data):
    with Platform(tmp_path, {"app": APP}, "--data", str(data)) as running:
        yield running


def test_what_a_function_printed_is_there_after_its_answer(platform):
    client = platform.client()
    first = call(client, say="first")
    second = call(client, lines=3, say="second")
    assert logs(platform) == ["first 0", "second 0", "second 1", "second 2"]
    assert logs(platform, "--lines", "0") == []
    assert logs(platform, "--request-id", first[:13]) == ["first 0"]
    assert logs(platform, "--since", "1h", "--request-id", second)[0] == "second 0"
    assert logs(platform, "--since", "2100-01-01") == []
    _, text, _ = penstock(platform.lambda_api, "logs", "app", "--request-id", first)
    assert re.search(rf"^\d{{4}}-\d\d-\d\d [\d:.]{{12}} {first[:8]} \| first 0$", text, re.M)
    assert f"| START RequestId: {first}" in text
    assert f"| END RequestId: {first}" in text


def test_lines_are_followed_as_they_come(platform):
    client = platform.client()
    call(client, say="before")
    with following(platform, "--json") as program:
        seen = [json.loads(program.line())["message"]]
        while not seen[-1].startswith("REPORT"):
            seen.append(json.loads(program.line())["message"])
        assert "before 0" in seen
        call(client, say="after", lines=2)
        seen = [json.loads(program.line())["message"] for _ in range(3)]
        assert seen[0].startswith("START")
        assert seen[1:] == ["after 0", "after 1"]
        program.process.send_signal(signal.SIGINT)
        assert program.end() == 0
        assert program.errors == []


def test_a_flood_is_followed_and_kept_within_bounds(tmp_path, data):
    with Platform(tmp_path, {"app": APP}, "--data", str(data), "--log-size", "1") as platform:
        client = platform.client()
        call(client)
        with following(platform, "--json", "--lines", "1") as program:
            assert program.line()  # it is connected
            call(client, lines=30_000, say="x" * 100)
            watchdog = threading.Timer(TIMEOUT, program.process.kill)
            watchdog.start()
            missed = seen = 0
            for line in map(json.loads, program.process.stdout):
                missed += line.get("missed", 0)  # START, END and REPORT may be among them
                seen += line.get("message", "").startswith("xxx")
                if seen + missed >= 30_000:
                    break
            watchdog.cancel()
            assert seen <= 30_000 <= seen + missed
        call(client, say="last")
        size = sum(path.stat().st_size for path in (data / "logs/app").iterdir())
        assert 500_000 < size <= 2**20
        assert logs(platform, "--lines", "20")[-1] == "last 0"


def test_logs_are_there_after_a_restart_and_a_kill(tmp_path, data):
    with Platform(tmp_path, {"app": APP}, "--data", str(data)) as platform:
        call(platform.client(), say="first")
    with Platform(tmp_path, {"app": APP}, "--data", str(data)) as platform:
        call(platform.client(), say="second")
        assert logs(platform) == ["first 0", "second 0"]
        platform.process.kill()
    with Platform(tmp_path, {"app": APP}, "--data", str(data)) as platform:
        assert logs(platform) == ["first 0", "second 0"]
    assert (data / ".gitignore").read_text() == "*\n"


def test_an_unknown_function(platform):
    code, _, said = penstock(platform.lambda_api, "logs", "ap")
    assert code == 1
    assert said == "penstock: ResourceNotFoundException: Function not found: ap; did you mean app?\n"
    code, _, said = penstock(platform.lambda_api, "logs", "../../etc/passwd")
    assert code == 1
    assert "is not the name of a function" in said


def test_a_function_that_has_printed_nothing(platform):
    assert logs(platform) == []


def test_a_service_that_stops_ends_its_followers_and_does_not_wait_for_them(platform):
    call(platform.client())
    with following(platform) as program:
        assert program.line()
        platform.process.send_signal(signal.SIGTERM)
        assert platform.process.wait(5) == 0  # --drain is 30 s
        while program.line():
            pass
        assert program.end() == 1
        assert program.errors == [f"penstock: the service at {platform.lambda_api} has stopped\n"]
    assert not [each for each in platform.find(event="note") if "stopping" in each["message"]]


def test_a_service_that_is_killed(platform):
    call(platform.client())
    with following(platform) as program:
        assert program.line()
        platform.process.kill()
        while program.line():
            pass
        assert program.end() == 1
        (said,) = program.errors
        assert said.startswith(f"penstock: the response from {platform.lambda_api} broke off: ")
    code, _, said = penstock(platform.lambda_api, "logs", "app")
    assert (code, said.partition(":")[2].strip()[:15]) == (1, "nothing listens")


# Backups.


def create(client, name, text):
    """A function from a zip, ready to be called."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("app.py", text)
    client.create_function(
        FunctionName=name,
        Runtime=f"python{sys.version_info[0]}.{sys.version_info[1]}",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="app.handler",
        Code={"ZipFile": out.getvalue()},
    )
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.05})


@pytest.mark.parametrize("to", ["copy", "copy.tar.gz"])
def test_a_backup_made_while_it_runs_serves_the_functions(tmp_path, data, to):
    (tmp_path / "empty").mkdir()
    with Platform(tmp_path, {"app": APP}, "--data", str(data)) as platform:
        client = platform.client()
        create(client, "kept", "def handler(event, context):\n    return 'from the zip'\n")
        code, said, _ = penstock(platform.lambda_api, "backup", str(tmp_path / to), "--data", str(data))
        assert code == 0
        assert said.startswith(f"{tmp_path / to}: the database and 1 zip of code, ")
        create(client, "later", "def handler(event, context):\n    return 'not in the copy'\n")
        assert penstock(platform.lambda_api, "backup", str(tmp_path / to), "--data", str(data))[0] == 2
    if to.endswith(".gz"):
        with tarfile.open(tmp_path / to) as archive:
            archive.extractall(tmp_path, filter="data")
    shutil.rmtree(data)
    (tmp_path / "copy").rename(data)
    with Platform(tmp_path, {"app": APP}, "--data", str(data)) as platform:
        client = platform.client()
        assert call(client, "kept") == "from the zip"
        assert [each["FunctionName"] for each in client.list_functions()["Functions"]] == ["app", "kept"]


def test_data_that_was_moved_serves_the_functions(tmp_path, data):
    with Platform(tmp_path, {"app": APP}, "--data", str(data)) as platform:
        create(platform.client(), "kept", "def handler(event, context):\n    return 1\n")
    data.rename(tmp_path / "moved")
    with Platform(tmp_path, {"app": APP}, "--data", str(tmp_path / "moved")) as platform:
        assert call(platform.client(), "kept") == 1


def test_the_log_of_a_deleted_function_goes_with_it(platform, data):
    client = platform.client()
    create(client, "short", "def handler(event, context):\n    print('hello')\n")
    call(client, "short")
    assert logs(platform, function="short") == ["hello"]
    client.delete_function(FunctionName="short")
    wait_until(lambda: not (data / "logs/short").exists(), "the log to go")
    assert penstock(platform.lambda_api, "logs", "short")[0] == 1


def test_dev_keeps_logs_in_memory(tmp_path):
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    command = [*PENSTOCK, "dev", "app.py", "--port", "0", "--lambda-port", "0"]
    with Program(*command, cwd=tmp_path, env=surroundings("")) as dev:
        found = wait_until(lambda: re.search(r"Lambda API +(\S+)", "".join(dev.errors)), "the start")
        assert penstock(found[1], "invoke", "app")[0] == 0
        code, out, err = penstock(found[1], "logs", "app", "--json")
        assert (code, err) == (0, "")
        assert "line 0" in [json.loads(line)["message"] for line in out.splitlines()]
        assert os.listdir(tmp_path) == ["app.py"] or set(os.listdir(tmp_path)) == {"app.py", "__pycache__"}
        dev.process.send_signal(signal.SIGINT)
        assert dev.end() == 0
