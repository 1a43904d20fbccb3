"""Initialised templates: for a function with SnapStart, a process that has run its init, and is forked.

Each environment of the function is such a fork, ready within milliseconds however long the init takes. One
template for each version of a function; those unused longest are let go when there are too many.

    making ──ready──▶ forked again and again ──let go, or killed──▶ ended
       ├──refused, or ended by itself later: environments are started without one from now on, and the
       │  function's log says why
       └──init failed: whoever waited is told, and the next call makes another
"""

import asyncio
import contextlib
import os
import signal
import time
import uuid
from collections.abc import Collection
from functools import partial
from typing import Protocol

from penstock.protocol import limits

from . import outcomes, runtimes
from .backends import Backend, Exit, Listener, Process, Spec
from .backends import Template as Handle
from .config import Config
from .environment import PAGE, InitVerdict, specify
from .functions import Function, Functions
from .logs import LogLine, LogSink, Tail

_READ = 64 * limits.KIB


class Host(Protocol):
    """What templates need of the service."""

    config: Config
    backend: Backend
    log: LogSink
    region: str
    functions: Functions

    def watch_memory(self) -> None:
        """Have `check_memory` called now and then."""


class Templates:
    """All there are."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._live: dict[str, Template] = {}  # by the function's key; the one unused longest is the first
        self._refused: set[str] = set()  # keys

    def get(self, function: Function) -> "Template | None":
        """What environments of `function` are forked from, made if need be; None: they are not.

        Raises OSError when there are no descriptors left.
        """
        key = function.key
        if not function.snapshot or key in self._refused:
            return None
        template = self._live.pop(key, None)
        if template is None:
            if key not in self._host.functions.keys(function.name):
                return None  # only calls that were accepted before it was changed want it
            template = Template(function, self._host, self)
            try:
                template.make()
            except runtimes.Unavailable as error:
                self.refuse(template, str(error))
                return None
        self._live[key] = template
        for _ in range(len(self._live) - self._host.config.max_templates):
            self._live.pop(next(iter(self._live))).let_go()
        return template

    def prepare(self, function: Function, *, among_others: bool = False) -> None:
        """Have it made ahead, as far as that can be done; `among_others`: not in the place of another."""
        if among_others and len(self._live) >= self._host.config.max_templates:
            return
        with contextlib.suppress(OSError):  # so will the first call, and be told
            self.get(function)

    def retire(self, name: str, keep: Collection[str]) -> None:
        """A function has changed: only templates of these keys are used any more."""
        for key, template in list(self._live.items()):
            if template.function.name == name and key not in keep:
                del self._live[key]
                template.let_go()
        self._refused -= {key for key in self._refused if key.partition(":")[0] == name and key not in keep}

    def roots(self) -> set[str]:
        """The folders of their code."""
        return {template.function.root for template in self._live.values()}

    def check_memory(self) -> bool:
        """Look at those that are being made; whether there are any."""
        making = [template for template in self._live.values() if not template.initialised_at]
        for template in making:
            template.check_memory()
        return bool(making)

    # What templates tell.

    def refuse(self, template: "Template", why: str) -> None:
        self._refused.add(template.function.key)
        said = f"no SnapStart template, each environment runs its own init: {why}"
        template.note(said, platform=False)  # a developer has asked for it, and is to know

    def ended(self, template: "Template") -> None:
        if self._live.get(template.function.key) is template:
            del self._live[template.function.key]


class Template:
    """One template: its process, its log, and why it came to nothing."""

    def __init__(self, function: Function, host: Host, all: Templates) -> None:
        self.function = function
        self.initialised_at = 0.0  # by the monotonic clock; 0.0: it is not yet
        self.tail = Tail()  # what its init has printed
        self.verdict: InitVerdict | None = None  # on its init, which has failed
        self._id = uuid.uuid4().hex
        self._host = host
        self._all = all
        self._loop = asyncio.get_running_loop()
        self._process: Process | None = None
        self._serves = False  # environments are forked from it
        self._handle: Handle
        self._partial = b""

    def __repr__(self) -> str:
        return f"<Template {self.function.key} {'ready' if self.initialised_at else 'making'}>"

    def make(self) -> None:
        """Start the process. Raises Unavailable: it cannot be had; OSError, and holds nothing then."""
        function = self.function
        launch = runtimes.launch(function, lambda _: None)  # each environment says it in its own log
        if launch.command:
            raise runtimes.Unavailable("only Penstock's own runtime for Python has them")
        spec = specify(self._id, function, launch, self._host.region, "fd:3", snapshot=True, template=True)
        self._started = time.monotonic()
        self._log, log_end = os.pipe()
        try:
            os.set_blocking(self._log, False)
            self._handle = self._host.backend.template(spec, log_end, self)
        except OSError:
            os.close(self._log)
            raise
        finally:
            os.close(log_end)
        self._loop.add_reader(self._log, self._read_log)
        self._timer = self._loop.call_later(self._host.config.init_timeout, self._timed_out)
        self._host.watch_memory()

    def spawn(self, spec: Spec, dial: int | None, log: int, listener: Listener) -> None:
        """Start an environment, as a backend does."""
        self._handle.spawn(spec, dial, log, listener)

    def let_go(self) -> None:
        """It is used no more: it ends with the last of its environments."""
        self._handle.let_go()

    def check_memory(self) -> None:
        """Above MemorySize an init is ended, as without a template."""
        if self._process is None:
            return
        try:
            with open(f"/proc/{self._process.pid}/statm", "rb") as file:
                fields = file.read().split()
            used = (int(fields[1]) - int(fields[2])) * PAGE
        except (OSError, IndexError):
            return  # it has just ended, or this system has no /proc
        if used > self.function.memory_mb * limits.MIB:
            memory_mb = self.function.memory_mb
            self._fail(partial(outcomes.out_of_memory, used=used, memory_mb=memory_mb, init=True))

    # What the backend tells.

    def spawned(self, process: Process) -> None:
        self._process = process
        if self.verdict is not None:
            process.signal(signal.SIGKILL)

    def ready(self) -> None:
        self._serves = True
        self._initialised()
        milliseconds = (self.initialised_at - self._started) * 1000
        self.note(f"SnapStart template made in {milliseconds:.2f} ms: each environment is a fork of it")

    def refused(self, why: str) -> None:
        self._initialised()
        self._all.refuse(self, why + _way_out(why))
        self._all.ended(self)

    def init_failed(self, error_type: str, document: bytes) -> None:
        outcome = outcomes.function_error(error_type, document, init=True)
        self.verdict = self.verdict or (lambda request_id: outcome)

    def ended(self, exit: Exit) -> None:
        self._timer.cancel()
        if self._serves and exit.status != -signal.SIGKILL:
            # Nobody has ended it: forking has, or what its init has left. So it would be with the next.
            self._all.refuse(self, f"it has ended by itself: {outcomes.exit_reason(exit.status)}")
        self._all.ended(self)
        self._read_log(whole=True)
        self._loop.remove_reader(self._log)
        os.close(self._log)

    # How.

    def _initialised(self) -> None:
        self.initialised_at = time.monotonic()
        self._timer.cancel()
        self._read_log(whole=True)

    def _timed_out(self) -> None:
        self._fail(partial(outcomes.init_timed_out, seconds=self._host.config.init_timeout))

    def _fail(self, verdict: InitVerdict) -> None:
        self.verdict = self.verdict or verdict
        self._all.ended(self)  # whoever calls next makes another
        if self._process is not None:
            self._process.signal(signal.SIGKILL)

    def _read_log(self, whole: bool = False) -> None:
        """Read what was printed; `whole`: also a last line that has no end yet."""
        try:
            data = os.read(self._log, _READ)
        except BlockingIOError:
            data = b""
        else:
            if not data:
                self._loop.remove_reader(self._log)
        *lines, self._partial = (self._partial + data).split(b"\n")
        if self._partial and (whole or len(self._partial) >= _READ):
            lines.append(self._partial)
            self._partial = b""
        for line in lines:
            text = line.decode("utf-8", "replace")
            self.tail.add(text)
            self._host.log(LogLine(self.function.name, self._id, "", text))

    def note(self, text: str, platform: bool = True) -> None:
        """A line of ours in the function's log."""
        self._host.log(LogLine(self.function.name, self._id, "", text, platform))


def _way_out(why: str) -> str:
    """What its author can do where an init has left what a template must not have."""
    if why.startswith("it holds"):
        return "; close it in a before-snapshot hook (snapshot_restore_py.register_before_snapshot)"
    if why.startswith("it has"):  # started threads or processes, mapped shared memory
        return "; do that in an after-restore hook (snapshot_restore_py.register_after_restore)"
    return ""
