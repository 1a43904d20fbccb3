"""One execution environment: owns its process, its connections to the Runtime API and its log pipe.

What belongs to one running invocation is its seat's (seat.py). A killed environment's process ends, and
everything it had sent is read, before its invocation is told.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from penstock.http.writer import Writer
from penstock.protocol import limits
from penstock.protocol.call import Outcome

from . import outcomes, runtimes
from .backends import Backend, Exit, Process, Spec
from .config import Config
from .connections import Dialled, Listening
from .functions import Function
from .invocation import Invocation
from .logs import LogLine, LogSink, Tail
from .runtime_states import State
from .seat import Seat
from .shared_seat import SharedApi, SharedSeat
from .variables import variables

if TYPE_CHECKING:
    from .templates import Template

_LOG_READ = 4 * limits.KIB
_PEAK_KEPT = 0.1  # seconds
_PIPE = 16 * limits.KIB  # what a function may print ahead of us
PAGE = os.sysconf("SC_PAGE_SIZE")
_LINE = 256 * limits.KIB  # a log line is cut there, as CloudWatch cuts events
_DATA_ROOM = 256 * limits.MIB  # RLIMIT_DATA above MemorySize: the coarse stop behind the polled one
_STACK = 9 * limits.MIB  # of a thread, with what the allocator reserves for it: untouched for the most part
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

    def drain(self, environment: "Environment") -> None: ...

    def arn(self, function: str, qualifier: str = "") -> str: ...

    def template(self, function: Function) -> "Template | None": ...


def _prepare(log: int) -> None:
    os.set_blocking(log, False)
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(log, fcntl.F_SETPIPE_SZ, _PIPE)


def specify(
    id: str,
    function: Function,
    launch: runtimes.Launch,
    region: str,
    runtime_api: str,
    *,
    snapshot: bool = False,
    template: bool = False,
    provisioned: bool = False,
) -> Spec:
    """What an environment is started with; `snapshot`: as a fork of a template, or it is that `template`."""
    log_stream = time.strftime("%Y/%m/%d/", time.gmtime()) + f"[{function.version}]{id}"
    initialization = "provisioned-concurrency" if provisioned else "on-demand"
    if snapshot:
        initialization = "snap-start"
    room = _FOREIGN_DATA_ROOM if launch.command else _DATA_ROOM
    return Spec(
        id=id,
        python=launch.python,
        root=function.root,
        environment=variables(
            function, region, log_stream, runtime_api, launch.environment, initialization=initialization
        ),
        data_limit=function.memory_mb * limits.MIB + room + (function.concurrency - 1) * _STACK,
        open_files=limits.OPEN_FILES + (function.concurrency - 1),
        command=launch.command,
        template=template,
    )


class Environment:
    SETTLE = 1.0  # seconds to read what an ended process had sent; a fork of it may hold the socket open

    def __init__(self, number: int, function: Function, host: Host, *, provisioned: bool = False) -> None:
        self.number = number
        self.function = function
        self.provisioned = provisioned  # it was started before anybody called
        self.id = uuid.uuid4().hex
        self.host = host
        self.loop = asyncio.get_running_loop()
        self.own = True  # whether it runs Penstock's own runtime
        self.initialised = False  # it has asked for an event
        self.concurrency = function.concurrency
        self.seats: list[Seat] = [Seat(self) if self.concurrency == 1 else SharedSeat(self)]
        self.running: dict[str, Seat] = {}  # with several seats: by request id, whose lines tell it
        self.max_used = 0  # bytes, the highest seen
        self._peak_mb = -1  # the high-water mark in the system's words, and until when it is good enough
        self._peak_until = 0.0
        self._read_at = 0.0  # when the log was last read dry, by the loop's clock: that of its present turn
        self.init_duration: float | None = None  # seconds; reported once, and forgotten
        self.init_tail = Tail()
        self.template: Template | None = None  # what it is a fork of
        self._free: list[Seat] = []  # whose runtime has asked for an event; the last to ask is the last
        self._process: Process | None = None
        self._connections: Dialled | Listening
        self._exit: Exit | None = None
        self._killed = False
        self._opened = False  # all its seats
        self._init_verdict: InitVerdict | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._partial = b""
        self._statm: int | None = None  # descriptors of its files in /proc, kept: opening costs more
        self._status: int | None = None

    def __repr__(self) -> str:
        pid = self._process.pid if self._process else "-"
        return f"<Environment {self.number} {self.function.name} pid={pid} {self.seats}>"

    @property
    def ended(self) -> bool:
        """Whether its process has ended."""
        return self._exit is not None

    # Starting.

    def start(self) -> None:
        """Have the process started; `ready` or `gone` will be told.

        Raises OSError when there are no descriptors left, and holds nothing then.
        """
        self._started = time.monotonic()
        try:
            launch, failure = runtimes.launch(self.function, self.note), ""
        except runtimes.Unavailable as error:
            launch, failure = runtimes.Launch(self.function.python), str(error)
        with contextlib.ExitStack() as opened:
            self._log, log_end = os.pipe()
            opened.callback(self._close_log)
            try:
                _prepare(self._log)
                self.loop.add_reader(self._log, self.read_log)
                self.own = not launch.command
                self._connections = connections = self._listen()
                opened.callback(connections.close)
                if failure:
                    self.loop.call_soon(self.spawn_failed, failure)
                else:
                    self._spawn(launch, log_end)
            finally:
                os.close(log_end)
            opened.pop_all()
        connections.started()
        if self.template is None:  # which has a clock of its own
            self._later(self.host.config.init_timeout, self._init_timed_out)

    def _listen(self) -> Dialled | Listening:
        """Have the Runtime API within reach of the process. Raises OSError."""
        first = self.seats[0]
        if not self.own:
            return Listening(first.api if self.concurrency == 1 else SharedApi(self), self.lost)
        dialled = Dialled(first.api, first.lost)
        first.connection = dialled.first
        return dialled

    def _spawn(self, launch: runtimes.Launch, log_end: int) -> None:
        connections = self._connections
        self.template = template = self.host.template(self.function)
        spec = specify(
            self.id,
            self.function,
            launch,
            self.host.region,
            connections.address,
            snapshot=template is not None,
            provisioned=self.provisioned,
        )
        if template is not None:
            self.init_tail = template.tail
            for seat in self.seats:
                seat.state = State.RESTORING
        starter = template or self.host.backend
        starter.spawn(spec, connections.theirs.fileno() if connections.theirs else None, log_end, self)

    def note(self, text: str) -> None:
        """A line of ours in the function's log."""
        self.host.log(LogLine(self.function.name, self.id, "", text, platform=True))

    # What the backend tells.

    def spawned(self, process: Process) -> None:
        self._process = process
        if self.template is not None:
            self.init_tail = Tail()  # from here on it has one of its own
            self._started = max(self._started, self.template.initialised_at)
            self._later(limits.RESTORE_TIMEOUT, self._init_timed_out)
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
        if self.template is not None and self._process is None:
            self._init_verdict = self._init_verdict or self.template.verdict
        if exit.unstarted:
            self._init_verdict = partial(outcomes.invalid_entrypoint, message=exit.unstarted)
        self._cancel_all_timers()
        self.host.stopping(self)
        self._connections.ended()
        if self._connections.open:
            for seat in self.seats:
                seat.resume()  # what is left is what the socket holds: a slow reader may have it at once
            self._later(self.SETTLE, self.settle)
        else:
            self._settled()

    # What its seats tell.

    def asked(self) -> None:
        """Its runtime asks for an event: what it has printed until now is read.

        Not again when its response ended in the same turn of the loop, which has read it.
        """
        if not self.initialised:
            self.initialised = True
            self.init_duration = time.monotonic() - self._started
            self._cancel_timers()
        if self._read_at != self.loop.time():
            self.read_log()

    def free(self, seat: Seat) -> None:
        """A seat can take an invocation."""
        if self._killed or self._exit is not None:
            return
        self._free.append(seat)
        self.host.ready(self)
        if self.own and not self._opened:
            self._opened = True
            for _ in range(self.concurrency - 1):  # they are there; what they need is made when it is needed
                self.host.ready(self)

    def init_failed(self, error_type: str, document: bytes) -> None:
        """The runtime reports that the function could not be initialised; it will exit, or is killed."""
        outcome = outcomes.function_error(error_type, document, init=True)
        self._init_verdict = lambda request_id: outcome
        self._later(self.host.config.cancel_grace, self.kill)

    def lost(self) -> None:
        """A connection has ended, and everything that came over it was read."""
        if self._exit is not None and not self._connections.open:
            self._settled()

    def forsaken(self) -> None:
        """The own runtime has closed a connection that it lives by."""
        self.host.stopping(self)  # no call may be given to it any more
        if not self._killed:
            self._later(self.SETTLE, self.deserted)  # unless it was only quicker than the news of its end

    def deserted(self) -> None:
        """It has closed what it lives by, and goes on: it can neither answer nor be asked again."""
        self._condemn(outcomes.deserted)
        self._init_verdict = partial(outcomes.deserted, init=True)
        self.kill()

    def _condemn(self, verdict: InitVerdict) -> None:
        for seat in self.seats:
            if seat.invocation is not None:
                seat.invocation.condemn(verdict(seat.invocation.request_id))

    # What the service and its seats want.

    def deliver(self, invocation: Invocation) -> None:
        """Have the runtime handle an event, on a seat that is free."""
        seat = self._free.pop() if self._free else self.another_seat()
        if self.concurrency > 1:
            self.running[invocation.request_id] = seat
        seat.deliver(invocation)

    def another_seat(self) -> Seat:
        """One more, of those it may have."""
        seat = SharedSeat(self)
        self.seats.append(seat)
        return seat

    def connect(self, seat: Seat) -> None:
        """Hand the own runtime a connection for a seat. Raises OSError: no descriptors are left."""
        assert isinstance(self._connections, Dialled)
        seat.connection = self._connections.hand_out(seat.api, seat.lost)

    def leave(self, seat: Seat) -> None:
        """Half-close the connection of a seat."""
        assert isinstance(self._connections, Dialled)
        assert seat.connection is not None
        self._connections.leave(seat.connection)

    def forget(self, request_id: str, seat: Seat) -> None:
        """An invocation has left its seat."""
        if self.running.get(request_id) is seat:  # not another attempt's at the same event
            del self.running[request_id]

    def retire(self) -> None:
        """No more calls: it is ended when those that run have."""
        self.host.drain(self)

    def hang_up(self, response: Writer | None) -> None:
        """Break off the connection that carries a response. Raises OSError: no descriptors are left."""
        self._connections.hang_up(response)

    def signal(self, number: int) -> None:
        if self._process is not None:
            self._process.signal(number)

    def kill(self) -> None:
        """End the process now."""
        self._killed = True
        self.host.stopping(self)
        self.signal(signal.SIGKILL)

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
        used = (int(fields[1]) - int(fields[2])) * PAGE
        self.max_used = max(self.max_used, used)
        limit = self.function.memory_mb * limits.MIB
        if used > limit:
            verdict = partial(
                outcomes.out_of_memory,
                used=used,
                memory_mb=self.function.memory_mb,
                init=not self.initialised,
            )
            self._condemn(verdict)
            self._init_verdict = verdict
            self.kill()
        return used > limit * 0.7

    # The log.

    def peak_mb(self) -> int:
        """The process's high-water mark; of one that ended, what the system counted.

        Read at most every 100 ms: it takes longer than all else that is done at the end of a call.
        """
        if self._exit is not None:
            return -(-max(self._exit.max_rss, self.max_used) // limits.MIB)
        now = self.loop.time()
        if now < self._peak_until:
            return self._peak_mb
        if self._process is not None:
            try:
                if self._status is None:
                    self._status = os.open(f"/proc/{self._process.pid}/status", os.O_RDONLY)
                _, _, rest = os.pread(self._status, 4096, 0).partition(b"VmHWM:")
                self._peak_mb = -(-int(rest[:20].split()[0]) // limits.KIB)
                self._peak_until = now + _PEAK_KEPT
                return self._peak_mb
            except (OSError, IndexError):
                pass  # it has just ended, or this system has no /proc
        return -(-self.max_used // limits.MIB)

    def platform(self, text: str, invocation: Invocation) -> None:
        """A line of the platform's in the log of an invocation."""
        if invocation.tail is not None:
            invocation.tail.add(text)
        self.host.log(LogLine(self.function.name, self.id, invocation.request_id, text, True))

    def read_log(self, whole: bool = False) -> None:
        """Read what was printed; `whole`: also a last line that has no end yet."""
        # At the end of an invocation the pipe is read dry: it holds no more than this. Otherwise a little
        # at a time, so that a function that floods its log waits for us, and nobody else does.
        for _ in range(1 + _PIPE // _LOG_READ if whole else 1):
            try:
                data = os.read(self._log, _LOG_READ)
            except BlockingIOError:
                break
            if not data:
                self.loop.remove_reader(self._log)
                break
            *lines, self._partial = (self._partial + data).split(b"\n")
            for line in lines:
                self._log_line(line)
            if len(self._partial) >= _LINE:
                self._log_line(self._partial)
                self._partial = self._tag(self._partial)  # the rest of it is the same invocation's
        if whole:
            self._read_at = self.loop.time()
            if self._partial and (self.concurrency == 1 or self.ended):  # else it is about to be written
                self._log_line(self._partial)
                self._partial = b""

    def _log_line(self, line: bytes) -> None:
        if self.concurrency > 1:
            self._log_shared(line)
            return
        text = line.decode("utf-8", "replace")
        invocation = self.seats[0].invocation
        if invocation is None or invocation.ended:
            if not self.initialised:
                self.init_tail.add(text)
            self.host.log(LogLine(self.function.name, self.id, "", text))
        else:
            if invocation.tail is not None:
                invocation.tail.add(text)
            self.host.log(LogLine(self.function.name, self.id, invocation.request_id, text))

    def _tag(self, line: bytes) -> bytes:
        """What says whose a line is, at its beginning: runtime/tagged.py."""
        shared = self.concurrency > 1 and line[:1] == b"\0"
        return line[: line.find(b"\0", 1) + 1] if shared else b""

    def _log_shared(self, line: bytes) -> None:
        """A line that says whose it is. What does not is of no invocation."""
        tag = self._tag(line)
        text = line[len(tag) :].decode("utf-8", "replace")
        id = tag[1:-1].decode("latin-1")
        seat = self.running.get(id)
        if seat is not None and seat.invocation is not None and seat.invocation.tail is not None:
            seat.invocation.tail.add(text)
        elif not self.initialised:
            self.init_tail.add(text)
        self.host.log(LogLine(self.function.name, self.id, id, text))

    def _close_log(self) -> None:
        self.loop.remove_reader(self._log)
        os.close(self._log)

    # Ending.

    def _init_timed_out(self) -> None:
        if self._init_verdict is None:
            if self.template is not None:
                self._init_verdict = partial(outcomes.restore_timed_out, seconds=limits.RESTORE_TIMEOUT)
            else:
                self._init_verdict = partial(outcomes.init_timed_out, seconds=self.host.config.init_timeout)
        self.kill()

    def settle(self) -> None:
        """The process has ended, but its connection has not: a fork of it holds it open."""
        self._connections.drop()
        self._settled()

    def _settled(self) -> None:
        """The process has ended and everything it sent was read."""
        exit = self._exit
        assert exit is not None
        self._cancel_all_timers()
        self.read_log(whole=True)
        how = self._how(exit)
        ran = [seat for seat in self.seats if seat.exited(exit, how)]
        if not ran and not self.initialised and (self._init_verdict is not None or not self._killed):
            crashed = partial(outcomes.crashed, exit, init=True)
            self.host.init_failed(self, self._init_verdict or crashed)
        self._close_log()
        self._connections.close()
        for fd in (self._statm, self._status):
            if fd is not None:
                os.close(fd)
        self.host.gone(self)

    def _how(self, exit: Exit) -> str:
        """How a cancelled function let go, when its process has ended."""
        if self._killed:
            return "the function was killed, it had not let go"
        if exit.status == 0:
            return "the function was interrupted"
        return outcomes.exit_reason(exit.status)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._timers.append(self.loop.call_later(seconds, action))

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _cancel_all_timers(self) -> None:
        self._cancel_timers()
        for seat in self.seats:
            seat.cancel_timers()
