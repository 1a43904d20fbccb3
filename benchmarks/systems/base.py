"""What every system under test has in common: it is started, found listening, measured and ended."""

import importlib.util
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import memory
from memory import ProcessMemory

HERE = Path(__file__).resolve().parent.parent
APPS = HERE / "apps"
START = 30.0  # seconds a server may take to listen

Address = tuple[str, int]


class StartError(Exception):
    """A system did not start, or ended before its time."""


@dataclass(frozen=True)
class Job:
    """What a system is started for."""

    work: str  # small, lines, bulk, rest, ticks, endless: the rivals serve it at this path
    at_once: int  # the most requests there will be at a time
    folder: Path  # a temporary one, for this round


class System:
    """A running server. A context manager: it has ended when the block has."""

    name: str

    def __init__(
        self, command: Sequence[object], path: str, log: Path, *, environ: dict[str, str] | None = None
    ) -> None:
        self.path = path  # where the work of the workload is
        self._log = log
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=inherited | (environ or {}),
                cwd=log.parent,
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

    def function_path(self, name: str) -> str:
        """Where function `name` is, of several."""
        return f"/{name}"

    def processes(self) -> dict[int, str]:
        """Every process of it, and its role."""
        return {pid: self.role(pid) for pid in memory.tree(self.pid)}

    def role(self, pid: int) -> str:
        return memory.command(pid)

    def memory(self) -> list[ProcessMemory]:
        found = (memory.read(role, pid) for pid, role in self.processes().items())
        return [each for each in found if each is not None]

    def cpu(self) -> float:
        """Seconds of processor time its processes have used, those included that it has waited for."""
        return sum(memory.cpu(pid) for pid in self.processes())

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

    def _wait(self) -> Address:
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self._process.poll() is None:
            if address := self._listening(self._log.read_text(errors="replace")):
                return address
            time.sleep(0.01)
        raise StartError(f"{self.name} did not start: {self._log.read_text(errors='replace')[-2000:]}")

    def _listening(self, log: str) -> Address | None:
        """Where it listens, once it does."""
        raise NotImplementedError


class OnPort(System):
    """A server that cannot choose a port by itself: it is told one that was free a moment ago."""

    def __init__(self, command: Callable[[int], Sequence[object]], path: str, log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]
        super().__init__(command(self._port), path, log)

    def _listening(self, log: str) -> Address | None:
        address = ("127.0.0.1", self._port)
        try:
            socket.create_connection(address, 1).close()
        except OSError:
            return None
        return address


def missing_modules(*names: str) -> str:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)} (pip install -e '.[bench]')" if missing else ""
