"""`python -m penstock.runtime.spawner FD`: starts execution environments, and buries them.

One process for each interpreter, with a single thread, so that forking is safe. It has imported the runtime
already; an environment is a fork of it that has only its own descriptors, and is ready within milliseconds.
One fork is made ahead and waits, the blank: it is the next environment, of whichever function.

The service speaks to it over socket FD, one JSON object in each SEQPACKET message:

    service → spawner   {"spawn": id, "mark": n, "environment": {...}, "root": dir, "data_limit": bytes,
                         "open_files": n, "command": [], "template": false} + [log, dial]
                        {"spawn": …, "command": [program, argument, ...]} + [log]     another's runtime
                        {"spawn": …, "template": true} + [log, control]     a spawner itself: template.py
                        {"sweep": [mark, ...]}
    spawner → service   {"ready": "3.11.7", "pid": n}
                        {"spawned": id, "pid": n}  + [pidfd, where the system has one]
                        {"exited": id, "status": n, "max_rss": bytes, "unstarted": text}
                            status: negative, killed by that signal; unstarted: why there is no such program
                        {"failed": id, "message": text}

Nothing outlives its environment, and nothing the service. The spawner is a subreaper: what a function
forked and detached becomes the spawner's child. It bears its environment's mark, is recognised by it and
killed when the environment has ended. When the service's socket ends, the spawner kills every process below
it. Should the spawner itself be killed, the system kills the environments (PDEATHSIG), and the next spawner
sweeps up the rest.
"""

import _signal  # type: ignore[import-not-found]  # what `signal` is made of
import array
import atexit
import contextlib
import ctypes
import fcntl
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from penstock.protocol import limits

# What an environment needs is imported before it is forked; also what only some need, but which takes
# long: asyncio 40 ms, logging 5 ms.
from . import __main__ as runtime
from . import aio, lanes, log_records, logs, rehearsal, tagged  # noqa: F401

MESSAGE_SIZE = 1024 * 1024
_DIAL = runtime.DIAL  # where a blank has its orders, until it has connections
_QUIET = 10  # milliseconds without an order, before a blank is made: it must not delay the ones under way
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# An environment's mark is its limit of file locks, which Linux keeps, hands down to forks and through exec,
# and shows in /proc, but has not enforced since 2.4.
_RLIMIT_LOCKS = 10
_SIGNALS = _signal.valid_signals()
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def main(fd: int) -> None:
    """Serve the socket `fd` until it ends; then end everything."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGHUP, signal.SIGQUIT):  # ignored if we were started by nohup, or with an &
        signal.signal(number, signal.SIG_DFL)
    os.dup2(2, 1)  # both a pipe, as in an environment: what its output is like is found out once
    logs.install()
    rehearsal.rehearse_init()
    rehearsal.rehearse(20)  # Python adapts code that has run a few times
    os.environ.clear()  # nothing of it is for functions, and each of them is the quicker for it
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=fd), be_environment)


# What a fork becomes: told its order, the descriptors that came with it, and those it has of the spawner.
Be = Callable[[dict[str, Any], Sequence[int], Sequence[int]], None]


def serve(control: socket.socket, be: Be) -> None:
    """Start what `control` orders until it ends; then end everything."""
    # To end is the service's to say, by its socket: not Ctrl-C's, nor a SIGTERM's to all of a group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wakes = os.pipe()
    for end in wakes:
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)
    signal.set_wakeup_fd(wakes[1], warn_on_full_buffer=False)
    Spawner(control, wakes, be).serve()


class Spawner:
    def __init__(self, control: socket.socket, wakes: tuple[int, int], be: Be) -> None:
        self._control = control
        self._wake = wakes[0]
        self._wakes = wakes
        self._be = be
        self._ids: dict[int, str] = {}  # pid → environment
        self._marks: dict[int, int] = {}  # pid → mark
        self._unstarted: dict[int, int] = {}  # pid → the pipe that says why its command was not executed
        self._blank: Blank | None = None
        self._makes_blanks = True

    def serve(self) -> None:
        self._send({"ready": sys.version.split()[0], "pid": os.getpid()})
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        try:
            while True:
                happened = poll.poll(_QUIET if self._blank is None and self._makes_blanks else None)
                if not happened:
                    self._blank = Blank.fork(self._be, self._own())
                for fd, _ in happened:
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
            if "sweep" in order:
                sweep(set(order["sweep"]))
            else:
                self._spawn(message, order, fds)
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _spawn(self, message: bytes, order: dict[str, Any], fds: list[int]) -> None:
        environment = order["spawn"]
        try:
            pid = self._used_blank(message, order, fds) or self._fork(order, fds)
        except OSError as error:
            self._send({"failed": environment, "message": f"cannot start a process: {error.strerror}"})
            return
        self._ids[pid] = environment
        self._marks[pid] = order["mark"]
        pidfds = [os.pidfd_open(pid)] if hasattr(os, "pidfd_open") else []
        self._send({"spawned": environment, "pid": pid}, pidfds)
        for fd in pidfds:
            os.close(fd)

    def _used_blank(self, message: bytes, order: dict[str, Any], fds: list[int]) -> int:
        """Have the blank be the environment; its pid. 0: there is none to be had."""
        if self._blank is None or order["command"]:
            return 0
        blank, self._blank = self._blank, None
        with blank.orders:
            try:
                socket.send_fds(blank.orders, [message], fds)
            except OSError:
                return 0  # it was killed, or the order is too large for a socket's buffer: it ends
        return blank.pid

    def _fork(self, order: dict[str, Any], fds: list[int]) -> int:
        """Fork an environment; its pid. Raises OSError."""
        if not order["command"]:
            return _fork(lambda: self._be(order, fds, self._own()))
        said, say = os.pipe()
        try:
            pid = _fork(lambda: self._be(order, [*fds, say], self._own()))
        except OSError:
            os.close(said)
            raise
        finally:
            os.close(say)
        self._unstarted[pid] = said
        return pid

    def _own(self) -> list[int]:
        """Descriptors that are not for forks."""
        return [self._control.fileno(), *self._wakes, *self._unstarted.values()]

    def _reap(self) -> None:
        """Report environments that ended; what they left behind is killed first."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            environment = self._ids.pop(pid, None)
            if self._blank is not None and pid == self._blank.pid:
                self._blank.orders.close()
                self._blank = None
                # If it was not killed it ended by itself: so would the next, and the one after that.
                self._makes_blanks = os.waitstatus_to_exitcode(status) == -signal.SIGKILL
            if environment is not None:
                del self._marks[pid]
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
            # Also after an orphan's end: its own children are orphans now.
            self._kill_orphans()
            if environment is None:
                continue
            unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB on Linux
            self._send(
                {
                    "exited": environment,
                    "status": os.waitstatus_to_exitcode(status),
                    "max_rss": usage.ru_maxrss * unit,
                    "unstarted": self._why_unstarted(pid),
                }
            )

    def _why_unstarted(self, pid: int) -> str:
        """Why the command of an environment that ended was never executed; "" if it was."""
        pipe = self._unstarted.pop(pid, None)
        if pipe is None:
            return ""
        try:
            return os.read(pipe, 4096).decode("utf-8", "replace")  # nobody has its other end any more
        finally:
            os.close(pipe)

    def _kill_orphans(self) -> None:
        """Kill those children that are no environments and whose environment has ended."""
        living = {None, *self._marks.values()}  # of a process without a mark we know nothing
        known = {*self._ids, self._blank.pid if self._blank is not None else 0}
        for pid in _children(os.getpid()):
            if pid not in known and _mark(pid) not in living:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _send(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self._control.sendmsg([json.dumps(message).encode()], ancillary)


@dataclass(frozen=True)
class Blank:
    """A process that waits for the order to be an environment.

    What can be done before it is known which was done: it is forked, and by a rehearsal has copies of its
    own of the memory that environments write to. These two are most of a cold start.
    """

    pid: int
    orders: socket.socket

    @classmethod
    def fork(cls, be: Be, own: Sequence[int]) -> "Blank | None":
        """None: it cannot be now; so will an environment's own start, and say why."""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            return None
        with theirs:
            try:
                others = [*own, ours.fileno(), theirs.fileno()]
                pid = _fork(lambda: _wait_for_order(theirs.fileno(), be, others))
            except OSError:
                ours.close()
                return None
        return cls(pid, ours)


def _wait_for_order(fd: int, be: Be, others: Sequence[int]) -> None:
    for output in (1, 2):
        os.dup2(0, output)  # not the spawner's, whose end must be seen
    os.dup2(fd, _DIAL, inheritable=False)
    close_all(others)
    with contextlib.suppress(Exception):  # of a template: its function may have changed Python itself
        rehearsal.rehearse_init()
        rehearsal.rehearse(4)
    orders = socket.socket(fileno=_DIAL)
    orders.settimeout(None)  # in a template, its function may have set another default
    message, fds, _, _ = socket.recv_fds(orders, MESSAGE_SIZE, 2)
    if not message:
        os._exit(0)
    be(json.loads(message), fds, ())
    orders.detach()  # never reached: its number is the dial's by now


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors, but for the one at `_DIAL`, which is taken over by another."""
    for fd in fds:
        if fd != _DIAL:
            os.close(fd)


def _fork(then: Callable[[], object]) -> int:
    """Fork a process of its own that does `then`, which must not return; its pid. Raises OSError."""
    spawner = os.getpid()
    # Until the child has handlers of its own, a signal to it would be handled as one to the spawner.
    signals = _signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # `signal` would make an enum of each
    try:
        pid = os.fork()
        if pid == 0:
            _leave_spawner(spawner, signals, then)
        return pid
    finally:
        _signal.pthread_sigmask(signal.SIG_SETMASK, signals)


def _leave_spawner(spawner: int, signals: set[Any], then: Callable[[], object]) -> NoReturn:
    """In a fork of the spawner: be a process of its own, with the signal mask `signals`."""
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != spawner:
            os._exit(1)  # the spawner died before the line above could see to it
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            _signal.signal(number, _signal.SIG_DFL)
        _signal.signal(signal.SIGINT, signal.default_int_handler)
        _signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        then()
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(2, f"penstock: the environment could not be set up: {error!r}\n".encode())
    os._exit(1)


def be_environment(order: dict[str, Any], fds: Sequence[int], others: Sequence[int]) -> None:
    """Turn this fork of the spawner into what was ordered. Does not return.

    `fds`: the log, and the dial; with a command the log, and where to say that it cannot be executed.
    """
    take(fds)
    os.closerange(_DIAL + 1, limits.OPEN_FILES * 4)
    _limit(resource.RLIMIT_NOFILE, order["open_files"])
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_DATA, order["data_limit"])
    is_template = order.get("template", False)
    bear(order["mark"], for_good=not is_template)
    if order["command"]:
        _execute(order["command"], order["root"], order["environment"])
    _enter_function(order)
    if is_template:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        from . import template

        template.main(socket.socket(fileno=_DIAL), order["environment"])
    runtime.main()


def take(fds: Sequence[int]) -> None:
    """Have the log, and what is for `_DIAL`, in their places."""
    log, third = (fcntl.fcntl(fd, fcntl.F_DUPFD, _DIAL + 1) for fd in fds)  # so that the moves do not meet
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(third, _DIAL, inheritable=False)
    os.close(log)
    os.close(third)


def bear(mark: int, *, for_good: bool = True) -> None:
    """Bear an environment's mark. A template's forks are to have others than it has."""
    with contextlib.suppress(OSError, ValueError):  # not a limit everywhere
        if for_good:
            _limit(_RLIMIT_LOCKS, mark)
        else:
            resource.setrlimit(_RLIMIT_LOCKS, (mark, resource.getrlimit(_RLIMIT_LOCKS)[1]))


def _enter_function(order: dict[str, Any]) -> None:
    """Be at home in the function: its variables, its folder. Python itself seeds `random` after a fork."""
    os.environ.update(order["environment"])
    os.environ["AWS_EXECUTION_ENV"] = "AWS_Lambda_python{}.{}".format(*sys.version_info)
    time.tzset()
    for folder in reversed(os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        if folder and folder not in sys.path:
            sys.path.insert(0, folder)
    os.chdir(order["root"])
    sys.setswitchinterval(0.001)  # a flush must not wait 5 ms for code that computes
    atexit._clear()
    gc.enable()


def _execute(command: list[str], root: str, environment: dict[str, str]) -> NoReturn:
    """Be another's runtime. If that cannot be, the pipe at `_DIAL` says why, in the words of AWS's platform.

    They are Go's: see internal/lambda/supervisor of AWS's Runtime Interface Emulator.
    """
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and a program would inherit that
    program = command[0]
    try:
        os.chdir(root)
        os.execve(program, command, environment)
    except FileNotFoundError as error:
        if os.path.isdir(root) and not os.path.lexists(program):
            why = f"Couldn't find valid bootstrap(s): [{program}]"
        else:  # of a script, its interpreter is missing
            why = f"fork/exec {program}: {str(error.strerror).lower()}"
    except OSError as error:
        why = f"fork/exec {program}: {str(error.strerror).lower()}"
    os.write(_DIAL, why.encode())
    os._exit(1)


def sweep(marks: set[int]) -> None:
    """Kill what bears one of these marks: left by environments of a spawner that was killed."""
    for _ in range(10):  # again, for what was forked meanwhile
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and _mark(int(name)) in marks]
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


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


def _mark(pid: int) -> int | None:
    """The mark of a process; None: it has none, or has ended."""
    try:
        with open(f"/proc/{pid}/limits", "rb") as file:
            for line in file:
                if line.startswith(b"Max file locks"):
                    return int(line.split()[3])
    except (OSError, ValueError):
        pass
    return None


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def _prctl(option: int, value: int) -> None:
    """Linux's prctl; elsewhere nothing, and what it gives is missing there."""
    if _LIBC is not None:
        _LIBC.prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
