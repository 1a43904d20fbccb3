"""The real platform as a child process, for journeys: real functions, real sockets, the log as JSON lines."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """The first true value of `condition`; an AssertionError naming `what` when the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.005)
    raise AssertionError(f"waited {seconds:g} s for {what}")


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Platform:
    """`penstock serve` on free ports, with functions made from source text. A context manager.

    Without functions it is started in `folder` and has no TARGET. `under`: a command that runs it.
    """

    def __init__(
        self,
        folder: Path,
        functions: dict[str, str],
        *flags: str,
        env: dict[str, str] | None = None,
        under: Sequence[str] = (),
    ):
        self.folder = folder
        for name, source in functions.items():
            (folder / f"{name}.py").write_text(textwrap.dedent(source))
        environ = {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")} | (env or {})
        files = [folder / f"{name}.py" for name in functions]
        target = [str(files[0] if len(files) == 1 else folder)] if files else []
        self.process = subprocess.Popen(
            [*under, sys.executable, "-m", "penstock", "serve", *target, "--port", "0", "--lambda-port", "0"]
            + ([] if "--data" in flags else ["--data", str(folder / ".penstock")])
            + list(flags),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=None if functions else folder,
            env=environ,
        )
        self._clients: list[Any] = []
        self.events: list[dict[str, Any]] = []  # every line of the log, in order
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        listening = self.wait_for(event="listening")
        self.gateway: str = listening["gateway"].rstrip("/")
        self.lambda_api: str = listening["lambda"].rstrip("/")

    @property
    def gateway_address(self) -> tuple[str, int]:
        parts = urllib.parse.urlsplit(self.gateway)
        assert parts.hostname
        assert parts.port
        return parts.hostname, parts.port

    def __enter__(self) -> "Platform":
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> int:
        """End it as Ctrl-C twice does; the exit code."""
        for client in self._clients:
            client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(0.3)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        self._reader.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self.events.append(json.loads(line))
            except ValueError:
                self.events.append({"event": "not JSON", "text": line.decode(errors="replace")})

    def find(self, **fields: Any) -> list[dict[str, Any]]:
        """The log's events that have these fields."""
        return [e for e in list(self.events) if all(e.get(k) == v for k, v in fields.items())]

    def wait_for(self, count: int = 1, seconds: float = 20.0, **fields: Any) -> dict[str, Any]:
        """Wait until the log has `count` events with these fields; the last of them."""

        def enough() -> list[dict[str, Any]] | None:
            found = self.find(**fields)
            return found if len(found) >= count else None

        try:
            return wait_until(enough, f"{count} log events {fields}", seconds)[-1]
        except AssertionError as error:
            raise AssertionError(f"{error}; the log has: {self.events[-20:]}") from None

    def client(self) -> Any:
        """A boto3 Lambda client for it, without retries."""
        import boto3
        from botocore.config import Config

        client = boto3.client(
            "lambda",
            endpoint_url=self.lambda_api,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries={"max_attempts": 0}, read_timeout=60),
        )
        self._clients.append(
            client
        )  # closed with the platform, lest their sockets are when they are collected
        return client
