"""One execution environment: owns its process, its Runtime API connection and its log pipe.

    STARTING ──next──▶ READY ⇄ RUNNING one invocation ──▶ … ──exit──▶ GONE

To cancel, the connection that carries the response is shut. Penstock's own runtime: a handler that yields
notices at its next chunk, closes its generator and takes a fresh connection. One that has not let go after
20 ms is sent SIGURG, which interrupts blocked code. Any other runtime can only notice that its writing fails.
When the grace is over it is killed. A killed environment's process ends, and everything it had sent is read,
before its invocation is told.
"""

import asyncio
import contextlib
import fcntl
import math
import os
import signal
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from penstock.http.writer import Writer
from penstock.protocol import limits, runtime_api
from penstock.protocol.call import Ending, Outcome
from penstock.protocol.runtime_api import InvocationInfo

from . import outcomes, runtimes
from .backends import Backend, Exit, Process, Spec
from .config import Config
from .connections import Dialled, Listening
from .functions import Function
from .invocation import Invocation
from .logs import LogLine, LogSink, Tail
from .runtime_api import RuntimeApi
from .runtime_states import State
from .variables import variables

_SIGNAL_AFTER = 0.02  # seconds: a handler that yields ends by itself sooner
_SETTLE = 1.0  # seconds to read what an ended process had sent; a fork of it may hold the socket open
_LOG_READ = 4 * limits.KIB
_PIPE = 16 * limits.KIB  # what a function may print ahead of us
_HAND_OUTS = 3  # of one event, before its runtime counts as confused
_KEPT = 16 * limits.KIB  # of an event, while its response is streamed
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LINE = 256 * limits.KIB  # a log line is cut there, as CloudWatch cuts events
_DATA_ROOM = 256 * limits.MIB  # RLIMIT_DATA above MemorySize: the coarse stop behind the polled one
_FOREIGN_DATA_ROOM = 1024 * limits.MIB  # some hold much that they never touch: stacks of threads, arenas


InitVerdict = Callable[[str], Outcome]  # made for the request id of the call that is told


class Host(Protocol):
    """What an environment needs of the service."""

    config: Config
    backend: Backend
    log: LogSink
    region: str

    def ready(self, environment: "Environment") -> None: ...

    def gone(self, environment: "Environment") -> None: ...

    def init_failed(self, environment: "Environment", verdict: "InitVerdict") -> None: ...

    def stopping(self, environment: "Environment") -> None: ...

    def arn(self, function: str, qualifier: str = "") -> str: ...


def _prepare(log: int) -> None:
    os.set_blocking(log, False)
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(log, fcntl.F_SETPIPE_SZ, _PIPE)


class Environment:
    def __init__(self, number: int, function: Function, host: Host) -> None:
        self.number = number
        self.function = function
        self.id = uuid.uuid4().hex
        self.invocation: Invocation | None = None
        self.state = State.STARTED  # of its runtime
        self.attempt = ""  # names the invocation among all that share its request id
        self.max_used = 0  # bytes, the highest seen
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._process: Process | None = None
        self._connections: Dialled | Listening
        self._waiting: list[Writer] = []  # the runtime's open requests for an event, oldest first
        self._event: list[tuple[bytes, bytes]] = []  # the headers of the event
        self._handed_out = 0  # so many times
        self._attempts = 0
        self._cut = False  # its answer broke off
        self._response: Writer | None = None  # the request that carries the response
        self._exit: Exit | None = None
        self._killed = False
        self._ready = False
        self._init_duration: float | None = None  # seconds; reported once
        self._init_verdict: InitVerdict | None = None
        self.init_tail = Tail()
        self._timers: list[asyncio.TimerHandle] = []
        self._partial = b""
        self._statm: int | None = None  # descriptors of its files in /proc, kept: opening costs more
        self._status: int | None = None

    def __repr__(self) -> str:
        pid = self._process.pid if self._process else "-"
        return f"<Environment {self.number} {self.function.name} pid={pid} {self.invocation}>"

    # Starting.

    def start(self) -> None:
        """Have the process started; `ready` or `gone` will be told.

        Raises OSError when there are no descriptors left, and holds nothing then.
        """
        self._started = time.monotonic()
        try:
            launch, failure = runtimes.launch(self.function, self._note), ""
        except runtimes.Unavailable as error:
            launch, failure = runtimes.Launch(self.function.python), str(error)
        with contextlib.ExitStack() as opened:
            self._log, log_end = os.pipe()
            opened.callback(self._close_log)
            try:
                _prepare(self._log)
                self._loop.add_reader(self._log, self._read_log)
                way = Listening if launch.command else Dialled
                self._connections = connections = way(RuntimeApi(self), self._lost)
                opened.callback(connections.close)
                if failure:
                    self._loop.call_soon(self.spawn_failed, failure)
                else:
                    dial = connections.theirs.fileno() if connections.theirs else None
                    self._host.backend.spawn(self._spec(launch), dial, log_end, self)
            finally:
                os.close(log_end)
            opened.pop_all()
        connections.started()
        self._later(self._host.config.init_timeout, self._init_timed_out)

    def _spec(self, launch: runtimes.Launch) -> Spec:
        function = self.function
        room = _FOREIGN_DATA_ROOM if launch.command else _DATA_ROOM
        return Spec(
            id=self.id,
            python=launch.python,
            root=function.root,
            environment=variables(
                function, self._host.region, self._log_stream(), self._connections.address, launch.environment
            ),
            data_limit=function.memory_mb * limits.MIB + room,
            command=launch.command,
        )

    def _log_stream(self) -> str:
        return time.strftime("%Y/%m/%d/", time.gmtime()) + f"[{self.function.version}]{self.id}"

    def _note(self, text: str) -> None:
        """A line of ours in the function's log."""
        self._host.log(LogLine(self.function.name, self.id, "", text, platform=True))

    # What the backend tells.

    def spawned(self, process: Process) -> None:
        self._process = process
        if self._killed:
            process.signal(signal.SIGKILL)

    def spawn_failed(self, message: str) -> None:
        self._init_verdict = partial(outcomes.sandbox_failure, message=message)
        self.exited(Exit(1, 0))

    def spawn_lost(self) -> None:
        self._killed = True  # no call is told: it waits for another
        self.exited(Exit(1, 0))

    def exited(self, exit: Exit) -> None:
        self._exit = exit
        if exit.unstarted:
            self._init_verdict = partial(outcomes.invalid_entrypoint, message=exit.unstarted)
        self._cancel_timers()
        self._host.stopping(self)
        self._connections.ended()
        if self._connections.open:
            self.resume()  # what is left is what the socket holds: a slow reader may have it at once
            self._later(_SETTLE, self._settle)
        else:
            self._settled()

    # What the Runtime API tells.

    @property
    def given_up(self) -> bool:
        """Whether nobody waits any more for what the runtime was given to do."""
        return self.invocation is None or self.invocation.abandoned

    def asked(self, writer: Writer) -> None:
        """The runtime asks for an event, when it may: it is free, or is given the same one again."""
        self._waiting.append(writer)
        if self.state is State.RUNNING and not self.given_up:
            self._hand_out()
        elif self.state is State.READY:
            self._cancel_timers()  # of `hung_up`: here it is
        else:
            self._free()

    def hung_up(self, writer: Writer) -> None:
        """The request for an event is gone. It may ask anew, and soon: an event that comes first waits."""
        if writer in self._waiting:
            self._waiting.remove(writer)
            if self._exit is None:
                self._later(_SETTLE, self._still_there)

    def responding(self, writer: Writer) -> None:
        """The response has begun to come in."""
        self._response = writer
        invocation = self.invocation
        if invocation is not None and len(invocation.call.payload) > _KEPT:
            invocation.call = replace(invocation.call, payload=b"")  # not to be held for a long stream

    def answered(self) -> None:
        """The answer was read, or refused: another event may be asked for, within the time."""
        self.state = State.RESPONSE_SENT
        self._response = None
        if self._waiting:
            self._free()

    def cut_off(self, invocation: Invocation) -> None:
        """The answer broke off in the middle. If that was the process's end, its exit will say more."""
        if self.invocation is invocation and self.state in (State.RESPONSE, State.ERROR):
            self._cut = True
            self.answered()
            if isinstance(
                self._connections, Listening
            ):  # the own runtime has no other connection: `_closed` sees to it
                self._later(_SETTLE, self._truncated)

    def init_failed(self, error_type: str, document: bytes) -> None:
        """The runtime reports that the function could not be initialised; it will exit, or is killed."""
        outcome = outcomes.function_error(error_type, document, init=True)
        self._init_verdict = lambda request_id: outcome
        self._later(self._host.config.cancel_grace, self.kill)

    def _free(self) -> None:
        """It is done with one event, or with its init, and asks for the next."""
        self.state = State.READY
        self._response = None
        if not self._ready:
            self._ready = True
            self._init_duration = time.monotonic() - self._started
        self._cancel_timers()
        self._read_log()
        if self._cut:
            self._truncated()
        if self.invocation is not None and not self.invocation.let_go("the generator was closed"):
            self.kill()  # it has lost its way, who knows what it does next
        self.invocation = None
        if not self._killed and self._exit is None:
            self._host.ready(self)

    def _still_there(self) -> None:
        idle = self.state is State.READY or (self.state is State.RUNNING and not self._handed_out)
        if idle and not self._waiting:
            self._deserted()

    def _truncated(self) -> None:
        if self.invocation is not None:
            document = outcomes.truncated(self.invocation.request_id)
            self.invocation.failed(runtime_api.TRUNCATED_RESPONSE, document)

    def _lost(self) -> None:
        """A connection has ended, and everything that came over it was read."""
        if self._exit is not None:
            if not self._connections.open:
                self._settled()
        elif isinstance(self._connections, Dialled):  # it had this one only
            self._response = None
            self._host.stopping(self)  # no call may be given to it any more
            if not self._killed:
                self._later(_SETTLE, self._deserted)  # unless it was only quicker than the news of its end

    def _deserted(self) -> None:
        """It has closed what it lives by, and goes on: it can neither answer nor be asked again."""
        if self.invocation is not None:
            self.invocation.condemn(outcomes.deserted(self.invocation.request_id))
        self._init_verdict = partial(outcomes.deserted, init=True)
        self.kill()

    # What the service wants.

    def deliver(self, invocation: Invocation) -> None:
        """Have the runtime handle an event. It is idle: it has asked for one."""
        function = self.function
        self.invocation = invocation
        self.state = State.RUNNING
        self._attempts += 1
        self.attempt = f"{self.id}-{self._attempts}"
        self._handed_out = 0
        self._cut = False
        invocation.assigned(self)
        self._platform(f"START RequestId: {invocation.request_id} Version: {function.version}")
        info = InvocationInfo(
            request_id=invocation.request_id,
            deadline_ms=int((time.time() + function.timeout) * 1000),
            function_arn=self._host.arn(function.name, invocation.call.qualifier),
            trace_id=invocation.call.trace_id,
            client_context=invocation.call.client_context,
            tenant_id=invocation.call.tenant_id,
            invocation_id=self.attempt,
        )
        self._event = [(b"Content-Type", b"application/json"), *info.headers()]
        if self._waiting:
            self._hand_out()

    def _hand_out(self) -> None:
        """Answer a request for an event: AWS gives the same one until it was answered.

        A client may have lost it on its connection, and asks again. One that asks and asks has lost its way,
        and shall not have its caller wait until the timeout. The own runtime never asks twice.
        """
        invocation = self.invocation
        assert invocation is not None
        self._handed_out += 1
        if self._handed_out > (_HAND_OUTS if isinstance(self._connections, Listening) else 1):
            invocation.let_go("it has lost its way")
            self.kill()
        else:
            self._waiting.pop(0).respond(200, self._event, invocation.call.payload)

    def pause(self) -> None:
        if self._response is not None and self._exit is None:
            self._response.pause_reading()

    def resume(self) -> None:
        if self._response is not None:
            self._response.resume_reading()

    def cancel(self) -> None:
        """Make the function let go of its invocation: shut, signal, kill; see above."""
        response, self._response = self._response, None
        if self.state is State.RESPONSE:
            self.state = State.RESPONSE_SENT
        if self._exit is not None:
            self._settle()
            return
        try:
            self._connections.hang_up(response)
        except OSError:
            self.kill()  # no descriptors left for another connection
            return
        if isinstance(self._connections, Dialled):
            self._later(_SIGNAL_AFTER, self._signal)
        self._later(self._host.config.cancel_grace, self.kill)

    def overran(self, invocation: Invocation) -> None:
        """It has answered, and has not asked for the next event within the function's time."""
        seconds = self.function.timeout
        self._platform(f"{invocation.request_id} Task timed out after {seconds:.2f} seconds", invocation)
        self.kill()

    def kill(self) -> None:
        """End the process now."""
        self._killed = True
        self._host.stopping(self)
        if self._process is not None:
            self._process.signal(signal.SIGKILL)

    def check_memory(self) -> bool:
        """Look at what the process uses; kill it above MemorySize. Whether it is near."""
        if self._process is None or self._killed or self._exit is not None:
            return False
        try:
            if self._statm is None:
                self._statm = os.open(f"/proc/{self._process.pid}/statm", os.O_RDONLY)
            fields = os.pread(self._statm, 128, 0).split()
        except OSError:
            return False  # it has just ended, or this system has no /proc
        if len(fields) < 3:
            return False
        used = (int(fields[1]) - int(fields[2])) * _PAGE
        self.max_used = max(self.max_used, used)
        limit = self.function.memory_mb * limits.MIB
        if used > limit:
            verdict = partial(
                outcomes.out_of_memory, used=used, memory_mb=self.function.memory_mb, init=not self._ready
            )
            if self.invocation is not None:
                self.invocation.condemn(verdict(self.invocation.request_id))
            self._init_verdict = verdict
            self.kill()
        return used > limit * 0.7

    # The log.

    def report(self, invocation: Invocation, outcome: Outcome) -> None:
        """END and REPORT of an invocation; what it printed comes before them."""
        self._read_log(whole=True)
        duration = (time.monotonic() - invocation.started) * 1000
        init = ""
        if self._init_duration is not None:
            init = f"\tInit Duration: {self._init_duration * 1000:.2f} ms"
            self._init_duration = None
        status = ""
        if outcome.ending is Ending.TIMED_OUT:
            status = "\tStatus: timeout"
        elif not outcome.ok and outcome.error_type:
            status = f"\tStatus: error\tError Type: {outcome.error_type}"
        id = invocation.request_id
        self._platform(f"END RequestId: {id}", invocation)
        self._platform(
            f"REPORT RequestId: {id}\tDuration: {duration:.2f} ms\tBilled Duration: {math.ceil(duration)} ms"
            f"\tMemory Size: {self.function.memory_mb} MB\tMax Memory Used: {self._peak_mb()} MB"
            f"{init}{status}",
            invocation,
        )

    def _peak_mb(self) -> int:
        """The process's high-water mark; of one that ended, what the system counted."""
        if self._exit is not None:
            return -(-max(self._exit.max_rss, self.max_used) // limits.MIB)
        if self._process is not None:
            try:
                if self._status is None:
                    self._status = os.open(f"/proc/{self._process.pid}/status", os.O_RDONLY)
                _, _, rest = os.pread(self._status, 4096, 0).partition(b"VmHWM:")
                return -(-int(rest[:20].split()[0]) // limits.KIB)
            except (OSError, IndexError):
                pass  # it has just ended, or this system has no /proc
        return -(-self.max_used // limits.MIB)

    def _platform(self, text: str, invocation: Invocation | None = None) -> None:
        invocation = invocation or self.invocation
        assert invocation is not None
        invocation.tail.add(text)
        self._host.log(LogLine(self.function.name, self.id, invocation.request_id, text, platform=True))

    def _read_log(self, whole: bool = False) -> None:
        """Read what was printed; `whole`: also a last line that has no end yet."""
        # At the end of an invocation the pipe is read dry: it holds no more than this. Otherwise a little
        # at a time, so that a function that floods its log waits for us, and nobody else does.
        for _ in range(1 + _PIPE // _LOG_READ if whole else 1):
            try:
                data = os.read(self._log, _LOG_READ)
            except BlockingIOError:
                break
            if not data:
                self._loop.remove_reader(self._log)
                break
            *lines, self._partial = (self._partial + data).split(b"\n")
            for line in lines:
                self._log_line(line)
            if len(self._partial) >= _LINE:
                self._log_line(self._partial)
                self._partial = b""
        if whole and self._partial:
            self._log_line(self._partial)
            self._partial = b""

    def _log_line(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace")
        invocation = self.invocation
        if invocation is None or invocation.ended:
            if not self._ready:
                self.init_tail.add(text)
            self._host.log(LogLine(self.function.name, self.id, "", text))
        else:
            invocation.tail.add(text)
            self._host.log(LogLine(self.function.name, self.id, invocation.request_id, text))

    def _close_log(self) -> None:
        self._loop.remove_reader(self._log)
        os.close(self._log)

    # Ending.

    def _signal(self) -> None:
        if self._process is not None:
            self._process.signal(signal.SIGURG)

    def _init_timed_out(self) -> None:
        if self._init_verdict is None:
            self._init_verdict = partial(outcomes.init_timed_out, seconds=self._host.config.init_timeout)
        self.kill()

    def _settle(self) -> None:
        """The process has ended, but its connection has not: a fork of it holds it open."""
        self._connections.drop()
        self._settled()

    def _settled(self) -> None:
        """The process has ended and everything it sent was read."""
        exit = self._exit
        assert exit is not None
        self._cancel_timers()
        self._read_log(whole=True)
        if self.invocation is not None:
            self.invocation.exited(exit, self._how(exit))
            self.invocation = None
        elif not self._ready and (self._init_verdict is not None or not self._killed):
            crashed = partial(outcomes.crashed, exit, init=True)
            self._host.init_failed(self, self._init_verdict or crashed)
        self._close_log()
        self._connections.close()
        for fd in (self._statm, self._status):
            if fd is not None:
                os.close(fd)
        self._host.gone(self)

    def _how(self, exit: Exit) -> str:
        """How a cancelled function let go, when its process has ended."""
        if self._killed:
            return "the function was killed, it had not let go"
        if exit.status == 0:
            return "the function was interrupted"
        return outcomes.exit_reason(exit.status)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._timers.append(self._loop.call_later(seconds, action))

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
