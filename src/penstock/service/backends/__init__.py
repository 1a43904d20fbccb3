"""Where environments run. One interface, `Backend`; `process` is the local one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from penstock.protocol import limits


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
    open_files: int = limits.OPEN_FILES
    command: tuple[str, ...] = ()  # what is executed; (): Penstock's own runtime
    template: bool = False  # it does not run, it is to be forked


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


class Starter(Protocol):
    """Starts processes for environments."""

    def spawn(self, spec: Spec, dial: int | None, log: int, listener: Listener) -> None:
        """Start one. `dial` and `log` are descriptors it gets; they may be closed on return.

        `dial` is where Penstock's own runtime finds its connections; None with a command. Raises OSError
        when there are no descriptors left, and knows nothing then.
        """


class Template(Starter, Protocol):
    """An initialised template: starts the environments of one function, once it has been initialised.

    What it is asked for before waits. If it comes to nothing its listeners are told how it ended.
    """

    def let_go(self) -> None:
        """End it as soon as it has no environments."""


class Owner(Protocol):
    """Who is told of a template."""

    def spawned(self, process: Process) -> None:
        """Its process runs."""

    def ready(self) -> None:
        """It was initialised."""

    def refused(self, why: str) -> None:
        """It holds what environments must not share: they are to be started without it."""

    def init_failed(self, error_type: str, document: bytes) -> None:
        """The function's init has failed."""

    def ended(self, exit: Exit) -> None:
        """It has ended; nothing follows. Called before its environments are told."""


class Backend(Starter, Protocol):
    """Starts processes for environments."""

    async def start(self, python: str) -> None:
        """Be ready to start environments on an interpreter. Raises SpawnerError."""

    def template(self, spec: Spec, log: int, owner: Owner) -> Template:
        """Make a template. Raises OSError as `spawn` does."""

    async def stop(self) -> None:
        """End every process that was started, and wait for it."""
