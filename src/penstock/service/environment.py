"""One execution environment: owns its process, its Runtime API connection and its log pipe.

    STARTING ──next──▶ READY ⇄ RUNNING one invocation ──▶ … ──exit──▶ GONE

The runtime takes its connections from a socket of its own (`dial`), on which this side hands them out. To
cancel, the connection is shut: a handler that yields notices at its next chunk, closes its generator and
takes a fresh connection. One that has not let go after 20 ms is sent SIGURG, which interrupts blocked code;
when the grace is over it is killed. A killed environment's process ends, and everything it had sent is read,
before its invocation is told.
"""

import asyncio
import contextlib
import fcntl
import math
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from penstock.http.config import Config as HttpConfig
from penstock.http.connection import Connection
from penstock.http.server import connect
from penstock.http.writer import Writer
from penstock.protocol import limits
from penstock.protocol.call import Ending, Outcome
from penstock.protocol.runtime_api import InvocationInfo

from . import outcomes
from .backends import Backend, Exit, Process, Spec
from .config import Config
from .invocation import Invocation
from .logs import LogLine, LogSink, Tail
from .registry import Function
from .runtime_api import RuntimeApi
from .variables import variables

_SIGNAL_AFTER = 0.02  # seconds: a handler that yields ends by itself sooner
_SETTLE = 1.0  # seconds to read what an ended process had sent; a fork of it may hold the socket open
_LOG_READ = 4 * limits.KIB
_PIPE = 16 * limits.KIB  # what a function may print ahead of us
_KEPT = 16 * limits.KIB  # of an event, while its response is streamed
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LINE = 256 * limits.KIB  # a log line is cut there, as CloudWatch cuts events
_DATA_ROOM = 256 * limits.MIB  # RLIMIT_DATA above MemorySize: the coarse stop behind the polled one
_HTTP = HttpConfig(
    head_limit=128 * limits.KIB,  # an X-Ray error cause of 64 KB travels in a header
    head_timeout=None,
    idle_timeout=None,
    body_timeout=None,
    stamp=False,
)


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

    def arn(self, function: str) -> str: ...


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
        self.answered = False  # the runtime has begun to answer the invocation
        self.max_used = 0  # bytes, the highest seen
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._process: Process | None = None
        self._connection: Connection | None = None
        self._socket: socket.socket | None = None
        self._next: Writer | None = None  # the runtime's open request for an event
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
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        pid = self._process.pid if self._process else "-"
        return f"<Environment {self.number} {self.function.name} pid={pid} {self.invocation}>"

    @property
    def initialised(self) -> bool:
        """Whether the runtime has asked for an event."""
        return self._ready

    # Starting.

    def start(self) -> None:
        """Have the process started; `ready` or `gone` will be told.

        Raises OSError when there are no descriptors left, and holds nothing then.
        """
        self._started = time.monotonic()
        with contextlib.ExitStack() as opened:
            self._dial, theirs = socket.socketpair()
            opened.callback(self._dial.close)
            with theirs:
                self._log, log_end = os.pipe()
                opened.callback(self._close_log)
                try:
                    _prepare(self._log)
                    self._loop.add_reader(self._log, self._read_log)
                    self._open_connection()
                    opened.callback(self._shut)
                    spec = Spec(
                        id=self.id,
                        python=self.function.python,
                        root=self.function.root,
                        environment=variables(self.function, self._host.region, self._log_stream(), "fd:3"),
                        data_limit=self.function.memory_mb * limits.MIB + _DATA_ROOM,
                    )
                    self._host.backend.spawn(spec, theirs.fileno(), log_end, self)
                finally:
                    os.close(log_end)
            opened.pop_all()
        self._later(self._host.config.init_timeout, self._init_timed_out)

    def _log_stream(self) -> str:
        return time.strftime("%Y/%m/%d/", time.gmtime()) + f"[{self.function.version}]{self.id}"

    def _open_connection(self) -> None:
        """Make a connection and hand its other end to the runtime."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._socket = ours
        try:
            socket.send_fds(self._dial, [b"."], [theirs.fileno()])
        except OSError:
            pass  # the process is gone; its exit says so
        finally:
            theirs.close()
        task = self._loop.create_task(self._connect(ours))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, sock: socket.socket) -> None:
        api = RuntimeApi(self)
        try:
            connection = await connect(api, sock, config=_HTTP, on_close=lambda _: self._closed(sock))
        except OSError:  # no descriptors left
            sock.close()
            self._closed(sock)
            return
        if self._socket is sock:
            self._connection = connection
        else:
            connection.abort()  # shut again before it was made

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
        self._cancel_timers()
        self._host.stopping(self)
        if self._socket is None:
            self._settled()
        else:
            self.resume()  # what is left is what the socket holds: a slow reader may have it at once
            self._later(_SETTLE, self._settle)

    # What the Runtime API tells.

    def asked(self, writer: Writer) -> None:
        """The runtime asks for the next event: it is free."""
        self._next = writer
        self._response = None
        if not self._ready:
            self._ready = True
            self._init_duration = time.monotonic() - self._started
        self._cancel_timers()
        self._read_log()
        if self.invocation is not None and not self.invocation.let_go("the generator was closed"):
            self.kill()  # it has lost its way, who knows what it does next
        self.invocation = None
        if not self._killed:
            self._host.ready(self)

    def responding(self, writer: Writer) -> None:
        """The response has begun to come in."""
        self._response = writer

    def init_failed(self, error_type: str, document: bytes) -> None:
        """The runtime reports that the function could not be initialised; it will exit."""
        outcome = outcomes.function_error(error_type, document, init=True)
        self._init_verdict = lambda request_id: outcome

    def _closed(self, sock: socket.socket) -> None:
        """A connection has ended, and everything that came over it was read."""
        if self._socket is not sock:
            return  # one that was shut on purpose
        self._socket = self._connection = None
        self._response = self._next = None
        self._host.stopping(self)  # no call may be given to it any more
        if self._exit is not None:
            self._settled()
        elif not self._killed:
            self._later(_SETTLE, self._deserted)  # unless it was only quicker than the news of its end

    def _deserted(self) -> None:
        """It has closed what it lives by, and goes on: it can neither answer nor be asked again."""
        if self.invocation is not None:
            self.invocation.condemn(outcomes.deserted(self.invocation.request_id))
        self._init_verdict = partial(outcomes.deserted, init=True)
        self.kill()

    # What the service wants.

    def deliver(self, invocation: Invocation) -> None:
        """Hand the runtime an event. It is idle: its request for one is open."""
        assert self._next is not None
        self.invocation = invocation
        self.answered = False
        invocation.assigned(self)
        function = self.function
        self._platform(f"START RequestId: {invocation.request_id} Version: {function.version}")
        info = InvocationInfo(
            request_id=invocation.request_id,
            deadline_ms=int((time.time() + function.timeout) * 1000),
            function_arn=self._host.arn(function.name),
            trace_id=invocation.call.trace_id,
            client_context=invocation.call.client_context,
        )
        headers = [(b"Content-Type", b"application/json"), *info.headers()]
        writer, self._next = self._next, None
        writer.respond(200, headers, invocation.call.payload)
        if len(invocation.call.payload) > _KEPT:
            invocation.call = replace(invocation.call, payload=b"")  # not to be held for a long stream

    def pause(self) -> None:
        if self._response is not None and self._exit is None:
            self._response.pause_reading()

    def resume(self) -> None:
        if self._response is not None:
            self._response.resume_reading()

    def cancel(self) -> None:
        """Make the function let go of its invocation: shut, signal, kill; see above."""
        self._shut()
        if self._exit is not None:
            self._settled()
            return
        try:
            self._open_connection()
        except OSError:
            self.kill()  # no descriptors left for another connection
            return
        self._later(_SIGNAL_AFTER, self._signal)
        self._later(self._host.config.cancel_grace, self.kill)

    def _shut(self) -> None:
        """Shut the connection: to the runtime its caller has left."""
        old, connection = self._socket, self._connection
        self._response = None
        self._socket = self._connection = None
        if old is not None:
            try:
                old.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # its process has ended
        if connection is not None:
            connection.abort()

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
        self._init_verdict = partial(outcomes.init_timed_out, seconds=self._host.config.init_timeout)
        self.kill()

    def _settle(self) -> None:
        """The process has ended, but its connection has not: a fork of it holds it open."""
        connection = self._connection
        self._socket = self._connection = None
        if connection is not None:
            connection.abort()
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
        self._dial.close()
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
