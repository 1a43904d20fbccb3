"""What is over is gone at once: requests leave no cycles, which only the garbage collector could find.

It looks seldom, since a thousand streams stand still while it does.
"""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from journey_kit import Raw
from platform_process import Platform, wait_until

# In the service: no collections by itself; at SIGUSR2 one, and the number of objects that it found.
COUNTING = """
import gc, os, signal, sys

if sys.argv[0] == "-m":  # not in the spawner, nor in what it starts
    gc.disable()
    gc.set_threshold = lambda *numbers: None

    def count(signum, frame):
        found = gc.collect()
        with open(os.environ["FOUND"] + ".new", "w") as file:
            file.write(str(found))
        os.rename(os.environ["FOUND"] + ".new", os.environ["FOUND"])

    signal.signal(signal.SIGUSR2, count)
"""
FUNCTION = """
    import time
    def lambda_handler(event, context):
        path = event.get("path")
        if path == "/buffered":
            return {"statusCode": 200, "body": "ok"}
        if path == "/fails":
            raise ValueError("no luck")
        def chunks():
            for _ in range(3):
                yield "chunk"
            while path == "/endless":
                yield "more"
                time.sleep(0.001)
        return {"statusCode": 200, "body": chunks()}
    """


class Counted:
    def __init__(self, platform: Platform, found: Path) -> None:
        self.platform = platform
        self._found = found

    def garbage(self) -> int:
        """How many objects there were that only a collection finds."""
        self._found.unlink(missing_ok=True)
        self.platform.process.send_signal(signal.SIGUSR2)
        wait_until(self._found.exists, "the count")
        return int(self._found.read_text())


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Counted]:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(COUNTING)
    (tmp_path / "app").mkdir()
    env = {"PYTHONPATH": str(tmp_path / "site"), "FOUND": str(tmp_path / "found")}
    with Platform(tmp_path / "app", {"app": FUNCTION}, env=env) as platform:
        yield Counted(platform, tmp_path / "found")


@pytest.mark.parametrize("path", ["/buffered", "/stream", "/fails"])
def test_a_request_leaves_none(counted: Counted, path: str) -> None:
    def ask() -> None:
        with Raw(counted.platform.gateway_address) as raw:
            raw.get(path)

    ask()
    counted.garbage()
    for _ in range(30):
        ask()
    assert counted.garbage() < 30


def test_a_client_that_leaves_leaves_none(counted: Counted) -> None:
    def ask() -> None:
        with Raw(counted.platform.gateway_address) as raw:
            raw.request("/endless")
            raw.head()
            raw.frame()

    ask()
    counted.platform.wait_for(event="request")
    counted.garbage()
    for _ in range(30):
        ask()
    wait_until(lambda: len(counted.platform.find(event="request")) == 31, "all have left")
    assert counted.garbage() < 30


def test_calls_of_the_lambda_api_leave_none(counted: Counted) -> None:
    client = counted.platform.client()

    def invoke() -> None:
        payload = json.dumps({"path": "/stream"})
        client.invoke(FunctionName="app", Payload=payload, LogType="Tail")["Payload"].read()
        list(client.invoke_with_response_stream(FunctionName="app", Payload=payload)["EventStream"])

    invoke()
    counted.garbage()
    for _ in range(30):
        invoke()
    assert counted.garbage() < 30
