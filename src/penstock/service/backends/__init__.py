"""Where environments run. One interface, `Backend`; `process` is the local one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class SpawnerError(Exception):
    """Environments cannot be started on an interpreter; the message is for a person."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What an environment is started with."""

    id: str
    python: str  # the interpreter
    root: str  # its working folder
    environment: Mapping[str, str]
    data_limit: int  # bytes: the coarse stop beyond MemorySize
    command: tuple[str, ...] = ()  # what is executed; (): Penstock's own runtime


@dataclass(frozen=True, slots=True)
class Exit:
    """How an environment's process ended."""

    status: int  # the exit code, or minus the signal's number
    max_rss: int  # bytes
    unstarted: str = ""  # why its command could not be executed, in AWS's words


class Process(Protocol):
    """A started environment's process."""

    pid: int

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens when the process has ended."""


class Listener(Protocol):
    """Who is told of an environment's process."""

    def spawned(self, process: Process) -> None:
        """It runs."""

    def exited(self, exit: Exit) -> None:
        """It has ended; nothing follows."""

    def spawn_failed(self, message: str) -> None:
        """It could not be started; nothing follows."""

    def spawn_lost(self) -> None:
        """It was not started, for no fault of its own: another may be. Nothing follows."""


class Backend(Protocol):
    """Starts processes for environments."""

    async def start(self, python: str) -> None:
        """Be ready to start environments on an interpreter. Raises SpawnerError."""

    def spawn(self, spec: Spec, dial: int | None, log: int, listener: Listener) -> None:
        """Start one. `dial` and `log` are descriptors it gets; they may be closed on return.

        `dial` is where Penstock's own runtime finds its connections; None with a command.
        """

    async def stop(self) -> None:
        """End every process that was started, and wait for it."""
