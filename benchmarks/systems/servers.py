"""Servers that do the work in their own process: one hop."""

import re
import sys

from .base import APPS, Address, Job, OnPort, System, missing_modules


class Starlette(System):
    """Starlette on uvicorn: one process, uvloop and httptools, no access log."""

    name = "Starlette"

    def __init__(self, job: Job) -> None:
        uvicorn = ["-m", "uvicorn", "starlette_app:app", "--app-dir", APPS, "--host", "127.0.0.1"]
        flags = ["--port", "0", "--loop", "uvloop", "--http", "httptools", "--no-access-log"]
        super().__init__([sys.executable, *uvicorn, *flags], f"/{job.work}", job.folder / "uvicorn.log")

    @staticmethod
    def missing() -> str:
        return missing_modules("starlette", "uvicorn", "uvloop", "httptools")

    def _listening(self, log: str) -> Address | None:
        found = re.search(r"running on http://([\d.]+):(\d+)", log)
        return (found[1], int(found[2])) if found else None


class Granian(OnPort):
    """granian, by the interface of its own: one worker process."""

    name = "granian"

    def __init__(self, job: Job) -> None:
        flags = ["--interface", "rsgi", "--workers", "1", "--loop", "uvloop", "--no-ws", "--no-access-log"]
        where = ["--working-dir", APPS, "--host", "127.0.0.1", "--port"]

        def command(port: int) -> list[object]:
            return [sys.executable, "-m", "granian", *flags, *where, port, "granian_app:app"]

        super().__init__(command, f"/{job.work}", job.folder / "granian.log")

    @staticmethod
    def missing() -> str:
        return missing_modules("granian", "uvloop")


class SocketLoop(System):
    """What Python can do at all: accept, recv, sendall."""

    name = "socket loop"

    def __init__(self, job: Job, unix: bool = False) -> None:
        self.socket = job.folder / "loop.socket"  # where it is, if there
        command = [sys.executable, APPS / "socket_loop.py", self.socket if unix else "0"]
        super().__init__(command, f"/{job.work}", job.folder / "loop.log")

    def _listening(self, log: str) -> Address | None:
        return listening_line(log)


def listening_line(log: str) -> Address | None:
    """How our bare programs say where they are."""
    found = re.search(r"listening on (.+)\n", log)
    return ("127.0.0.1", int(found[1]) if found[1].isdigit() else 0) if found else None
