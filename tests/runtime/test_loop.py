"""From event to answer: every form a response takes, and every way a handler ends."""

import base64
import io
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penstock import Cancelled
from penstock.protocol import runtime_api
from penstock.protocol.prelude import Decoder
from penstock.runtime.api import Retired, ServiceGone
from penstock.runtime.loop import run
from runtime_kit import OwnSocket, Sent

pytestmark = pytest.mark.usefixtures("sigurg")

Handler = Callable[[Any, Any], Any]


def answers(own: OwnSocket, handler: Handler, events: int = 1) -> list[Sent]:
    """What the runtime answers to `events` events before the service goes."""
    api = own.api()
    (side,) = own.sides
    for number in range(events):
        side.event(b'{"n": %d}' % number, f"id-{number}", trace_id=f"Root={number}")
        side.accept()
    side.finish()
    own.gone()
    with pytest.raises(ServiceGone):
        run(api, handler)
    found = []
    for number in range(events):
        assert side.read().verb == "next"
        found.append(side.read())
        assert found[-1].path.startswith(f"{runtime_api.INVOCATION_PATH}id-{number}/")
    assert side.read().verb == "next"
    api.close()
    return found


def answer(own: OwnSocket, handler: Handler) -> Sent:
    (sent,) = answers(own, handler)
    return sent


def error_of(sent: Sent) -> tuple[str, str]:
    """Type and message of the error that ended a stream."""
    document = base64.b64decode(sent.trailers[runtime_api.ERROR_BODY.lower()])
    return sent.trailers[runtime_api.ERROR_TYPE.lower()], json.loads(document)["errorMessage"]


def test_buffered_again_and_again(own: OwnSocket) -> None:
    sent = answers(own, lambda event, context: {"got": event["n"], "id": context.aws_request_id}, 3)
    assert [json.loads(each.body) for each in sent] == [{"got": n, "id": f"id-{n}"} for n in range(3)]
    assert {each.verb for each in sent} == {"response"}
    assert {each.headers["content-type"] for each in sent} == {"application/json"}


def test_the_trace_is_in_the_environment(own: OwnSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "before")
    sent = answers(own, lambda event, context: os.environ["_X_AMZN_TRACE_ID"], 2)
    assert [each.body for each in sent] == [b'"Root=0"', b'"Root=1"']


def test_a_stream_with_its_prelude(own: OwnSocket) -> None:
    def handler(event: Any, context: Any) -> Any:
        return {"statusCode": 201, "headers": {"X-A": "b"}, "body": (f"{n}\n" for n in range(3))}

    sent = answer(own, handler)
    assert sent.headers["content-type"] == runtime_api.HTTP_INTEGRATION
    assert sent.headers[runtime_api.RESPONSE_MODE.lower()] == "streaming"
    decoder = Decoder()
    prelude = decoder.feed(sent.body)
    assert prelude is not None
    assert (prelude.status, prelude.headers["X-A"], bytes(decoder.rest)) == (201, "b", b"0\n1\n2\n")
    assert sent.trailers == {}


def test_a_raw_stream(own: OwnSocket) -> None:
    def handler(event: Any, context: Any) -> Iterator[str]:
        yield "one"
        yield "two"

    sent = answer(own, handler)
    assert (sent.headers["content-type"], sent.body) == ("application/octet-stream", b"onetwo")


def test_dicts_become_lines_of_json(own: OwnSocket) -> None:
    sent = answer(own, lambda event, context: iter([{"a": 1}, {"b": 2}]))
    assert (sent.headers["content-type"], sent.body) == ("application/x-ndjson", b'{"a":1}\n{"b":2}\n')


def test_streams_and_buffered_ones_in_turn(own: OwnSocket) -> None:
    sent = answers(own, lambda event, context: iter(["s"]) if event["n"] % 2 else "b", 4)
    assert [each.body for each in sent] == [b'"b"', b"s", b'"b"', b"s"]


def test_an_empty_generator_still_has_its_head(own: OwnSocket) -> None:
    sent = answer(own, lambda event, context: {"statusCode": 204, "body": iter(())})
    prelude = Decoder().feed(sent.body)
    assert prelude is not None
    assert prelude.status == 204


def test_a_file_is_streamed_and_closed(own: OwnSocket) -> None:
    file = io.BytesIO(b"x" * 200_000)
    served: list[Sent] = []  # more than the socket holds: read while it is written
    api = own.api()
    (side,) = own.sides
    side.event()
    side.accept()

    def serve() -> None:
        side.read()
        served.append(side.read())
        side.finish()

    thread = threading.Thread(target=serve)
    thread.start()
    own.gone()
    with pytest.raises(ServiceGone):
        run(api, lambda event, context: file)
    thread.join(10)
    assert served[0].body == b"x" * 200_000
    assert file.closed
    api.close()


def test_an_error_before_a_response(own: OwnSocket, capsys: pytest.CaptureFixture[str]) -> None:
    def handler(event: Any, context: Any) -> Any:
        raise ValueError("no")

    sent = answer(own, handler)
    assert sent.verb == "error"
    assert sent.headers[runtime_api.ERROR_TYPE.lower()] == "ValueError"
    assert json.loads(sent.body)["errorMessage"] == "no"
    assert "[ERROR] ValueError: no" in capsys.readouterr().out


def test_an_error_before_the_first_chunk_is_no_broken_stream(own: OwnSocket) -> None:
    def body() -> Iterator[str]:
        raise KeyError("early")
        yield ""

    sent = answer(own, lambda event, context: {"statusCode": 200, "body": body()})
    assert sent.verb == "error"


def test_an_error_after_three_chunks_is_in_the_trailers(own: OwnSocket) -> None:
    def body() -> Iterator[str]:
        yield from "abc"
        raise ValueError("late")

    sent = answer(own, lambda event, context: body())
    assert (sent.verb, sent.body, error_of(sent)) == ("response", b"abc", ("ValueError", "late"))


@pytest.mark.parametrize("first", [True, False])
def test_a_bad_chunk_is_named(own: OwnSocket, first: bool) -> None:
    sent = answer(own, lambda event, context: iter([7] if first else ["fine", 7]))
    if first:
        message = json.loads(sent.body)["errorMessage"]
    else:
        kind, message = error_of(sent)
        assert kind == "Runtime.MarshalError"
        assert sent.body == b"fine"
    assert f"chunk {0 if first else 1} is of type int" in message


@pytest.mark.parametrize("result", [object(), {"body": {1, 2}}, {"statusCode": 200, "body": object()}])
def test_what_cannot_be_sent(own: OwnSocket, result: object) -> None:
    sent = answer(own, lambda event, context: result)
    assert (sent.verb, sent.headers[runtime_api.ERROR_TYPE.lower()]) == ("error", "Runtime.MarshalError")


def test_an_event_that_is_not_json(own: OwnSocket) -> None:
    api = own.api()
    (side,) = own.sides
    side.event(b"no JSON")
    side.accept()
    side.finish()
    own.gone()
    with pytest.raises(ServiceGone):
        run(api, lambda event, context: 1)
    side.read()
    assert side.read().headers[runtime_api.ERROR_TYPE.lower()] == "Runtime.UnmarshalError"
    api.close()


@pytest.mark.parametrize("raised", [KeyboardInterrupt, GeneratorExit, Cancelled])
def test_other_base_exceptions_are_the_functions_errors(own: OwnSocket, raised: type[BaseException]) -> None:
    def handler(event: Any, context: Any) -> Any:
        if event["n"] == 0:
            raise raised
        return "next"

    first, second = answers(own, handler, 2)
    assert (first.verb, first.headers[runtime_api.ERROR_TYPE.lower()]) == ("error", raised.__name__)
    assert second.body == b'"next"'


@pytest.mark.parametrize("where", ["handler", "generator", "finally"])
def test_an_exit_ends_the_process(own: OwnSocket, where: str) -> None:
    def body() -> Iterator[str]:
        try:
            yield "a"
            if where == "generator":
                raise SystemExit(3)
        finally:
            if where == "finally":
                raise SystemExit(3)

    def handler(event: Any, context: Any) -> Any:
        if where == "handler":
            raise SystemExit(3)
        return body()

    api = own.api()
    own.sides[0].event()
    with pytest.raises(SystemExit) as ended:
        run(api, handler)
    assert ended.value.code == 3
    api.close()


def test_a_body_whose_clean_up_fails_keeps_its_own_error(own: OwnSocket) -> None:
    class Body:
        def __iter__(self) -> "Body":
            return self

        def __next__(self) -> str:
            raise ValueError("first")

        def close(self) -> None:
            raise KeyError("second")

    sent = answer(own, lambda event, context: Body())
    assert sent.headers[runtime_api.ERROR_TYPE.lower()] == "ValueError"


# The caller leaves.


def leaving(own: OwnSocket, handler: Handler) -> None:
    """Run one event, then hand out a second connection with another; the test's handler shuts the first."""
    api = own.api()
    own.sides[0].event(b'{"n": 0}')
    side = own.connection()
    side.event(b'{"n": 1}', "id-1")
    side.accept()
    side.finish()
    own.gone()
    try:
        run(api, handler)
    finally:
        api.close()


def hang_up(own: OwnSocket) -> None:
    own.sides[0].sock.shutdown(socket.SHUT_RDWR)


def test_a_generator_is_closed_at_its_next_chunk_and_the_runtime_goes_on(own: OwnSocket) -> None:
    told: list[str] = []

    def body() -> Iterator[str]:
        try:
            while True:
                yield "x"
                hang_up(own)
        finally:
            told.append("closed")

    with pytest.raises(ServiceGone):
        leaving(own, lambda event, context: "again" if event["n"] else body())
    assert told == ["closed"]
    side = own.sides[1]
    assert side.read().verb == "next"
    assert side.read().body == b'"again"'


@pytest.mark.parametrize("swallow", [False, True])
def test_a_blocked_handler_is_interrupted_and_the_environment_retired(own: OwnSocket, swallow: bool) -> None:
    told: list[str] = []

    def body() -> Iterator[str]:
        try:
            yield "x"
            hang_up(own)
            try:
                os.kill(os.getpid(), signal.SIGURG)
            except Cancelled:
                told.append("Cancelled")
                if not swallow:
                    raise
        finally:
            told.append("finally")

    with pytest.raises(Retired):
        leaving(own, lambda event, context: body())
    assert told == ["Cancelled", "finally"]


def test_a_finally_block_is_not_interrupted(own: OwnSocket) -> None:
    told: list[str] = []

    def body() -> Iterator[str]:
        try:
            while True:
                yield "x"
                hang_up(own)
        finally:
            os.kill(os.getpid(), signal.SIGURG)
            told.append("clean")

    with pytest.raises(ServiceGone):
        leaving(own, lambda event, context: "again" if event["n"] else body())
    assert told == ["clean"]


def test_a_stale_signal_hurts_nobody(own: OwnSocket) -> None:
    def handler(event: Any, context: Any) -> str:
        if event["n"] == 1:
            raise SystemExit
        os.kill(os.getpid(), signal.SIGURG)
        return "fine"

    api = own.api()
    (side,) = own.sides
    side.event(b'{"n": 0}')
    side.accept()
    side.event(b'{"n": 1}')
    with pytest.raises(SystemExit):
        run(api, handler)
    side.read()
    assert side.read().body == b'"fine"'
    api.close()


def test_an_error_in_the_middle_fits_what_aws_reads_of_trailers(own: OwnSocket) -> None:
    def handler(event: Any, context: Any) -> Iterator[str]:
        yield "one"
        raise type("N" * 300, (Exception,), {})("\u00e9" * 100_000)

    sent = answer(own, handler)
    error_type, message = error_of(sent)
    assert error_type == "N" * 256
    assert message.endswith("\u2026 (cropped)")
    assert sum(len(name) + len(value) + 4 for name, value in sent.trailers.items()) < 4094
