"""Whether a process may serve as an initialised template: whether its forks would not disturb each other.

A fork has memory of its own, and none of its parent's threads; everything else that the function's init has
opened or started it would share with all other environments. That is looked for here.
"""

import fcntl
import os
import stat
import sys
import time
import warnings
from collections.abc import Collection

_SETTLE = 0.1  # seconds that threads may take to end
_HARMLESS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


def why_not(own: Collection[int]) -> str:
    """Why forks of this process would share what they must not; "": they may be made.

    `own` are descriptors that are not the function's.
    """
    if sys.platform != "linux":
        return "only Linux tells what a process holds"
    return _threads() or _processes() or _descriptors(own) or _shared_memory()


def regular_files(own: Collection[int]) -> list[int]:
    """Descriptors of files that are open for reading: each fork has to have a position of its own."""
    return [
        fd
        for fd in _opened(own)
        if stat.S_ISREG(os.fstat(fd).st_mode) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    ]


def open_anew(fd: int) -> None:
    """Give a descriptor a file position that is nobody else's; it stays where it is."""
    try:
        new = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return  # it may no longer be read: better shared than lost
    try:
        os.lseek(new, os.lseek(fd, 0, os.SEEK_CUR), os.SEEK_SET)
        os.dup2(new, fd, inheritable=os.get_inheritable(fd))
    finally:
        os.close(new)


def _threads() -> str:
    if _tasks() == 1:
        return ""
    if len(sys._current_frames()) == 1:
        # None of Python's. Pools of numerical libraries are ended before each fork, by their own handlers,
        # and begun anew when they are needed: see whether they are.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    deadline = time.monotonic() + _SETTLE
    while (tasks := _tasks()) > 1 and time.monotonic() < deadline:
        time.sleep(0.002)
    if tasks == 1:
        return ""
    threading = sys.modules.get("threading")
    named = [each.name for each in threading.enumerate()] if threading else []
    names = [name for name in named if name != "MainThread"]
    count = "a thread" if tasks == 2 else f"{tasks - 1} threads"
    return f"it has started {count}" + (f" ({', '.join(names[:5])})" if names else "")


def _tasks() -> int:
    return len(os.listdir("/proc/self/task"))


def _processes() -> str:
    try:
        with open("/proc/thread-self/children", "rb") as file:
            pids = file.read().split()
    except OSError:
        return ""  # a kernel that does not tell
    return f"it has started a process ({int(pids[0])})" if pids else ""


def _opened(own: Collection[int]) -> list[int]:
    fds = []
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd not in own:
            try:
                os.fstat(fd)
            except OSError:
                continue  # that of the listing itself
            fds.append(fd)
    return sorted(fds)


def _descriptors(own: Collection[int]) -> str:
    for fd in _opened(own):
        if what := _shared(fd):
            return f"it holds {what} (descriptor {fd})"
    return ""


def _shared(fd: int) -> str:
    """What is behind a descriptor, if forks must not share it; else ""."""
    mode = os.fstat(fd).st_mode
    path = os.readlink(f"/proc/self/fd/{fd}")
    if stat.S_ISREG(mode):
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        if flags & os.O_ACCMODE == os.O_RDONLY or flags & os.O_APPEND:
            return ""
        return f"a file that is open for writing, {path}"
    if stat.S_ISDIR(mode) or path in _HARMLESS:
        return ""
    if stat.S_ISSOCK(mode):
        return "a socket" + _end(fd)
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "an event loop" if path == "anon_inode:[eventpoll]" else path


def _end(fd: int) -> str:
    import socket

    try:
        with socket.socket(fileno=os.dup(fd)) as sock:
            listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            name = sock.getsockname() if listens else sock.getpeername()
    except OSError:
        return ""
    direction = "that listens on" if listens else "to"
    return f" {direction} {name[0]} port {name[1]}" if isinstance(name, tuple) else ""


def _shared_memory() -> str:
    """Memory that a fork would write into its parent's and every other fork's."""
    with open("/proc/self/maps", "rb") as file:
        for line in file:
            fields = line.split(None, 5)
            if fields[1][1:2] == b"w" and fields[1][3:4] == b"s":
                path = fields[5].strip().decode(errors="replace") if len(fields) > 5 else "anonymous"
                return f"it has mapped shared memory ({path})"
    return ""
