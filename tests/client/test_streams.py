from collections.abc import Callable, Iterator
from typing import Any

import pytest

import penstock.client
from codec_cases import FEEDS
from penstock.client import Event, FunctionError, Prelude, PreludeError, events, lines, split_prelude
from penstock.protocol import eventstream, ndjson, prelude, sse

WIRE = prelude.encode(Prelude(201)) + "é\nb\n".encode()


class Source:
    """An iterable that counts what was taken of it and knows whether it was closed, as boto3's does."""

    def __init__(self, *chunks: Any) -> None:
        self.chunks = chunks
        self.taken = 0
        self.closed = False

    def __iter__(self) -> Iterator[Any]:
        for chunk in self.chunks:
            self.taken += 1
            yield chunk

    def close(self) -> None:
        self.closed = True


def chunk(payload: bytes) -> dict[str, Any]:
    return {"PayloadChunk": {"Payload": payload}}


DONE: dict[str, Any] = {"InvokeComplete": {}}


def test_the_public_names_exist() -> None:
    assert sorted(penstock.client.__all__) == penstock.client.__all__
    assert all(hasattr(penstock.client, name) for name in penstock.client.__all__)


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_lines(feed: Any) -> None:
    assert list(lines(feed(b"\xc3\xa9\r\n\nlast \xff"))) == ["é", "", "last \ufffd"]


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_events(feed: Any) -> None:
    assert list(events(feed(b": hi\n\nid: 1\ndata: a\n\ndata: b\n\ndata: cut"))) == [
        Event("a", id="1"),
        Event("b", id="1"),
    ]


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_split_prelude(feed: Any) -> None:
    head, payload = split_prelude(feed(WIRE))
    assert head == Prelude(201)
    assert list(lines(payload)) == ["é", "b"]


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_the_events_of_boto3(feed: Any) -> None:
    source = Source({"initial-response": {}}, *map(chunk, feed(WIRE)), DONE)
    head, payload = split_prelude(source)
    assert (head, b"".join(payload)) == (Prelude(201), b"\xc3\xa9\nb\n")
    assert source.taken == len(source.chunks)


@pytest.mark.parametrize("as_view", [bytes, bytearray, memoryview])
def test_any_kind_of_bytes(as_view: Callable[[bytes], Any]) -> None:
    assert list(lines([as_view(b"a\n"), as_view(b"b")])) == ["a", "b"]


def test_items_come_with_their_last_byte() -> None:
    source = Source(b"a\nb", b"\nc\n", b"d")
    reader = lines(source)
    assert [(next(reader), source.taken) for _ in range(4)] == [("a", 1), ("b", 2), ("c", 2), ("d", 3)]

    source = Source(b"data: a\n", b"\n", b"data: b\n\n")
    messages = events(source)
    assert (next(messages), source.taken) == (Event("a"), 2)

    source = Source(WIRE[:5], WIRE[5:], b"more")
    _, payload = split_prelude(source)
    assert source.taken == 2
    assert (next(payload), source.taken) == ("é\nb\n".encode(), 2)
    assert (next(payload), source.taken) == (b"more", 3)


@pytest.mark.parametrize("read", [lines, events, lambda source: split_prelude(source)[1]])
@pytest.mark.parametrize("started", [True, False])
def test_stopping_early_closes_the_source(read: Any, started: bool) -> None:
    source = Source(prelude.encode(Prelude()) + b"\n\ndata: a\n\n", b"more")
    reader = read(source)
    if started or read in (lines, events):
        next(reader)
    reader.close()
    assert source.closed
    assert source.taken == 1


def test_stopping_early_closes_through_several_readers() -> None:
    source = Source(WIRE, b"more")
    for _ in lines(split_prelude(source)[1]):
        break
    assert source.closed


def test_a_source_read_to_its_end_is_left_alone() -> None:
    source = Source(b"a\n")
    assert list(lines(source)) == ["a"]
    assert not source.closed


FAILURES = [
    (
        {"ErrorCode": "Unhandled", "ErrorDetails": '{"errorType":"ValueError","errorMessage":"no"}'},
        "ValueError",
        "ValueError: no",
        {"errorType": "ValueError", "errorMessage": "no"},
    ),
    ({"ErrorCode": "Sandbox.Timedout"}, "Sandbox.Timedout", "Sandbox.Timedout: the function failed", None),
    ({"ErrorCode": "E", "ErrorDetails": "plain"}, "E", "E: plain", None),
    ({"ErrorCode": "E", "ErrorDetails": "[1]"}, "E", r"E: \[1\]", [1]),
]


@pytest.mark.parametrize(("complete", "error_type", "message", "document"), FAILURES)
def test_a_function_that_failed(complete: Any, error_type: str, message: str, document: Any) -> None:
    source = Source(chunk(b"a\nincompl"), {"InvokeComplete": complete})
    reader = lines(source)
    assert next(reader) == "a"
    with pytest.raises(FunctionError, match=message) as caught:
        next(reader)
    assert (caught.value.error_type, caught.value.document) == (error_type, document)
    assert source.closed


@pytest.mark.parametrize(
    ("chunks", "error", "message"),
    [
        ([chunk(b"a\n")], EOFError, "without InvokeComplete"),
        (["text"], TypeError, "got str"),
        ([b"x" * (ndjson.MAX_LINE + 1)], ValueError, "at most 16777216 bytes"),
    ],
    ids=["cut", "text", "long"],
)
def test_errors_close_the_source(chunks: list[Any], error: type[Exception], message: str) -> None:
    source = Source(*chunks)
    with pytest.raises(error, match=message):
        list(lines(source))
    assert source.closed


@pytest.mark.parametrize("wire", [b"", b"{}", b"no prelude" + prelude.DELIMITER])
def test_no_prelude(wire: bytes) -> None:
    source = Source(wire)
    with pytest.raises(PreludeError):
        split_prelude(source)
    assert source.closed


def test_a_failure_before_the_prelude_is_the_functions() -> None:
    with pytest.raises(FunctionError, match="E: the function failed"):
        split_prelude([{"InvokeComplete": {"ErrorCode": "E"}}])


def test_boto3s_own_event_stream() -> None:
    """Through botocore's parser and model, so that the shape of its events is not ours to guess."""
    import botocore.session
    from botocore.eventstream import EventStream
    from botocore.parsers import EventStreamJSONParser

    model = botocore.session.get_session().get_service_model("lambda")
    shape = model.operation_model("InvokeWithResponseStream").get_event_stream_output()

    class Raw:
        closed = False

        def stream(self) -> Iterator[bytes]:
            yield b"".join(eventstream.payload_chunk([WIRE[:20]]))
            yield b"".join(eventstream.payload_chunk([WIRE[20:], sse.encode(Event("x"))]))
            yield eventstream.invoke_complete("Unhandled", '{"errorType":"KeyError","errorMessage":"k"}')

        def close(self) -> None:
            self.closed = True

    raw = Raw()
    source = EventStream(raw, shape, EventStreamJSONParser(), "InvokeWithResponseStream")
    head, payload = split_prelude(source)
    assert head == Prelude(201)
    reader = lines(payload)
    assert [next(reader) for _ in range(4)] == ["é", "b", "data: x", ""]
    with pytest.raises(FunctionError) as caught:
        next(reader)
    assert caught.value.error_type == "KeyError"
    assert raw.closed
