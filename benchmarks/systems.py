"""The systems under test, each a fresh process on a free port of the loopback interface."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import memory
from memory import ProcessMemory

HERE = Path(__file__).resolve().parent
START = 20.0  # seconds a server may take to listen


class StartError(Exception):
    """A system did not start, or ended before its time."""


class System:
    """A running server. A context manager: it has ended when the block has."""

    name: str

    def __init__(self, command: list[str], path: str, log: Path) -> None:
        self.path = path  # where the work of the workload is
        self._log = log
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ
            )
        self.pid = self._process.pid
        try:
            self.address = self._wait()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> "System":
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def processes(self) -> dict[int, str]:
        """Every process of it, and its role."""
        raise NotImplementedError

    def memory(self) -> list[ProcessMemory]:
        found = (memory.read(role, pid) for pid, role in self.processes().items())
        return [each for each in found if each is not None]

    def stop(self) -> None:
        """Ask twice, as Ctrl-C does; then end it."""
        for patience in (0.3, 10.0):
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
                try:
                    self._process.wait(patience)
                except subprocess.TimeoutExpired:
                    pass
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _wait(self) -> tuple[str, int]:
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self._process.poll() is None:
            if address := self._listening(self._log.read_text(errors="replace")):
                return address
            time.sleep(0.01)
        raise StartError(f"{self.name} did not start: {self._log.read_text(errors='replace')[-2000:]}")

    def _listening(self, log: str) -> tuple[str, int] | None:
        raise NotImplementedError


class Penstock(System):
    """`penstock serve TARGET`: service, spawner and as many environments as are asked for at once."""

    name = "Penstock"

    def __init__(self, target: Path, path: str, folder: Path) -> None:
        serve = [
            "serve",
            str(target),
            "--data",
            str(folder / "data"),
            "--python",
            sys.executable,
            "--port",
            "0",
            "--lambda-port",
            "0",
        ]
        super().__init__([sys.executable, "-m", "penstock", *serve], path, folder / "penstock.log")

    def processes(self) -> dict[int, str]:
        found = {self.pid: "service"}
        for spawner in memory.children(self.pid):
            found[spawner] = "spawner"
            found.update(dict.fromkeys(memory.children(spawner), "environment"))
        return found

    def _listening(self, log: str) -> tuple[str, int] | None:
        first, newline, _ = log.partition("\n")
        if not newline:
            return None
        host, _, port = json.loads(first)["gateway"].removeprefix("http://").rstrip("/").rpartition(":")
        return host, int(port)


class Starlette(System):
    """Starlette on uvicorn: one process, uvloop and httptools, no access log."""

    name = "Starlette"

    def __init__(self, path: str, folder: Path) -> None:
        uvicorn = ["-m", "uvicorn", "starlette_app:app", "--app-dir", str(HERE), "--host", "127.0.0.1"]
        flags = ["--port", "0", "--loop", "uvloop", "--http", "httptools", "--no-access-log"]
        super().__init__([sys.executable, *uvicorn, *flags], path, folder / "uvicorn.log")

    def processes(self) -> dict[int, str]:
        return {self.pid: "uvicorn"}

    def _listening(self, log: str) -> tuple[str, int] | None:
        found = re.search(r"running on http://([\d.]+):(\d+)", log)
        return (found[1], int(found[2])) if found else None
