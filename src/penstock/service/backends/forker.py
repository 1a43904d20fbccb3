"""Talking to a process that forks environments: the spawner of an interpreter, or a function's template.

The messages are those of `penstock.runtime.spawner`.
"""

import asyncio
import errno
import json
import os
import signal
import socket
from collections import deque
from typing import Any

from . import Exit, Listener, Spec

MESSAGE_SIZE = 1024 * 1024


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


class Forker:
    """Orders environments of a process, and tells their listeners what it says of them.

    `_control` is our end of its socket. Orders are kept until `_ready`.
    """

    def __init__(self) -> None:
        self._control: socket.socket
        self._listeners: dict[str, Listener] = {}
        self._processes: dict[str, LocalProcess] = {}
        self._marks: dict[str, int] = {}
        self._unsent: deque[tuple[bytes, list[int]]] = deque()  # orders, with descriptors of their own
        self._ready = False
        self._waiting = False  # for room in the socket
        self._loop = asyncio.get_running_loop()

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
            "open_files": spec.open_files,
            "command": spec.command,
            "template": spec.template,
        }
        self._listeners[spec.id] = listener
        self._unsent.append((json.dumps(order).encode(), given))
        self._send()

    def marks(self) -> list[int]:
        """The marks of all environments, those of its templates among them."""
        marks = list(self._marks.values())
        for listener in self._listeners.values():
            if isinstance(listener, Forker):
                marks += listener.marks()
        return marks

    def _said(self, message: dict[str, Any]) -> None:
        """It says something of itself."""

    def _lost(self) -> None:
        """Its end of the socket is closed."""
        raise NotImplementedError

    def _all_lost(self) -> None:
        """It was killed: so were its environments, and what was ordered will not come."""
        for id in list(self._listeners):
            if id in self._processes:
                self._exited(id, Exit(-signal.SIGKILL, 0))
            else:
                del self._marks[id]
                self._listeners.pop(id).spawn_lost()

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
            except ConnectionError:
                pass  # it has ended, which we are about to be told: `_all_lost` has the order come anew
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
                data, fds, _, _ = socket.recv_fds(self._control, MESSAGE_SIZE, 1)
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
        else:
            self._said(message)

    def _exited(self, id: str, exit: Exit) -> None:
        if process := self._processes.pop(id, None):
            process.close()
        del self._marks[id]
        self._listeners.pop(id).exited(exit)

    def _failed(self, id: str, message: str) -> None:
        if listener := self._listeners.pop(id, None):
            del self._marks[id]
            listener.spawn_failed(message)

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
