"""The line each request has in the log."""

from api_kit import INVOKE, Counter
from penstock.service import outcomes


def test_of_a_call() -> None:
    counter = Counter()
    counter.send("POST", INVOKE, b"{}")
    (invocation,) = counter.invoker.invocations
    invocation.head("application/json", streamed=False)
    invocation.data(b"[1, 2]")
    invocation.end(outcomes.DONE)
    record = counter.record
    assert (record.method, record.path, record.function) == ("Invoke", "", "app")
    assert (record.request_id, record.status, record.ending) == (invocation.request_id, 200, "done")
    assert (record.bytes, record.chunks, record.ok) == (6, 1, True)
    assert record.first_byte is not None
    assert 0 <= record.first_byte <= record.total


def test_of_a_refusal() -> None:
    counter = Counter()
    counter.send("GET", "/nowhere?x=1", b"")
    record = counter.record
    assert (record.method, record.path, record.function) == ("GET", "/nowhere?x=1", "")
    assert (record.status, record.ending, record.ok) == (404, "refused", False)
    assert record.detail == "GET /nowhere is no operation of the Lambda API"
    assert record.bytes == len(counter.wire.sent.partition(b"\r\n\r\n")[2])
