"""A seat among several of one environment: what befalls its invocation befalls no other.

Penstock's own runtime has a connection for each seat, made when it is first needed. To cancel, or when the
function's time is over, it is half-closed: the runtime cancels the task that runs for it and closes the
connection. Another's runtime has connections as it likes; which seat is meant is known by the request id, and
a request for an event is any free seat's. There the connection that carries the response is broken off.

One that has not let go when the grace is over is given up: its caller is told, the environment gets no more
calls, and is ended when the other calls on it have.
"""

from typing import TYPE_CHECKING

from penstock.http.exchange import Exchange
from penstock.http.request import Request
from penstock.http.writer import Writer
from penstock.protocol.call import Outcome

from . import outcomes
from .invocation import Invocation
from .runtime_api import attempt_of, out_of_turn, request_id_of
from .runtime_states import Call, State
from .seat import Seat

if TYPE_CHECKING:
    from .environment import Environment


class SharedSeat(Seat):
    def __init__(self, environment: "Environment") -> None:
        super().__init__(environment)
        self._left = False  # its connection is half-closed
        self._given_up = False
        if environment.own and environment.initialised:
            self.state = State.READY

    @property
    def unasked(self) -> bool:
        """Whether a request for an event would be welcome: there was one, and it was lost."""
        idle = self.state is State.READY or (self.state is State.RUNNING and not self._handed_out)
        return idle and not self._waiting

    # What the Runtime API tells.

    def asked(self, writer: Writer) -> None:
        if not self._left:  # else it was quicker than the news, and will close the connection
            super().asked(writer)

    def hung_up(self, writer: Writer) -> None:
        if not self.environment.own:
            super().hung_up(writer)
        elif writer in self._waiting:
            self._waiting.remove(writer)  # with its connection: see `lost`

    def lost(self) -> None:
        environment = self.environment
        self.connection = None
        self._response = None
        if environment.ended:
            environment.lost()
        elif not self._left:
            if self.state is State.RUNNING and not self._handed_out:
                environment.retire()  # before it was used: the function may have no descriptors left
                self._later(environment.SETTLE, self._not_taken)  # unless this is the news of its end
            else:
                environment.forsaken()
        elif not self._given_up:
            self._left = False
            self._free("the task was cancelled")

    # What the service wants.

    def deliver(self, invocation: Invocation) -> None:
        super().deliver(invocation)
        if self.connection is None and self.environment.own:
            try:
                self.environment.connect(self)
            except OSError as error:
                message = f"cannot connect the function: {error.strerror}"
                invocation.finish(outcomes.sandbox_failure(invocation.request_id, message))
                self.environment.loop.call_soon(self._free)

    def cancel(self) -> None:
        environment = self.environment
        response, self._response = self._response, None
        if environment.ended or self._left or (environment.own and self.connection is None):
            return  # it has let go, or is about to
        if environment.own:
            self._left = True
            environment.leave(self)
            if response is not None:
                response.resume_reading()  # what still comes goes nowhere, and must not hold up its end
        else:
            if self.state is State.RESPONSE:
                self.state = State.RESPONSE_SENT
            environment.hang_up(response)
        self._later(environment.host.config.cancel_grace, self._give_up)

    def timed_out(self, invocation: Invocation, verdict: Outcome) -> None:
        invocation.finish(verdict)
        self.cancel()

    def overran(self, invocation: Invocation) -> None:
        self._say_timed_out(invocation)
        self._give_up()

    def _give_up(self) -> None:
        """It has not let go in time: its caller waits no longer, and the others go on."""
        self._given_up = True
        environment = self.environment
        environment.note(
            "an invocation has not let go in time, something blocks or swallows its cancelling: the"
            " environment gets no more calls, and ends when the others have"
        )
        environment.retire()
        if self.invocation is not None:
            self.invocation.let_go("the function had not let go, and was given up")
            self._leave()

    def _not_taken(self) -> None:
        """The function's process lives, and has not taken the connection for its event."""
        if self.invocation is not None:
            id = self.invocation.request_id
            message = "the function did not take its event: it may have used up its descriptors"
            self.invocation.finish(outcomes.sandbox_failure(id, message))
            self._leave()

    def _leave(self) -> None:
        if self.invocation is not None:
            self.environment.forget(self.invocation.request_id, self)
        super()._leave()

    def _still_there(self) -> None:
        """Another's runtime has asked for an event, hung up, and not asked again."""
        if self.unasked:
            self.environment.retire()
            if self.invocation is not None:
                self.invocation.finish(outcomes.deserted(self.invocation.request_id))
                self._leave()


class SharedApi:
    """The HTTP application on all connections of another's runtime that has several seats."""

    def __init__(self, environment: "Environment") -> None:
        self._environment = environment

    def __call__(self, request: Request, writer: Writer) -> Exchange:
        request_id = request_id_of(request)
        if request_id is None:
            return self._environment.seats[0].api(request, writer)
        if request_id == "next":
            asking = self._asking()
            if asking is None:
                return out_of_turn(writer, State.RUNNING, Call.NEXT)
            return asking.api(request, writer)
        seat = self._answering(request_id, attempt_of(request))
        exchange = seat.api(request, writer)
        if seat.runs(request_id) and seat.state is State.RUNNING and seat.given_up:
            seat.answered()  # and was refused: nobody wants it any more
        return exchange

    def _answering(self, request_id: str, attempt: str) -> Seat:
        """The seat whose invocation is answered; any seat, which refuses it, if there is none."""
        seats = self._environment.seats
        for seat in seats:
            if seat.runs(request_id) and (not attempt or attempt == seat.attempt):
                return seat
        return self._environment.running.get(request_id, seats[0])

    def _asking(self) -> Seat | None:
        """The seat for which an event is asked; None: they all run something."""
        environment = self._environment
        seats = environment.seats
        for seat in seats:
            if seat.state in (State.STARTED, State.RESTORING, State.RESPONSE_SENT):
                return seat
        for seat in seats:
            if isinstance(seat, SharedSeat) and seat.unasked:
                return seat
        if len(seats) < environment.concurrency:
            return environment.another_seat()
        for seat in seats:
            if seat.state is State.RUNNING and seat.given_up:
                return seat
        return None
