"""API Gateway's own clocks. Time is moved by hand."""

import pytest

from fake_loop import FakeLoop
from gateway_kit import Door
from penstock.gateway.routes import Flavour
from penstock.gateway.timeouts import Timeout
from penstock.protocol.call import Ending, Outcome


class World:
    def __init__(self, flavour: Flavour = "rest") -> None:
        self.loop = FakeLoop()
        self.said: list[str] = []
        self.sent = 0
        self.timeout = Timeout(self.loop, flavour, self.said.append)  # type: ignore[arg-type]


@pytest.mark.parametrize(("flavour", "seconds"), [("rest", 29), ("http", 30)])
def test_a_response_has_to_be_there_in_time(flavour: Flavour, seconds: float) -> None:
    world = World(flavour)
    world.loop.advance(seconds - 0.1)
    assert world.said == []
    world.loop.advance(0.2)
    (said,) = world.said
    assert said == f"the response was not complete after {seconds} s; a stream may take longer"
    assert world.loop.timers == 0


def test_one_that_is_there_is_not_waited_for() -> None:
    world = World()
    world.timeout.stop()
    assert world.loop.timers == 0


def test_a_stream_that_goes_on_has_a_quarter_of_an_hour_from_the_call() -> None:
    world = World()
    world.loop.advance(20)
    world.timeout.stream(lambda: world.sent)
    for _ in range(879):
        world.loop.advance(1)
        world.sent += 1
    assert world.said == []
    world.loop.advance(1.1)
    assert world.said == ["the stream took 900 s; --limits none lets it go on"]
    assert world.loop.timers == 0


def test_a_silent_stream_ends_after_five_minutes() -> None:
    world = World()
    world.timeout.stream(lambda: world.sent)
    world.loop.advance(299)
    world.sent += 1
    world.loop.advance(296)
    assert world.said == []
    world.loop.advance(10)
    assert world.said == ["the stream sent nothing for 300 s; --limits none lets it go on"]
    assert world.loop.timers == 0


def test_it_is_not_silent_while_its_reader_holds_it_back() -> None:
    world = World()
    world.timeout.stream(lambda: world.sent)
    world.timeout.held = True
    world.loop.advance(400)
    assert world.said == []
    world.timeout.held = False
    world.loop.advance(305)
    assert world.said == ["the stream sent nothing for 300 s; --limits none lets it go on"]


def test_a_stream_that_has_ended_is_looked_at_no_more() -> None:
    world = World()
    world.timeout.stream(lambda: world.sent)
    world.loop.advance(60)
    world.timeout.stop()
    assert world.loop.timers == 0


# Through the gateway.

CANCELLED = Outcome(Ending.CANCELLED)


def test_a_buffered_response_that_is_late_is_a_504() -> None:
    door = Door(limits="aws")
    invocation = door.request()
    invocation.head("application/json", streamed=False)
    invocation.data(b'{"statusCode"')
    door.loop.advance(29)
    assert (door.status, door.body) == (504, b'{"message": "Endpoint request timed out"}')
    assert invocation.verbs == ["cancel"]
    invocation.data(b": 200}")
    invocation.end(CANCELLED)
    assert (door.record.status, door.record.ending, door.record.ok) == (504, "integration timeout", False)
    assert "after 29 s" in door.record.detail
    assert not door.errors


def test_an_http_api_says_503() -> None:
    door = Door(limits="aws", event_format="2.0")
    door.request()
    door.loop.advance(30)
    assert (door.status, door.body) == (503, b'{"message": "Service Unavailable"}')


def test_a_response_that_begins_too_late_reaches_nobody() -> None:
    door = Door(limits="aws", on_disconnect="finish")
    invocation = door.request()
    door.loop.advance(29)
    assert invocation.verbs == ["resume"]
    invocation.head("text/plain")
    invocation.data(b"late")
    invocation.end(Outcome(Ending.DONE))
    assert (door.status, door.body) == (504, b'{"message": "Endpoint request timed out"}')
    assert door.record.ending == "integration timeout"


def test_a_stream_may_take_longer_and_is_broken_off_at_its_own_limits() -> None:
    door = Door(limits="aws")
    invocation = door.request()
    door.loop.advance(28)
    invocation.head("text/plain")
    invocation.data(b"first")
    door.loop.advance(299)
    invocation.data(b"second")
    assert invocation.verbs == []
    door.loop.advance(306)
    assert invocation.verbs == ["cancel"]
    assert b"second" in door.sent
    assert not door.sent.endswith(b"0\r\n\r\n")
    invocation.end(CANCELLED)
    assert (door.record.status, door.record.ending) == (200, "integration timeout")
    assert "nothing for 300 s" in door.record.detail


@pytest.mark.parametrize("settings", [{"limits": "none"}, {"limits": "aws", "path": "/lambda-url/app/"}])
def test_without_the_setting_and_on_function_urls_there_is_no_such_limit(settings: dict[str, str]) -> None:
    path = settings.pop("path", "/")
    door = Door(**settings)
    door.request(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert door.loop.timers == 0


def test_no_clock_is_left_when_all_is_said() -> None:
    for leave in (False, True):
        door = Door(limits="aws")
        invocation = door.request()
        assert door.loop.timers == 1
        if leave:
            door.leave()
        else:
            invocation.end(Outcome(Ending.FUNCTION_ERROR))
        assert door.loop.timers == 0


def test_a_reader_that_takes_its_time_is_not_a_silent_stream() -> None:
    door = Door(limits="aws")
    invocation = door.request()
    invocation.head("text/plain")
    door.connection.pause_writing()
    door.loop.advance(310)
    assert "cancel" not in invocation.verbs
    door.connection.resume_writing()
    door.loop.advance(305)
    assert "cancel" in invocation.verbs
