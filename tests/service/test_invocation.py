"""One invocation: every input in every state, its clocks, its one end. Time is moved by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_loop import FakeLoop
from penstock.protocol import limits
from penstock.protocol.call import Call, Ending, Head, Outcome, Slice
from penstock.service import outcomes
from penstock.service.backends import Exit
from penstock.service.functions import Function
from penstock.service.invocation import Invocation, State

STREAMED = Head("application/octet-stream", streamed=True)
BUFFERED = Head("application/json", streamed=False)
ID = "8f3c"


class World:
    """An invocation with everything around it: loop, owner, sink and environment, all writing down."""

    def __init__(
        self, timeout: float = 10.0, idle_timeout: float | None = 3.0, aws_limits: bool = False
    ) -> None:
        self.loop = FakeLoop()
        self.told: list[Any] = []
        self.body = b""
        self.ends: list[Outcome] = []
        self.reports: list[Outcome] = []
        self.left = 0
        function = Function("app", "app.handler", "/", "python", timeout, idle_timeout=idle_timeout)
        self.invocation = Invocation(
            Call("app", b"{}", log_tail=True),
            function,
            ID,
            self,
            self,  # type: ignore[arg-type]
            aws_limits=aws_limits,
        )

    # As the owner.

    def withdraw(self, invocation: Invocation) -> None:
        self.told.append("withdraw")

    def over(self, invocation: Invocation) -> None:
        self.left += 1

    # As the sink.

    def head(self, head: Head) -> None:
        assert not self.ends
        self.told.append("head")

    def data(self, slices: Sequence[Slice]) -> None:
        assert not self.ends
        assert "head" in self.told
        self.body += b"".join(slices)

    def end(self, outcome: Outcome) -> None:
        self.ends.append(outcome)

    # As the environment.

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def cancel(self) -> None:
        self.told.append("cancel")

    def timed_out(self, invocation: Invocation, verdict: Outcome) -> None:
        invocation.condemn(verdict)
        self.told.append("kill")

    def overran(self, invocation: Invocation) -> None:
        self.told.append("overran")

    def report(self, invocation: Invocation, outcome: Outcome) -> None:
        assert not self.ends
        self.reports.append(outcome)
        invocation.tail.add("REPORT")

    # Into a state.

    def into(self, state: State) -> "World":
        if state is not State.WAITING:
            self.invocation.assigned(self)  # type: ignore[arg-type]
        if state in (State.RESPONDING, State.CANCELLING, State.ENDED):
            self.invocation.head(STREAMED, None)
        if state is State.CANCELLING:
            self.invocation.cancel()
        if state is State.ENDED:
            self.invocation.complete()
        assert self.invocation.state is state
        return self

    @property
    def ending(self) -> Ending | None:
        return self.ends[0].ending if self.ends else None


Input = Callable[[World], None]
INPUTS: dict[str, Input] = {
    "head": lambda world: world.invocation.head(STREAMED, None),
    "data": lambda world: world.invocation.data([b"x"]),
    "complete": lambda world: world.invocation.complete(),
    "failed": lambda world: world.invocation.failed("E", b'{"errorMessage":"m"}'),
    "let go": lambda world: world.invocation.let_go("closed"),
    "exited": lambda world: world.invocation.exited(Exit(1, 0), "killed"),
    "cancel": lambda world: world.invocation.cancel(),
    "stop": lambda world: world.invocation.finish(outcomes.STOPPED),
    "time": lambda world: world.loop.advance(60),
}

W, R, S, C, E = State.WAITING, State.RUNNING, State.RESPONDING, State.CANCELLING, State.ENDED
# state × input → the state after it, and how it has ended. What is not here is never called in that state.
TABLE: dict[tuple[State, str], tuple[State, Ending | None]] = {
    (W, "cancel"): (E, Ending.CANCELLED),
    (W, "stop"): (E, Ending.STOPPED),
    (W, "time"): (W, None),
    (R, "head"): (S, None),
    (R, "data"): (R, None),
    (R, "complete"): (R, None),
    (R, "failed"): (E, Ending.FUNCTION_ERROR),
    (R, "let go"): (E, Ending.CRASHED),
    (R, "exited"): (E, Ending.CRASHED),
    (R, "cancel"): (C, None),
    (R, "stop"): (E, Ending.STOPPED),
    (S, "head"): (S, None),
    (S, "data"): (S, None),
    (S, "complete"): (E, Ending.DONE),
    (S, "failed"): (E, Ending.FUNCTION_ERROR),
    (S, "let go"): (E, Ending.CRASHED),
    (S, "exited"): (E, Ending.CRASHED),
    (S, "cancel"): (C, None),
    (S, "stop"): (E, Ending.STOPPED),
    (C, "head"): (C, None),
    (C, "data"): (C, None),
    (C, "complete"): (C, None),
    (C, "failed"): (C, None),
    (C, "let go"): (E, Ending.CANCELLED),
    (C, "exited"): (E, Ending.CANCELLED),
    (C, "cancel"): (C, None),
    (C, "stop"): (E, Ending.STOPPED),
    (C, "time"): (C, None),
    **{(E, name): (E, Ending.DONE) for name in INPUTS},
}


@pytest.mark.parametrize(("state", "name"), TABLE)
def test_every_input_in_every_state(state: State, name: str) -> None:
    world = World().into(state)
    body = world.body
    INPUTS[name](world)
    after, ending = TABLE[state, name]
    assert (world.invocation.state, world.ending) == (after, ending)
    assert len(world.ends) == world.left == (after is State.ENDED)
    assert world.invocation.ended is (after is State.ENDED)
    assert (world.body != body) is (state is S and name == "data")
    if after is State.ENDED:
        world.invocation.let_go("")
        assert world.loop.timers == 0
        assert len(world.reports) == (state is not W)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from([*INPUTS, "short time", "pause", "resume"]), max_size=12), st.booleans())
def test_it_ends_exactly_once_whatever_comes_in_whatever_order(names: list[str], assigned: bool) -> None:
    world = World().into(R if assigned else W)
    for name in names:
        if name == "short time":
            world.loop.advance(1)
        elif name in ("pause", "resume"):
            getattr(world.invocation, name)()
        elif (world.invocation.state, name) in TABLE or name == "time":
            INPUTS[name](world)
        assert len(world.ends) == world.left == (world.invocation.state is E)
    # Whatever was left open, the end of the process, or of the wait, closes.
    if world.invocation.state is W:
        world.invocation.cancel()
    else:
        world.invocation.exited(Exit(-9, 0), "killed")
    assert len(world.ends) == world.left == 1
    assert world.invocation.state is E
    world.loop.advance(1000)
    assert len(world.ends) == 1


def test_a_whole_response() -> None:
    world = World().into(R)
    world.invocation.head(STREAMED, None)
    world.invocation.data([b"a", memoryview(b"b")])
    world.invocation.data([b"c"])
    world.invocation.tail.add("printed")
    world.invocation.complete()
    assert world.body == b"abc"
    assert world.ends == [Outcome(Ending.DONE, log_tail=b"printed\nREPORT\n")]
    assert world.reports == [outcomes.DONE]


def test_an_error_in_the_middle_keeps_its_document() -> None:
    world = World().into(S)
    world.invocation.failed("ValueError", b'{"errorMessage":"no"}')
    (outcome,) = world.ends
    assert (outcome.error_type, outcome.error_body) == ("Runtime.Unknown", b'{"errorMessage":"no"}')
    assert outcome.detail == "ValueError: no"


# Clocks.


@pytest.mark.parametrize("state", [R, S])
def test_the_total_time_kills_and_the_exit_tells_why(state: State) -> None:
    world = World(timeout=10, idle_timeout=None).into(state)
    world.loop.advance(9.9)
    assert "kill" not in world.told
    world.loop.advance(0.2)
    assert world.told[-1] == "kill"
    assert not world.ends
    world.invocation.exited(Exit(-9, 0), "")
    (outcome,) = world.ends
    assert outcome.ending is Ending.TIMED_OUT
    assert b"Task timed out after 10.00 seconds" in outcome.error_body


def test_data_does_not_extend_the_total_time_nor_does_a_slow_reader() -> None:
    world = World(timeout=10, idle_timeout=None).into(S)
    world.invocation.pause()
    for _ in range(4):
        world.loop.advance(3)
        world.invocation.data([b"x"])
    assert world.told.count("kill") == 1


@pytest.mark.parametrize("state", [R, S])
def test_silence_is_cut_off(state: State) -> None:
    world = World(timeout=100, idle_timeout=3).into(state)
    world.loop.advance(2.9)
    assert not world.ends
    world.loop.advance(0.2)
    assert world.ending is Ending.IDLE_TIMED_OUT
    assert world.told[-1] == "cancel"
    world.invocation.let_go("closed")
    assert world.loop.timers == 0


def test_each_piece_starts_the_idle_time_anew() -> None:
    world = World(timeout=100, idle_timeout=3).into(S)
    for _ in range(10):
        world.loop.advance(2.9)
        world.invocation.data([b"x"])
    assert not world.ends
    world.loop.advance(3.1)
    assert world.ending is Ending.IDLE_TIMED_OUT


def test_the_idle_time_does_not_run_while_the_reader_holds_us_back() -> None:
    world = World(timeout=1000, idle_timeout=3).into(S)
    world.loop.advance(2)
    world.invocation.pause()
    world.loop.advance(100)
    assert not world.ends
    world.invocation.resume()
    world.loop.advance(2.9)
    assert not world.ends
    world.loop.advance(0.2)
    assert world.ending is Ending.IDLE_TIMED_OUT


def test_a_short_pause_and_silence_after_it_is_still_cut_off() -> None:
    world = World(timeout=1000, idle_timeout=3).into(S)
    world.loop.advance(1)
    world.invocation.pause()
    world.loop.advance(1)
    world.invocation.resume()
    world.loop.advance(2.9)
    assert not world.ends
    world.loop.advance(0.2)
    assert world.ending is Ending.IDLE_TIMED_OUT


def test_no_clock_runs_once_it_is_cancelled() -> None:
    assert World().into(C).loop.timers == 0


def test_the_total_time_is_also_that_of_work_after_the_response() -> None:
    world = World(timeout=10).into(E)
    world.loop.advance(9.9)
    assert "kill" not in world.told
    world.loop.advance(0.2)
    assert world.told[-1] == "overran"
    world.invocation.exited(Exit(-9, 0), "")
    assert world.ending is Ending.DONE


@pytest.mark.parametrize("name", ["let go", "exited"])
def test_it_ends_when_the_environment_is_free_or_gone(name: str) -> None:
    world = World(timeout=10).into(E)
    INPUTS[name](world)
    assert world.loop.timers == 0


def test_a_condemned_one_has_no_clock_left_and_ends_with_its_verdict() -> None:
    world = World().into(S)
    world.invocation.condemn(outcomes.out_of_memory(ID, 2 * limits.MIB, 1))
    assert world.loop.timers == 0
    world.invocation.exited(Exit(-9, 0), "")
    assert world.ending is Ending.OUT_OF_MEMORY


# Pressure.


def test_pressure_goes_through_to_the_environment() -> None:
    world = World().into(S)
    world.invocation.pause()
    world.invocation.resume()
    assert world.told[-2:] == ["pause", "resume"]


def test_pressure_before_the_response_holds_it_from_its_beginning() -> None:
    world = World()
    world.invocation.pause()
    world.into(R)
    world.told.clear()
    world.invocation.head(STREAMED, None)
    assert world.told == ["pause", "head"]


# Leaving.


def test_leaving_while_waiting_withdraws_the_call() -> None:
    world = World()
    world.invocation.cancel()
    assert world.told == ["withdraw"]
    assert world.ending is Ending.CANCELLED


@pytest.mark.parametrize("state", [R, S])
def test_the_end_of_a_cancelled_one_waits_until_the_function_has_let_go(state: State) -> None:
    world = World().into(state)
    world.invocation.cancel()
    world.invocation.cancel()
    assert world.told.count("cancel") == 1
    world.invocation.data([b"late"])
    assert world.body == b""
    world.invocation.let_go("the generator was closed")
    assert world.ends[0].detail.startswith("the generator was closed after ")


def test_cancelled_it_stays_whatever_comes_out() -> None:
    world = World().into(C)
    world.invocation.failed("ValueError", b"{}")
    world.invocation.condemn(outcomes.timed_out(ID, 1))
    world.invocation.exited(Exit(-11, 0), "it crashed")
    assert world.ending is Ending.CANCELLED


# Sizes.


@pytest.mark.parametrize(
    ("size", "ending"),
    [(limits.RESPONSE_PAYLOAD, Ending.DONE), (limits.RESPONSE_PAYLOAD + 1, Ending.TOO_LARGE)],
)
@pytest.mark.parametrize("announced", [True, False])
def test_a_buffered_response_has_a_limit(size: int, ending: Ending, announced: bool) -> None:
    world = World().into(R)
    world.invocation.head(BUFFERED, size if announced else None)
    for start in range(0, size, limits.MIB):
        world.invocation.data([bytes(min(limits.MIB, size - start))])
    world.invocation.complete()
    assert world.ending is ending
    assert world.invocation.too_large is (ending is Ending.TOO_LARGE)
    assert ("head" in world.told) is not (announced and ending is Ending.TOO_LARGE)


def test_a_streamed_response_has_none() -> None:
    world = World().into(R)
    world.invocation.head(STREAMED, 10 * limits.MIB)
    for _ in range(10):
        world.invocation.data([bytes(limits.MIB)])
    world.invocation.complete()
    assert world.ending is Ending.DONE
    assert len(world.body) == 10 * limits.MIB


def test_it_says_what_it_is() -> None:
    assert repr(World().into(S).invocation) == "<Invocation 8f3c app RESPONDING>"


# AWS's limits on streams.


def test_a_stream_has_aws_s_bandwidth_after_its_first_six_mb() -> None:
    world = World(timeout=1000, idle_timeout=None, aws_limits=True).into(S)
    world.invocation.data([bytes(6 * limits.MIB - 1)])
    assert world.told == ["head"]
    world.invocation.data([bytes(256 * limits.KIB + 1)])
    assert world.told == ["head", "pause"]
    world.invocation.data([b"what was on its way"])
    world.loop.advance(0.24)
    assert world.told == ["head", "pause"]
    world.loop.advance(0.02)
    assert world.told == ["head", "pause", "resume"]
    sent, began = 0, world.loop.time()
    for _ in range(100):
        world.invocation.data([bytes(64 * limits.KIB)])
        sent += 64 * limits.KIB
        while world.told[-1] == "pause":
            world.loop.advance(0.125)
    assert 2 * limits.MIB * 0.9 <= sent / (world.loop.time() - began) <= 2 * limits.MIB * 1.1


def test_reader_and_bandwidth_have_both_to_let_it_go_on() -> None:
    world = World(timeout=1000, idle_timeout=None, aws_limits=True).into(S)
    world.invocation.data([bytes(6 * limits.MIB)])
    assert world.told[-1] == "pause"
    world.invocation.pause()
    world.loop.advance(1)
    assert "resume" not in world.told
    world.invocation.resume()
    assert world.told[-1] == "resume"
    world.invocation.data([bytes(6 * limits.MIB)])
    world.invocation.pause()
    world.invocation.resume()
    assert world.told[-1] == "pause"
    world.loop.advance(10)
    assert world.told[-1] == "resume"


def test_the_idle_time_does_not_run_while_the_bandwidth_is_used_up() -> None:
    world = World(timeout=1000, idle_timeout=1, aws_limits=True).into(S)
    world.invocation.data([bytes(16 * limits.MIB)])
    world.loop.advance(5)
    assert not world.ends
    world.loop.advance(1.2)
    assert world.ending is Ending.IDLE_TIMED_OUT


@pytest.mark.parametrize("name", ["complete", "failed", "stop"])
def test_one_that_ends_while_it_is_held_back_lets_its_environment_go_on(name: str) -> None:
    world = World(aws_limits=True).into(S)
    world.invocation.data([bytes(7 * limits.MIB)])
    INPUTS[name](world)
    assert world.told[-1] == "resume"
    world.invocation.let_go("")
    assert world.loop.timers == 0


def test_a_stream_over_200_mb_ends_there_and_what_was_sent_stays_sent() -> None:
    world = World(timeout=1e6, idle_timeout=None, aws_limits=True).into(S)
    piece = memoryview(bytes(limits.MIB))
    for _ in range(199):
        world.body = b""
        world.invocation.data([piece])
    world.invocation.data([piece[1:]])
    assert not world.ends
    world.body = b""
    world.invocation.data([b"", b"yes", b"no"])
    assert world.body == b"y"
    (outcome,) = world.ends
    assert (outcome.ending, outcome.error_type) == (Ending.TOO_LARGE, "Function.ResponseSizeTooLarge")
    assert b"(209715200 bytes)" in outcome.error_body
    assert "--limits none" in outcome.detail
    assert world.told[-1] == "cancel"
    world.invocation.data([b"late"])
    assert world.body == b"y"


def test_without_them_nothing_is_counted() -> None:
    world = World(timeout=1e6, idle_timeout=None).into(S)
    piece = memoryview(bytes(limits.MIB))
    for _ in range(250):
        world.body = b""
        world.invocation.data([piece])
    assert not world.ends
    assert world.told == ["head"]


def test_a_buffered_response_has_its_own_limit_and_no_bandwidth() -> None:
    world = World(aws_limits=True).into(R)
    world.invocation.head(BUFFERED, None)
    world.invocation.data([bytes(limits.RESPONSE_PAYLOAD)])
    assert world.told == ["head"]
    world.invocation.complete()
    assert world.ending is Ending.DONE
