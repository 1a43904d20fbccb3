"""`python -m penstock.runtime.spawner FD`: starts execution environments, and buries them.

One process for each interpreter, with a single thread, so that forking is safe. It has imported the runtime
already; an environment is a fork of it that has only its own descriptors, and is ready within milliseconds.

The service speaks to it over socket FD, one JSON object in each SEQPACKET message:

    service → spawner   {"spawn": id, "environment": {...}, "root": dir, "data_limit": bytes}  + [dial, log]
    spawner → service   {"ready": "3.11.7", "pid": n}
                        {"spawned": id, "pid": n}  + [pidfd, where the system has one]
                        {"exited": id, "status": n, "max_rss": bytes}    negative: killed by that signal
                        {"failed": id, "message": text}

Nothing outlives the service. When its socket ends, the spawner kills every process below it, also those a
function forked and detached: it is a subreaper, so they all become its children. Should the spawner itself be
killed, the system kills the environments (PDEATHSIG).
"""

import array
import atexit
import contextlib
import ctypes
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Any, NoReturn

from penstock.protocol import limits

# What an environment needs is imported before it is forked.
from . import __main__ as runtime
from . import loop  # noqa: F401

MESSAGE_SIZE = 1024 * 1024
_DIAL = 3  # the descriptor an environment finds its connections at
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main(fd: int) -> None:
    """Serve the socket `fd` until it ends; then end everything."""
    control = socket.socket(fileno=fd)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is the service's to handle
    wake, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)
    signal.signal(signal.SIGTERM, lambda signum, frame: control.shutdown(socket.SHUT_RD))
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    if "" in sys.path:
        sys.path.remove("")  # the current folder, which `python -c` puts there
    gc.collect()
    gc.freeze()
    Spawner(control, wake).serve()


class Spawner:
    def __init__(self, control: socket.socket, wake: int) -> None:
        self._control = control
        self._wake = wake
        self._ids: dict[int, str] = {}  # pid → environment

    def serve(self) -> None:
        self._send({"ready": sys.version.split()[0], "pid": os.getpid()})
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        try:
            while True:
                for fd, _ in poll.poll():
                    if fd == self._wake:
                        with contextlib.suppress(BlockingIOError):
                            os.read(self._wake, 4096)
                        self._reap()
                    elif not self._receive():
                        return
        except OSError:
            return  # the service is gone
        finally:
            kill_descendants()

    def _receive(self) -> bool:
        message, fds, _, _ = socket.recv_fds(self._control, MESSAGE_SIZE, 2)
        if not message:
            return False
        order = json.loads(message)
        try:
            self._spawn(order, fds)
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _spawn(self, order: dict[str, Any], fds: list[int]) -> None:
        environment = order["spawn"]
        spawner = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._send({"failed": environment, "message": f"cannot start a process: {error}"})
            return
        if pid == 0:
            become(order, fds, spawner)
        self._ids[pid] = environment
        pidfds = [os.pidfd_open(pid)] if hasattr(os, "pidfd_open") else []
        self._send({"spawned": environment, "pid": pid}, pidfds)
        for fd in pidfds:
            os.close(fd)

    def _reap(self) -> None:
        """Report environments that ended; orphans they left are taken away."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            environment = self._ids.pop(pid, None)
            if environment is None:
                continue
            kill_session(pid)
            unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB on Linux
            self._send(
                {
                    "exited": environment,
                    "status": os.waitstatus_to_exitcode(status),
                    "max_rss": usage.ru_maxrss * unit,
                }
            )

    def _send(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self._control.sendmsg([json.dumps(message).encode()], ancillary)


def become(order: dict[str, Any], fds: list[int], spawner: int) -> NoReturn:
    """Turn this fork of the spawner into an execution environment. Never returns."""
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != spawner:
            os._exit(1)  # the spawner died before the line above could see to it
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        dial, log = (os.dup(fd) for fd in fds)  # above 3, so that the moves below do not meet
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(dial, _DIAL, inheritable=False)
        os.closerange(_DIAL + 1, limits.OPEN_FILES * 4)
        _limit(resource.RLIMIT_NOFILE, limits.OPEN_FILES)
        _limit(resource.RLIMIT_CORE, 0)
        _limit(resource.RLIMIT_DATA, order["data_limit"])
        os.environ.clear()
        os.environ.update(order["environment"])
        os.environ["AWS_EXECUTION_ENV"] = "AWS_Lambda_python{}.{}".format(*sys.version_info)
        time.tzset()
        os.chdir(order["root"])
        for name in ("random", "numpy.random"):
            if name in sys.modules:
                sys.modules[name].seed()
        sys.setswitchinterval(0.001)  # a flush must not wait 5 ms for code that computes
        atexit._clear()
        gc.enable()
        runtime.main()
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(2, f"penstock: the environment could not be set up: {error!r}\n".encode())
    os._exit(1)


def kill_session(session: int) -> None:
    """Kill what an ended environment left behind: its process group, and orphans of its session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(session, signal.SIGKILL)
    for pid in _children(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            if pid != session and os.getsid(pid) == session:
                os.kill(pid, signal.SIGKILL)


def kill_descendants(seconds: float = 5.0) -> None:
    """Kill every process below this one and wait for their end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for pid in _descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return  # nobody is left
        time.sleep(0.002)


def _descendants(root: int) -> list[int]:
    found = list(_children(root))
    for pid in found:  # grows while it is walked
        found += _children(pid)
    return found


def _children(parent: int) -> list[int]:
    """The processes `parent` is the parent of; [] where the system has no /proc."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{parent}/task"):
            with open(f"/proc/{parent}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    except OSError:
        pass
    return found


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def _prctl(option: int, value: int) -> None:
    """Linux's prctl; elsewhere nothing, and what it gives is missing there."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
