from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_cases import FEEDS, FUZZ, cuts, decode
from penstock.protocol.sse import Decoder, Event, EventTooLong, encode

# Both directions.
CASES = [
    (Event("hello"), b"data: hello\n\n"),
    (Event(""), b"data: \n\n"),
    (Event("a\nb"), b"data: a\ndata: b\n\n"),
    (Event("\n"), b"data: \ndata: \n\n"),
    (Event(" two"), b"data:  two\n\n"),
    (Event("é\u2028", "add"), "event: add\ndata: é\u2028\n\n".encode()),
    (Event("x", "add", "7", 250), b"event: add\nid: 7\nretry: 250\ndata: x\n\n"),
    (Event("x", id=""), b"id: \ndata: x\n\n"),
]

# The specification's examples, and its corners.
READ: list[tuple[bytes, list[Event]]] = [
    (b"data: YHOO\ndata: +2\ndata: 10\n\n", [Event("YHOO\n+2\n10")]),
    (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [Event("first event", id="1"), Event("second event", id=""), Event(" third event", id="")],
    ),
    (b"data\n\ndata\ndata\n\ndata:", [Event(""), Event("\n")]),
    (b"data:test\n\ndata: test\n\n", [Event("test"), Event("test")]),
    (b"data: a\rdata: b\r\r", [Event("a\nb")]),
    (b"data: a\r\ndata: b\r\n\r\n", [Event("a\nb")]),
    (b"data: a\r\ndata: b\n\r", [Event("a\nb")]),
    (b"data: a\n\n\n\r\n\rdata: b\n\n", [Event("a"), Event("b")]),
    (b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", [Event("a")]),  # the second is no data field
    (b"\xef\xbb\xbf\ndata: a\n\n", [Event("a")]),
    (b"event: x\n\ndata: a\n\n", [Event("a")]),  # no data: not dispatched, its name forgotten
    (b"event: x\nevent:\ndata: a\n\n", [Event("a")]),
    (b"id: 1\n\ndata: a\n\n", [Event("a", id="1")]),
    (b"id: 1\nid: 2\0\ndata: a\n\ndata: b\n\n", [Event("a", id="1"), Event("b", id="1")]),
    (b"retry: 10\ndata: a\n\ndata: b\n\n", [Event("a", retry=10), Event("b")]),
    (b"retry: 1x\nretry:-1\nretry\ndata: a\n\n", [Event("a")]),
    ("retry: ５\nretry: ".encode() + b"9" * 5000 + b"\ndata: a\n\n", [Event("a")]),
    (b"DATA: a\ndata : b\n data: c\nunknown: d\n\n", []),
    (b"data: \xff\xe2\x82\n\n", [Event("\ufffd\ufffd")]),
    (b"data: whole\n\ndata: unfinished\n", [Event("whole")]),
    (b"data: whole\n\ndata: unfinished", [Event("whole")]),
    (b"", []),
]


@pytest.mark.parametrize(("event", "wire"), CASES)
def test_encoding(event: Event, wire: bytes) -> None:
    assert encode(event) == wire


def test_encoding_takes_every_line_end_in_data() -> None:
    assert encode(Event("a\rb\r\nc")) == b"data: a\ndata: b\ndata: c\n\n"
    assert encode(Event("a", event="")) == b"data: a\n\n"
    assert encode(Event("half \ud83d")) == b"data: half ?\n\n"


@pytest.mark.parametrize(
    "event", [Event("", "a\nb"), Event("", "a\r"), Event("", id="a\n"), Event("", id="\0")]
)
def test_a_field_that_would_break_the_framing_is_refused(event: Event) -> None:
    with pytest.raises(ValueError, match="expected one line of text"):
        encode(event)


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
@pytest.mark.parametrize(("wire", "events"), READ + [(wire, [event]) for event, wire in CASES])
def test_events_are_read(feed: Any, wire: bytes, events: list[Event]) -> None:
    assert decode(Decoder(), feed(wire)) == events


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_an_event_comes_with_its_last_byte(end: bytes) -> None:
    decoder = Decoder()
    assert decoder.feed(b"data: a" + end) == []
    assert decoder.feed(end[:1]) == [Event("a")]
    assert decoder.feed(end[1:] + b"data: b" + end + end) == [Event("b")]


def test_what_a_client_needs_to_connect_again() -> None:
    decoder = Decoder()
    assert (decoder.last_id, decoder.retry) == (None, None)
    decoder.feed(b"retry: 3000\n\nid: 1\ndata: a\n\nid: 2\ndata: cut")
    assert (decoder.last_id, decoder.retry) == ("1", 3000)


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
@pytest.mark.parametrize("wire", [b"data: 12345678901234\n\n", b"data: 1234\ndata: 1234\n", b"x" * 21])
def test_a_long_event_is_refused(feed: Any, wire: bytes) -> None:
    with pytest.raises(EventTooLong, match="at most 19 bytes"):
        decode(Decoder(max_event=19), feed(wire))


def test_the_limit_is_for_each_event() -> None:
    assert len(decode(Decoder(max_event=20), [b"data: 12345678901234\n\n" * 100])) == 100


LINE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=8)


@FUZZ
@given(
    data=st.data(),
    events=st.lists(
        st.builds(
            Event,
            st.lists(LINE, min_size=1, max_size=3).map("\n".join),
            LINE.filter(bool),
            LINE,
            st.none() | st.integers(0, 10**6),
        ),
        max_size=4,
    ),
    end=st.sampled_from([b"\n", b"\r", b"\r\n"]),
)
def test_no_cut_changes_the_result(data: st.DataObject, events: list[Event], end: bytes) -> None:
    wire = b"".join(map(encode, events)).replace(b"\n", end)
    assert decode(Decoder(), data.draw(cuts(wire))) == events
