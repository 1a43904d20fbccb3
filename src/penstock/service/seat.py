"""One running invocation's side of an environment: what its runtime asks and answers for it.

    STARTED ──next──▶ READY ⇄ RUNNING one invocation ──▶ …        (runtime_states.py)

To cancel, the connection that carries the response is shut. Penstock's own runtime: a handler that yields
notices at its next chunk, closes its generator and takes a fresh connection. One that has not let go after
20 ms is sent SIGURG, which interrupts blocked code. Any other runtime can only notice that its writing fails.
When the grace is over it is killed.
"""

import asyncio
import math
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.http.writer import Writer
from penstock.protocol import limits, runtime_api
from penstock.protocol.call import Ending, Outcome
from penstock.protocol.runtime_api import InvocationInfo

from . import outcomes
from .backends import Exit
from .invocation import Invocation
from .runtime_api import RuntimeApi
from .runtime_states import State

if TYPE_CHECKING:
    from .environment import Environment

_JSON = b"Content-Type: application/json\r\n"
_SIGNAL_AFTER = 0.02  # seconds: a handler that yields ends by itself sooner
_HAND_OUTS = 3  # of one event, before its runtime counts as confused
_KEPT = 16 * limits.KIB  # of an event, while its response is streamed


class Seat:
    def __init__(self, environment: "Environment") -> None:
        self.environment = environment
        self.api = RuntimeApi(self)
        self.connection: socket.socket | None = None  # of the own runtime
        self.invocation: Invocation | None = None
        self.state = State.STARTED  # of its runtime
        self.attempt = ""  # names the invocation among all that share its request id
        self._waiting: list[Writer] = []  # the runtime's open requests for an event, oldest first
        self._event = b""  # the header lines of the event
        self._handed_out = 0  # so many times
        self._attempts = 0
        self._cut = False  # its answer broke off
        self._response: Writer | None = None  # the request that carries the response
        self._timers: list[asyncio.TimerHandle] = []

    def __repr__(self) -> str:
        return f"<Seat {self.state.value} {self.invocation}>"

    # What the Runtime API tells.

    @property
    def given_up(self) -> bool:
        """Whether nobody waits any more for what the runtime was given to do."""
        return self.invocation is None or self.invocation.abandoned

    def runs(self, request_id: str) -> bool:
        return self.invocation is not None and self.invocation.request_id == request_id

    def asked(self, writer: Writer) -> None:
        """The runtime asks for an event, when it may: it is free, or is given the same one again."""
        self._waiting.append(writer)
        if self.state is State.RUNNING and not self.given_up:
            self._hand_out()
        elif self.state is State.READY:
            self.cancel_timers()  # of `hung_up`: here it is
        else:
            self._free()

    def hung_up(self, writer: Writer) -> None:
        """The request for an event is gone. It may ask anew, and soon: an event that comes first waits."""
        if writer in self._waiting:
            self._waiting.remove(writer)
            if not self.environment.ended:
                self._later(self.environment.SETTLE, self._still_there)

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
            if not self.environment.own:  # that has no other connection: its loss is seen to
                self._later(self.environment.SETTLE, self._truncated)

    def init_failed(self, error_type: str, document: bytes) -> None:
        """The runtime reports that the function could not be initialised."""
        self.environment.init_failed(error_type, document)

    def _free(self, how: str = "the generator was closed") -> None:
        """It is done with one event, or with its init, and asks for the next. If cancelled, this is how."""
        self.state = State.READY
        self._response = None
        self.cancel_timers()
        self.environment.asked()
        if self._cut:
            self._truncated()
        if self.invocation is not None and not self.invocation.let_go(how):
            self.environment.kill()  # it has lost its way, who knows what it does next
        self._leave()
        self.environment.free(self)

    def _leave(self) -> None:
        """Nothing runs on it any more."""
        self.invocation = None

    def _still_there(self) -> None:
        idle = self.state is State.READY or (self.state is State.RUNNING and not self._handed_out)
        if idle and not self._waiting:
            self.environment.deserted()

    def _truncated(self) -> None:
        if self.invocation is not None:
            document = outcomes.truncated(self.invocation.request_id)
            self.invocation.failed(runtime_api.TRUNCATED_RESPONSE, document)

    # What the environment tells.

    def lost(self) -> None:
        """The own runtime's connection has ended, and everything that came over it was read."""
        if self.environment.ended:
            self.environment.lost()
        else:
            self._response = None
            self.environment.forsaken()

    def exited(self, exit: Exit, how: str) -> bool:
        """The process has ended, and everything it sent was read. Whether an invocation ran."""
        invocation = self.invocation
        if invocation is None:
            return False
        invocation.exited(exit, how)
        self._leave()
        return True

    # What the service wants.

    def deliver(self, invocation: Invocation) -> None:
        """Have the runtime handle an event. It is idle: it has asked for one."""
        environment = self.environment
        function = environment.function
        self.invocation = invocation
        self.state = State.RUNNING
        self._attempts += 1
        self.attempt = f"{environment.id}-{self._attempts}"
        self._handed_out = 0
        self._cut = False
        invocation.assigned(self)
        environment.platform(
            f"START RequestId: {invocation.request_id} Version: {function.version}", invocation
        )
        info = InvocationInfo(
            request_id=invocation.request_id,
            deadline_ms=int((time.time() + function.timeout) * 1000),
            function_arn=environment.host.arn(function.name, invocation.call.qualifier),
            trace_id=invocation.call.trace_id,
            client_context=invocation.call.client_context,
            tenant_id=invocation.call.tenant_id,
            invocation_id=self.attempt,
        )
        self._event = _JSON + info.lines()
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
        if self._handed_out > (1 if self.environment.own else _HAND_OUTS):
            invocation.let_go("it has lost its way")
            self.environment.kill()
        else:
            self._waiting.pop(0).respond(200, self._event, invocation.call.payload)

    def pause(self) -> None:
        if self._response is not None and not self.environment.ended:
            self._response.pause_reading()

    def resume(self) -> None:
        if self._response is not None:
            self._response.resume_reading()

    def cancel(self) -> None:
        """Make the function let go of its invocation: shut, signal, kill; see above."""
        environment = self.environment
        response, self._response = self._response, None
        if self.state is State.RESPONSE:
            self.state = State.RESPONSE_SENT
        if environment.ended:
            environment.settle()
            return
        try:
            environment.hang_up(response)
        except OSError:
            environment.kill()  # no descriptors left for another connection
            return
        if environment.own:
            self._later(_SIGNAL_AFTER, self._signal)
        self._later(environment.host.config.cancel_grace, environment.kill)

    def overran(self, invocation: Invocation) -> None:
        """It has answered, and has not asked for the next event within the function's time."""
        self._say_timed_out(invocation)
        self.environment.kill()

    def _say_timed_out(self, invocation: Invocation) -> None:
        seconds = self.environment.function.timeout
        self.environment.platform(
            f"{invocation.request_id} Task timed out after {seconds:.2f} seconds", invocation
        )

    def timed_out(self, invocation: Invocation, verdict: Outcome) -> None:
        """The function has not answered within its time: its process is ended, and then it is told."""
        invocation.condemn(verdict)
        self.environment.kill()

    def report(self, invocation: Invocation, outcome: Outcome) -> None:
        """END and REPORT of an invocation; what it printed comes before them."""
        environment = self.environment
        environment.read_log(whole=True)
        duration = (time.monotonic() - invocation.started) * 1000
        billed = math.ceil(duration)
        init = ""
        if environment.init_duration is not None:
            took = environment.init_duration * 1000
            environment.init_duration = None
            if environment.template is None:
                init = f"\tInit Duration: {took:.2f} ms"
            else:
                billed += math.ceil(took)
                init = f"\tRestore Duration: {took:.2f} ms\tBilled Restore Duration: {math.ceil(took)} ms"
        status = ""
        if outcome.ending is Ending.TIMED_OUT:
            status = "\tStatus: timeout"
        elif not outcome.ok and outcome.error_type:
            status = f"\tStatus: error\tError Type: {outcome.error_type}"
        id = invocation.request_id
        environment.platform(f"END RequestId: {id}", invocation)
        environment.platform(
            f"REPORT RequestId: {id}\tDuration: {duration:.2f} ms\tBilled Duration: {billed} ms"
            f"\tMemory Size: {environment.function.memory_mb} MB\tMax Memory Used: {environment.peak_mb()} MB"
            f"{init}{status}",
            invocation,
        )

    # Time.

    def _signal(self) -> None:
        self.environment.signal(signal.SIGURG)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._timers.append(self.environment.loop.call_later(seconds, action))

    def cancel_timers(self) -> None:
        if self._timers:
            for timer in self._timers:
                timer.cancel()
            self._timers.clear()
