"""Environments as processes of this machine, forked by a spawner for each interpreter."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import penstock

from . import Exit, Listener, SpawnerError, Spec

_MESSAGE_SIZE = 1024 * 1024
_PACKAGE = Path(penstock.__file__).parent

# Makes penstock, and nothing else of our installation, importable on the function's own interpreter.
_BOOTSTRAP = """\
import sys
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
        except ProcessLookupError:
            pass

    def close(self) -> None:
        self.pid = 0
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


class ProcessBackend:
    """One spawner for each interpreter, started at its first need."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._spawners: dict[str, _Spawner] = {}
        self._restarts: set[asyncio.Task[None]] = set()
        self._note = note  # takes a line for the person who runs the service

    async def start(self, python: str) -> None:
        """Have the spawner of an interpreter ready. Raises SpawnerError, in words for a person."""
        if python not in self._spawners:
            spawner = _Spawner(python, self._lost)
            await spawner.start()
            self._spawners[python] = spawner

    def spawn(self, spec: Spec, dial: int, log: int, listener: Listener) -> None:
        if spawner := self._spawners.get(spec.python):
            spawner.spawn(spec, dial, log, listener)
        else:
            message = f"the spawner of {spec.python} was killed and is being started again"
            asyncio.get_running_loop().call_soon(listener.spawn_failed, message)

    def _lost(self, python: str) -> None:
        self._note(f"the spawner of {python} was killed, and its environments with it; starting another")
        del self._spawners[python]
        task = asyncio.get_running_loop().create_task(self._restart(python))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _restart(self, python: str) -> None:
        try:
            await self.start(python)
        except SpawnerError as error:
            self._note(str(error))

    async def stop(self) -> None:
        for task in self._restarts:
            task.cancel()
        await asyncio.gather(*(spawner.stop() for spawner in self._spawners.values()))
        self._spawners.clear()


class _Spawner:
    """The service's side of one `penstock.runtime.spawner`."""

    def __init__(self, python: str, on_lost: Callable[[str], None]) -> None:
        self._python = python
        self._on_lost = on_lost
        self._listeners: dict[str, Listener] = {}
        self._processes: dict[str, LocalProcess] = {}
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            # From the main thread, which lives as long as the service does.
            self._child = subprocess.Popen(
                [self._python, "-c", _BOOTSTRAP, str(_PACKAGE), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise SpawnerError(f"cannot run the interpreter {self._python}: {error.strerror}") from None
        finally:
            theirs.close()
        self._control = ours
        self._control.setblocking(False)
        try:
            ready = await asyncio.wait_for(self._loop.sock_recv(ours, _MESSAGE_SIZE), 30)
        except (OSError, TimeoutError):
            ready = b""
        if not ready:
            self._child.kill()
            _, said = self._child.communicate()
            lines = said.decode(errors="replace").strip().splitlines() or ["it ended without a word"]
            ours.close()
            raise SpawnerError(f"the interpreter {self._python} cannot run functions: {lines[-1]}")
        self._loop.add_reader(self._control, self._receive)

    def spawn(self, spec: Spec, dial: int, log: int, listener: Listener) -> None:
        order = {
            "spawn": spec.id,
            "environment": dict(spec.environment),
            "root": spec.root,
            "data_limit": spec.data_limit,
        }
        self._listeners[spec.id] = listener
        try:
            socket.send_fds(self._control, [json.dumps(order).encode()], [dial, log])
        except OSError as error:
            message = f"cannot reach the spawner of {self._python}: {error}"
            self._loop.call_soon(self._failed, spec.id, message)

    async def stop(self) -> None:
        """End the spawner, which ends everything below it."""
        self._loop.remove_reader(self._control)
        self._control.close()
        await asyncio.to_thread(self._child.wait)
        if self._child.stderr is not None:
            self._child.stderr.close()
        for id in list(self._listeners):
            self._exited(id, Exit(-signal.SIGKILL, 0))

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
            self._exited(message["exited"], Exit(message["status"], message["max_rss"]))
        elif "failed" in message:
            self._failed(message["failed"], message["message"])

    def _exited(self, id: str, exit: Exit) -> None:
        if process := self._processes.pop(id, None):
            process.close()
        self._listeners.pop(id).exited(exit)

    def _failed(self, id: str, message: str) -> None:
        if listener := self._listeners.pop(id, None):
            listener.spawn_failed(message)

    def _lost(self) -> None:
        """The spawner was killed, and the system has killed the environments with it."""
        self._loop.remove_reader(self._control)
        self._control.close()
        self._child.wait()
        assert self._child.stderr is not None
        self._child.stderr.close()
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # what the environments had forked
        for id in list(self._listeners):
            self._exited(id, Exit(-signal.SIGKILL, 0))
        self._on_lost(self._python)
