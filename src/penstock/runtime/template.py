"""An initialised template: a fork of the spawner that has become one function, and is forked in its turn.

It has loaded the handler, which is the function's init, and run its before-snapshot hooks. If what it holds
may be shared (checks.py) it serves its control socket as a spawner does. Each fork of it is an environment
that has been initialised already: it takes its own descriptors, variables and random numbers, runs the
after-restore hooks, and asks for its first event.

On the control socket it first says one of

    {"ready": "3.11.7", "pid": n}
    {"refused": why}                                    it ends: environments are to be started without it
    {"init_error": type, "document": text}              it ends: the function's init has failed

and if it ends without a word, its status says why.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from . import __main__ as runtime
from . import checks, errors, logs, snapshot, spawner
from .handler import load

if TYPE_CHECKING:
    from .loop import Handler

_DOCUMENT = 64 * 1024  # bytes of an error document: it has to fit into one message
_NEEDED = ("AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_MAX_CONCURRENCY")  # whatever the init has made of them
_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)  # a spawner has handlers of its own for these


def main(control: socket.socket, environment: dict[str, str]) -> NoReturn:
    """Become a template in `environment`, and serve `control` until it ends."""
    status = 0
    try:
        handler = _initialise(control)
        own = {0, 1, 2, control.fileno()}
        if why := checks.why_not(own):
            _say(control, {"refused": why})
        else:
            template = _Template(handler, environment, checks.regular_files(own))
            gc.collect()
            gc.freeze()
            spawner.serve(control, template.restore)
    except _Failed:
        status = 1
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    logs.flush()
    os._exit(status & 0xFF)  # what the function has registered with atexit is its environments' to run


class _Failed(Exception):
    """The function's init has failed, and that was said."""


def _initialise(control: socket.socket) -> Handler:
    concurrency = int(os.environ.get("AWS_LAMBDA_MAX_CONCURRENCY") or 1)
    runtime.begin(concurrency, own=True)
    if concurrency > 1:
        from . import lanes  # noqa: F401  # its forks need not import it
    kind = ""
    try:
        handler = load(os.environ.get("_HANDLER", ""), os.environ.get("LAMBDA_TASK_ROOT", os.getcwd()))
        kind = errors.BEFORE_SNAPSHOT_ERROR
        snapshot.run_before_snapshot()
    except SystemExit:
        raise
    except BaseException as error:
        logs.error(error)
        logs.flush()
        name, document = errors.error_document(error, limit=_DOCUMENT)
        _say(control, {"init_error": kind or name, "document": document.decode("utf-8", "replace")})
        raise _Failed from None
    logs.flush()
    return handler


def _say(control: socket.socket, message: dict[str, Any]) -> None:
    try:
        control.send(json.dumps(message).encode())
    except OSError:
        pass  # the service is gone, and this process goes too


class _Template:
    def __init__(self, handler: Handler, environment: dict[str, str], files: list[int]) -> None:
        self._handler = handler
        self._environment = environment  # what it was started with; the function may have changed it since
        self._files = files
        self._signals = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore(self, order: dict[str, Any], fds: Sequence[int], others: Sequence[int]) -> None:
        """Be an environment, in a fork. `fds`: the log, the dial; `others` are the template's own."""
        for number, handler in self._signals.items():
            if handler is not None:  # None: it was not Python that has set it
                signal.signal(number, handler)
        spawner.take(fds)
        spawner.close_all((*fds, *others))
        spawner.bear(order["mark"])
        for fd in self._files:
            checks.open_anew(fd)
        for name, value in order["environment"].items():
            if name in _NEEDED or self._environment.get(name) != value:
                os.environ[name] = value
        snapshot.reseed()
        runtime.main(self._handler)
