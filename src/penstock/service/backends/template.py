"""The service's side of an initialised template: a process the spawner forks, which forks environments."""

import signal
import socket
from typing import Any

from . import Exit, Owner, Process, Spec
from .forker import Forker


class LocalTemplate(Forker):
    """A `Template`, and the listener of its own process."""

    def __init__(self, spawner: Forker, spec: Spec, log: int, owner: Owner) -> None:
        super().__init__()
        self._owner = owner
        self._process: Process | None = None
        self._refused = False
        self._unwanted = False
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        with theirs:
            try:
                spawner.spawn(spec, theirs.fileno(), log, self)
            except OSError:
                self._control.close()
                raise
        self._loop.add_reader(self._control, self._receive)

    def let_go(self) -> None:
        self._unwanted = True
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._unwanted and not self._listeners and self._process is not None:
            self._process.signal(signal.SIGKILL)

    # What it says.

    def _said(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self._ready = True
            self._owner.ready()
            self._send()
        elif "refused" in message:
            self._refused = True
            self._owner.refused(message["refused"])
        elif "init_error" in message:
            self._owner.init_failed(message["init_error"], message["document"].encode())

    def _exited(self, id: str, exit: Exit) -> None:
        super()._exited(id, exit)
        self._end_if_idle()

    def _failed(self, id: str, message: str) -> None:
        super()._failed(id, message)
        self._end_if_idle()

    def _lost(self) -> None:
        self._loop.remove_reader(self._control)  # its end says more, and follows
        if self._ready and self._process is not None:
            self._process.signal(signal.SIGKILL)  # if only it has closed its own end: it hears no orders

    # What the spawner says of it.

    def spawned(self, process: Process) -> None:
        self._process = process
        self._owner.spawned(process)
        self._end_if_idle()

    def exited(self, exit: Exit) -> None:
        if self._control.fileno() >= 0:
            self._receive()  # what it said last
        worked = self._ready or self._refused
        self._leave()
        self._owner.ended(exit)
        if worked:
            self._all_lost()
        else:  # the function's init ended it: so it would have ended each of them
            for id in list(self._listeners):
                self._exited(id, exit)

    def spawn_failed(self, message: str) -> None:
        self._leave()
        self._owner.ended(Exit(1, 0))
        for id in list(self._listeners):
            self._failed(id, message)

    def spawn_lost(self) -> None:
        self._leave()
        self._owner.ended(Exit(1, 0))
        self._all_lost()
