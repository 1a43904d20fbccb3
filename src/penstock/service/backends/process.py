"""Environments as processes of this machine, forked by a spawner for each interpreter."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Collection
from pathlib import Path

import penstock

from . import Exit, Listener, Owner, SpawnerError, Spec
from .forker import MESSAGE_SIZE, Forker
from .template import LocalTemplate

_PACKAGE = Path(penstock.__file__).parent
_START = 30.0  # seconds an interpreter may take to be ready
_STOP = 10.0  # seconds a spawner may take to end what is below it

# What a spawner has of our environment: what an interpreter needs to start. The rest may hold the host's
# secrets, and functions can read what the spawner was started with (/proc/self/environ).
_NAMES = ("PATH", "HOME", "LANG", "TZ")
_PREFIXES = ("PYTHON", "LC_", "LD_", "DYLD_", "MALLOC_", "GLIBC_")

# Makes penstock, and nothing else of our installation, importable on the function's own interpreter.
_BOOTSTRAP = """\
import sys
if sys.path[:1] == [""]:
    del sys.path[0]  # the current folder: a json.py there must not stand in for Python's own
if sys.version_info < (3, 11):
    sys.exit("penstock needs Python 3.11 or later, this is " + sys.version.split()[0])
from importlib.util import module_from_spec, spec_from_file_location
folder = sys.argv.pop(1)
spec = spec_from_file_location("penstock", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules["penstock"] = module = module_from_spec(spec)
spec.loader.exec_module(module)
from penstock.runtime import spawner
spawner.main(int(sys.argv.pop(1)))
"""


class ProcessBackend:
    """One spawner for each interpreter, started at its first need and again when it was killed."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._spawners: dict[str, _Spawner] = {}
        self._starts: set[asyncio.Task[None]] = set()
        self._note = note  # takes a line for the person who runs the service

    async def start(self, python: str) -> None:
        """Have the spawner of an interpreter ready. Raises SpawnerError, in words for a person."""
        if python not in self._spawners:
            await self._start(self._make(python))

    def spawn(self, spec: Spec, dial: int | None, log: int, listener: Listener) -> None:
        self._spawner(spec.python).spawn(spec, dial, log, listener)

    def template(self, spec: Spec, log: int, owner: Owner) -> LocalTemplate:
        return LocalTemplate(self._spawner(spec.python), spec, log, owner)

    async def stop(self) -> None:
        for task in self._starts:
            task.cancel()
        await asyncio.gather(*self._starts, return_exceptions=True)
        await asyncio.gather(*(spawner.stop() for spawner in self._spawners.values()))
        self._spawners.clear()

    def _spawner(self, python: str) -> "_Spawner":
        return self._spawners.get(python) or self._start_soon(python)

    def _make(self, python: str) -> "_Spawner":
        spawner = self._spawners[python] = _Spawner(python, self._lost)
        return spawner

    async def _start(self, spawner: "_Spawner", sweep: Collection[int] = ()) -> None:
        try:
            await spawner.start(sweep)
        except BaseException as error:
            del self._spawners[spawner.python]
            spawner.forget(str(error))
            raise

    def _start_soon(self, python: str, sweep: Collection[int] = ()) -> "_Spawner":
        """Start a spawner; what it is asked meanwhile waits."""
        spawner = self._make(python)
        task = asyncio.get_running_loop().create_task(self._start(spawner, sweep))
        self._starts.add(task)
        task.add_done_callback(self._started)
        return spawner

    def _started(self, task: "asyncio.Task[None]") -> None:
        self._starts.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._note(str(error))

    def _lost(self, spawner: "_Spawner", said: str, marks: Collection[int]) -> None:
        """A spawner was killed. Called before its environments are told, so that they can start others."""
        self._note(f"the spawner of {spawner.python} {said}, and its environments with it; starting another")
        self._start_soon(spawner.python, marks)


class _Spawner(Forker):
    """The service's side of one `penstock.runtime.spawner`."""

    def __init__(self, python: str, on_lost: Callable[["_Spawner", str, Collection[int]], None]) -> None:
        super().__init__()
        self.python = python
        self._on_lost = on_lost

    async def start(self, sweep: Collection[int] = ()) -> None:
        """Start the process; `sweep` are marks of processes a killed one has left. Raises SpawnerError."""
        self._child, self._control = self._open()
        try:
            ready = await asyncio.wait_for(self._loop.sock_recv(self._control, MESSAGE_SIZE), _START)
        except (OSError, TimeoutError):
            ready = b""
        except asyncio.CancelledError:
            self._bury()
            raise
        if not ready:
            said = self._bury() or "it ended without a word"
            raise SpawnerError(f"the interpreter {self.python} cannot run functions: {said}")
        self._loop.add_reader(self._control, self._receive)
        self._ready = True
        if sweep:
            self._unsent.appendleft((json.dumps({"sweep": list(sweep)}).encode(), []))
        self._send()

    async def stop(self) -> None:
        """End the spawner, which ends everything below it."""
        self._leave()
        try:
            await asyncio.to_thread(self._child.wait, _STOP)
        except subprocess.TimeoutExpired:
            pass
        self._bury()
        for id in list(self._listeners):
            self._exited(id, Exit(-signal.SIGKILL, 0))

    def forget(self, message: str) -> None:
        """It could not be started: neither can anything it was asked for."""
        self._drop_unsent()
        for id in list(self._listeners):
            self._loop.call_soon(self._failed, id, message)

    def _open(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        """The process, and our end of the socket it serves."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            # From the main thread, which lives as long as the service does.
            child = subprocess.Popen(
                [self.python, "-c", _BOOTSTRAP, str(_PACKAGE), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env={k: v for k, v in os.environ.items() if k in _NAMES or k.startswith(_PREFIXES)},
            )
        except OSError as error:
            ours.close()
            raise SpawnerError(f"cannot run the interpreter {self.python}: {error.strerror}") from None
        finally:
            theirs.close()
        return child, ours

    def _lost(self) -> None:
        """The spawner was killed, and the system has killed the environments with it."""
        self._leave()
        said = self._bury()
        self._on_lost(self, f"has failed ({said})" if said else "was killed", self.marks())
        self._all_lost()

    def _bury(self) -> str:
        """Have the process ended; the last line it said."""
        self._control.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._child.returncode is None:  # with what a wrapper around the interpreter started
                os.killpg(self._child.pid, signal.SIGKILL)
        _, said = self._child.communicate()
        lines: list[str] = said.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""
