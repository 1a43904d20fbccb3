"""Ours: `penstock serve TARGET`, its defaults."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import memory

from .base import Address, System


class Penstock(System):
    """`penstock serve TARGET`: service, spawner and as many environments as are asked for at once."""

    name = "Penstock"

    def __init__(
        self, target: Path, path: str, folder: Path, flags: Sequence[str] = (), listens: str = "gateway"
    ) -> None:
        self._listens = listens
        kept = ["--data", str(folder / "data"), "--python", sys.executable]
        ports = ["--port", "0", "--lambda-port", "0"]
        command = [sys.executable, "-m", "penstock", "serve", str(target), *kept, *ports, *flags]
        super().__init__(command, path, folder / "penstock.log")

    def function_path(self, name: str) -> str:
        return f"/lambda-url/{name}/"

    def processes(self) -> dict[int, str]:
        """A template is a child of the spawner that has children of its own: counted as an environment."""
        found = dict.fromkeys(memory.tree(self.pid), "environment")
        found.update(dict.fromkeys(memory.children(self.pid), "spawner"))
        found[self.pid] = "service"
        return found

    def _listening(self, log: str) -> Address | None:
        first, newline, _ = log.partition("\n")
        if not newline or not first.startswith("{"):  # an error is said in plain words
            return None
        url = json.loads(first)[self._listens]
        host, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")
        return host, int(port)
