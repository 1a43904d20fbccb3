"""What the platform keeps from one start to the next, and what it says when it cannot."""

import asyncio
import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from management_kit import PYTHON, ROLE, zipped
from penstock.cli import platform
from penstock.cli.platform import Target
from platform_process import Platform, wait_until

HANDLER = "def handler(event, context):\n    return 'here'\n"


def test_a_target_holds_what_is_served() -> None:
    assert Target.__dataclass_fields__.keys() == {"functions", "sources", "python", "defaults"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def refused(folder: Path, *arguments: str) -> str:
    """What `penstock serve` says when it does not start; of a process of its own."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "serve", *arguments, "--port", "0", "--lambda-port", "0"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1, done.stderr
    return done.stderr.splitlines()[-1]


def test_two_cannot_keep_in_the_same_folder(folder: Path) -> None:
    with Platform(folder, {"app": HANDLER}, "--data", str(folder / "kept")):
        said = refused(folder, "app.py", "--data", "kept")
    assert str(folder / "kept") in said


def test_a_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    (folder / "app.py").write_text(HANDLER)
    (folder / "file").write_text("")
    assert "--data" in refused(folder, "app.py", "--data", "file")


def test_a_broken_database_is_said_to_be_one(folder: Path) -> None:
    (folder / "app.py").write_text(HANDLER)
    (folder / "kept").mkdir()
    (folder / "kept" / "penstock.db").write_bytes(b"not a database" * 100)
    assert "penstock.db" in refused(folder, "app.py", "--data", "kept")


def test_a_folder_of_code_that_is_none(folder: Path) -> None:
    (folder / "app.py").write_text(HANDLER)
    (folder / "kept").mkdir()
    (folder / "kept" / "code").write_text("")
    said = refused(folder, "app.py", "--data", "kept")
    assert said == f"penstock: cannot keep functions' code: File exists ({folder / 'kept' / 'code'})"


def test_the_first_line_is_where_it_listens(folder: Path) -> None:
    """Programs that start the service read it; what else was to be said comes after it."""
    with Platform(folder, {"app": HANDLER}, "--data", str(folder / "kept")) as before:
        assert before.events[0]["event"] == "listening"
    (folder / "app.py").unlink()
    with Platform(folder, {"other": HANDLER}, "--data", str(folder / "kept")) as after:
        after.wait_for(event="note")
        assert [line["event"] for line in after.events[:2]] == ["listening", "note"]
        assert "forgotten: app" in after.events[1]["message"]


def test_less_than_what_is_reserved_is_said(folder: Path) -> None:
    with Platform(folder, {"app": HANDLER}) as running:
        running.client().put_function_concurrency(FunctionName="app", ReservedConcurrentExecutions=5)
    with Platform(folder, {"app": HANDLER}, "--max-environments", "5") as running:
        said = running.wait_for(event="note")["message"]
    assert said.startswith("functions have reserved 5 of the 5 environments there may be: ")


def test_what_is_kept_is_not_for_git(folder: Path) -> None:
    with Platform(folder, {"app": HANDLER}, "--data", str(folder / "kept")):
        assert (folder / "kept" / ".gitignore").read_text() == "*\n"
        assert (folder / "kept").stat().st_mode & 0o077 == 0


def test_code_that_nobody_uses_is_removed_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "_TIDY", 0)
    asked: list[object] = []

    class Everything:
        """Catalog, its code store, and service."""

        @property
        def codes(self) -> "Everything":
            return self

        def used_code(self) -> set[str]:
            return {"used"}

        def roots(self) -> set[str]:
            return {"/running"}

        def forget_unused(self, *arguments: object) -> None:
            asked.append(arguments)
            if len(asked) == 2:
                loop.call_soon_threadsafe(task.cancel)

    async def test() -> None:
        nonlocal loop, task
        loop = asyncio.get_running_loop()
        task = loop.create_task(platform.tidy(Everything(), Everything()))  # type: ignore[arg-type]
        with contextlib.suppress(asyncio.CancelledError):
            await task

    loop: asyncio.AbstractEventLoop
    task: asyncio.Task[None]
    asyncio.run(test())
    assert asked[:2] == [({"used"}, {"/running"})] * 2


def test_dev_leaves_nothing(folder: Path) -> None:
    (folder / "app.py").write_text(HANDLER)
    (folder / "tmp").mkdir()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    with subprocess.Popen(
        [sys.executable, "-m", "penstock", "dev", "app.py", "--port", "0", "--lambda-port", "0"],
        cwd=folder,
        env=environ | {"TMPDIR": str(folder / "tmp")},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while "127.0.0.1" not in process.stderr.readline():
            pass
        assert list((folder / "tmp").iterdir())
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        assert process.wait(20) == 0
    assert not list((folder / "tmp").iterdir())
    assert sorted(path.name for path in folder.iterdir()) == ["app.py", "tmp"]


def test_a_target_that_was_made_by_the_api_before_is_a_clash(folder: Path) -> None:
    with Platform(folder, {}, "--data", str(folder / "kept")) as running:
        folder.joinpath("code").mkdir()
        running.client().create_function(
            FunctionName="app",
            Runtime="python3.12",
            Role="arn:aws:iam::000000000000:role/any",
            Handler="app.handler",
            Code={"S3Bucket": "hot-reload", "S3Key": str(folder / "code")},
        )
    with Platform(folder, {}, "--data", str(folder / "kept")) as running:
        running.wait_for(
            event="note", message="functions that the Lambda API made before, served as well: app"
        )
    (folder / "app.py").write_text(HANDLER)
    said = refused(folder, "app.py", "--data", "kept")
    assert "a function app was created through the Lambda API" in said
    assert "rename" in said


def test_a_folder_without_a_handler_serves_what_the_api_makes(folder: Path) -> None:
    with Platform(folder, {}) as running:
        assert running.client().list_functions()["Functions"] == []
        running.wait_for(
            event="note", message="no handler here: the functions are those that the Lambda API makes"
        )


def test_the_log_is_kept_and_bounded_below_the_folder(folder: Path) -> None:
    source = "def handler(event, context):\n    print('said')\n    return 1\n"
    with Platform(folder, {"app": source}, "--data", str(folder / "kept")) as running:
        running.client().invoke(FunctionName="app")
    kept = "".join(path.read_text() for path in (folder / "kept" / "logs" / "app").iterdir())
    assert (folder / "kept" / "logs").stat().st_mode & 0o077 == 0
    assert "said" in [json.loads(line)["message"] for line in kept.splitlines()]


LATE = """
import os, time

def handler(event, context):
    open(event["began"], "w").close()
    while not os.path.exists(event["go"]):
        time.sleep(0.01)
    print("late")
"""


def test_a_deleted_function_leaves_no_log(folder: Path) -> None:
    """Not even when a call of it was running, and prints after that."""
    began, go = folder / "began", folder / "go"
    with Platform(folder, {"app": HANDLER}, "--data", str(folder / "kept")) as platform:
        client = platform.client()
        client.create_function(
            FunctionName="late",
            Runtime=PYTHON,
            Handler="app.handler",
            Role=ROLE,
            Timeout=60,
            Code={"ZipFile": zipped(LATE)},
        )
        payload = json.dumps({"began": str(began), "go": str(go)})
        client.invoke(FunctionName="late", InvocationType="Event", Payload=payload)
        wait_until(began.exists, "the call")
        wait_until((folder / "kept" / "logs" / "late").exists, "its log")
        client.delete_function(FunctionName="late")
        go.touch()
        platform.wait_for(event="log", function="late", message="late")
    assert not (folder / "kept" / "logs" / "late").exists()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "not allowed to listen on port 80: choose one above 1023 with --port"),
        (errno.EADDRNOTAVAIL, "cannot listen on ::1, port 80: Cannot assign requested address"),
    ],
)
def test_other_ways_not_to_listen(number: int, said: str) -> None:
    assert str(platform._cannot_listen(OSError(number, "asyncio's own words"), "::1", 80, "--port")) == said


def test_urls_of_ipv6() -> None:
    assert platform._url("::1", 3000) == "http://[::1]:3000"
