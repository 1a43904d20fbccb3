"""Environments as processes of this machine, forked by a spawner for each interpreter."""

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import penstock

from . import Exit, Listener, SpawnerError, Spec

_MESSAGE_SIZE = 1024 * 1024
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


class LocalProcess:
    """A process of this machine, known by its pidfd where the system has one."""

    def __init__(self, pid: int, pidfd: int | None) -> None:
        self.pid = pid
        self._pidfd = pidfd

    def signal(self, number: int) -> None:
        try:
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, number)
            elif self.pid:
                os.kill(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # it has ended; or it has become a program of another user

    def close(self) -> None:
        self.pid = 0
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


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
        spawner = self._spawners.get(spec.python) or self._start_soon(spec.python)
        spawner.spawn(spec, dial, log, listener)

    async def stop(self) -> None:
        for task in self._starts:
            task.cancel()
        await asyncio.gather(*self._starts, return_exceptions=True)
        await asyncio.gather(*(spawner.stop() for spawner in self._spawners.values()))
        self._spawners.clear()

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


class _Spawner:
    """The service's side of one `penstock.runtime.spawner`."""

    def __init__(self, python: str, on_lost: Callable[["_Spawner", str, Collection[int]], None]) -> None:
        self.python = python
        self._on_lost = on_lost
        self._listeners: dict[str, Listener] = {}
        self._processes: dict[str, LocalProcess] = {}
        self._marks: dict[str, int] = {}
        self._unsent: deque[tuple[bytes, list[int]]] = deque()  # orders, with descriptors of their own
        self._ready = False
        self._waiting = False  # for room in the socket
        self._loop = asyncio.get_running_loop()

    async def start(self, sweep: Collection[int] = ()) -> None:
        """Start the process; `sweep` are marks of processes a killed one has left. Raises SpawnerError."""
        self._child, self._control = self._open()
        try:
            ready = await asyncio.wait_for(self._loop.sock_recv(self._control, _MESSAGE_SIZE), _START)
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

    def spawn(self, spec: Spec, dial: int | None, log: int, listener: Listener) -> None:
        """Order an environment. Raises OSError when there are no descriptors left, and knows nothing then."""
        given = _copies([log] if dial is None else [log, dial])
        mark = self._marks[spec.id] = 1 + int.from_bytes(os.urandom(6), "big")
        order = {
            "spawn": spec.id,
            "mark": mark,
            "environment": dict(spec.environment),
            "root": spec.root,
            "data_limit": spec.data_limit,
            "command": spec.command,
        }
        self._listeners[spec.id] = listener
        self._unsent.append((json.dumps(order).encode(), given))
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

    def _send(self) -> None:
        """Send what was not sent, as far as there is room."""
        while self._ready and self._unsent:
            message, fds = self._unsent[0]
            try:
                socket.send_fds(self._control, [message], fds)
            except BlockingIOError:
                if not self._waiting:
                    self._waiting = True
                    self._loop.add_writer(self._control, self._send)
                return
            except OSError as error:
                said = f"cannot reach the spawner: {error.strerror}"
                if error.errno == errno.EMSGSIZE:
                    said = f"the function's environment variables are too large: {len(message):,} bytes"
                if id := json.loads(message).get("spawn"):  # an order to sweep concerns nobody
                    self._loop.call_soon(self._failed, id, said)
            self._unsent.popleft()
            _close_all(fds)
        if self._waiting:
            self._waiting = False
            self._loop.remove_writer(self._control)

    def _receive(self) -> None:
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._control, _MESSAGE_SIZE, 1)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self._lost()
                return
            self._dispatch(json.loads(data), fds)

    def _dispatch(self, message: dict[str, Any], fds: list[int]) -> None:
        if "spawned" in message:
            process = LocalProcess(message["pid"], fds[0] if fds else None)
            self._processes[message["spawned"]] = process
            self._listeners[message["spawned"]].spawned(process)
        elif "exited" in message:
            exit = Exit(message["status"], message["max_rss"], message["unstarted"])
            self._exited(message["exited"], exit)
        elif "failed" in message:
            self._failed(message["failed"], message["message"])

    def _exited(self, id: str, exit: Exit) -> None:
        if process := self._processes.pop(id, None):
            process.close()
        del self._marks[id]
        self._listeners.pop(id).exited(exit)

    def _failed(self, id: str, message: str) -> None:
        if listener := self._listeners.pop(id, None):
            del self._marks[id]
            listener.spawn_failed(message)

    def _lost(self) -> None:
        """The spawner was killed, and the system has killed the environments with it."""
        self._leave()
        said = self._bury()
        self._on_lost(self, f"has failed ({said})" if said else "was killed", list(self._marks.values()))
        for id in list(self._listeners):
            if id in self._processes:
                self._exited(id, Exit(-signal.SIGKILL, 0))
            else:
                del self._marks[id]
                self._listeners.pop(id).spawn_lost()

    def _leave(self) -> None:
        """Close our end of the socket: this ends the spawner. Nothing the second time."""
        if self._control.fileno() < 0:
            return
        self._ready = False
        self._loop.remove_reader(self._control)
        if self._waiting:
            self._loop.remove_writer(self._control)
        self._control.close()
        self._drop_unsent()

    def _bury(self) -> str:
        """Have the process ended; the last line it said."""
        self._control.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._child.returncode is None:  # with what a wrapper around the interpreter started
                os.killpg(self._child.pid, signal.SIGKILL)
        _, said = self._child.communicate()
        lines: list[str] = said.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def _drop_unsent(self) -> None:
        for _, fds in self._unsent:
            _close_all(fds)
        self._unsent.clear()


def _copies(fds: list[int]) -> list[int]:
    """Descriptors of our own of the same files: all of them, or OSError."""
    copies: list[int] = []
    try:
        for fd in fds:
            copies.append(os.dup(fd))
    except OSError:
        _close_all(copies)
        raise
    return copies


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
